/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every opcode, saved and loaded at each of its steps: it goes on there, and
 * nothing that software sees tells that it was interrupted.
 */
#include <memory>
#include <numeric>
#include <thread>

#include "archive.hpp"
#include "commands.hpp"
#include "run.hpp"
#include "zlib_reference.hpp"

namespace ccad::test {

namespace {

constexpr uint64_t area = 16 * page;

/* One run without a device around it, taken step by step. */
class Stepper {
public:
    explicit Stepper(bool physical = false)
    {
        ring_ = host.alloc(page);
        host.map(pasid, ring_, ring_, page);
        host.populate(pasid, src_va, area);
        host.populate(pasid, dst_va, area, true);
        host.populate(pasid, table_va, area);
        store(host, src_va, random_bytes(area, 1));
        store(host, dst_va, random_bytes(area, 2));
        store(host, table_va, random_bytes(area, 3));
        host.map_limit = 100;
        counters.write(CCAD_REG_CNT_GRANULE_SHIFT, 12);
        counters.write(CCAD_REG_CNT_THRESHOLD, 0);
        counters.start();
        run->start({.ring = ring_,
                    .shift = 4,
                    .pasid = pasid,
                    .physical = physical});
    }

    void submit(ccad_desc desc)
    {
        desc.completion = record_address();
        std::memset(host.at(record_address()), 0, 64);
        std::memcpy(host.at(ring_ + run->tail() % 16 * 64), &desc, 64);
        run->set_tail(run->tail() + 1);
    }
    /* What an engine would do. */
    Next step(uint64_t left_ns = 0, const Gate *gate = nullptr)
    {
        Next next = run->advance(left_ns, gate);

        run->unmap();
        run->publish();
        if (next == Next::translate) {
            uint64_t va = run->miss().va & ~(page - 1);
            auto entry = host.walk(pasid, va);
            if (!entry) {
                entry = ccad_translation{va, 0, page, false, false};
            }
            run->translated(atc.generation(), std::span(&*entry, 1));
        }
        return next;
    }
    /* Until it needs something else than a translation. */
    Next steps(unsigned count = UINT32_MAX)
    {
        Next next = Next::advance;
        for (; count && (next == Next::advance || next == Next::translate);
             count--) {
            next = step();
        }
        return next;
    }
    /* Go on as another run, with all that is saved of this one. */
    void move()
    {
        Saver saver;
        run->transfer(saver);
        std::vector<uint8_t> state = saver.take();
        auto other = std::make_unique<Run>(environment, 0, stats);
        Loader loader(state);
        other->transfer(loader);
        loader.end();
        ASSERT_TRUE(loader.good());
        run = std::move(other);
    }
    ccad_completion record()
    {
        ccad_completion record;
        std::memcpy(&record, host.at(record_address()), sizeof(record));
        return record;
    }
    uint64_t count(uint64_t va)
    {
        counters.write(CCAD_REG_CNT_PASID, pasid);
        counters.write(CCAD_REG_CNT_VA, va);
        counters.write(CCAD_REG_CNT_CMD, CCAD_CNT_CMD_READ);
        return counters.read(CCAD_REG_CNT_READ_LOCAL) +
               counters.read(CCAD_REG_CNT_READ_SYSTEM) +
               counters.read(CCAD_REG_CNT_WRITE_LOCAL) +
               counters.read(CCAD_REG_CNT_WRITE_SYSTEM);
    }

    const ccad_config config = small_config();
    FakeHost host;
    const ccad_host_ops ops = host.ops();
    Injection injection{config.injection};
    Host bound{ops, &host, injection};
    Atc atc{2, 2}; /* so that it matters who uses it */
    Poison poison{FakeHost::local_size};
    Counters counters{1024, 1};
    Stats stats;
    RunEnvironment environment{{bound, atc, poison, counters},
                               config.cost,
                               nullptr,
                               injection,
                               4};
    std::unique_ptr<Run> run = std::make_unique<Run>(environment, 0, stats);

private:
    uint64_t record_address() const { return ring_ + page - 64; }

