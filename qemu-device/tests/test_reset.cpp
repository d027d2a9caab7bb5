/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reset under load, and the end of the device. */
#include <chrono>
#include <thread>

#include "device.hpp"

namespace ccad::test {

namespace {

class Reset : public DeviceTest {
protected:
    Queue queue = device.queue();

    void expect_pristine()
    {
        EXPECT_EQ(device.read(CCAD_REG_CTRL, 4), 0);
        EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), 0);
        EXPECT_EQ(device.read(CCAD_REG_EVENT_MASK, 4), 0);
        for (uint32_t i = 0; i < CCAD_STAT_COUNT; i++) {
            EXPECT_EQ(device.stat(8 * i), 0) << i;
            EXPECT_EQ(queue.stat(8 * i), 0) << i;
        }
        for (uint32_t n = 0; n < 4; n++) {
            for (uint32_t reg = 0; reg <= CCAD_CTX_TIMEOUT_MS; reg += 4) {
                EXPECT_EQ(device.read(CCAD_CTX(n) + reg, 4), 0) << reg;
            }
            for (uint32_t reg = 0; reg <= CCAD_DB_CLOCK; reg += 4) {
                EXPECT_EQ(device.read(CCAD_DOORBELL(n) + reg, 4), 0) << reg;
            }
        }
        EXPECT_THAT(host.bound(), testing::IsEmpty());
    }
    void expect_works()
    {
        device.enable();
        queue.enable();
        EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
    }
};

TEST_F(Reset, LeavesNothingBehind)
{
    Queue other = device.queue(1, 9);
    device.write(CCAD_REG_EVENT_MASK, 1);
    queue.run(nop());
    other.db(CCAD_DB_TAIL, 1000);
    ASSERT_EQ(other.state(), CCAD_CTX_ERROR);

    device.reset();

    expect_pristine();
    expect_works();
}

TEST_F(Reset, ByRegisterIsTheSame)
{
    queue.run(nop());
    device.write(CCAD_REG_CTRL, CCAD_CTRL_RESET);
    expect_pristine();
    expect_works();
}

TEST_F(Reset, StopsWhatRuns)
{
    uint64_t pa = host.alloc(huge);
    for (uint64_t i = 0; i < 512; i++) {
        host.map(pasid, dst_va + i * huge, pa, huge);
    }
    queue.run(nop());
    uint32_t index = queue.submit(fill(dst_va, 512 * huge, 3));
    ASSERT_TRUE(eventually([&] { return host.mapped_pages() > 0; }));

    device.reset();

    EXPECT_EQ(host.mapped_pages(), 0);
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_NONE)
        << "no record on behalf of what ran before";
    expect_pristine();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    expect_pristine();
    expect_works();
}

TEST_F(Reset, DoesNotWaitForAnEngineInsideTranslate)
{
    host.populate(pasid, dst_va, page);
    queue.run(nop());
    Barrier inside;
    host.on_translate = [&](uint32_t, uint64_t) { inside.pass(); };
    queue.submit(fill(dst_va, page, 9));
    ASSERT_TRUE(inside.reached());

    device.reset();

    expect_pristine();
    inside.open();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    expect_pristine();
    EXPECT_EQ(host.ptr(pasid, dst_va)[0], 0);
    expect_works();
}

/* The late response is nobody's, and least of all the new request's. */
TEST_F(Reset, IgnoresLateResponses)
{
    host.populate(pasid, dst_va, page);
    queue.run(nop());
    host.serving(FakeHost::Serving::never);
    queue.submit(crc(src_va, 8));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));
    auto late = host.requests()[0];

    device.reset();
    device.enable();
    queue.enable();
    uint32_t index = queue.submit(crc(src_va, 8));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 2; }));
    auto current = host.requests()[1];
    EXPECT_NE(current.prgi, late.prgi);
    host.respond(late, CCAD_RESPONSE_FAILURE);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_NONE);

    host.respond(current, host.serve(pasid, current.va, false));
    EXPECT_EQ(queue.wait(index).status, CCAD_COMP_PAGE_FAULT)
        << "there is no region: the current answer counts";
}

