/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contexts: enabling, rings and doorbells, errors, disabling. */
#include <algorithm>
#include <thread>

#include "device.hpp"

namespace ccad::test {

namespace {

class Contexts : public DeviceTest {};

struct BadBlock {
    uint32_t reg;
    uint64_t value;
};

class BadBlocks : public DeviceTest,
                  public testing::WithParamInterface<BadBlock> {};

TEST_P(BadBlocks, CannotBeLatched)
{
    auto [reg, value] = GetParam();
    Queue queue(device, 0, pasid, 4);
    queue.enable();
    queue.disable();

    queue.reg(reg, value, reg == CCAD_CTX_RING ? 8 : 4);
    queue.reg(CCAD_CTX_CTRL, CCAD_CTX_CTRL_ENABLE);
    EXPECT_EQ(queue.state(), CCAD_CTX_ERROR);
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_CONFIG);
    EXPECT_THAT(host.bound(), testing::IsEmpty());
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), CCAD_EVENT_CTX_ERROR);

    /* Only the kernel gets it out of this. */
    queue.db(CCAD_DB_CLEAR, 1);
    queue.db(CCAD_DB_TAIL, 1);
    EXPECT_EQ(queue.state(), CCAD_CTX_ERROR);
    EXPECT_EQ(queue.db(CCAD_DB_TAIL), 0);
    queue.disable();
    EXPECT_EQ(queue.state(), CCAD_CTX_DISABLED);
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_NONE);
    queue.enable();
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadBlocks,
    testing::Values(BadBlock{CCAD_CTX_RING, 0x1040},
                    BadBlock{CCAD_CTX_RING_SHIFT, 0},
                    BadBlock{CCAD_CTX_RING_SHIFT, 17},
                    BadBlock{CCAD_CTX_RING_SHIFT, 0xffffffff},
                    BadBlock{CCAD_CTX_VECTOR, 5},
                    BadBlock{CCAD_CTX_VECTOR, 0xffffffff}),
    [](auto &info) {
        return "reg" + std::to_string(info.param.reg) + "case" +
               std::to_string(info.index);
    });

TEST_F(Contexts, RingMayEndWhereAddressesEndButNotBeyond)
{
    Queue queue(device, 0, pasid, 4);
    queue.enable();
    queue.disable();
    queue.reg(CCAD_CTX_RING, UINT64_MAX - 0xfff, 8);
    queue.reg(CCAD_CTX_RING_SHIFT, 6); /* a page */
    queue.reg(CCAD_CTX_CTRL, CCAD_CTX_CTRL_ENABLE);
    EXPECT_EQ(queue.state(), CCAD_CTX_ENABLED);
    queue.disable();
    queue.reg(CCAD_CTX_RING_SHIFT, 7);
    queue.reg(CCAD_CTX_CTRL, CCAD_CTX_CTRL_ENABLE);
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_CONFIG);
}

TEST_F(Contexts, WhosePasidCannotBeBoundStay)
{
    host.bind_works = false;
    Queue queue = device.queue();
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_CONFIG);
    host.bind_works = true;
    queue.disable();
    queue.enable();
    EXPECT_EQ(queue.state(), CCAD_CTX_ENABLED);
}

TEST_F(Contexts, BindTheirPasidOnce)
{
    Queue a = device.queue(0, 5);
    Queue b = device.queue(1, 5);
    Queue c = device.queue(2, 6);
    EXPECT_THAT(host.bound(), testing::ElementsAre(5, 6));

    a.disable();
    EXPECT_THAT(host.bound(), testing::ElementsAre(5, 6));
    c.disable();
    EXPECT_THAT(host.bound(), testing::ElementsAre(5));
    b.disable();
    b.disable();
    EXPECT_THAT(host.bound(), testing::IsEmpty());
}

/* The host may have had to let it go, and says whether it can be used now. */
TEST_F(Contexts, AskForAPasidInUse)
{
    Queue a = device.queue(0, 5);
    Queue b = device.queue(1, 5);

    b.disable();
    host.bind_works = false;
    b.enable();
    EXPECT_EQ(b.cause(), CCAD_CAUSE_CONFIG);
    EXPECT_EQ(a.run(nop()).status, CCAD_COMP_SUCCESS);
    EXPECT_THAT(host.bound(), testing::ElementsAre(5));
}

