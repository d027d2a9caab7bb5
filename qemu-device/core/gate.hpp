/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lock that an engine holds while it touches memory.
 *
 * An engine takes its gate for one access, from the lookup in the ATC until
 * the page is unmapped; passing through a gate waits for that access.  The
 * turnstile makes it fair: an engine that comes back at once queues behind
 * those who wait to pass, so passing takes one access at the most.
 */
#pragma once

#include <mutex>

namespace ccad {

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
        lock();
        unlock();
    }

private:
    std::mutex turnstile_;
    std::mutex gate_;
};

} // namespace ccad
