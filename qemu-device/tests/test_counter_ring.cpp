/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Notifications of the access counters: threshold, batch, ring, overflow. */
#include <random>
#include <thread>

#include "counting.hpp"

namespace ccad::test {

namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class CounterRing : public CountersTest {
protected:
    unsigned interrupts() { return host.interrupts(3); }
    uint32_t status() { return counters.reg(CCAD_REG_CNT_STATUS); }
    uint32_t head() { return counters.reg(CCAD_REG_CNT_HEAD); }
    /* Touch one line n times: one notification each with threshold 1. */
    void touch(unsigned n, uint64_t va = src_va)
    {
        for (; n; n--) {
            ASSERT_EQ(queue.run(crc(va, 8)).status, CCAD_COMP_SUCCESS);
        }
    }
};

TEST_F(CounterRing, TellsOfAGranuleThatReachedTheThreshold)
{
    counters.start({.threshold = 100});
    queue.run(fill(src_va + page, 30 * line, 1));
    touch(69, src_va + page + 9);
    EXPECT_THAT(counters.take(), IsEmpty());

    touch(1, src_va + page);
    auto records = counters.take();
    ASSERT_THAT(records, SizeIs(1));
    ccad_counter_record record = records[0];
    EXPECT_EQ(record.va, src_va + page);
    EXPECT_EQ(record.pasid, pasid);
    EXPECT_EQ(record.granule_shift, 12);
    EXPECT_EQ(record.flags, 0);
    EXPECT_EQ(record.rsvd0, 0);
    EXPECT_EQ(record.rsvd1, 0);
    EXPECT_EQ(record.read_system, 70);
    EXPECT_EQ(record.write_system, 30);
    EXPECT_EQ(record.read_local + record.write_local, 0);
    EXPECT_GT(record.clock, 0);
    EXPECT_LE(record.clock, device.read(CCAD_REG_CLOCK));
    EXPECT_EQ(interrupts(), 1);

    /* The sum begins anew, the counts do not. */
    touch(99, src_va + page);
    EXPECT_THAT(counters.take(), IsEmpty());
    touch(1, src_va + page);
    records = counters.take();
    ASSERT_THAT(records, SizeIs(1));
    EXPECT_EQ(records[0].read_system, 170);
}

TEST_F(CounterRing, BeginsAnewWithAClear)
{
    counters.start({.threshold = 100});
    touch(99);
    counters.read(src_va, pasid, true);
    touch(99);
    EXPECT_THAT(counters.take(), IsEmpty());
    touch(1);
    auto records = counters.take();
    ASSERT_THAT(records, SizeIs(1));
    EXPECT_EQ(records[0].read_system, 100);
}

/* An access notifies once a granule, however far it takes it. */
TEST_F(CounterRing, TellsOncePerAccessAndGranule)
{
    constexpr uint64_t va = src_va + 4 * huge;
    host.populate(pasid, va, huge, true, true, huge);
    counters.start({.threshold = 10});
    queue.run(crc(va + 2 * page, 3 * page));

    auto records = counters.take();
    ASSERT_THAT(records, SizeIs(3));
    for (uint64_t i = 0; i < 3; i++) {
        EXPECT_EQ(records[i].va, va + (2 + i) * page);
        EXPECT_EQ(records[i].read_local, 64);
        EXPECT_EQ(records[i].clock, records[0].clock);
    }
}

TEST_F(CounterRing, IsNotUsedWithoutAThreshold)
{
    for (uint32_t vector : {3u, 99u}) {
        counters.program({.threshold = 0, .batch = 0, .ring_shift = 40,
                          .vector = vector});
        device.write(CCAD_REG_CNT_RING, 1, 8);
        counters.start();
        EXPECT_EQ(counters.reg(CCAD_REG_CNT_CTRL), CCAD_CNT_ENABLE);
        queue.run(crc(src_va, 64 * page));
        EXPECT_EQ(head(), 0);
        device.write(CCAD_REG_CNT_TAIL, 0);
        EXPECT_EQ(host.interrupts(vector), 0);
        counters.stop();
    }
    /* Nor does it keep the device from being saved. */
    counters.start();
    device.migrate();
    EXPECT_EQ(counters.reg(CCAD_REG_CNT_CTRL), CCAD_CNT_ENABLE);
    EXPECT_EQ(counters.reg(CCAD_REG_CNT_RING_SHIFT), 40u);
}

TEST_F(CounterRing, InterruptsWhenABatchIsUnread)
{
    counters.start({.threshold = 1, .batch = 5});
    touch(4);
    EXPECT_EQ(head(), 4);
    EXPECT_EQ(interrupts(), 0);
    touch(1);
    EXPECT_EQ(interrupts(), 1);
    touch(7);
    EXPECT_EQ(interrupts(), 1) << "once a batch is unread, that is known";

    /* Software that was busy left a batch unread: it is told again. */
    device.write(CCAD_REG_CNT_TAIL, 5);
    EXPECT_EQ(interrupts(), 2);
    device.write(CCAD_REG_CNT_TAIL, 8);
    EXPECT_EQ(interrupts(), 2);
    touch(1);
    EXPECT_EQ(interrupts(), 3) << "a batch is complete again";
}

TEST_F(CounterRing, IsFlushedByCommand)
{
    counters.start({.threshold = 1, .batch = 50});
    counters.command(CCAD_CNT_CMD_FLUSH);
    EXPECT_EQ(interrupts(), 0) << "nothing is unread";
    touch(3);
    EXPECT_EQ(interrupts(), 0);
    counters.command(CCAD_CNT_CMD_FLUSH);
    EXPECT_EQ(interrupts(), 1);
    EXPECT_THAT(counters.take(), SizeIs(3));
    counters.command(CCAD_CNT_CMD_FLUSH);
    EXPECT_EQ(interrupts(), 1);
}

TEST_F(CounterRing, WrapsAround)
{
    counters.start({.threshold = 1, .batch = 1, .ring_shift = 2});
    uint64_t reads = 0;
    for (unsigned n : {3, 2, 4, 1, 4}) {
        touch(n);
        for (const auto &record : counters.take()) {
            EXPECT_EQ(record.read_system, ++reads);
        }
    }
    EXPECT_EQ(reads, 14);
    EXPECT_EQ(head(), 14);
    EXPECT_EQ(counters.slot(14 % 4).read_system, 11)
        << "the oldest one was not overwritten before its turn";
}

TEST_F(CounterRing, ReportsThatItIsFull)
{
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_COUNTERS);
    counters.start({.threshold = 1, .batch = 4, .ring_shift = 2});
    touch(4);
    EXPECT_EQ(status(), 0);
    touch(2);
    EXPECT_EQ(status(), CCAD_CNT_RING_FULL);
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), CCAD_EVENT_COUNTERS);
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 1);
    EXPECT_EQ(head(), 4);

    for (const auto &record : counters.take()) {
        EXPECT_EQ(record.flags, 0);
    }
    touch(2);
    auto records = counters.take();
    ASSERT_THAT(records, SizeIs(2));
    EXPECT_EQ(records[0].flags, CCAD_RECORD_LOST);
    EXPECT_EQ(records[0].read_system, 7) << "the counts are not lost";
    EXPECT_EQ(records[1].flags, 0);
    device.write(CCAD_REG_CNT_STATUS, CCAD_CNT_RING_FULL);
    EXPECT_EQ(status(), 0);
}