/* The next process with this PASID must not meet the last one's pages. */
TEST_F(Contexts, UnboundPasidsLeaveNoTranslation)
{
    Queue queue = device.queue();
    host.populate(pasid, src_va, page);
    queue.run(crc(src_va, page));
    queue.disable();
    host.map(pasid, src_va, host.alloc(page), page);
    queue.enable();

    EXPECT_EQ(queue.run(crc(src_va, page)).translations, 1);
}

TEST_F(Contexts, EnablingTwiceChangesNothing)
{
    Queue queue = device.queue();
    queue.run(nop());
    queue.reg(CCAD_CTX_CTRL, CCAD_CTX_CTRL_ENABLE);
    EXPECT_EQ(queue.db(CCAD_DB_HEAD), 1);
    EXPECT_THAT(host.bound(), testing::ElementsAre(pasid));
}

TEST_F(Contexts, EnablingBeginsAnew)
{
    Queue queue = device.queue();
    queue.run(nop());
    queue.disable();
    EXPECT_EQ(queue.stat(CCAD_STAT_COMMANDS), 1) << "still to be read";
    queue.enable();

    EXPECT_EQ(queue.db(CCAD_DB_HEAD), 0);
    EXPECT_EQ(queue.db(CCAD_DB_TAIL), 0);
    for (uint32_t i = 0; i < CCAD_STAT_COUNT; i++) {
        EXPECT_EQ(queue.stat(8 * i), 0) << i;
    }
    EXPECT_EQ(device.stat(CCAD_STAT_COMMANDS), 1) << "the device's go on";
}

class Rings : public DeviceTest,
              public testing::WithParamInterface<uint32_t> {};

TEST_P(Rings, WrapAround)
{
    uint32_t shift = GetParam();
    Queue queue = device.queue(0, pasid, shift);
    uint32_t entries = 1u << shift;
    uint32_t tag = 0;

    for (int round = 0; round < 5; round++) {
        std::vector<uint32_t> commands;
        uint32_t batch = std::min(entries, Queue::records);
        uint32_t first = tag;
        for (uint32_t i = 0; i < batch; i++) {
            commands.push_back(queue.push(nop(tag++)));
        }
        queue.ring_doorbell();
        for (uint32_t i = 0; i < batch; i++) {
            ASSERT_EQ(queue.wait(commands[i]).tag, first + i);
        }
        ASSERT_EQ(queue.db(CCAD_DB_HEAD), tag);
        ASSERT_EQ(queue.db(CCAD_DB_TAIL), tag);
    }
}

INSTANTIATE_TEST_SUITE_P(Shifts, Rings, testing::Values(1, 4, 6, 7));

TEST_F(Contexts, CommandsEndInOrder)
{
    Queue queue = device.queue(0, pasid, 6);
    host.populate(pasid, dst_va, page);
    uint32_t last = 0;
    for (uint64_t i = 1; i <= 60; i++) {
        last = queue.push(fill(dst_va, page, i));
    }
    queue.ring_doorbell();
    queue.wait(last);
    EXPECT_EQ(host.ptr(pasid, dst_va)[0], 60);
}

TEST_F(Contexts, AFullRingIsFine)
{
    Queue queue = device.queue(0, pasid, 2);
    for (uint32_t i = 0; i < 4; i++) {
        queue.push(nop(i));
    }
    queue.ring_doorbell();
    EXPECT_TRUE(eventually([&] { return queue.db(CCAD_DB_HEAD) == 4; }));
    EXPECT_EQ(queue.state(), CCAD_CTX_ENABLED);
}

TEST_F(Contexts, ATailBeyondTheRingStopsThem)
{
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_CTX_ERROR);
    Queue queue = device.queue(0, pasid, 2);
    queue.run(nop());
    queue.push(nop());
    queue.db(CCAD_DB_TAIL, 1 + 5);

    EXPECT_EQ(queue.state(), CCAD_CTX_ERROR);
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_DOORBELL);
    EXPECT_EQ(queue.db(CCAD_DB_HEAD), 1);
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 1);
    EXPECT_EQ(queue.stat(CCAD_STAT_COMMANDS), 1);
}

TEST_F(Contexts, ATailBehindTheHeadStopsThem)
{
    Queue queue = device.queue();
    queue.run(nop());
    queue.db(CCAD_DB_TAIL, 0);
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_DOORBELL);
}

