/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the device says of itself besides its registers. */
#include <tuple>

#include "device.hpp"

namespace ccad::test {

namespace {

using testing::ElementsAre;
using testing::Each;

class Info : public DeviceTest {
protected:
    ccad_context_info context(uint32_t number)
    {
        return device.info(number);
    }
    std::vector<ccad_page_request_info> page_requests(size_t max = 512)
    {
        std::vector<ccad_page_request_info> out(max);

        out.resize(ccad_core_page_requests(device.core(), out.data(), max));
        return out;
    }
};

using Step = std::tuple<ccad_step, uint64_t, uint64_t, uint64_t>;

/* The steps of context 2; in others nothing happens if it is alone. */
class Recorder {
public:
    explicit Recorder(FakeHost &host, bool alone = true)
    {
        host.on_trace = [alone, seen = seen_](ccad_step step, uint32_t context,
                                              uint64_t a, uint64_t b,
                                              uint64_t c) {
            std::lock_guard lock(seen->mutex);
            if (context == 2) {
                seen->steps.emplace_back(step, a, b, c);
            } else {
                EXPECT_FALSE(alone) << context;
            }
        };
    }
    /* Those seen so far, but for the beginnings and the ends of slices. */
    std::vector<Step> steps()
    {
        auto steps = all();

        std::erase_if(steps, [](const Step &step) {
            return std::get<0>(step) == CCAD_STEP_TAKE ||
                   std::get<0>(step) == CCAD_STEP_SLICE_END;
        });
        return steps;
    }
    std::vector<Step> all()
    {
        std::lock_guard lock(seen_->mutex);
        return seen_->steps;
    }
    bool saw(ccad_step wanted)
    {
        return std::ranges::any_of(all(), [wanted](const Step &step) {
            return std::get<0>(step) == wanted;
        });
    }

private:
    /* Engines are still at work when a test has ended. */
    struct Seen {
        std::mutex mutex;
        std::vector<Step> steps;
    };
    std::shared_ptr<Seen> seen_ = std::make_shared<Seen>();
};

class Trace : public DeviceTest {
protected:
    std::vector<Step> steps() { return recorder.steps(); }

    Recorder recorder{host};
};

TEST_F(Info, CommandsByKind)
{
    Queue queue = device.queue(1);
    host.populate(pasid, dst_va, page);

    queue.run(nop());
    queue.run(nop());
    queue.run(fill(dst_va, 64, 1));
    for (uint8_t unknown : {CCAD_COMMAND_KINDS - 1, 0xff}) {
        ccad_desc desc = nop();
        desc.opcode = unknown;
        queue.run(desc);
    }

    ccad_context_info info = context(1);
    EXPECT_EQ(info.commands[CCAD_OP_NOP], 2);
    EXPECT_EQ(info.commands[CCAD_OP_FILL], 1);
    EXPECT_EQ(info.commands[CCAD_COMMAND_KINDS - 1], 2);
    EXPECT_EQ(ccad_core_commands(device.core(), CCAD_OP_NOP), 2);
    EXPECT_EQ(ccad_core_commands(device.core(), CCAD_COMMAND_KINDS - 1), 2);
    EXPECT_EQ(ccad_core_commands(device.core(), CCAD_COMMAND_KINDS), 0);
    EXPECT_THAT(context(0).commands, Each(0));

    /* A context's begin anew, the device's go on until its reset. */
    queue.disable();
    queue.enable();
    EXPECT_THAT(context(1).commands, Each(0));
    EXPECT_EQ(ccad_core_commands(device.core(), CCAD_OP_NOP), 2);
    device.reset();
    EXPECT_EQ(ccad_core_commands(device.core(), CCAD_OP_NOP), 0);
}

TEST_F(Info, Contexts)
{
    EXPECT_FALSE(context(3).bound);
    EXPECT_FALSE(context(4).bound); /* there is no such context */

    Queue queue = device.queue(3, 77);
    EXPECT_TRUE(context(3).bound);
    EXPECT_EQ(context(3).pasid, 77);
    EXPECT_EQ(context(3).place, CCAD_PLACE_IDLE);

    /* It waits for a page, without an engine. */
    host.serving(FakeHost::Serving::never);
    queue.submit(fill(dst_va, 64, 1));
    ASSERT_TRUE(eventually(
        [&] { return context(3).place == CCAD_PLACE_WAITING; }));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));
    auto requests = page_requests();
    ASSERT_EQ(requests.size(), 1);
    EXPECT_EQ(requests[0].context, 3);
    EXPECT_EQ(requests[0].pasid, 77);
    EXPECT_EQ(requests[0].prgi, host.requests()[0].prgi);
    EXPECT_EQ(page_requests(0).size(), 0);
    for (uint32_t engine = 0; engine < 3; engine++) {
        EXPECT_TRUE(eventually([&] {
            return ccad_core_engine_info(device.core(), engine) == -1;
        }));
    }
    host.respond(host.requests()[0], CCAD_RESPONSE_FAILURE);
    EXPECT_TRUE(page_requests().empty());
}