TEST_F(CounterRing, ReportsThatItCannotBeWritten)
{
    counters.start({.threshold = 1});
    touch(1);
    host.dma_works = false;
    touch(2);
    EXPECT_EQ(status(), CCAD_CNT_RING_ERROR);
    EXPECT_TRUE(device.read(CCAD_REG_EVENT, 4) & CCAD_EVENT_COUNTERS);
    EXPECT_EQ(head(), 1);
    host.dma_works = true;
    touch(1);
    auto records = counters.take();
    ASSERT_THAT(records, SizeIs(2));
    EXPECT_EQ(records[1].flags, CCAD_RECORD_LOST);
    EXPECT_EQ(records[1].read_system, 4);
}

TEST_F(CounterRing, RefusesATailThatIsNotThere)
{
    counters.start({.threshold = 1});
    touch(3);
    device.write(CCAD_REG_CNT_TAIL, 2);
    for (uint32_t tail : {4u, 1u, 0u, UINT32_MAX}) {
        device.write(CCAD_REG_CNT_STATUS, CCAD_CNT_RING_ERROR);
        device.write(CCAD_REG_CNT_TAIL, tail);
        EXPECT_EQ(status(), CCAD_CNT_RING_ERROR) << tail;
        EXPECT_EQ(counters.reg(CCAD_REG_CNT_TAIL), 2);
    }
}

