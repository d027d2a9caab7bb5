/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Access counters: what is counted, where, and what clears it. */
#include <future>
#include <random>
#include <thread>

#include "commands.hpp"
#include "counting.hpp"

namespace ccad::test {

namespace {

using testing::ElementsAre;

TEST_F(CountersTest, HaveTheirDefaultsAfterReset)
{
    counters.start({.threshold = 9, .vector = 2});
    counters.command(CCAD_CNT_CMD_READ, src_va, 77);
    device.reset();

    EXPECT_EQ(counters.reg(CCAD_REG_CNT_GRANULE_SHIFT), 21);
    EXPECT_EQ(counters.reg(CCAD_REG_CNT_THRESHOLD), 256);
    EXPECT_EQ(counters.reg(CCAD_REG_CNT_BATCH), 256);
    for (uint32_t reg = CCAD_REG_CNT_CTRL;
         reg <= CCAD_REG_CNT_WRITE_SYSTEM + 4; reg += 4) {
        if (reg < CCAD_REG_CNT_GRANULE_SHIFT || reg > CCAD_REG_CNT_BATCH) {
            EXPECT_EQ(counters.reg(reg), 0) << std::hex << reg;
        }
    }
}

TEST_F(CountersTest, RegistersHoldWhatIsWritten)
{
    for (uint32_t reg :
         {CCAD_REG_CNT_GRANULE_SHIFT, CCAD_REG_CNT_THRESHOLD,
          CCAD_REG_CNT_BATCH, CCAD_REG_CNT_VECTOR, CCAD_REG_CNT_RING_SHIFT}) {
        device.write(reg, 0xfedc'ba98);
        EXPECT_EQ(counters.reg(reg), 0xfedc'ba98) << std::hex << reg;
    }
    device.write(CCAD_REG_CNT_PASID, 0xffff'ffff);
    EXPECT_EQ(counters.reg(CCAD_REG_CNT_PASID), CCAD_PASID_MAX);
    for (uint32_t reg : {CCAD_REG_CNT_RING, CCAD_REG_CNT_VA}) {
        device.write(reg, 0x1122'3344'5566'7788, 8);
        EXPECT_EQ(device.read(reg), 0x1122'3344'5566'7788);
        device.write(reg, 0xaabb'ccdd, 4);
        EXPECT_EQ(device.read(reg), 0x1122'3344'aabb'ccdd);
        device.write(reg + 4, 0x99, 4);
        EXPECT_EQ(device.read(reg), 0x99'aabb'ccdd);
        EXPECT_EQ(device.read(reg + 4, 4), 0x99);
    }
    EXPECT_EQ(counters.reg(CCAD_REG_CNT_CMD), 0);
}

TEST_F(CountersTest, ResultsAndStateAreReadOnly)
{
    queue.run(crc(src_va, page));
    counters.start({});
    queue.run(crc(src_va, page));
    counters.read(src_va);

    for (uint32_t reg : {CCAD_REG_CNT_HEAD, CCAD_REG_CNT_LOST,
                         CCAD_REG_CNT_READ_LOCAL, CCAD_REG_CNT_READ_SYSTEM,
                         CCAD_REG_CNT_WRITE_LOCAL, CCAD_REG_CNT_WRITE_SYSTEM,
                         CCAD_REG_POISON_ADDR, CCAD_REG_POISON_LINES}) {
        unsigned size = reg == CCAD_REG_CNT_HEAD ? 4 : 8;
        uint64_t before = device.read(reg, size);
        device.write(reg, ~before, size);
        EXPECT_EQ(device.read(reg, size), before) << std::hex << reg;
    }
    EXPECT_EQ(device.read(CCAD_REG_CNT_READ_SYSTEM), page / line);
}

TEST_F(CountersTest, CountReadsAndWritesWhereTheyWent)
{
    counters.start({});

    queue.run(crc(src_va, page));
    EXPECT_EQ(counters.read(src_va), (AccessCount{0, 64, 0, 0}));
    queue.run(crc(dst_va, page));
    EXPECT_EQ(counters.read(dst_va), (AccessCount{64, 0, 0, 0}));
    queue.run(fill(src_va, 2 * line, 1));
    EXPECT_EQ(counters.read(src_va + 99), (AccessCount{0, 64, 0, 2}));
    queue.run(copy(src_va, dst_va, 10 * line));
    EXPECT_EQ(counters.read(src_va), (AccessCount{0, 74, 0, 2}));
    EXPECT_EQ(counters.read(dst_va), (AccessCount{64, 0, 10, 0}));
    EXPECT_EQ(counters.read(src_va + page), AccessCount());
}

TEST_F(CountersTest, CountEachLineThatIsTouched)
{
    counters.start({});
    uint64_t expected = 0;

    for (uint64_t at : {0, 1, 63, 64, 100}) {
        for (uint64_t len : {0, 1, 2, 63, 64, 65, 128, 130}) {
            queue.run(crc(src_va + at, len));
            expected += lines_of(src_va + at, len);
            EXPECT_EQ(counters.read(src_va).read_system, expected)
                << at << " " << len;
        }
    }
}

/* Two commands that touch a line touch it twice, side by side or not. */
TEST_F(CountersTest, CountAnewWithEachCommand)
{
    counters.start({});

    queue.run(crc(src_va, 10));
    queue.run(crc(src_va + 10, 10));
    EXPECT_EQ(counters.read(src_va).read_system, 2);
}

class CountedInPieces : public CountersTest,
                        public testing::WithParamInterface<uint64_t> {};

/* The control: as many more accesses as the windows are shorter. */
TEST_P(CountedInPieces, IsTheSame)
{
    constexpr uint64_t at = 20;
    constexpr uint64_t len = 5 * page;
    host.map_limit = GetParam();
    counters.start({});

    auto record = queue.run(copy(src_va + at, dst_va + 7, len));
    ASSERT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(counters.sum(src_va + at, len, page),
              (AccessCount{0, lines_of(at, len), 0, 0}));
    EXPECT_EQ(counters.sum(dst_va + 7, len, page),
              (AccessCount{0, 0, lines_of(7, len), 0}));
    EXPECT_GE(record.atc_hits + record.translations,
              2 * len / std::min(GetParam(), page));
}

INSTANTIATE_TEST_SUITE_P(Limits, CountedInPieces,
                         testing::Values(64, 65, 100, 1000, 4096,
                                         UINT64_MAX));

class CountedByGranule : public CountersTest,
                         public testing::WithParamInterface<uint32_t> {};

TEST_P(CountedByGranule, AddsUp)
{
    const uint64_t granule = uint64_t{1} << GetParam();
    constexpr uint64_t va = src_va + 4 * huge;
    host.populate(pasid, va, 2 * huge, false, true, huge);
    counters.start({.granule_shift = GetParam()});

    queue.run(fill(va + 100, 2 * huge - 300, 1));
    EXPECT_EQ(counters.sum(va, 2 * huge, granule),
              (AccessCount{0, 0, 0, lines_of(100, 2 * huge - 300)}));
    EXPECT_EQ(counters.read(va + granule).write_system,
              granule < huge ? granule / line : granule / line - 3);
    EXPECT_EQ(counters.read(va - 1), AccessCount());
}

INSTANTIATE_TEST_SUITE_P(Shifts, CountedByGranule, testing::Range(12u, 22u));

TEST_F(CountersTest, CountAtomicsAsWrites)
{
    counters.start({});
    queue.run(fetch_add(src_va, 8, 1));
    queue.run(fetch_add(src_va + 4, 4, 1));
    queue.run(compare_swap(dst_va, 8, 7, 1));
    EXPECT_EQ(counters.read(src_va), (AccessCount{0, 0, 0, 2}));
    EXPECT_EQ(counters.read(dst_va), (AccessCount{0, 0, 1, 0}))
        << "whether or not it changes the value";
}

TEST_F(CountersTest, CountEachElementOfAGather)
{
    std::vector<uint32_t> indices(100);
    for (uint32_t i = 0; i < indices.size(); i++) {
        indices[i] = i % 2 ? 0 : 8 * 4; /* never side by side */
    }
    store(host, src_va, bytes_of(indices));
    counters.start({});

    ASSERT_EQ(queue.run(gather(src_va, 400, src_va + page, dst_va, 3)).status,
              CCAD_COMP_SUCCESS);
    EXPECT_EQ(counters.read(src_va), (AccessCount{0, 7, 0, 0}));
    EXPECT_EQ(counters.read(src_va + page), (AccessCount{0, 100, 0, 0}));
    EXPECT_EQ(counters.read(dst_va), (AccessCount{0, 0, 13, 0}));
}

/* Side by side, asked for in a row: one access to the line. */
TEST_F(CountersTest, CountElementsInARowByLines)
{
    std::vector<uint32_t> indices(100);
    for (uint32_t i = 0; i < indices.size(); i++) {
        indices[i] = i;
    }
    store(host, src_va, bytes_of(indices));
    counters.start({});
    queue.run(gather(src_va, 400, src_va + page, dst_va, 3));
    EXPECT_EQ(counters.read(src_va + page), (AccessCount{0, 13, 0, 0}));
}

TEST_F(CountersTest, CountEachNodeOfAList)
{
    for (uint64_t i = 0; i < 10; i++) {
        uint64_t next = i < 9 ? src_va + (i + 1) * 3 * page : 0;
        store_value(host, src_va + i * 3 * page, next);
    }
    counters.start({});
    auto record = queue.run(
        list_walk(src_va, 100, CCAD_REDUCE_SUM, CCAD_TYPE_INT64, 0, 640));
    ASSERT_EQ(record.status, CCAD_COMP_SUCCESS);
    for (uint64_t i = 0; i < 10; i++) {
        EXPECT_EQ(counters.read(src_va + i * 3 * page),
                  (AccessCount{0, 2, 0, 0}))
            << "the pointer and the field of node " << i;
    }
}

TEST_F(CountersTest, LeaveOutPhysicalAddresses)
{
    Queue kernel = device.queue(1);
    kernel.disable();
    kernel.reg(CCAD_CTX_RING, host.walk(pasid, kernel.ring())->pa, 8);
    kernel.reg(CCAD_CTX_CTRL, CCAD_CTX_CTRL_ENABLE | CCAD_CTX_CTRL_PHYSICAL);
    kernel.tail(0);
    counters.start({});

    uint64_t pa = host.walk(pasid, src_va)->pa;
    kernel.push(crc(pa, page), false);
    kernel.ring_doorbell();
    ASSERT_TRUE(eventually(
        [&] { return kernel.stat(CCAD_STAT_COMMANDS) == 1; }));
    EXPECT_EQ(kernel.stat(CCAD_STAT_ERRORS), 0);
    EXPECT_EQ(counters.read(pa), AccessCount());
    EXPECT_EQ(counters.read(src_va), AccessCount());
}

TEST_F(CountersTest, AreSeparateByPasid)
{
    Queue other = device.queue(1, pasid + 1);
    host.populate(pasid + 1, src_va, page);
    counters.start({});

    queue.run(crc(src_va, page));
    other.run(crc(src_va, 3 * line));
    EXPECT_EQ(counters.read(src_va, pasid).read_system, 64);
    EXPECT_EQ(counters.read(src_va, pasid + 1).read_system, 3);
}

TEST_F(CountersTest, LeaveOutDescriptorsAndRecords)
{
    counters.start({});
    queue.run(nop());

    EXPECT_EQ(counters.sum(queue.ring(), queue.ring_bytes(), page),
              AccessCount());
    EXPECT_EQ(counters.read(queue.record_address(0)), AccessCount());
}

TEST_F(CountersTest, CountWhatAFailedCommandDid)
{
    counters.start({});

    EXPECT_EQ(queue.run(crc(src_va + 62 * page, 5 * page)).status,
              CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(counters.sum(src_va + 62 * page, 5 * page, page),
              (AccessCount{0, 128, 0, 0}));
}

TEST_F(CountersTest, RestOnceTheyAreStopped)
{
    queue.run(crc(src_va, page));
    EXPECT_EQ(counters.read(src_va), AccessCount()) << "off after reset";
    counters.start({});
    queue.run(crc(src_va, page));
    counters.stop();
    queue.run(crc(src_va, page));
    EXPECT_EQ(counters.read(src_va).read_system, 64) << "kept, not counted";
    counters.start();
    EXPECT_EQ(counters.read(src_va), AccessCount()) << "forgotten";
    queue.run(crc(src_va, line));
    counters.start();
    EXPECT_EQ(counters.read(src_va).read_system, 1)
        << "enabling what is enabled does nothing";
}

/* What is accessed after the write that enables them is counted. */
TEST_F(CountersTest, AreOnWhenTheWriteReturns)
{
    Barrier inside;

    queue.run(crc(src_va, 8)); /* from now on the ATC knows it */
    host.on_map = [&](uint64_t, bool write) {
        if (!write) {
            inside.pass();
        }
    };
    queue.submit(crc(src_va, 8));
    ASSERT_TRUE(inside.reached());
    auto enabled = std::async(std::launch::async, [&] {
        counters.start({});
    });
    EXPECT_EQ(enabled.wait_for(std::chrono::milliseconds(50)),
              std::future_status::timeout)
        << "an access that is not counted may be about to be made";
    inside.open();
    enabled.get();
}

TEST_F(CountersTest, UseWhatWasLatched)
{
    counters.start({.granule_shift = 13});
    device.write(CCAD_REG_CNT_GRANULE_SHIFT, 12);
    queue.run(crc(src_va, 2 * page));
    EXPECT_EQ(counters.read(src_va).read_system, 128);
}

TEST_F(CountersTest, AreClearedOneByOneByPasidAndAllAtOnce)
{
    Queue other = device.queue(1, pasid + 1);
    host.populate(pasid + 1, src_va, 2 * page);
    counters.start({});
    auto run = [&] {
        queue.run(crc(src_va, 2 * page));
        other.run(crc(src_va, 2 * page));
    };
    auto values = [&] {
        std::vector<uint64_t> result;
        for (uint32_t of : {pasid, pasid + 1}) {
            for (uint64_t va : {src_va, src_va + page}) {
                result.push_back(counters.read(va, of).read_system);
            }
        }
        return result;
    };

    run();
    EXPECT_EQ(counters.read(src_va, pasid, true).read_system, 64);
    EXPECT_THAT(values(), ElementsAre(0, 64, 64, 64));
    run();
    EXPECT_THAT(values(), ElementsAre(64, 128, 128, 128));
    counters.command(CCAD_CNT_CMD_CLEAR_PASID);
    EXPECT_THAT(values(), ElementsAre(0, 0, 128, 128));
    run();
    counters.command(CCAD_CNT_CMD_CLEAR_ALL);
    EXPECT_THAT(values(), ElementsAre(0, 0, 0, 0));
    run();
    counters.command(99);
    EXPECT_THAT(values(), ElementsAre(64, 64, 64, 64))
        << "no such command";
}

TEST_F(CountersTest, CountToTheEndOfTheAddressSpace)
{
    constexpr uint64_t va = UINT64_MAX - page + 1;
    uint64_t pa = host.alloc(page);
    host.map(pasid, va, pa, page);
    counters.start({});

    ASSERT_EQ(queue.run(crc(va + 100, page - 100)).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(counters.read(va).read_system, 63);
    EXPECT_EQ(counters.read(0), AccessCount());
}

TEST(CounterCapacity, IsReportedWhenItIsUsedUp)
{
    ccad_config config = small_config();
    config.counters = 3;
    Device device(config);
    FakeHost &host = device.host;
    device.enable();
    CounterDriver counters(device);
    Queue queue = device.queue();
    host.populate(pasid, src_va, 8 * page);
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_COUNTERS);
    counters.start({});

    queue.run(crc(src_va, 3 * page));
    EXPECT_EQ(counters.reg(CCAD_REG_CNT_STATUS), 0);
    EXPECT_EQ(counters.lost(), 0);
    queue.run(crc(src_va, 5 * page));
    queue.run(crc(src_va + 4 * page, line));
    EXPECT_EQ(counters.reg(CCAD_REG_CNT_STATUS), CCAD_CNT_TABLE_FULL);
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), CCAD_EVENT_COUNTERS);
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 1);
    EXPECT_EQ(counters.sum(src_va, 8 * page, page).sum(), 6 * 64);
    EXPECT_EQ(counters.lost(), 2 * 64 + 1);

    /* Once more when it has been cleared, and room where there is some. */
    device.write(CCAD_REG_EVENT, CCAD_EVENT_COUNTERS);
    device.write(CCAD_REG_CNT_STATUS, CCAD_CNT_TABLE_FULL);
    EXPECT_EQ(counters.reg(CCAD_REG_CNT_STATUS), 0);
    EXPECT_EQ(counters.read(src_va, pasid, true).sum(), 128);
    queue.run(crc(src_va + 4 * page, line));
    EXPECT_EQ(counters.read(src_va + 4 * page).sum(), 1);
    EXPECT_EQ(counters.reg(CCAD_REG_CNT_STATUS), 0);
    queue.run(crc(src_va, line));
    EXPECT_EQ(counters.reg(CCAD_REG_CNT_STATUS), CCAD_CNT_TABLE_FULL);
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 2);
    EXPECT_EQ(counters.lost(), 2 * 64 + 2);

    counters.stop();
    counters.start();
    EXPECT_EQ(counters.lost(), 0);
}

/* Reading and clearing in two steps loses what comes in between. */
TEST_F(CountersTest, ReadAndClearApartLoseWhatReadClearDoesNot)
{
    counters.start({});
    queue.run(crc(src_va, page));
    uint64_t sum = counters.read(src_va).sum();
    queue.run(crc(src_va, page));
    counters.command(CCAD_CNT_CMD_CLEAR_PASID);
    EXPECT_EQ(sum + counters.read(src_va).sum(), 64) << "of 128";

    queue.run(crc(src_va, page));
    sum = counters.read(src_va, pasid, true).sum();
    queue.run(crc(src_va, page));
    EXPECT_EQ(sum + counters.read(src_va, pasid, true).sum(), 128);
}

/*
 * Engines, invalidations and clears at once: no access is lost or counted
 * twice.  The clears come without the big lock, which engines wait for to
 * translate: they have to come between any two of their accesses.
 */
TEST_F(CountersTest, AreExactWhileTheyAreCleared)
{
    constexpr uint64_t pages = 4;
    constexpr uint64_t len = (pages - 1) * page + 100;
    constexpr unsigned rounds = 100;
    constexpr unsigned batch = 32;
    Queue second = device.queue(1, pasid, 8);
    Queue other = device.queue(2, pasid + 1, 8);
    host.add_region(pasid + 1, {src_va, pages * page});
    host.serving(FakeHost::Serving::thread);
    counters.start({.threshold = 500, .batch = 8});

    auto write = [this](uint32_t reg, uint64_t value, unsigned size) {
        ccad_core_write(device.core(), reg, value, size);
    };
    std::atomic<bool> stop{false};
    AccessCount cleared;
    unsigned taken = 0;
    std::thread clearing([&] {
        std::mt19937 random(1);
        write(CCAD_REG_CNT_PASID, pasid, 4);
        while (!stop) {
            uint64_t base = random() % 2 ? src_va : dst_va;
            write(CCAD_REG_CNT_VA, base + random() % pages * page, 8);
            write(CCAD_REG_CNT_CMD, CCAD_CNT_CMD_READ_CLEAR, 4);
            AccessCount count{device.read(CCAD_REG_CNT_READ_LOCAL),
                              device.read(CCAD_REG_CNT_READ_SYSTEM),
                              device.read(CCAD_REG_CNT_WRITE_LOCAL),
                              device.read(CCAD_REG_CNT_WRITE_SYSTEM)};
            cleared = cleared + count;
            taken += count.sum() > 0;
            if (random() % 16 == 0) {
                write(CCAD_REG_CNT_PASID, pasid + 1, 4);
                write(CCAD_REG_CNT_CMD, CCAD_CNT_CMD_CLEAR_PASID, 4);
                write(CCAD_REG_CNT_PASID, pasid, 4);
                counters.take();
            }
        }
    });
    std::thread invalidating([&] {
        std::mt19937 random(2);
        while (!stop) {
            host.migrate(pasid, src_va + random() % pages * page, false);
            host.release(pasid + 1, src_va + random() % pages * page);
            std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
    });
    for (unsigned i = 0; i < rounds; i++) {
        uint32_t a = 0, b = 0, c = 0;
        for (unsigned n = 0; n < batch; n++) {
            a = queue.push(copy(src_va + 5, dst_va + 11, len));
            b = second.push(crc(src_va + 9, len));
            c = other.push(crc(src_va, len));
        }
        for (Queue *q : {&queue, &second, &other}) {
            q->ring_doorbell();
        }
        EXPECT_EQ(queue.wait(a).status, CCAD_COMP_SUCCESS);
        EXPECT_EQ(second.wait(b).status, CCAD_COMP_SUCCESS);
        EXPECT_EQ(other.wait(c).status, CCAD_COMP_SUCCESS);
    }
    stop = true;
    clearing.join();
    invalidating.join();
    host.serving(FakeHost::Serving::inside);

    EXPECT_EQ(queue.stat(CCAD_STAT_ERRORS) + second.stat(CCAD_STAT_ERRORS), 0);
    EXPECT_EQ(cleared + counters.sum(src_va, len, page) +
                  counters.sum(dst_va, len, page),
              (AccessCount{0,
                           rounds * batch *
                               (lines_of(5, len) + lines_of(9, len)),
                           rounds * batch * lines_of(11, len), 0}));
    EXPECT_GT(taken, rounds) << "the control: clears did come in between";
}

} // namespace

} // namespace ccad::test
