/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Statistics of a context or of the device, by CCAD_STAT_* offset. */
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "ccad_hw.h"

namespace ccad {

class Stats {
public:
    void add(uint32_t stat, uint64_t n)
    {
        if (n) {
            values_[stat / 8].fetch_add(n, std::memory_order_relaxed);
        }
    }
    void set(uint32_t stat, uint64_t n)
    {
        values_[stat / 8].store(n, std::memory_order_relaxed);
    }
    uint64_t get(uint32_t stat) const
    {
        return values_[stat / 8].load(std::memory_order_relaxed);
    }
    void clear()
    {
        for (auto &value : values_) {
            value.store(0, std::memory_order_relaxed);
        }
    }
    static bool valid(uint32_t stat)
    {
        return stat % 8 == 0 && stat / 8 < CCAD_STAT_COUNT;
    }

private:
    std::array<std::atomic<uint64_t>, CCAD_STAT_COUNT> values_{};
};

} // namespace ccad
