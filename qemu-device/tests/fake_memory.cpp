/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Physical memory of the fake host, and who may touch it when.
 *
 * A page may be touched from the moment at which it is mapped until the
 * invalidation that follows its unmapping has returned.  Both sides first do
 * their part and then look at the other's, so that one of them sees it.
 */
#include <algorithm>
#include <cstring>
#include <new>

#include "fake_host.hpp"

namespace ccad::test {

namespace {

constexpr uint8_t poison = 0xdb;

/* What this thread has mapped, innermost last. */
struct Open {
    void *ptr;
    uint64_t pa;
    uint64_t len;
    bool write;
};
thread_local std::vector<Open> open_windows;

} // namespace

bool FakeHost::has_open_windows()
{
    return !open_windows.empty();
}

bool FakeHost::valid(uint64_t pa) const
{
    return pa < ram_size || (pa >= local_base && pa < local_base + local_size);
}

size_t FakeHost::page_index(uint64_t pa) const
{
    return (pa < ram_size ? pa : pa - local_base + ram_size) / page;
}

uint8_t *FakeHost::at(uint64_t pa)
{
    return memory_ + page_index(pa) * page + pa % page;
}

uint64_t FakeHost::alloc(uint64_t size, bool local)
{
    std::lock_guard lock(big_lock_);
    auto &list = free_[local][size];
    uint64_t pa;

    if (!list.empty()) {
        pa = list.back();
        list.pop_back();
        if (!std::all_of(at(pa), at(pa) + size,
                         [](uint8_t byte) { return byte == poison; })) {
            violation("a freed page was written to");
        }
    } else {
        pa = (next_[local] + size - 1) & ~(size - 1);
        next_[local] = pa + size;
        if (next_[local] > (local ? local_base + local_size : ram_size)) {
            throw std::bad_alloc();
        }
    }
    for (uint64_t i = 0; i < size; i += page) {
        pages_[page_index(pa + i)].freed = false;
    }
    std::memset(at(pa), 0, size);
    return pa;
}

void FakeHost::free(uint64_t pa, uint64_t size)
{
    std::lock_guard lock(big_lock_);

    for (uint64_t i = 0; i < size; i += page) {
        PageState &state = pages_[page_index(pa + i)];
        state.readable = false;
        state.writable = false;
        state.freed = true;
        if (state.mapped) {
            violation("a page is in use after its invalidation");
        }
    }
    /* A late write would be lost in the poison, a late read races with it. */
    std::memset(at(pa), poison, size);
    free_[pa >= local_base][size].push_back(pa);
}

void FakeHost::grant(uint64_t pa, uint64_t size, bool writable)
{
    for (uint64_t i = 0; i < size && valid(pa + i); i += page) {
        PageState &state = pages_[page_index(pa + i)];
        state.readable = true;
        if (writable) {
            state.writable = true;
        }
    }
}

void FakeHost::revoke(uint64_t pa, uint64_t size, bool only_writing)
{
    for (uint64_t i = 0; i < size && valid(pa + i); i += page) {
        PageState &state = pages_[page_index(pa + i)];
        state.writable = false;
        if (!only_writing) {
            state.readable = false;
        }
        if (only_writing ? state.written : state.mapped) {
            violation("a page is in use after its invalidation");
        }
    }
}

/* Accesses of the device */

void *FakeHost::do_map(uint64_t pa, uint64_t *len, bool write)
{
    if (!valid(pa) || (pa & ~(page - 1)) == unmapped_pa) {
        return nullptr;
    }
    uint64_t end = pa < ram_size ? ram_size : local_base + local_size;
    *len = std::min<uint64_t>({*len, map_limit, end - pa});
    if (uint64_t hole = unmapped_pa; hole > pa) {
        *len = std::min(*len, hole - pa);
    }
    for (size_t i = page_index(pa); i <= page_index(pa + *len - 1); i++) {
        PageState &state = pages_[i];
        state.mapped++;
        state.written += write;
        mapped_++;
        if (state.freed) {
            violation("a freed page is mapped");
        }
        if (strict && !(write ? state.writable : state.readable)) {
            violation(write ? "a write where nothing writable is mapped"
                            : "a read where nothing is mapped");
        }
    }
    open_windows.push_back({at(pa), pa, *len, write});
    if (on_map) {
        on_map(pa, write);
    }
    return at(pa);
}

void FakeHost::do_unmap(void *ptr, uint64_t used, bool write)
{
    auto found = std::find_if(open_windows.rbegin(), open_windows.rend(),
                              [&](const Open &o) {
                                  return o.ptr == ptr && o.write == write;
                              });
    if (found == open_windows.rend()) {
        violation("unmap of what was not mapped");
        return;
    }
    if (used > found->len) {
        violation("more used than mapped");
    }
    if (on_unmap) {
        on_unmap(found->pa, used, write);
    }
    for (size_t i = page_index(found->pa);
         i <= page_index(found->pa + found->len - 1); i++) {
        pages_[i].mapped--;
        pages_[i].written -= found->write;
        mapped_--;
    }
    open_windows.erase(std::next(found).base());
}

bool FakeHost::do_dma_write(uint64_t addr, const void *buf, uint64_t len)
{
    enter_op("dma_write");
    if (!big_lock_.held()) {
        violation("dma_write without the big lock");
    }
    if (!dma_works || addr >= ram_size || len > ram_size - addr) {
        return false;
    }
    if (pages_[page_index(addr)].freed) {
        violation("dma_write to a freed page");
    }
    std::memcpy(at(addr), buf, len);
    return true;
}

} // namespace ccad::test
