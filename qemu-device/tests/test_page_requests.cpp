/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages that are not there: requests, answers, and what comes of them. */
#include "page_requests.hpp"

#include "device.hpp"

namespace ccad::test {

namespace {

using Serving = FakeHost::Serving;

/* The table of outstanding requests by itself. */
class Table : public testing::Test {
protected:
    Context *someone = reinterpret_cast<Context *>(8);
};

TEST_F(Table, HoldsNoMoreThanItsLimit)
{
    PageRequests table(2);

    auto a = table.add(someone, 1, pasid, 1);
    auto b = table.add(someone, 1, pasid, 1);
    ASSERT_TRUE(a && b);
    EXPECT_NE(a->prgi, b->prgi);
    EXPECT_FALSE(table.add(someone, 1, pasid, 1));
    EXPECT_TRUE(table.end(pasid, a->prgi));
    EXPECT_EQ(table.next()->context, someone) << "who stood in line";
    EXPECT_FALSE(table.next());
}

TEST_F(Table, KnowsEachRequestOnce)
{
    PageRequests table(4);
    auto a = table.add(someone, 7, pasid, 1);

    EXPECT_EQ(table.end(pasid, a->prgi)->epoch, 7);
    EXPECT_FALSE(table.end(pasid, a->prgi));
    EXPECT_FALSE(table.end(pasid, 511));
    EXPECT_FALSE(table.end(pasid, 512)) << "no such index";
    EXPECT_FALSE(table.end(pasid, 0xffff));
}

TEST_F(Table, KnowsItsPasid)
{
    PageRequests table(4);
    auto a = table.add(someone, 7, pasid, 1);

    EXPECT_FALSE(table.end(pasid + 1, a->prgi));
    EXPECT_TRUE(table.end(pasid, a->prgi));
}

TEST_F(Table, CountsThePagesOfAGroup)
{
    PageRequests table(8);

    auto a = table.add(someone, 1, pasid, 5);
    EXPECT_EQ(a->pages, 5);
    EXPECT_TRUE(table.add(someone, 1, pasid, 3));
    EXPECT_FALSE(table.add(someone, 1, pasid, 1));
    table.end(pasid, a->prgi);
    EXPECT_EQ(table.next()->pages, 1);
}

TEST_F(Table, CutsAGroupThatNeverFits)
{
    PageRequests table(3);
    EXPECT_EQ(table.add(someone, 1, pasid, 16)->pages, 3);
}

TEST_F(Table, KeepsTheLine)
{
    auto large = reinterpret_cast<Context *>(16);
    auto small = reinterpret_cast<Context *>(24);
    PageRequests table(4);

    auto a = table.add(someone, 1, pasid, 1);
    EXPECT_FALSE(table.add(large, 1, pasid, 4));
    EXPECT_FALSE(table.add(small, 1, pasid, 1)) << "there is room, but a line";
    EXPECT_FALSE(table.next());
    table.end(pasid, a->prgi);
    auto b = table.next();
    EXPECT_EQ(b->context, large);
    EXPECT_FALSE(table.next());
    EXPECT_FALSE(table.end(pasid, b->prgi)) << "it is not sent yet";
    table.send(*b);
    EXPECT_TRUE(table.end(pasid, b->prgi));
    EXPECT_EQ(table.next()->context, small);

    EXPECT_FALSE(table.add(large, 1, pasid, 4));
    EXPECT_FALSE(table.add(small, 1, pasid, 1));
    table.leave(large);
    EXPECT_EQ(table.next()->context, small);
}

TEST_F(Table, GoesByTheAllocation)
{
    PageRequests table(4);

    auto a = table.add(someone, 1, pasid, 3);
    table.allocate(2);
    EXPECT_FALSE(table.add(someone, 1, pasid, 1));
    table.end(pasid, a->prgi);
    EXPECT_EQ(table.next()->pages, 1);
    EXPECT_FALSE(table.add(someone, 1, pasid, 3));
    table.allocate(4);
    EXPECT_EQ(table.next()->pages, 3);
    table.allocate(0);
    EXPECT_FALSE(table.add(someone, 1, pasid, 1));
    EXPECT_FALSE(table.next());
    EXPECT_EQ(table.give_up(), someone);
    EXPECT_EQ(table.give_up(), nullptr);
    EXPECT_TRUE(table.end_one());
    EXPECT_TRUE(table.end_one());
    EXPECT_FALSE(table.end_one());
}

TEST_F(Table, UsesAnIndexAgainAsLateAsCanBe)
{
    PageRequests table(1);
    auto first = table.add(someone, 1, pasid, 1);
    table.clear();

    for (uint32_t i = 1; i < max_page_requests; i++) {
        auto next = table.add(someone, 1, pasid, 1);
        ASSERT_NE(next->prgi, first->prgi) << i;
        table.end(pasid, next->prgi);
    }
    EXPECT_EQ(table.add(someone, 1, pasid, 1)->prgi, first->prgi);
}

TEST_F(Table, GivesEveryIndexOut)
{
    PageRequests table(max_page_requests);
    std::set<uint16_t> indices;

    for (uint32_t i = 0; i < max_page_requests; i++) {
        indices.insert(table.add(someone, 1, pasid, 1)->prgi);
    }
    EXPECT_EQ(indices.size(), max_page_requests);
    EXPECT_FALSE(table.add(someone, 1, pasid, 1));
}

TEST_F(Table, CancelsOnlyTheSameRequest)
{
    PageRequests table(1);
    auto old = table.add(someone, 1, pasid, 1);
    table.clear();
    auto same_index = table.add(someone, 2, pasid, 1);
    while (same_index->prgi != old->prgi) {
        table.end(pasid, same_index->prgi);
        same_index = table.add(someone, 2, pasid, 1);
    }

    EXPECT_FALSE(table.cancel(*old));
    EXPECT_TRUE(table.cancel(*same_index));
    EXPECT_FALSE(table.cancel(*same_index));
}

TEST_F(Table, ForgetsThoseOfAPasid)
{
    PageRequests table(2);
    auto a = table.add(someone, 1, 1, 1);
    auto b = table.add(someone, 1, 2, 1);

    table.forget(1);

    EXPECT_FALSE(table.end(1, a->prgi));
    EXPECT_TRUE(table.add(someone, 1, 3, 1)) << "its place is free";
    EXPECT_TRUE(table.end(2, b->prgi));
}

/* A device whose pages come when they are asked for. */
class PageRequestsTest : public DeviceTest {
protected:
    Queue queue = device.queue();
};

/* The host's queue was full: sent again, more often than a page is asked for. */
TEST_F(PageRequestsTest, LostAreSentAgain)
{
    host.serving(Serving::never);
    host.add_region(pasid, {dst_va, page, true, true});
    uint32_t index = queue.submit(fill(dst_va, 8, 1));
    auto next = [&] {
        EXPECT_TRUE(eventually([&] { return host.requests().size() == 1; }));
        return host.requests().at(0);
    };

    for (int i = 0; i < 100; i++) {
        host.respond(next(), CCAD_RESPONSE_BUSY);
        ASSERT_TRUE(
            eventually([&] { return host.timer_ns() != UINT64_MAX; }));
        EXPECT_TRUE(host.requests().empty()) << "not at once";
        host.advance_time(std::chrono::milliseconds(1));
    }
    auto request = next();
    host.respond(request, host.serve(request));
    auto record = queue.wait(index);
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.page_requests, 1) << "those that came through";

