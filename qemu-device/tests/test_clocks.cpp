/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clocks, and contexts in the order of their clocks. */
#include <cstdlib>
#include <random>
#include <thread>

#include "commands.hpp"

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
    device.enable();
    queue.enable();
    queue.run(nop());
    EXPECT_EQ(clock(), once) << "as if nothing had been";
}

/* One after the other, although each context's clock stands at the same. */
TEST_F(Clocks, OfTheDeviceCountContextsThatTakeTurns)
{
    Queue a = device.queue(0);
    Queue b = device.queue(1, pasid + 1);
    auto run = [&](Queue &queue, uint32_t number) {
        queue.run(nop());
        EXPECT_TRUE(eventually([&] {
            return device.info(number).place == CCAD_PLACE_IDLE;
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

/* The nodes of a list, then indices; what is compressed lies behind them. */
void prepare_table(FakeHost &host, uint32_t of)
{
    host.populate(of, table_va, 4 * page, true);
    for (uint64_t i = 0; i < 200; i++) {
        uint64_t next = i < 199 ? table_va + (i + 1) * 16 : 0;
        store(host, table_va + i * 16, bytes_of(std::vector<uint64_t>{next, i}),
              of);
        store_value(host, table_va + page + i * 4,
                    static_cast<uint32_t>(i * 37 % 200), of);
    }
    store(host, table_va + 2 * page, random_bytes(page), of);
}

/* A context with physical addresses, which runs the same every time. */
class PhysicalQueue {
public:
    PhysicalQueue(Device &device, uint32_t number)
        : device_(device), number_(number), ring_(device.host.alloc(page)),
          data_(device.host.alloc(16 * page, true))
    {
        uint64_t list[] = {data_, data_ + 4 * page, data_ + page,
                           data_ + 5 * page};

        std::memcpy(device.host.at(data_ + 8 * page), list, sizeof(list));
        device.write(CCAD_CTX(number) + CCAD_CTX_RING, ring_, 8);
        device.write(CCAD_CTX(number) + CCAD_CTX_RING_SHIFT, 4);
        device.write(CCAD_CTX(number) + CCAD_CTX_CTRL,
                     CCAD_CTX_CTRL_ENABLE | CCAD_CTX_CTRL_PHYSICAL);
    }
    void submit()
    {
        ccad_desc descs[] = {copy_pages(data_ + 8 * page, 32, 12),
                             copy(data_, data_ + 6 * page, page),
                             fetch_add(data_, 8, 1)};
        uint32_t tail = 0;

        for (ccad_desc &desc : descs) {
            desc.completion = record_address(tail);
            std::memcpy(device_.host.at(ring_ + tail++ * sizeof(desc)), &desc,
                        sizeof(desc));
        }
        device_.write(CCAD_DOORBELL(number_) + CCAD_DB_TAIL, tail);
    }
    std::vector<uint64_t> times()
    {
        std::vector<uint64_t> result;

        for (uint32_t i = 0; i < 3; i++) {
            uint8_t *at = device_.host.at(record_address(i));
            EXPECT_TRUE(eventually(
                [&] { return __atomic_load_n(at, __ATOMIC_ACQUIRE) != 0; }));
            ccad_completion record;
            std::memcpy(&record, at, sizeof(record));
            EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
            result.push_back(record.device_ns);
        }
        return result;
    }

private:
    uint64_t record_address(uint32_t i) const
    {
        return ring_ + page / 2 + i * sizeof(ccad_completion);
    }

    Device &device_;
    const uint32_t number_;
    const uint64_t ring_;
    const uint64_t data_;
};

/*
 * Everything that six contexts with a small ATC between them measure, with
 * every opcode: with page requests, or with a context that uses physical
 * addresses and is not kept back by them.
 */
std::vector<uint64_t> measure(uint32_t engines, uint32_t seed, bool physical)
{
    ccad_config config = ordered_config();
    config.engines = engines;
    config.atc_sets = 8;
    config.atc_ways = 2;
    config.page_requests = 2;
    const uint32_t users = config.contexts++;
    config.vectors++;
    Device device(config);
    FakeHost &host = device.host;
    PhysicalQueue kernel(device, users);
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
    std::vector<uint32_t> last(users);
    for (uint32_t i = 0; i < users; i++) {
        uint32_t of = pasid + i / 2;
        queues.push_back(device.queue(i, of));
        uint64_t src = src_va + i % 2 * huge;
        uint64_t dst = dst_va + i % 2 * huge;
        if (i % 2 == 0) {
            host.add_region(of, {src_va, 2 * huge});
            host.add_region(of, {dst_va, 2 * huge, true, true});
            prepare_table(host, of);
        }
        if (physical) {
            host.populate(of, src, 64 * page);
            host.populate(of, dst, 64 * page, true);
        }
        Queue &queue = queues.back();
        queue.push(copy(src + 100 * i, dst + 8, (20 + i) * page));
        queue.push(nop());
        queue.push(crc(src, 40 * page + 1)); /* fails for every other */
        queue.push(fill(dst + 3 * page, 30 * page, i));
        queue.push(list_walk(table_va, 200, CCAD_REDUCE_SUM, CCAD_TYPE_INT64,
                             0, 8));
        queue.push(gather(table_va + page, 800, table_va, dst + i, 4));
        queue.push(fetch_add(dst + 16 * page, 8, i));
        queue.push(compare_swap(dst + 16 * page, 8, i, 7));
        queue.push(compress(table_va + 2 * page, page, dst + page + i,
                            2 * page));
        queue.push(decompress(dst + page + i, 2 * page, dst + 5 * page + i,
                              page));
        queue.push(compare(dst + 5 * page + i, table_va + 2 * page, page));
        queue.push(reduce(table_va, page, CCAD_REDUCE_MAX, CCAD_TYPE_INT32));
        last[i] = queue.push(copy(dst, src + page, 17 * page));
        queue.ring_doorbell();
    }
    if (physical) {
        kernel.submit();
    }
    device.enable();

    std::vector<uint64_t> result;
    for (uint32_t i = 0; i < users; i++) {
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
    if (physical) {
        auto times = kernel.times();
        result.insert(result.end(), times.begin(), times.end());
    }
    result.push_back(device.read(CCAD_REG_CLOCK));
    EXPECT_THAT(host.violations(), testing::IsEmpty());
    return result;
}

class Order : public testing::TestWithParam<bool> {};

TEST_P(Order, MakesEveryFigureRepeatable)
{
    const char *rounds = std::getenv("CCAD_ORDER_ROUNDS");
    const int repeat = rounds ? std::atoi(rounds) : 4;
    uint32_t seed = 0;
    auto expected = measure(1, seed++, GetParam());

    for (int round = 0; round < repeat; round++) {
        for (uint32_t engines : {1, 2, 3, 7}) {
            ASSERT_EQ(measure(engines, seed++, GetParam()), expected)
                << engines << " engines, round " << round;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Physical, Order, testing::Bool());

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
