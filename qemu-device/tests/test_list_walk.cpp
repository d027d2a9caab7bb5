/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LIST_WALK. */
#include <algorithm>
#include <bit>
#include <map>
#include <numeric>
#include <random>

#include "commands.hpp"

namespace ccad::test {

namespace {

constexpr uint64_t node_size = 40;
constexpr uint64_t next_offset = 24;
constexpr uint64_t field_offset = 4; /* an int64, not aligned */

class ListWalk : public DeviceTest {
protected:
    static uint64_t node(uint64_t index)
    {
        return src_va + 16 + index * node_size;
    }

    /*
     * Nodes 0 to count - 1 in this order, the last one points to after; of
     * the other addresses only those of the two fields are used.
     */
    void build(uint64_t count, uint64_t after = 0)
    {
        std::mt19937_64 random(11);
        host.populate(pasid, src_va, 32 + count * node_size);
        values.clear();
        for (uint64_t i = 0; i < count; i++) {
            values.push_back(static_cast<int64_t>(random() >> 20));
            link(i, i + 1 < count ? node(i + 1) : after, values.back());
        }
    }
    void link(uint64_t index, uint64_t next, int64_t value)
    {
        store_value<uint64_t>(host, node(index) + next_offset, next);
        store_value<int64_t>(host, node(index) + field_offset, value);
    }
    uint64_t sum(uint64_t count) const
    {
        return static_cast<uint64_t>(std::accumulate(
            values.begin(), values.begin() + static_cast<ptrdiff_t>(count),
            int64_t{0}));
    }
    static ccad_desc walk(uint64_t first, uint64_t limit,
                          uint64_t what = CCAD_REDUCE_SUM)
    {
        return list_walk(first, limit, what, CCAD_TYPE_INT64, next_offset,
                         field_offset);
    }

