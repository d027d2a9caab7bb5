/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which context runs next, and the device's clock.
 *
 * By default the ready context with the least virtual time runs, for a time
 * slice.  Virtual time is service (see Work) divided by 2^priority.  A context
 * that becomes ready after it had nothing to do, or waited, starts no earlier
 * than where the others are: time not used is lost (start-time fair queuing).
 *
 * In order (ccad_config.ordered), it is the context that is the furthest back
 * on the device's time line, whatever its priority, the lower number first,
 * and nobody else meanwhile.  One that waits for a page keeps those ahead of it
 * back, since it will act at an earlier time than they; but not those with
 * physical addresses, since the kernel may need them to bring the page, nor who
 * has got room for a page request and will do no more than send it: the others
 * may stand in line for that room.
 *
 * Each context has a place on the time line: its clock, which counts what its
 * commands took, and an origin, which moves on while it is idle.  The device's
 * clock is the furthest place that any context has come to.
 *
 * Guarded by the core's state lock.
 */
#pragma once

#include <cstdint>
#include <set>
#include <tuple>
#include <vector>

#include "ccad_core.h"

namespace ccad {

struct Context;
struct Work;

/* Where the context is as the scheduler sees it. */
enum class Place : uint8_t {
    idle = CCAD_PLACE_IDLE,
    ready = CCAD_PLACE_READY,
    running = CCAD_PLACE_RUNNING,
    waiting = CCAD_PLACE_WAITING,
    stalled = CCAD_PLACE_STALLED,
    hung = CCAD_PLACE_HUNG,
    delayed = CCAD_PLACE_DELAYED,
};

/* When it is a context's turn. */
struct Turn {
    uint64_t time = 0;
    uint64_t order = 0; /* among those of one time; differs */
    Context *context = nullptr;

    friend bool operator<(const Turn &a, const Turn &b)
    {
        return std::tie(a.time, a.order) < std::tie(b.time, b.order);
    }
};

/* The scheduler's part of a context. */
struct Schedule {
    Place place = Place::idle;
    uint64_t vtime = 0; /* saved; ends at its maximum, after years */
    Turn turn;          /* as queued */

    template <typename Archive> void transfer(Archive &a)
    {
        a.enumeration(place, Place::delayed);
        a(vtime, turn.time, turn.order);
    }
};

class Scheduler {
public:
    Scheduler(bool ordered, uint32_t slice_ns)
        : ordered_(ordered), slice_ns_(slice_ns)
    {
    }

    void move(Context &context, Place to);

    /* Whether take() finds one. */
    bool runnable() const { return next() != nullptr; }
    /* The next one, into the hands of an engine, which has to give_back(). */
    Work take();
    /* Whatever became of the context meanwhile. */
    void give_back() { serving_--; }
    /* Its context has got the service; before it moves on. */
    void served(const Work &work);

    /* The device's clock. */
    uint64_t clock() const;
    /* The context's clock has advanced while no engine had it. */
    void advance_clock(const Context &context);

    /* Clocks begin anew; every context is idle. */
    void reset();

    /* While no engine has a context; loading, while every one is idle. */
    template <typename Archive> void transfer(Archive &a)
    {
        a(vtime_, clock_, arrivals_);
    }
    /* After the context's schedule was loaded; false if it makes no sense. */
    bool restore(Context &context);

private:
    const Turn *next() const;
    void enqueue(Context &context, std::set<Turn> &queue);

    const bool ordered_;
    const uint32_t slice_ns_;
    std::set<Turn> ready_;
    std::set<Turn> held_; /* in order: those that keep others back */
    std::vector<Context *> running_;
    uint32_t serving_ = 0; /* engines with a context, stopped or not */
    uint64_t arrivals_ = 0;
    uint64_t vtime_ = 0; /* saved; of the context taken last */
    uint64_t clock_ = 0; /* saved; but for those running */
};

} // namespace ccad
