/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of the device, saved and loaded into another one. */
#include <random>
#include <thread>

#include "commands.hpp"

namespace ccad::test {

namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class State : public DeviceTest {
protected:
    const char *load_into(ccad_core *core, const std::vector<uint8_t> &state)
    {
        std::lock_guard lock(host.big_lock());
        return ccad_core_load(core, state.data(), state.size());
    }
    uint64_t reg(uint32_t offset) { return device.read(offset, 4); }
};

/* What is seen of a run of many commands. */
struct Seen {
    std::vector<ccad_completion> records;
    std::vector<uint8_t> memory;
    std::vector<uint64_t> stats;
    uint64_t clock;
    unsigned interrupts;
    uint64_t counted;
};

constexpr uint64_t area = 96 * page;
constexpr unsigned commands = 104;

/* At table_va: indices, nodes of a list, something to compress. */
constexpr uint64_t list_va = table_va + page;
constexpr uint64_t plain_va = table_va + 4 * page;
constexpr uint64_t nodes = 500;
constexpr uint64_t plain_len = 2 * page;

void prepare_table(FakeHost &host)
{
    host.populate(pasid, table_va, 6 * page, true);
    for (uint64_t i = 0; i < page / 4; i++) {
        store_value(host, table_va + 4 * i, static_cast<uint32_t>(i * 7 % 999));
    }
    for (uint64_t i = 0; i < nodes; i++) {
        uint64_t next = i + 1 < nodes ? list_va + (i + 1) * 24 : 0;
        store(host, list_va + i * 24,
              bytes_of(std::vector<uint64_t>{next, i}));
    }
    store(host, plain_va, std::vector<uint8_t>(plain_len, 'x'));
    store(host, plain_va + 100, random_bytes(page));
}

ccad_desc some_command(unsigned i)
{
    uint64_t at = i * 977 % (area / 2);
    uint64_t len = 1 + i * 7919 % (area / 2);
    ccad_desc desc = nop();

    switch (i % 13) {
    case 0:
        desc = copy(src_va + at, dst_va + at, len);
        break;
    case 1:
        desc = fill(dst_va + at, len, i * 0x0101010101);
        break;
    case 2:
        desc = crc(src_va + at, len);
        break;
    case 3:
        desc = compare(dst_va + at, src_va + at, len);
        break;
    case 4:
        desc = reduce(src_va + at, len & ~uint64_t{7}, CCAD_REDUCE_SUM,
                      CCAD_TYPE_INT64);
        break;
    case 5:
        desc = fetch_add(dst_va + (at & ~uint64_t{7}), 8, i);
        break;
    case 6:
        desc = compare_swap(dst_va + (at & ~uint64_t{3}), 4, 0, i);
        break;
    case 7:
        desc = gather(table_va, page, src_va + 1, dst_va + at, 4);
        break;
    case 8:
        desc = list_walk(list_va, nodes, CCAD_REDUCE_SUM, CCAD_TYPE_INT64, 0, 8);
        break;
    case 9:
        desc = compress(plain_va, plain_len, dst_va + i * 977, 2 * plain_len);
        break;
    case 10: /* what the one before has written */
        desc = decompress(dst_va + (i - 1) * 977, 2 * plain_len,
                          dst_va + area / 2 + page, plain_len);
        break;
    }
    desc.flags = i % 3 ? 0 : CCAD_DESC_INTERRUPT;
    desc.tag = i;
    return desc;
}

void set_counters(Device &device)
{
    device.write(CCAD_REG_CNT_GRANULE_SHIFT, 16);
    device.write(CCAD_REG_CNT_THRESHOLD, 0);
    device.write(CCAD_REG_CNT_CTRL, CCAD_CNT_ENABLE);
}

uint64_t count_reads(Device &device, uint64_t va)
{
    device.write(CCAD_REG_CNT_PASID, pasid);
    device.write(CCAD_REG_CNT_VA, va, 8);
    device.write(CCAD_REG_CNT_CMD, CCAD_CNT_CMD_READ);
    return device.read(CCAD_REG_CNT_READ_SYSTEM) +
           device.read(CCAD_REG_CNT_READ_LOCAL);
}

/*
 * Run the commands on a device of its own, which migrates as often as it can
 * if so asked; returns how often it did.
 */
unsigned run_all(bool migrating, bool ordered, Seen &seen)
{
    ccad_config config = small_config();
    config.ordered = ordered;
    config.atc_sets = 8; /* so that it matters which entry goes first */
    Device device(config);
    FakeHost &host = device.host;
    unsigned moves = 0;

    host.serving(FakeHost::Serving::thread);
    host.populate(pasid, src_va, area / 2);
    host.populate(pasid, src_va + area / 2, area / 4, true);
    store(host, src_va, random_bytes(area * 3 / 4));
    prepare_table(host);
    host.add_region(pasid, {src_va, area});
    host.add_region(pasid, {dst_va, area});
    device.enable();
    set_counters(device);
    Queue queue = device.queue(2, pasid, 7);
    for (unsigned i = 0; i < commands; i++) {
        queue.push(some_command(i));
    }
    queue.ring_doorbell();
    while (migrating && queue.record(commands - 1).status == 0) {
        device.migrate();
        moves++;
        /* Longer and longer: it has to catch up with a compression. */
        std::this_thread::sleep_for(std::chrono::microseconds(50) * moves);
    }
    for (unsigned i = 0; i < commands; i++) {
        seen.records.push_back(queue.wait(i));
        EXPECT_EQ(seen.records[i].tag, i);
        EXPECT_EQ(seen.records[i].status, CCAD_COMP_SUCCESS);
    }
    device.quiesce(); /* the last interrupt has been raised */
    for (uint32_t stat = 0; stat < CCAD_STAT_COUNT; stat++) {
        seen.stats.push_back(queue.stat(stat * 8));
        seen.stats.push_back(device.stat(stat * 8));
    }
    seen.clock = device.read(CCAD_REG_CLOCK);
    seen.interrupts = host.interrupts(3);
    seen.memory = load(host, dst_va, area / 4);
    seen.counted = count_reads(device, src_va);
    EXPECT_THAT(host.violations(), IsEmpty());
    return moves;
}

class StateUnderLoad : public testing::TestWithParam<bool> {};

TEST_P(StateUnderLoad, NothingIsLostOrDoneTwice)
{
    const bool ordered = GetParam();
    Seen undisturbed;
    unsigned moves = 0;

    run_all(false, ordered, undisturbed);
    for (int round = 0; round < 5; round++) {
        Seen seen;
        moves += run_all(true, ordered, seen);
        for (unsigned i = 0; i < commands; i++) {
            EXPECT_EQ(memcmp(&seen.records[i], &undisturbed.records[i],
                             sizeof(ccad_completion)),
                      0)
                << "command " << i << ": "
                << testing::PrintToString(seen.records[i].device_ns) << ", "
                << seen.records[i].atc_hits << " hits, "
                << seen.records[i].translations << " translations, not "
                << undisturbed.records[i].device_ns << ", "
                << undisturbed.records[i].atc_hits << ", "
                << undisturbed.records[i].translations;
        }
        EXPECT_EQ(seen.memory, undisturbed.memory);
        EXPECT_EQ(seen.stats, undisturbed.stats);
        EXPECT_EQ(seen.clock, undisturbed.clock);
        EXPECT_EQ(seen.interrupts, undisturbed.interrupts);
        EXPECT_EQ(seen.counted, undisturbed.counted);
    }
    EXPECT_GT(moves, 10u) << "it was over before anything could happen";
}

INSTANTIATE_TEST_SUITE_P(Ordered, StateUnderLoad, testing::Bool());

/* Stopped at each access in turn, as far as a few commands go. */
TEST(StateAtEachStep, GoesOnThere)
{
    std::vector<ccad_completion> undisturbed;

    for (unsigned stop = 0, steps = 1; stop < steps; stop++) {
        Device device;
        FakeHost &host = device.host;
        std::atomic<unsigned> maps{0};
        std::atomic<bool> stopping{false};

        host.populate(pasid, src_va, 3 * page);
        host.add_region(pasid, {dst_va, 3 * page});
        store(host, src_va, random_bytes(3 * page));
        Queue queue = device.queue(1);
        host.on_map = [&](uint64_t, bool) {
            if (++maps == stop) {
                stopping = true;
                /* Whoever stops the engines waits for this access. */
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
            }
        };
        std::thread mover([&] {
            while (stop && !stopping) {
                std::this_thread::yield();
            }
            if (stop) {
                device.migrate();
            }
        });
        for (unsigned i = 0; i < 3; i++) {
            queue.push(copy(src_va + i, dst_va + i * 100, 2 * page));
        }
        queue.ring_doorbell();
        device.enable();
        mover.join();
        for (unsigned i = 0; i < 3; i++) {
            ccad_completion record = queue.wait(i);
            if (!stop) {
                undisturbed.push_back(record);
                steps = maps - 1;
            } else {
                EXPECT_EQ(memcmp(&record, &undisturbed[i], sizeof(record)), 0)
                    << "stopped at access " << stop << ", command " << i;
            }
        }
        EXPECT_EQ(load(host, dst_va + 200, 2 * page),
                  load(host, src_va + 2, 2 * page));
        EXPECT_THAT(host.violations(), IsEmpty());
    }
}

TEST_F(State, OfAnIdleDevice)
{
    device.migrate();
    Queue queue = device.queue();
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
}

TEST_F(State, Registers)
{
    Queue queue(device, 3, pasid, 4);

    queue.reg(CCAD_CTX_PASID, 0x12345);
    queue.reg(CCAD_CTX_VECTOR, 0xdeadbeef);
    queue.reg(CCAD_CTX_RING, 0x123456789abcd000, 8);
    queue.reg(CCAD_CTX_RING_SHIFT, 99);
    queue.reg(CCAD_CTX_PRIORITY, 77);
    queue.reg(CCAD_CTX_SLICE_NS, 88);
    queue.reg(CCAD_CTX_TIMEOUT_MS, 99);
    queue.reg(CCAD_CTX_CTRL, CCAD_CTX_CTRL_ENABLE);
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_POISON);
    device.read(CCAD_REG_CAPS, 4);
    device.migrate();
    EXPECT_EQ(queue.reg(CCAD_CTX_CTRL), CCAD_CTX_CTRL_ENABLE);
    EXPECT_EQ(queue.reg(CCAD_CTX_PASID), 0x12345);
    EXPECT_EQ(queue.reg(CCAD_CTX_VECTOR), 0xdeadbeef);
    EXPECT_EQ(device.read(CCAD_CTX(3) + CCAD_CTX_RING), 0x123456789abcd000);
    EXPECT_EQ(queue.reg(CCAD_CTX_RING_SHIFT), 99);
    EXPECT_EQ(queue.reg(CCAD_CTX_PRIORITY), 77);
    EXPECT_EQ(queue.reg(CCAD_CTX_SLICE_NS), 88);
    EXPECT_EQ(queue.reg(CCAD_CTX_TIMEOUT_MS), 99);
    EXPECT_EQ(queue.state(), CCAD_CTX_ERROR);
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_CONFIG);
    EXPECT_EQ(reg(CCAD_REG_EVENT), CCAD_EVENT_CTX_ERROR);
    EXPECT_EQ(reg(CCAD_REG_EVENT_MASK), CCAD_EVENT_POISON);
    EXPECT_EQ(reg(CCAD_REG_CTRL), CCAD_CTRL_ENABLE);
    /* It interrupts once it is not masked, and once only. */
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 0);
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_CTX_ERROR);
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 1);
    device.migrate();
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 1);
}

