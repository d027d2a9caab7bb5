/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Statistics of a context or of the device, by CCAD_STAT_* offset, and its
 * commands by opcode.  One thread at a time writes them: that of a context who
 * has its run, and that of the device who holds the state lock.
 *
 * The device's are those of its contexts and what these had counted before
 * they were enabled anew: nothing is shared between engines.
 */
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "ccad_core.h"
#include "ccad_hw.h"

namespace ccad {

class Stats {
public:
    void add(uint32_t stat, uint64_t n)
    {
        increase(values_[stat / 8], n);
    }
    void set(uint32_t stat, uint64_t n)
    {
        values_[stat / 8].store(n, std::memory_order_relaxed);
    }
    uint64_t get(uint32_t stat) const
    {
        return values_[stat / 8].load(std::memory_order_relaxed);
    }
    void count_command(uint8_t opcode)
    {
        size_t kind = std::min<size_t>(opcode, commands_.size() - 1);

        add(CCAD_STAT_COMMANDS, 1);
        increase(commands_[kind], 1);
    }
    /* Add what a context has counted, which begins anew. */
    void take(Stats &context)
    {
        context.set(CCAD_STAT_INVALIDATIONS, 0); /* the device has its own */
        for (size_t i = 0; i < values_.size(); i++) {
            increase(values_[i], context.values_[i]);
        }
        for (size_t i = 0; i < commands_.size(); i++) {
            increase(commands_[i], context.commands_[i]);
        }
        context.clear();
    }
    uint64_t commands(uint32_t kind) const
    {
        return kind < commands_.size()
                   ? commands_[kind].load(std::memory_order_relaxed)
                   : 0;
    }
    void clear()
    {
        for (auto &value : values_) {
            value.store(0, std::memory_order_relaxed);
        }
        for (auto &value : commands_) {
            value.store(0, std::memory_order_relaxed);
        }
    }
    template <typename Archive> void transfer(Archive &a)
    {
        a(values_, commands_);
    }
    static bool valid(uint32_t stat)
    {
        return stat % 8 == 0 && stat / 8 < CCAD_STAT_COUNT;
    }

private:
    static_assert(CCAD_COMMAND_KINDS == CCAD_OP_COPY_PAGES + 2);

    static void increase(std::atomic<uint64_t> &value, uint64_t n)
    {
        value.store(value.load(std::memory_order_relaxed) + n,
                    std::memory_order_relaxed);
    }

    std::array<std::atomic<uint64_t>, CCAD_STAT_COUNT> values_{};
    std::array<std::atomic<uint64_t>, CCAD_COMMAND_KINDS> commands_{};
};

} // namespace ccad