/*
 * An engine that is about to send a page request, with its context disabled
 * and the PASID in use again when it can: it may be another process by now.
 */
TEST_F(Reset, SendsNoPageRequestOfBefore)
{
    Barrier asking;

    queue.run(nop());
    host.serving(FakeHost::Serving::never);
    host.on_op = [&](const char *op) {
        if (std::string(op) == "locked" || std::string(op) == "page_request") {
            asking.pass();
        }
    };
    for (bool by_reset : {false, true}) {
        queue.submit(crc(src_va, 8));
        ASSERT_TRUE(asking.reached());
        if (by_reset) {
            device.reset();
            device.enable();
        } else {
            queue.disable();
        }
        queue.enable();
        asking.open();
        device.quiesce();
        EXPECT_THAT(host.requests(), testing::IsEmpty());
        device.enable();
        asking.close();
    }
    asking.open();
}

/*
 * An engine that is about to tell the host something, with the device reset or
 * the context disabled in between.
 */
class Late : public Reset {
protected:
    Late()
    {
        queue.run(nop());
        device.write(CCAD_REG_EVENT_MASK,
                     CCAD_EVENT_POISON | CCAD_EVENT_CTX_ERROR);
        host.populate(pasid, src_va, page, true);
        ccad_core_poison_inject(device.core(), 0, FakeHost::local_size);
        host.on_op = [this](const char *op) {
            if (std::string(op) == "locked" || std::string(op) == "error" ||
                std::string(op) == "interrupt") {
                telling.pass();
            }
        };
    }
    void TearDown() override
    {
        telling.open();
        Reset::TearDown();
    }
    /* The engines are back, after what it would have told. */
    void settle()
    {
        telling.open();
        device.quiesce();
    }

    Barrier telling;
};

TEST_F(Late, NoPoisonAfterAReset)
{
    uint32_t index = queue.submit(crc(src_va, 8));
    ASSERT_TRUE(telling.reached());
    device.reset();
    settle();
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_NONE);
    EXPECT_EQ(device.read(CCAD_REG_POISON_ADDR), 0);
    EXPECT_THAT(host.errors(), testing::IsEmpty());
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 0);
    expect_pristine();
}

/* It was met, and that counts as long as there is no reset. */
TEST_F(Late, PoisonOfADisabledContext)
{
    uint32_t index = queue.submit(crc(src_va, 8));
    ASSERT_TRUE(telling.reached());
    queue.disable();
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_POISON);
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), CCAD_EVENT_POISON)
        << "it comes before the record";
    settle();
    EXPECT_EQ(host.errors().size(), 1);
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 1);
}

TEST_F(Late, NoErrorOfAContextAfterAReset)
{
    ccad_desc desc = nop();
    desc.completion = 4;
    queue.submit(desc);
    ASSERT_TRUE(telling.reached());
    EXPECT_EQ(queue.state(), CCAD_CTX_ERROR);
    device.reset();
    settle();
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 0);
    expect_pristine();
}

TEST_F(Late, NoInterruptOfADisabledContext)
{
    for (bool by_reset : {false, true}) {
        ccad_desc desc = nop();
        desc.flags = CCAD_DESC_INTERRUPT;
        uint32_t index = queue.submit(desc);
        ASSERT_EQ(queue.wait(index).status, CCAD_COMP_SUCCESS);
        ASSERT_TRUE(telling.reached());
        if (by_reset) {
            device.reset();
        } else {
            queue.disable();
            queue.enable();
        }
        settle();
        EXPECT_EQ(host.interrupts(1), 0);
        telling.close();
        device.enable();
    }
}

/* All that may be outstanding are, and have to be free afterwards. */
TEST(ResetWithBackPressure, FreesTheAllocation)
{
    ccad_config config = small_config();
    config.page_requests = 1;
    Device device(config);
    FakeHost &host = device.host;
    device.enable();
    Queue a = device.queue(0);
    Queue b = device.queue(1);
    a.run(nop());
    b.run(nop());
    host.serving(FakeHost::Serving::never);
    a.submit(crc(src_va, 8));
    b.submit(crc(src_va, 8));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));

    device.reset();
    host.serving(FakeHost::Serving::inside);
    host.add_region(pasid, {src_va, page});
    device.enable();
    a.enable();
    EXPECT_EQ(a.run(crc(src_va, 8)).status, CCAD_COMP_SUCCESS);
}

