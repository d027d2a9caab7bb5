/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that hang or take too long, and what becomes of the others. */
#include <time.h>

#include <thread>

#include "device.hpp"

namespace ccad::test {

namespace {

using namespace std::chrono_literals;
using Serving = FakeHost::Serving;

class Timeouts : public DeviceTest {
protected:
    Timeouts()
    {
        device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_CTX_ERROR);
        queue.disable();
        queue.reg(CCAD_CTX_TIMEOUT_MS, 50);
        queue.enable();
    }

    bool hangs(uint32_t number)
    {
        return eventually([&] {
            return device.info(number).place == CCAD_PLACE_HUNG;
        });
    }
    /* Submit one that hangs. */
    uint32_t submit_hanging(Queue &to, ccad_desc desc = nop())
    {
        EXPECT_TRUE(ccad_core_hang(device.core(), number_of(to)));
        uint32_t index = to.submit(desc);
        EXPECT_TRUE(hangs(number_of(to)));
        return index;
    }
    uint32_t number_of(Queue &of) { return &of == &queue ? 0 : 1; }
    void expect_timed_out(uint32_t index)
    {
        EXPECT_EQ(queue.wait(index).status, CCAD_COMP_TIMEOUT);
        EXPECT_TRUE(
            eventually([&] { return queue.state() == CCAD_CTX_ERROR; }));
        EXPECT_EQ(queue.cause(), CCAD_CAUSE_TIMEOUT);
        EXPECT_TRUE(eventually(
            [&] { return host.interrupts(CCAD_VECTOR_EVENT) == 1; }));
        EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), CCAD_EVENT_CTX_ERROR);
    }

    Queue queue = device.queue(0);
};

TEST_F(Timeouts, EndACommandThatHangs)
{
    ccad_desc desc = nop(77);
    desc.flags = CCAD_DESC_INTERRUPT;
    uint32_t index = submit_hanging(queue, desc);
    host.advance_time(49ms);
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_NONE);
    host.advance_time(1ms);

    expect_timed_out(index);
    EXPECT_EQ(queue.record(index).tag, 77);
    EXPECT_EQ(queue.stat(CCAD_STAT_COMMANDS), 1);
    EXPECT_EQ(queue.stat(CCAD_STAT_ERRORS), 1);
    EXPECT_EQ(host.interrupts(1), 1) << "as at every end of a command";

    queue.db(CCAD_DB_CLEAR, 1);
    EXPECT_EQ(queue.state(), CCAD_CTX_ENABLED);
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
}

TEST_F(Timeouts, DropTheRestOfTheRing)
{
    uint32_t index = queue.push(nop());
    uint32_t after = queue.push(nop());
    ASSERT_TRUE(ccad_core_hang(device.core(), 0));
    queue.ring_doorbell();
    ASSERT_TRUE(hangs(0));
    host.advance_time(50ms);
    expect_timed_out(index);

    EXPECT_EQ(queue.db(CCAD_DB_HEAD), 1);
    queue.db(CCAD_DB_CLEAR, 1);
    EXPECT_EQ(queue.db(CCAD_DB_HEAD), 2);
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(queue.record(after).status, CCAD_COMP_NONE);
}

TEST_F(Timeouts, EndACommandThatWaitsForAPage)
{
    host.serving(Serving::never);
    uint32_t index = queue.submit(crc(src_va, 8));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));
    host.advance_time(50ms);
    expect_timed_out(index);

    /* The answer comes too late for anybody. */
    queue.db(CCAD_DB_CLEAR, 1);
    host.serving(Serving::inside);
    host.respond(host.requests()[0], CCAD_RESPONSE_FAILURE);
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
}