/* What is latched and in flight, also of a device that has moved. */
TEST_F(Info, CommandInFlight)
{
    Queue queue = device.queue(3);
    host.populate(pasid, dst_va, page);
    host.serving(FakeHost::Serving::never);
    EXPECT_FALSE(context(3).in_flight);
    ccad_desc desc = fill(dst_va + page - 24, 64, 1);
    desc.tag = 0x8000'0001;
    queue.submit(desc);
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));
    queue.reg(CCAD_CTX_PRIORITY, 5);
    queue.reg(CCAD_CTX_RING, 0, 8);

    for (bool moved : {false, true}) {
        if (moved) {
            device.migrate();
        }
        ccad_context_info info = context(3);
        EXPECT_TRUE(info.bound);
        EXPECT_FALSE(info.physical);
        EXPECT_EQ(info.ring, queue.ring());
        EXPECT_EQ(info.ring_shift, 4);
        EXPECT_EQ(info.priority, 0);
        EXPECT_TRUE(info.in_flight);
        EXPECT_EQ(info.opcode, CCAD_OP_FILL);
        EXPECT_EQ(info.tag, 0x8000'0001);
        EXPECT_EQ(info.done, 24);
        EXPECT_EQ(info.deadline_ns, UINT64_MAX);
    }
    host.respond(host.requests()[0], CCAD_RESPONSE_FAILURE);
    queue.wait(0);
    EXPECT_TRUE(eventually([&] { return !context(3).in_flight; }));
    EXPECT_EQ(queue.stat(CCAD_STAT_FAULTS), 1);
    queue.disable();
    EXPECT_FALSE(context(3).bound);
}

/* A hang that is armed strikes once. */
TEST_F(Info, HangArmed)
{
    Queue queue = device.queue(3);

    EXPECT_FALSE(context(3).hang_armed);
    ASSERT_TRUE(ccad_core_hang(device.core(), 3));
    EXPECT_TRUE(context(3).hang_armed);
    queue.submit(nop());
    ASSERT_TRUE(
        eventually([&] { return context(3).place == CCAD_PLACE_HUNG; }));
    EXPECT_FALSE(context(3).hang_armed);
}

TEST_F(Info, Position)
{
    Queue first = device.queue(0);
    Queue second = device.queue(1);

    first.run(nop());
    first.disable();
    uint64_t before = device.read(CCAD_REG_CLOCK);
    second.run(nop());
    second.disable();
    EXPECT_GT(before, 0);
    EXPECT_EQ(context(0).position_ns, before);
    EXPECT_EQ(context(1).position_ns,
              before + device.read(CCAD_DOORBELL(1) + CCAD_DB_CLOCK));
}