using BadBlock = std::pair<const char *, std::function<void(Device &)>>;

class CounterConfig : public CounterRing,
                      public testing::WithParamInterface<BadBlock> {};

TEST_P(CounterConfig, ThatCannotBeLatchedIsReported)
{
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_COUNTERS);
    counters.program({.threshold = 1});
    GetParam().second(device);
    counters.start();

    EXPECT_EQ(counters.reg(CCAD_REG_CNT_CTRL), 0);
    EXPECT_EQ(status(), CCAD_CNT_CONFIG);
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), CCAD_EVENT_COUNTERS);
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 1);
    touch(1);
    EXPECT_EQ(counters.read(src_va), AccessCount());

    counters.start({.threshold = 1});
    touch(1);
    EXPECT_THAT(counters.take(), SizeIs(1));
}

BadBlock bad(const char *name, uint32_t reg, uint64_t value,
             unsigned size = 4)
{
    return {name, [=](Device &device) { device.write(reg, value, size); }};
}

INSTANTIATE_TEST_SUITE_P(
    Blocks, CounterConfig,
    testing::Values(
        bad("SmallGranule", CCAD_REG_CNT_GRANULE_SHIFT, 11),
        bad("LargeGranule", CCAD_REG_CNT_GRANULE_SHIFT, 22),
        bad("AnyGranule", CCAD_REG_CNT_GRANULE_SHIFT, UINT32_MAX),
        bad("NoBatch", CCAD_REG_CNT_BATCH, 0),
        bad("BatchBeyondTheRing", CCAD_REG_CNT_BATCH, 65),
        bad("NoVector", CCAD_REG_CNT_VECTOR, 5),
        bad("UnalignedRing", CCAD_REG_CNT_RING, page + 64, 8),
        bad("RingBeyondTheEnd", CCAD_REG_CNT_RING_SHIFT, 17),
        bad("ShortRing", CCAD_REG_CNT_RING_SHIFT, 0),
        BadBlock{"RingThatWraps",
                 [](Device &device) {
                     device.write(CCAD_REG_CNT_RING, -page, 8);
                     device.write(CCAD_REG_CNT_RING_SHIFT, 7);
                 }}),
    [](const auto &info) { return info.param.first; });

/* To the nanosecond, and whatever the number of engines. */
std::vector<std::vector<uint64_t>> history(uint32_t engines)
{
    ccad_config config = small_config();
    config.engines = engines;
    Device device(config);
    FakeHost &host = device.host;
    device.enable();
    host.populate(pasid, src_va, 64 * page);
    host.populate(pasid, dst_va, 64 * page, true);
    CounterDriver counters(device);
    Queue queue = device.queue();
    std::vector<std::vector<uint64_t>> result;
    std::mt19937 random(1);

    counters.start({.granule_shift = 13, .threshold = 300, .ring_shift = 10});
    for (int i = 0; i < 100; i++) {
        uint64_t at = random() % (32 * page);
        uint64_t len = random() % (16 * page);
        queue.run(i % 2 ? copy(src_va + at, dst_va + random() % page, len)
                        : crc(src_va + at, len));
    }
    for (const auto &r : counters.take()) {
        result.push_back({r.va, r.read_local, r.read_system, r.write_local,
                          r.write_system, r.clock});
    }
    return result;
}

TEST(CounterRecords, AreTheSameInEveryRun)
{
    auto expected = history(1);

    EXPECT_GT(expected.size(), 50);
    for (size_t i = 1; i < expected.size(); i++) {
        EXPECT_LE(expected[i - 1].back(), expected[i].back());
    }
    EXPECT_EQ(history(1), expected);
    EXPECT_EQ(history(3), expected);
}

