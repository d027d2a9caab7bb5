/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From addresses to memory: hits, misses, permissions, invalidation. */
#include <cstring>
#include <thread>

#include "device.hpp"

namespace ccad::test {

namespace {

class Translations : public DeviceTest {
protected:
    Queue queue = device.queue();
};

TEST_F(Translations, AreAskedForOnceAndThenHit)
{
    host.populate(pasid, src_va, page);

    auto first = queue.run(crc(src_va, page));
    EXPECT_EQ(first.translations, 1);
    EXPECT_EQ(first.atc_hits, 0);
    auto second = queue.run(crc(src_va, page));
    EXPECT_EQ(second.translations, 0);
    EXPECT_EQ(second.atc_hits, 1);
}

TEST_F(Translations, ComeInBatchesOfTheOperandsPages)
{
    host.populate(pasid, src_va, 40 * page);

    auto record = queue.run(crc(src_va, 40 * page));
    EXPECT_EQ(record.translations, 3) << "16 + 16 + 8";
    EXPECT_EQ(record.atc_hits, 37);
}

/* Who asks for more than the operand might set bits in foreign pages. */
TEST_F(Translations, DoNotGoBeyondTheOperand)
{
    host.populate(pasid, src_va, 4 * page);

    queue.run(crc(src_va + 100, page));
    EXPECT_EQ(queue.run(crc(src_va + 2 * page, 8)).translations, 1);
}

TEST_F(Translations, OfAHugePageServeAllOfIt)
{
    host.populate(pasid, src_va, huge, false, true, huge);

    auto record = queue.run(crc(src_va + 5, huge - 5));
    EXPECT_EQ(record.translations, 1);
    EXPECT_EQ(record.atc_hits, huge / (64 * 1024) - 1);
}

TEST_F(Translations, OfOnePasidAreNotAnothers)
{
    Queue other = device.queue(1, pasid + 1);
    host.populate(pasid, src_va, page);
    host.populate(pasid + 1, src_va, page);
    store(host, src_va, random_bytes(page, 1));
    store(host, src_va, random_bytes(page, 2), pasid + 1);

    auto a = queue.run(crc(src_va, page));
    auto b = other.run(crc(src_va, page));
    EXPECT_NE(a.result, b.result);
    EXPECT_EQ(b.translations, 1);
    EXPECT_EQ(queue.run(crc(src_va, page)).result, a.result);
    EXPECT_EQ(other.run(crc(src_va, page)).result, b.result);
}

/* The pages of one operand push out those of the other, and it goes on. */
TEST(SmallAtc, OfOneEntryMakesProgress)
{
    ccad_config config = small_config();
    config.atc_sets = 1;
    config.atc_ways = 1;
    Device device(config);
    device.enable();
    Queue queue = device.queue();
    device.host.populate(pasid, src_va, 32 * page);
    device.host.populate(pasid, dst_va, 33 * page);
    auto bytes = random_bytes(32 * page);
    store(device.host, src_va, bytes);

    auto record = queue.run(copy(src_va, dst_va + 100, 32 * page));

    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.translations, 65) << "32 + 33, none twice";
    EXPECT_EQ(load(device.host, dst_va + 100, 32 * page), bytes);
}

/* The IOMMU sets the dirty bit then, and may not be asked again. */
TEST_F(Translations, AskForWriteFromTheFirst)
{
    host.populate(pasid, src_va, page);
    host.populate(pasid, dst_va, page);
    queue.run(nop());
    unsigned before = host.write_translate_calls();

    queue.run(crc(src_va, page));
    EXPECT_EQ(host.write_translate_calls(), before);
    unsigned calls = host.translate_calls();
    queue.run(fill(dst_va, page, 1));
    EXPECT_EQ(host.write_translate_calls(), before + 1);
    EXPECT_EQ(host.translate_calls(), calls + 1);
}

TEST_F(Translations, ReadOnlyPagesAreRead)
{
    host.populate(pasid, src_va, page, false, false);

    EXPECT_EQ(queue.run(crc(src_va, page)).status, CCAD_COMP_SUCCESS);
}

TEST_F(Translations, ReadOnlyPagesAreNotWritten)
{
    host.populate(pasid, dst_va, 2 * page, false, false);
    ccad_desc desc = fill(dst_va + 8, page, 1);
    desc.flags = CCAD_DESC_NO_PAGE_REQUEST;

    auto record = queue.run(desc);
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_WRITE);
    EXPECT_EQ(record.fault_addr, dst_va + 8);
    EXPECT_EQ(host.ptr(pasid, dst_va)[8], 0);
}

