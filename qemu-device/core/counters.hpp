/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Access counters as software sees them: registers, commands, and the ring of
 * notifications.
 *
 * Engines count under their gate and queue what is due.  The queue is written
 * to the ring with no lock of the core's held but with the host's big lock,
 * under which counting is stopped and the device is reset as well: so a
 * notification is written before that or not at all.  What is queued has its
 * place in the ring already; what finds none is lost and said to be.
 *
 * The mutex here is innermost, but for those of the table.
 */
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>

#include "counter_table.hpp"
#include "host.hpp"

namespace ccad {

/* What software programs, latched when counting is enabled. */
struct CounterBlock {
    uint32_t granule_shift = CCAD_GRANULE_SHIFT_DEFAULT;
    uint32_t threshold = CCAD_CNT_THRESHOLD_DEFAULT;
    uint32_t batch = CCAD_CNT_BATCH_DEFAULT;
    uint32_t vector = 0;
    uint64_t ring = 0;
    uint32_t ring_shift = 0;

    template <typename Archive> void transfer(Archive &a)
    {
        a(granule_shift, threshold, batch, vector, ring, ring_shift);
    }
};

class Counters {
public:
    Counters(uint32_t capacity, uint32_t vectors)
        : vectors_(vectors), table_(capacity)
    {
    }

    /* Asked under a gate, before count(). */
    bool on() const { return on_.load(std::memory_order_acquire); }
    void count(const Access &access, CounterRecords &due);
    void post(const CounterRecords &records);

    /* Whether there is something to deliver(), or a take_event(). */
    bool news() const { return news_.load(std::memory_order_relaxed); }
    /* Before doing so: what comes from now on is news again. */
    void forget_news() { news_ = false; }
    /* With the host's big lock held: write what is queued to the ring. */
    void deliver(const Host &host);
    /* Whether a bit of the status has been set. */
    bool take_event();

    /* Registers: CCAD_REG_CNT_*. */
    uint64_t read(uint32_t reg) const;
    /* All but CCAD_REG_CNT_CTRL; the vector that has to be raised. */
    std::optional<uint32_t> write(uint32_t reg, uint64_t value);

    /* CCAD_REG_CNT_CTRL; start() and reset() while nobody counts. */
    void stop() { on_.store(false, std::memory_order_release); }
    void start();
    void reset();

    /* While nobody counts and nothing is delivered. */
    template <typename Archive> void transfer(Archive &a)
    {
        std::lock_guard lock(mutex_);

        a(on_, news_, table_, block_, latched_, status_, event_, head_, tail_,
          lost_, pasid_, va_, result_);
        a.require(latched_.ring_shift <= CCAD_RING_SHIFT_MAX &&
                  latched_.granule_shift <= CCAD_GRANULE_SHIFT_MAX &&
                  (!on_ || latchable(latched_)));
        a.require(a.good() && head_ - tail_ <= entries());
        size_t n = a.length(queue_.size(),
                            a.good() ? entries() - (head_ - tail_) : 0);
        if constexpr (Archive::loading) {
            epoch_++;
            queue_.assign(n, {});
        }
        for (ccad_counter_record &r : queue_) {
            a(r.va, r.pasid, r.granule_shift, r.flags, r.rsvd0, r.read_local,
              r.read_system, r.write_local, r.write_system, r.clock, r.rsvd1);
        }
    }

private:
    uint32_t entries() const { return uint32_t{1} << latched_.ring_shift; }
    bool latchable(const CounterBlock &block) const;
    void note(uint32_t status);
    std::optional<uint32_t> move_tail(uint32_t tail);
    std::optional<uint32_t> command(uint32_t command);
    void forget();

    const uint32_t vectors_;
    std::atomic<bool> on_{false};
    std::atomic<bool> news_{false};
    CounterTable table_;

    mutable std::mutex mutex_;
    CounterBlock block_;
    CounterBlock latched_;
    uint32_t status_ = 0;
    bool event_ = false; /* a bit was set since take_event() */
    uint32_t head_ = 0;
    uint32_t tail_ = 0;
    std::deque<ccad_counter_record> queue_;
    bool lost_ = false; /* notifications, before the next to be queued */
    bool delivering_ = false;
    uint64_t epoch_ = 0; /* of the queue */
    uint32_t pasid_ = 0; /* operands and results of commands */
    uint64_t va_ = 0;
    AccessCount result_;
};

} // namespace ccad
