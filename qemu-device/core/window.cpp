/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "window.hpp"

#include <algorithm>

namespace ccad {

namespace {

/* Make held the translation of va if the ATC can. */
bool resolve(Atc &atc, uint32_t pasid, Held &held, uint64_t va, bool write)
{
    if (held.valid && held.entry.covers(va) && held.entry.allows(write) &&
        atc.fresh(held.generation, pasid, held.entry.first, held.entry.last)) {
        return true;
    }
    /* Before the lookup: an invalidation in between makes it too old. */
    uint64_t generation = atc.generation();
    auto entry = atc.lookup(pasid, va, write);
    if (!entry) {
        held.valid = false;
        return false;
    }
    held = {*entry, generation, true, false};
    return true;
}

} // namespace

Window::Window(const Host &host, Atc &atc, uint32_t pasid, Held &held,
               Meter &meter, uint64_t va, uint64_t len, bool write)
    : host_(host), held_(held), meter_(meter), write_(write)
{
    if (!resolve(atc, pasid, held, va, write)) {
        state_ = Opened::miss;
        return;
    }

    uint64_t pa = held.entry.pa + (va - held.entry.first);
    /* Less one, since an entry may be longer than 2^64 - 1. */
    uint64_t wanted =
        std::min({len - 1, max_access - 1, held.entry.last - va}) + 1;

    size_ = wanted;
    data_ = host.map(pa, &size_, write);
    if (!data_ || !size_) {
        state_ = Opened::bus_error;
        if (data_) {
            host.unmap(data_, 0, write);
            data_ = nullptr;
        }
        size_ = 0;
        return;
    }
    size_ = std::min(size_, wanted);
    uint64_t offset;
    local_ = host.local_offset(pa, &offset);
    state_ = Opened::ok;
}

Window::~Window()
{
    if (data_) {
        host_.unmap(data_, used_, write_);
    }
}

void Window::use(uint64_t bytes)
{
    used_ = bytes;
    (local_ ? meter_.local : meter_.system).count(bytes, write_);
    if (held_.asked) {
        held_.asked = false;
    } else {
        meter_.atc_hits++;
    }
}

} // namespace ccad
