/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Device time. */
#include "cost.hpp"

#include "counting.hpp"
#include "device.hpp"

namespace ccad::test {

namespace {

const ccad_cost cost = small_config().cost;

/* MiB/s, rounded up once. */
uint64_t transfer(uint64_t bytes, uint64_t mbps)
{
    return (bytes * 1'000'000'000 + (mbps << 20) - 1) / (mbps << 20);
}

TEST(Cost, AddsUpWhatIsCharged)
{
    Meter meter;
    EXPECT_EQ(device_ns(cost, meter), 0);
    meter.local.count(4096, false);
    EXPECT_EQ(device_ns(cost, meter), 100 + transfer(4096, 10000));
    meter.system.count(4096, true);
    meter.system.count(1, false);
    EXPECT_EQ(device_ns(cost, meter), 100 + transfer(4096, 10000) +
                                          2 * 500 + transfer(4097, 1000));
    meter.translations = 3;
    meter.page_requests = 7;
    meter.page_groups = 2;
    EXPECT_EQ(device_ns(cost, meter),
              100 + transfer(4096, 10000) + 2 * 500 + transfer(4097, 1000) +
                  3 * 1000 + 2 * 20000);
    meter.atc_hits = 1000;
    meter.page_failures = 1000;
    EXPECT_EQ(device_ns(cost, meter),
              100 + transfer(4096, 10000) + 2 * 500 + transfer(4097, 1000) +
                  3 * 1000 + 2 * 20000)
        << "hits are free";
}

TEST(Cost, NoBandwidthIsNoCharge)
{
    ccad_cost free{};
    Meter meter;
    meter.local.count(UINT64_MAX, false);
    EXPECT_EQ(device_ns(free, meter), 0);
}

TEST(Cost, DoesNotWrap)
{
    ccad_cost dear{};
    dear.system_mbps = 1;
    dear.translation_ns = UINT32_MAX;
    Meter meter;
    meter.system.count(UINT64_MAX, false);
    meter.translations = UINT64_MAX;
    EXPECT_EQ(device_ns(dear, meter), UINT64_MAX);
}

class DeviceTime : public DeviceTest {
protected:
    Queue queue = device.queue();
};

TEST_F(DeviceTime, OfACopyToTheNanosecond)
{
    host.populate(pasid, src_va, 3 * page);
    host.populate(pasid, dst_va, 3 * page, true);
    constexpr uint64_t len = 3 * page;
    uint64_t accesses = 3 * 500 + transfer(len, 1000) + 3 * 100 +
                        transfer(len, 10000);

    EXPECT_EQ(queue.run(copy(src_va, dst_va, len)).device_ns,
              accesses + 2 * 1000)
        << "a translation each";
    EXPECT_EQ(queue.run(copy(src_va, dst_va, len)).device_ns, accesses);
}

/*
 * Of 64 KiB at the most, within one translation, and however the host maps
 * them: in a long slice the engine makes several in one step, but not if
 * somebody counts them.
 */
class LongSteps : public testing::TestWithParam<uint64_t> {};

TEST_P(LongSteps, CostWhatTheirAccessesCost)
{
    ccad_config config = small_config();
    config.slice_ns = 100'000'000;
    Device device(config);
    FakeHost &host = device.host;
    device.enable();
    Queue queue = device.queue();
    CounterDriver counters(device);
    constexpr uint64_t edge = dst_va + huge;
    host.populate(pasid, dst_va, huge, true, true, huge);
    host.populate(pasid, edge, page, true);
    host.populate(pasid, src_va, huge, true, true, huge);

    host.map_limit = GetParam();
    const uint64_t most = std::min<uint64_t>(GetParam(), max_access);
    auto accesses = [&](uint64_t len) { return (len + most - 1) / most; };
    for (uint64_t ahead : {1, 65'536, 65'537, 300'000, 1'000'000}) {
        SCOPED_TRACE(ahead);
        for (bool counted : {false, true}) {
            SCOPED_TRACE(counted);
            if (counted) {
                counters.start({});
            }
            const ccad_desc over = fill(edge - ahead, ahead + 10, 7);
            queue.run(over);
            auto filled = queue.run(over);
            EXPECT_EQ(filled.device_ns, (accesses(ahead) + 1) * 100 +
                                            transfer(ahead + 10, 10000));
            EXPECT_EQ(filled.atc_hits, accesses(ahead) + 1);

            const ccad_desc pair = copy(src_va + 1, dst_va + 5, ahead);
            queue.run(pair);
            auto copied = queue.run(pair);
            EXPECT_EQ(copied.device_ns, 2 * accesses(ahead) * 100 +
                                            transfer(2 * ahead, 10000));
            EXPECT_EQ(copied.atc_hits, 2 * accesses(ahead));
            counters.stop();
        }
    }
    EXPECT_THAT(host.violations(), testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(LongestMapping, LongSteps,
                         testing::Values(UINT64_MAX, 100'000, 10'000));

TEST_F(DeviceTime, OfAPageRequest)
{
    host.add_region(pasid, {src_va, page});

    EXPECT_EQ(queue.run(crc(src_va, 1)).device_ns,
              20000 + 2 * 1000 + 500 + transfer(1, 1000));
}

TEST_F(DeviceTime, LocalMemoryIsNearer)
{
    host.populate(pasid, src_va, 16 * page);
    host.populate(pasid, dst_va, 16 * page, true);

    auto far = queue.run(crc(src_va, 16 * page));
    auto near = queue.run(crc(dst_va, 16 * page));
    EXPECT_LT(near.device_ns, far.device_ns);
    EXPECT_EQ(far.bytes_local, 0);
    EXPECT_EQ(near.bytes_local, 16 * page);
}

TEST_F(DeviceTime, OfAContextIsThatOfItsCommandsAndTheirCarrying)
{
    host.populate(pasid, src_va, page);
    queue.run(nop());
    uint64_t before = queue.stat(CCAD_STAT_DEVICE_NS);
    uint64_t operands = queue.run(crc(src_va, page)).device_ns;

    /* One descriptor read, one record written. */
    EXPECT_EQ(queue.stat(CCAD_STAT_DEVICE_NS) - before,
              operands + 2 * 500 + transfer(128, 1000));
    EXPECT_EQ(device.stat(CCAD_STAT_DEVICE_NS),
              queue.stat(CCAD_STAT_DEVICE_NS));
}

/* The same commands, whatever the engines and whoever else is about. */
std::vector<uint64_t> times(uint32_t engines, bool company)
{
    ccad_config config = small_config();
    config.engines = engines;
    config.atc_sets = 1024; /* room for both */
    Device device(config);
    FakeHost &host = device.host;
    device.enable();
    Queue queue = device.queue(0);
    Queue other = device.queue(1, pasid + 1);
    host.populate(pasid, src_va, 300 * page);
    host.populate(pasid, dst_va, huge, true, true, huge);
    host.add_region(pasid + 1, {src_va, 64 * page});
    host.add_region(pasid, {src_va + 512 * page, 64 * page});

    std::vector<uint64_t> result;
    for (int round = 0; round < 4; round++) {
        if (company) {
            other.submit(crc(src_va, 64 * page));
        }
        for (ccad_desc desc :
             {copy(src_va + 7, dst_va + 9, 299 * page),
              fill(src_va + 3, 200 * page, round),
              crc(src_va + 512 * page, 10 * page),
              crc(dst_va + 100, huge - 100)}) {
            result.push_back(queue.run(desc).device_ns);
        }
    }
    result.push_back(queue.stat(CCAD_STAT_DEVICE_NS));
    return result;
}

TEST(Determinism, DeviceTimeDoesNotDependOnThreads)
{
    auto expected = times(1, false);

    for (uint32_t engines : {1, 2, 5}) {
        EXPECT_EQ(times(engines, false), expected) << engines;
        EXPECT_EQ(times(engines, true), expected) << engines;
    }
}

} // namespace

} // namespace ccad::test
