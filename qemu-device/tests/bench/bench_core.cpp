/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the core costs, beside what it is measured with.  scripts/ccad bench
 * device pairs the names; each yardstick runs on the same memory.
 */
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include <sys/mman.h>

#include "atc.hpp"
#include "plain_host.hpp"

namespace ccad::bench {

namespace {

constexpr uint64_t src_va = 8 << 20;
constexpr uint64_t dst_va = 24 << 20;
/* Commands in the ring at once where latency does not matter. */
constexpr unsigned depth = 16;

ccad_desc command(uint8_t opcode, uint64_t len, uint64_t arg = 0)
{
    ccad_desc desc{};

    desc.opcode = opcode;
    desc.src = src_va;
    desc.dst = dst_va;
    desc.len = len;
    desc.arg = arg;
    return desc;
}

void run_all(PlainHost &host, Ring &ring, const ccad_desc &desc)
{
    for (unsigned i = 0; i < depth; i++) {
        ring.push(desc);
    }
    ring.doorbell();
    ccad_core_run(host.core());
    ring.wait(ring.next() - 1);
}

/* range(0): bytes, range(1): bytes of a page */
void opcode(benchmark::State &state, uint8_t code, uint64_t arg = 0)
{
    auto len = static_cast<uint64_t>(state.range(0));
    PlainHost host({.page_bytes = static_cast<uint64_t>(state.range(1))});
    Ring ring(host);

    run_all(host, ring, command(code, len, arg)); /* warms the ATC */
    for (auto _ : state) {
        run_all(host, ring, command(code, len, arg));
    }
    state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * depth *
                                                 len));
}

void copy(benchmark::State &state)
{
    opcode(state, CCAD_OP_COPY);
}

void fill(benchmark::State &state)
{
    opcode(state, CCAD_OP_FILL);
}

/* Bytes that differ, which memset cannot write. */
void fill_pattern(benchmark::State &state)
{
    opcode(state, CCAD_OP_FILL, 0x8877665544332211);
}

template <typename Body>
void on_the_host(benchmark::State &state, Body body)
{
    auto len = static_cast<uint64_t>(state.range(0));
    PlainHost host({});

    for (auto _ : state) {
        for (unsigned i = 0; i < depth; i++) {
            body(host.at(dst_va), host.at(src_va), len);
            benchmark::ClobberMemory();
        }
    }
    state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * depth *
                                                 len));
}

void host_memcpy(benchmark::State &state)
{
    on_the_host(state, [](uint8_t *dst, const uint8_t *src, uint64_t len) {
        std::memcpy(dst, src, len);
    });
}

void host_memset(benchmark::State &state)
{
    on_the_host(state, [](uint8_t *dst, const uint8_t *, uint64_t len) {
        std::memset(dst, 0, len);
    });
}

/* With the access counters on: one granule, no notifications. */
void copy_counted(benchmark::State &state)
{
    auto len = static_cast<uint64_t>(state.range(0));
    PlainHost host({});
    Ring ring(host);
    auto write = [&](uint32_t reg, uint64_t value, unsigned size = 4) {
        ccad_core_write(host.core(), reg, value, size);
    };

    write(CCAD_REG_CNT_GRANULE_SHIFT, CCAD_GRANULE_SHIFT_MAX);
    write(CCAD_REG_CNT_THRESHOLD, 0);
    write(CCAD_REG_CNT_BATCH, 1);
    write(CCAD_REG_CNT_RING, 0, 8);
    write(CCAD_REG_CNT_RING_SHIFT, 4);
    write(CCAD_REG_CNT_CTRL, CCAD_CNT_ENABLE);
    if (!(ccad_core_read(host.core(), CCAD_REG_CNT_CTRL, 4) &
          CCAD_CNT_ENABLE)) {
        state.SkipWithError("the access counters cannot be enabled");
        return;
    }
    run_all(host, ring, command(CCAD_OP_COPY, len));
    for (auto _ : state) {
        run_all(host, ring, command(CCAD_OP_COPY, len));
    }
    state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * depth *
                                                 len));
}