    /* How often depends on software, and so neither counts nor costs. */
    host.serving(Serving::thread);
    host.add_region(pasid, {dst_va + page, page, true, true});
    auto usual = queue.run(fill(dst_va + page, 8, 1));
    EXPECT_EQ(record.translations, usual.translations);
    EXPECT_EQ(record.device_ns, usual.device_ns);
}

/* What other memory is invalidated meanwhile costs nothing, either. */
TEST_F(PageRequestsTest, CostTheSameBesideInvalidations)
{
    host.populate(pasid, src_va, 2 * page);
    queue.run(nop());
    auto usual = queue.run(crc(src_va, 8));
    int rounds = 5;
    host.on_translated = [&] {
        if (rounds-- > 0) {
            for (uint64_t i = 0; i < 100; i++) {
                ccad_core_invalidate(device.core(), pasid, false,
                                     dst_va + i * page, page);
            }
        }
    };
    auto disturbed = queue.run(crc(src_va + page, 8));
    EXPECT_LT(rounds, 1);
    EXPECT_EQ(disturbed.translations, usual.translations);
    EXPECT_EQ(disturbed.device_ns, usual.device_ns);
}

class Served : public PageRequestsTest,
               public testing::WithParamInterface<Serving> {};

TEST_P(Served, BringWhatIsNotThere)
{
    host.serving(GetParam());
    host.add_region(pasid, {src_va, 20 * page});
    host.add_region(pasid, {dst_va, 20 * page, true, true});
    host.populate(pasid, src_va + page, page);
    auto bytes = random_bytes(page);
    store(host, src_va + page, bytes);

    auto record = queue.run(copy(src_va, dst_va, 20 * page));

    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.bytes_done, 20 * page);
    EXPECT_EQ(record.page_requests, 19 + 20);
    EXPECT_EQ(record.bytes_local, 20 * page);
    EXPECT_EQ(load(host, dst_va + page, page), bytes);
    EXPECT_EQ(queue.stat(CCAD_STAT_PAGE_REQUESTS), 39);
    EXPECT_EQ(queue.stat(CCAD_STAT_PAGE_FAILURES), 0);
}

