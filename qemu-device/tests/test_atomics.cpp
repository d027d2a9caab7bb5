/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FETCH_ADD and COMPARE_SWAP. */
#include <thread>

#include "commands.hpp"

namespace ccad::test {

namespace {

class Atomics : public DeviceTest {
protected:
    Atomics() { host.populate(pasid, dst_va, page); }

    template <typename T>
    T at(uint64_t offset)
    {
        return load_value<T>(host, dst_va + offset);
    }

    Queue queue = device.queue();
};

TEST_F(Atomics, FetchAddReturnsWhatItWas)
{
    store_value<uint64_t>(host, dst_va + 8, 0x1'0000'0000);

    auto record = queue.run(fetch_add(dst_va + 8, 8, 5));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.result, 0x1'0000'0000);
    EXPECT_EQ(record.bytes_done, 8);
    EXPECT_EQ(at<uint64_t>(8), 0x1'0000'0005);
    EXPECT_EQ(queue.run(fetch_add(dst_va + 8, 8, UINT64_MAX)).result,
              0x1'0000'0005);
    EXPECT_EQ(at<uint64_t>(8), 0x1'0000'0004);
    EXPECT_EQ(at<uint64_t>(0), 0);
    EXPECT_EQ(at<uint64_t>(16), 0);
}

TEST_F(Atomics, FourBytesWrapWithoutACarry)
{
    store_value<uint32_t>(host, dst_va + 4, 0xffff'ffff);
    store_value<uint32_t>(host, dst_va + 8, 7);

    auto record = queue.run(fetch_add(dst_va + 4, 4, 2));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.result, 0xffff'ffff) << "not sign-extended";
    EXPECT_EQ(record.bytes_done, 4);
    EXPECT_EQ(at<uint32_t>(4), 1);
    EXPECT_EQ(at<uint32_t>(8), 7);
}

TEST_F(Atomics, CompareSwapSwapsIfEqual)
{
    store_value<uint64_t>(host, dst_va, 0x1122334455667788);

    auto record = queue.run(compare_swap(dst_va, 8, 0x1122334455667788, 9));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.result, 0x1122334455667788);
    EXPECT_EQ(at<uint64_t>(0), 9);

    record = queue.run(compare_swap(dst_va, 8, 0x1122334455667788, 10));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.result, 9);
    EXPECT_EQ(at<uint64_t>(0), 9);
}