/* First read, so that the ATC knows the page without the right to write. */
TEST_F(Translations, AreUpgradedForAWrite)
{
    host.populate(pasid, dst_va, page, false, false);
    queue.run(crc(dst_va, page));
    host.map(pasid, dst_va, host.walk(pasid, dst_va)->pa, page, true);

    EXPECT_EQ(queue.run(fill(dst_va, 8, 0x33)).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(host.ptr(pasid, dst_va)[0], 0x33);
}

TEST_F(Translations, NotPresentWithoutPageRequestsFailExactly)
{
    host.populate(pasid, src_va, 3 * page);
    host.populate(pasid, dst_va, 2 * page);
    ccad_desc desc = copy(src_va + 10, dst_va + 100, 3 * page - 10);
    desc.flags = CCAD_DESC_NO_PAGE_REQUEST;

    auto record = queue.run(desc);

    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_WRITE);
    EXPECT_EQ(record.fault_addr, dst_va + 2 * page);
    EXPECT_EQ(record.bytes_done, 2 * page - 100);
    EXPECT_EQ(record.page_requests, 0);
    EXPECT_THAT(host.requests(), testing::IsEmpty());
}

TEST_F(Translations, ThatCannotBeAskedForFailAtOnce)
{
    host.populate(pasid, src_va, page);
    queue.run(nop()); /* ring and record are in the ATC */
    host.translations_work = false;

    auto record = queue.run(crc(src_va + 3, 10));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(record.fault_addr, src_va + 3);
    EXPECT_EQ(record.page_requests, 0);
}

TEST_F(Translations, ToNothingAreBusErrors)
{
    host.populate(pasid, src_va, 2 * page);
    host.unmapped_pa = host.walk(pasid, src_va + page)->pa;

    auto record = queue.run(crc(src_va + 1, 2 * page - 1));
    EXPECT_EQ(record.status, CCAD_COMP_BUS_ERROR);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(record.fault_addr, src_va + page);
    EXPECT_EQ(record.bytes_done, page - 1);
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
}