INSTANTIATE_TEST_SUITE_P(How, Served,
                         testing::Values(Serving::inside, Serving::thread));

TEST_F(PageRequestsTest, AskForThePageAndTheAccess)
{
    host.serving(Serving::never);
    queue.submit(copy(src_va + 123, dst_va + 5, 8));
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));

    auto read = host.requests()[0];
    EXPECT_EQ(read.pasid, pasid);
    EXPECT_EQ(read.va, src_va);
    EXPECT_TRUE(read.read);
    EXPECT_FALSE(read.write);
    host.populate(pasid, src_va, page);
    host.respond(read, CCAD_RESPONSE_SUCCESS);
    ASSERT_TRUE(eventually([&] { return host.requests().size() == 1; }));

    auto write = host.requests()[0];
    EXPECT_EQ(write.va, dst_va);
    EXPECT_FALSE(write.read);
    EXPECT_TRUE(write.write);
    EXPECT_NE(write.prgi, read.prgi);
}

struct Failure {
    ccad_response response;
    bool write;
};

class Failed : public PageRequestsTest,
               public testing::WithParamInterface<Failure> {};

TEST_P(Failed, EndTheCommandWithAddressAndAccess)
{
    auto [response, write] = GetParam();
    uint64_t va = write ? dst_va : src_va;
    host.answer = [&](uint64_t at)
        -> std::optional<ccad_response> {
        return at == va + page ? std::optional(response)
                                       : std::nullopt;
    };
    host.add_region(pasid, {src_va, 4 * page});
    host.add_region(pasid, {dst_va, 4 * page});

    uint32_t bad = queue.push(copy(src_va + 11, dst_va + 11, 3 * page));
    uint32_t good = queue.push(nop());
    queue.ring_doorbell();
    auto record = queue.wait(bad);

    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, write ? CCAD_ACCESS_WRITE : CCAD_ACCESS_READ);
    if (response == CCAD_RESPONSE_INVALID) {
        /* The groups of pages 0 to 3 and 1 to 3, and then page 1 alone. */
        EXPECT_EQ(record.fault_addr, va + page);
        EXPECT_EQ(record.bytes_done, page - 11);
        EXPECT_EQ(queue.stat(CCAD_STAT_PAGE_FAILURES), 4 + 3 + 1);
    } else {
        /* No more requests: it ends with the page that was needed. */
        EXPECT_EQ(record.fault_addr, va + 11);
        EXPECT_EQ(record.bytes_done, 0);
        EXPECT_EQ(queue.stat(CCAD_STAT_PAGE_FAILURES), 4);
    }
    EXPECT_EQ(queue.wait(good).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(queue.state(), CCAD_CTX_ENABLED);
}

