/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Faults and delays of translations, page requests and commands on purpose. */
#include "injection.hpp"

#include "device.hpp"

namespace ccad::test {

namespace {

using testing::IsEmpty;

constexpr uint32_t always = 1'000'000;

TEST(InjectionDraw, DelaysAreWithinTheirLimit)
{
    ccad_injection config{};
    config.seed = 7;
    config.delay_command = always;
    config.delay_us = 10;
    Injection injection(config);
    std::set<uint64_t> lengths;

    for (int i = 0; i < 1000; i++) {
        lengths.insert(injection.delay_ns(Failure::delay_command));
    }
    EXPECT_EQ(*lengths.begin(), 1000);
    EXPECT_EQ(*lengths.rbegin(), 10'000);
    EXPECT_EQ(lengths.size(), 10);
    EXPECT_EQ(injection.delay_ns(Failure::delay_translation), 0);
}

class BadFault
    : public testing::TestWithParam<
          std::tuple<uint32_t ccad_injection::*, uint32_t, const char *>> {};

TEST_P(BadFault, IsRefusedByName)
{
    auto [field, most, name] = GetParam();
    ccad_config config = small_config();

    config.injection.*field = most;
    EXPECT_EQ(ccad_config_check(&config), nullptr);
    config.injection.*field = most + 1;
    EXPECT_THAT(ccad_config_check(&config), testing::HasSubstr(name));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadFault,
    testing::Values(
        std::tuple{&ccad_injection::fault_translation, always,
                   "x-fault-translation"},
        std::tuple{&ccad_injection::fault_page_request, always,
                   "x-fault-page-request"},
        std::tuple{&ccad_injection::fault_command, always, "x-fault-command"},
        std::tuple{&ccad_injection::delay_translation, always,
                   "x-delay-translation"},
        std::tuple{&ccad_injection::delay_page_request, always,
                   "x-delay-page-request"},
        std::tuple{&ccad_injection::delay_command, always, "x-delay-command"},
        std::tuple{&ccad_injection::delay_us, 10'000'000u, "x-delay-us"}));

/* A device with one failure, of a probability, and two contexts. */
struct Injected {
    Injected(uint32_t ccad_injection::*kind, uint32_t probability)
        : device(config(kind, probability))
    {
        device.enable();
        host.populate(pasid, src_va, 64 * page);
        host.add_region(pasid, {dst_va, 64 * page});
    }
    ~Injected() { EXPECT_THAT(host.violations(), IsEmpty()); }

    static ccad_config config(uint32_t ccad_injection::*kind,
                              uint32_t probability)
    {
        ccad_config config = small_config();
        config.engines = 1;
        config.injection.seed = 99;
        config.injection.delay_us = 1000;
        config.injection.*kind = probability;
        return config;
    }

    Device device;
    FakeHost &host = device.host;
    Queue queue = device.queue();
};

TEST(InjectedFault, OfACommandEndsItBeforeItBegins)
{
    Injected with(&ccad_injection::fault_command, always);

    auto record = with.queue.run(fill(src_va, page, UINT64_MAX));
    EXPECT_EQ(record.status, CCAD_COMP_BUS_ERROR);
    EXPECT_EQ(record.fault_addr, 0);
    EXPECT_EQ(record.access, 0);
    EXPECT_EQ(record.bytes_done, 0);
    EXPECT_EQ(with.host.ptr(pasid, src_va)[0], 0);
    EXPECT_EQ(with.queue.stat(CCAD_STAT_ERRORS), 1);

    ccad_desc bad = nop();
    bad.opcode = 200;
    EXPECT_EQ(with.queue.run(bad).status, CCAD_COMP_INVALID_OPCODE)
        << "what is wrong anyway stays so";
    EXPECT_EQ(with.queue.state(), CCAD_CTX_ENABLED);
}

/* Those of the ring fail too, and stop the context; it can be cleared. */
TEST(InjectedFault, OfATranslationIsARefusal)
{
    Injected with(&ccad_injection::fault_translation, always);
    unsigned calls = with.host.translate_calls();

    with.queue.push(nop());
    with.queue.ring_doorbell();
    ASSERT_TRUE(
        eventually([&] { return with.queue.state() == CCAD_CTX_ERROR; }));
    EXPECT_EQ(with.queue.cause(), CCAD_CAUSE_RING);
    EXPECT_EQ(with.host.translate_calls(), calls) << "nobody was asked";
    EXPECT_EQ(with.queue.stat(CCAD_STAT_TRANSLATIONS), 1);
    with.queue.db(CCAD_DB_CLEAR, 1);
    EXPECT_EQ(with.queue.state(), CCAD_CTX_ENABLED);
}

/* One in five: every outcome is a good one or a page fault that is told. */
TEST(InjectedFault, OfSomeTranslationsAreToldExactly)
{
    Injected with(&ccad_injection::fault_translation, always / 5);
    unsigned faults = 0;
    unsigned good = 0;

    for (int i = 0; i < 200; i++) {
        if (with.queue.state() == CCAD_CTX_ERROR) {
            with.queue.db(CCAD_DB_CLEAR, 1);
            with.queue.tail(with.queue.db(CCAD_DB_TAIL));
        }
        ccad_core_invalidate(with.device.core(), pasid, false, src_va,
                             64 * page);
        uint32_t index = with.queue.submit(crc(src_va + 3, 40 * page));
        ASSERT_TRUE(eventually([&] {
            return with.queue.record(index).status ||
                   with.queue.state() == CCAD_CTX_ERROR;
        }));
        auto record = with.queue.record(index);
        if (record.status == CCAD_COMP_PAGE_FAULT) {
            faults++;
            EXPECT_EQ(record.access, CCAD_ACCESS_READ);
            EXPECT_EQ(record.fault_addr, src_va + 3 + record.bytes_done);
            EXPECT_EQ(record.page_requests, 0);
        } else if (record.status) {
            EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
            good++;
        }
    }
    EXPECT_GT(faults, 20u);
    EXPECT_GT(good, 20u);
}

TEST(InjectedFault, OfPageRequestsIsAFailure)
{
    Injected with(&ccad_injection::fault_page_request, always);

    auto record = with.queue.run(fill(dst_va + 7, 3 * page, 1));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_WRITE);
    EXPECT_EQ(record.fault_addr, dst_va + 7);
    EXPECT_EQ(record.page_requests, 4);
    EXPECT_EQ(with.queue.stat(CCAD_STAT_PAGE_FAILURES), 4);
    EXPECT_EQ(with.host.page_request_count(), 0) << "nobody was asked";
    EXPECT_EQ(with.queue.run(crc(src_va, page)).status, CCAD_COMP_SUCCESS);
}

class InjectedDelay
    : public testing::TestWithParam<uint32_t ccad_injection::*> {
protected:
    static bool delayed(Injected &with, uint32_t context)
    {
        return with.device.info(context).place == CCAD_PLACE_DELAYED;
    }
    /* Some time after the other: several delays for one command. */
    static void pass(Injected &with, const std::function<bool()> &until)
    {
        ASSERT_TRUE(eventually([&] {
            with.host.advance_time(std::chrono::microseconds(100));
            return until();
        }));
    }
};

TEST_P(InjectedDelay, KeepsNobodyElseWaiting)
{
    Injected with(GetParam(), always);

    uint32_t index = with.queue.submit(fill(dst_va, 3 * page, 1));
    pass(with, [&] { return delayed(with, 0); });
    /* There is one engine, and gates and locks are free. */
    Queue other = with.device.queue(1, pasid);
    ccad_core_invalidate(with.device.core(), 0, true, 0, 0);
    uint32_t second = other.submit(nop());
    EXPECT_TRUE(eventually(
        [&] { return other.record(second).status || delayed(with, 1); }));
    EXPECT_EQ(with.queue.record(index).status, CCAD_COMP_NONE);

    pass(with, [&] {
        return with.queue.record(index).status && other.record(second).status;
    });
    EXPECT_EQ(with.queue.record(index).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(other.record(second).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(with.host.timer_ns(), UINT64_MAX) << "and nothing else is due";
}

TEST_P(InjectedDelay, EndsWithTheContext)
{
    Injected with(GetParam(), always);

    with.queue.submit(fill(dst_va, 3 * page, 1));
    pass(with, [&] { return delayed(with, 0); });
    with.queue.disable();
    EXPECT_EQ(with.queue.state(), CCAD_CTX_DISABLED);
    EXPECT_FALSE(delayed(with, 0));
    with.queue.enable();
    with.queue.submit(fill(dst_va, 3 * page, 1));
    pass(with, [&] { return delayed(with, 0); });
    with.device.reset();
    EXPECT_FALSE(delayed(with, 0));
    with.host.advance_time(std::chrono::seconds(1));

    with.device.enable();
    with.queue.enable();
    uint32_t index = with.queue.submit(crc(src_va, page));
    pass(with, [&] { return with.queue.record(index).status; });
    EXPECT_EQ(with.queue.record(index).status, CCAD_COMP_SUCCESS);
}

INSTANTIATE_TEST_SUITE_P(Kinds, InjectedDelay,
                         testing::Values(&ccad_injection::delay_translation,
                                         &ccad_injection::delay_page_request,
                                         &ccad_injection::delay_command));

/* Delays are of the host's time: the device's does not know of them. */
TEST(InjectedDelays, AreNotDeviceTime)
{
    auto measure = [](uint32_t probability) {
        Injected with(&ccad_injection::delay_translation, probability);
        uint32_t index = with.queue.submit(copy(src_va, dst_va, 32 * page));
        EXPECT_TRUE(eventually([&] {
            with.host.advance_time(std::chrono::microseconds(100));
            return with.queue.record(index).status;
        }));
        return with.queue.record(index).device_ns;
    };
    EXPECT_EQ(measure(always / 2), measure(0));
}

} // namespace

} // namespace ccad::test
