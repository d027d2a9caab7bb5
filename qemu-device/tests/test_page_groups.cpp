/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Page requests in groups, and the allocation they keep to. */
#include "device.hpp"

namespace ccad::test {

namespace {

using Serving = FakeHost::Serving;
using testing::ElementsAre;
using testing::IsEmpty;

class Groups : public DeviceTest {
protected:
    FakeHost::PageRequest next_request()
    {
        EXPECT_TRUE(eventually([&] { return !host.requests().empty(); }));
        auto requests = host.requests();
        return requests.empty() ? FakeHost::PageRequest{} : requests[0];
    }
    void serve_next()
    {
        auto request = next_request();
        host.respond(request, host.serve(request));
    }
    /* The same for page requests by hand, with the ring in the ATC. */
    Queue by_hand()
    {
        Queue queue = device.queue();
        queue.run(nop());
        host.serving(Serving::never);
        return queue;
    }
};

TEST_F(Groups, HoldTheMissingPagesThatComeNext)
{
    Queue queue = by_hand();
    host.add_region(pasid, {dst_va, 16 * page});
    host.populate(pasid, dst_va + 2 * page, page);
    host.populate(pasid, dst_va + 3 * page, page, false, false);

    uint32_t index = queue.submit(fill(dst_va + 100, 10 * page, 7));
    auto request = next_request();
    EXPECT_TRUE(request.write);
    EXPECT_FALSE(request.read);
    EXPECT_THAT(request.pages, ElementsAre(dst_va, dst_va + page,
                                           dst_va + 3 * page,
                                           dst_va + 4 * page))
        << "page 2 is there, page 3 cannot be written";

    host.release(pasid, dst_va + 3 * page);
    serve_next();
    EXPECT_THAT(next_request().pages,
                ElementsAre(dst_va + 5 * page, dst_va + 6 * page,
                            dst_va + 7 * page, dst_va + 8 * page));
    serve_next();
    EXPECT_THAT(next_request().pages,
                ElementsAre(dst_va + 9 * page, dst_va + 10 * page))
        << "never beyond the operand";
    serve_next();

    auto record = queue.wait(index);
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.page_requests, 10);
    EXPECT_FALSE(host.walk(pasid, dst_va + 11 * page));
}

TEST_F(Groups, EndAtTheEndOfTheAddressSpace)
{
    Queue queue = by_hand();
    uint64_t top = UINT64_MAX - (2 * page - 1);

    uint32_t index = queue.submit(crc(top + 5, 2 * page - 5));
    EXPECT_THAT(next_request().pages, ElementsAre(top, top + page));
    host.respond(next_request(), CCAD_RESPONSE_FAILURE);
    EXPECT_EQ(queue.wait(index).fault_addr, top + 5);
}

/* An answer that goes round the end of the address space, as none may. */
TEST_F(Groups, DoNotFollowAnAnswerThatWraps)
{
    Queue queue = by_hand();
    uint64_t top = UINT64_MAX - (page - 1);
    host.on_answer = [&](ccad_translation *answer, size_t) {
        if (answer[0].va == top) {
            answer[0].len = 3 * page;
        }
    };

    uint32_t index = queue.submit(fill(top, 8, 1));
    EXPECT_THAT(next_request().pages, ElementsAre(top));
    host.on_answer = nullptr;
    host.respond(next_request(), CCAD_RESPONSE_FAILURE);
    EXPECT_EQ(queue.wait(index).status, CCAD_COMP_PAGE_FAULT);
}

TEST_F(Groups, OfAReadAskForReading)
{
    Queue queue = by_hand();

    queue.submit(crc(src_va, 2 * page));
    auto request = next_request();
    EXPECT_TRUE(request.read);
    EXPECT_FALSE(request.write);
    EXPECT_THAT(request.pages, ElementsAre(src_va, src_va + page));
}

TEST_F(Groups, CostOneRoundTripEach)
{
    host.add_region(pasid, {src_va, 4 * page});
    Queue queue = device.queue();

    auto record = queue.run(crc(src_va, 4 * page));
    EXPECT_EQ(record.page_requests, 4);
    EXPECT_EQ(record.translations, 2);
    uint64_t transfer = (4 * page * 1'000'000'000 + (1000 << 20) - 1) /
                        (uint64_t{1000} << 20);
    EXPECT_EQ(record.device_ns, 20000 + 2 * 1000 + 4 * 500 + transfer);
}

/* The mapping ends before the operand: what can be done is done. */
TEST_F(Groups, ThatFailAreNarrowedToThePage)
{
    host.add_region(pasid, {dst_va, 6 * page});
    Queue queue = device.queue();

    auto record = queue.run(fill(dst_va + 1, 20 * page, 0x0303030303030303));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_WRITE);
    EXPECT_EQ(record.fault_addr, dst_va + 6 * page);
    EXPECT_EQ(record.bytes_done, 6 * page - 1);
    EXPECT_EQ(host.ptr(pasid, dst_va + 6 * page - 1)[0], 3);
}

/* A system that serves nothing of a group with a bad page in it. */
TEST_F(Groups, ThatFailAsAWholeGoOnPageByPage)
{
    host.add_region(pasid, {dst_va, 3 * page});
    Queue queue = by_hand();
    uint32_t index = queue.submit(fill(dst_va, 4 * page, 3));

    for (unsigned groups = 0; !queue.record(index).status; groups++) {
        ASSERT_LT(groups, 10u);
        ASSERT_TRUE(eventually([&] {
            return !host.requests().empty() || queue.record(index).status;
        }));
        if (queue.record(index).status) {
            break;
        }
        auto request = next_request();
        bool good = request.pages.back() < dst_va + 3 * page;
        host.respond(request,
                     good ? host.serve(request) : CCAD_RESPONSE_INVALID);
    }
    auto record = queue.wait(index);
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.fault_addr, dst_va + 3 * page);
    EXPECT_EQ(record.bytes_done, 3 * page);
}

