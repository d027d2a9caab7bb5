/* SPDX-License-Identifier: GPL-2.0-or-later */
/* REDUCE, against the standard library. */
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "commands.hpp"

namespace ccad::test {

namespace {

constexpr uint64_t not_a_number = 0x7ff8000000000000;

template <typename T>
constexpr uint64_t type_code = std::is_same_v<T, int32_t>   ? CCAD_TYPE_INT32
                               : std::is_same_v<T, int64_t> ? CCAD_TYPE_INT64
                               : std::is_same_v<T, float>   ? CCAD_TYPE_FLOAT
                                                            : CCAD_TYPE_DOUBLE;

template <typename T>
std::vector<T> random_values(size_t count, uint32_t seed)
{
    std::mt19937_64 random(seed);
    std::vector<T> values(count);

    for (T &value : values) {
        if constexpr (std::is_integral_v<T>) {
            value = static_cast<T>(random());
        } else {
            /* Magnitudes that make the order of a sum visible. */
            std::uniform_real_distribution<T> mantissa(-1, 1);
            value = std::ldexp(mantissa(random),
                               static_cast<int>(random() % 60) - 30);
        }
    }
    return values;
}

/* As the standard library has it: the sum from left to right. */
template <typename T>
uint64_t expected(const std::vector<T> &values, uint64_t what)
{
    if constexpr (std::is_integral_v<T>) {
        int64_t result;
        switch (what) {
        case CCAD_REDUCE_SUM:
            return std::accumulate(values.begin(), values.end(), uint64_t{0},
                                   [](uint64_t sum, int64_t value) {
                                       return sum +
                                              static_cast<uint64_t>(value);
                                   });
        case CCAD_REDUCE_MIN:
            result = *std::min_element(values.begin(), values.end());
            break;
        default:
            result = *std::max_element(values.begin(), values.end());
            break;
        }
        return static_cast<uint64_t>(result);
    } else {
        double result;
        switch (what) {
        case CCAD_REDUCE_SUM:
            result = std::accumulate(values.begin(), values.end(), 0.0);
            break;
        case CCAD_REDUCE_MIN:
            result = *std::min_element(values.begin(), values.end());
            break;
        default:
            result = *std::max_element(values.begin(), values.end());
            break;
        }
        return std::bit_cast<uint64_t>(result);
    }
}

template <typename T>
class Reduce : public DeviceTest {
protected:
    ccad_completion run(const std::vector<T> &values, uint64_t what,
                        uint64_t offset = 0)
    {
        uint64_t len = values.size() * sizeof(T);
        host.populate(pasid, src_va, offset + len + 1);
        store(host, src_va + offset, bytes_of(values));
        auto record =
            queue.run(reduce(src_va + offset, len, what, type_code<T>));
        EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
        EXPECT_EQ(record.bytes_done, len);
        return record;
    }