/* What was given to contexts while no engine could take it. */
TEST(InfoOfQuiet, RoomAndReply)
{
    ccad_config config = small_config();
    config.page_requests = 1;
    Device device(config);
    FakeHost &host = device.host;
    auto context = [&](uint32_t number) { return device.info(number); };
    auto allocation = [&] {
        ccad_device_info info;
        ccad_core_device_info(device.core(), &info);
        return info.page_request_allocation;
    };
    device.enable();
    Queue first = device.queue(0);
    Queue second = device.queue(1);
    host.add_region(pasid, {dst_va, 2 * page});
    host.serving(FakeHost::Serving::never);
    uint32_t index = first.submit(fill(dst_va, 64, 1));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));
    second.submit(fill(dst_va + page, 64, 1));
    ASSERT_TRUE(
        eventually([&] { return context(1).place == CCAD_PLACE_STALLED; }));
    EXPECT_FALSE(context(0).reply_untold);
    EXPECT_FALSE(context(1).room_granted);

    device.quiesce();
    auto request = host.requests()[0];
    host.respond(request, host.serve(request));
    for (bool moved : {false, true}) {
        if (moved) {
            device.migrate();
        }
        EXPECT_TRUE(context(0).reply_untold);
        EXPECT_FALSE(context(0).room_granted);
        EXPECT_FALSE(context(1).reply_untold);
        EXPECT_TRUE(context(1).room_granted);
        EXPECT_EQ(allocation(), 1);
    }
    device.enable();
    EXPECT_EQ(first.wait(index).status, CCAD_COMP_SUCCESS);
    ASSERT_TRUE(
        eventually([&] { return context(1).place == CCAD_PLACE_WAITING; }));
    EXPECT_FALSE(context(0).reply_untold);
    EXPECT_FALSE(context(1).room_granted);
    ccad_core_page_request_allocation(device.core(), 0);
    EXPECT_EQ(allocation(), 0);
}

TEST(InfoOfDelay, UntilWhen)
{
    ccad_config config = small_config();
    config.injection.delay_command = 1'000'000;
    config.injection.delay_us = 1000;
    Device device(config);
    device.enable();
    Queue queue = device.queue(1);
    auto context = [&] { return device.info(1); };

    EXPECT_EQ(context().delayed_until_ns, 0);
    queue.submit(nop());
    ASSERT_TRUE(
        eventually([&] { return context().place == CCAD_PLACE_DELAYED; }));
    EXPECT_EQ(context().delayed_until_ns, device.host.timer_ns());
    device.host.advance_time(std::chrono::milliseconds(1));
    queue.wait(0);
    EXPECT_EQ(context().delayed_until_ns, 0);
}

/* Until when transfers keep memories busy, where they share a time line. */
TEST(InfoOfTimeline, Busy)
{
    for (bool ordered : {false, true}) {
        ccad_config config = small_config();
        config.ordered = ordered;
        Device device(config);
        device.enable();
        Queue queue = device.queue(0);
        auto info = [&] {
            ccad_device_info now;
            ccad_core_device_info(device.core(), &now);
            return now;
        };
        device.host.populate(pasid, dst_va, page, true);
        queue.run(fill(dst_va, page, 1));
        queue.disable();
        EXPECT_EQ(info().local_busy_ns != 0, ordered);
        EXPECT_EQ(info().system_busy_ns != 0, ordered);
        if (ordered) {
            /* The record is the last thing that it writes. */
            EXPECT_LT(info().local_busy_ns, info().system_busy_ns);
            EXPECT_LE(info().system_busy_ns, device.read(CCAD_REG_CLOCK));
        }
        device.reset();
        EXPECT_EQ(info().local_busy_ns, 0);
        EXPECT_EQ(info().system_busy_ns, 0);
    }
}

TEST_F(Info, EngineAtWork)
{
    Queue queue = device.queue(1);
    Barrier barrier;
    host.populate(pasid, dst_va, page);
    host.on_map = [&, dst = host.walk(pasid, dst_va)->pa](uint64_t pa,
                                                          bool write) {
        if (write && pa == dst) {
            barrier.pass();
        }
    };
    queue.submit(fill(dst_va, page, 1));
    ASSERT_TRUE(barrier.reached());
    EXPECT_EQ(context(1).place, CCAD_PLACE_RUNNING);
    EXPECT_THAT((std::array{ccad_core_engine_info(device.core(), 0),
                            ccad_core_engine_info(device.core(), 1)}),
                testing::UnorderedElementsAre(1, -1));
    barrier.open();
    queue.wait(0);
}