TEST_F(Translations, CrcOfAFailedCommandIsThatOfItsBytes)
{
    host.populate(pasid, src_va, page);
    auto bytes = random_bytes(page);
    store(host, src_va, bytes);
    ccad_desc desc = crc(src_va, 2 * page);
    desc.flags = CCAD_DESC_NO_PAGE_REQUEST;

    auto failed = queue.run(desc);
    ASSERT_EQ(failed.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(failed.bytes_done, page);
    EXPECT_EQ(failed.result, queue.run(crc(src_va, page)).result);
}

class Invalidation : public Translations {
protected:
    void invalidate(uint64_t va, uint64_t len, uint32_t of = pasid,
                    bool global = false)
    {
        std::lock_guard lock(host.big_lock());
        ccad_core_invalidate(device.core(), of, global, va, len);
    }
    uint64_t moved(uint64_t va)
    {
        uint64_t pa = host.alloc(page);
        host.map(pasid, va, pa, page);
        return pa;
    }
    uint32_t translations_after(const std::function<void()> &what)
    {
        queue.run(crc(src_va, page));
        what();
        return queue.run(crc(src_va, page)).translations;
    }
};

TEST_F(Invalidation, MakesTheEngineSeeTheNewPage)
{
    host.populate(pasid, src_va, page);
    host.populate(pasid, dst_va, page);
    queue.run(fill(src_va, page, 1));
    queue.run(copy(src_va, dst_va, page));

    uint64_t pa = moved(src_va);
    std::memset(host.at(pa), 0x77, page);
    invalidate(src_va, page);

    queue.run(copy(src_va, dst_va, page));
    EXPECT_EQ(host.ptr(pasid, dst_va)[page - 1], 0x77);
}

TEST_F(Invalidation, IsAsWideAsItSays)
{
    host.populate(pasid, src_va, page);

    EXPECT_EQ(translations_after([] {}), 0);
    EXPECT_EQ(translations_after([&] { invalidate(src_va, page); }), 1);
    EXPECT_EQ(translations_after([&] { invalidate(src_va + page, page); }),
              0);
    EXPECT_EQ(translations_after([&] { invalidate(src_va - page, page); }),
              0);
    EXPECT_EQ(translations_after([&] { invalidate(0, 0); }), 1);
    EXPECT_EQ(translations_after([&] { invalidate(page, UINT64_MAX); }), 1);
    EXPECT_EQ(translations_after([&] { invalidate(0, 0, pasid + 1); }), 0);
    EXPECT_EQ(translations_after([&] { invalidate(0, 0, 0, true); }), 1);
    EXPECT_EQ(device.stat(CCAD_STAT_INVALIDATIONS), 7);
    EXPECT_EQ(queue.stat(CCAD_STAT_INVALIDATIONS), 6) << "of this PASID";
}

/* The promise: no engine is at the page when it returns. */
TEST_F(Invalidation, WaitsForTheAccessInFlight)
{
    host.populate(pasid, dst_va, page);
    queue.run(nop());
    uint64_t pa = host.walk(pasid, dst_va)->pa;
    Barrier inside;
    host.on_map = [&](uint64_t at, bool) {
        if (at == pa) {
            inside.pass();
        }
    };
    uint32_t index = queue.submit(fill(dst_va, page, 5));
    ASSERT_TRUE(inside.reached());

    std::atomic<bool> returned{false};
    std::thread cpu([&] {
        invalidate(dst_va, page);
        EXPECT_EQ(host.mapped_pages(), 0);
        returned = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_FALSE(returned) << "an engine is still at the page";
    inside.open();
    cpu.join();
    EXPECT_EQ(queue.wait(index).status, CCAD_COMP_SUCCESS);
}

/* An answer that was under way when the page went is not used. */
TEST_F(Invalidation, OvertakesATranslationInFlight)
{
    host.populate(pasid, dst_va, page);
    queue.run(nop());
    uint64_t old_pa = host.walk(pasid, dst_va)->pa;
    Barrier answered;
    host.on_translated = [&] { answered.pass(); };
    uint32_t index = queue.submit(fill(dst_va, page, 0x1111111111111111));
    ASSERT_TRUE(answered.reached());

    uint64_t new_pa = moved(dst_va);
    invalidate(dst_va, page);
    host.free(old_pa, page);
    answered.open();

    EXPECT_EQ(queue.wait(index).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(host.at(old_pa)[0], 0xdb);
    EXPECT_EQ(host.at(new_pa)[0], 0x11);
}

TEST_F(Invalidation, DoesNotWaitForAnEngineInsideTranslate)
{
    Barrier inside;
    host.on_translate = [&](uint32_t, uint64_t) { inside.pass(); };
    uint32_t index = queue.submit(nop());
    ASSERT_TRUE(inside.reached());

    invalidate(0, 0);

    inside.open();
    EXPECT_EQ(queue.wait(index).status, CCAD_COMP_SUCCESS);
}

/* Entries of 4 KiB, 2 MiB and 1 GiB beside each other. */
TEST_F(Invalidation, OfEntriesOfEverySize)
{
    constexpr uint64_t giant = uint64_t{1} << 30;
    constexpr uint64_t dst = dst_va + 3 * huge; /* not all of one set */
    host.map(pasid, src_va, 0, giant); /* much of it is no memory */
    host.populate(pasid, dst, huge, false, true, huge);
    host.populate(pasid, dst + huge, page);
    auto entries = [&](uint32_t shift) {
        return ccad_core_atc_entries(device.core(), shift);
    };
    auto copies = [&] { /* from all over the giant to both of the others */
        auto at = [](uint64_t n) { return src_va + n * 7 * huge; };
        return queue.run(copy(at(0), dst, page)).translations +
               queue.run(copy(at(1), dst + huge - page, 2 * page))
                   .translations;
    };
    queue.run(nop());
    uint32_t small = entries(12);

    EXPECT_EQ(copies(), 3);
    EXPECT_EQ(entries(30), 1);
    EXPECT_EQ(entries(21), 1);
    EXPECT_EQ(entries(12), small + 1);
    EXPECT_EQ(copies(), 0);

    invalidate(src_va + giant - page, page);
    EXPECT_EQ(entries(30), 0);
    EXPECT_EQ(entries(21), 1);
    EXPECT_EQ(copies(), 1);
    invalidate(dst + huge - page, 2 * page, pasid + 1);
    EXPECT_EQ(copies(), 0) << "of another process";
    invalidate(dst + huge - page, 2 * page);
    EXPECT_EQ(entries(21), 0);
    EXPECT_EQ(entries(12), small);
    EXPECT_EQ(copies(), 2);
    invalidate(0, 0, 0, true);
    EXPECT_EQ(entries(0), 0);
}

/* A storm of them for other pages neither stops nor fails a command. */
TEST_F(Invalidation, OfOtherPagesDoesNotHoldUpACommand)
{
    host.populate(pasid, src_va, 2 * huge, false, true, huge);
    std::atomic<bool> stop{false};
    std::thread cpu([&] {
        while (!stop) {
            invalidate(dst_va, page);
        }
    });
    for (int i = 0; i < 5; i++) {
        EXPECT_EQ(queue.run(crc(src_va, 2 * huge)).status,
                  CCAD_COMP_SUCCESS);
    }
    stop = true;
    cpu.join();
}

/* And commands one after the other do not hold up an invalidation. */
/* However long the slice is: it is the step in progress that is waited for. */
TEST(LongSlice, KeepsNoInvalidation)
{
    constexpr unsigned begun = 10;
    ccad_config config = small_config();
    config.slice_ns = UINT32_MAX;
    config.cost = {};
    Device device(config);
    FakeHost &host = device.host;
    device.enable();
    Queue queue = device.queue();
    host.populate(pasid, src_va, huge, false, true, huge);
    queue.run(crc(src_va, 8)); /* from now on the ATC knows it */

    std::atomic<unsigned> steps{0};
    std::atomic<unsigned> after{0};
    std::thread other;
    host.map_limit = page; /* for each step a mapping of its own */
    host.on_map = [&](uint64_t, bool) {
        if (++steps == begun) {
            other = std::thread([&] {
                std::lock_guard lock(host.big_lock());
                ccad_core_invalidate(device.core(), pasid + 1, false, 0, page);
                after = steps.load();
            });
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
        } else if (steps > begun && !after) {
            /* Time for the other one to say so, on a busy host. */
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    };
    EXPECT_EQ(queue.run(crc(src_va, huge)).status, CCAD_COMP_SUCCESS);
    other.join();
    EXPECT_GT(steps, huge / page);
    EXPECT_LT(after, begun + huge / page / 2);
}

TEST_F(Invalidation, IsNotStarvedByABusyEngine)
{
    host.populate(pasid, src_va, huge, false, true, huge);
    std::atomic<bool> stop{false};
    std::thread user([&] {
        while (!stop) {
            queue.run(crc(src_va, huge));
        }
    });
    auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 1000; i++) {
        invalidate(dst_va, page);
    }
    auto took = std::chrono::steady_clock::now() - begin;
    stop = true;
    user.join();
    EXPECT_LT(took, std::chrono::seconds(20)) << "1000 invalidations";
}

} // namespace

} // namespace ccad::test
