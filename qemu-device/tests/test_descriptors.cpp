/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors that are not to be executed, and the records of those that are. */
#include <cstring>
#include <functional>

#include "device.hpp"

namespace ccad::test {

namespace {

struct BadDescriptor {
    const char *name;
    std::function<void(ccad_desc &)> spoil;
    uint8_t status;
    uint8_t opcode = CCAD_OP_COPY;
};

std::ostream &operator<<(std::ostream &os, const BadDescriptor &bad)
{
    return os << bad.name;
}

class BadDescriptors : public DeviceTest,
                       public testing::WithParamInterface<BadDescriptor> {
protected:
    Queue queue = device.queue();
};

TEST_P(BadDescriptors, EndAtOnceAndLeaveMemoryAlone)
{
    host.populate(pasid, src_va, 2 * page);
    host.populate(pasid, dst_va, 2 * page);
    store(host, src_va, random_bytes(2 * page, 1));
    auto before = random_bytes(2 * page, 2);
    store(host, dst_va, before);
    ccad_desc desc{};
    desc.opcode = GetParam().opcode;
    desc.tag = 7;
    desc.src = src_va;
    desc.dst = dst_va;
    desc.len = page;
    GetParam().spoil(desc);

    uint32_t bad = queue.push(desc);
    uint32_t good = queue.push(nop(8));
    queue.ring_doorbell();
    auto record = queue.wait(bad);

    EXPECT_EQ(record.status, GetParam().status);
    EXPECT_EQ(record.tag, 7);
    EXPECT_EQ(record.access, 0);
    EXPECT_EQ(record.result, 0);
    EXPECT_EQ(record.fault_addr, 0);
    EXPECT_EQ(record.bytes_done, 0);
    EXPECT_EQ(record.translations, 0);
    EXPECT_EQ(load(host, dst_va, 2 * page), before);
    EXPECT_EQ(queue.wait(good).status, CCAD_COMP_SUCCESS)
        << "the context goes on";
    EXPECT_EQ(queue.stat(CCAD_STAT_COMMANDS), 2);
    EXPECT_EQ(queue.stat(CCAD_STAT_ERRORS), 1);
}

constexpr uint64_t top = UINT64_MAX;

INSTANTIATE_TEST_SUITE_P(
    Fields, BadDescriptors,
    testing::Values(
        BadDescriptor{"opcode after the last",
                      [](ccad_desc &d) { d.opcode = 14; },
                      CCAD_COMP_INVALID_OPCODE},
        BadDescriptor{"opcode 255", [](ccad_desc &d) { d.opcode = 255; },
                      CCAD_COMP_INVALID_OPCODE},
        BadDescriptor{"rsvd0", [](ccad_desc &d) { d.rsvd0 = 1; },
                      CCAD_COMP_INVALID_FIELD},
        BadDescriptor{"arg2", [](ccad_desc &d) { d.arg2 = 1; },
                      CCAD_COMP_INVALID_FIELD},
        BadDescriptor{"rsvd1", [](ccad_desc &d) { d.rsvd1 = top; },
                      CCAD_COMP_INVALID_FIELD},
        BadDescriptor{"rsvd1 of a NOP",
                      [](ccad_desc &d) { d.rsvd1 = 1; },
                      CCAD_COMP_INVALID_FIELD, CCAD_OP_NOP},
        BadDescriptor{"flag 2", [](ccad_desc &d) { d.flags = 4; },
                      CCAD_COMP_INVALID_FIELD},
        BadDescriptor{"flag 15", [](ccad_desc &d) { d.flags = 0x8000; },
                      CCAD_COMP_INVALID_FIELD},
        BadDescriptor{"copy onto itself",
                      [](ccad_desc &d) { d.dst = d.src; },
                      CCAD_COMP_INVALID_FIELD},
        BadDescriptor{"copy overlaps upwards",
                      [](ccad_desc &d) { d.dst = d.src + d.len - 1; },
                      CCAD_COMP_INVALID_FIELD},
        BadDescriptor{"copy overlaps downwards",
                      [](ccad_desc &d) { d.dst = d.src - d.len + 1; },
                      CCAD_COMP_INVALID_FIELD},
        BadDescriptor{"copy src wraps", [](ccad_desc &d) { d.src = top - 9; },
                      CCAD_COMP_INVALID_FIELD},
        BadDescriptor{"copy dst wraps", [](ccad_desc &d) { d.dst = top - 9; },
                      CCAD_COMP_INVALID_FIELD},
        BadDescriptor{"copy of everything",
                      [](ccad_desc &d) { d.len = top; },
                      CCAD_COMP_INVALID_FIELD},
        BadDescriptor{"fill wraps", [](ccad_desc &d) { d.dst = top - 9; },
                      CCAD_COMP_INVALID_FIELD, CCAD_OP_FILL},
        BadDescriptor{"crc wraps", [](ccad_desc &d) { d.src = top - 9; },
                      CCAD_COMP_INVALID_FIELD, CCAD_OP_CRC32C},
        BadDescriptor{"pages for a process",
                      [](ccad_desc &d) { d.arg = 12; },
                      CCAD_COMP_INVALID_OPCODE, CCAD_OP_COPY_PAGES},
        BadDescriptor{"compare src wraps",
                      [](ccad_desc &d) { d.src = top - 9; },
                      CCAD_COMP_INVALID_FIELD, CCAD_OP_COMPARE},
        BadDescriptor{"compare dst wraps",
                      [](ccad_desc &d) { d.dst = top - 9; },
                      CCAD_COMP_INVALID_FIELD, CCAD_OP_COMPARE},
        BadDescriptor{"arg2 of a compare", [](ccad_desc &d) { d.arg2 = 1; },
                      CCAD_COMP_INVALID_FIELD, CCAD_OP_COMPARE},
        BadDescriptor{"arg2 of a reduction", [](ccad_desc &d) { d.arg2 = 1; },
                      CCAD_COMP_INVALID_FIELD, CCAD_OP_REDUCE},
        BadDescriptor{"rsvd0 of a list walk",
                      [](ccad_desc &d) { d.rsvd0 = 1; },
                      CCAD_COMP_INVALID_FIELD, CCAD_OP_LIST_WALK},
        BadDescriptor{"crc so far is too wide",
                      [](ccad_desc &d) { d.arg = uint64_t{1} << 32; },
                      CCAD_COMP_INVALID_FIELD, CCAD_OP_CRC32C}));

class Completion : public DeviceTest {
protected:
    Queue queue = device.queue();
};

TEST_F(Completion, TouchingOperandsDoNotOverlap)
{
    host.populate(pasid, src_va, 2 * page);

    EXPECT_EQ(queue.run(copy(src_va, src_va + page, page)).status,
              CCAD_COMP_SUCCESS);
    EXPECT_EQ(queue.run(copy(src_va + page, src_va, page)).status,
              CCAD_COMP_SUCCESS);
}

/* No address is looked at, so any will do. */
TEST_F(Completion, LengthZeroSucceedsAnywhere)
{
    for (ccad_desc desc : {copy(top, top, 0), copy(src_va, src_va, 0),
                           fill(top, 0, 1), crc(top, 0)}) {
        auto record = queue.run(desc);
        EXPECT_EQ(record.status, CCAD_COMP_SUCCESS) << int(desc.opcode);
        EXPECT_EQ(record.bytes_done, 0);
        EXPECT_EQ(record.device_ns, 0);
    }
}

TEST_F(Completion, UnusedFieldsAreNotLookedAt)
{
    ccad_desc desc = nop();
    desc.src = top;
    desc.dst = 3;
    desc.len = top;
    desc.arg = top;

    EXPECT_EQ(queue.run(desc).status, CCAD_COMP_SUCCESS);
}

/* The bytes of the record, by offset, not by the header's struct. */
TEST_F(Completion, Layout)
{
    host.populate(pasid, src_va, page, true);
    store(host, src_va, {'1', '2', '3', '4', '5', '6', '7', '8', '9'});
    ccad_desc desc = crc(src_va, 9);
    desc.tag = 0xa1b2c3d4;
    uint32_t index = queue.submit(desc);
    queue.wait(index);

    auto bytes = load(host, queue.record_address(index), 64);
    auto field = [&](size_t offset, size_t size) {
        uint64_t value = 0;
        std::memcpy(&value, &bytes[offset], size);
        return value;
    };
    EXPECT_EQ(field(0, 1), 1) << "status";
    EXPECT_EQ(field(1, 1), 0) << "access";
    EXPECT_EQ(field(2, 2), 0) << "reserved";
    EXPECT_EQ(field(4, 4), 0xa1b2c3d4) << "tag";
    EXPECT_EQ(field(8, 8), 0xe3069283) << "result";
    EXPECT_EQ(field(16, 8), 0) << "fault_addr";
    EXPECT_EQ(field(24, 8), 9) << "bytes_done";
    EXPECT_EQ(field(32, 8), 1000 + 100 + 1) << "device_ns";
    EXPECT_EQ(field(40, 8), 9) << "bytes_local";
    EXPECT_EQ(field(48, 4), 0) << "atc_hits";
    EXPECT_EQ(field(52, 4), 1) << "translations";
    EXPECT_EQ(field(56, 4), 0) << "page_requests";
    EXPECT_EQ(field(60, 4), 0) << "reserved";
}

/* ThreadSanitizer sees to the order; this to the record being whole. */
TEST_F(Completion, IsWholeWhenTheStatusIs)
{
    host.populate(pasid, src_va, page);

    for (uint32_t i = 0; i < 500; i++) {
        ccad_desc desc = crc(src_va, 1 + i);
        desc.tag = i;
        auto record = queue.run(desc);
        ASSERT_EQ(record.status, CCAD_COMP_SUCCESS);
        ASSERT_EQ(record.tag, i);
        ASSERT_EQ(record.bytes_done, 1 + i);
        ASSERT_NE(record.device_ns, 0);
    }
}

/* Neither more nor less than the 64 bytes is written. */
TEST_F(Completion, OverwritesExactlyTheRecord)
{
    host.populate(pasid, dst_va, page);
    store(host, dst_va, std::vector<uint8_t>(page, 0xee));
    ccad_desc desc = nop(1);
    desc.completion = dst_va + 128;
    queue.push(desc);
    uint32_t last = queue.push(nop());
    queue.ring_doorbell();
    queue.wait(last);

    auto bytes = load(host, dst_va, page);
    std::vector<uint8_t> expected(page, 0xee);
    std::fill_n(expected.begin() + 128, 64, 0);
    expected[128] = CCAD_COMP_SUCCESS;
    expected[132] = 1;
    EXPECT_EQ(bytes, expected);
}

TEST_F(Completion, IsNotWrittenWithoutAnAddress)
{
    host.populate(pasid, dst_va, page);
    queue.push(fill(dst_va, 8, 0x11), false);
    uint32_t last = queue.push(nop());
    queue.ring_doorbell();
    queue.wait(last);

    EXPECT_EQ(host.ptr(pasid, dst_va)[0], 0x11);
    EXPECT_EQ(queue.stat(CCAD_STAT_COMMANDS), 2);
    EXPECT_EQ(queue.stat(CCAD_STAT_WRITE_SYSTEM), 8 + 64);
}

TEST_F(Completion, InterruptsIfAskedAfterTheRecord)
{
    std::atomic<int> status{-1};
    ccad_desc desc = nop();
    desc.flags = CCAD_DESC_INTERRUPT;
    uint32_t index = queue.push(desc);
    host.on_op = [&](const char *op) {
        if (!std::strcmp(op, "interrupt")) {
            status = queue.record(index).status;
        }
    };
    queue.ring_doorbell();

    EXPECT_TRUE(eventually([&] { return host.interrupts(1) == 1; }));
    EXPECT_EQ(status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(host.interrupts(0), 0);
}

TEST_F(Completion, InterruptsWithoutARecordToo)
{
    ccad_desc desc = nop();
    desc.flags = CCAD_DESC_INTERRUPT;
    queue.push(desc, false);
    queue.ring_doorbell();

    EXPECT_TRUE(eventually([&] { return host.interrupts(1) == 1; }));
}

TEST_F(Completion, DoesNotInterruptUnasked)
{
    for (int i = 0; i < 10; i++) {
        queue.run(nop());
    }
    EXPECT_EQ(host.interrupts(1), 0);
}

TEST_F(Completion, FailedCommandsInterruptToo)
{
    ccad_desc desc = nop();
    desc.flags = CCAD_DESC_INTERRUPT;
    desc.rsvd0 = 1;
    queue.submit(desc);

    EXPECT_TRUE(eventually([&] { return host.interrupts(1) == 1; }));
}

/* Who sees the record sees the command in the statistics. */
TEST_F(Completion, CountsBeforeItIsSeen)
{
    host.populate(pasid, dst_va, page);
    for (uint64_t i = 1; i <= 200; i++) {
        queue.run(fill(dst_va, 100, i));
        ASSERT_EQ(queue.stat(CCAD_STAT_COMMANDS), i);
        ASSERT_EQ(queue.stat(CCAD_STAT_WRITE_SYSTEM), i * (100 + 64));
        ASSERT_EQ(queue.stat(CCAD_STAT_READ_SYSTEM), i * 64);
    }
}

TEST_F(Completion, MisalignedAddressStopsTheContext)
{
    host.populate(pasid, dst_va, page);
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_CTX_ERROR);
    ccad_desc desc = fill(dst_va, 8, 0x22);
    desc.completion = dst_va + 32;
    queue.submit(desc);

    EXPECT_TRUE(eventually([&] { return queue.state() == CCAD_CTX_ERROR; }));
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_COMPLETION);
    EXPECT_EQ(host.ptr(pasid, dst_va)[0], 0) << "not executed";
    EXPECT_TRUE(
        eventually([&] { return host.interrupts(CCAD_VECTOR_EVENT) == 1; }));
    EXPECT_EQ(queue.stat(CCAD_STAT_ERRORS), 1);
}

} // namespace

} // namespace ccad::test
