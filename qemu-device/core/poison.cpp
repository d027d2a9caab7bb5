/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "poison.hpp"

#include <algorithm>

namespace ccad {

uint64_t Poison::mask(uint64_t base, uint64_t first, uint64_t last)
{
    uint64_t from = first > base ? (first - base) / line : 0;
    uint64_t to = std::min((last - base) / line, lines_per_page - 1);

    return UINT64_MAX << from & UINT64_MAX >> (lines_per_page - 1 - to);
}

const char *Poison::check(uint64_t offset, uint64_t len) const
{
    if (!len) {
        return "the length is 0";
    }
    if (offset >= mem_size_) {
        return "the address is beyond the end of local memory";
    }
    if (len > mem_size_ - offset) {
        return "the range reaches beyond the end of local memory";
    }
    return nullptr;
}

uint64_t Poison::clean(uint64_t offset, uint64_t len) const
{
    uint64_t last = offset + (len - 1);
    std::lock_guard lock(mutex_);

    for (auto at = pages_.lower_bound(offset / page);
         at != pages_.end() && at->first <= last / page; ++at) {
        uint64_t base = at->first * page;
        uint64_t hit = at->second & mask(base, offset, last);
        if (hit) {
            uint64_t first =
                base + static_cast<uint64_t>(std::countr_zero(hit)) * line;
            return first > offset ? first - offset : 0;
        }
    }
    return len;
}

const char *Poison::inject(uint64_t offset, uint64_t len)
{
    if (const char *complaint = check(offset, len)) {
        return complaint;
    }

    uint64_t last = offset + (len - 1);
    std::lock_guard lock(mutex_);
    for (uint64_t number = offset / page; number <= last / page; number++) {
        uint64_t &lines = pages_[number];
        uint64_t before = lines;
        lines |= mask(number * page, offset, last);
        lines_ += static_cast<uint64_t>(std::popcount(lines ^ before));
    }
    return nullptr;
}

const char *Poison::clear(uint64_t offset, uint64_t len)
{
    if (const char *complaint = check(offset, len)) {
        return complaint;
    }

    uint64_t last = offset + (len - 1);
    std::lock_guard lock(mutex_);
    for (auto at = pages_.lower_bound(offset / page);
         at != pages_.end() && at->first <= last / page;) {
        uint64_t before = at->second;
        at->second &= ~mask(at->first * page, offset, last);
        lines_ -= static_cast<uint64_t>(std::popcount(at->second ^ before));
        at = at->second ? std::next(at) : pages_.erase(at);
    }
    return nullptr;
}

std::optional<Poison::Range> Poison::next(uint64_t offset) const
{
    std::optional<Range> range;
    std::lock_guard lock(mutex_);

    for (auto at = pages_.lower_bound(offset / page); at != pages_.end();
         ++at) {
        uint64_t base = at->first * page;
        uint64_t lines = at->second & mask(base, offset, UINT64_MAX);
        if (!range) {
            if (!lines) {
                continue;
            }
            auto first = static_cast<uint64_t>(std::countr_zero(lines));
            range = {base + first * line, 0};
            lines >>= first;
        } else if (range->offset + range->len != base) {
            break;
        }
        range->len += static_cast<uint64_t>(std::countr_one(lines)) * line;
        if (range->offset + range->len != base + page) {
            break;
        }
    }
    return range;
}

} // namespace ccad
