/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which context runs next: round robin over those that are ready, a slice of
 * work each.  Priorities and other lengths of slices have their place here.
 *
 * Guarded by the core's state lock; a context is in one queue at most.
 */
#pragma once

#include <cstdint>
#include <deque>

namespace ccad {

struct Context;

/*
 * A slice in bytes: every step of a context costs step_cost and the bytes it
 * touched, until slice_work is used up.  A long copy keeps others waiting for
 * that long, empty commands share it.
 */
inline constexpr uint64_t slice_work = 1024 * 1024;
inline constexpr uint64_t step_cost = 4096;

class Scheduler {
public:
    void ready(Context *context) { ready_.push_back(context); }
    /* Waiting for one of the page requests outstanding to end. */
    void stalled(Context *context) { stalled_.push_back(context); }

    Context *next_ready() { return pop(ready_); }
    Context *next_stalled() { return pop(stalled_); }
    bool any_ready() const { return !ready_.empty(); }

    void remove(Context *context)
    {
        std::erase(ready_, context);
        std::erase(stalled_, context);
    }

private:
    static Context *pop(std::deque<Context *> &queue)
    {
        if (queue.empty()) {
            return nullptr;
        }
        Context *context = queue.front();
        queue.pop_front();
        return context;
    }

    std::deque<Context *> ready_;
    std::deque<Context *> stalled_;
};

} // namespace ccad
