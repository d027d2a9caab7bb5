/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GATHER. */
#include <random>

#include "commands.hpp"

namespace ccad::test {

namespace {

class Gather : public DeviceTest {
protected:
    static constexpr uint64_t table_len = 64 * 1024;

    /* Random indices of a table of random bytes. */
    void prepare(size_t count, uint64_t shift, uint64_t index_offset,
                 uint64_t table_offset, uint64_t dst_offset, bool wide)
    {
        std::mt19937 random(9);
        auto table = random_bytes(table_len, 1);
        host.populate(pasid, table_va, table_offset + table_len);
        store(host, table_va + table_offset, table);

        std::vector<uint32_t> narrow_list(count);
        std::vector<uint64_t> wide_list(count);
        expected = random_bytes(dst_offset + (count << shift) + 64, 2);
        for (size_t i = 0; i < count; i++) {
            uint32_t index = random() % (table_len >> shift);
            narrow_list[i] = index;
            wide_list[i] = index;
            uint64_t at = uint64_t{index} << shift;
            std::memcpy(&expected[dst_offset + (i << shift)], &table[at],
                        uint64_t{1} << shift);
        }
        auto list = wide ? bytes_of(wide_list) : bytes_of(narrow_list);
        index_bytes = list.size();
        host.populate(pasid, src_va, index_offset + list.size() + 1);
        store(host, src_va + index_offset, list);
        host.populate(pasid, dst_va, expected.size(), true);
        store(host, dst_va, random_bytes(expected.size(), 2));
    }

