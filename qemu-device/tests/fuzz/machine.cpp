/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "machine.hpp"

#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../page_tables.hpp"

namespace ccad::fuzz {

namespace pte = test::pte;

namespace {

/* Called often, and as simple as can be. */
#define CCAD_UNCHECKED \
    __attribute__((no_sanitize("address", "undefined"), noinline))

constexpr bool canonical(uint64_t va)
{
    return va >> 47 == 0 || va >> 47 == 0x1ffff;
}

/* Past AddressSanitizer, who has been told that nobody may. */
CCAD_UNCHECKED void
copy_bytes(uint8_t *to, const uint8_t *from, uint64_t len)
{
    for (; len >= 8; len -= 8, to += 8, from += 8) {
        uint64_t word;
        __builtin_memcpy(&word, from, 8);
        __builtin_memcpy(to, &word, 8);
    }
    for (; len; len--) {
        *to++ = *from++;
    }
}

} // namespace

} // namespace ccad::fuzz

/*
 * Leaks are not looked for: the machines live to the end.  Memory that was
 * freed is kept back for a few inputs, not for thousands, which would have the
 * fuzzer wait for fresh pages all the time.
 */
extern "C" const char *__asan_default_options()
{
    return "detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=4:"
           "thread_local_quarantine_size_kb=256:malloc_context_size=6";
}

