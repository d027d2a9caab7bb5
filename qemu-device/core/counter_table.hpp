/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The access counters themselves: reads and writes of 64-byte lines, in local
 * and in system memory, by PASID and granule of the address space.
 *
 * An access counts each line it touches.  What continues where the access of
 * the same operand before it ended, within a line, does not count that line
 * again: so an operand that a command goes through counts each of its lines
 * once, wherever translations and windows cut it.
 *
 * Every figure is exact: the lines of a granule are counted, and a granule is
 * read and cleared, under the mutex of the granule's shard. These mutexes are
 * innermost; accesses are counted under a gate.
 */
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "ccad_hw.h"

namespace ccad {

/* Lines touched, as the results registers hold them. */
struct AccessCount {
    uint64_t read_local = 0;
    uint64_t read_system = 0;
    uint64_t write_local = 0;
    uint64_t write_system = 0;

    uint64_t sum() const
    {
        return read_local + read_system + write_local + write_system;
    }
    template <typename Archive> void transfer(Archive &a)
    {
        a(read_local, read_system, write_local, write_system);
    }
    uint64_t &of(bool local, bool write)
    {
        return write ? (local ? write_local : write_system)
                     : (local ? read_local : read_system);
    }
};

struct Access {
    uint32_t pasid;
    uint64_t va;
    uint64_t bytes;
    bool local;
    bool write;
    bool continues; /* the line it begins in is counted already */
};

/* Granules that reached the threshold; without a clock yet. */
using CounterRecords = std::vector<ccad_counter_record>;

class CounterTable {
public:
    static constexpr uint64_t line = 64;

    explicit CounterTable(uint32_t capacity) : capacity_(capacity) {}

    /* Forget everything; while nobody counts. Threshold 0: no records. */
    void restart(uint32_t granule_shift, uint64_t threshold);

    /*
     * Count an access, and append the granules that reach the threshold to
     * due. False if lines were lost.
     */
    bool count(const Access &access, CounterRecords &due);

    /* The granule of va, which is zeroed in the same step if clear is set. */
    AccessCount read(uint32_t pasid, uint64_t va, bool clear);
    void clear(uint32_t pasid);
    void clear_all();

    /* While nobody counts; loading takes the place of what there was. */
    template <typename Archive> void transfer(Archive &a)
    {
        if constexpr (Archive::loading) {
            clear_all();
        }
        a(shift_, threshold_, lost_);
        a.require(shift_ >= CCAD_GRANULE_SHIFT_MIN &&
                  shift_ <= CCAD_GRANULE_SHIFT_MAX);
        size_t n = a.length(used_.load(), capacity_);
        if constexpr (Archive::loading) {
            for (size_t i = 0; i < n && a.good(); i++) {
                Key key;
                Entry entry;
                a(key, entry);
                if (a.good()) {
                    a.require(shard_of(key)
                                  .entries.try_emplace(key, entry)
                                  .second);
                    used_++;
                }
            }
        } else {
            for (Shard &shard : shards_) {
                for (auto &[key, entry] : shard.entries) {
                    Key copy = key;
                    a(copy, entry);
                }
            }
        }
    }

    /* Lines not counted, for want of room, since restart(). */
    uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

private:
    struct Key {
        uint64_t granule;
        uint32_t pasid;

        bool operator==(const Key &) const = default;
        template <typename Archive> void transfer(Archive &a)
        {
            a(granule, pasid);
        }
    };
    struct Hash {
        size_t operator()(const Key &key) const;
    };
    struct Entry {
        AccessCount count;
        uint64_t notified = 0; /* sum when the last record was made */

        template <typename Archive> void transfer(Archive &a)
        {
            a(count, notified);
        }
    };
    struct alignas(64) Shard {
        std::mutex mutex;
        std::unordered_map<Key, Entry, Hash> entries;
    };

    Shard &shard_of(const Key &key);
    bool take_slot();
    bool add(const Key &key, const Access &access, uint64_t lines,
             CounterRecords &due);
    template <typename Predicate>
    void erase_if(Predicate predicate);

    const uint32_t capacity_;
    uint32_t shift_ = CCAD_GRANULE_SHIFT_DEFAULT;
    uint64_t threshold_ = 0;
    std::atomic<uint32_t> used_{0};
    std::atomic<uint64_t> lost_{0};
    std::array<Shard, 64> shards_;
};

} // namespace ccad
