/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 64-bit registers in two 32-bit accesses, low half first: the low half keeps
 * the high half of the same value for the access that follows.
 */
#pragma once

#include <cstdint>

namespace ccad {

class Halves {
public:
    uint64_t low(uint32_t reg, uint64_t value)
    {
        reg_ = reg;
        high_ = static_cast<uint32_t>(value >> 32);
        held_ = true;
        return value & UINT32_MAX;
    }
    uint64_t high(uint32_t reg, uint64_t value)
    {
        bool mine = held_ && reg_ == reg;

        held_ = false;
        return mine ? high_ : value >> 32;
    }
    template <typename Archive> void transfer(Archive &a)
    {
        a(reg_, high_, held_);
    }

private:
    uint32_t reg_ = 0;
    uint32_t high_ = 0;
    bool held_ = false;
};

} // namespace ccad
