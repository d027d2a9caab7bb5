/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cost model: device time of what an engine did.
 *
 * An access is one contiguous piece that an engine reads or writes: it stays
 * within one translation and is at most max_access bytes.  What is counted:
 *
 *   accesses x latency of where the page lies (local or system memory)
 *   + bytes / bandwidth of where the page lies, rounded up once per memory
 *   + ATS requests x translation_ns
 *   + answered page request groups x page_request_ns
 *
 * The same command over the same pages with the same ATC contents costs the
 * same to the nanosecond: nothing depends on threads, on the host's speed or
 * on where a slice of the schedule ended.  A bandwidth of 0 charges nothing.
 *
 * A completion record carries the sums of its command's operands.  The
 * statistics of context and device also hold what it took to fetch
 * descriptors and to write completion records.
 *
 * With contexts in order (ccad_config.ordered) there is one line of time, and
 * a memory serves one transfer at a time: who comes while it is busy waits.
 * Latencies overlap with the transfers of others.
 */
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "ccad_core.h"

namespace ccad {

inline constexpr uint64_t max_access = 64 * 1024;
/*
 * Accesses to an operand that a step makes at the most, where the host is so
 * fast that going from step to step would show.
 */
inline constexpr uint64_t max_span = 32;
/* Of a time slice, what an access takes at the least: free ones end as well. */
inline constexpr uint64_t least_ns = 32;

__extension__ typedef unsigned __int128 wide;

constexpr uint64_t saturate(wide ns)
{
    return ns > UINT64_MAX ? UINT64_MAX : static_cast<uint64_t>(ns);
}

/* What an engine did in one kind of memory. */
struct Traffic {
    uint64_t accesses = 0;
    uint64_t read = 0;
    uint64_t written = 0;

    Traffic operator+(const Traffic &b) const
    {
        return {accesses + b.accesses, read + b.read, written + b.written};
    }
    Traffic operator-(const Traffic &b) const
    {
        return {accesses - b.accesses, read - b.read, written - b.written};
    }
    uint64_t bytes() const { return read + written; }
    template <typename Archive> void transfer(Archive &a)
    {
        a(accesses, read, written);
    }
    /* Accesses that follow each other; how many they are. */
    uint64_t count(uint64_t bytes, bool write)
    {
        uint64_t n = bytes / max_access + (bytes % max_access != 0);

        accesses += n;
        (write ? written : read) += bytes;
        return n;
    }
};

struct Meter {
    template <typename Archive> void transfer(Archive &a)
    {
        a(local, system, atc_hits, translations, page_requests, page_groups,
          page_failures);
    }

    Traffic local;
    Traffic system;
    uint64_t atc_hits = 0;
    uint64_t translations = 0;
    uint64_t page_requests = 0;
    uint64_t page_groups = 0;
    uint64_t page_failures = 0;

    Meter operator+(const Meter &b) const
    {
        return {local + b.local,
                system + b.system,
                atc_hits + b.atc_hits,
                translations + b.translations,
                page_requests + b.page_requests,
                page_groups + b.page_groups,
                page_failures + b.page_failures};
    }
    Meter operator-(const Meter &b) const
    {
        return {local - b.local,
                system - b.system,
                atc_hits - b.atc_hits,
                translations - b.translations,
                page_requests - b.page_requests,
                page_groups - b.page_groups,
                page_failures - b.page_failures};
    }
};

/* What a meter comes to, in nanoseconds. */
struct Charge {
    uint64_t local = 0;  /* of transfers, which keep the memory busy */
    uint64_t system = 0;
    uint64_t rest = 0;   /* latencies, translations, page requests */

    Charge operator-(const Charge &b) const
    {
        return {local - b.local, system - b.system, rest - b.rest};
    }
    template <typename Archive> void transfer(Archive &a)
    {
        a(local, system, rest);
    }
    uint64_t total() const { return saturate(wide{local} + system + rest); }
};

inline uint64_t transfer_ns(const Traffic &traffic, uint32_t mbps)
{
    constexpr uint64_t second = 1'000'000'000;
    uint64_t bytes = traffic.bytes();

    if (!mbps || !bytes) {
        return 0;
    }
    uint64_t rate = uint64_t{mbps} << 20;
    /* Nearly always; 128 bits are divided much more slowly. */
    if (bytes < (uint64_t{1} << 33)) {
        return (bytes * second + rate - 1) / rate;
    }
    return saturate((wide{bytes} * second + rate - 1) / rate);
}

/*
 * Inline: it follows each access, and a result that went through memory would
 * wait until the processor has drained all that the access has stored.
 */
inline Charge charge(const ccad_cost &cost, const Meter &meter)
{
    return {
        .local = transfer_ns(meter.local, cost.local_mbps),
        .system = transfer_ns(meter.system, cost.system_mbps),
        .rest = saturate(
            wide{meter.local.accesses} * cost.local_latency_ns +
            wide{meter.system.accesses} * cost.system_latency_ns +
            wide{meter.translations} * cost.translation_ns +
            wide{meter.page_groups} * cost.page_request_ns),
    };
}

inline uint64_t device_ns(const ccad_cost &cost, const Meter &meter)
{
    return charge(cost, meter).total();
}

/* What an access to each of two operands costs at the most. */
inline uint64_t longest_pair_ns(const ccad_cost &cost)
{
    Meter local;
    Meter system;

    local.local.count(max_access, true);
    system.system.count(max_access, true);
    return 2 * std::max(device_ns(cost, local), device_ns(cost, system));
}

/*
 * Until when each memory is busy; saved, it is part of the device's state.
 * One engine at a time writes it, and whoever wants to know may read it.
 */
struct Timeline {
    std::atomic<uint64_t> local{0};
    std::atomic<uint64_t> system{0};

    void reset()
    {
        local.store(0, std::memory_order_relaxed);
        system.store(0, std::memory_order_relaxed);
    }
    template <typename Archive> void transfer(Archive &a) { a(local, system); }

    /* Do the transfers of charge from now on; how long they had to wait. */
    uint64_t transfer(uint64_t now, const Charge &charge)
    {
        uint64_t waited = wait(local, now, charge.local);

        return waited + wait(system, now + waited + charge.local,
                             charge.system);
    }

private:
    static uint64_t wait(std::atomic<uint64_t> &busy, uint64_t now,
                         uint64_t ns)
    {
        if (!ns) {
            return 0;
        }
        uint64_t start = std::max(now, busy.load(std::memory_order_relaxed));
        busy.store(start + ns, std::memory_order_relaxed);
        return start - now;
    }
};

} // namespace ccad
