/* SPDX-License-Identifier: GPL-2.0-or-later */
/* BAR0 as software sees it, without running commands. */
#include <tuple>

#include "device.hpp"
#include "halves.hpp"

namespace ccad::test {

namespace {

constexpr uint64_t all_ones[] = {0, 0xff, 0xffff, 0, 0xffffffff, 0, 0, 0,
                                 UINT64_MAX};

class Registers : public testing::Test {
protected:
    Device device;
};

TEST_F(Registers, Identity)
{
    EXPECT_EQ(device.read(CCAD_REG_ID, 4), CCAD_ID);
    EXPECT_EQ(device.read(CCAD_REG_VERSION, 4), CCAD_VERSION);
    EXPECT_EQ(device.read(CCAD_REG_MEM_SIZE), FakeHost::local_size);
    EXPECT_EQ(device.read(CCAD_REG_CAPS),
              4u << CCAD_CAPS_CONTEXTS_SHIFT | 2u << CCAD_CAPS_ENGINES_SHIFT |
                  CCAD_RING_SHIFT_MAX << CCAD_CAPS_RING_SHIFT |
                  uint64_t{1024} << CCAD_CAPS_COUNTERS_SHIFT);
    EXPECT_EQ(device.read(CCAD_REG_OPCODES),
              (1 << (CCAD_OP_COPY_PAGES + 1)) - 1);
}

TEST_F(Registers, ReadOnlyOnesIgnoreWrites)
{
    for (uint64_t reg : {CCAD_REG_ID, CCAD_REG_VERSION, CCAD_REG_STATUS,
                         CCAD_CTX(0) + CCAD_CTX_STATUS,
                         CCAD_DOORBELL(0) + CCAD_DB_HEAD,
                         CCAD_DOORBELL(0) + CCAD_DB_STATUS}) {
        uint64_t before = device.read(reg, 4);
        device.write(reg, ~before);
        EXPECT_EQ(device.read(reg, 4), before) << std::hex << reg;
    }
    for (uint64_t reg : {CCAD_REG_CAPS, CCAD_REG_OPCODES, CCAD_REG_MEM_SIZE,
                         CCAD_REG_STATS, CCAD_DOORBELL(0) + CCAD_DB_STATS}) {
        uint64_t before = device.read(reg);
        device.write(reg, ~before, 8);
        EXPECT_EQ(device.read(reg), before) << std::hex << reg;
    }
}

TEST_F(Registers, WideOnesCanBeReadInHalves)
{
    for (uint64_t reg : {CCAD_REG_CAPS, CCAD_REG_OPCODES, CCAD_REG_MEM_SIZE}) {
        uint64_t low = device.read(reg, 4);
        uint64_t high = device.read(reg + 4, 4);
        EXPECT_EQ(high << 32 | low, device.read(reg)) << std::hex << reg;
    }
}

TEST_F(Registers, RingIsWrittenWholeOrInHalves)
{
    uint64_t ring = CCAD_CTX(1) + CCAD_CTX_RING;

    device.write(ring, 0x1122334455667000, 8);
    EXPECT_EQ(device.read(ring), 0x1122334455667000);
    device.write(ring, 0xaabbc000, 4);
    EXPECT_EQ(device.read(ring), 0x11223344aabbc000);
    device.write(ring + 4, 0xdeadbeef, 4);
    EXPECT_EQ(device.read(ring), 0xdeadbeefaabbc000);
    EXPECT_EQ(device.read(ring, 4), 0xaabbc000);
    EXPECT_EQ(device.read(ring + 4, 4), 0xdeadbeef);
}

/* The value of a moment, although it counts on in between. */
TEST(HalvesTest, HighHalfBelongsToTheLowHalfReadBefore)
{
    Halves halves;

    EXPECT_EQ(halves.low(0x10, 0x1'ffffffff), 0xffffffff);
    EXPECT_EQ(halves.high(0x10, 0x2'00000000), 1);
    EXPECT_EQ(halves.high(0x10, 0x3'00000000), 3) << "held once only";
    halves.low(0x10, 0x1'ffffffff);
    EXPECT_EQ(halves.high(0x18, 0x7'00000000), 7) << "of another register";
}

/* Each descriptor and each record costs nearly 2^32 ns: both halves move. */
TEST(HalvesTest, CountersAreReadAsOfTheLowHalf)
{
    ccad_config config = small_config();
    config.cost.system_latency_ns = UINT32_MAX;
    Device device(config);
    device.enable();
    Queue queue = device.queue();

    for (uint64_t reg : {CCAD_REG_STATS + CCAD_STAT_DEVICE_NS,
                         CCAD_DOORBELL(0) + CCAD_DB_STATS +
                             CCAD_STAT_DEVICE_NS}) {
        queue.run(nop());
        uint64_t whole = device.read(reg);
        uint64_t low = device.read(reg, 4);
        queue.run(nop());
        ASSERT_NE(device.read(reg) >> 32, whole >> 32);
        EXPECT_EQ(device.read(reg + 4, 4) << 32 | low, whole);
    }
}

struct Access {
    uint64_t offset;
    unsigned size;
};

class ForbiddenAccess : public Registers,
                        public testing::WithParamInterface<Access> {};

TEST_P(ForbiddenAccess, ReadsAllOnesAndWritesNothing)
{
    auto [offset, size] = GetParam();
    uint64_t context = CCAD_CTX(0) + CCAD_CTX_PASID;
    device.write(context, 0x12345);

    EXPECT_EQ(device.read(offset, size), all_ones[size]);
    device.write(offset, 1, size);
    EXPECT_EQ(device.read(CCAD_REG_CTRL, 4), 0);
    EXPECT_EQ(device.read(CCAD_REG_EVENT_MASK, 4), 0);
    EXPECT_EQ(device.read(context, 4), 0x12345);
    EXPECT_EQ(device.read(CCAD_CTX(0) + CCAD_CTX_CTRL, 4), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Widths, ForbiddenAccess,
    testing::Values(Access{CCAD_REG_CTRL, 1}, Access{CCAD_REG_CTRL, 2},
                    Access{CCAD_REG_CTRL, 8}, Access{CCAD_REG_CTRL + 2, 2},
                    Access{CCAD_REG_CTRL + 2, 4}, Access{CCAD_REG_ID, 8},
                    Access{CCAD_REG_EVENT, 8}, Access{CCAD_REG_CAPS + 4, 8},
                    Access{CCAD_REG_CAPS + 2, 4}, Access{CCAD_REG_CAPS, 1},
                    Access{CCAD_REG_STATS + 4, 8},
                    Access{CCAD_CTX(0) + CCAD_CTX_CTRL, 8},
                    Access{CCAD_CTX(0) + CCAD_CTX_PASID, 1},
                    Access{CCAD_CTX(0) + CCAD_CTX_PASID, 8},
                    Access{CCAD_CTX(0) + CCAD_CTX_RING + 4, 8},
                    /* One half of it is a register. */
                    Access{CCAD_CTX(0) + CCAD_CTX_RING_SHIFT, 8},
                    Access{CCAD_DOORBELL(0) + CCAD_DB_TAIL, 8},
                    Access{CCAD_DOORBELL(0) + CCAD_DB_TAIL, 2},
                    /* Also where nothing is. */
                    Access{0x1000, 1}, Access{0x1002, 4},
                    Access{CCAD_DOORBELL(99), 2}));

class Reserved : public Registers,
                 public testing::WithParamInterface<uint64_t> {};

TEST_P(Reserved, ReadsZeroAndIgnoresWrites)
{
    for (unsigned size : {4, 8}) {
        device.write(GetParam(), UINT64_MAX, size);
        EXPECT_EQ(device.read(GetParam(), size), 0);
    }
}

INSTANTIATE_TEST_SUITE_P(
    Places, Reserved,
    testing::Values(0x38, 0xf8, CCAD_REG_STATS + 8 * CCAD_STAT_COUNT, 0x1000,
                    CCAD_CTX_BASE - 8, CCAD_CTX(0) + 0x28,
                    CCAD_CTX(0) + CCAD_CTX_STRIDE - 8, CCAD_CTX(4),
                    CCAD_CTX(4) + CCAD_CTX_RING, CCAD_DOORBELL(0) + 0x18,
                    CCAD_DOORBELL(0) + CCAD_DB_STATS + 8 * CCAD_STAT_COUNT,
                    CCAD_DOORBELL(0) + CCAD_DOORBELL_STRIDE - 8,
                    CCAD_DOORBELL(4), CCAD_DOORBELL(1023)));

TEST_F(Registers, PastTheEndReadsZero)
{
    EXPECT_EQ(device.read(ccad_bar_size(4) + 8), 0);
    EXPECT_EQ(device.read(UINT64_MAX - 7), 0);
}

TEST_F(Registers, ReservedBitsReadZero)
{
    device.write(CCAD_CTX(0) + CCAD_CTX_PASID, 0xffffffff);
    EXPECT_EQ(device.read(CCAD_CTX(0) + CCAD_CTX_PASID, 4), CCAD_PASID_MAX);
    device.write(CCAD_REG_EVENT_MASK, 0xffffffff);
    EXPECT_EQ(device.read(CCAD_REG_EVENT_MASK, 4),
              CCAD_EVENT_CTX_ERROR | CCAD_EVENT_POISON | CCAD_EVENT_COUNTERS);
    device.write(CCAD_REG_CTRL, ~CCAD_CTRL_RESET & 0xffffffff);
    EXPECT_EQ(device.read(CCAD_REG_CTRL, 4), CCAD_CTRL_ENABLE);
    EXPECT_EQ(device.read(CCAD_DOORBELL(0) + CCAD_DB_CLEAR, 4), 0);
}

TEST_F(Registers, EnableShowsInStatus)
{
    EXPECT_EQ(device.read(CCAD_REG_STATUS, 4), 0);
    device.enable();
    EXPECT_EQ(device.read(CCAD_REG_STATUS, 4), CCAD_STATUS_READY);
    device.write(CCAD_REG_CTRL, 0);
    EXPECT_EQ(device.read(CCAD_REG_STATUS, 4), 0);
}

TEST_F(Registers, ResetBitResetsAndReadsZero)
{
    device.enable();
    device.write(CCAD_CTX(2) + CCAD_CTX_RING, page, 8);
    device.write(CCAD_CTX(2) + CCAD_CTX_VECTOR, 3);
    device.write(CCAD_REG_EVENT_MASK, 1);

    device.write(CCAD_REG_CTRL, CCAD_CTRL_RESET | CCAD_CTRL_ENABLE);

    EXPECT_EQ(device.read(CCAD_REG_CTRL, 4), 0);
    EXPECT_EQ(device.read(CCAD_CTX(2) + CCAD_CTX_RING), 0);
    EXPECT_EQ(device.read(CCAD_CTX(2) + CCAD_CTX_VECTOR, 4), 0);
    EXPECT_EQ(device.read(CCAD_REG_EVENT_MASK, 4), 0);
}

/* The block is staged: what runs is what was there when it was enabled. */
TEST_F(Registers, BlockIsLatchedWhenEnabled)
{
    device.enable();
    Queue queue = device.queue();

    queue.reg(CCAD_CTX_RING, 0x123000, 8);
    queue.reg(CCAD_CTX_PASID, 77);

    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(queue.reg(CCAD_CTX_PASID), 77);
}

class Events : public Registers {
protected:
    /* The block of context n cannot be latched: that is an event. */
    void provoke(uint32_t n)
    {
        device.write(CCAD_CTX(n) + CCAD_CTX_CTRL, CCAD_CTX_CTRL_ENABLE);
    }
    unsigned interrupts()
    {
        return device.host.interrupts(CCAD_VECTOR_EVENT);
    }
};

TEST_F(Events, AreClearedByWritingOne)
{
    provoke(0);
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), CCAD_EVENT_CTX_ERROR);
    device.write(CCAD_REG_EVENT, 0);
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), CCAD_EVENT_CTX_ERROR);
    device.write(CCAD_REG_EVENT, CCAD_EVENT_CTX_ERROR);
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), 0);
}

TEST_F(Events, InterruptOnlyWhereTheMaskIsSet)
{
    provoke(0);
    EXPECT_EQ(interrupts(), 0);
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_CTX_ERROR);
    EXPECT_EQ(interrupts(), 1) << "the event was pending";
}

TEST_F(Events, InterruptOnceUntilCleared)
{
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_CTX_ERROR);
    provoke(0);
    provoke(1);
    EXPECT_EQ(interrupts(), 1);
    device.write(CCAD_REG_EVENT, CCAD_EVENT_CTX_ERROR);
    provoke(2);
    EXPECT_EQ(interrupts(), 2);
}

TEST(Bar, HoldsTheDoorbellsOfAllContexts)
{
    EXPECT_EQ(ccad_bar_size(1), 0x80000);
    EXPECT_EQ(ccad_bar_size(64), 0x80000);
    EXPECT_EQ(ccad_bar_size(65), 0x100000);
    for (uint32_t contexts : {1u, 64u, 192u, 193u, 1024u}) {
        uint64_t size = ccad_bar_size(contexts);
        EXPECT_EQ(size & (size - 1), 0);
        EXPECT_GE(size, uint64_t{CCAD_DOORBELL(contexts)});
    }
}

TEST(Config, IsAcceptedWithinItsLimits)
{
    ccad_config config = small_config();
    EXPECT_EQ(ccad_config_check(&config), nullptr);
    config.contexts = 1024;
    config.engines = 64;
    config.atc_sets = 65536;
    config.atc_ways = 64;
    config.page_requests = 512;
    config.page_request_group = 16;
    config.counters = 1 << 24;
    EXPECT_EQ(ccad_config_check(&config), nullptr);
}

class BadConfig
    : public testing::TestWithParam<
          std::tuple<uint32_t ccad_config::*, uint32_t, const char *>> {};

TEST_P(BadConfig, IsRefusedByName)
{
    auto [field, value, name] = GetParam();
    ccad_config config = small_config();
    FakeHost host;
    ccad_host_ops ops = host.ops();

    config.*field = value;
    ASSERT_NE(ccad_config_check(&config), nullptr);
    EXPECT_THAT(ccad_config_check(&config), testing::HasSubstr(name));
    EXPECT_EQ(ccad_core_new(&config, &ops, &host), nullptr);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadConfig,
    testing::Values(
        std::tuple{&ccad_config::contexts, 0u, "contexts"},
        std::tuple{&ccad_config::contexts, 1025u, "contexts"},
        std::tuple{&ccad_config::engines, 0u, "engines"},
        std::tuple{&ccad_config::engines, 65u, "engines"},
        std::tuple{&ccad_config::atc_sets, 0u, "atc-sets"},
        std::tuple{&ccad_config::atc_sets, 48u, "atc-sets"},
        std::tuple{&ccad_config::atc_sets, 131072u, "atc-sets"},
        std::tuple{&ccad_config::atc_ways, 0u, "atc-ways"},
        std::tuple{&ccad_config::atc_ways, 65u, "atc-ways"},
        std::tuple{&ccad_config::vectors, 0u, "vectors"},
        std::tuple{&ccad_config::page_requests, 0u, "page-requests"},
        std::tuple{&ccad_config::page_requests, 513u, "page-requests"},
        std::tuple{&ccad_config::counters, 0u, "counters"},
        std::tuple{&ccad_config::counters, (1u << 24) + 1, "counters"},
        std::tuple{&ccad_config::page_request_group, 0u,
                   "page-request-group"},
        std::tuple{&ccad_config::page_request_group, 17u,
                   "page-request-group"}));

TEST(Config, EnginesEnterAndLeave)
{
    FakeHost host;
    ccad_host_ops ops = host.ops();
    ccad_config config = small_config();
    config.engines = 7;

    ccad_core *core = ccad_core_new(&config, &ops, &host);
    EXPECT_TRUE(eventually([&] { return host.threads_inside() == 7; }));
    ccad_core_delete(core);
    EXPECT_EQ(host.threads_inside(), 0);
    ccad_core_delete(nullptr);
}

} // namespace

} // namespace ccad::test
