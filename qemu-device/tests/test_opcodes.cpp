/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What each opcode does to memory. */
#include <cstring>

#include "device.hpp"

namespace ccad::test {

namespace {

class Opcodes : public DeviceTest {
protected:
    Queue queue = device.queue();
};

TEST_F(Opcodes, NopEndsWithItsTag)
{
    auto record = queue.run(nop(0xcafe1234));

    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.tag, 0xcafe1234);
    EXPECT_EQ(record.bytes_done, 0);
    EXPECT_EQ(record.device_ns, 0);
}

/* Whoever sees its record sees all that came of the commands before it. */
TEST_F(Opcodes, FenceEndsAfterTheCommandsBeforeIt)
{
    constexpr unsigned before = 8;
    const uint64_t ring = host.alloc(page);
    host.populate(pasid, dst_va, huge, true, true, huge);
    device.write(CCAD_REG_CNT_GRANULE_SHIFT, 12);
    device.write(CCAD_REG_CNT_THRESHOLD, page / 64);
    device.write(CCAD_REG_CNT_RING, ring, 8);
    device.write(CCAD_REG_CNT_RING_SHIFT, 6);
    device.write(CCAD_REG_CNT_BATCH, 64);
    device.write(CCAD_REG_CNT_CTRL, CCAD_CNT_ENABLE);
    ccad_desc fence = nop();
    fence.opcode = CCAD_OP_FENCE;

    for (unsigned round = 1; round <= 20; round++) {
        std::vector<uint32_t> indices;
        for (unsigned i = 0; i < before; i++) {
            ccad_desc desc = fill(dst_va + i * page, page, round);
            desc.flags = CCAD_DESC_INTERRUPT;
            indices.push_back(queue.push(desc));
        }
        device.write(CCAD_REG_CNT_TAIL,
                     device.read(CCAD_REG_CNT_HEAD, 4));
        uint32_t last = queue.push(fence);
        queue.ring_doorbell();

        EXPECT_EQ(queue.wait(last).status, CCAD_COMP_SUCCESS);
        EXPECT_EQ(host.interrupts(1), round * before);
        EXPECT_EQ(device.read(CCAD_REG_CNT_HEAD, 4), round * before);
        EXPECT_EQ(queue.stat(CCAD_STAT_COMMANDS), round * (before + 1));
        for (unsigned i = 0; i < before; i++) {
            EXPECT_EQ(queue.record(indices[i]).status, CCAD_COMP_SUCCESS);
            EXPECT_EQ(*host.ptr(pasid, dst_va + i * page), round);
        }
    }
}

struct CopyCase {
    uint64_t src_offset;
    uint64_t dst_offset;
    uint64_t len;
};

class Copy : public Opcodes, public testing::WithParamInterface<CopyCase> {};

TEST_P(Copy, MovesExactlyItsBytes)
{
    auto [src_offset, dst_offset, len] = GetParam();
    constexpr uint64_t room = 256 * 1024;
    host.populate(pasid, src_va, room);
    host.populate(pasid, dst_va, room, true);
    auto source = random_bytes(room, 1);
    auto expected = random_bytes(room, 2);
    store(host, src_va, source);
    store(host, dst_va, expected);
    std::copy_n(source.begin() + src_offset, len,
                expected.begin() + dst_offset);

    auto record =
        queue.run(copy(src_va + src_offset, dst_va + dst_offset, len));

    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.bytes_done, len);
    EXPECT_EQ(record.fault_addr, 0);
    EXPECT_EQ(record.access, 0);
    EXPECT_EQ(record.bytes_local, len);
    EXPECT_EQ(load(host, dst_va, room), expected);
    EXPECT_EQ(load(host, src_va, room), source);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Copy,
    testing::Values(CopyCase{0, 0, 0}, CopyCase{0, 0, 1},
                    CopyCase{0, 0, page}, CopyCase{4095, 1, 2},
                    CopyCase{1, 4095, 2}, CopyCase{123, 4567, 70001},
                    CopyCase{0, 0, 256 * 1024},
                    CopyCase{5, 4093, 200 * 1024}));

TEST_F(Opcodes, CopyBetweenHugePages)
{
    host.populate(pasid, src_va, huge, false, true, huge);
    host.populate(pasid, dst_va, huge, true, true, huge);
    auto bytes = random_bytes(huge);
    store(host, src_va, bytes);

    EXPECT_EQ(queue.run(copy(src_va, dst_va, huge)).status,
              CCAD_COMP_SUCCESS);
    EXPECT_EQ(load(host, dst_va, huge), bytes);
}

