/* SPDX-License-Identifier: GPL-2.0-or-later */
/* COMPARE. */
#include "commands.hpp"

namespace ccad::test {

namespace {

class Compare : public DeviceTest {
protected:
    static constexpr uint64_t room = 256 * 1024;

    /* The same bytes at src_va + offset and dst_va + other. */
    void fill_both(uint64_t offset, uint64_t other, uint64_t len)
    {
        host.populate(pasid, src_va, room);
        host.populate(pasid, dst_va, room, true);
        auto bytes = random_bytes(len);
        store(host, src_va + offset, bytes);
        store(host, dst_va + other, bytes);
    }

    Queue queue = device.queue();
};

TEST_F(Compare, EqualBytesAreAllCounted)
{
    for (auto [offset, other, len] :
         {std::tuple{0, 0, 1}, {0, 0, 4096}, {4095, 1, 2}, {1, 4095, 2},
          {123, 4567, 70001}, {5, 4093, 200 * 1024}}) {
        fill_both(offset, other, len);

        auto record =
            queue.run(compare(src_va + offset, dst_va + other, len));
        EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
        EXPECT_EQ(record.result, len);
        EXPECT_EQ(record.bytes_done, len);
        EXPECT_EQ(record.bytes_local, len);
    }
}

TEST_F(Compare, EndsAtTheFirstDifference)
{
    constexpr uint64_t len = 150'000;
    fill_both(77, 1234, len);
    /* Behind it is another, and a hole further on is not looked at. */
    store_value<uint8_t>(host, dst_va + 1234 + len - 1,
                         *host.ptr(pasid, dst_va + 1234 + len - 1) ^ 1);
    host.release(pasid, src_va + 140'000);

    for (uint64_t at : {100'000, 99'999, 65'536, 4096, 4095, 256, 255, 1, 0}) {
        uint8_t *byte = host.ptr(pasid, dst_va + 1234 + at);
        *byte ^= 0x80;
        auto record = queue.run(without_page_requests(
            compare(src_va + 77, dst_va + 1234, len)));
        EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
        EXPECT_EQ(record.result, at);
        EXPECT_EQ(record.bytes_done, at);
        EXPECT_EQ(record.bytes_local, at + 1) << "the different one is read";
    }
}

TEST_F(Compare, ReadsBothAndWritesNeither)
{
    host.populate(pasid, src_va, page, false, false);
    host.populate(pasid, dst_va, page, false, false);
    unsigned before = host.write_translate_calls();
    queue.run(nop());
    unsigned for_record = host.write_translate_calls() - before;

    EXPECT_EQ(queue.run(compare(src_va, dst_va, page)).status,
              CCAD_COMP_SUCCESS);
    EXPECT_EQ(host.write_translate_calls(), before + for_record);
    EXPECT_EQ(queue.stat(CCAD_STAT_READ_SYSTEM), 2 * page + 2 * 64);
}

TEST_F(Compare, OperandsMayOverlap)
{
    host.populate(pasid, src_va, 2 * page);
    store(host, src_va, std::vector<uint8_t>(2 * page, 0x11));

    EXPECT_EQ(queue.run(compare(src_va, src_va, page)).result, page);
    EXPECT_EQ(queue.run(compare(src_va, src_va + 1, page)).result, page);
}

TEST_F(Compare, ThroughShortMappings)
{
    fill_both(10, 20, 2 * page);
    host.map_limit = 1000;

    EXPECT_EQ(queue.run(compare(src_va + 10, dst_va + 20, 2 * page)).result,
              2 * page);
}

TEST_F(Compare, FaultsInEitherOperandExactly)
{
    fill_both(10, 100, 2 * page);
    host.release(pasid, src_va + page);
    auto record = queue.run(
        without_page_requests(compare(src_va + 10, dst_va + 100, 2 * page)));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(record.fault_addr, src_va + page);
    EXPECT_EQ(record.bytes_done, page - 10);
    EXPECT_EQ(record.result, page - 10);

    fill_both(10, 100, 2 * page);
    host.release(pasid, dst_va + page);
    record = queue.run(
        without_page_requests(compare(src_va + 10, dst_va + 100, 2 * page)));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(record.fault_addr, dst_va + page);
    EXPECT_EQ(record.bytes_done, page - 100);
}

} // namespace

} // namespace ccad::test