TEST_F(Atomics, CompareSwapOfFourBytesSeesFour)
{
    store_value<uint64_t>(host, dst_va, 0xaaaa'aaaa'0000'0003);

    EXPECT_EQ(queue.run(compare_swap(dst_va, 4, 3, 0xffff'ffff)).result, 3);
    EXPECT_EQ(at<uint64_t>(0), 0xaaaa'aaaa'ffff'ffff);
    EXPECT_EQ(queue.run(compare_swap(dst_va, 4, 3, 4)).result, 0xffff'ffff);
    EXPECT_EQ(at<uint64_t>(0), 0xaaaa'aaaa'ffff'ffff);
}

TEST_F(Atomics, CountAsOneWrite)
{
    queue.run(fetch_add(dst_va, 8, 1));
    auto record = queue.run(compare_swap(dst_va, 8, 99, 1));

    EXPECT_EQ(record.result, 1) << "not equal";
    EXPECT_EQ(record.atc_hits, 1);
    EXPECT_EQ(queue.stat(CCAD_STAT_WRITE_SYSTEM), 2 * (8 + 64));
    EXPECT_EQ(queue.stat(CCAD_STAT_READ_SYSTEM), 2 * 64);
}

TEST_F(Atomics, BadFields)
{
    constexpr uint64_t wide = uint64_t{1} << 32;

    for (ccad_desc desc :
         {fetch_add(dst_va, 0, 1), fetch_add(dst_va, 1, 1),
          fetch_add(dst_va, 2, 1), fetch_add(dst_va, 16, 1),
          fetch_add(dst_va + 1, 4, 1), fetch_add(dst_va + 2, 4, 1),
          fetch_add(dst_va + 4, 8, 1), fetch_add(dst_va, 4, wide),
          compare_swap(dst_va, 0, 0, 1), compare_swap(dst_va, 3, 0, 1),
          compare_swap(dst_va + 4, 8, 0, 1), compare_swap(dst_va, 4, wide, 1),
          compare_swap(dst_va, 4, 0, wide)}) {
        auto record = queue.run(desc);
        EXPECT_EQ(record.status, CCAD_COMP_INVALID_FIELD)
            << int{desc.opcode} << " len " << desc.len;
        EXPECT_EQ(record.translations, 0);
    }
    ccad_desc desc = fetch_add(dst_va, 8, 1);
    desc.arg2 = 1;
    EXPECT_EQ(queue.run(desc).status, CCAD_COMP_INVALID_FIELD);
    EXPECT_EQ(at<uint64_t>(0), 0);
}

TEST_F(Atomics, AtTheLastBytesOfThePage)
{
    EXPECT_EQ(queue.run(fetch_add(dst_va + page - 8, 8, 3)).status,
              CCAD_COMP_SUCCESS);
    EXPECT_EQ(at<uint64_t>(page - 8), 3);
    EXPECT_EQ(queue.run(fetch_add(dst_va + page - 4, 4, 3)).status,
              CCAD_COMP_SUCCESS);
    EXPECT_EQ(at<uint64_t>(page - 8), 0x3'0000'0003);
}

TEST_F(Atomics, FaultsAreWrites)
{
    host.populate(pasid, src_va, page, false, false);

    for (uint64_t va : {src_va + 16, src_va + page + 16}) {
        for (ccad_desc desc :
             {fetch_add(va, 8, 1), compare_swap(va, 8, 1, 2)}) {
            auto record = queue.run(without_page_requests(desc));
            EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
            EXPECT_EQ(record.access, CCAD_ACCESS_WRITE);
            EXPECT_EQ(record.fault_addr, va);
            EXPECT_EQ(record.bytes_done, 0);
            EXPECT_EQ(record.result, 0);
        }
    }
}

/* Once, though the page is asked for first. */
TEST_F(Atomics, PageRequestsDoNotRepeatThem)
{
    host.add_region(pasid, {src_va, page});

    auto record = queue.run(fetch_add(src_va + 64, 8, 1));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.page_requests, 1);
    EXPECT_EQ(load_value<uint64_t>(host, src_va + 64), 1);
}

/* Two processors and the device count together. */
TEST_F(Atomics, NoIncrementIsLost)
{
    constexpr uint64_t each = 20'000;
    constexpr uint32_t by_device = 2'000;
    auto *word = reinterpret_cast<uint64_t *>(host.ptr(pasid, dst_va));
    auto *half = reinterpret_cast<uint32_t *>(host.ptr(pasid, dst_va + 8));

    std::vector<std::thread> cpus;
    for (int i = 0; i < 2; i++) {
        cpus.emplace_back([=] {
            for (uint64_t n = 0; n < each; n++) {
                __atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
                __atomic_fetch_add(half, 1, __ATOMIC_SEQ_CST);
            }
        });
    }
    for (uint32_t n = 0; n < by_device; n++) {
        queue.push(fetch_add(dst_va, 8, 1), false);
        auto record = queue.run(fetch_add(dst_va + 8, 4, 1));
        ASSERT_EQ(record.status, CCAD_COMP_SUCCESS);
        ASSERT_GE(record.result, n);
    }
    for (auto &cpu : cpus) {
        cpu.join();
    }

    EXPECT_EQ(at<uint64_t>(0), 2 * each + by_device);
    EXPECT_EQ(at<uint32_t>(8), 2 * each + by_device);
}

/* A lock that processors and the device take by turns. */
TEST_F(Atomics, CompareSwapExcludes)
{
    constexpr int rounds = 300;
    auto *lock = reinterpret_cast<uint32_t *>(host.ptr(pasid, dst_va));
    /* What it guards is no atomic: a race would be seen. */
    auto *guarded = reinterpret_cast<uint64_t *>(host.ptr(pasid, dst_va + 64));

    std::thread cpu([=] {
        for (int i = 0; i < rounds; i++) {
            uint32_t free = 0;
            while (!__atomic_compare_exchange_n(lock, &free, 1, false,
                                                __ATOMIC_ACQUIRE,
                                                __ATOMIC_RELAXED)) {
                free = 0;
                std::this_thread::yield();
            }
            ++*guarded;
            __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
        }
    });
    for (int i = 0; i < rounds; i++) {
        while (queue.run(compare_swap(dst_va, 4, 0, 2)).result != 0) {
        }
        ++*guarded;
        EXPECT_EQ(queue.run(compare_swap(dst_va, 4, 2, 0)).result, 2);
    }
    cpu.join();

    EXPECT_EQ(at<uint64_t>(64), 2 * rounds);
    EXPECT_EQ(at<uint32_t>(0), 0);
}

} // namespace

} // namespace ccad::test