TEST_F(Contexts, ClearingAnErrorDropsTheRing)
{
    Queue queue = device.queue();
    host.populate(pasid, dst_va, page);
    queue.run(nop());
    queue.db(CCAD_DB_TAIL, 1000);
    queue.db(CCAD_DB_TAIL, 3);
    EXPECT_EQ(queue.db(CCAD_DB_TAIL), 3) << "what was written last";
    EXPECT_EQ(queue.db(CCAD_DB_HEAD), 1);

    queue.db(CCAD_DB_CLEAR, 0);
    EXPECT_EQ(queue.state(), CCAD_CTX_ERROR) << "zero clears nothing";
    queue.db(CCAD_DB_CLEAR, 1);
    EXPECT_EQ(queue.state(), CCAD_CTX_ENABLED);
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_NONE);
    EXPECT_EQ(queue.db(CCAD_DB_HEAD), 3);
    queue.tail(3);
    EXPECT_EQ(queue.run(fill(dst_va, 1, 7)).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(queue.stat(CCAD_STAT_COMMANDS), 2);
}

TEST_F(Contexts, ClearingWithoutAnErrorDoesNothing)
{
    Queue queue = device.queue();
    Barrier inside;
    host.on_translate = [&](uint32_t, uint64_t) { inside.pass(); };
    uint32_t index = queue.submit(nop());
    ASSERT_TRUE(inside.reached());
    queue.db(CCAD_DB_CLEAR, 1);
    inside.open();
    EXPECT_EQ(queue.wait(index).status, CCAD_COMP_SUCCESS);
}

TEST_F(Contexts, DisabledOnesIgnoreTheDoorbell)
{
    Queue queue = device.queue();
    queue.disable();
    queue.db(CCAD_DB_TAIL, 1);
    EXPECT_EQ(queue.db(CCAD_DB_TAIL), 0);
    EXPECT_EQ(queue.state(), CCAD_CTX_DISABLED);
}

TEST_F(Contexts, ADisabledDeviceKeepsThemForLater)
{
    Queue queue = device.queue();
    device.write(CCAD_REG_CTRL, 0);
    uint32_t index = queue.submit(nop());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_NONE);
    device.enable();
    EXPECT_EQ(queue.wait(index).status, CCAD_COMP_SUCCESS);
}

/* Many addresses, one page of memory: a command that takes long. */
void map_far(FakeHost &host, uint64_t va, uint64_t len)
{
    uint64_t pa = host.alloc(huge);
    for (uint64_t i = 0; i < len; i += huge) {
        host.map(pasid, va + i, pa, huge);
    }
}

constexpr uint64_t long_len = uint64_t{512} << 20;

TEST_F(Contexts, ADisabledDeviceHoldsALongCommand)
{
    Queue queue = device.queue();
    map_far(host, src_va, long_len);
    uint32_t index = queue.submit(crc(src_va, long_len));
    ASSERT_TRUE(eventually([&] { return host.mapped_pages() > 0; }));

    device.write(CCAD_REG_CTRL, 0);
    EXPECT_EQ(host.mapped_pages(), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(host.mapped_pages(), 0);
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_NONE);
    device.enable();
    auto record = queue.wait(index);
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.bytes_done, long_len);
}

class Disabling : public DeviceTest {
protected:
    Queue queue = device.queue();
};

TEST_F(Disabling, StopsALongCommandAtOnce)
{
    map_far(host, dst_va, long_len);
    queue.run(nop());
    uint32_t index = queue.submit(fill(dst_va, long_len, 1));
    /* Fetched, and so in flight; a page mapped alone may be the ring's. */
    ASSERT_TRUE(eventually([&] {
        return queue.db(CCAD_DB_HEAD) == index + 1 && host.mapped_pages() > 0;
    }));

    queue.disable();
    EXPECT_EQ(queue.state(), CCAD_CTX_DISABLED);
    EXPECT_EQ(host.mapped_pages(), 0) << "nothing touches memory any more";
    uint64_t written = queue.stat(CCAD_STAT_WRITE_SYSTEM);

    auto record = queue.record(index);
    EXPECT_EQ(record.status, CCAD_COMP_ABORTED);
    EXPECT_LT(record.bytes_done, long_len);
    EXPECT_EQ(record.bytes_done + 2 * 64, written) << "the statistics agree";
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(queue.stat(CCAD_STAT_WRITE_SYSTEM), written);
    EXPECT_EQ(queue.stat(CCAD_STAT_COMMANDS), 2);
    EXPECT_EQ(queue.stat(CCAD_STAT_ERRORS), 1);
    EXPECT_EQ(device.stat(CCAD_STAT_WRITE_SYSTEM), written);
}