TEST_F(State, ContextInError)
{
    Queue queue = device.queue(1);
    queue.run(nop());
    queue.db(CCAD_DB_TAIL, 100);
    ASSERT_EQ(queue.state(), CCAD_CTX_ERROR);
    device.migrate();
    EXPECT_EQ(queue.state(), CCAD_CTX_ERROR);
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_DOORBELL);
    queue.db(CCAD_DB_CLEAR, 1);
    EXPECT_EQ(queue.state(), CCAD_CTX_ENABLED);
    queue.tail(queue.db(CCAD_DB_TAIL));
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
    /* The PASID goes out of use with its last context. */
    queue.disable();
    EXPECT_THAT(host.bound(), IsEmpty());
}

TEST_F(State, PageRequests)
{
    ccad_config config = small_config();
    config.page_requests = 1;
    config.page_request_group = 1;
    Device small(config);
    small.enable();
    small.host.serving(FakeHost::Serving::never);
    Queue first = small.queue(0);
    Queue second = small.queue(1);
    small.host.add_region(pasid, {dst_va, 2 * page});
    uint32_t a = first.submit(fill(dst_va, 8, 1));
    ASSERT_TRUE(eventually([&] { return small.host.requests().size() == 1; }));
    uint32_t b = second.submit(fill(dst_va + page, 8, 2));
    auto place = [&](uint32_t number) {
        ccad_context_info info;
        ccad_core_context_info(small.core(), number, &info);
        return info.place;
    };
    ASSERT_TRUE(eventually([&] { return place(1) == CCAD_PLACE_STALLED; }));

    /* The response comes to the other device; the next in line follows. */
    small.migrate();
    EXPECT_EQ(place(0), CCAD_PLACE_WAITING);
    EXPECT_EQ(place(1), CCAD_PLACE_STALLED);
    auto request = small.host.requests().at(0);
    small.host.serve(request.pasid, request.va, request.write);
    small.host.respond(request, CCAD_RESPONSE_SUCCESS);
    EXPECT_EQ(first.wait(a).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(first.record(a).page_requests, 1);
    ASSERT_TRUE(eventually([&] { return small.host.requests().size() == 1; }));
    request = small.host.requests().at(0);
    EXPECT_EQ(request.va, dst_va + page);

    /* Answered while nobody runs: kept for when somebody does. */
    small.quiesce();
    small.host.respond(request, CCAD_RESPONSE_FAILURE);
    small.migrate();
    EXPECT_EQ(place(1), CCAD_PLACE_READY);
    small.enable();
    EXPECT_EQ(second.wait(b).status, CCAD_COMP_PAGE_FAULT);
    EXPECT_TRUE(small.host.requests().empty());
    EXPECT_THAT(small.host.violations(), IsEmpty());
}

TEST_F(State, AResponseToWhatWasGivenUp)
{
    host.serving(FakeHost::Serving::never);
    Queue queue = device.queue(0);
    Queue other = device.queue(1);
    queue.submit(fill(dst_va, 8, 1));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));
    queue.disable();
    queue.enable();
    uint32_t i = queue.submit(fill(dst_va, 8, 1));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 2; }));
    device.migrate();
    auto requests = host.requests();
    host.respond(requests[0], CCAD_RESPONSE_FAILURE);
    EXPECT_EQ(queue.record(i).status, CCAD_COMP_NONE);
    host.respond(requests[1], CCAD_RESPONSE_FAILURE);
    EXPECT_EQ(queue.wait(i).status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(other.run(nop()).status, CCAD_COMP_SUCCESS);
}

