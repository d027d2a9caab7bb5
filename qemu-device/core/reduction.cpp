/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "reduction.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "ccad_hw.h"

namespace ccad {

static_assert(std::endian::native == std::endian::little);
static_assert(std::numeric_limits<float>::is_iec559 &&
              std::numeric_limits<double>::is_iec559);

namespace {

template <typename T>
using Wide = std::conditional_t<std::is_floating_point_v<T>, double, int64_t>;

constexpr double not_a_number = std::bit_cast<double>(0x7ff8000000000000);

struct Sum {
    template <typename W>
    static constexpr W nothing = 0;

    static double add(double a, double b) { return a + b; }
    static int64_t add(int64_t a, int64_t b)
    {
        return static_cast<int64_t>(static_cast<uint64_t>(a) +
                                    static_cast<uint64_t>(b));
    }
};

template <typename W>
constexpr W greatest = std::numeric_limits<W>::has_infinity
                           ? std::numeric_limits<W>::infinity()
                           : std::numeric_limits<W>::max();
template <typename W>
constexpr W least = std::numeric_limits<W>::has_infinity
                        ? -std::numeric_limits<W>::infinity()
                        : std::numeric_limits<W>::min();

struct Min {
    template <typename W>
    static constexpr W nothing = greatest<W>;

    static int64_t add(int64_t a, int64_t b) { return b < a ? b : a; }
    static double add(double a, double b)
    {
        if (a < b) {
            return a;
        }
        if (b < a) {
            return b;
        }
        return a == b ? (std::signbit(a) ? a : b) : not_a_number;
    }
};

struct Max {
    template <typename W>
    static constexpr W nothing = least<W>;

    static int64_t add(int64_t a, int64_t b) { return b > a ? b : a; }
    static double add(double a, double b)
    {
        if (a > b) {
            return a;
        }
        if (b > a) {
            return b;
        }
        return a == b ? (std::signbit(a) ? b : a) : not_a_number;
    }
};

template <typename Operation, typename T>
uint64_t fold(uint64_t value, const uint8_t *data, size_t elements)
{
    auto result = std::bit_cast<Wide<T>>(value);

    for (size_t i = 0; i < elements; i++) {
        T element;
        std::memcpy(&element, data + i * sizeof(T), sizeof(T));
        result = Operation::add(result, Wide<T>{element});
    }
    /* Which NaN an addition gives depends on the processor. */
    if (result != result) {
        return std::bit_cast<uint64_t>(not_a_number);
    }
    return std::bit_cast<uint64_t>(result);
}

template <typename Operation, typename T>
constexpr Reduction reduction = {
    sizeof(T),
    std::bit_cast<uint64_t>(Operation::template nothing<Wide<T>>),
    fold<Operation, T>,
};

/* By type. */
template <typename Operation>
constexpr std::array<Reduction, 4> reductions = {
    reduction<Operation, int32_t>,
    reduction<Operation, int64_t>,
    reduction<Operation, float>,
    reduction<Operation, double>,
};

static_assert(CCAD_TYPE_INT32 == 0 && CCAD_TYPE_INT64 == 1 &&
              CCAD_TYPE_FLOAT == 2 && CCAD_TYPE_DOUBLE == 3);

} // namespace

const Reduction *find_reduction(uint64_t arg)
{
    uint64_t type = arg >> CCAD_REDUCE_TYPE_SHIFT;

    if (type > CCAD_TYPE_DOUBLE) {
        return nullptr;
    }
    switch (arg % (1 << CCAD_REDUCE_TYPE_SHIFT)) {
    case CCAD_REDUCE_SUM:
        return &reductions<Sum>[type];
    case CCAD_REDUCE_MIN:
        return &reductions<Min>[type];
    case CCAD_REDUCE_MAX:
        return &reductions<Max>[type];
    default:
        return nullptr;
    }
}

} // namespace ccad
