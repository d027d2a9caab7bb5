/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A core without threads: what happens, happens in ccad_core_run(). */
#include "device.hpp"

namespace ccad::test {
namespace {

ccad_config host_driven()
{
    ccad_config config = small_config();

    config.host_driven = true;
    return config;
}

class HostDriven : public testing::Test {
protected:
    HostDriven() { device.enable(); }
    void TearDown() override
    {
        EXPECT_THAT(host.violations(), testing::IsEmpty());
        EXPECT_EQ(host.threads_inside(), 0);
    }

    Device device{host_driven()};
    FakeHost &host = device.host;
};

TEST_F(HostDriven, NothingRunsOutsideOfRun)
{
    Queue queue = device.queue();
    uint32_t first = queue.submit(nop(7));
    uint32_t second = queue.submit(nop(8));

    EXPECT_EQ(queue.db(CCAD_DB_HEAD), 0u);
    EXPECT_EQ(queue.record(first).status, CCAD_COMP_NONE);
    ccad_core_run(device.core());
    EXPECT_EQ(queue.db(CCAD_DB_HEAD), 2u);
    EXPECT_EQ(queue.record(first).tag, 7u);
    EXPECT_EQ(queue.record(second).status, CCAD_COMP_SUCCESS);
}

TEST_F(HostDriven, ReturnsWhileAPageRequestIsOutstanding)
{
    Queue queue = device.queue();
    host.serving(FakeHost::Serving::never);
    host.populate(pasid, src_va, page);
    host.add_region(pasid, {.start = dst_va, .len = page});

    uint32_t index = queue.submit(copy(src_va, dst_va, page));
    ccad_core_run(device.core());
    auto requests = host.requests();
    ASSERT_EQ(requests.size(), 1u);
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_NONE);

    host.respond(requests[0], host.serve(requests[0]));
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_NONE);
    ccad_core_run(device.core());
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_SUCCESS);
}

/* The host may call the core from an operation, as another CPU would. */
TEST_F(HostDriven, DisableFromAHostOperation)
{
    Queue queue = device.queue();
    host.populate(pasid, src_va, 4 * page);
    queue.submit(nop()); /* from here on the ATC knows the records */
    ccad_core_run(device.core());
    host.on_translate = [&](uint32_t, uint64_t va) {
        if (va >= src_va && va < src_va + 4 * page) {
            queue.disable();
        }
    };

    uint32_t index = queue.submit(crc(src_va, 4 * page));
    ccad_core_run(device.core());
    EXPECT_EQ(queue.state(), uint32_t{CCAD_CTX_DISABLED});
    EXPECT_EQ(queue.record(index).status, CCAD_COMP_ABORTED);
}

/*
 * Room for a page request that was given, and taken away, and then given to
 * another one, who is later on the line of time: who stands in line for it now
 * does not keep that one back.
 */
TEST(HostDrivenInOrder, RoomGoesOn)
{
    ccad_config config = host_driven();
    config.ordered = true;
    Device device(config);
    FakeHost &host = device.host;
    auto allocate = [&](uint32_t requests) {
        std::lock_guard lock(host.big_lock());
        ccad_core_page_request_allocation(device.core(), requests);
    };
    std::vector<Queue> queues;
    std::vector<uint32_t> last;

    host.serving(FakeHost::Serving::never);
    allocate(1);
    device.enable();
    for (uint32_t i = 0; i < 3; i++) {
        queues.push_back(device.queue(i));
        last.push_back(queues[i].submit(crc(src_va + i * page, 8)));
    }
    ccad_core_run(device.core());
    ASSERT_EQ(host.requests().size(), 1u);
    ASSERT_EQ(device.info(1).place, CCAD_PLACE_STALLED);
    ASSERT_EQ(device.info(2).place, CCAD_PLACE_STALLED);
    allocate(2);
    allocate(1);
    for (int i = 0; i < 3; i++) {
        ASSERT_EQ(host.requests().size(), 1u);
        host.respond(host.requests()[0], CCAD_RESPONSE_FAILURE);
        ccad_core_run(device.core());
    }
    for (uint32_t i = 0; i < 3; i++) {
        EXPECT_EQ(queues[i].record(last[i]).status, CCAD_COMP_PAGE_FAULT);
    }
    EXPECT_THAT(host.violations(), testing::IsEmpty());
}

TEST_F(HostDriven, OtherCoresDoNotRunByHand)
{
    Device threaded;
    threaded.enable();
    Queue queue = threaded.queue();

    ccad_core_run(threaded.core());
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
}

} // namespace
} // namespace ccad::test
