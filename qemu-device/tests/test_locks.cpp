/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of ccad_core.h on locks: in every host operation that may take
 * the big lock, every function of the core may be called; a lock of the
 * core's that were held would deadlock here.
 */
#include <atomic>
#include <set>
#include <thread>

#include "device.hpp"

namespace ccad::test {

namespace {

class LockRules : public DeviceTest {
protected:
    void reenter(const char *op)
    {
        static thread_local bool inside;
        if (inside) {
            return;
        }
        inside = true;
        {
            std::lock_guard lock(host.big_lock());
            ccad_core *core = device.core();
            ccad_core_read(core, CCAD_REG_STATS, 8);
            ccad_core_read(core, CCAD_DOORBELL(0) + CCAD_DB_STATS, 8);
            /* Of another PASID: its own would be asked for for ever. */
            ccad_core_invalidate(core, 99, false, 0, 0);
            ccad_core_page_response(core, 99, 511, CCAD_RESPONSE_SUCCESS);
            /* Another context: disabling goes all the way. */
            ccad_core_write(core, CCAD_DOORBELL(3) + CCAD_DB_CLEAR, 1, 4);
            ccad_core_write(core, CCAD_CTX(3) + CCAD_CTX_CTRL, 0, 4);
        }
        {
            std::lock_guard lock(mutex);
            seen.insert(op);
        }
        inside = false;
    }

    std::mutex mutex;
    std::set<std::string> seen;
};

TEST_F(LockRules, HostOperationsMayCallTheCore)
{
    host.on_op = [this](const char *op) { reenter(op); };
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_CTX_ERROR);
    Queue queue = device.queue();
    host.add_region(pasid, {src_va, page});
    ccad_desc desc = crc(src_va, page);
    desc.flags = CCAD_DESC_INTERRUPT;

    EXPECT_EQ(queue.run(desc).status, CCAD_COMP_SUCCESS);
    /* Which a stop would make pointless. */
    EXPECT_TRUE(eventually([&] {
        std::lock_guard lock(mutex);
        return seen.contains("locked");
    }));
    queue.db(CCAD_DB_TAIL, 1000);
    EXPECT_EQ(queue.state(), CCAD_CTX_ERROR);
    queue.disable();
    queue.enable();
    device.reset();

    EXPECT_THAT(seen, testing::UnorderedElementsAre(
                          "translate", "page_request", "locked", "interrupt",
                          "pasid_bind", "pasid_unbind"));
}

/* Where the big lock is held for long, engines wait for it and others do not
 * wait for them. */
TEST_F(LockRules, NothingWaitsForAnEngineThatWaitsForTheBigLock)
{
    Queue a = device.queue(0);
    Queue b = device.queue(1, pasid + 1);
    host.populate(pasid, src_va, page);
    host.populate(pasid + 1, src_va, page);
    {
        std::lock_guard big(host.big_lock());
        a.submit(crc(src_va, page));
        b.submit(crc(src_va, page));
        unsigned calls = host.translate_calls();
        EXPECT_TRUE(
            eventually([&] { return host.translate_calls() >= calls; }));
        std::this_thread::sleep_for(std::chrono::milliseconds(20));

        ccad_core_invalidate(device.core(), pasid, false, 0, 0);
        a.disable();
        EXPECT_EQ(a.state(), CCAD_CTX_DISABLED);
        device.reset();
        device.enable();
        a.enable();
    }
    EXPECT_EQ(a.run(crc(src_va, page)).status, CCAD_COMP_SUCCESS);
}

} // namespace

} // namespace ccad::test