    Queue queue = device.queue();
};

using Types = testing::Types<int32_t, int64_t, float, double>;
TYPED_TEST_SUITE(Reduce, Types);

TYPED_TEST(Reduce, IsThatOfTheStandardLibrary)
{
    for (size_t count : {1, 2, 7, 1024, 50'001}) {
        auto values = random_values<TypeParam>(count, 3);
        for (uint64_t what :
             {CCAD_REDUCE_SUM, CCAD_REDUCE_MIN, CCAD_REDUCE_MAX}) {
            EXPECT_EQ(this->run(values, what).result, expected(values, what))
                << count << " elements, reduction " << what;
        }
    }
}

/* Elements across pages, and windows that end within elements. */
TYPED_TEST(Reduce, DoesNotDependOnThePieces)
{
    auto values = random_values<TypeParam>(5000, 4);

    for (uint64_t what : {CCAD_REDUCE_SUM, CCAD_REDUCE_MIN, CCAD_REDUCE_MAX}) {
        for (uint64_t offset : {0, 1, 4, 4093, 4095}) {
            for (uint64_t limit : {UINT64_MAX, uint64_t{1001}, uint64_t{67}}) {
                this->host.map_limit = limit;
                EXPECT_EQ(this->run(values, what, offset).result,
                          expected(values, what));
            }
        }
    }
}

TYPED_TEST(Reduce, OfNothing)
{
    using Limits = std::numeric_limits<TypeParam>;
    uint64_t least;
    uint64_t greatest;
    if constexpr (std::is_integral_v<TypeParam>) {
        least = static_cast<uint64_t>(std::numeric_limits<int64_t>::min());
        greatest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    } else {
        static_assert(Limits::has_infinity);
        least = std::bit_cast<uint64_t>(-double{Limits::infinity()});
        greatest = std::bit_cast<uint64_t>(double{Limits::infinity()});
    }

    EXPECT_EQ(this->run({}, CCAD_REDUCE_SUM).result, 0);
    EXPECT_EQ(this->run({}, CCAD_REDUCE_MIN).result, greatest);
    EXPECT_EQ(this->run({}, CCAD_REDUCE_MAX).result, least);
}

TYPED_TEST(Reduce, Extremes)
{
    using Limits = std::numeric_limits<TypeParam>;
    std::vector<TypeParam> values{Limits::max(), Limits::lowest(), 0};

    for (uint64_t what : {CCAD_REDUCE_SUM, CCAD_REDUCE_MIN, CCAD_REDUCE_MAX}) {
        EXPECT_EQ(this->run(values, what).result, expected(values, what));
    }
}

TYPED_TEST(Reduce, AFaultLeavesTheResultOfItsBytes)
{
    auto values = random_values<TypeParam>(3 * page / sizeof(TypeParam), 5);
    this->run(values, CCAD_REDUCE_SUM);
    this->host.release(pasid, src_va + 2 * page);

    for (uint64_t offset : {0, 3}) {
        uint64_t first = src_va + offset;
        uint64_t len = 3 * page - sizeof(TypeParam);
        auto record = this->queue.run(without_page_requests(
            reduce(first, len, CCAD_REDUCE_SUM, type_code<TypeParam>)));
        EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
        EXPECT_EQ(record.access, CCAD_ACCESS_READ);
        EXPECT_EQ(record.fault_addr, src_va + 2 * page);
        EXPECT_EQ(record.bytes_done, 2 * page - offset);

        uint64_t whole = record.bytes_done & ~(sizeof(TypeParam) - 1);
        EXPECT_EQ(record.result,
                  this->queue
                      .run(reduce(first, whole, CCAD_REDUCE_SUM,
                                  type_code<TypeParam>))
                      .result);
    }
}

using ReduceInt32 = Reduce<int32_t>;
using ReduceInt64 = Reduce<int64_t>;
using ReduceFloat = Reduce<float>;
using ReduceDouble = Reduce<double>;

TEST_F(ReduceInt32, DoesNotOverflow)
{
    std::vector<int32_t> values(1000, INT32_MAX);
    EXPECT_EQ(run(values, CCAD_REDUCE_SUM).result, 1000 * uint64_t{INT32_MAX});
    std::fill(values.begin(), values.end(), INT32_MIN);
    EXPECT_EQ(static_cast<int64_t>(run(values, CCAD_REDUCE_SUM).result),
              1000 * int64_t{INT32_MIN});
}

TEST_F(ReduceInt64, Wraps)
{
    EXPECT_EQ(run({INT64_MAX, 1}, CCAD_REDUCE_SUM).result,
              static_cast<uint64_t>(INT64_MIN));
}

/* In double: a float would have lost the ones. */
TEST_F(ReduceFloat, SumsInDouble)
{
    std::vector<float> values(1001, 1);
    values[0] = 0x1p24F;
    EXPECT_EQ(std::bit_cast<double>(run(values, CCAD_REDUCE_SUM).result),
              0x1p24 + 1000);
}

TEST_F(ReduceDouble, SumsFromTheFirst)
{
    EXPECT_EQ(std::bit_cast<double>(
                  run({1e300, -1e300, 1}, CCAD_REDUCE_SUM).result),
              1.0);
    EXPECT_EQ(std::bit_cast<double>(
                  run({1, 1e300, -1e300}, CCAD_REDUCE_SUM).result),
              0.0);
}

TEST_F(ReduceDouble, NanIsTheResultWhereverItIs)
{
    for (size_t at : {0, 1, 999}) {
        for (double nan : {std::numeric_limits<double>::quiet_NaN(),
                           -std::numeric_limits<double>::quiet_NaN(),
                           std::numeric_limits<double>::signaling_NaN(),
                           std::bit_cast<double>(0xfff123456789abcd)}) {
            std::vector<double> values(1000, 2);
            values[at] = nan;
            for (uint64_t what :
                 {CCAD_REDUCE_SUM, CCAD_REDUCE_MIN, CCAD_REDUCE_MAX}) {
                EXPECT_EQ(run(values, what).result, not_a_number);
            }
        }
    }
}

TEST_F(ReduceFloat, NanIsTheSameOne)
{
    EXPECT_EQ(run({1, std::bit_cast<float>(0xffc12345)}, CCAD_REDUCE_MAX)
                  .result,
              not_a_number);
}

TEST_F(ReduceDouble, Infinities)
{
    constexpr double inf = std::numeric_limits<double>::infinity();

    EXPECT_EQ(run({inf, -inf}, CCAD_REDUCE_SUM).result, not_a_number);
    EXPECT_EQ(run({1, -inf, 2}, CCAD_REDUCE_SUM).result,
              std::bit_cast<uint64_t>(-inf));
    EXPECT_EQ(run({1, -inf, inf}, CCAD_REDUCE_MIN).result,
              std::bit_cast<uint64_t>(-inf));
    EXPECT_EQ(run({1, -inf, inf}, CCAD_REDUCE_MAX).result,
              std::bit_cast<uint64_t>(inf));
}

TEST_F(ReduceDouble, ZerosHaveAnOrder)
{
    for (const auto &zeros : {std::vector{0.0, -0.0}, {-0.0, 0.0}}) {
        EXPECT_EQ(run(zeros, CCAD_REDUCE_MIN).result,
                  std::bit_cast<uint64_t>(-0.0));
        EXPECT_EQ(run(zeros, CCAD_REDUCE_MAX).result, 0);
        EXPECT_EQ(run(zeros, CCAD_REDUCE_SUM).result, 0);
    }
    EXPECT_EQ(run({-0.0}, CCAD_REDUCE_SUM).result, 0);
}

TEST_F(ReduceInt32, BadFields)
{
    host.populate(pasid, src_va, page);
    for (ccad_desc desc :
         {reduce(src_va, 64, CCAD_REDUCE_MAX + 1, CCAD_TYPE_INT32),
          reduce(src_va, 64, 255, CCAD_TYPE_INT32),
          reduce(src_va, 64, CCAD_REDUCE_SUM, CCAD_TYPE_DOUBLE + 1),
          reduce(src_va, 64, CCAD_REDUCE_SUM, uint64_t{1} << 40),
          reduce(src_va, 63, CCAD_REDUCE_SUM, CCAD_TYPE_INT32),
          reduce(src_va, 2, CCAD_REDUCE_SUM, CCAD_TYPE_FLOAT),
          reduce(src_va, 60, CCAD_REDUCE_SUM, CCAD_TYPE_INT64),
          reduce(src_va, 4, CCAD_REDUCE_SUM, CCAD_TYPE_DOUBLE),
          reduce(UINT64_MAX - 7, 16, CCAD_REDUCE_SUM, CCAD_TYPE_INT64)}) {
        EXPECT_EQ(queue.run(desc).status, CCAD_COMP_INVALID_FIELD);
    }
}

} // namespace

} // namespace ccad::test