TEST_F(State, AtcContents)
{
    Queue queue = device.queue();
    host.populate(pasid, src_va, page);
    queue.run(crc(src_va, page));
    uint32_t entries = ccad_core_atc_entries(device.core(), 0);
    device.migrate();
    EXPECT_EQ(ccad_core_atc_entries(device.core(), 0), entries);
    ccad_completion record = queue.run(crc(src_va, page));
    EXPECT_EQ(record.translations, 0);
    EXPECT_EQ(record.atc_hits, 1);
    /* They are invalidated as ever. */
    host.migrate(pasid, src_va, true);
    record = queue.run(crc(src_va, page));
    EXPECT_EQ(record.translations, 1);
    EXPECT_EQ(record.bytes_local, page);
    EXPECT_THAT(host.violations(), IsEmpty());
}

TEST_F(State, PoisonAndCounters)
{
    Queue queue = device.queue();
    host.populate(pasid, src_va, 64 * page);
    set_counters(device);
    queue.run(crc(src_va, 64 * page));
    ASSERT_EQ(count_reads(device, src_va), 1024);
    ASSERT_EQ(ccad_core_poison_inject(device.core(), 0x1000, 128), nullptr);
    ASSERT_EQ(ccad_core_poison_inject(device.core(), 0x9fc0, 65), nullptr);
    device.migrate();
    EXPECT_EQ(device.read(CCAD_REG_POISON_LINES), 4);
    EXPECT_EQ(reg(CCAD_REG_CNT_CTRL), CCAD_CNT_ENABLE);
    EXPECT_EQ(device.read(CCAD_REG_CNT_READ_SYSTEM), 1024);
    queue.run(crc(src_va, 64));
    EXPECT_EQ(count_reads(device, src_va), 1025);
}

