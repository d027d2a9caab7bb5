/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine.hpp"

#include <algorithm>

namespace ccad {

namespace {

/*
 * A request to the host costs more than what it brings: ask for the pages
 * that come next as well, but never so many that they push each other out of
 * a small ATC.
 */
constexpr uint32_t max_batch = max_group;

} // namespace

Engine::Engine(Core &core)
    : core_(core),
      batch_(page_size *
             std::clamp<uint64_t>(core.atc().capacity() / 4, 1, max_batch))
{
}

void Engine::main()
{
    core_.host().thread_enter();
    run();
    core_.host().thread_leave();
}

void Engine::run()
{
    Work work;

    while (core_.next(work)) {
        context_.store(static_cast<int32_t>(work.context->number),
                       std::memory_order_relaxed);
        slice(work);
        context_.store(-1, std::memory_order_relaxed);
    }
}

void Engine::slice(Work &work)
{
    Run &run = work.context->run;

    for (;;) {
        Next next;
        Miss miss{};
        Group group;
        uint32_t vector = 0;
        uint64_t delay_ns = 0;
        uint64_t left = 0;
        Reports reports;
        bool raise = false;
        {
            std::lock_guard lock(gate_);
            if (!core_.live(work)) {
                break;
            }
            if (work.reply) {
                run.asked(*work.reply);
                work.reply.reset();
            }
            left = work.left();
            /* Who stops us passes the gate: until then we are live. */
            do {
                next = run.advance(left, &gate_);
                work.stepped();
                left = work.left();
            } while (next == Next::advance && left && !gate_.wanted() &&
                     !run.reports());
            run.unmap();
            run.publish();
            reports = run.take_reports();
            if (reports.poison) {
                raise = core_.note_poison(*reports.poison);
            }
            delay_ns = next == Next::delay ? run.take_delay() : 0;
            miss = run.miss();
            if (next == Next::ask) {
                group = run.group();
            }
            vector = run.config().vector;
        }
        core_.report(work, reports, raise);

        switch (next) {
        case Next::advance:
            break;
        case Next::translate:
            if (!translate(work, miss)) {
                core_.put_back(work, true);
                return;
            }
            break;
        case Next::interrupt:
            core_.interrupt(work, vector);
            break;
        case Next::idle:
            core_.put_back(work, false);
            return;
        case Next::ask:
            core_.ask(work, miss, group);
            return;
        case Next::hang:
            core_.hang(work);
            return;
        case Next::delay:
            core_.delay(work, delay_ns);
            return;
        case Next::ring_error:
            core_.fail(work, CCAD_CAUSE_RING);
            return;
        case Next::completion_error:
            core_.fail(work, CCAD_CAUSE_COMPLETION);
            return;
        case Next::timed_out:
            core_.fail(work, CCAD_CAUSE_TIMEOUT);
            return;
        }
        if (!left) {
            break;
        }
    }
    core_.put_back(work, true);
}

/* False if the context was stopped meanwhile. */
bool Engine::translate(Work &work, const Miss &miss)
{
    std::array<ccad_translation, max_batch> answer;
    uint64_t first = miss.va & ~(page_size - 1);
    uint64_t last = (miss.va + (miss.len - 1)) | (page_size - 1);
    uint64_t len = std::min(last - first, batch_ - 1) + 1;
    uint64_t generation = core_.atc().generation();
    int n = core_.host().translate(miss.pasid, first, len, miss.write, answer);

    std::lock_guard lock(gate_);
    if (!core_.live(work)) {
        return false;
    }
    if (n < 0) {
        work.context->run.translated(generation, std::nullopt);
    } else {
        auto got = std::min<size_t>(static_cast<size_t>(n), answer.size());
        work.context->run.translated(generation, std::span(answer).first(got));
    }
    work.charged();
    return true;
}

} // namespace ccad
