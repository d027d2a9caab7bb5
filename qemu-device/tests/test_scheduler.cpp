/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who runs when: shares, priorities, time slices. */
#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <optional>
#include <string_view>
#include <thread>

#include "device.hpp"

namespace ccad::test {

namespace {

constexpr uint64_t slice = 100'000; /* of small_config() */

/* Many addresses, one page of memory: commands that take long. */
constexpr uint64_t far_va = 0x40'0000'0000;
constexpr uint64_t far_len = uint64_t{16} << 30;

/* The same in pages of 4 KiB: shorter accesses, and translations. */
constexpr uint64_t near_va = 0x60'0000'0000;
constexpr uint64_t near_len = uint64_t{512} << 20;

void map_far(FakeHost &host)
{
    uint64_t pa = host.alloc(huge);
    for (uint64_t i = 0; i < far_len; i += huge) {
        host.map(pasid, far_va + i, pa, huge);
    }
    for (uint64_t i = 0; i < near_len; i += page) {
        host.map(pasid, near_va + i, pa, page);
    }
}

ccad_config config_of(uint32_t contexts, uint32_t engines)
{
    ccad_config config = small_config();
    config.contexts = contexts;
    config.vectors = contexts + 1;
    config.engines = engines;
    config.atc_sets = 1024;
    return config;
}

/* A ring full of the cheapest commands lasts for long, on a busy machine too. */
ccad_config dear_config(uint32_t contexts, uint32_t engines)
{
    ccad_config config = config_of(contexts, engines);
    config.cost.system_latency_ns = 20'000;
    return config;
}

/* Contexts whose rings are never empty. */
class Load {
public:
    explicit Load(const ccad_config &config) : device(config)
    {
        map_far(device.host);
    }

    /* Fill the ring with commands in turn, for ever again. */
    uint32_t add(const std::vector<ccad_desc> &commands, uint32_t priority = 0,
                 uint32_t slice_ns = 0, uint32_t shift = 10)
    {
        auto number = static_cast<uint32_t>(queues_.size());
        Queue &queue = queues_.emplace_back(device, number, pasid, shift);
        queue.reg(CCAD_CTX_PRIORITY, priority);
        queue.reg(CCAD_CTX_SLICE_NS, slice_ns);
        queue.enable();
        for (uint32_t i = 0; i < 1u << shift; i++) {
            queue.push(commands[i % commands.size()], false);
        }
        return number;
    }

    uint64_t clock(uint32_t number)
    {
        return device.read(CCAD_DOORBELL(number) + CCAD_DB_CLOCK);
    }
    std::vector<uint64_t> clocks()
    {
        std::vector<uint64_t> all;
        for (uint32_t i = 0; i < queues_.size(); i++) {
            all.push_back(clock(i));
        }
        return all;
    }
    void feed(uint32_t number)
    {
        Queue &queue = queues_[number];
        queue.db(CCAD_DB_TAIL,
                 queue.db(CCAD_DB_HEAD) +
                     static_cast<uint32_t>(queue.ring_bytes() / 64));
    }
    void feed()
    {
        for (uint32_t i = 0; i < queues_.size(); i++) {
            feed(i);
        }
    }
    /* All of them from now on, until it is so. */
    void run(const std::function<bool()> &until)
    {
        device.write(CCAD_REG_CTRL, 0);
        feed();
        device.enable();
        EXPECT_TRUE(eventually([&] {
            feed();
            return until();
        }));
        device.write(CCAD_REG_CTRL, 0);
    }

    /* The same, but on a slow machine half a minute has to do. */
    void run_for(const std::function<bool()> &until)
    {
        auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
        run([&] { return until() || std::chrono::steady_clock::now() > end; });
    }