/* No translation of the record: it stays as it was. */
TEST_F(Disabling, EndsSilentlyWhereTheRecordIsNotKnown)
{
    map_far(host, dst_va, long_len);
    uint32_t index = queue.submit(fill(dst_va, long_len, 1));
    ASSERT_TRUE(
        eventually([&] { return queue.stat(CCAD_STAT_WRITE_SYSTEM) > 0; }));
    queue.disable();
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_NONE);
    EXPECT_EQ(queue.stat(CCAD_STAT_COMMANDS), 1);
}

TEST_F(Disabling, DoesNotWaitForAnEngineInsideTranslate)
{
    host.populate(pasid, dst_va, page);
    queue.run(nop());
    Barrier inside;
    host.on_translate = [&](uint32_t, uint64_t) { inside.pass(); };
    uint32_t index = queue.submit(fill(dst_va, page, 9));
    ASSERT_TRUE(inside.reached());

    queue.disable();
    EXPECT_EQ(queue.state(), CCAD_CTX_DISABLED);
    EXPECT_THAT(host.bound(), testing::IsEmpty());
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_ABORTED);
    queue.enable();
    inside.open();

    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(host.ptr(pasid, dst_va)[0], 0) << "the old command is over";
    EXPECT_EQ(queue.stat(CCAD_STAT_COMMANDS), 1);
}

TEST_F(Disabling, DoesNotWaitForAPageResponse)
{
    queue.run(nop());
    host.serving(FakeHost::Serving::never);
    uint32_t index = queue.submit(fill(dst_va, page, 9));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));

    queue.disable();
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_ABORTED);

    /* The answer comes when another command waits for another page. */
    queue.enable();
    host.populate(pasid, dst_va, page);
    index = queue.submit(crc(src_va, 8));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 2; }));
    auto requests = host.requests();
    EXPECT_NE(requests[0].prgi, requests[1].prgi);
    host.respond(requests[0], CCAD_RESPONSE_FAILURE);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_NONE);
    EXPECT_EQ(host.ptr(pasid, dst_va)[0], 0);

    host.populate(pasid, src_va, page);
    host.respond(requests[1], CCAD_RESPONSE_SUCCESS);
    EXPECT_EQ(queue.wait(index).status, CCAD_COMP_SUCCESS);
}

/* Nobody answers for a PASID that is gone: its requests are not missed. */
TEST(DisablingWithBackPressure, GivesPageRequestsBack)
{
    ccad_config config = small_config();
    config.page_requests = 1;
    Device device(config);
    FakeHost &host = device.host;
    device.enable();
    Queue gone = device.queue(0, 1);
    Queue next = device.queue(1, 2);
    gone.run(nop());
    next.run(nop());
    host.serving(FakeHost::Serving::never);
    gone.submit(crc(src_va, 8));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));
    host.add_region(2, {src_va, page});
    uint32_t index = next.submit(crc(src_va, 8));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ASSERT_EQ(host.requests().size(), 1) << "it has to wait";

    gone.disable();

    ASSERT_TRUE(eventually([&] { return host.requests().size() == 2; }));
    auto request = host.requests()[1];
    host.respond(request, host.serve(2, request.va, false));
    EXPECT_EQ(next.wait(index).status, CCAD_COMP_SUCCESS);
}

TEST_F(Disabling, LeavesTheOthersRunning)
{
    Queue other = device.queue(1);
    map_far(host, src_va, long_len);
    uint32_t index = other.submit(crc(src_va, long_len));
    for (int i = 0; i < 20; i++) {
        queue.submit(crc(src_va, long_len));
        queue.disable();
        queue.enable();
    }
    EXPECT_EQ(other.wait(index).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(other.stat(CCAD_STAT_READ_SYSTEM), long_len + 64);
}

} // namespace

} // namespace ccad::test
