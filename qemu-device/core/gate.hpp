/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lock that an engine holds while it touches memory.
 *
 * An engine holds its gate while it runs, and lets go after every step of a
 * command (command.hpp) if somebody wants to pass; a step of several accesses
 * ends for it.  An access, from the lookup in the ATC on, lies within one step;
 * what it has mapped may stay mapped for the next ones, but not longer than the
 * gate is held.  The turnstile makes it fair: an engine that comes back at once
 * queues behind those who wait to pass, so passing takes one short step, or the
 * accesses of gate_interval, at the most.
 */
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>

namespace ccad {

/*
 * Bytes that a long step moves between two looks at who waits: some
 * microseconds of the host's time, so that looking does not show.
 */
inline constexpr uint64_t gate_interval = 256 * 1024;

class Gate {
public:
    void lock()
    {
        std::lock_guard turn(turnstile_);
        gate_.lock();
    }
    void unlock() { gate_.unlock(); }
    void pass()
    {
        passing_.fetch_add(1, std::memory_order_relaxed);
        {
            std::lock_guard turn(turnstile_);
            if (!lock_soon()) {
                gate_.lock();
            }
        }
        unlock();
        passing_.fetch_sub(1, std::memory_order_relaxed);
    }
    /* For who holds it: whether somebody waits to pass. */
    bool wanted() const
    {
        return passing_.load(std::memory_order_relaxed) > 0;
    }

private:
    /* Most steps are over sooner than a thread that sleeps wakes up. */
    bool lock_soon()
    {
        constexpr std::chrono::microseconds patience{10};
        const auto end = std::chrono::steady_clock::now() + patience;

        do {
            if (gate_.try_lock()) {
                return true;
            }
        } while (std::chrono::steady_clock::now() < end);
        return false;
    }

    std::atomic<unsigned> passing_{0};
    std::mutex turnstile_;
    std::mutex gate_;
};

} // namespace ccad
