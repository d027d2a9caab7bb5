/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake_host.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "page_tables.hpp"

namespace ccad::test {

struct FakeHost::Op {
    static FakeHost &host(void *opaque)
    {
        return *static_cast<FakeHost *>(opaque);
    }
};

void BigLock::lock()
{
    mutex_.lock();
    owner_ = std::this_thread::get_id();
    depth_++;
}

void BigLock::unlock()
{
    if (!--depth_) {
        owner_ = std::thread::id();
    }
    mutex_.unlock();
}

FakeHost::FakeHost()
    : next_{page, local_base}, pages_((ram_size + local_size) / page)
{
    memory_ = static_cast<uint8_t *>(
        mmap(nullptr, ram_size + local_size, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory_ == MAP_FAILED) {
        throw std::bad_alloc();
    }
    server_ = std::thread([this] { serve_thread(); });
}

FakeHost::~FakeHost()
{
    stop_serving();
    munmap(memory_, ram_size + local_size);
}

void FakeHost::stop_serving()
{
    {
        std::lock_guard lock(mutex_);
        quit_ = true;
    }
    changed_.notify_all();
    if (server_.joinable()) {
        server_.join();
    }
}

ccad_host_ops FakeHost::ops() const
{
    return {
        .translate = [](void *opaque, uint32_t pasid, uint64_t va,
                        uint64_t len, bool write, ccad_translation *out,
                        size_t max) {
            return Op::host(opaque).do_translate(pasid, va, len, write, out,
                                                 max);
        },
        .page_request = [](void *opaque, uint32_t pasid,
                           const uint64_t *pages, size_t n, bool read,
                           bool write, uint16_t prgi) {
            return Op::host(opaque).do_page_request(
                {pasid, n ? *pages : 0, {pages, pages + n}, read, write,
                 prgi});
        },
        .map = [](void *opaque, uint64_t pa, uint64_t *len, bool write) {
            return Op::host(opaque).do_map(pa, len, write);
        },
        .unmap = [](void *opaque, void *ptr, uint64_t used, bool write) {
            Op::host(opaque).do_unmap(ptr, used, write);
        },
        .local_offset = [](void *, uint64_t pa, uint64_t *offset) {
            *offset = pa - local_base;
            return pa >= local_base && pa < local_base + local_size;
        },
        .interrupt = [](void *opaque, uint32_t vector) {
            FakeHost &host = Op::host(opaque);
            host.enter_op("interrupt");
            {
                std::lock_guard lock(host.mutex_);
                host.interrupts_[vector]++;
            }
            host.changed_.notify_all();
        },
        .error = [](void *opaque, ccad_error kind, uint64_t address) {
            FakeHost &host = Op::host(opaque);
            host.enter_op("error");
            std::lock_guard lock(host.mutex_);
            host.errors_.emplace_back(kind, address);
        },
        .locked = [](void *opaque, void (*fn)(void *), void *arg) {
            FakeHost &host = Op::host(opaque);
            host.enter_op("locked");
            std::lock_guard lock(host.big_lock_);
            fn(arg);
        },
        .dma_write = [](void *opaque, uint64_t addr, const void *buf,
                        uint64_t len) {
            return Op::host(opaque).do_dma_write(addr, buf, len);
        },
        .now_ns = [](void *opaque) -> uint64_t {
            return Op::host(opaque).now_ns_;
        },
        .set_timer = [](void *opaque, uint64_t ns) {
            Op::host(opaque).timer_ns_ = ns;
        },
        .thread_enter = [](void *opaque) { Op::host(opaque).threads_++; },
        .thread_leave = [](void *opaque) { Op::host(opaque).threads_--; },
        .pasid_bind = [](void *opaque, uint32_t pasid) {
            FakeHost &host = Op::host(opaque);
            host.enter_op("pasid_bind");
            if (!host.bind_works) {
                return false;
            }
            std::lock_guard lock(host.mutex_);
            if (!host.bound_.contains(pasid)) {
                host.bound_.insert(pasid);
            }
            return true;
        },
        .pasid_unbind = [](void *opaque, uint32_t pasid) {
            FakeHost &host = Op::host(opaque);
            host.enter_op("pasid_unbind");
            std::lock_guard lock(host.mutex_);
            if (!host.bound_.contains(pasid)) {
                host.violations_.push_back("unbind of an unbound PASID");
                return;
            }
            host.bound_.erase(host.bound_.find(pasid));
        },
        .physical_allowed = [](void *opaque) {
            FakeHost &host = Op::host(opaque);
            host.enter_op("physical_allowed");
            return host.physical_works.load();
        },
        .trace = [](void *opaque, ccad_step step, uint32_t context,
                    uint64_t a, uint64_t b, uint64_t c) {
            FakeHost &host = Op::host(opaque);
            if (host.on_trace) {
                host.on_trace(step, context, a, b, c);
            }
        },
    };
}

void FakeHost::violation(const std::string &what)
{
    std::lock_guard lock(mutex_);
    violations_.push_back(what);
}

std::vector<std::string> FakeHost::violations()
{
    std::lock_guard lock(mutex_);
    return violations_;
}

void FakeHost::enter_op(const char *name)
{
    if (has_open_windows()) {
        violation(std::string(name) + " with a page mapped");
    }
    if (on_op) {
        on_op(name);
    }
}

/* Page tables */

uint64_t *FakeHost::entry(uint32_t pasid, uint64_t va, unsigned level,
                          bool make)
{
    if (!roots_.contains(pasid)) {
        if (!make) {
            return nullptr;
        }
        roots_[pasid] = alloc(page);
    }

    uint64_t table = roots_[pasid];
    for (unsigned at_level = pte::levels - 1;; at_level--) {
        auto *e = reinterpret_cast<uint64_t *>(at(table)) +
                  pte::index(va, at_level);
        if (at_level == level || (*e & pte::leaf)) {
            return e;
        }
        if (!(*e & pte::present)) {
            if (!make) {
                return nullptr;
            }
            *e = alloc(page) | pte::present | pte::writable;
        }
        table = *e & pte::address;
    }
}

void FakeHost::map(uint32_t pasid, uint64_t va, uint64_t pa, uint64_t size,
                   bool writable)
{
    std::lock_guard lock(big_lock_);
    unsigned level = size == page ? 0 : size == huge ? 1 : 2;

    grant(pa, size, writable);
    *entry(pasid, va, level, true) =
        pa | pte::present | pte::leaf | (writable ? pte::writable : 0);
}

void FakeHost::unmap(uint32_t pasid, uint64_t va)
{
    std::lock_guard lock(big_lock_);
    if (uint64_t *e = entry(pasid, va, 0, false)) {
        *e = 0;
    }
}

std::optional<ccad_translation> FakeHost::walk(uint32_t pasid, uint64_t va)
{
    std::lock_guard lock(big_lock_);
    uint64_t top = va >> 47;

    if ((top && top != 0x1ffff) || !roots_.contains(pasid)) {
        return std::nullopt;
    }
    uint64_t table = roots_[pasid];
    for (unsigned level = pte::levels - 1;; level--) {
        uint64_t e = reinterpret_cast<uint64_t *>(
            at(table))[pte::index(va, level)];
        if (!(e & pte::present)) {
            return std::nullopt;
        }
        if (e & pte::leaf) {
            uint64_t size = uint64_t{1} << pte::shift(level);
            return ccad_translation{va & ~(size - 1), e & pte::address, size,
                                    true, (e & pte::writable) != 0};
        }
        table = e & pte::address;
    }
}

uint8_t *FakeHost::ptr(uint32_t pasid, uint64_t va)
{
    auto t = walk(pasid, va);
    return t ? at(t->pa + (va - t->va)) : nullptr;
}

void FakeHost::populate(uint32_t pasid, uint64_t va, uint64_t len, bool local,
                        bool writable, uint64_t page_bytes)
{
    std::lock_guard lock(big_lock_);
    for (uint64_t i = va & ~(page_bytes - 1); i < va + len; i += page_bytes) {
        if (!walk(pasid, i)) {
            map(pasid, i, alloc(page_bytes, local), page_bytes, writable);
        }
    }
}

void FakeHost::release(uint32_t pasid, uint64_t va)
{
    std::lock_guard lock(big_lock_);
    auto t = walk(pasid, va);

    if (!t) {
        return;
    }
    unmap_and_invalidate(pasid, *t);
    free(t->pa, t->len);
}

void FakeHost::unmap_and_invalidate(uint32_t pasid, const ccad_translation &t)
{
    unmap(pasid, t.va);
    if (revoke_early) {
        revoke(t.pa, t.len, false);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    ccad_core_invalidate(core_, pasid, false, t.va, t.len);
    revoke(t.pa, t.len, false);
}

void FakeHost::protect(uint32_t pasid, uint64_t va)
{
    std::lock_guard lock(big_lock_);

    if (auto t = walk(pasid, va)) {
        map(pasid, t->va, t->pa, t->len, false);
        ccad_core_invalidate(core_, pasid, false, t->va, t->len);
        revoke(t->pa, t->len, true);
    }
}

void FakeHost::migrate(uint32_t pasid, uint64_t va, bool local)
{
    std::lock_guard lock(big_lock_);
    auto t = walk(pasid, va);

    if (!t) {
        return;
    }
    unmap_and_invalidate(pasid, *t);
    uint64_t pa = alloc(t->len, local);
    std::memcpy(at(pa), at(t->pa), t->len);
    free(t->pa, t->len);
    map(pasid, t->va, pa, t->len, t->write);
}

/* Time */

void FakeHost::advance_time(std::chrono::nanoseconds by)
{
    uint64_t now = now_ns_ += static_cast<uint64_t>(by.count());
    uint64_t due = timer_ns_;

    if (due <= now && timer_ns_.compare_exchange_strong(due, UINT64_MAX)) {
        std::lock_guard lock(big_lock_);
        ccad_core_timer(core_);
    }
}

/* The operating system */

void FakeHost::add_region(uint32_t pasid, const Region &region)
{
    std::lock_guard lock(big_lock_);
    regions_[pasid].push_back(region);
}

ccad_response FakeHost::serve(uint32_t pasid, uint64_t va, bool write)
{
    std::lock_guard lock(big_lock_);

    for (const Region &region : regions_[pasid]) {
        if (va < region.start || va - region.start >= region.len) {
            continue;
        }
        if (write && !region.writable) {
            return CCAD_RESPONSE_INVALID;
        }
        populate(pasid, va, 1, region.local, region.writable,
                 region.page_bytes);
        if (auto t = walk(pasid, va); write && !t->write) {
            map(pasid, t->va, t->pa, t->len);
        }
        return CCAD_RESPONSE_SUCCESS;
    }
    return CCAD_RESPONSE_INVALID;
}

ccad_response FakeHost::serve(const PageRequest &request)
{
    for (uint64_t va : request.pages) {
        auto given = answer ? answer(va) : std::nullopt;
        ccad_response response =
            given ? *given : serve(request.pasid, va, request.write);
        if (response != CCAD_RESPONSE_SUCCESS) {
            return response;
        }
    }
    return CCAD_RESPONSE_SUCCESS;
}

void FakeHost::serving(Serving how)
{
    {
        std::lock_guard lock(mutex_);
        serving_ = how;
    }
    changed_.notify_all();
}

std::vector<FakeHost::PageRequest> FakeHost::requests()
{
    std::lock_guard lock(mutex_);
    return {requests_.begin(), requests_.end()};
}

void FakeHost::respond(const PageRequest &request, ccad_response response)
{
    {
        std::lock_guard lock(mutex_);
        std::erase_if(requests_, [&](const PageRequest &r) {
            return r.prgi == request.prgi;
        });
    }
    std::lock_guard lock(big_lock_);
    ccad_core_page_response(core_, request.pasid, request.prgi, response);
}

void FakeHost::serve_thread()
{
    std::unique_lock lock(mutex_);

    for (;;) {
        changed_.wait(lock, [this] {
            return quit_ ||
                   (serving_ == Serving::thread && !requests_.empty());
        });
        if (quit_) {
            return;
        }
        PageRequest request = requests_.front();
        requests_.pop_front();
        lock.unlock();
        {
            std::lock_guard big(big_lock_);
            ccad_core_page_response(core_, request.pasid, request.prgi,
                                    serve(request));
        }
        lock.lock();
    }
}

/* Operations of the core */

int FakeHost::do_translate(uint32_t pasid, uint64_t va, uint64_t len,
                           bool write, ccad_translation *out, size_t max)
{
    enter_op("translate");
    translate_calls_++;
    write_translate_calls_ += write;
    if (on_translate) {
        on_translate(pasid, va);
    }
    if (!translations_work) {
        return -1;
    }
    if (va % page || len % page || !len) {
        violation("translate of an unaligned range");
    }

    size_t n = 0;
    {
        std::lock_guard lock(big_lock_);
        uint64_t cursor = va;
        for (uint64_t left = len; left && n < max;) {
            auto t = walk(pasid, cursor);
            out[n] = t ? *t : ccad_translation{cursor, 0, page, false, false};
            uint64_t step = out[n].va + out[n].len - cursor;
            n++;
            cursor += step;
            left -= std::min(left, step);
        }
    }
    if (on_answer) {
        on_answer(out, n);
    }
    if (on_translated) {
        on_translated();
    }
    return static_cast<int>(n);
}

bool FakeHost::do_page_request(const PageRequest &request)
{
    Serving how;

    enter_op("page_request");
    page_request_count_ += static_cast<unsigned>(request.pages.size());
    if (request.pages.empty() || request.pages.size() > 16 ||
        std::ranges::any_of(request.pages,
                            [](uint64_t va) { return va % page; }) ||
        std::ranges::adjacent_find(request.pages, std::greater_equal()) !=
            request.pages.end() ||
        request.read == request.write) {
        violation("a page request group that makes no sense");
    }
    {
        std::lock_guard lock(mutex_);
        how = serving_;
        if (how == Serving::thread || how == Serving::never) {
            for (const PageRequest &other : requests_) {
                if (other.prgi == request.prgi) {
                    violations_.push_back("a group index is in use twice");
                }
            }
            requests_.push_back(request);
        }
    }
    changed_.notify_all();
    if (how == Serving::inside) {
        std::lock_guard lock(big_lock_);
        ccad_core_page_response(core_, request.pasid, request.prgi,
                                serve(request));
    }
    return how != Serving::impossible;
}

unsigned FakeHost::interrupts(uint32_t vector)
{
    std::lock_guard lock(mutex_);
    return interrupts_[vector];
}

std::vector<std::pair<ccad_error, uint64_t>> FakeHost::errors()
{
    std::lock_guard lock(mutex_);
    return errors_;
}

std::multiset<uint32_t> FakeHost::bound()
{
    std::lock_guard lock(mutex_);
    return bound_;
}

} // namespace ccad::test