/* range(0): commands in flight; submitted and polled as a program does. */
void empty(benchmark::State &state)
{
    auto in_flight = static_cast<uint32_t>(state.range(0));
    PlainHost host({.threads = true});
    Ring ring(host);
    ccad_desc nop{};
    uint32_t oldest = ring.next();

    for (auto _ : state) {
        while (ring.next() - oldest < in_flight) {
            ring.push(nop);
        }
        ring.doorbell();
        ring.wait(oldest++);
        while (oldest != ring.next() && ring.ended(oldest)) {
            oldest++;
        }
    }
    state.SetItemsProcessed(ring.next());
}

/* What two threads that wait for each other cost, with nothing to do. */
void hand_over(benchmark::State &state)
{
    std::mutex mutex;
    std::condition_variable changed;
    std::atomic<uint64_t> done{0};
    uint64_t wanted = 0;
    bool quit = false;
    std::thread other([&] {
        std::unique_lock lock(mutex);
        for (;;) {
            changed.wait(lock, [&] { return quit || wanted != done; });
            if (quit) {
                return;
            }
            done = wanted;
        }
    });

    for (auto _ : state) {
        {
            std::lock_guard lock(mutex);
            wanted++;
        }
        changed.notify_one();
        while (done != wanted) {
            __builtin_ia32_pause();
        }
    }
    {
        std::lock_guard lock(mutex);
        quit = true;
    }
    changed.notify_one();
    other.join();
    state.SetItemsProcessed(state.iterations());
}

void atc_hit(benchmark::State &state)
{
    Atc atc(256, 8);
    uint64_t va = 0;

    for (uint64_t i = 0; i < 1024; i++) {
        atc.insert(atc.generation(), pasid,
                   {i * page, i * page + page - 1, i * page, true, true});
    }
    for (auto _ : state) {
        benchmark::DoNotOptimize(atc.lookup(pasid, va, true));
        va = (va + 17 * page) % (1024 * page);
    }
}

/* A miss and the least that it costs: asking, and entering the answer. */
void atc_miss(benchmark::State &state)
{
    Atc atc(256, 8);
    uint64_t va = 0;

    for (auto _ : state) {
        uint64_t generation = atc.generation();
        benchmark::DoNotOptimize(atc.lookup(pasid, va, true));
        atc.insert(generation, pasid, {va, va + page - 1, va, true, true});
        va += page;
    }
}

/* The ring is full of copies, the first of them being made. */
void refill(Ring &ring, uint32_t &oldest)
{
    while (oldest != ring.next() && ring.ended(oldest)) {
        oldest++;
    }
    bool idle = oldest == ring.next();
    while (ring.next() - oldest < depth) {
        ring.push(command(CCAD_OP_COPY, huge));
    }
    ring.doorbell();
    if (idle) {
        ring.wait(oldest++); /* until the engine has woken up */
    }
}

void spin(std::chrono::nanoseconds time)
{
    auto end = std::chrono::steady_clock::now() + time;

    while (std::chrono::steady_clock::now() < end) {
        __builtin_ia32_pause();
    }
}

/*
 * Of the page that copies write to, while the ATC has its entry; mean, and the
 * slowest of a hundred.  range(0) is 1: an engine is somewhere in a copy of
 * 2 MiB and lets the invalidation pass after gate_interval at the most; 0: the
 * engine sleeps, after a short copy that the entry comes from.
 */
