/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entries of the four-level page tables that hosts of the tests keep. */
#pragma once

#include <cstdint>

namespace ccad::test::pte {

inline constexpr uint64_t present = 1;
inline constexpr uint64_t writable = 2;
inline constexpr uint64_t leaf = 0x80; /* on any level */
inline constexpr uint64_t address = 0x000ffffffffff000;
inline constexpr unsigned levels = 4;

/* Log2 of what an entry of the level covers; 0 is that of 4 KiB pages. */
constexpr unsigned shift(unsigned level)
{
    return 12 + 9 * level;
}

constexpr uint64_t index(uint64_t va, unsigned level)
{
    return (va >> shift(level)) & 511;
}

} // namespace ccad::test::pte
