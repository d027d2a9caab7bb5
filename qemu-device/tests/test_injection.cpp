/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Failures on purpose: how they are drawn, lost records, lost interrupts. */
#include "injection.hpp"

#include <cmath>

#include "device.hpp"

namespace ccad::test {

namespace {

std::vector<bool> strikes(Injection &injection, Failure kind, unsigned n)
{
    std::vector<bool> result;

    while (n--) {
        result.push_back(injection.strikes(kind));
    }
    return result;
}

ccad_injection losing(uint32_t per_million, uint64_t seed = 1)
{
    ccad_injection injection{};

    injection.seed = seed;
    injection.lose_completion = per_million;
    injection.lose_interrupt = per_million;
    return injection;
}

TEST(InjectionDraw, StrikesAsOftenAsItIsTold)
{
    for (uint32_t per_million : {0u, 1000u, 100'000u, 500'000u, 1'000'000u}) {
        Injection injection(losing(per_million));
        auto result = strikes(injection, Failure::lose_completion, 100'000);
        double expected = per_million / 10.0;
        /* Six standard deviations of a binomial distribution. */
        double deviation =
            6 * std::sqrt(expected * (1 - per_million / 1'000'000.0));
        EXPECT_NEAR(std::count(result.begin(), result.end(), true), expected,
                    deviation)
            << per_million;
    }
}

TEST(InjectionDraw, RepeatsItselfWithTheSeed)
{
    Injection a(losing(300'000, 7));
    Injection b(losing(300'000, 7));
    Injection c(losing(300'000, 8));

    auto expected = strikes(a, Failure::lose_completion, 1000);
    EXPECT_EQ(strikes(b, Failure::lose_completion, 1000), expected);
    EXPECT_NE(strikes(c, Failure::lose_completion, 1000), expected);
}

TEST(InjectionDraw, OfOneKindIsNotDisturbedByAnother)
{
    Injection alone(losing(300'000));
    Injection mixed(losing(300'000));
    std::vector<bool> result;

    auto expected = strikes(alone, Failure::lose_completion, 1000);
    for (int i = 0; i < 1000; i++) {
        strikes(mixed, Failure::lose_interrupt, i % 3);
        result.push_back(mixed.strikes(Failure::lose_completion));
    }
    EXPECT_EQ(result, expected);
    EXPECT_NE(strikes(alone, Failure::lose_interrupt, 1000), expected);
}

ccad_config config_with(const ccad_injection &injection)
{
    ccad_config config = small_config();
    config.injection = injection;
    return config;
}

TEST(LostCompletion, IsNotWrittenAndItsCommandCounts)
{
    ccad_injection injection{};
    injection.lose_completion = Injection::one_million;
    Device device(config_with(injection));
    device.enable();
    Queue queue = device.queue();
    ccad_desc desc = nop();
    desc.flags = CCAD_DESC_INTERRUPT;

    uint32_t index = queue.submit(desc);
    ASSERT_TRUE(
        eventually([&] { return queue.stat(CCAD_STAT_COMMANDS) == 1; }));
    EXPECT_TRUE(eventually([&] { return device.host.interrupts(1) == 1; }))
        << "the interrupt is not lost with it";
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_NONE);
    EXPECT_EQ(queue.stat(CCAD_STAT_ERRORS), 0);
    EXPECT_EQ(queue.state(), CCAD_CTX_ENABLED);
}

/* Which of n commands have a record, in one context. */
std::vector<bool> survivors(uint64_t seed, unsigned n)
{
    ccad_injection injection{};
    injection.seed = seed;
    injection.lose_completion = 300'000;
    Device device(config_with(injection));
    std::vector<bool> result;

    device.enable();
    Queue queue = device.queue(0, pasid, 8);
    for (unsigned i = 0; i < n; i++) {
        queue.push(nop());
    }
    queue.ring_doorbell();
    EXPECT_TRUE(
        eventually([&] { return queue.stat(CCAD_STAT_COMMANDS) == n; }));
    queue.disable(); /* the last record is written */
    for (unsigned i = 0; i < n; i++) {
        result.push_back(queue.record(i).status == CCAD_COMP_SUCCESS);
    }
    return result;
}

TEST(LostCompletion, IsTheSameOneInEveryRun)
{
    auto first = survivors(5, 200);

    EXPECT_THAT(first, testing::AllOf(testing::Contains(true),
                                      testing::Contains(false)));
    EXPECT_EQ(survivors(5, 200), first);
    EXPECT_NE(survivors(6, 200), first);
}

TEST(LostInterrupt, IsNotRaisedAndTheEventStays)
{
    ccad_injection injection{};
    injection.lose_interrupt = Injection::one_million;
    Device device(config_with(injection));
    device.enable();
    Queue queue = device.queue();
    ccad_desc desc = nop();
    desc.flags = CCAD_DESC_INTERRUPT;

    EXPECT_EQ(queue.run(desc).status, CCAD_COMP_SUCCESS);
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_CTX_ERROR);
    queue.db(CCAD_DB_TAIL, 1000);
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), CCAD_EVENT_CTX_ERROR);
    queue.disable();
    for (uint32_t vector = 0; vector < 5; vector++) {
        EXPECT_EQ(device.host.interrupts(vector), 0) << vector;
    }
}

class BadInjection
    : public testing::TestWithParam<
          std::pair<uint32_t ccad_injection::*, const char *>> {};

TEST_P(BadInjection, IsRefusedByName)
{
    auto [field, name] = GetParam();
    ccad_config config = small_config();

    config.injection.*field = 1'000'000;
    EXPECT_EQ(ccad_config_check(&config), nullptr);
    config.injection.*field = 1'000'001;
    ASSERT_NE(ccad_config_check(&config), nullptr);
    EXPECT_THAT(ccad_config_check(&config), testing::HasSubstr(name));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadInjection,
    testing::Values(
        std::pair{&ccad_injection::lose_completion, "x-lose-completion"},
        std::pair{&ccad_injection::lose_interrupt, "x-lose-interrupt"}));

} // namespace

} // namespace ccad::test
