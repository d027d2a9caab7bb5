/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of the device, saved and loaded into another one. */
#include <random>

#include "commands.hpp"
#include "counting.hpp"

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

    static constexpr CounterDriver::Setup granules{.granule_shift = 16};
    CounterDriver counters{device};
};

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
        return small.info(number).place;
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
    counters.start(granules);
    queue.run(crc(src_va, 64 * page));
    ASSERT_EQ(counters.read(src_va).read_system, 1024);
    ASSERT_EQ(ccad_core_poison_inject(device.core(), 0x1000, 128), nullptr);
    ASSERT_EQ(ccad_core_poison_inject(device.core(), 0x9fc0, 65), nullptr);
    device.migrate();
    EXPECT_EQ(device.read(CCAD_REG_POISON_LINES), 4);
    EXPECT_EQ(reg(CCAD_REG_CNT_CTRL), CCAD_CNT_ENABLE);
    EXPECT_EQ(device.read(CCAD_REG_CNT_READ_SYSTEM), 1024);
    queue.run(crc(src_va, 64));
    EXPECT_EQ(counters.read(src_va).read_system, 1025);
}

TEST_F(State, HangAndTimeOut)
{
    Queue queue(device, 0, pasid, 4);
    queue.reg(CCAD_CTX_TIMEOUT_MS, 10);
    queue.enable();
    ASSERT_TRUE(ccad_core_hang(device.core(), 0));
    device.migrate();
    uint32_t i = queue.submit(nop());
    ASSERT_TRUE(eventually(
        [&] { return device.info(0).place == CCAD_PLACE_HUNG; }));
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
    ASSERT_EQ(device.info(0).place, CCAD_PLACE_READY);
    device.migrate();
    device.enable();
    ASSERT_TRUE(eventually(
        [&] { return device.info(0).place == CCAD_PLACE_HUNG; }));
    host.advance_time(std::chrono::milliseconds(10));
    EXPECT_EQ(queue.wait(i).status, CCAD_COMP_TIMEOUT);
    EXPECT_TRUE(eventually([&] { return queue.state() == CCAD_CTX_ERROR; }));
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
    config = small_config();
    config.injection.delay_us++;
    Device failing(config);
    EXPECT_THAT(load_into(failing.core(), state),
                HasSubstr("other properties"));
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

class AnyState : public State, public testing::WithParamInterface<unsigned> {};

/* What comes may be anything; nothing that follows from it may crash. */
TEST_P(AnyState, Damaged)
{
    const unsigned room = GetParam(); /* the others stand in line */
    {
        std::lock_guard lock(host.big_lock());
        ccad_core_page_request_allocation(device.core(), room);
    }
    host.serving(FakeHost::Serving::never);
    counters.start(granules);
    host.populate(pasid, src_va, 4 * page);
    for (uint32_t number = 0; number < 4; number++) {
        Queue queue = device.queue(number, pasid + number / 2);
        queue.run(nop());
        queue.submit(number & 1 ? copy(src_va, dst_va, 3 * page)
                                : fill(dst_va + page, 8, 1));
        queue.submit(nop());
    }
    ASSERT_TRUE(eventually([&] {
        unsigned asking = 0;
        for (uint32_t n = 0; n < 4; n++) {
            ccad_place place = device.info(n).place;
            asking += place == CCAD_PLACE_WAITING ||
                      place == CCAD_PLACE_STALLED;
        }
        return asking == 4;
    }));
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
                other.info(n);
            }
        }
        if (!complaint) {
            good++;
            other.enable();
            for (uint16_t prgi = 0; prgi < 8; prgi++) {
                std::lock_guard lock(other.host.big_lock());
                ccad_core_page_response(other.core(), pasid, prgi,
                                        CCAD_RESPONSE_SUCCESS);
                ccad_core_page_request_allocation(other.core(), prgi % 4 * 2);
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

INSTANTIATE_TEST_SUITE_P(Room, AnyState, testing::Values(32, 4));

} // namespace

} // namespace ccad::test