TEST_F(Groups, AreNotForThoseWhoDoNotWantThem)
{
    Queue queue = by_hand();
    ccad_desc desc = fill(dst_va, 4 * page, 3);
    desc.flags = CCAD_DESC_NO_PAGE_REQUEST;

    EXPECT_EQ(queue.run(desc).status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(host.page_request_count(), 0);
}

/* Answered once, and what comes afterwards is nobody's. */
TEST_F(Groups, AreAnsweredOnce)
{
    Queue queue = by_hand();
    host.add_region(pasid, {src_va, page});
    uint32_t index = queue.submit(crc(src_va, page));
    auto request = next_request();
    host.serve(request);

    auto respond = [&](uint32_t of, uint16_t prgi, ccad_response response) {
        std::lock_guard lock(host.big_lock());
        return ccad_core_page_response(device.core(), of, prgi, response);
    };
    EXPECT_FALSE(respond(pasid + 1, request.prgi, CCAD_RESPONSE_FAILURE))
        << "of another process";
    EXPECT_FALSE(respond(pasid, request.prgi + 1, CCAD_RESPONSE_FAILURE));
    EXPECT_TRUE(respond(pasid, request.prgi, CCAD_RESPONSE_SUCCESS));
    EXPECT_FALSE(respond(pasid, request.prgi, CCAD_RESPONSE_FAILURE));
    EXPECT_EQ(queue.wait(index).status, CCAD_COMP_SUCCESS);
}

ccad_config allocation_of(uint32_t page_requests, bool host_driven)
{
    ccad_config config = small_config();

    config.page_requests = page_requests;
    config.page_request_group = 4;
    config.engines = 1;
    config.host_driven = host_driven;
    return config;
}

/* A device of four contexts and an allocation of so many. */
class Allocation : public testing::Test {
protected:
    Allocation()
    {
        device.enable();
        for (uint32_t i = 0; i < 4; i++) {
            queues.push_back(device.queue(i, pasid + i));
            queues[i].run(nop());
            host.add_region(pasid + i, {src_va, 1024 * page});
        }
        host.serving(Serving::never);
    }
    void TearDown() override { EXPECT_THAT(host.violations(), IsEmpty()); }

    void allocate(uint32_t n)
    {
        std::lock_guard lock(host.big_lock());
        ccad_core_page_request_allocation(device.core(), n);
    }
    size_t outstanding()
    {
        size_t n = 0;
        for (auto &request : host.requests()) {
            n += request.pages.size();
        }
        return n;
    }
    bool reaches(size_t n)
    {
        return eventually([&] { return outstanding() == n; });
    }
    void settle()
    {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    void serve_one()
    {
        auto request = host.requests().at(0);
        host.respond(request, host.serve(request));
    }

    Device device{allocation_of(6, false)};
    FakeHost &host = device.host;
    std::vector<Queue> queues;
};

TEST_F(Allocation, CountsPagesAndKeepsTheEngineFree)
{
    std::vector<uint32_t> commands;
    for (uint32_t i = 0; i < 3; i++) {
        commands.push_back(queues[i].submit(crc(src_va, 8 * page)));
        ASSERT_TRUE(reaches(4));
    }
    settle();
    EXPECT_EQ(outstanding(), 4) << "a second group of four does not fit";
    EXPECT_EQ(queues[3].run(nop()).status, CCAD_COMP_SUCCESS)
        << "the only engine waits for nobody";

    for (int served = 0; served < 6; served++) {
        ASSERT_TRUE(reaches(4)) << served;
        settle();
        ASSERT_EQ(outstanding(), 4);
        serve_one();
    }
    for (uint32_t i = 0; i < 3; i++) {
        auto record = queues[i].wait(commands[i]);
        EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
        EXPECT_EQ(record.page_requests, 8) << "back-pressure cuts no group";
    }
}

TEST_F(Allocation, IsGivenInTheOrderOfAsking)
{
    queues[0].submit(crc(src_va, 4 * page));
    ASSERT_TRUE(reaches(4));
    queues[1].submit(crc(src_va, 3 * page));
    settle();
    queues[2].submit(crc(src_va, page));
    settle();
    ASSERT_EQ(outstanding(), 4) << "the small one waits behind the larger";

    serve_one();
    ASSERT_TRUE(reaches(4));
    auto requests = host.requests();
    EXPECT_EQ(requests[0].pages.size(), 3);
    EXPECT_EQ(requests[1].pages.size(), 1);
}

TEST_F(Allocation, OfSoftwareCounts)
{
    allocate(2);
    uint32_t command = queues[0].submit(crc(src_va, 4 * page));
    ASSERT_TRUE(reaches(2)) << "a group is no larger than the allocation";
    queues[1].submit(crc(src_va, 4 * page));
    settle();
    EXPECT_EQ(outstanding(), 2);

    allocate(1000);
    ASSERT_TRUE(reaches(2 + 4)) << "6 is what the device can do";
    queues[2].submit(crc(src_va, page));
    settle();
    EXPECT_EQ(outstanding(), 6);
    serve_one();
    ASSERT_TRUE(reaches(4 + 1));
    serve_one();
    serve_one();
    ASSERT_TRUE(reaches(2));
    serve_one();
    EXPECT_EQ(queues[0].wait(command).status, CCAD_COMP_SUCCESS);
}

TEST_F(Allocation, OfNothingEndsWhatWaits)
{
    uint32_t waits = queues[0].submit(crc(src_va + 3, 4 * page - 3));
    ASSERT_TRUE(reaches(4));
    uint32_t in_line = queues[1].submit(crc(src_va, 4 * page));
    settle();
    auto late = host.requests().at(0);

    allocate(0);
    auto record = queues[0].wait(waits);
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.fault_addr, src_va + 3);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(queues[1].wait(in_line).status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(queues[2].run(crc(src_va, page)).status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(host.requests().size(), 1);
    EXPECT_FALSE(ccad_core_page_response(device.core(), late.pasid, late.prgi,
                                         CCAD_RESPONSE_SUCCESS));

    allocate(4);
    host.serving(Serving::thread);
    EXPECT_EQ(queues[2].run(crc(src_va, 8 * page)).status, CCAD_COMP_SUCCESS);
}

/* Room that was given to a context which is stopped before it uses it. */
TEST_F(Allocation, IsNotLostWithThoseWhoAreStopped)
{
    for (int round = 0; round < 50; round++) {
        host.serving(Serving::never);
        /* Nobody has been at these pages. */
        uint64_t va = src_va + 8 * page * static_cast<uint64_t>(round);
        for (Queue &queue : queues) {
            queue.submit(crc(va, 4 * page));
        }
        ASSERT_TRUE(reaches(4));
        host.serving(Serving::thread);
        for (Queue &queue : queues) {
            queue.disable();
            queue.enable();
        }
        ASSERT_EQ(queues[0].run(crc(va + 4 * page, 4 * page)).status,
                  CCAD_COMP_SUCCESS);
        ASSERT_TRUE(eventually([&] { return host.requests().empty(); }));
    }
}

/* Of two contexts, the second has got room and has not used it yet. */
class Granted : public testing::Test {
protected:
    Granted()
    {
        device.enable();
        host.serving(Serving::never);
        for (uint32_t i = 0; i < 2; i++) {
            queues.push_back(device.queue(i, pasid + i));
            host.add_region(pasid + i, {src_va, 4 * page});
            queues[i].submit(crc(src_va, 4 * page));
            ccad_core_run(device.core());
        }
        serve_one();
    }
    void TearDown() override
    {
        ccad_core_run(device.core());
        for (Queue &queue : queues) {
            EXPECT_EQ(queue.record(0).status, CCAD_COMP_SUCCESS);
            EXPECT_EQ(queue.record(0).page_requests, 4);
        }
        EXPECT_THAT(host.violations(), IsEmpty());
    }
    void serve_one()
    {
        auto request = host.requests().at(0);
        ASSERT_EQ(host.requests().size(), 1);
        host.respond(request, host.serve(request));
    }

    Device device{allocation_of(4, true)};
    FakeHost &host = device.host;
    std::vector<Queue> queues;
};

TEST_F(Granted, IsCutWhenTheAllocationShrinks)
{
    ccad_core_page_request_allocation(device.core(), 2);
    ccad_core_run(device.core());
    ASSERT_EQ(host.requests().size(), 1);
    EXPECT_EQ(host.requests()[0].pages.size(), 2);
    host.serving(Serving::inside);
    serve_one();
}

/* A response to whatever is none to a group that nobody has seen. */
TEST_F(Granted, IsNotAnsweredBeforeItIsSent)
{
    auto respond_to_all = [&] {
        unsigned accepted = 0;
        for (uint16_t prgi = 0; prgi < 512; prgi++) {
            accepted += ccad_core_page_response(device.core(), pasid + 1, prgi,
                                                CCAD_RESPONSE_SUCCESS);
        }
        return accepted;
    };

    EXPECT_EQ(respond_to_all(), 0);
    device.migrate();
    EXPECT_EQ(respond_to_all(), 0);
    ccad_core_run(device.core());
    serve_one();
}

} // namespace

} // namespace ccad::test
