/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands that take too long, and those that are delayed by fault injection.
 *
 * A run notes the deadline of a command when it fetches it.  The host's timer
 * is set when a context with a time-out gets something to do, for the earliest
 * deadline that its next command can have, and again when it fires.  So it
 * costs a look at the clock a command, and nothing without time-outs.
 */
#include <vector>

#include "core.hpp"

namespace ccad {

namespace {

constexpr uint64_t ms = 1'000'000;

} // namespace

/* With state_ held: it begins to run commands. */
void Core::set_alarm(const RunConfig &config)
{
    if (config.timeout_ms) {
        set_alarm(host_.now_ns() + config.timeout_ms * ms);
    }
}

/* With state_ held. */
void Core::set_alarm(uint64_t ns)
{
    if (ns < alarm_) {
        alarm_ = ns;
        host_.set_timer(ns);
    }
}

/*
 * Whoever is late is taken out of the schedule as if to be stopped, the command
 * in flight is ended, and an engine goes on from there: it writes the record
 * and puts the context into the error state.  A command that ended just before
 * has nothing to fear, and the next one goes on.
 */
void Core::timer()
{
    std::lock_guard control(control_);
    const uint64_t now = host_.now_ns();
    std::vector<std::pair<Context *, uint64_t>> late;
    {
        std::lock_guard lock(state_);
        alarm_ = UINT64_MAX;
        for (auto &context : contexts_) {
            if (context->schedule.place == Place::delayed) {
                if (context->delayed_until <= now) {
                    make_ready(*context);
                } else {
                    set_alarm(context->delayed_until);
                }
            }
            const RunConfig &config = context->run.config();
            if (context->state != CCAD_CTX_ENABLED || !config.timeout_ms ||
                context->schedule.place == Place::idle) {
                continue;
            }
            uint64_t deadline = context->run.deadline();
            if (deadline <= now) {
                uint64_t epoch =
                    context->epoch.fetch_add(1, std::memory_order_acq_rel) + 1;
                scheduler_.move(*context, Place::hung);
                withdraw(*context);
                late.emplace_back(context.get(), epoch);
                deadline = UINT64_MAX;
            }
            set_alarm(std::min(deadline, now + config.timeout_ms * ms));
        }
    }
    if (late.empty()) {
        return;
    }

    drain();
    {
        std::lock_guard lock(control_gate_);
        for (auto &[context, epoch] : late) {
            context->run.expire(now);
        }
    }
    std::lock_guard lock(state_);
    for (auto &[context, epoch] : late) {
        if (context->epoch.load(std::memory_order_relaxed) == epoch) {
            make_ready(*context);
        }
    }
}

bool Core::hang(uint32_t number)
{
    if (number >= contexts_.size()) {
        return false;
    }
    std::lock_guard lock(state_);
    Context &context = *contexts_[number];
    if (context.state != CCAD_CTX_ENABLED) {
        return false;
    }
    context.run.hang();
    return true;
}

} // namespace ccad