/* As soon as it is back; what it brings is of no use any more. */
TEST_F(Timeouts, DoNotWaitForAnEngineInsideTranslate)
{
    queue.run(nop());
    host.populate(pasid, dst_va, page);
    Barrier inside;
    host.on_translate = [&](uint32_t, uint64_t) { inside.pass(); };
    uint32_t index = queue.submit(fill(dst_va, page, 9));
    ASSERT_TRUE(inside.reached());
    host.advance_time(50ms);
    expect_timed_out(index);
    inside.open();
    EXPECT_EQ(host.ptr(pasid, dst_va)[0], 0);
    queue.db(CCAD_DB_CLEAR, 1);
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
}

/* No page is requested for it: that could take as long again. */
TEST_F(Timeouts, WriteNoRecordWhereThereIsNoPage)
{
    host.serving(Serving::never);
    ccad_desc desc = nop();
    desc.completion = dst_va;
    queue.submit(desc);
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));
    host.advance_time(50ms);

    ASSERT_TRUE(eventually([&] { return queue.state() == CCAD_CTX_ERROR; }));
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_TIMEOUT);
    EXPECT_EQ(host.requests().size(), 1);
    EXPECT_EQ(queue.stat(CCAD_STAT_ERRORS), 1);
}

TEST_F(Timeouts, CountFromTheStartOfEachCommand)
{
    for (int i = 0; i < 10; i++) {
        host.serving(Serving::never);
        host.add_region(pasid, {src_va + i * page, page});
        uint32_t index = queue.submit(crc(src_va + i * page, 8));
        ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));
        host.advance_time(40ms);
        auto request = host.requests()[0];
        host.respond(request, host.serve(pasid, request.va, false));
        ASSERT_EQ(queue.wait(index).status, CCAD_COMP_SUCCESS) << i;
    }
}

TEST_F(Timeouts, LeaveOthersAlone)
{
    Queue other = device.queue(1, pasid + 1);
    uint32_t patient = submit_hanging(other);
    uint32_t index = submit_hanging(queue);
    host.advance_time(50ms);
    expect_timed_out(index);

    host.advance_time(1h);
    EXPECT_EQ(other.record(patient).status, CCAD_COMP_NONE) << "it has none";
    EXPECT_EQ(other.state(), CCAD_CTX_ENABLED);
    other.disable();
    EXPECT_EQ(other.state(), CCAD_CTX_DISABLED);
    other.enable();
    EXPECT_EQ(other.run(nop()).status, CCAD_COMP_SUCCESS);
}

TEST_F(Timeouts, AreSetAndForgottenInTheHost)
{
    Queue other = device.queue(1, pasid + 1);
    other.run(nop());
    EXPECT_EQ(host.timer_ns(), UINT64_MAX) << "no time-out, no timer";
    queue.run(nop());
    EXPECT_NE(host.timer_ns(), UINT64_MAX);
    /* The record is there before the engine has let go of the context. */
    EXPECT_TRUE(eventually([this] {
        host.advance_time(50ms);
        return host.timer_ns() == UINT64_MAX;
    })) << "idle contexts need none";
    queue.run(nop());
    device.reset();
    EXPECT_EQ(host.timer_ns(), UINT64_MAX);
}

TEST_F(Timeouts, OfADisabledDeviceComeWhenItGoesOn)
{
    uint32_t index = submit_hanging(queue);
    device.write(CCAD_REG_CTRL, 0);
    host.advance_time(50ms);
    EXPECT_EQ(queue.state(), CCAD_CTX_ENABLED);
    device.enable();
    expect_timed_out(index);
}

class Hanging : public Timeouts {
protected:
    Queue other = device.queue(1, pasid + 1);
};

TEST_F(Hanging, NeedsAContextThatIsEnabled)
{
    EXPECT_FALSE(ccad_core_hang(device.core(), 4));
    EXPECT_FALSE(ccad_core_hang(device.core(), UINT32_MAX));
    EXPECT_FALSE(ccad_core_hang(device.core(), 2)) << "disabled";
    queue.db(CCAD_DB_TAIL, 1000);
    EXPECT_FALSE(ccad_core_hang(device.core(), 0)) << "in error";
}