TEST_F(State, HangAndTimeOut)
{
    Queue queue(device, 0, pasid, 4);
    queue.reg(CCAD_CTX_TIMEOUT_MS, 10);
    queue.enable();
    ASSERT_TRUE(ccad_core_hang(device.core(), 0));
    device.migrate();
    uint32_t i = queue.submit(nop());
    ccad_context_info info;
    ASSERT_TRUE(eventually([&] {
        ccad_core_context_info(device.core(), 0, &info);
        return info.place == CCAD_PLACE_HUNG;
    }));
    host.advance_time(std::chrono::milliseconds(4));
    device.migrate();
    host.advance_time(std::chrono::milliseconds(4));
    EXPECT_EQ(queue.record(i).status, CCAD_COMP_NONE);
    host.advance_time(std::chrono::milliseconds(4));
    EXPECT_EQ(queue.wait(i).status, CCAD_COMP_TIMEOUT);
    EXPECT_TRUE(eventually([&] { return queue.state() == CCAD_CTX_ERROR; }));
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_TIMEOUT);
}

/* Its next command counts, which has no deadline yet. */
TEST_F(State, TimeOutOfAContextThatIsReady)
{
    Queue queue(device, 0, pasid, 4);
    queue.reg(CCAD_CTX_TIMEOUT_MS, 10);
    queue.enable();
    ASSERT_TRUE(ccad_core_hang(device.core(), 0));
    device.quiesce();
    uint32_t i = queue.submit(nop());
    ccad_context_info info;
    ccad_core_context_info(device.core(), 0, &info);
    ASSERT_EQ(info.place, CCAD_PLACE_READY);
    device.migrate();
    device.enable();
    ASSERT_TRUE(eventually([&] {
        ccad_core_context_info(device.core(), 0, &info);
        return info.place == CCAD_PLACE_HUNG;
    }));
    host.advance_time(std::chrono::milliseconds(10));
    EXPECT_EQ(queue.wait(i).status, CCAD_COMP_TIMEOUT);
    EXPECT_TRUE(eventually([&] { return queue.state() == CCAD_CTX_ERROR; }));
}