    std::vector<uint8_t> expected; /* from dst_va on */
    uint64_t index_bytes = 0;
    Queue queue = device.queue();
};

class GatherShapes
    : public Gather,
      public testing::WithParamInterface<std::tuple<uint64_t, bool>> {};

TEST_P(GatherShapes, CopiesTheElementsOfTheIndices)
{
    auto [shift, wide] = GetParam();

    for (uint64_t limit : {UINT64_MAX, uint64_t{67}}) {
        for (auto [index_offset, table_offset, dst_offset] :
             {std::tuple<uint64_t, uint64_t, uint64_t>{0, 0, 0},
              {4094, 5, 4093},
              {4089, 4095, 7}}) {
            constexpr size_t count = 1501;
            host.map_limit = UINT64_MAX;
            prepare(count, shift, index_offset, table_offset, dst_offset,
                    wide);
            host.map_limit = limit;

            auto record = queue.run(
                gather(src_va + index_offset, index_bytes,
                       table_va + table_offset, dst_va + dst_offset, shift,
                       wide));

            EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
            EXPECT_EQ(record.bytes_done, index_bytes);
            EXPECT_EQ(record.result, count);
            EXPECT_EQ(record.bytes_local, count << shift) << "the output";
            EXPECT_EQ(load(host, dst_va, expected.size()), expected);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, GatherShapes,
                         testing::Combine(testing::Range<uint64_t>(0, 7),
                                          testing::Bool()));

TEST_F(Gather, CountsEachByteOnce)
{
    prepare(1000, 3, 0, 0, 0, false);
    queue.run(gather(src_va, index_bytes, table_va, dst_va, 3));

    EXPECT_EQ(queue.stat(CCAD_STAT_READ_SYSTEM), 64 + 4000 + 8000);
    EXPECT_EQ(queue.stat(CCAD_STAT_WRITE_LOCAL), 8000);
}

TEST_F(Gather, OfNothing)
{
    auto record = queue.run(gather(1, 0, 3, 5, 6));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.result, 0);
    EXPECT_EQ(record.device_ns, 0);
}

TEST_F(Gather, BadFields)
{
    constexpr uint64_t top = UINT64_MAX;
    host.populate(pasid, src_va, page);
    ccad_desc reserved = gather(src_va, 8, table_va, dst_va, 2);
    reserved.arg2 |= 0x200;
    ccad_desc high = reserved;
    high.arg2 = uint64_t{1} << 63 | 2;

    for (ccad_desc desc : {
             gather(src_va, 8, table_va, dst_va, 7),
             gather(src_va, 8, table_va, dst_va, 255),
             gather(src_va, 6, table_va, dst_va, 2),
             gather(src_va, 12, table_va, dst_va, 2, true),
             gather(top - 3, 8, table_va, dst_va, 2),
             gather(src_va, 8, table_va, top - 6, 2),
             gather(src_va, 16, table_va, src_va + 15, 0),
             gather(src_va, 8, table_va, src_va - 7, 2),
             /* More elements than the address space has bytes. */
             gather(0, top & ~uint64_t{3}, table_va, dst_va, 6),
             reserved,
             high,
         }) {
        auto record = queue.run(desc);
        EXPECT_EQ(record.status, CCAD_COMP_INVALID_FIELD) << desc.arg2;
        EXPECT_EQ(record.translations, 0);
    }
}

TEST_F(Gather, AnElementBeyondTheAddressSpaceFailsWithItsIndex)
{
    host.populate(pasid, src_va, page);
    host.populate(pasid, dst_va, page);
    host.populate(pasid, table_va, page);
    struct {
        uint64_t index;
        uint64_t table;
        uint64_t shift;
    } cases[] = {
        {UINT64_MAX, table_va, 0},
        {(UINT64_MAX - table_va) / 8 + 1, table_va, 3},
        {uint64_t{1} << 61, table_va, 3},       /* shifted away */
        {(uint64_t{1} << 58) + 1, table_va, 6}, /* the same, not to 0 */
        {0, UINT64_MAX - 6, 3},                 /* its last byte wraps */
    };

    for (auto [index, table, shift] : cases) {
        store_value<uint64_t>(host, src_va, 0);
        store_value<uint64_t>(host, src_va + 8, 1);
        store_value<uint64_t>(host, src_va + 16, index);
        auto record = queue.run(without_page_requests(gather(
            src_va + (table == table_va ? 0 : 16), 24, table, dst_va, shift,
            true)));
        uint64_t before = table == table_va ? 16 : 0;
        EXPECT_EQ(record.status, CCAD_COMP_INVALID_FIELD) << index;
        EXPECT_EQ(record.access, CCAD_ACCESS_READ);
        EXPECT_EQ(record.fault_addr, src_va + 16);
        EXPECT_EQ(record.bytes_done, before);
        EXPECT_EQ(record.result, before / 8);
    }
}

/* The last bytes of the address space are an element like any other. */
TEST_F(Gather, TheLastElementOfTheAddressSpaceIsOne)
{
    host.populate(pasid, src_va, page);
    host.populate(pasid, dst_va, page);
    host.map(pasid, 0 - page, host.alloc(page), page);
    store_value<uint64_t>(host, 0 - uint64_t{8}, 0x1122334455667788);
    store_value<uint32_t>(host, src_va, page / 8 - 1);

    auto record = queue.run(gather(src_va, 4, 0 - page, dst_va, 3));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(load_value<uint64_t>(host, dst_va), 0x1122334455667788);
}

TEST_F(Gather, FaultsInEachOperandExactly)
{
    constexpr size_t count = 3000;
    auto command = [&] {
        prepare(count, 3, 100, 4, 1000, false);
        return without_page_requests(
            gather(src_va + 100, index_bytes, table_va + 4, dst_va + 1000, 3));
    };

    ccad_desc desc = command();
    host.release(pasid, src_va + page);
    auto record = queue.run(desc);
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(record.fault_addr, src_va + page);
    EXPECT_EQ(record.bytes_done, page - 100);
    EXPECT_EQ(record.result, (page - 100) / 4);

    desc = command();
    host.release(pasid, dst_va + 2 * page);
    record = queue.run(desc);
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_WRITE);
    EXPECT_EQ(record.fault_addr, dst_va + 2 * page);
    EXPECT_EQ(record.result, (2 * page - 1000) / 8);
    EXPECT_EQ(record.bytes_done, record.result * 4);

    /* An element that begins in one page and ends in the other. */
    desc = command();
    constexpr uint32_t straddling = (page - 8) / 8;
    store_value<uint32_t>(host, src_va + 100 + 4 * 777, straddling);
    for (uint32_t i = 0; i < 777; i++) {
        store_value<uint32_t>(host, src_va + 100 + 4 * i, i % 100);
    }
    host.release(pasid, table_va + page);
    record = queue.run(desc);
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(record.fault_addr, table_va + page);
    EXPECT_EQ(record.bytes_done, 4 * 777);
}

TEST_F(Gather, PagesAreRequested)
{
    prepare(500, 6, 4090, 0, 0, true);
    auto table = load(host, table_va, table_len);
    for (uint64_t i = 0; i < table_len; i += page) {
        host.release(pasid, table_va + i);
    }
    for (uint64_t i = 0; i < expected.size(); i += page) {
        host.release(pasid, dst_va + i);
    }
    host.add_region(pasid, {dst_va, expected.size()});
    /* What it reads is what the operating system puts there. */
    host.answer = [&](uint64_t va) -> std::optional<ccad_response> {
        if (va < table_va) {
            return std::nullopt;
        }
        auto at = table.begin() + static_cast<ptrdiff_t>(va - table_va);
        host.populate(pasid, va, page);
        store(host, va, {at, at + page});
        return CCAD_RESPONSE_SUCCESS;
    };

    auto record = queue.run(
        gather(src_va + 4090, index_bytes, table_va, dst_va, 6, true));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.page_requests, table_len / page + 8);
    expected.resize(500 * 64);
    EXPECT_EQ(load(host, dst_va, expected.size()), expected);
}

/* In the order of the list, so that this is defined. */
TEST_F(Gather, TheTableMayBeWrittenTo)
{
    host.populate(pasid, src_va, page);
    host.populate(pasid, dst_va, page);
    std::vector<uint32_t> indices(100);
    for (uint32_t i = 0; i < 100; i++) {
        indices[i] = i;
    }
    store(host, src_va, bytes_of(indices));
    store_value<uint64_t>(host, dst_va, 42);

    EXPECT_EQ(queue.run(gather(src_va, 400, dst_va, dst_va + 8, 3)).status,
              CCAD_COMP_SUCCESS);
    for (uint64_t i = 0; i <= 100; i++) {
        EXPECT_EQ(load_value<uint64_t>(host, dst_va + 8 * i), 42);
    }
}

TEST_F(Gather, MakesProgressWithAnAtcOfOneEntry)
{
    ccad_config config = small_config();
    config.atc_sets = 1;
    config.atc_ways = 1;
    Device small(config);
    small.enable();
    Queue other = small.queue();
    small.host.populate(pasid, src_va, page);
    small.host.populate(pasid, table_va, 3 * page);
    small.host.populate(pasid, dst_va, 2 * page);
    store(small.host, table_va, random_bytes(2 * page));
    std::vector<uint32_t> indices{63, 127, 0, 64, 63, 1};
    store(small.host, src_va, bytes_of(indices));

    auto record =
        other.run(gather(src_va, 24, table_va + 32, dst_va + page - 100, 6));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    for (size_t i = 0; i < indices.size(); i++) {
        EXPECT_EQ(load(small.host, dst_va + page - 100 + 64 * i, 64),
                  load(small.host, table_va + 32 + 64 * indices[i], 64));
    }
}

} // namespace

} // namespace ccad::test
