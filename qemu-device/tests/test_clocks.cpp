/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clocks, and contexts in the order of their clocks. */
#include <cstdlib>
#include <random>
#include <thread>

#include "device.hpp"

namespace ccad::test {

namespace {

using Serving = FakeHost::Serving;

uint64_t transfer(uint64_t bytes, uint64_t mbps)
{
    return (bytes * 1'000'000'000 + (mbps << 20) - 1) / (mbps << 20);
}

class Clocks : public DeviceTest {
protected:
    uint64_t clock() { return device.read(CCAD_REG_CLOCK); }
    uint64_t clock(uint32_t number)
    {
        return device.read(CCAD_DOORBELL(number) + CCAD_DB_CLOCK);
    }

    /* A descriptor and a record, in system memory. */
    const uint64_t carrying = 2 * 500 + transfer(2 * 64, 1000);
    const uint64_t translations = 2 * 1000;
};

TEST_F(Clocks, OfAContextCountWhatItsCommandsTake)
{
    Queue queue = device.queue();
    EXPECT_EQ(clock(0), 0);
    queue.run(nop());
    EXPECT_EQ(clock(0), translations + carrying);
    queue.run(nop());
    EXPECT_EQ(clock(0), translations + 2 * carrying);
    host.populate(pasid, src_va, page);
    uint64_t ns = queue.run(crc(src_va, page)).device_ns;
    EXPECT_EQ(ns, 1000 + 500 + transfer(page, 1000));
    EXPECT_EQ(clock(0), translations + 3 * carrying + ns);
    EXPECT_EQ(clock(0), queue.stat(CCAD_STAT_DEVICE_NS));
    EXPECT_EQ(clock(), clock(0)) << "there was nobody else";
}

TEST_F(Clocks, OfTheDeviceGoOnAndThoseOfContextsBeginAnew)
{
    Queue queue = device.queue();
    queue.run(nop());
    uint64_t once = clock();
    queue.disable();
    EXPECT_EQ(clock(0), once) << "still to be read";
    queue.enable();
    EXPECT_EQ(clock(0), 0);
    EXPECT_EQ(clock(), once);
    queue.run(nop());
    EXPECT_EQ(clock(), 2 * once);
    device.reset();
    EXPECT_EQ(clock(0), 0);
    EXPECT_EQ(clock(), 0);
}

/* One after the other, although each context's clock stands at the same. */
TEST_F(Clocks, OfTheDeviceCountContextsThatTakeTurns)
{
    Queue a = device.queue(0);
    Queue b = device.queue(1, pasid + 1);
    auto run = [&](Queue &queue, uint32_t number) {
        queue.run(nop());
        EXPECT_TRUE(eventually([&] {
            ccad_context_info info;
            ccad_core_context_info(device.core(), number, &info);
            return info.place == CCAD_PLACE_IDLE;
        }));
    };
    run(a, 0);
    run(b, 1);
    run(a, 0);
    EXPECT_EQ(clock(0), translations + 2 * carrying);
    EXPECT_EQ(clock(1), translations + carrying);
    EXPECT_EQ(clock(), clock(0) + clock(1));
}

TEST_F(Clocks, AreReadOnlyAndInHalves)
{
    Queue queue = device.queue();
    queue.run(nop());
    for (uint64_t reg : {uint64_t{CCAD_REG_CLOCK},
                         uint64_t{CCAD_DOORBELL(0) + CCAD_DB_CLOCK}}) {
        uint64_t value = device.read(reg);
        device.write(reg, 0, 8);
        device.write(reg, 0, 4);
        device.write(reg + 4, 1, 4);
        EXPECT_EQ(device.read(reg), value);
        EXPECT_EQ(device.read(reg, 4), value);
        EXPECT_EQ(device.read(reg + 4, 4), 0);
    }
}

ccad_config ordered_config()
{
    ccad_config config = small_config();
    config.contexts = 6;
    config.vectors = 7;
    config.ordered = true;
    return config;
}

TEST(OrderedConfig, NeedsCosts)
{
    ccad_config config = ordered_config();
    EXPECT_EQ(ccad_config_check(&config), nullptr);
    config.cost.local_latency_ns = 0;
    EXPECT_EQ(ccad_config_check(&config), nullptr);
    config.cost.local_mbps = 0;
    EXPECT_NE(ccad_config_check(&config), nullptr);
    config.cost.local_latency_ns = 1;
    config.cost.system_latency_ns = 0;
    EXPECT_EQ(ccad_config_check(&config), nullptr);
    config.cost.system_mbps = 0;
    EXPECT_NE(ccad_config_check(&config), nullptr);
    config.ordered = false;
    EXPECT_EQ(ccad_config_check(&config), nullptr);
}

/* Two contexts stream 1 MiB each. */
class Contention : public testing::Test {
protected:
    static constexpr uint64_t chunk = 62'500; /* 64 KiB at 1000 MiB/s */
    static constexpr uint64_t fetch = 62;     /* 64 bytes */
    static constexpr unsigned chunks = 16;

    static ccad_config config()
    {
        ccad_config config = ordered_config();
        config.cost = {.local_latency_ns = 0,
                       .local_mbps = 1000,
                       .system_latency_ns = 0,
                       .system_mbps = 1000,
                       .translation_ns = 0,
                       .page_request_ns = 0};
        return config;
    }

    Contention()
    {
        host.populate(pasid, src_va, huge, true, true, huge);
        host.populate(pasid, dst_va, huge, false, true, huge);
    }
    /* All of it submitted before the device begins. */
    std::vector<uint64_t> run(const std::vector<ccad_desc> &commands)
    {
        std::vector<Queue> queues;
        for (const ccad_desc &desc : commands) {
            queues.push_back(
                device.queue(static_cast<uint32_t>(queues.size())));
            queues.back().submit(desc);
        }
        device.enable();
        std::vector<uint64_t> times;
        for (Queue &queue : queues) {
            times.push_back(queue.wait(0).device_ns);
            queue.disable();
        }
        return times;
    }

    Device device{config()};
    FakeHost &host = device.host;
};

TEST_F(Contention, ThereIsNoneForOneAlone)
{
    EXPECT_EQ(run({crc(src_va, 1 << 20)})[0], chunks * chunk);
}

/*
 * The second fetches behind the first, 62 ns later, and from then on they
 * take turns: the first ends with the last chunk but one.
 */
TEST_F(Contention, OfOneMemoryIsChargedToTheNanosecond)
{
    auto times = run({crc(src_va, 1 << 20), crc(src_va, 1 << 20)});
    EXPECT_EQ(times[0], (2 * chunks - 1) * chunk);
    EXPECT_EQ(times[1], 2 * chunks * chunk - fetch);
    EXPECT_EQ(device.read(CCAD_REG_STATS + CCAD_STAT_DEVICE_NS) -
                  2 * transfer(2 * 64, 1000),
              2 * chunks * chunk)
        << "without the waiting";
}

TEST_F(Contention, OfTwoMemoriesIsNone)
{
    auto times = run({crc(src_va, 1 << 20), fill(dst_va, 1 << 20, 1)});
    EXPECT_EQ(times[0], chunks * chunk);
    EXPECT_EQ(times[1], chunks * chunk);
}

TEST_F(Contention, OfManyGrowsWithTheirNumber)
{
    std::vector<ccad_desc> commands(6, crc(src_va, 1 << 20));
    for (uint64_t time : run(commands)) {
        EXPECT_GT(time, 5 * chunks * chunk);
        EXPECT_LE(time, 6 * chunks * chunk);
    }
}

/* Without order there is no one line of time to charge it on. */
TEST_F(Contention, IsNotChargedWithoutOrder)
{
    ccad_config unordered = config();
    unordered.ordered = false;
    Device other(unordered);
    other.host.populate(pasid, src_va, huge, true, true, huge);
    Queue a = other.queue(0);
    Queue b = other.queue(1);
    a.submit(crc(src_va, 1 << 20));
    b.submit(crc(src_va, 1 << 20));
    other.enable();
    EXPECT_EQ(a.wait(0).device_ns, chunks * chunk);
    EXPECT_EQ(b.wait(0).device_ns, chunks * chunk);
}

/* Everything that six contexts with a small ATC between them measure. */
std::vector<uint64_t> measure(uint32_t engines, uint32_t seed)
{
    ccad_config config = ordered_config();
    config.engines = engines;
    config.atc_sets = 8;
    config.atc_ways = 2;
    config.page_requests = 2;
    Device device(config);
    FakeHost &host = device.host;
    std::mutex mutex;
    std::mt19937 random(seed);
    auto delay = [&] {
        unsigned us;
        {
            std::lock_guard lock(mutex);
            us = random() % 60;
        }
        if (us > 40) {
            std::this_thread::sleep_for(std::chrono::microseconds(us));
        }
    };
    host.on_translate = [&](uint32_t, uint64_t) { delay(); };
    host.answer = [&](uint64_t va) -> std::optional<ccad_response> {
        delay();
        if (va == src_va + 40 * page) {
            return CCAD_RESPONSE_FAILURE;
        }
        return std::nullopt;
    };
    host.serving(Serving::thread);

    std::vector<Queue> queues;
    std::vector<uint32_t> last(config.contexts);
    for (uint32_t i = 0; i < config.contexts; i++) {
        uint32_t of = pasid + i / 2;
        queues.push_back(device.queue(i, of));
        uint64_t src = src_va + i % 2 * huge;
        uint64_t dst = dst_va + i % 2 * huge;
        if (i % 2 == 0) {
            host.add_region(of, {src_va, 2 * huge});
            host.add_region(of, {dst_va, 2 * huge, true, true});
        }
        Queue &queue = queues.back();
        queue.push(copy(src + 100 * i, dst + 8, (20 + i) * page));
        queue.push(nop());
        queue.push(crc(src, 40 * page + 1)); /* fails for every other */
        queue.push(fill(dst + 3 * page, 30 * page, i));
        last[i] = queue.push(copy(dst, src + page, 17 * page));
        queue.ring_doorbell();
    }
    device.enable();

    std::vector<uint64_t> result;
    for (uint32_t i = 0; i < config.contexts; i++) {
        queues[i].wait(last[i]);
        for (uint32_t n = 0; n <= last[i]; n++) {
            auto record = queues[i].record(n);
            result.insert(result.end(), {record.device_ns, record.atc_hits,
                                         record.translations,
                                         record.page_requests,
                                         record.bytes_local, record.status});
        }
        for (uint32_t stat = 0; stat < CCAD_STAT_COUNT; stat++) {
            result.push_back(queues[i].stat(8 * stat));
        }
        result.push_back(device.read(CCAD_DOORBELL(i) + CCAD_DB_CLOCK));
    }
    result.push_back(device.read(CCAD_REG_CLOCK));
    EXPECT_THAT(host.violations(), testing::IsEmpty());
    return result;
}

TEST(Order, MakesEveryFigureRepeatable)
{
    const char *rounds = std::getenv("CCAD_ORDER_ROUNDS");
    const int repeat = rounds ? std::atoi(rounds) : 4;
    uint32_t seed = 0;
    auto expected = measure(1, seed++);

    for (int round = 0; round < repeat; round++) {
        for (uint32_t engines : {1, 2, 3, 7}) {
            ASSERT_EQ(measure(engines, seed++), expected)
                << engines << " engines, round " << round;
        }
    }
}

class Ordered : public testing::Test {
protected:
    Ordered() { device.enable(); }
    void TearDown() override
    {
        EXPECT_THAT(host.violations(), testing::IsEmpty());
    }
    /* The first waits, and so comes the second, which is later. */
    void keep_back()
    {
        host.serving(Serving::never);
        first.submit(crc(src_va, 8));
        ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));
        index = second.submit(nop());
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        ASSERT_EQ(second.record(index).status, CCAD_COMP_NONE);
    }