void invalidate(benchmark::State &state)
{
    bool load = state.range(0);
    PlainHost host({.threads = true});
    Ring ring(host);
    std::minstd_rand random;
    std::uniform_int_distribution<int> pause_ns(2'000, 18'000);
    std::vector<double> took;
    uint32_t oldest = ring.next();
    auto make_copy = [&] {
        ring.push(command(CCAD_OP_COPY, 8));
        ring.doorbell();
        ring.wait(oldest++);
    };
    auto entries = [&] { return ccad_core_atc_entries(host.core(), 0); };

    make_copy();
    const uint32_t all = entries();
    for (auto _ : state) {
        do {
            /* The engine may want this processor if the machine is busy. */
            std::this_thread::yield();
            if (load) {
                refill(ring, oldest);
            } else {
                make_copy();
            }
            /* Anywhere in a copy, which has asked for the page again. */
            spin(std::chrono::nanoseconds(pause_ns(random)));
        } while (entries() != all ||
                 (load && ring.ended(ring.next() - 1)));

        auto began = std::chrono::steady_clock::now();
        ccad_core_invalidate(host.core(), pasid, false, dst_va, page);
        std::chrono::duration<double> time =
            std::chrono::steady_clock::now() - began;
        state.SetIterationTime(time.count());
        took.push_back(time.count() * 1e9);
    }
    std::sort(took.begin(), took.end());
    state.counters["p99"] = took[took.size() * 99 / 100];
}

/* A command that touches a page that is not there, from end to end. */
void page_request(benchmark::State &state)
{
    PlainHost host({.threads = true});
    Ring ring(host);
    ccad_desc desc = command(CCAD_OP_FILL, 8);

    ring.push(ccad_desc{});
    ring.doorbell();
    ring.wait(0);
    host.requests = true;
    desc.dst = PlainHost::fleeting;
    for (auto _ : state) {
        ccad_core_invalidate(host.core(), pasid, false, PlainHost::fleeting,
                             page);
        uint32_t index = ring.push(desc);
        ring.doorbell();
        ring.wait(index);
        if (ring.record(index).page_requests != 1) {
            state.SkipWithError("not one page request a command");
            break;
        }
    }
}

/* What a page that is not there costs the host's own processor. */
void page_fault(benchmark::State &state)
{
    constexpr size_t pages = 1024;
    auto *memory = static_cast<volatile uint8_t *>(
        mmap(nullptr, pages * page, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    size_t i = 0;

    madvise(const_cast<uint8_t *>(memory), pages * page, MADV_NOHUGEPAGE);
    for (auto _ : state) {
        if (i == pages) {
            state.PauseTiming();
            madvise(const_cast<uint8_t *>(memory), pages * page,
                    MADV_DONTNEED);
            state.ResumeTiming();
            i = 0;
        }
        memory[i++ * page] = 1;
    }
    munmap(const_cast<uint8_t *>(memory), pages * page);
}

void sizes(benchmark::internal::Benchmark *of)
{
    for (int64_t bytes : {4096, 65536, 2 << 20}) {
        of->Args({bytes, static_cast<int64_t>(huge)});
    }
    of->Args({2 << 20, static_cast<int64_t>(page)});
}

BENCHMARK(copy)->Apply(sizes);
BENCHMARK(fill)->Apply(sizes);
BENCHMARK(fill_pattern)->Args({2 << 20, static_cast<int64_t>(huge)});
BENCHMARK(host_memcpy)->Arg(4096)->Arg(65536)->Arg(2 << 20);
BENCHMARK(host_memset)->Arg(4096)->Arg(65536)->Arg(2 << 20);
BENCHMARK(copy_counted)->Arg(2 << 20);
BENCHMARK(empty)->Arg(1)->Arg(16)->Arg(64)->UseRealTime();
BENCHMARK(hand_over)->UseRealTime();
BENCHMARK(atc_hit);
BENCHMARK(atc_miss);
/* A fixed number: what is timed is a small part of what it takes. */
BENCHMARK(invalidate)->Arg(0)->Arg(1)->Iterations(2000)->UseManualTime();
BENCHMARK(page_request)->UseRealTime();
BENCHMARK(page_fault);

} // namespace

} // namespace ccad::bench

BENCHMARK_MAIN();
