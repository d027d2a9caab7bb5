/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Poisoned lines of local memory.
 *
 * Poison belongs to the contents of memory: it stays until the whole line is
 * written, until it is cleared, or until the memory loses its contents; a
 * reset of the device alone changes nothing.
 *
 * The mutex is innermost; accesses ask under a gate.
 */
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>

#include "ccad_hw.h"

namespace ccad {

class Poison {
public:
    static constexpr uint64_t line = CCAD_POISON_LINE;

    /* Bytes, whole lines. */
    struct Range {
        uint64_t offset;
        uint64_t len;
    };

    explicit Poison(uint64_t mem_size) : mem_size_(mem_size) {}

    /* Cheap: most of the time there is none. */
    bool any() const { return lines() != 0; }
    uint64_t lines() const { return lines_.load(std::memory_order_relaxed); }

    /* How many of the len bytes at offset lie before the first poison. */
    uint64_t clean(uint64_t offset, uint64_t len) const;

    /*
     * Poison, or clear, every line that the range touches. Null, or one
     * phrase that says what is wrong with the range.
     */
    const char *inject(uint64_t offset, uint64_t len);
    const char *clear(uint64_t offset, uint64_t len);

    /* The first poisoned range at or after offset. */
    std::optional<Range> next(uint64_t offset) const;

    /* Loading takes the place of what there was; mem_size_ is not 0. */
    template <typename Archive> void transfer(Archive &a)
    {
        bool more = true;
        uint64_t from = 0;

        if constexpr (Archive::loading) {
            clear(0, mem_size_);
        }
        while (more && a.good()) {
            std::optional<Range> range;
            if constexpr (!Archive::loading) {
                range = next(from);
            }
            more = range.has_value();
            Range r = range.value_or(Range{});
            a(more);
            if (!more) {
                break;
            }
            a(r.offset, r.len);
            if constexpr (Archive::loading) {
                a.require(r.offset >= from && !inject(r.offset, r.len));
            }
            from = r.offset + r.len;
        }
    }

private:
    static constexpr uint64_t lines_per_page = 64; /* bits of a mask */
    static constexpr uint64_t page = line * lines_per_page;

    /* The lines of the page at base that [first, last] touches. */
    static uint64_t mask(uint64_t base, uint64_t first, uint64_t last);
    const char *check(uint64_t offset, uint64_t len) const;

    const uint64_t mem_size_;
    mutable std::mutex mutex_;
    std::map<uint64_t, uint64_t> pages_; /* masks of lines by page, none 0 */
    std::atomic<uint64_t> lines_{0};
};

} // namespace ccad