    std::vector<int64_t> values;
    Queue queue = device.queue();
};

TEST_F(ListWalk, ReducesTheFieldOfEveryNode)
{
    build(5000);

    auto record = queue.run(walk(node(0), 5000));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.result, sum(5000));
    EXPECT_EQ(record.bytes_done, 5000) << "nodes";
    EXPECT_EQ(queue.run(walk(node(0), UINT64_MAX, CCAD_REDUCE_MIN)).result,
              *std::min_element(values.begin(), values.end()));
    EXPECT_EQ(queue.run(walk(node(0), UINT64_MAX, CCAD_REDUCE_MAX)).result,
              *std::max_element(values.begin(), values.end()));
    EXPECT_EQ(queue.stat(CCAD_STAT_READ_SYSTEM), 3 * (64 + 5000 * 16));
}

/* Nodes anywhere in memory, of every type of field. */
TEST_F(ListWalk, FollowsPointersWhereverTheyLead)
{
    std::mt19937 random(12);
    std::vector<uint64_t> order(700);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    auto at = [&](size_t i) { return src_va + order[i] * 1000; };
    host.populate(pasid, src_va, 701 * 1000);

    int64_t int_sum = 0;
    double float_sum = 0;
    for (size_t i = 0; i < order.size(); i++) {
        store_value<uint64_t>(host, at(i),
                              i + 1 < order.size() ? at(i + 1) : 0);
        store_value<int32_t>(host, at(i) + 8, static_cast<int32_t>(random()));
        store_value<float>(host, at(i) + 12, static_cast<float>(random()) / 7);
        int_sum += load_value<int32_t>(host, at(i) + 8);
        float_sum += load_value<float>(host, at(i) + 12);
    }

    EXPECT_EQ(queue.run(list_walk(at(0), 700, CCAD_REDUCE_SUM,
                                  CCAD_TYPE_INT32, 0, 8))
                  .result,
              static_cast<uint64_t>(int_sum));
    EXPECT_EQ(queue.run(list_walk(at(0), 700, CCAD_REDUCE_SUM,
                                  CCAD_TYPE_FLOAT, 0, 12))
                  .result,
              std::bit_cast<uint64_t>(float_sum));
}

/* Pointers and fields that lie in two pages, at every split. */
TEST_F(ListWalk, CrossesPagesWithinAnItem)
{
    host.populate(pasid, src_va, 40 * page);
    int64_t total = 0;
    for (uint64_t i = 0; i < 16; i++) {
        uint64_t at = src_va + (i + 1) * page - next_offset - i;
        uint64_t after = src_va + (i + 2) * page - next_offset - (i + 1);
        store_value<uint64_t>(host, at + next_offset, i < 15 ? after : 0);
        store_value<int64_t>(host, at + 20 * page,
                             static_cast<int64_t>(i * 0x0123456789abcd));
        total += static_cast<int64_t>(i * 0x0123456789abcd);
    }
    uint64_t first = src_va + page - next_offset;

    for (uint64_t limit : {UINT64_MAX, uint64_t{67}}) {
        host.map_limit = limit;
        auto record =
            queue.run(list_walk(first, 16, CCAD_REDUCE_SUM, CCAD_TYPE_INT64,
                                next_offset, 20 * page));
        EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
        EXPECT_EQ(record.result, static_cast<uint64_t>(total));
    }
}

TEST_F(ListWalk, OfNoNodes)
{
    for (uint64_t limit : {0, 1}) {
        auto record = queue.run(walk(0, limit, CCAD_REDUCE_MAX));
        EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
        EXPECT_EQ(record.result, static_cast<uint64_t>(INT64_MIN));
        EXPECT_EQ(record.bytes_done, 0);
        EXPECT_EQ(record.device_ns, 0);
    }
}

TEST_F(ListWalk, EndsAtTheLimit)
{
    build(200);

    for (uint64_t limit : {0, 1, 63, 64, 65, 199}) {
        auto record = queue.run(walk(node(0), limit));
        EXPECT_EQ(record.status, CCAD_COMP_LIMIT);
        EXPECT_EQ(record.bytes_done, limit);
        EXPECT_EQ(record.result, sum(limit));
        EXPECT_EQ(record.fault_addr, node(limit)) << "to go on with";
        EXPECT_EQ(record.access, 0);

        auto rest = queue.run(walk(record.fault_addr, 200));
        EXPECT_EQ(record.result + rest.result, sum(200));
    }
    EXPECT_EQ(queue.run(walk(node(0), 200)).status, CCAD_COMP_SUCCESS);
}

TEST_F(ListWalk, FindsCyclesOfEveryShape)
{
    for (uint64_t tail : {0, 1, 2, 5, 64, 100}) {
        for (uint64_t cycle : {1, 2, 3, 7, 64, 129}) {
            uint64_t count = tail + cycle;
            build(count, node(tail));

            auto record = queue.run(walk(node(0), UINT64_MAX));
            EXPECT_EQ(record.status, CCAD_COMP_CYCLE)
                << tail << " + " << cycle;
            EXPECT_GE(record.bytes_done, count);
            EXPECT_LE(record.bytes_done, 3 * count);
            EXPECT_GE(record.fault_addr, node(tail)) << "lies in the cycle";
            EXPECT_LE(record.fault_addr, node(count - 1));

            uint64_t expected = 0;
            for (uint64_t i = 0, at = 0; i < record.bytes_done; i++) {
                expected += static_cast<uint64_t>(values[at]);
                at = at + 1 < count ? at + 1 : tail;
            }
            EXPECT_EQ(record.result, expected) << "of the nodes visited";
        }
    }
}

TEST_F(ListWalk, ALimitEndsACycleToo)
{
    build(1000, node(0));
    EXPECT_EQ(queue.run(walk(node(0), 1000)).status, CCAD_COMP_LIMIT);
}

TEST_F(ListWalk, FaultsExactly)
{
    build(400);
    host.release(pasid, src_va + page);
    ASSERT_EQ(node(102), src_va + page);

    auto record = queue.run(without_page_requests(walk(node(0), 400)));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(record.fault_addr, node(102) + next_offset);
    EXPECT_EQ(record.bytes_done, 102);
    EXPECT_EQ(record.result, sum(102));
}

TEST_F(ListWalk, FaultsWithinAnItemExactly)
{
    host.populate(pasid, src_va, page);
    uint64_t last = src_va + page - 11;

    for (auto [next, field] : {std::pair{8, 0}, {0, 8}}) {
        store_value<uint64_t>(host, src_va + next, last);
        store_value<uint64_t>(host, src_va + field, 21);
        auto record = queue.run(without_page_requests(list_walk(
            src_va, 9, CCAD_REDUCE_SUM, CCAD_TYPE_INT64, next, field)));
        EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
        EXPECT_EQ(record.fault_addr, src_va + page);
        EXPECT_EQ(record.bytes_done, 1);
        EXPECT_EQ(record.result, 21);
    }
}

/* The pointer is there, the field is not: the node does not count. */
TEST_F(ListWalk, ANodeCountsWhole)
{
    host.populate(pasid, src_va, page);
    store_value<uint64_t>(host, src_va + 8, src_va + 128);
    store_value<int64_t>(host, src_va + 16, 5);
    store_value<uint64_t>(host, src_va + 136, src_va + 3 * page);
    store_value<int64_t>(host, src_va + 144, 7);

    auto record = queue.run(without_page_requests(list_walk(
        src_va, 9, CCAD_REDUCE_SUM, CCAD_TYPE_INT64, 8, 16)));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.fault_addr, src_va + 3 * page + 8);
    EXPECT_EQ(record.bytes_done, 2);
    EXPECT_EQ(record.result, 12);