INSTANTIATE_TEST_SUITE_P(
    Responses, Failed,
    testing::Values(Failure{CCAD_RESPONSE_INVALID, false},
                    Failure{CCAD_RESPONSE_INVALID, true},
                    Failure{CCAD_RESPONSE_FAILURE, false},
                    Failure{CCAD_RESPONSE_FAILURE, true},
                    Failure{static_cast<ccad_response>(7), false}));

TEST_F(PageRequestsTest, ByteExactWhereTheAccessBegan)
{
    EXPECT_EQ(queue.run(crc(src_va + 1234, 10)).fault_addr, src_va + 1234);
    EXPECT_EQ(queue.run(fill(dst_va + 4095, 1, 0)).fault_addr, dst_va + 4095);
}

TEST_F(PageRequestsTest, RefusedByTheHostAreFaults)
{
    queue.run(nop());
    host.serving(Serving::impossible);

    auto record = queue.run(crc(src_va, 1));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.page_requests, 0);
    host.serving(Serving::inside);
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
}

/* Success, but the page is not there: gone again, or never was. */
TEST_F(PageRequestsTest, SpuriousSuccessIsTriedAgain)
{
    std::atomic<int> lies{3};
    host.add_region(pasid, {src_va, page});
    host.answer = [&](uint64_t)
        -> std::optional<ccad_response> {
        return lies-- > 0 ? std::optional(CCAD_RESPONSE_SUCCESS)
                          : std::nullopt;
    };

    auto record = queue.run(crc(src_va, page));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.page_requests, 4);
}

TEST_F(PageRequestsTest, SpuriousSuccessDoesNotGoOnForEver)
{
    host.answer = [](uint64_t) {
        return std::optional(CCAD_RESPONSE_SUCCESS);
    };

    auto record = queue.run(crc(src_va + 9, page));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.fault_addr, src_va + 9);
    EXPECT_EQ(record.page_requests, 2 * 33) << "of two pages each time";
}

TEST_F(PageRequestsTest, UnknownResponsesAreIgnored)
{
    for (uint32_t prgi : {0u, 1u, 511u, 512u, 0xffffu}) {
        EXPECT_FALSE(ccad_core_page_response(device.core(), pasid,
                                             static_cast<uint16_t>(prgi),
                                             CCAD_RESPONSE_SUCCESS));
    }
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
}

TEST_F(PageRequestsTest, ServeRingAndRecordToo)
{
    uint32_t index = queue.push(nop());
    std::map<uint64_t, uint64_t> swapped;
    for (uint64_t va : {queue.ring(), queue.record_address(index)}) {
        swapped[va & ~(page - 1)] = host.walk(pasid, va)->pa;
    }
    for (auto [va, pa] : swapped) {
        host.unmap(pasid, va);
    }
    host.answer = [&](uint64_t va) {
        host.map(pasid, va, swapped.at(va), page);
        return std::optional(CCAD_RESPONSE_SUCCESS);
    };
    queue.ring_doorbell();

    ASSERT_TRUE(
        eventually([&] { return queue.stat(CCAD_STAT_COMMANDS) == 1; }));
    EXPECT_EQ(queue.wait(index).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(queue.record(index).page_requests, 0) << "not of its operands";
    EXPECT_EQ(queue.stat(CCAD_STAT_PAGE_REQUESTS), 2);
}

/* The flag is for the operands: a record can always be brought in. */
TEST_F(PageRequestsTest, RecordIsAskedForInAnyCase)
{
    host.add_region(pasid, {dst_va, page});
    ccad_desc desc = nop(9);
    desc.flags = CCAD_DESC_NO_PAGE_REQUEST;
    desc.completion = dst_va;
    queue.push(desc);
    queue.ring_doorbell();

    EXPECT_TRUE(
        eventually([&] { return host.walk(pasid, dst_va).has_value(); }));
    EXPECT_TRUE(
        eventually([&] { return queue.stat(CCAD_STAT_COMMANDS) == 1; }));
    EXPECT_EQ(queue.state(), CCAD_CTX_ENABLED);
}

TEST_F(PageRequestsTest, UnreadableRingStopsTheContext)
{
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_CTX_ERROR);
    host.release(pasid, queue.ring());
    queue.tail(1);
    queue.ring_doorbell();

    EXPECT_TRUE(eventually([&] { return queue.state() == CCAD_CTX_ERROR; }));
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_RING);
    EXPECT_EQ(queue.db(CCAD_DB_HEAD), 0);
    EXPECT_TRUE(
        eventually([&] { return host.interrupts(CCAD_VECTOR_EVENT) == 1; }));
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), CCAD_EVENT_CTX_ERROR);
    EXPECT_EQ(queue.stat(CCAD_STAT_COMMANDS), 0);
}

