/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Enabling, disabling, stopping, clearing and resetting. */
#include "core.hpp"
#include "engine.hpp"

namespace ccad {

/*
 * With state_ held: nobody runs the context any more, but for an engine that
 * is inside its gate or inside the host.
 */
uint64_t Core::halt(Context &context, uint32_t state, uint32_t cause)
{
    if (cause != CCAD_CAUSE_NONE) {
        host_.trace(CCAD_STEP_ERROR, context.number, cause, context.run.head(),
                    context.run.tail());
    }
    context.state = state;
    context.cause = cause;
    scheduler_.move(context, Place::idle);
    withdraw(context);
    kick(); /* it may have kept others back */
    return context.epoch.fetch_add(1, std::memory_order_acq_rel) + 1;
}

/* With control_ held, after halt(): end what is in flight. */
void Core::seize(Context &context, bool record)
{
    drain();
    {
        std::lock_guard lock(control_gate_);
        context.run.abort(record);
    }
    std::lock_guard lock(state_);
    scheduler_.advance_clock(context);
}

bool Core::latchable(const RunConfig &block) const
{
    if (block.shift < CCAD_RING_SHIFT_MIN ||
        block.shift > CCAD_RING_SHIFT_MAX || block.ring % page_size ||
        block.vector >= config_.vectors ||
        block.priority > CCAD_PRIORITY_MAX) {
        return false;
    }
    return !wraps(block.ring, sizeof(ccad_desc) << block.shift);
}

void Core::enable(Context &context)
{
    RunConfig block;
    bool good;
    bool raise = false;
    {
        std::lock_guard lock(state_);
        if (context.state != CCAD_CTX_DISABLED) {
            return;
        }
        block = context.block;
        block.physical = context.ctrl & CCAD_CTX_CTRL_PHYSICAL;
        good = latchable(block);
    }
    if (good) {
        good = block.physical ? host_.physical_allowed()
                              : host_.pasid_bind(block.pasid);
    }
    {
        std::lock_guard control(control_);
        if (good) {
            std::lock_guard lock(control_gate_);
            context.run.start(block);
        }

        std::lock_guard lock(state_);
        if (good) {
            if (!block.physical) {
                Binding &binding = bindings_[block.pasid];
                binding.contexts++;
                context.invalidations_base = binding.invalidations;
            }
            context.bound = true;
            stats_.take(context.stats);
            halt(context, CCAD_CTX_ENABLED, CCAD_CAUSE_NONE);
        } else {
            halt(context, CCAD_CTX_ERROR, CCAD_CAUSE_CONFIG);
            raise = set_event(CCAD_EVENT_CTX_ERROR);
        }
    }
    if (raise) {
        host_.interrupt(CCAD_VECTOR_EVENT);
    }
}

void Core::disable(Context &context)
{
    uint32_t pasid;
    bool last;
    {
        std::lock_guard control(control_);
        {
            std::lock_guard lock(state_);
            if (!context.bound) {
                halt(context, CCAD_CTX_DISABLED, CCAD_CAUSE_NONE);
                return;
            }
            halt(context, CCAD_CTX_DRAINING, CCAD_CAUSE_NONE);
        }
        seize(context, true);

        std::lock_guard lock(state_);
        pasid = context.run.config().pasid;
        context.stats.set(CCAD_STAT_INVALIDATIONS,
                          context_stat(context, CCAD_STAT_INVALIDATIONS));
        context.bound = false;
        context.disabled++;
        context.state = CCAD_CTX_DISABLED;
        if (context.run.config().physical) {
            return;
        }
        last = !--bindings_[pasid].contexts;
        if (last) {
            bindings_.erase(pasid);
            requests_.forget(pasid);
            grant_room();
            atc_.invalidate(pasid, false, 0, UINT64_MAX);
        }
    }
    if (last) {
        host_.pasid_unbind(pasid);
    }
}

void Core::doorbell(Context &context, uint32_t tail)
{
    uint64_t epoch;
    bool raise;
    {
        std::unique_lock lock(state_);
        Run &run = context.run;
        if (context.state == CCAD_CTX_ERROR && context.bound) {
            run.set_tail(tail);
        }
        if (context.state != CCAD_CTX_ENABLED) {
            return;
        }
        if (tail - run.head() <= uint32_t{1} << run.config().shift) {
            run.set_tail(tail);
            if (context.schedule.place == Place::idle && run.head() != tail) {
                bool wake = enqueue(context);
                lock.unlock(); /* who wakes up needs it at once */
                if (wake) {
                    work_.notify_one();
                }
            }
            return;
        }
        epoch = halt(context, CCAD_CTX_ERROR, CCAD_CAUSE_DOORBELL);
        raise = set_event(CCAD_EVENT_CTX_ERROR);
    }
    if (raise) {
        host_.interrupt(CCAD_VECTOR_EVENT);
    }

    std::lock_guard control(control_);
    {
        std::lock_guard lock(state_);
        if (context.epoch.load(std::memory_order_relaxed) != epoch) {
            return; /* someone else has stopped it since */
        }
    }
    seize(context, true);

    /* Not before: an engine that was still there would have fetched. */
    std::lock_guard lock(state_);
    context.run.set_tail(tail);
}

void Core::clear_error(Context &context)
{
    std::lock_guard control(control_);
    {
        std::lock_guard lock(state_);
        if (context.state != CCAD_CTX_ERROR || !context.bound) {
            return;
        }
        halt(context, context.state, context.cause);
    }
    seize(context, true);

    std::lock_guard lock(state_);
    context.run.skip();
    context.state = CCAD_CTX_ENABLED;
    context.cause = CCAD_CAUSE_NONE;
}

void Core::control(uint32_t value)
{
    if (value & CCAD_CTRL_RESET) {
        reset();
        return;
    }

    bool enable = value & CCAD_CTRL_ENABLE;
    {
        std::lock_guard lock(state_);
        running_.store(enable, std::memory_order_release);
    }
    if (enable) {
        work_.notify_all();
    } else {
        drain();
    }
}

void Core::reset()
{
    decltype(bindings_) unbound;
    {
        std::lock_guard control(control_);
        {
            std::lock_guard lock(state_);
            running_ = false;
            for (auto &context : contexts_) {
                halt(*context, CCAD_CTX_DRAINING, CCAD_CAUSE_NONE);
            }
            requests_.clear();
            resets_++;
        }
        atc_.invalidate(0, true, 0, UINT64_MAX);
        drain();
        {
            std::lock_guard lock(control_gate_);
            for (auto &context : contexts_) {
                context->run.start({});
            }
            timeline_.reset();
        }
        std::lock_guard lock(state_);
        scheduler_.reset();
        if (alarm_ != UINT64_MAX) {
            alarm_ = UINT64_MAX;
            host_.set_timer(alarm_);
        }
        for (auto &context : contexts_) {
            context->schedule = {};
            context->ctrl = 0;
            context->block = {};
            context->halves = {};
            context->state = CCAD_CTX_DISABLED;
            context->bound = false;
            context->disabled++;
            context->stats.clear();
        }
        event_ = 0;
        event_mask_ = 0;
        poison_addr_ = 0;
        counters_.reset();
        halves_ = {};
        stats_.clear();
        std::swap(unbound, bindings_);
    }
    for (auto &[pasid, binding] : unbound) {
        host_.pasid_unbind(pasid);
    }
}

/* With state_ held; whether the event has to interrupt. */
bool Core::set_event(uint32_t event)
{
    bool before = event_raised();

    event_ |= event;
    return !before && event_raised();
}

void Core::write_event(uint32_t value)
{
    std::lock_guard lock(state_);
    event_ &= ~value;
    if (value & CCAD_EVENT_POISON) {
        poison_addr_ = 0;
    }
}

void Core::write_event_mask(uint32_t value)
{
    bool raise;
    {
        std::lock_guard lock(state_);
        bool before = event_raised();
        event_mask_ = value & all_events;
        raise = !before && event_raised();
    }
    if (raise) {
        host_.interrupt(CCAD_VECTOR_EVENT);
    }
}

} // namespace ccad