    record = queue.run(without_page_requests(list_walk(
        src_va, 9, CCAD_REDUCE_SUM, CCAD_TYPE_INT64, 8, 2 * page)));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.fault_addr, src_va + 2 * page);
    EXPECT_EQ(record.bytes_done, 0);
    EXPECT_EQ(record.result, 0);
}

TEST_F(ListWalk, WildPointersAreFaults)
{
    host.populate(pasid, src_va, page);
    for (uint64_t wild :
         {uint64_t{8}, uint64_t{0x0000'8000'0000'0000},
          uint64_t{0xdead'beef'dead'beef}, uint64_t{0xffff'8000'0000'0000}}) {
        store_value<uint64_t>(host, src_va, wild);
        auto record = queue.run(list_walk(src_va, 9, CCAD_REDUCE_SUM,
                                          CCAD_TYPE_INT64, 0, 8));
        EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
        EXPECT_EQ(record.fault_addr, wild);
        EXPECT_EQ(record.bytes_done, 1);
        EXPECT_EQ(record.page_requests, 1) << "and the host said no";
    }
}

TEST_F(ListWalk, ANodeBeyondTheAddressSpaceIsRefused)
{
    host.populate(pasid, src_va, page);
    store_value<uint64_t>(host, src_va, UINT64_MAX - 14);
    auto record = queue.run(
        list_walk(src_va, 9, CCAD_REDUCE_SUM, CCAD_TYPE_INT64, 0, 8));
    EXPECT_EQ(record.status, CCAD_COMP_INVALID_FIELD);
    EXPECT_EQ(record.fault_addr, UINT64_MAX - 14);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(record.bytes_done, 1);

    record = queue.run(list_walk(UINT64_MAX - 100, 9, CCAD_REDUCE_SUM,
                                 CCAD_TYPE_INT64, UINT32_MAX, 8));
    EXPECT_EQ(record.status, CCAD_COMP_INVALID_FIELD);
    EXPECT_EQ(record.fault_addr, UINT64_MAX - 100);
    EXPECT_EQ(record.bytes_done, 0);
}

TEST_F(ListWalk, BadFields)
{
    build(1);
    for (ccad_desc desc : {walk(node(0), 9, CCAD_REDUCE_MAX + 1),
                           list_walk(node(0), 9, CCAD_REDUCE_SUM,
                                     CCAD_TYPE_DOUBLE + 1, 0, 8)}) {
        EXPECT_EQ(queue.run(desc).status, CCAD_COMP_INVALID_FIELD);
    }
}

TEST_F(ListWalk, PagesAreRequested)
{
    build(2000);
    std::map<uint64_t, std::vector<uint8_t>> contents;
    for (uint64_t va = src_va; va < node(2000); va += page) {
        contents[va] = load(host, va, page);
        host.release(pasid, va);
    }
    host.answer = [&](uint64_t va) {
        host.populate(pasid, va, page);
        store(host, va, contents.at(va));
        return CCAD_RESPONSE_SUCCESS;
    };

    auto record = queue.run(walk(node(0), 2000));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.result, sum(2000));
    EXPECT_EQ(record.page_requests, contents.size());
}

} // namespace

} // namespace ccad::test
