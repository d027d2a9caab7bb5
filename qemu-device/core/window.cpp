/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "window.hpp"

#include <algorithm>

namespace ccad {

namespace {

/* Make held the translation of va if the ATC can. */
bool resolve(Atc &atc, uint32_t pasid, Held &held, uint64_t va, bool write)
{
    if (held.identity) {
        return true;
    }
    if (held.valid && held.entry.covers(va) && held.entry.allows(write) &&
        atc.fresh(held.generation, pasid, held.entry.first, held.entry.last)) {
        return true;
    }
    if (held.apart) {
        held.valid = false;
        return false;
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

Window::Window(const Memory &memory, uint32_t pasid, OperandState &operand,
               Meter &meter, CounterRecords *due, uint64_t va, uint64_t len,
               bool write, uint64_t limit)
    : memory_(memory), pasid_(pasid), operand_(operand), meter_(meter),
      due_(due), va_(va), write_(write)
{
    const Translation &entry = operand.held.entry;

    if (!resolve(memory.atc, pasid, operand.held, va, write)) {
        state_ = Opened::miss;
        return;
    }

    /* Less one, since an entry may be longer than 2^64 - 1. */
    uint64_t ahead = std::min(entry.last - va, max_mapping - 1) + 1;
    const uint64_t wanted = std::min({len, limit, ahead});
    uint64_t size = wanted;

    pa_ = entry.pa + (va - entry.first);
    data_ = operand.mapping.reach(memory.host, pa_, &size, ahead, write);
    if (!data_) {
        state_ = Opened::bus_error;
        return;
    }
    /* An access that does not lie in the mapping may have one of its own. */
    if (size < wanted && size > max_access) {
        size -= size % max_access;
    }
    size_ = size;
    local_ = memory.host.local_offset(pa_, &offset_);
    if (local_ && memory.poison.any()) {
        size_ = sound(len);
        state_ = size_ ? Opened::ok : Opened::poison;
    }
}

/* Whether the line with byte at of the window is. */
bool Window::poisoned(uint64_t at) const
{
    return !memory_.poison.clean(offset_ + at, 1);
}

/* How much of the window can be used, of an operand with len bytes left. */
uint64_t Window::sound(uint64_t len) const
{
    constexpr uint64_t line = Poison::line;

    if (!write_) {
        return memory_.poison.clean(offset_, size_);
    }

    /* Lines written in part are those it begins and ends in, if any. */
    const uint64_t head = va_ % line;
    const uint64_t tail = (head + len) % line;
    if (((head && !rewrites()) || head + len < line) && poisoned(0)) {
        return 0;
    }
    if (tail && tail < len && len - tail < size_ && poisoned(len - tail)) {
        return len - tail;
    }
    return size_;
}

/*
 * Lines written in full are clean; whether the last one, written in part so
 * far, can still be.
 */
bool Window::rewrite(uint64_t bytes)
{
    constexpr uint64_t line = Poison::line;
    const uint64_t head = va_ % line;
    const uint64_t first = head && !rewrites() ? offset_ + line - head
                                               : offset_ - head;
    const uint64_t end = offset_ + bytes - (va_ + bytes) % line;

    if (first < end) {
        memory_.poison.clear(first, end - first);
    }
    return first <= end && end < offset_ + bytes &&
           poisoned(end > offset_ ? end - offset_ : 0);
}

void Window::use(uint64_t bytes)
{
    auto &[held, cursor, mapping] = operand_;
    const uint64_t accesses =
        (local_ ? meter_.local : meter_.system).count(bytes, write_);

    mapping.use(pa_, bytes);
    if (!held.identity) {
        meter_.atc_hits += accesses - held.asked;
        held.asked = false;
    }
    if (due_) {
        memory_.counters.count(
            {pasid_, va_, bytes, local_, write_, continues()}, *due_);
    }
    cursor.rewriting =
        write_ && local_ && memory_.poison.any() && rewrite(bytes);
    cursor.end = va_ + bytes;
}

} // namespace ccad