/* An engine on its way to write a notification is overtaken. */
class Overtaken : public CounterRing {
protected:
    Overtaken()
    {
        host.on_op = [this, test = std::this_thread::get_id()](
                         const char *op) {
            if (std::this_thread::get_id() != test &&
                !std::strcmp(op, "locked")) {
                barrier.pass();
            }
        };
        counters.start({.threshold = 1});
        queue.submit(crc(src_va, 8));
    }
    ~Overtaken() override { barrier.open(); }
    void let_go()
    {
        barrier.open();
        /* It has come back and runs commands again. */
        device.enable();
        queue.disable();
        queue.enable();
        EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
    }

    Barrier barrier;
};

TEST_F(Overtaken, ByAResetItWritesNothing)
{
    ASSERT_TRUE(barrier.reached());
    device.reset();
    std::memset(host.at(counters.ring()), 0xee, page);

    let_go();
    EXPECT_EQ(head(), 0);
    for (uint64_t i = 0; i < page; i++) {
        ASSERT_EQ(host.at(counters.ring())[i], 0xee);
    }
}

TEST_F(Overtaken, ByAStopItsNotificationIsWrittenAlready)
{
    ASSERT_TRUE(barrier.reached());
    EXPECT_EQ(head(), 0);
    counters.stop();
    EXPECT_EQ(head(), 1);
    EXPECT_EQ(counters.slot(0).read_system, 1);
    std::memset(host.at(counters.ring()), 0xee, page);

    let_go();
    EXPECT_EQ(head(), 1);
    EXPECT_EQ(host.at(counters.ring())[0], 0xee);
}

TEST_F(Overtaken, ByAFlushItsNotificationIsWrittenAlready)
{
    ASSERT_TRUE(barrier.reached());
    counters.command(CCAD_CNT_CMD_FLUSH);
    EXPECT_EQ(head(), 1);
    EXPECT_GE(interrupts(), 1);
    let_go();
    EXPECT_EQ(head(), 1);
}

/* Who sees the completion finds the notification. */
TEST_F(CounterRing, IsWrittenBeforeTheCompletion)
{
    Queue second = device.queue(1, pasid + 1);
    host.populate(pasid + 1, src_va, page);
    counters.start({.threshold = 1, .ring_shift = 10});
    std::atomic<bool> stop{false};
    std::thread other([&] {
        while (!stop) {
            second.run(crc(src_va, 8));
        }
    });
    for (uint64_t i = 1; i <= 300; i++) {
        queue.run(crc(src_va, 8));
        uint64_t seen = 0;
        for (const auto &record : counters.take()) {
            if (record.pasid == pasid) {
                seen = record.read_system;
            }
        }
        ASSERT_EQ(seen, i);
    }
    stop = true;
    other.join();
}

/* Several engines post, software reads and resets: for ThreadSanitizer. */
TEST_F(CounterRing, HoldsUnderLoad)
{
    Queue second = device.queue(1, pasid);
    counters.start({.threshold = 16, .batch = 4, .ring_shift = 4});
    std::atomic<bool> stop{false};
    std::thread software([&] {
        std::mt19937 random(3);
        while (!stop) {
            counters.take();
            counters.command(CCAD_CNT_CMD_FLUSH);
            device.write(CCAD_REG_CNT_STATUS, UINT32_MAX);
            if (random() % 8 == 0) {
                counters.stop();
                counters.start();
            }
        }
    });
    for (int i = 0; i < 300; i++) {
        uint32_t a = queue.submit(copy(src_va, dst_va, 32 * page));
        uint32_t b = second.submit(crc(src_va, 32 * page));
        EXPECT_EQ(queue.wait(a).status, CCAD_COMP_SUCCESS);
        EXPECT_EQ(second.wait(b).status, CCAD_COMP_SUCCESS);
    }
    stop = true;
    software.join();
    counters.take();
    uint32_t before = head();
    queue.run(crc(src_va, page));
    EXPECT_GT(head(), before);
}

} // namespace

} // namespace ccad::test
