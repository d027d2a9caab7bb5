/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler.hpp"

#include <algorithm>

#include "context.hpp"

namespace ccad {

void Scheduler::move(Context &context, Place to)
{
    Schedule &schedule = context.schedule;
    Place from = schedule.place;

    switch (from) {
    case Place::ready:
        ready_.erase(schedule.turn);
        break;
    case Place::stalled:
    case Place::waiting:
    case Place::delayed:
        held_.erase(schedule.turn);
        break;
    case Place::running:
        std::erase(running_, &context);
        advance_clock(context);
        break;
    case Place::idle:
    case Place::hung:
        break;
    }

    schedule.place = to;
    switch (to) {
    case Place::ready:
        if (from == Place::idle) {
            context.run.start_no_earlier(clock());
        }
        if (from != Place::running) {
            schedule.vtime = std::max(schedule.vtime, vtime_);
        }
        enqueue(context, ready_);
        break;
    case Place::stalled:
    case Place::waiting:
    case Place::delayed:
        if (ordered_) {
            enqueue(context, held_);
        }
        break;
    case Place::running:
        running_.push_back(&context);
        break;
    case Place::idle:
    case Place::hung:
        break;
    }
}

void Scheduler::enqueue(Context &context, std::set<Turn> &queue)
{
    Schedule &schedule = context.schedule;

    schedule.turn = ordered_
                        ? Turn{context.run.position(), context.number, &context}
                        : Turn{schedule.vtime, arrivals_++, &context};
    queue.insert(schedule.turn);
}

const Turn *Scheduler::next() const
{
    if (ready_.empty() || (ordered_ && serving_)) {
        return nullptr;
    }
    const Turn &first = *ready_.begin();
    if (!ordered_ || held_.empty() || first < *held_.begin()) {
        return &first;
    }
    auto exempt = std::ranges::find_if(ready_, [](const Turn &turn) {
        return turn.context->run.config().physical || turn.context->granted;
    });
    return exempt == ready_.end() ? nullptr : &*exempt;
}

Work Scheduler::take()
{
    Context &context = *next()->context;
    Work work;

    move(context, Place::running);
    serving_++;
    work.context = &context;
    work.clock = context.run.clock();
    work.slice = context.run.config().slice_ns;
    if (!work.slice) {
        work.slice = slice_ns_;
    }
    if (!ordered_) {
        vtime_ = std::max(vtime_, context.schedule.vtime);
        return work;
    }
    for (const std::set<Turn> *queue : {&ready_, &held_}) {
        bool exempt = queue == &held_ && context.run.config().physical;
        if (!queue->empty() && !exempt) {
            const Turn &other = *queue->begin();
            work.until = std::min(work.until,
                                  other.time + (context.number < other.order));
        }
    }
    return work;
}

void Scheduler::served(const Work &work)
{
    unsigned shift = CCAD_PRIORITY_MAX - work.context->run.config().priority;
    uint64_t &vtime = work.context->schedule.vtime;

    vtime += std::min(work.service, (UINT64_MAX - vtime) >> shift) << shift;
}

uint64_t Scheduler::clock() const
{
    uint64_t clock = clock_;

    for (const Context *context : running_) {
        clock = std::max(clock, context->run.position());
    }
    return clock;
}

void Scheduler::advance_clock(const Context &context)
{
    clock_ = std::max(clock_, context.run.position());
}

bool Scheduler::restore(Context &context)
{
    Schedule &schedule = context.schedule;
    Turn &turn = schedule.turn;

    turn.context = &context;
    if (ordered_) {
        turn.time = context.run.position();
        turn.order = context.number;
    } else if (schedule.place != Place::idle && turn.order >= arrivals_) {
        return false; /* it would get in the way of one to come */
    }
    switch (schedule.place) {
    case Place::ready:
        return ready_.insert(turn).second;
    case Place::stalled:
    case Place::waiting:
    case Place::delayed:
        return !ordered_ || held_.insert(turn).second;
    case Place::idle:
    case Place::hung:
        return true;
    case Place::running:
        break;
    }
    schedule.place = Place::idle;
    return false;
}

void Scheduler::reset()
{
    vtime_ = 0;
    clock_ = 0;
}

} // namespace ccad