/*
 * A compression that waits for a page, beside a context that uses the same
 * memory: saved and going on here, or loaded and going on there.
 */
TEST(StateOfACompression, TellsNothing)
{
    enum class What { nothing, save, migrate };
    struct Outcome {
        ccad_completion record;
        ccad_completion other;
        std::vector<uint64_t> figures;
        std::vector<uint8_t> output;
    };
    constexpr uint64_t missing = src_va + 9 * page;

    for (bool ordered : {false, true}) {
        auto outcome = [&](What what) {
            ccad_config config = small_config();
            config.ordered = ordered;
            Device device(config);
            FakeHost &host = device.host;
            host.serving(FakeHost::Serving::never);
            host.populate(pasid, src_va, 16 * page);
            host.populate(pasid, dst_va, 32 * page, true);
            host.populate(pasid + 1, src_va, 64 * page);
            store(host, src_va, random_bytes(16 * page));
            auto bytes = load(host, missing, page);
            host.unmap(pasid, missing);
            set_counters(device);
            Queue queue = device.queue(0);
            Queue other = device.queue(1, pasid + 1);
            other.submit(crc(src_va, 64 * page));
            if (!ordered) {
                /* They share the ATC, and would do so at any time. */
                device.enable();
                other.wait(0);
                device.quiesce();
            }
            queue.submit(compress(src_va, 16 * page, dst_va, 32 * page));
            device.enable();
            EXPECT_TRUE(
                eventually([&] { return host.requests().size() == 1; }));
            if (what == What::save) {
                device.quiesce();
                device.save();
                device.enable();
            } else if (what == What::migrate) {
                device.migrate();
            }
            uint64_t before = queue.stat(CCAD_STAT_WRITE_LOCAL);
            EXPECT_GT(before, 0u);
            host.populate(pasid, missing, page);
            store(host, missing, bytes);
            host.respond(host.requests()[0], CCAD_RESPONSE_SUCCESS);
            Outcome o{queue.wait(0), other.wait(0), {}, {}};
            EXPECT_EQ(o.record.status, CCAD_COMP_SUCCESS);
            for (uint32_t stat = 0; stat < CCAD_STAT_COUNT; stat++) {
                o.figures.push_back(queue.stat(stat * 8));
                o.figures.push_back(other.stat(stat * 8));
            }
            o.figures.push_back(device.read(CCAD_DOORBELL(0) + CCAD_DB_CLOCK));
            o.figures.push_back(device.read(CCAD_REG_CLOCK));
            for (uint64_t va = src_va; va < src_va + 16 * page; va += 65536) {
                o.figures.push_back(count_reads(device, va));
            }
            o.output = load(host, dst_va, o.record.result);
            EXPECT_THAT(host.violations(), IsEmpty());
            return o;
        };
        Outcome once = outcome(What::nothing);
        for (What what : {What::save, What::migrate}) {
            Outcome o = outcome(what);
            EXPECT_EQ(memcmp(&o.record, &once.record, sizeof(o.record)), 0);
            EXPECT_EQ(memcmp(&o.other, &once.other, sizeof(o.other)), 0);
            EXPECT_EQ(o.figures, once.figures);
            EXPECT_EQ(o.output, once.output);
        }
    }
}