    Device device{ordered_config()};
    FakeHost &host = device.host;
    Queue first = device.queue(0);
    Queue second = device.queue(1, pasid + 1);
    uint32_t index = 0;
};

TEST_F(Ordered, WhoWaitsForAPageKeepsBackWhoIsLater)
{
    keep_back();
    host.populate(pasid, src_va, page);
    host.respond(host.requests()[0], CCAD_RESPONSE_SUCCESS);
    EXPECT_EQ(second.wait(index).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(first.wait(0).status, CCAD_COMP_SUCCESS);
}

TEST_F(Ordered, ButNotOnceItIsDisabled)
{
    keep_back();
    first.disable();
    EXPECT_EQ(second.wait(index).status, CCAD_COMP_SUCCESS);
}

TEST_F(Ordered, NorOnceItIsInError)
{
    keep_back();
    first.db(CCAD_DB_TAIL, 1000);
    EXPECT_EQ(second.wait(index).status, CCAD_COMP_SUCCESS);
}

TEST_F(Ordered, NorOnceItsTimeIsOver)
{
    first.disable();
    first.reg(CCAD_CTX_TIMEOUT_MS, 1);
    first.enable();
    keep_back();
    host.advance_time(std::chrono::milliseconds(1));
    EXPECT_EQ(second.wait(index).status, CCAD_COMP_SUCCESS);
    EXPECT_TRUE(eventually([&] { return first.state() == CCAD_CTX_ERROR; }));
}

TEST_F(Ordered, WhoHangsKeepsNobodyBack)
{
    ASSERT_TRUE(ccad_core_hang(device.core(), 0));
    first.submit(nop());
    EXPECT_EQ(second.run(nop()).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(first.record(0).status, CCAD_COMP_NONE);
}

} // namespace

} // namespace ccad::test