TEST_F(Info, AtcEntries)
{
    EXPECT_EQ(ccad_core_atc_entries(device.core(), 0), 0);
    Queue queue = device.queue(0);
    host.populate(pasid, dst_va, 3 * page);
    queue.run(fill(dst_va, 3 * page, 1));
    uint32_t entries = ccad_core_atc_entries(device.core(), 0);
    EXPECT_GE(entries, 5); /* three pages, the ring and the record */
    ccad_core_invalidate(device.core(), pasid, false, dst_va, page);
    EXPECT_EQ(ccad_core_atc_entries(device.core(), 0), entries - 1);
    ccad_core_invalidate(device.core(), 0, true, 0, 0);
    EXPECT_EQ(ccad_core_atc_entries(device.core(), 0), 0);
}

TEST_F(Info, AtcList)
{
    using Entry = std::tuple<uint32_t, uint64_t, uint64_t, bool>;
    std::vector<Entry> entries;
    Queue queue = device.queue(0);

    host.populate(pasid, dst_va, page);
    queue.run(fill(dst_va, page, 1));
    ccad_core_atc_list(
        device.core(),
        [](void *arg, uint32_t of, const ccad_translation *t) {
            static_cast<std::vector<Entry> *>(arg)->emplace_back(
                of, t->va, t->len, t->write);
        },
        &entries);
    EXPECT_EQ(entries.size(), ccad_core_atc_entries(device.core(), 0));
    EXPECT_THAT(entries,
                testing::Contains(Entry{pasid, dst_va, page, true}));
}

TEST_F(Trace, LifeOfACommand)
{
    Queue queue = device.queue(2);
    queue.run(nop());
    size_t before = steps().size();

    host.add_region(pasid, {dst_va, page});
    ccad_desc desc = fill(dst_va, 64, 1);
    desc.flags = CCAD_DESC_INTERRUPT;
    desc.tag = 99;
    ccad_completion record = queue.wait(queue.submit(desc));
    ASSERT_TRUE(eventually([&] { return steps().size() == before + 7; }));
    auto got = steps();
    got.erase(got.begin(), got.begin() + static_cast<ptrdiff_t>(before));
    uint64_t prgi = std::get<3>(got[2]);
    EXPECT_THAT(
        got,
        ElementsAre(Step{CCAD_STEP_FETCH, 1, CCAD_OP_FILL, 99},
                    Step{CCAD_STEP_TRANSLATE, dst_va, 1, 0},
                    Step{CCAD_STEP_ASK, dst_va, 1, prgi},
                    Step{CCAD_STEP_ANSWER, dst_va, 1, 1},
                    Step{CCAD_STEP_TRANSLATE, dst_va, 1, 1},
                    Step{CCAD_STEP_COMPLETE, 99, CCAD_COMP_SUCCESS,
                         record.device_ns},
                    Step{CCAD_STEP_INTERRUPT, 3, 0, 0}));
}

/* An engine takes the context, and lets go of it. */
TEST_F(Trace, Slice)
{
    Queue queue = device.queue(2);

    queue.run(nop());
    ASSERT_TRUE(eventually([&] { return recorder.saw(CCAD_STEP_SLICE_END); }));
    EXPECT_EQ(recorder.all().front(), (Step{CCAD_STEP_TAKE, 0, 1, 0}));
    EXPECT_EQ(recorder.all().back(), (Step{CCAD_STEP_SLICE_END, 0, 1, 1}));
}

TEST_F(Trace, Hang)
{
    Queue queue = device.queue(2);

    queue.run(nop()); /* the ATC has what it takes */
    size_t before = steps().size();
    ASSERT_TRUE(ccad_core_hang(device.core(), 2));
    queue.submit(nop(7));
    ASSERT_TRUE(eventually([&] { return recorder.saw(CCAD_STEP_HANG); }));
    auto got = steps();
    got.erase(got.begin(), got.begin() + static_cast<ptrdiff_t>(before));
    EXPECT_THAT(got, ElementsAre(Step{CCAD_STEP_FETCH, 1, CCAD_OP_NOP, 7},
                                 Step{CCAD_STEP_HANG, 7, 0, 0}));
}