    Device device;

private:
    std::deque<Queue> queues_;
};

double mean(const std::vector<uint64_t> &values)
{
    return std::accumulate(values.begin(), values.end(), 0.0) /
           static_cast<double>(values.size());
}

/*
 * A context whose engine the host does not run falls back for so long and
 * catches up later.  So shares are looked at when they have come close to what
 * they have to be: those of a wrong schedule never do.
 */
constexpr double close = 0.05;
constexpr double tolerance = 0.1;

/* The least share, with commands that differ by four orders of magnitude. */
class Fairness : public testing::TestWithParam<uint32_t> {};

TEST_P(Fairness, OfEqualContextsIsNineTenths)
{
    constexpr uint32_t contexts = 64;
    Load load(dear_config(contexts, GetParam()));
    const uint64_t own = load.device.host.alloc(huge);
    load.device.host.map(pasid, dst_va, own, huge);
    const uint64_t local = load.device.host.alloc(huge, true);
    load.device.host.map(pasid, dst_va + huge, local, huge);

    for (uint32_t i = 0; i < contexts; i++) {
        const uint64_t dst = dst_va + i * huge / contexts;
        const ccad_desc small = copy(far_va + 64 * i, dst, 64);
        const ccad_desc medium = fill(dst + huge, huge / contexts, i);
        const ccad_desc large = crc(far_va, 8 << 20);
        switch (i % 4) {
        case 0:
            load.add({nop()}, 0, 0, 12);
            break;
        case 1:
            load.add({small}, 0, 0, 12);
            break;
        case 2:
            load.add({large, large, medium});
            break;
        case 3:
            load.add({nop(), small, medium, large}, 0, 0, 4);
            break;
        }
    }
    auto least_to_mean = [&] {
        auto clocks = load.clocks();
        return static_cast<double>(std::ranges::min(clocks)) / mean(clocks);
    };
    load.run_for([&] {
        return mean(load.clocks()) > 1000 * slice &&
               least_to_mean() > 1 - close;
    });

    double share = least_to_mean();
    RecordProperty("least_to_mean", std::to_string(share));
    EXPECT_GE(share, 1 - tolerance);
    EXPECT_THAT(load.device.host.violations(), testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Engines, Fairness, testing::Values(1, 2, 7));

class Sharing : public testing::TestWithParam<uint32_t> {};

TEST_P(Sharing, FollowsThePriority)
{
    Load load(dear_config(8, GetParam()));
    for (uint32_t i = 0; i < 8; i++) {
        load.add({i < 4 ? crc(far_va, far_len) : crc(near_va, near_len)},
                 i % 4);
    }
    /* To what its priority says, the share of context 0 being 1. */
    auto share = [&](const std::vector<uint64_t> &clocks, uint32_t i) {
        return static_cast<double>(clocks[i]) /
               static_cast<double>(clocks[0] << i % 4);
    };
    load.run_for([&] {
        auto clocks = load.clocks();
        bool all = clocks[0] > 2000 * slice;
        for (uint32_t i = 0; i < 8; i++) {
            all = all && std::abs(share(clocks, i) - 1) < close;
        }
        return all;
    });

    auto clocks = load.clocks();
    for (uint32_t i = 0; i < 8; i++) {
        EXPECT_NEAR(share(clocks, i), 1, tolerance) << i;
    }
}

INSTANTIATE_TEST_SUITE_P(Engines, Sharing, testing::Values(1, 2));

TEST(Scheduling, TheLowestPriorityDoesNotStarve)
{
    Load load(config_of(2, 1));
    load.add({crc(far_va, far_len)}, 0);
    load.add({crc(far_va, far_len)}, CCAD_PRIORITY_MAX);
    load.run([&] { return load.clock(0) > 4 * slice; });

    double ratio = static_cast<double>(load.clock(1)) /
                   static_cast<double>(load.clock(0));
    EXPECT_GT(ratio, 128 / 2);
    EXPECT_LT(ratio, 128 * 2);
}

TEST(Scheduling, IdleTimeIsNotBanked)
{
    Load load(config_of(2, 1));
    load.add({crc(far_va, far_len)});
    load.add({crc(far_va, far_len)});
    load.device.enable();
    load.feed(0);
    ASSERT_TRUE(eventually([&] { return load.clock(0) > 200 * slice; }));
    load.device.write(CCAD_REG_CTRL, 0);
    uint64_t busy = load.clock(0);

    load.run([&] { return load.clock(1) > 50 * slice; });
    EXPECT_GT(load.clock(0) - busy, 45 * slice);
}

/* Ends of slices in one context's long command while another competes. */
class Slices : public testing::TestWithParam<std::pair<uint32_t, uint32_t>> {};

TEST_P(Slices, EndInTheMiddleOfACommand)
{
    auto [own, effective] = GetParam();
    Load load(config_of(2, 1));
    std::atomic<unsigned> ends{0};
    load.device.host.on_trace = [&](ccad_step step, uint32_t context,
                                    uint64_t more, uint64_t, uint64_t) {
        ends += step == CCAD_STEP_SLICE_END && context == 0 && more;
    };
    load.add({crc(far_va, far_len)}, 0, own);
    load.add({crc(far_va, far_len)});
    load.run([&] { return load.clock(0) > 100 * effective; });

    EXPECT_EQ(load.device.read(CCAD_DOORBELL(0) + CCAD_DB_HEAD, 4), 1)
        << "still the first command";
    /* A slice ends after the step that uses it up: 64 KiB are 63 us. */
    auto slices = static_cast<double>(load.clock(0)) / ends;
    EXPECT_GE(slices, effective * 0.98);
    EXPECT_LE(slices, effective + 64'000);
}

INSTANTIATE_TEST_SUITE_P(Lengths, Slices,
                         testing::Values(std::pair{0u, 100'000u},
                                         std::pair{70'000u, 70'000u},
                                         std::pair{2'000'000u, 2'000'000u}));

TEST(Scheduling, ALongCommandDoesNotKeepOthersWaiting)
{
    Load load(config_of(2, 1));
    load.add({crc(far_va, far_len)});
    Queue quick = load.device.queue(1);
    load.device.enable();
    load.feed(0);
    ASSERT_TRUE(eventually([&] { return load.clock(0) > 0; }));

    for (int i = 0; i < 5; i++) {
        EXPECT_EQ(quick.run(nop()).status, CCAD_COMP_SUCCESS);
    }
    EXPECT_EQ(load.device.stat(CCAD_STAT_COMMANDS), 5) << "it goes on";
}

/*
 * A long copy from beginning to end, and now and then a command of another
 * context meanwhile: how long one waits at most, in device time.  Without
 * threads, so that it is the same each time.
 */
uint64_t longest_wait(uint64_t len, uint32_t slice_ns)
{
    ccad_config config = config_of(2, 1);
    config.host_driven = true;
    config.slice_ns = slice_ns;
    Device device(config);
    FakeHost &host = device.host;
    map_far(host);
    const uint64_t own = host.alloc(huge);
    for (uint64_t i = 0; i < len; i += huge) {
        host.map(pasid, dst_va + i, own, huge);
    }
    Queue big = device.queue(0);
    Queue quick = device.queue(1);
    device.enable();

    auto clock = [&] { return device.read(CCAD_DOORBELL(0) + CCAD_DB_CLOCK); };
    std::optional<uint64_t> since;
    uint64_t longest = 0;
    uint64_t ended = 0;
    host.on_translate = [&](uint32_t, uint64_t va) {
        if (!since && va >= dst_va && va < dst_va + len) {
            ccad_desc desc = nop();
            desc.flags = CCAD_DESC_INTERRUPT;
            since = clock();
            quick.submit(desc);
        }
    };
    host.on_op = [&](const char *op) {
        if (since && std::string_view(op) == "interrupt") {
            longest = std::max(longest, clock() - *since);
            since.reset();
            ended++;
        }
    };
    uint32_t index = big.submit(copy(far_va, dst_va, len));
    ccad_core_run(device.core());

    EXPECT_EQ(big.record(index).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(big.record(index).bytes_done, len);
    EXPECT_GT(ended, len / huge / 4);
    EXPECT_THAT(host.violations(), testing::IsEmpty());
    return longest;
}

TEST(Scheduling, ACopyOfAGibibyteKeepsNobodyWaiting)
{
    constexpr uint64_t gib = uint64_t{1} << 30;
    /* The rest of a slice, and the access of 64 KiB that ends it. */
    const uint64_t bound = slice + 2 * (65536 + 500 + 1000);

    EXPECT_LE(longest_wait(gib, slice), bound);
    EXPECT_GT(longest_wait(gib / 8, 10 * slice), bound) << "the control";
}

/* Device time stands still: what contexts do has to count. */
TEST(Scheduling, ContextsTakeTurnsWhereNothingCosts)
{
    ccad_config config = config_of(3, 1);
    config.cost = {};
    Load load(config);
    load.add({crc(far_va, far_len)}, 0, 1000);
    load.add({nop()}, 0, 1000);
    Queue quick = load.device.queue(2);
    load.run([&] {
        return load.device.read(CCAD_DOORBELL(0) + CCAD_DB_STATS +
                                CCAD_STAT_READ_SYSTEM) > 1000 * huge / 32 &&
               load.device.read(CCAD_DOORBELL(1) + CCAD_DB_HEAD, 4) > 1000;
    });
    EXPECT_EQ(load.clocks(), (std::vector<uint64_t>{0, 0}));

    load.device.enable();
    load.feed();
    EXPECT_EQ(quick.run(nop()).status, CCAD_COMP_SUCCESS);
}

/* Long steps count for what they do, too. */
TEST(Scheduling, ALongCopyIsInterruptedWhereNothingCosts)
{
    ccad_config config = config_of(2, 1);
    config.host_driven = true;
    config.cost = {};
    config.slice_ns = 10'000;
    Device device(config);
    FakeHost &host = device.host;
    map_far(host);
    const uint64_t own = host.alloc(huge);
    constexpr uint64_t len = 64 * huge;
    for (uint64_t i = 0; i < len; i += huge) {
        host.map(pasid, dst_va + i, own, huge);
    }
    Queue big = device.queue();
    device.enable();
    unsigned slices = 0;
    host.on_trace = [&](ccad_step step, uint32_t, uint64_t, uint64_t,
                        uint64_t) { slices += step == CCAD_STEP_SLICE_END; };
    uint32_t index = big.submit(copy(far_va, dst_va, len));
    ccad_core_run(device.core());

    EXPECT_EQ(big.record(index).status, CCAD_COMP_SUCCESS);
    /* 32 ns for each of two accesses, 64 KiB a piece. */
    EXPECT_GE(slices, 2 * len / 65536 * 32 / 10'000);
}

/*
 * The owner of a context may stop it with a wrong doorbell, clear the error and
 * go on, whenever the engine has it: what it has had until then counts.
 */
TEST(Scheduling, WhoIsStoppedHasHadItsService)
{
    constexpr uint64_t tail = 64 * 1024;
    constexpr unsigned patience = 2000;
    ccad_config config = config_of(2, 1);
    config.host_driven = true;
    config.slice_ns = 1'000'000;
    Device device(config);
    FakeHost &host = device.host;
    host.populate(pasid, src_va, 2 * huge, false, true, huge);
    Queue clever = device.queue(0);
    Queue honest = device.queue(1);
    device.enable();

    const ccad_desc work = crc(src_va + huge - tail, 2 * tail);
    unsigned stops = 0;
    uint32_t last = 0;
    host.on_translate = [&](uint32_t, uint64_t va) {
        if (va != src_va + huge || stops == patience ||
            honest.record(last).status) {
            return;
        }
        stops++;
        clever.db(CCAD_DB_TAIL, clever.tail() + 1000);
        clever.db(CCAD_DB_CLEAR, 1);
        clever.tail(clever.db(CCAD_DB_TAIL));
        clever.submit(work);
        std::lock_guard lock(host.big_lock());
        ccad_core_invalidate(device.core(), pasid, false, src_va + huge, huge);
    };
    for (int i = 0; i < 5; i++) {
        last = honest.push(crc(src_va, huge - tail));
    }
    clever.submit(work);
    honest.ring_doorbell();
    ccad_core_run(device.core());
    EXPECT_EQ(honest.record(last).status, CCAD_COMP_SUCCESS);
    EXPECT_GT(stops, 10u);
    EXPECT_LT(stops, 5 * huge / tail * 2) << "of them, the same service";
}

TEST(Scheduling, OfAllTheContextsThatThereCanBe)
{
    Device device(config_of(CCAD_MAX_CONTEXTS, 3));
    std::vector<Queue> queues;
    for (uint32_t i = 0; i < CCAD_MAX_CONTEXTS; i++) {
        queues.push_back(device.queue(i));
    }
    std::vector<uint32_t> last;
    for (Queue &queue : queues) {
        for (int i = 0; i < 8; i++) {
            queue.push(nop(), false);
        }
        last.push_back(queue.push(nop(7)));
        queue.ring_doorbell();
    }
    device.enable();
    for (uint32_t i = 0; i < CCAD_MAX_CONTEXTS; i++) {
        ASSERT_EQ(queues[i].wait(last[i]).tag, 7) << i;
    }
    EXPECT_EQ(device.stat(CCAD_STAT_COMMANDS), 9 * CCAD_MAX_CONTEXTS);
}

TEST(Scheduling, PrioritiesBeyondTheLastAreRefused)
{
    Device device;
    Queue queue(device, 0, pasid, 4);
    queue.reg(CCAD_CTX_PRIORITY, CCAD_PRIORITY_MAX + 1);
    queue.enable();
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_CONFIG);
    queue.disable();
    queue.reg(CCAD_CTX_PRIORITY, UINT32_MAX);
    queue.enable();
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_CONFIG);
    queue.disable();
    queue.reg(CCAD_CTX_PRIORITY, CCAD_PRIORITY_MAX);
    queue.enable();
    EXPECT_EQ(queue.state(), CCAD_CTX_ENABLED);
}

TEST(Scheduling, TheBlockIsLatched)
{
    Device device;
    Queue queue = device.queue();
    for (uint32_t reg :
         {CCAD_CTX_PRIORITY, CCAD_CTX_SLICE_NS, CCAD_CTX_TIMEOUT_MS}) {
        EXPECT_EQ(queue.reg(reg), 0) << reg;
        queue.reg(reg, 0xfedcba98);
        EXPECT_EQ(queue.reg(reg), 0xfedcba98) << reg;
    }
    device.enable();
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(device.host.timer_ns(), UINT64_MAX) << "not from now on";
    device.reset();
    for (uint32_t reg :
         {CCAD_CTX_PRIORITY, CCAD_CTX_SLICE_NS, CCAD_CTX_TIMEOUT_MS}) {
        EXPECT_EQ(queue.reg(reg), 0) << reg;
    }
}

TEST(Scheduling, NeedsATimeSlice)
{
    ccad_config config = small_config();
    config.slice_ns = 0;
    EXPECT_STREQ(ccad_config_check(&config), "time-slice-ns must not be 0");
}

} // namespace

} // namespace ccad::test
