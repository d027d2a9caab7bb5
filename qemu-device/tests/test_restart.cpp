/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that begin anew because their state cannot be saved. */
#include "commands.hpp"
#include "run.hpp"
#include "zlib_reference.hpp"

namespace ccad::test {

namespace {

/* One run without a device around it, taken step by step. */
struct Stepper {
    Stepper()
    {
        ring = host.alloc(page);
        host.map(pasid, ring, ring, page);
        host.populate(pasid, src_va, len);
        host.populate(pasid, dst_va, room, true);
        run.start({.ring = ring, .shift = 4, .pasid = pasid});
    }

    void submit(ccad_desc desc)
    {
        desc.completion = ring + page - 64;
        std::memset(host.at(ring + page - 64), 0, 64);
        std::memcpy(host.at(ring + run.tail() % 16 * 64), &desc, 64);
        run.set_tail(run.tail() + 1);
    }
    /* What an engine would do; the last step's answer. */
    Next step()
    {
        Next next = run.advance();

        run.publish();
        if (next == Next::translate) {
            uint64_t va = run.miss().va & ~(page - 1);
            auto entry = host.walk(pasid, va);
            if (!entry) {
                entry = ccad_translation{va, 0, page, false, false};
            }
            run.translated(atc.generation(), std::span(&*entry, 1));
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
    ccad_completion record()
    {
        ccad_completion record;
        std::memcpy(&record, host.at(ring + page - 64), sizeof(record));
        return record;
    }
    ccad_completion finish()
    {
        EXPECT_EQ(steps(), Next::idle);
        EXPECT_NE(record().status, 0);
        return record();
    }

    static constexpr uint64_t len = 256 * 1024;
    static constexpr uint64_t room = 512 * 1024;

    const ccad_config config = small_config();
    FakeHost host;
    const ccad_host_ops ops = host.ops();
    Injection injection{config.injection};
    Host bound{ops, &host, injection};
    Atc atc{256, 4};
    Poison poison{FakeHost::local_size};
    Counters counters{16, 1};
    Stats stats;
    RunEnvironment environment{{bound, atc, poison, counters},
                               config.cost,
                               nullptr,
                               injection,
                               4};
    Run run{environment, 0, stats};
    uint64_t ring;
};

std::vector<uint8_t> plain()
{
    auto bytes = random_bytes(Stepper::len);
    for (size_t i = 0; i < bytes.size(); i += 3) {
        bytes[i] = 0;
    }
    return bytes;
}

/* Everything software sees of a command that warmed the ATC, run once more. */
struct Seen {
    explicit Seen(Stepper &stepper)
        : record(stepper.record()), clock(stepper.run.clock())
    {
        for (uint32_t stat = 0; stat < CCAD_STAT_COUNT * 8; stat += 8) {
            stats.push_back(stepper.stats.get(stat));
        }
    }

    bool operator==(const Seen &other) const
    {
        return !std::memcmp(&record, &other.record, sizeof(record)) &&
               clock == other.clock && stats == other.stats;
    }

    ccad_completion record;
    uint64_t clock;
    std::vector<uint64_t> stats;
};

TEST(Restart, OfACompressionLeavesNoTrace)
{
    ccad_desc desc = compress(src_va, Stepper::len, dst_va, Stepper::room);

    auto seen = [&](std::vector<unsigned> stops) {
        Stepper stepper;
        store(stepper.host, src_va, plain());
        stepper.submit(desc);
        stepper.finish();
        stepper.submit(desc);
        for (unsigned stop : stops) {
            EXPECT_EQ(stepper.steps(stop), Next::advance);
            EXPECT_GT(stepper.stats.get(CCAD_STAT_READ_SYSTEM),
                      Stepper::len + 128);
            stepper.run.restart_unsavable();
            EXPECT_EQ(stepper.stats.get(CCAD_STAT_READ_SYSTEM),
                      Stepper::len + 128)
                << "the first, and both descriptors";
        }
        auto record = stepper.finish();
        EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
        EXPECT_EQ(reference_decompress(
                      load(stepper.host, dst_va, record.result),
                      CCAD_FORMAT_ZLIB),
                  plain());
        EXPECT_THAT(stepper.host.violations(), testing::IsEmpty());
        return Seen(stepper);
    };

    Seen once = seen({});
    EXPECT_TRUE(seen({5}) == once);
    EXPECT_TRUE(seen({60, 2, 17}) == once);
}

TEST(Restart, OfADecompressionGivesTheSame)
{
    auto packed = reference_compress(plain(), CCAD_FORMAT_GZIP);
    Stepper stepper;
    store(stepper.host, src_va, packed);
    stepper.submit(decompress(src_va, packed.size(), dst_va, Stepper::room,
                              CCAD_FORMAT_GZIP));
    for (unsigned stop : {30, 10, 40}) {
        stepper.steps(stop);
        stepper.run.restart_unsavable();
    }

    auto record = stepper.finish();
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.bytes_done, packed.size());
    EXPECT_EQ(load(stepper.host, dst_va, Stepper::len), plain());
}

/* Its answer is for nobody, and does no harm. */
TEST(Restart, ForgetsAPageRequest)
{
    Stepper stepper;
    store(stepper.host, src_va, plain());
    stepper.host.unmap(pasid, src_va + 100 * 1024);
    stepper.submit(compress(src_va, Stepper::len, dst_va, Stepper::room));
    ASSERT_EQ(stepper.steps(), Next::ask);

    stepper.run.restart_unsavable();
    EXPECT_EQ(stepper.stats.get(CCAD_STAT_READ_SYSTEM), 64);
    stepper.run.asked({Answer::failure, 1});
    stepper.host.populate(pasid, src_va, Stepper::len);
    auto record = stepper.finish();
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.page_requests, 0);
}

/* What can be saved goes on where it is. */
TEST(Restart, IsForThoseThatNeedIt)
{
    Stepper stepper;
    stepper.submit(reduce(src_va, Stepper::len, CCAD_REDUCE_SUM,
                          CCAD_TYPE_INT32));
    stepper.steps(40);
    uint64_t before = stepper.stats.get(CCAD_STAT_READ_SYSTEM);
    ASSERT_GT(before, page);
    stepper.run.restart_unsavable();
    EXPECT_EQ(stepper.stats.get(CCAD_STAT_READ_SYSTEM), before);
    EXPECT_EQ(stepper.finish().status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(stepper.stats.get(CCAD_STAT_READ_SYSTEM), Stepper::len + 64);
}

} // namespace

} // namespace ccad::test