/* Groups that are outstanding, in line, and about to be sent. */
class ResetWithGroups : public testing::TestWithParam<bool> {};

TEST_P(ResetWithGroups, LeavesNothingBehind)
{
    ccad_config config = small_config();
    config.page_requests = 6;
    Device device(config);
    FakeHost &host = device.host;
    std::vector<Queue> queues;
    for (uint32_t i = 0; i < 4; i++) {
        queues.emplace_back(device, i, pasid + i, 4);
        host.add_region(pasid + i, {src_va, 8 * page});
    }
    for (int round = 0; round < 20; round++) {
        device.enable();
        host.serving(FakeHost::Serving::never);
        for (Queue &queue : queues) {
            queue.enable();
            queue.submit(crc(src_va + round % 4, 8 * page - 4));
        }
        ASSERT_TRUE(eventually([&] { return !host.requests().empty(); }));
        auto late = host.requests();
        if (round % 2) { /* makes room for the next in line */
            auto first = late.front();
            late.erase(late.begin());
            host.respond(first, CCAD_RESPONSE_INVALID);
        }

        if (GetParam()) {
            device.write(CCAD_REG_CTRL, CCAD_CTRL_RESET);
        } else {
            device.reset();
        }
        ccad_page_request_info left;
        EXPECT_EQ(ccad_core_page_requests(device.core(), &left, 1), 0);
        EXPECT_EQ(ccad_core_atc_entries(device.core(), 0), 0);
        EXPECT_EQ(host.mapped_pages(), 0);
        EXPECT_THAT(host.bound(), testing::IsEmpty());
        for (uint32_t i = 0; i < CCAD_STAT_COUNT; i++) {
            EXPECT_EQ(device.stat(8 * i), 0) << i;
        }
        EXPECT_EQ(device.read(CCAD_REG_CLOCK), 0);
        for (const auto &request : late) {
            EXPECT_FALSE(ccad_core_page_response(
                device.core(), request.pasid, request.prgi,
                CCAD_RESPONSE_SUCCESS));
        }
        for (const auto &request : host.requests()) {
            host.respond(request, CCAD_RESPONSE_FAILURE);
        }
    }
    host.serving(FakeHost::Serving::thread);
    device.enable();
    for (Queue &queue : queues) {
        queue.enable();
        EXPECT_EQ(queue.run(crc(src_va, 8 * page)).status, CCAD_COMP_SUCCESS);
    }
    EXPECT_THAT(host.violations(), testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Ways, ResetWithGroups, testing::Bool());

TEST_F(Reset, ManyTimesUnderLoad)
{
    host.add_region(pasid, {src_va, 64 * page});
    host.serving(FakeHost::Serving::thread);
    for (int i = 0; i < 100; i++) {
        for (int n = 0; n < 8; n++) {
            queue.push(crc(src_va, 64 * page));
        }
        queue.ring_doorbell();
        if (i % 3) {
            std::this_thread::sleep_for(std::chrono::microseconds(100 * i));
        }
        device.reset();
        ASSERT_EQ(host.mapped_pages(), 0);
        device.enable();
        queue.enable();
    }
    EXPECT_EQ(queue.run(crc(src_va, 8)).status, CCAD_COMP_SUCCESS);
}

TEST(End, ComesWithCommandsAndRequestsInFlight)
{
    FakeHost *host;
    {
        Device device;
        host = &device.host;
        device.enable();
        Queue a = device.queue(0);
        Queue b = device.queue(1);
        uint64_t pa = host->alloc(huge);
        for (uint64_t i = 0; i < 512; i++) {
            host->map(pasid, dst_va + i * huge, pa, huge);
        }
        host->serving(FakeHost::Serving::never);
        a.submit(crc(src_va, 8));
        b.submit(crc(dst_va, 512 * huge));
        ASSERT_TRUE(eventually([&] { return host->requests().size() == 1; }));
    }
}

} // namespace

} // namespace ccad::test
