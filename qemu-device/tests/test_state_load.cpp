/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Saved, loaded and moved under load: no command is lost, none is run twice. */
#include <thread>

#include "commands.hpp"
#include "counting.hpp"

namespace ccad::test {

namespace {

using testing::IsEmpty;

/* What is seen of a run of many commands. */
struct Seen {
    std::vector<ccad_completion> records;
    std::vector<uint8_t> memory;
    std::vector<uint64_t> stats;
    uint64_t clock;
    unsigned interrupts;
    AccessCount counted;
};

constexpr CounterDriver::Setup granules{.granule_shift = 16};
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
    CounterDriver counters(device);
    counters.start(granules);
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
    seen.counted = counters.read(src_va);
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
    /* On a busy host the commands may have ended before the first move. */
    for (int round = 0; round < 5 || (moves <= 10 && round < 200); round++) {
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
        std::vector<AccessCount> counted;
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
            CounterDriver counters(device);
            counters.start(granules);
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
            Outcome o{queue.wait(0), other.wait(0), {}, {}, {}};
            EXPECT_EQ(o.record.status, CCAD_COMP_SUCCESS);
            for (uint32_t stat = 0; stat < CCAD_STAT_COUNT; stat++) {
                o.figures.push_back(queue.stat(stat * 8));
                o.figures.push_back(other.stat(stat * 8));
            }
            o.figures.push_back(device.read(CCAD_DOORBELL(0) + CCAD_DB_CLOCK));
            o.figures.push_back(device.read(CCAD_REG_CLOCK));
            for (uint64_t va = src_va; va < src_va + 16 * page; va += 65536) {
                o.counted.push_back(counters.read(va));
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
            EXPECT_EQ(o.counted, once.counted);
            EXPECT_EQ(o.output, once.output);
        }
    }
}
} // namespace

} // namespace ccad::test
