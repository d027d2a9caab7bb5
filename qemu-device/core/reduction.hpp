/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reductions, of REDUCE and LIST_WALK.  Elements are taken one after the
 * other, in the order of addresses or of the list, each from little-endian
 * memory into an int64 or a double; so the result does not depend on how many
 * pieces the elements come in.
 *
 *   sum   of integers modulo 2^64; of floating point rounded to nearest after
 *         each addition, from +0
 *   min   and max of floating point as minimum and maximum of IEEE 754-2019:
 *         -0 is less than +0, and a NaN among the elements is the result
 *
 * A result that is not a number is 0x7ff8000000000000.  Of no elements the sum
 * is 0, the minimum the greatest value (INT64_MAX, infinity), the maximum the
 * least.
 */
#pragma once

#include <cstddef>
#include <cstdint>

namespace ccad {

struct Reduction {
    unsigned element; /* bytes */
    uint64_t nothing; /* the result of no elements */
    /* The result so far, and that many elements more, at any alignment. */
    uint64_t (*fold)(uint64_t value, const uint8_t *data, size_t elements);
};

/* By CCAD_REDUCE_* and type; null if there is no such reduction. */
const Reduction *find_reduction(uint64_t arg);

} // namespace ccad
