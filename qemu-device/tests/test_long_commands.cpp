/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Long commands of each engine, with the time slices of another context. */
#include <numeric>
#include <random>

#include "commands.hpp"
#include "zlib_reference.hpp"

namespace ccad::test {

namespace {

constexpr uint64_t area = 2 * huge;

ccad_config one_engine()
{
    ccad_config config = small_config();
    config.engines = 1;
    return config;
}

/* Prepares memory, and says what to do with it. */
struct Long {
    const char *name;
    ccad_desc (*prepare)(FakeHost &host);
};

std::ostream &operator<<(std::ostream &os, const Long &command)
{
    return os << command.name;
}

ccad_desc long_compare(FakeHost &host)
{
    auto bytes = random_bytes(area);

    store(host, src_va, bytes);
    store(host, dst_va, bytes);
    return compare(src_va + 3, dst_va + 3, area - 3);
}

ccad_desc long_reduce(FakeHost &host)
{
    std::mt19937 random(1);
    std::vector<double> values(area / 8);
    for (double &value : values) {
        value = std::ldexp(double(random()), static_cast<int>(random() % 40));
    }
    store(host, src_va, bytes_of(values));
    return reduce(src_va, area, CCAD_REDUCE_SUM, CCAD_TYPE_DOUBLE);
}

ccad_desc long_gather(FakeHost &host)
{
    std::mt19937 random(2);
    std::vector<uint32_t> indices(20'000);
    for (uint32_t &index : indices) {
        index = random() % (area / 16 - 1);
    }
    store(host, src_va + 1, bytes_of(indices));
    store(host, table_va, random_bytes(area));
    return gather(src_va + 1, indices.size() * 4, table_va + 7, dst_va + 5, 4);
}

ccad_desc long_list_walk(FakeHost &host)
{
    std::vector<uint64_t> order(10'000);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(3));
    for (size_t i = 0; i < order.size(); i++) {
        uint64_t next =
            i + 1 < order.size() ? src_va + order[i + 1] * 400 + 4 : 0;
        store_value<uint64_t>(host, src_va + order[i] * 400 + 4, next);
        store_value<int64_t>(host, src_va + order[i] * 400 + 4 + 100,
                             static_cast<int64_t>(i * i));
    }
    return list_walk(src_va + order[0] * 400 + 4, order.size(),
                     CCAD_REDUCE_SUM, CCAD_TYPE_INT64, 0, 100);
}

ccad_desc long_compress(FakeHost &host)
{
    store(host, src_va, random_bytes(area / 4));
    return compress(src_va, area / 4, dst_va, area, CCAD_FORMAT_RAW, 1);
}

ccad_desc long_decompress(FakeHost &host)
{
    auto packed = reference_compress(random_bytes(area / 4), CCAD_FORMAT_GZIP);

    store(host, src_va, packed);
    return decompress(src_va, packed.size(), dst_va, area, CCAD_FORMAT_GZIP);
}

class LongCommands : public testing::TestWithParam<Long> {
protected:
    LongCommands()
    {
        host.on_map = [this](uint64_t, bool) {
            if (armed && ++accesses == 20) {
                barrier.pass();
            }
        };
        host.on_trace = [this](ccad_step step, uint32_t context, uint64_t,
                               uint64_t, uint64_t) {
            if (armed && step == CCAD_STEP_COMPLETE) {
                ended.push_back(context);
            }
        };
        device.enable();
        for (uint64_t va : {src_va, dst_va, table_va}) {
            host.populate(pasid, va, area, false, true, huge);
        }
    }

    /* Once armed, the engine is held up in the middle of the command. */
    std::atomic<bool> armed{false};
    std::atomic<int> accesses{0};
    std::vector<uint32_t> ended; /* contexts, in order, since then */
    Barrier barrier;
    Device device{one_engine()};
    FakeHost &host = device.host;
};

/* What it gives, and what it costs, does not depend on who runs between. */
TEST_P(LongCommands, AreInterruptedWithoutATrace)
{
    Queue queue = device.queue(0);
    Queue other = device.queue(1, pasid + 1);
    ccad_desc desc = GetParam().prepare(host);
    other.run(nop());
    queue.run(desc); /* its pages are in the ATC now */
    auto alone = queue.run(desc);
    ASSERT_EQ(alone.status, CCAD_COMP_SUCCESS);
    ASSERT_GT(alone.device_ns, 5 * small_config().slice_ns);
    auto output = load(host, dst_va, area);

    armed = true;
    uint32_t index = queue.submit(desc);
    ASSERT_TRUE(barrier.reached());
    uint32_t short_one = other.submit(nop());
    barrier.open();
    EXPECT_EQ(other.wait(short_one).status, CCAD_COMP_SUCCESS);
    auto record = queue.wait(index);

    EXPECT_THAT(ended, testing::ElementsAre(1, 0));
    EXPECT_EQ(record.status, alone.status);
    EXPECT_EQ(record.result, alone.result);
    EXPECT_EQ(record.bytes_done, alone.bytes_done);
    EXPECT_EQ(record.device_ns, alone.device_ns);
    EXPECT_EQ(record.atc_hits, alone.atc_hits);
    EXPECT_EQ(load(host, dst_va, area), output);
    EXPECT_THAT(host.violations(), testing::IsEmpty());
}

/* Stopped in the middle, it says so, and another one is not confused by it. */
TEST_P(LongCommands, AreAborted)
{
    Queue queue = device.queue(0);
    ccad_desc desc = GetParam().prepare(host);
    queue.run(desc);
    auto whole = queue.run(desc);

    armed = true;
    uint32_t index = queue.submit(desc);
    ASSERT_TRUE(barrier.reached());
    std::thread disabler([&] { queue.disable(); });
    barrier.open();
    disabler.join();
    auto record = queue.record(index);
    EXPECT_TRUE(record.status == CCAD_COMP_ABORTED ||
                record.status == CCAD_COMP_SUCCESS);
    EXPECT_LE(record.bytes_done, whole.bytes_done);

    queue.enable();
    auto again = queue.run(desc);
    EXPECT_EQ(again.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(again.result, whole.result);
}

INSTANTIATE_TEST_SUITE_P(
    Engines, LongCommands,
    testing::Values(Long{"compare", long_compare}, Long{"reduce", long_reduce},
                    Long{"gather", long_gather},
                    Long{"list walk", long_list_walk},
                    Long{"compress", long_compress},
                    Long{"decompress", long_decompress}));

} // namespace

} // namespace ccad::test