TEST_F(PageRequestsTest, UnwritableRecordStopsTheContext)
{
    Queue other = device.queue(1, pasid);
    ccad_desc desc = nop();
    desc.completion = dst_va;
    queue.push(desc);
    queue.push(nop());
    queue.ring_doorbell();

    EXPECT_TRUE(eventually([&] { return queue.state() == CCAD_CTX_ERROR; }));
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_COMPLETION);
    EXPECT_EQ(queue.db(CCAD_DB_HEAD), 1) << "the next was not fetched";
    EXPECT_EQ(queue.stat(CCAD_STAT_COMMANDS), 1);
    EXPECT_EQ(other.run(nop()).status, CCAD_COMP_SUCCESS) << "nobody else's";
}

TEST_F(PageRequestsTest, ReadOnlyRecordStopsTheContext)
{
    host.add_region(pasid, {dst_va, page, false});
    host.populate(pasid, dst_va, page, false, false);
    ccad_desc desc = nop();
    desc.completion = dst_va;
    queue.push(desc);
    queue.ring_doorbell();

    EXPECT_TRUE(eventually([&] { return queue.state() == CCAD_CTX_ERROR; }));
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_COMPLETION);
    EXPECT_EQ(host.ptr(pasid, dst_va)[0], 0);
}

/* Who waits for a page does not keep an engine from others. */
TEST(OneEngine, GoesOnWhileAContextWaitsForAPage)
{
    ccad_config config = small_config();
    config.engines = 1;
    Device device(config);
    device.enable();
    Queue waiting = device.queue(0);
    Queue other = device.queue(1);
    waiting.run(nop());
    device.host.serving(Serving::never);

    uint32_t index = waiting.submit(crc(src_va, 8));
    ASSERT_TRUE(
        eventually([&] { return device.host.requests().size() == 1; }));
    EXPECT_EQ(other.run(nop()).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(waiting.record(index).status, CCAD_COMP_NONE);

    device.host.populate(pasid, src_va, page);
    device.host.respond(device.host.requests()[0], CCAD_RESPONSE_SUCCESS);
    EXPECT_EQ(waiting.wait(index).status, CCAD_COMP_SUCCESS);
}

TEST(BackPressure, KeepsToTheAllocation)
{
    ccad_config config = small_config();
    config.page_requests = 2;
    config.page_request_group = 1;
    Device device(config);
    FakeHost &host = device.host;
    device.enable();
    std::vector<Queue> queues;
    std::vector<uint32_t> commands;
    for (uint32_t i = 0; i < 4; i++) {
        queues.push_back(device.queue(i, pasid + i));
        queues[i].run(nop());
        host.add_region(pasid + i, {src_va, 8 * page});
    }
    host.serving(Serving::never);
    for (Queue &queue : queues) {
        commands.push_back(queue.submit(crc(src_va, 8 * page)));
    }

    /* 32 pages, two at a time, each served by hand. */
    for (int served = 0; served < 32; served++) {
        ASSERT_TRUE(eventually([&] { return !host.requests().empty(); }));
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        auto requests = host.requests();
        ASSERT_LE(requests.size(), 2u);
        host.respond(requests[0], host.serve(requests[0].pasid,
                                             requests[0].va, false));
    }
    for (size_t i = 0; i < queues.size(); i++) {
        EXPECT_EQ(queues[i].wait(commands[i]).status, CCAD_COMP_SUCCESS);
    }
}

} // namespace

} // namespace ccad::test
