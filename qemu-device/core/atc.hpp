/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Address translation cache: set-associative, tagged by PASID, entries of any
 * power-of-two size from 4 KiB on, least recently used of the set goes first.
 *
 * Invalidation is counted by a generation.  Who asks the host for a
 * translation notes the generation first; the answer is taken only if no
 * invalidation that overlaps it came in between.  The last invalidations are
 * kept in a log, so that those of other pages do no harm; an answer older
 * than the log counts as stale.
 */
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "ccad_core.h"

namespace ccad {

inline constexpr uint64_t page_size = 4096;

/* [first, last] is at pa; inclusive, since the last page may end at 2^64. */
struct Translation {
    uint64_t first;
    uint64_t last;
    uint64_t pa;
    bool read;
    bool write;

    bool covers(uint64_t va) const { return va >= first && va <= last; }
    bool allows(bool for_write) const { return for_write ? write : read; }

    /* As from() makes them. */
    bool valid() const
    {
        uint64_t size = last - first + 1;

        return std::has_single_bit(size) && size >= page_size &&
               !(first & (size - 1)) && !(pa & (size - 1)) && (read || write);
    }
    template <typename Archive> void transfer(Archive &a)
    {
        a(first, last, pa, read, write);
        a.require(valid());
    }

    /* Nothing if the host's answer makes no sense or grants nothing. */
    static std::optional<Translation> from(const ccad_translation &answer);
};

class Atc {
public:
    Atc(uint32_t sets, uint32_t ways);

    uint64_t generation() const
    {
        return generation_.load(std::memory_order_acquire);
    }

    /* The translation of va that allows the access. */
    std::optional<Translation> lookup(uint32_t pasid, uint64_t va,
                                      bool for_write);

    /* False if stale: it was asked for at generation, and invalidated since. */
    bool insert(uint64_t generation, uint32_t pasid, const Translation &entry);

    /* Whether no invalidation since generation overlaps [first, last]. */
    bool fresh(uint64_t generation, uint32_t pasid, uint64_t first,
               uint64_t last) const;

    /* Drop all that overlaps [first, last] of pasid, or of every PASID. */
    void invalidate(uint32_t pasid, bool global, uint64_t first, uint64_t last);

    uint32_t capacity() const { return sets_ * ways_; }
    /* Entries of 2^shift bytes, or of all sizes if shift is 0. */
    uint32_t entries(unsigned shift) const;
    /* Call with PASID and translation of each entry, with the mutex held. */
    template <typename Visit> void each(Visit visit) const
    {
        std::lock_guard lock(mutex_);
        for (const Line &line : lines_) {
            if (line.shift) {
                visit(line.pasid, line.entry);
            }
        }
    }

    /* What was asked for before counts as stale once it is loaded. */
    template <typename Archive> void transfer(Archive &a)
    {
        std::lock_guard lock(mutex_);
        size_t n = a.length(entries_locked(), lines_.size());

        a(clock_);
        if constexpr (Archive::loading) {
            const Record all{0, UINT64_MAX, 0, true};
            log_.fill(all);
            generation_ += log_.size();
            sweep(all);
        }
        size_t at = 0;
        for (size_t i = 0; i < n && a.good(); i++, at++) {
            while (!Archive::loading && !lines_[at].shift) {
                at++;
            }
            transfer_line(a, at);
        }
    }

private:
    struct Line {
        Translation entry;
        uint64_t used;
        uint32_t pasid;
        uint8_t shift; /* 0: free */
    };

    /* The next line in use, which comes at or after at. */
    template <typename Archive> void transfer_line(Archive &a, size_t &at)
    {
        auto index = static_cast<uint32_t>(at);
        Line line = Archive::loading ? Line{} : lines_[at];
        Translation &entry = line.entry;

        a(index, entry, line.used, line.pasid, line.shift);
        if constexpr (Archive::loading) {
            const uint64_t size = uint64_t{1} << (line.shift & 63);
            a.require(index >= at && index < lines_.size() &&
                      line.shift >= 12 && line.shift < sizes_.size() &&
                      entry.last - entry.first == size - 1 &&
                      line.used <= clock_);
            if (a.good()) {
                const Line *set = set_of(line.pasid, entry.first, line.shift);
                a.require(&lines_[index] >= set &&
                          &lines_[index] < set + ways_);
                lines_[index] = line;
                enter(line.shift);
                at = index;
            }
        }
    }
    uint32_t entries_locked() const;
    /* Call with the shift of each size in use. */
    template <typename Visit> void each_size(Visit visit) const
    {
        for (uint64_t left = in_use_; left; left &= left - 1) {
            visit(static_cast<unsigned>(std::countr_zero(left)));
        }
    }
    struct Record {
        uint64_t first;
        uint64_t last;
        uint32_t pasid;
        bool global;

        bool hits(uint32_t pasid, uint64_t first, uint64_t last) const;
    };

    Line *set_of(uint32_t pasid, uint64_t va, unsigned shift);
    void enter(unsigned shift);
    void drop(Line &line);
    void sweep(const Record &what);
    void probe(const Record &what);
    uint64_t probes(const Record &what) const;
    bool fresh_locked(uint64_t generation, uint32_t pasid, uint64_t first,
                      uint64_t last) const;

    const uint32_t sets_;
    const uint32_t ways_;
    mutable std::mutex mutex_;
    std::vector<Line> lines_;
    std::array<uint32_t, 64> sizes_{}; /* lines in use by log2 of their size */
    uint64_t in_use_ = 0; /* bit n: there are lines of 2^n bytes */
    uint64_t clock_ = 0;
    std::atomic<uint64_t> generation_{0};
    std::array<Record, 64> log_{};
};

} // namespace ccad