namespace ccad::fuzz {

void broken(const char *rule, uint64_t a, uint64_t b)
{
    std::fprintf(stderr, "ccad fuzz: broken rule: %s (%#llx, %#llx)\n", rule,
                 static_cast<unsigned long long>(a),
                 static_cast<unsigned long long>(b));
    std::abort();
}

bool control_run()
{
    static const bool control = std::getenv("CCAD_FUZZ_CONTROL") != nullptr;

    return control;
}

struct Machine::Ops {
    static Machine &self(void *opaque)
    {
        return *static_cast<Machine *>(opaque);
    }
};

Machine::Machine(const ccad_config &config) : config_(config)
{
    const ccad_host_ops ops = {
        .translate = [](void *opaque, uint32_t pasid, uint64_t va,
                        uint64_t len, bool write, ccad_translation *out,
                        size_t max) {
            return Ops::self(opaque).translate(pasid, va, len, write, out,
                                               max);
        },
        .page_request = [](void *opaque, uint32_t pasid,
                           const uint64_t *pages, size_t n, bool read,
                           bool write, uint16_t prgi) {
            Request request{pasid, prgi, read, write, n, {}};
            std::copy_n(pages, std::min(n, most_pages),
                        request.pages.begin());
            return Ops::self(opaque).page_request(request);
        },
        .map = [](void *opaque, uint64_t pa, uint64_t *len, bool write) {
            return Ops::self(opaque).open(pa, len, write);
        },
        .unmap = [](void *opaque, void *ptr, uint64_t len, bool write) {
            Ops::self(opaque).close(static_cast<uint8_t *>(ptr), len, write);
        },
        .local_offset = [](void *, uint64_t pa, uint64_t *offset) {
            *offset = pa - local_base;
            return *offset < local_pages * page;
        },
        .interrupt = [](void *opaque, uint32_t vector) {
            Machine &machine = Ops::self(opaque);
            machine.enter("interrupt");
            if (vector >= machine.config_.vectors) {
                broken("an interrupt of a vector that is not there", vector);
            }
            machine.interrupts_++;
        },
        .error = [](void *opaque, ccad_error, uint64_t offset) {
            Ops::self(opaque).enter("error");
            if (offset >= local_pages * page) {
                broken("an error where no memory is", offset);
            }
        },
        .locked = [](void *opaque, void (*fn)(void *), void *arg) {
            Ops::self(opaque).enter("locked");
            fn(arg);
        },
        .dma_write = [](void *opaque, uint64_t addr, const void *from,
                        uint64_t len) {
            Machine &machine = Ops::self(opaque);
            machine.enter("dma_write");
            return machine.policy.dma_works && machine.poke(addr, from, len);
        },
        .now_ns = [](void *opaque) { return Ops::self(opaque).now; },
        .set_timer = [](void *opaque, uint64_t ns) {
            Ops::self(opaque).timer_ = ns;
        },
        .thread_enter = [](void *) { broken("a thread in a host-driven core"); },
        .thread_leave = [](void *) { broken("a thread in a host-driven core"); },
        .pasid_bind = [](void *opaque, uint32_t pasid) {
            Machine &machine = Ops::self(opaque);
            machine.enter("pasid_bind");
            if (!machine.policy.bind_works || pasid >= pasids) {
                return false;
            }
            if (!machine.bound(pasid)) {
                machine.bound_.push_back(pasid);
            }
            return true;
        },
        .pasid_unbind = [](void *opaque, uint32_t pasid) {
            Machine &machine = Ops::self(opaque);
            machine.enter("pasid_unbind");
            if (!std::erase(machine.bound_, pasid)) {
                broken("a PASID is unbound that was not bound", pasid);
            }
            std::erase_if(machine.grants_, [&](const Grant &g) {
                return g.pasid == pasid;
            });
            std::erase_if(machine.requests_, [&](const Request &r) {
                return r.pasid == pasid;
            });
        },
        .physical_allowed = [](void *opaque) {
            Ops::self(opaque).enter("physical_allowed");
            return Ops::self(opaque).policy.physical_works;
        },
        .trace = nullptr,
    };

    memory_ = static_cast<uint8_t *>(std::aligned_alloc(page, frames * page));
    std::memset(memory_, 0, frames * page);
    __asan_poison_memory_region(memory_, frames * page);
    core_ = ccad_core_new(&config_, &ops, this);
    if (!core_) {
        broken("no core for a good configuration");
    }
}

Machine::~Machine()
{
    ccad_core_delete(core_);
    __asan_unpoison_memory_region(memory_, frames * page);
    std::free(memory_);
}

void Machine::restart()
{
    meanwhile = nullptr;
    serve = nullptr;
    policy = {};
    ccad_core_reset(core_);
    check_quiet();
    if (!bound_.empty()) {
        broken("a PASID is bound after a reset", bound_[0]);
    }
    forget();
    allocate(config_.page_requests);
    for (unsigned i = 0; i < frames; i++) {
        if (dirty_[i]) {
            dirty_[i] = false;
            __asan_unpoison_memory_region(memory_ + i * page, page);
            std::memset(memory_ + i * page, 0, page);
            __asan_poison_memory_region(memory_ + i * page, page);
        }
    }
    ccad_core_poison_clear(core_, 0, local_pages * page);
    for (uint64_t *entry : entries_set_) {
        *entry = 0;
    }
    entries_set_.clear();
    tables_used_ = 0;
    roots_.fill(nullptr);
    now = 0;
    physical = false;
    translate_calls_ = 0;
    interrupts_ = 0;
}

void Machine::forget()
{
    grants_.clear();
    requests_.clear();
}

bool Machine::bound(uint32_t pasid) const
{
    return std::find(bound_.begin(), bound_.end(), pasid) != bound_.end();
}

void Machine::enter(const char *op)
{
    if (!open_.empty()) {
        broken(op);
    }
}

void Machine::check_quiet()
{
    if (!open_.empty()) {
        broken("a page is still mapped");
    }
}

void Machine::pass_time(uint64_t ns)
{
    now += ns;
    if (now >= timer_) {
        timer_ = UINT64_MAX;
        ccad_core_timer(core_);
        check_quiet();
    }
}

/* Memory */

uint64_t Machine::frame_pa(unsigned frame)
{
    return frame < ram_pages ? ram_base + frame * page
                             : local_base + (frame - ram_pages) * page;
}

std::optional<unsigned> Machine::frame_of(uint64_t pa) const
{
    if (pa >= ram_base && pa < ram_base + ram_pages * page) {
        return static_cast<unsigned>((pa - ram_base) / page);
    }
    if (pa >= local_base && pa < local_base + local_pages * page) {
        return static_cast<unsigned>(ram_pages + (pa - local_base) / page);
    }
    return std::nullopt;
}

/* Of an address that is backed. */
uint8_t *Machine::at(uint64_t pa) const
{
    return memory_ + *frame_of(pa) * page + pa % page;
}

bool Machine::peek(uint64_t pa, void *to, uint64_t len) const
{
    if (!len || !backed(pa) || !backed(pa + len - 1)) {
        return false;
    }
    copy_bytes(static_cast<uint8_t *>(to), at(pa), len);
    return true;
}

bool Machine::poke(uint64_t pa, const void *from, uint64_t len)
{
    if (!len || !backed(pa) || !backed(pa + len - 1)) {
        return false;
    }
    copy_bytes(at(pa), static_cast<const uint8_t *>(from), len);
    for (unsigned i = *frame_of(pa); i <= *frame_of(pa + len - 1); i++) {
        dirty_[i] = true;
    }
    return true;
}

/* Page tables */

/* Remembered, since most of a table is never anything but zero. */
void Machine::set(uint64_t *entry, uint64_t value)
{
    if (!*entry) {
        entries_set_.push_back(entry);
    }
    *entry = value;
}

uint64_t *Machine::entry(uint32_t pasid, uint64_t va, unsigned level,
                         bool make)
{
    auto new_table = [this]() -> uint64_t * {
        if (tables_used_ == tables_.size()) {
            return nullptr;
        }
        return tables_[tables_used_++].data();
    };
    uint64_t *&root = roots_[pasid];

    if (!canonical(va)) {
        return nullptr; /* no entry is that of two addresses */
    }
    if (!root && (!make || !(root = new_table()))) {
        return nullptr;
    }
    uint64_t *table = root;
    for (unsigned at_level = pte::levels - 1;; at_level--) {
        uint64_t *e = &table[pte::index(va, at_level)];
        if (at_level == level || (*e & pte::leaf)) {
            return e;
        }
        if (!(*e & pte::present)) {
            if (!make || !new_table()) {
                return nullptr;
            }
            set(e, uint64_t{tables_used_ - 1} << 12 | pte::present |
                       pte::writable);
        }
        table = tables_[(*e & pte::address) >> 12].data();
    }
}

void Machine::map(uint32_t pasid, uint64_t va, uint64_t pa, bool write,
                  bool large)
{
    auto before = walk(pasid % pasids, va);
    if (before && before->size == huge && !large) {
        return; /* a large page is not split */
    }
    uint64_t *e = entry(pasid % pasids, va, large, true);

    if (e) {
        uint64_t size = large ? huge : page;
        set(e, (pa & ~(size - 1)) | pte::present | pte::leaf |
                   (write ? pte::writable : 0));
    }
}

void Machine::unmap(uint32_t pasid, uint64_t va)
{
    uint64_t *e = entry(pasid % pasids, va, 0, false);

    if (e) {
        *e = 0;
    }
}

std::optional<Leaf> Machine::walk(uint32_t pasid, uint64_t va) const
{
    if (pasid >= pasids || !roots_[pasid] || !canonical(va)) {
        return std::nullopt;
    }
    const uint64_t *table = roots_[pasid];
    for (unsigned level = pte::levels - 1;; level--) {
        uint64_t e = table[pte::index(va, level)];
        if (!(e & pte::present)) {
            return std::nullopt;
        }
        if (e & pte::leaf) {
            return Leaf{e & pte::address, uint64_t{1} << pte::shift(level),
                        (e & pte::writable) != 0};
        }
        table = tables_[(e & pte::address) >> 12].data();
    }
}

/* Translations */

CCAD_UNCHECKED void Machine::grant(uint32_t pasid, const ccad_translation &t)
{
    const Grant news{pasid, t.write, t.va, t.pa, t.len};
    Grant *end = grants_.data() + grants_.size();

    /* A translation that was another one has been invalidated before. */
    for (Grant *g = grants_.data(); g != end; g++) {
        if (g->va == t.va && g->pasid == pasid && g->len == t.len) {
            *g = news;
            return;
        }
    }
    grants_.push_back(news);
}

CCAD_UNCHECKED bool Machine::granted(uint64_t pa, uint64_t len,
                                     bool write) const
{
    const Grant *end = grants_.data() + grants_.size();

    for (const Grant *g = grants_.data(); g != end; g++) {
        if (pa - g->pa < g->len && len <= g->len - (pa - g->pa) &&
            (!write || g->write)) {
            return true;
        }
    }
    return false;
}

void Machine::invalidate(uint32_t pasid, bool global, uint64_t va,
                         uint64_t len)
{
    uint64_t last = va + (len - 1);

    if (!len || last < va) {
        last = UINT64_MAX;
    }
    /* A host that forgets to tell the device. */
    if (!control_run()) {
        ccad_core_invalidate(core_, pasid, global, va, len);
        check_quiet();
    }
    std::erase_if(grants_, [&](const Grant &g) {
        return (global || g.pasid == pasid) && g.va <= last &&
               va <= g.va + (g.len - 1);
    });
}

int Machine::translate(uint32_t pasid, uint64_t va, uint64_t len, bool write,
                       ccad_translation *out, size_t max)
{
    enter("a translation with a page mapped");
    translate_calls_++;
    if (!bound(pasid)) {
        broken("a translation of a PASID that is not bound", pasid);
    }
    if (!len || va % page || len % page || va + (len - 1) < va || !max) {
        broken("a translation of a bad range", va, len);
    }

    size_t n = 0;
    if (policy.senseless_translations) {
        const ccad_translation senseless[] = {
            {va, ram_base, 3 * page, true, true},
            {va, ram_base + 64, page, true, true},
            {va + page, ram_base, page, true, true},
            {va, ram_base, page / 2, true, true},
            {va, ram_base, 0, true, true},
        };
        out[n++] = senseless[translate_calls_ % std::size(senseless)];
    } else if (policy.translations_work) {
        uint64_t cursor = va;
        for (uint64_t left = len; left && n < max && n < policy.most_entries;) {
            auto leaf = walk(pasid, cursor);
            ccad_translation &t = out[n++];
            t = {cursor, 0, page, false, false};
            if (leaf) {
                t = {cursor & ~(leaf->size - 1), leaf->pa, leaf->size, true,
                     leaf->write};
                grant(pasid, t);
            }
            uint64_t step = t.va + t.len - cursor;
            cursor += step;
            left -= std::min(left, step);
        }
    }
    /* Between the answer and its arrival. */
    if (meanwhile) {
        meanwhile();
    }
    (void)write;
    return policy.translations_work || n ? static_cast<int>(n) : -1;
}

bool Machine::page_request(const Request &request)
{
    enter("a page request with a page mapped");
    if (!bound(request.pasid)) {
        broken("a page request of a PASID that is not bound", request.pasid);
    }
    if (!request.n || request.n > config_.page_request_group ||
        request.read == request.write) {
        broken("a page request group that makes no sense", request.n);
    }
    for (size_t i = 0; i < request.n; i++) {
        if (request.pages[i] % page ||
            (i && request.pages[i] <= request.pages[i - 1])) {
            broken("a page request of a bad address", request.pages[i]);
        }
    }
    size_t outstanding = request.n;
    for (const Request &other : requests_) {
        outstanding += other.n;
        if (other.prgi == request.prgi) {
            broken("two page request groups of one index", request.prgi);
        }
    }
    if (outstanding > allocation_) {
        broken("more page requests than allowed", outstanding, allocation_);
    }
    requests_.push_back(request);
    if (!policy.page_requests_work) {
        requests_.pop_back();
        return false;
    }
    if (serve) {
        if (auto response = serve(request)) {
            respond(requests_.size() - 1, *response);
        }
    }
    if (meanwhile) {
        meanwhile();
    }
    return true;
}

void Machine::respond(size_t index, ccad_response response)
{
    uint32_t pasid = requests_[index].pasid;
    uint16_t prgi = requests_[index].prgi;

    requests_.erase(requests_.begin() + static_cast<ptrdiff_t>(index));
    /* One that no context waits for any more is still outstanding. */
    if (!ccad_core_page_response(core_, pasid, prgi, response)) {
        broken("a page request is not known any more", pasid, prgi);
    }
}

void Machine::allocate(uint32_t requests)
{
    allocation_ = std::min(requests, config_.page_requests);
    if (!requests) {
        requests_.clear();
    }
    ccad_core_page_request_allocation(core_, requests);
    check_quiet();
}

/* Access */

void *Machine::open(uint64_t pa, uint64_t *len, bool write)
{
    if (!*len || pa + (*len - 1) < pa) {
        broken("a bad length is mapped", pa, *len);
    }
    if (!physical && !granted(pa, *len, write)) {
        broken(write ? "write to a page that is not granted"
                     : "read of a page that is not granted", pa, *len);
    }
    if (!backed(pa)) {
        return nullptr;
    }
    *len = std::min(*len, policy.longest_window);
    while (!backed(pa + *len - 1)) {
        *len = std::max((pa + *len - 1) / page * page - pa, page - pa % page);
    }

    Open window{at(pa), *len, write};
    __asan_unpoison_memory_region(window.ptr, window.len);
    if (write) {
        for (unsigned i = *frame_of(pa); i <= *frame_of(pa + *len - 1); i++) {
            dirty_[i] = true;
        }
    }
    open_.push_back(window);
    return window.ptr;
}

void Machine::close(uint8_t *ptr, uint64_t used, bool write)
{
    auto found = std::find_if(open_.rbegin(), open_.rend(), [&](const Open &o) {
        return o.ptr == ptr && o.write == write;
    });
    if (found == open_.rend()) {
        broken("unmap of what was not mapped");
    }
    if (used > found->len) {
        broken("more bytes used than mapped", used, found->len);
    }
    /* Whole granules: another window may share the first or the last. */
    auto misaligned = reinterpret_cast<uintptr_t>(ptr) % 8;
    __asan_poison_memory_region(ptr - misaligned,
                                (misaligned + found->len + 7) & ~uint64_t{7});
    open_.erase(std::next(found).base());
    for (const Open &o : open_) {
        __asan_unpoison_memory_region(o.ptr, o.len);
    }
}

} // namespace ccad::fuzz