    uint64_t ring_;
};

/* Everything that software sees of a command, and of one that follows it. */
struct Seen {
    explicit Seen(Stepper &stepper) : clock(stepper.run->clock())
    {
        FakeHost &host = stepper.host;
        for (uint64_t va : {src_va, dst_va, table_va}) {
            memory.push_back(load(host, va, area));
            for (uint64_t at = 0; at < area; at += page) {
                counts.push_back(stepper.count(va + at));
            }
        }
        for (uint32_t stat = 0; stat < CCAD_STAT_COUNT * 8; stat += 8) {
            stats.push_back(stepper.stats.get(stat));
        }
    }
    uint64_t clock;
    std::vector<std::vector<uint8_t>> memory;
    std::vector<uint64_t> counts;
    std::vector<uint64_t> stats;
};

struct Case {
    const char *name;
    std::function<ccad_desc(Stepper &)> prepare;
    uint8_t status = CCAD_COMP_SUCCESS;
    bool physical = false;
    bool codec = false; /* catching up takes several steps */

    friend void PrintTo(const Case &c, std::ostream *os) { *os << c.name; }
};

/* More than zlib holds back, before and after. */
constexpr uint64_t packed_len = 6 * page;

std::vector<uint8_t> plain(uint64_t len)
{
    auto bytes = random_bytes(len);
    for (size_t i = 0; i < bytes.size(); i += 3) {
        bytes[i] = 0;
    }
    return bytes;
}

/* Nodes 60 bytes apart, so that some lie in two pages; the last leads to 20. */
ccad_desc prepare_list(Stepper &stepper)
{
    constexpr uint64_t nodes = 200;
    auto node = [](uint64_t i) { return src_va + i * 60; };

    for (uint64_t i = 0; i < nodes; i++) {
        store_value(stepper.host, node(i) + 3,
                    node(i + 1 < nodes ? i + 1 : 20));
    }
    return list_walk(node(0), 10'000, CCAD_REDUCE_SUM, CCAD_TYPE_INT64, 3, 37);
}

ccad_desc prepare_gather(Stepper &stepper, uint64_t shift, bool wide)
{
    constexpr uint64_t count = 90;
    const uint64_t bytes = wide ? 8 : 4;

    for (uint64_t i = 0; i < count; i++) {
        uint64_t index = i * 97 % ((area - page) >> shift);
        uint64_t va = src_va + 5 + i * bytes;
        if (wide) {
            store_value(stepper.host, va, index);
        } else {
            store_value(stepper.host, va, static_cast<uint32_t>(index));
        }
    }
    return gather(src_va + 5, count * bytes, table_va + 9, dst_va + 13, shift,
                  wide);
}

ccad_desc prepare_pages(Stepper &stepper)
{
    FakeHost &host = stepper.host;
    auto pa = [&](uint64_t va) { return host.walk(pasid, va)->pa; };
    std::vector<uint64_t> list = {pa(src_va), pa(dst_va),
                                  pa(table_va + page), pa(dst_va + 3 * page)};

    store(host, src_va + 2 * page, bytes_of(list));
    return copy_pages(pa(src_va + 2 * page), list.size() * 8, 12);
}

ccad_desc prepare_compress(Stepper &stepper, uint64_t format, uint64_t level)
{
    store(stepper.host, src_va + 7, plain(packed_len));
    return compress(src_va + 7, packed_len, dst_va + 3, area - 3, format, level);
}

ccad_desc prepare_decompress(Stepper &stepper, uint64_t format)
{
    auto packed = reference_compress(plain(packed_len), format);
    store(stepper.host, src_va + 7, packed);
    return decompress(src_va + 7, packed.size(), dst_va + 3, area - 3, format);
}

const Case cases[] = {
    {"nop", [](Stepper &) { return nop(); }},
    {"copy", [](Stepper &) { return copy(src_va + 1, dst_va + 90, 3 * page); }},
    {"fill", [](Stepper &) { return fill(dst_va + 5, 2 * page, 0x0807060504); }},
    {"crc", [](Stepper &) { return crc(src_va + 9, 2 * page, 77); }},
    {"compare",
     [](Stepper &stepper) {
         store(stepper.host, dst_va, load(stepper.host, src_va, area));
         store_value<uint8_t>(stepper.host, dst_va + 2 * page, 0);
         return compare(src_va + 9, dst_va + 9, 3 * page);
     }},
    {"reduce_integers",
     [](Stepper &) {
         return reduce(src_va + 1, 2 * page, CCAD_REDUCE_SUM, CCAD_TYPE_INT64);
     }},
    {"reduce_reals",
     [](Stepper &stepper) {
         std::vector<double> values(page / 8);
         std::iota(values.begin(), values.end(), 0.1);
         store(stepper.host, src_va + page / 2 + 1, bytes_of(values));
         return reduce(src_va + page / 2 + 1, page, CCAD_REDUCE_SUM,
                       CCAD_TYPE_DOUBLE);
     }},
    {"fetch_add", [](Stepper &) { return fetch_add(dst_va + 8, 8, 5); }},
    {"compare_swap",
     [](Stepper &stepper) {
         store_value<uint32_t>(stepper.host, dst_va + 4, 6);
         return compare_swap(dst_va + 4, 4, 6, 7);
     }},
    {"gather",
     [](Stepper &stepper) { return prepare_gather(stepper, 6, false); }},
    {"gather_wide",
     [](Stepper &stepper) { return prepare_gather(stepper, 3, true); }},
    {"list_walk", prepare_list, CCAD_COMP_CYCLE},
    {"copy_pages", prepare_pages, CCAD_COMP_SUCCESS, true},
    {"compress_zlib",
     [](Stepper &stepper) {
         return prepare_compress(stepper, CCAD_FORMAT_ZLIB, 0);
     },
     CCAD_COMP_SUCCESS, false, true},
    {"compress_gzip",
     [](Stepper &stepper) {
         return prepare_compress(stepper, CCAD_FORMAT_GZIP, 1);
     },
     CCAD_COMP_SUCCESS, false, true},
    {"compress_without_room",
     [](Stepper &stepper) {
         ccad_desc desc = prepare_compress(stepper, CCAD_FORMAT_RAW, 9);
         desc.arg = 4 * page;
         return desc;
     },
     CCAD_COMP_NO_ROOM, false, true},
    {"decompress_zlib",
     [](Stepper &stepper) {
         return prepare_decompress(stepper, CCAD_FORMAT_ZLIB);
     },
     CCAD_COMP_SUCCESS, false, true},
    {"decompress_raw",
     [](Stepper &stepper) {
         return prepare_decompress(stepper, CCAD_FORMAT_RAW);
     },
     CCAD_COMP_SUCCESS, false, true},
};

class EachOpcode : public testing::TestWithParam<Case> {
protected:
    struct Outcome {
        ccad_completion record;
        ccad_completion next; /* of a command that follows */
        Seen seen;
        unsigned steps;
        uint64_t maps; /* accesses, those of catching up included */
    };

    /* Moved before each step for which moves() says so. */
    Outcome outcome(const std::function<bool(unsigned)> &moves)
    {
        Stepper stepper(GetParam().physical);
        stepper.submit(GetParam().prepare(stepper));
        if (GetParam().codec) {
            stepper.host.map_limit = 300;
        }
        uint64_t maps = 0;
        stepper.host.on_map = [&](uint64_t, bool) { maps++; };
        unsigned steps = 0;
        while (!stepper.record().status && steps < 100'000) {
            if (moves(steps)) {
                stepper.move();
            }
            Next next = stepper.step();
            EXPECT_TRUE(next == Next::advance || next == Next::translate);
            steps++;
        }
        ccad_completion record = stepper.record();
        stepper.host.on_map = nullptr;
        stepper.submit(crc(GetParam().physical
                               ? stepper.host.walk(pasid, src_va)->pa
                               : src_va,
                           page));
        stepper.steps();
        EXPECT_THAT(stepper.host.violations(), testing::IsEmpty());
        return {record, stepper.record(), Seen(stepper), steps, maps};
    }
    static void expect_same(const Outcome &a, const Outcome &b,
                            const std::string &what)
    {
        ASSERT_EQ(std::memcmp(&a.record, &b.record, sizeof(a.record)), 0)
            << what << ": status " << int{a.record.status} << ", "
            << a.record.bytes_done << " done, result " << a.record.result
            << ", " << a.record.device_ns << " ns, not "
            << int{b.record.status} << ", " << b.record.bytes_done << ", "
            << b.record.result << ", " << b.record.device_ns;
        ASSERT_EQ(std::memcmp(&a.next, &b.next, sizeof(a.next)), 0) << what;
        ASSERT_EQ(a.seen.stats, b.seen.stats) << what;
        ASSERT_EQ(a.seen.clock, b.seen.clock) << what;
        ASSERT_EQ(a.seen.counts, b.seen.counts) << what;
        ASSERT_EQ(a.seen.memory, b.seen.memory) << what;
    }
};

TEST_P(EachOpcode, GoesOnFromEachStep)
{
    Outcome once = outcome([](unsigned) { return false; });
    ASSERT_EQ(once.record.status, GetParam().status);

    uint64_t maps = 0;
    for (unsigned at = 0; at < once.steps; at++) {
        Outcome moved = outcome([&](unsigned step) {
            /* A second time, maybe while it catches up. */
            return step == at || step == at + at % 7;
        });
        expect_same(moved, once, "moved before step " + std::to_string(at));
        if (HasFatalFailure()) {
            return;
        }
        maps = std::max(maps, moved.maps);
    }
    if (GetParam().codec) {
        EXPECT_GT(maps, once.maps) << "it did not catch up";
    } else {
        EXPECT_EQ(maps, once.maps) << "something was accessed again";
        expect_same(outcome([](unsigned) { return true; }), once,
                    "moved before each step");
    }
}

INSTANTIATE_TEST_SUITE_P(Progress, EachOpcode, testing::ValuesIn(cases),
                         [](const auto &info) {
                             return std::string(info.param.name);
                         });

/* What it catches up with is not what it was. */
TEST(CatchingUp, NoticesThatTheSourceHasChanged)
{
    for (bool compresses : {true, false}) {
        Stepper stepper;
        stepper.host.map_limit = UINT64_MAX;
        stepper.submit(compresses
                           ? prepare_compress(stepper, CCAD_FORMAT_ZLIB, 1)
                           : prepare_decompress(stepper, CCAD_FORMAT_RAW));
        while (stepper.stats.get(CCAD_STAT_WRITE_LOCAL) < page) {
            ASSERT_NE(stepper.steps(1), Next::idle);
        }
        store(stepper.host, src_va + 7, random_bytes(page, 5));
        stepper.move();
        stepper.steps();
        EXPECT_EQ(stepper.record().status, CCAD_COMP_BAD_DATA);
    }
}

/* It is needed once more: asked for as ever, and not counted. */
TEST(CatchingUp, RequestsPages)
{
    Stepper stepper;
    ccad_desc desc = prepare_compress(stepper, CCAD_FORMAT_ZLIB, 0);
    stepper.submit(desc);
    stepper.steps(200);
    uint64_t translations = stepper.stats.get(CCAD_STAT_TRANSLATIONS);
    uint64_t clock = stepper.run->clock();
    auto bytes = load(stepper.host, src_va, page);
    stepper.host.unmap(pasid, src_va);
    stepper.move();
    ASSERT_EQ(stepper.steps(), Next::ask);
    EXPECT_EQ(stepper.run->miss().va, desc.src);
    stepper.move();
    ASSERT_EQ(stepper.steps(), Next::ask);
    stepper.host.populate(pasid, src_va, page);
    store(stepper.host, src_va, bytes);
    stepper.run->asked({Answer::success, 1});
    EXPECT_EQ(stepper.steps(2), Next::advance);
    EXPECT_EQ(stepper.stats.get(CCAD_STAT_TRANSLATIONS), translations);
    EXPECT_EQ(stepper.stats.get(CCAD_STAT_PAGE_REQUESTS), 0);
    EXPECT_EQ(stepper.run->clock(), clock);
    EXPECT_EQ(stepper.steps(), Next::idle);
    auto record = stepper.record();
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.page_requests, 0);
    EXPECT_EQ(reference_decompress(load(stepper.host, dst_va + 3,
                                        record.result),
                                   CCAD_FORMAT_ZLIB),
              plain(packed_len));
}

/* How far the first step gets that does something. */
uint64_t first_step(uint64_t left_ns, const Gate *gate)
{
    constexpr uint64_t va = 16 * huge;
    Stepper stepper;

    stepper.counters.stop();
    stepper.host.map_limit = UINT64_MAX;
    stepper.host.populate(pasid, va, huge, true, true, huge);
    stepper.submit(fill(va, huge, 7));
    for (;;) {
        stepper.step(left_ns, gate);
        auto now = stepper.run->in_flight();
        if (now && now->done) {
            return now->done;
        }
    }
}

TEST(LongStep, HasRoomInTheSlice)
{
    const uint64_t pair = longest_pair_ns(small_config().cost);

    EXPECT_EQ(first_step(0, nullptr), max_access);
    EXPECT_EQ(first_step(4 * pair - 1, nullptr), 3 * max_access);
    EXPECT_EQ(first_step(4 * pair, nullptr), 4 * max_access);
    EXPECT_EQ(first_step(UINT64_MAX, nullptr), huge);
}

TEST(LongStep, EndsForWhoWaitsForTheGate)
{
    Gate gate;

    gate.lock();
    EXPECT_EQ(first_step(UINT64_MAX, &gate), huge);
    std::thread other([&] { gate.pass(); });
    while (!gate.wanted()) {
        std::this_thread::yield();
    }
    EXPECT_EQ(first_step(UINT64_MAX, &gate), gate_interval);
    gate.unlock();
    other.join();
}

} // namespace

} // namespace ccad::test