/* What is lost is traced as lost, and not as if it were there. */
TEST(TraceOfInjection, LostOnPurpose)
{
    ccad_config config = small_config();
    config.injection.lose_completion = 1'000'000;
    config.injection.lose_interrupt = 1'000'000;
    Device device(config);
    Recorder recorder(device.host);
    device.enable();
    Queue queue = device.queue(2);
    ccad_desc desc = nop(7);
    desc.flags = CCAD_DESC_INTERRUPT;

    queue.submit(desc);
    ASSERT_TRUE(eventually([&] { return recorder.saw(CCAD_STEP_SLICE_END); }));
    auto got = recorder.steps();
    std::erase_if(got, [](const Step &step) {
        return std::get<0>(step) == CCAD_STEP_TRANSLATE;
    });
    EXPECT_THAT(got,
                ElementsAre(Step{CCAD_STEP_FETCH, 0, CCAD_OP_NOP, 7},
                            Step{CCAD_STEP_LOSE_RECORD, 7, CCAD_COMP_SUCCESS,
                                 0},
                            Step{CCAD_STEP_COMPLETE, 7, CCAD_COMP_SUCCESS, 0},
                            Step{CCAD_STEP_LOSE_INTERRUPT, 3, 0, 0}));
}

TEST(TraceOfInjection, Delay)
{
    ccad_config config = small_config();
    config.injection.delay_command = 1'000'000;
    config.injection.delay_us = 1000;
    Device device(config);
    Recorder recorder(device.host);
    device.enable();
    Queue queue = device.queue(2);

    queue.submit(nop(7));
    ASSERT_TRUE(eventually(
        [&] { return device.host.timer_ns() != UINT64_MAX; }));
    const uint64_t now = 1'000'000'000; /* it stands still */
    const uint64_t until = device.host.timer_ns();
    device.host.advance_time(std::chrono::milliseconds(1));
    queue.wait(0);
    auto got = recorder.steps();
    std::erase_if(got, [](const Step &step) {
        return std::get<0>(step) == CCAD_STEP_TRANSLATE;
    });
    EXPECT_THAT(got,
                ElementsAre(Step{CCAD_STEP_FETCH, 0, CCAD_OP_NOP, 7},
                            Step{CCAD_STEP_DELAY, until - now, until, 0},
                            Step{CCAD_STEP_COMPLETE, 7, CCAD_COMP_SUCCESS,
                                 0}));
}

/* It stands in line, asks when there is room, and asks once. */
TEST(TraceOfLine, Stall)
{
    ccad_config config = small_config();
    config.page_requests = 1;
    Device device(config);
    FakeHost &host = device.host;
    Recorder recorder(host, false);
    device.enable();
    Queue first = device.queue(0);
    Queue queue = device.queue(2);
    host.add_region(pasid, {dst_va, 3 * page});
    queue.run(nop());
    size_t before = recorder.steps().size();
    host.serving(FakeHost::Serving::never);
    first.submit(fill(dst_va, 64, 1));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));

    queue.submit(fill(dst_va + page, 2 * page, 1));
    ASSERT_TRUE(eventually([&] { return recorder.saw(CCAD_STEP_STALL); }));
    EXPECT_FALSE(recorder.saw(CCAD_STEP_ASK));
    auto request = host.requests()[0];
    host.respond(request, host.serve(request));
    ASSERT_TRUE(eventually([&] { return recorder.saw(CCAD_STEP_ASK); }));
    auto got = recorder.steps();
    got.erase(got.begin(), got.begin() + static_cast<ptrdiff_t>(before));
    uint64_t prgi = std::get<3>(got.back());
    EXPECT_THAT(got,
                ElementsAre(Step{CCAD_STEP_FETCH, 1, CCAD_OP_FILL, 0},
                            Step{CCAD_STEP_TRANSLATE, dst_va + page, 1, 0},
                            Step{CCAD_STEP_STALL, dst_va + page, 1, 2},
                            Step{CCAD_STEP_ASK, dst_va + page, 1, prgi}));
}

TEST_F(Trace, Error)
{
    Queue queue = device.queue(2);

    queue.db(CCAD_DB_TAIL, 100);
    EXPECT_THAT(steps(), ElementsAre(Step{CCAD_STEP_ERROR,
                                          CCAD_CAUSE_DOORBELL, 0, 0}));
}

} // namespace

} // namespace ccad::test