TEST_F(State, OnlyWhileQuiet)
{
    size_t size;

    EXPECT_EQ(ccad_core_save(device.core(), &size), nullptr);
    device.quiesce();
    EXPECT_FALSE(device.save().empty());
}

TEST_F(State, OfAnotherDevice)
{
    device.quiesce();
    std::vector<uint8_t> state = device.save();
    ccad_config config = small_config();
    config.contexts = 5;
    Device other(config);
    EXPECT_THAT(load_into(other.core(), state), HasSubstr("other properties"));
    config = small_config();
    config.cost.system_mbps++;
    Device slower(config);
    EXPECT_THAT(load_into(slower.core(), state), HasSubstr("other properties"));
    state[4]++;
    EXPECT_THAT(load_into(device.core(), state), HasSubstr("another version"));
    state[0]++;
    EXPECT_THAT(load_into(device.core(), state), HasSubstr("not the state"));
    EXPECT_THAT(load_into(device.core(), {}), HasSubstr("not the state"));
    /* It is as after a reset. */
    EXPECT_EQ(reg(CCAD_REG_STATUS), 0);
    device.enable();
    EXPECT_EQ(device.queue().run(nop()).status, CCAD_COMP_SUCCESS);
}

TEST_F(State, CutShortOrTooLong)
{
    Queue queue = device.queue();
    queue.run(nop());
    device.quiesce();
    std::vector<uint8_t> state = device.save();
    Device other;
    for (size_t size = 0; size < state.size(); size++) {
        EXPECT_NE(load_into(other.core(), {state.begin(), state.begin() +
                                           static_cast<ptrdiff_t>(size)}),
                  nullptr)
            << size << " bytes";
    }
    std::vector<uint8_t> longer = state;
    longer.push_back(0);
    EXPECT_THAT(load_into(other.core(), longer), HasSubstr("damaged"));
    EXPECT_EQ(load_into(other.core(), state), nullptr);
}

/* What comes may be anything; nothing that follows from it may crash. */
TEST_F(State, Damaged)
{
    host.serving(FakeHost::Serving::never);
    set_counters(device);
    host.populate(pasid, src_va, 4 * page);
    for (uint32_t number = 0; number < 4; number++) {
        Queue queue = device.queue(number, pasid + number / 2);
        queue.run(nop());
        queue.submit(number & 1 ? copy(src_va, dst_va, 3 * page)
                                : fill(dst_va + page, 8, 1));
        queue.submit(nop());
    }
    ASSERT_TRUE(eventually([&] { return host.requests().size() >= 4; }));
    ccad_core_poison_inject(device.core(), 0, 4096);
    device.quiesce();
    const std::vector<uint8_t> state = device.save();

    std::mt19937_64 random(1);
    unsigned good = 0;
    Device other; /* whose host has no page mapped anywhere */
    other.host.serving(FakeHost::Serving::never);
    for (unsigned i = 0; i < 4000; i++) {
        std::vector<uint8_t> damaged = state;
        for (unsigned n = 1 + random() % 4; n; n--) {
            damaged[random() % damaged.size()] =
                static_cast<uint8_t>(random() % 3 ? random() : 0xff);
        }
        const char *complaint;
        {
            std::lock_guard lock(other.host.big_lock());
            complaint = ccad_core_load(other.core(), damaged.data(),
                                       damaged.size());
            for (uint32_t n = 0; !complaint && n < 4; n++) {
                ccad_context_info info;
                ccad_core_context_info(other.core(), n, &info);
            }
        }
        if (!complaint) {
            good++;
            other.enable();
            for (uint16_t prgi = 0; prgi < 8; prgi++) {
                std::lock_guard lock(other.host.big_lock());
                ccad_core_page_response(other.core(), pasid, prgi,
                                        CCAD_RESPONSE_SUCCESS);
            }
            other.host.advance_time(std::chrono::milliseconds(1));
            other.read(CCAD_REG_CLOCK);
            other.quiesce();
            other.save();
        }
    }
    EXPECT_GT(good, 100u);
    EXPECT_LT(good, 4000u);
}

} // namespace

} // namespace ccad::test