TEST_F(Opcodes, CopyWithinOnePage)
{
    host.populate(pasid, src_va, page);
    auto bytes = random_bytes(page);
    store(host, src_va, bytes);

    EXPECT_EQ(queue.run(copy(src_va, src_va + 2048, 2048)).status,
              CCAD_COMP_SUCCESS);
    std::copy_n(bytes.begin(), 2048, bytes.begin() + 2048);
    EXPECT_EQ(load(host, src_va, page), bytes);
}

/* Distinct addresses, one page: what arrives is what was there. */
TEST_F(Opcodes, CopyThroughAliases)
{
    uint64_t pa = host.alloc(page);
    host.map(pasid, src_va, pa, page);
    host.map(pasid, dst_va, pa, page);
    auto bytes = random_bytes(page);
    store(host, src_va, bytes);

    EXPECT_EQ(queue.run(copy(src_va, dst_va + 100, 3000)).status,
              CCAD_COMP_SUCCESS);
    auto expected = bytes;
    std::copy_n(bytes.begin(), 3000, expected.begin() + 100);
    EXPECT_EQ(load(host, src_va, page), expected);
}

/* A host whose mappings are short makes more accesses, not other bytes. */
TEST_F(Opcodes, CopyThroughShortMappings)
{
    host.populate(pasid, src_va, 2 * page);
    host.populate(pasid, dst_va, 2 * page);
    auto bytes = random_bytes(2 * page);
    store(host, src_va, bytes);
    host.map_limit = 1000;

    auto record = queue.run(copy(src_va, dst_va, 2 * page));

    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.bytes_done, 2 * page);
    EXPECT_EQ(load(host, dst_va, 2 * page), bytes);
}

class Fill : public Opcodes,
             public testing::WithParamInterface<
                 std::tuple<uint64_t, uint64_t, uint64_t>> {};

TEST_P(Fill, RepeatsThePatternFromTheFirstByte)
{
    auto [offset, len, pattern] = GetParam();
    constexpr uint64_t room = 192 * 1024;
    host.populate(pasid, dst_va, room);
    auto expected = random_bytes(room);
    store(host, dst_va, expected);
    for (uint64_t i = 0; i < len; i++) {
        expected[offset + i] =
            static_cast<uint8_t>(pattern >> (8 * (i % 8)));
    }

    auto record = queue.run(fill(dst_va + offset, len, pattern));

    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.bytes_done, len);
    EXPECT_EQ(load(host, dst_va, room), expected);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Fill,
    testing::Combine(testing::Values(0, 3, 4091),
                     testing::Values(0, 1, 7, 4096, 70003, 131075),
                     testing::Values(0, 0x5a5a5a5a5a5a5a5a,
                                     0x8877665544332211)));

std::vector<uint8_t> check_string()
{
    const char *text = "123456789";
    return {text, text + std::strlen(text)};
}

TEST_F(Opcodes, CrcOfTheCheckString)
{
    host.populate(pasid, src_va, page);
    store(host, src_va, check_string());

    auto record = queue.run(crc(src_va, 9));

    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.result, 0xe3069283);
    EXPECT_EQ(record.bytes_done, 9);
}

TEST_F(Opcodes, CrcOfNothingIsTheCrcSoFar)
{
    EXPECT_EQ(queue.run(crc(src_va, 0, 0x12345678)).result, 0x12345678);
}

/* Bit by bit from the polynomial, for comparison. */
uint32_t slow_crc(const std::vector<uint8_t> &bytes)
{
    uint32_t crc = ~uint32_t{0};

    for (uint8_t byte : bytes) {
        crc ^= byte;
        for (int i = 0; i < 8; i++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        }
    }
    return ~crc;
}

TEST_F(Opcodes, CrcAcrossPagesAndInParts)
{
    constexpr uint64_t len = 150'001;
    host.populate(pasid, src_va, len + page);
    auto bytes = random_bytes(len);
    store(host, src_va + 77, bytes);

    uint64_t whole = queue.run(crc(src_va + 77, len)).result;
    EXPECT_EQ(whole, slow_crc(bytes));

    uint64_t part = queue.run(crc(src_va + 77, 50'000)).result;
    auto rest = queue.run(crc(src_va + 77 + 50'000, len - 50'000, part));
    EXPECT_EQ(rest.result, whole);
}

} // namespace

} // namespace ccad::test