TEST_F(Hanging, MeetsOneCommandOnly)
{
    queue.run(nop());
    submit_hanging(queue);
    queue.disable();
    queue.enable();
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
    ASSERT_TRUE(ccad_core_hang(device.core(), 0));
    queue.disable();
    queue.enable();
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS)
        << "forgotten with the context";
}

TEST_F(Hanging, IsEndedByDisabling)
{
    queue.run(nop());
    uint32_t index = submit_hanging(queue);
    queue.disable();
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_ABORTED);
}

TEST_F(Hanging, IsEndedByAReset)
{
    submit_hanging(queue);
    device.reset();
    EXPECT_EQ(queue.state(), CCAD_CTX_DISABLED);
    device.enable();
    queue.enable();
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
}

/* More of them than engines, so each would keep one. */
TEST_F(Hanging, KeepsNoEngineAndNoInvalidation)
{
    Queue third = device.queue(2, pasid + 2);
    host.populate(pasid + 2, src_va, page);
    submit_hanging(queue);
    submit_hanging(other);
    auto cpu = [] {
        timespec t;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return std::chrono::seconds(t.tv_sec) +
               std::chrono::nanoseconds(t.tv_nsec);
    };

    auto before = cpu();
    std::this_thread::sleep_for(200ms);
    EXPECT_LT(cpu() - before, 20ms) << "it waits without burning time";

    EXPECT_EQ(third.run(crc(src_va, page)).status, CCAD_COMP_SUCCESS);
    {
        std::lock_guard lock(host.big_lock());
        ccad_core_invalidate(device.core(), 0, true, 0, 0);
    }
    device.write(CCAD_REG_CTRL, 0);
    EXPECT_EQ(device.read(CCAD_REG_STATUS, 4), 0);
    device.enable();
    EXPECT_EQ(third.run(crc(src_va, page)).translations, 1);
    other.db(CCAD_DB_TAIL, 1000);
    EXPECT_EQ(other.cause(), CCAD_CAUSE_DOORBELL);
}

/*
 * Commands that end just then: each ends once, well or timed out, and none of
 * those behind it is taken for it.
 */
TEST_F(Timeouts, WhileCommandsEnd)
{
    host.populate(pasid, src_va, 64 * page);
    unsigned timed_out = 0;
    unsigned well = 0;

    for (int round = 0; round < 300; round++) {
        uint32_t first = queue.push(crc(src_va, 64 * page));
        uint32_t second = queue.push(nop());
        queue.ring_doorbell();
        for (int i = 0; i < round % 7; i++) {
            std::this_thread::yield();
        }
        host.advance_time(50ms);
        uint8_t status = 0;
        ASSERT_TRUE(eventually([&] {
            return queue.record(second).status ||
                   queue.state() == CCAD_CTX_ERROR;
        }));
        status = queue.record(first).status;
        if (queue.state() == CCAD_CTX_ENABLED) {
            EXPECT_EQ(status, CCAD_COMP_SUCCESS);
            EXPECT_EQ(queue.record(second).status, CCAD_COMP_SUCCESS);
            well++;
            continue;
        }
        EXPECT_EQ(queue.cause(), CCAD_CAUSE_TIMEOUT);
        EXPECT_TRUE(status == CCAD_COMP_TIMEOUT ||
                    (status == CCAD_COMP_SUCCESS &&
                     queue.record(second).status == CCAD_COMP_TIMEOUT))
            << int{status};
        timed_out++;
        queue.db(CCAD_DB_CLEAR, 1);
    }
    RecordProperty("timed_out", static_cast<int>(timed_out));
    RecordProperty("well", static_cast<int>(well));
    EXPECT_EQ(queue.stat(CCAD_STAT_ERRORS), timed_out);
}

} // namespace

} // namespace ccad::test
