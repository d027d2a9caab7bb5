/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One context: its registers, its state, and the run of its commands. */
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>

#include "halves.hpp"
#include "run.hpp"
#include "scheduler.hpp"

namespace ccad {

struct Context {
    Context(uint32_t number, const RunEnvironment &environment)
        : number(number), run(environment, number, stats)
    {
    }

    const uint32_t number;

    /* The block as software writes it; state lock. */
    uint32_t ctrl = 0;
    RunConfig block;
    uint32_t state = CCAD_CTX_DISABLED;
    uint32_t cause = CCAD_CAUSE_NONE;
    Halves halves;

    /* Scheduling; state lock. */
    Schedule schedule;
    std::optional<Reply> reply; /* to the run's page requests */
    std::optional<PageRequest> granted; /* room for them, not sent yet */
    uint64_t delayed_until = 0; /* host's time; while it is delayed */

    /* Latched, and counted in the binding of its PASID if any; state lock. */
    bool bound = false;
    uint64_t disabled = 0; /* how often */
    uint64_t invalidations_base = 0;

    /*
     * Changes whenever the context stops: who found it under the state lock
     * may go on with the run only as long as it is the same.
     */
    std::atomic<uint64_t> epoch{0};

    Stats stats;
    Run run;

    uint32_t status() const
    {
        return state | cause << CCAD_CTX_CAUSE_SHIFT;
    }
};

/* A context in the hands of an engine. */
struct Work {
    Context *context = nullptr;
    uint64_t epoch = 0;
    uint64_t disabled = 0;
    uint64_t resets = 0;
    std::optional<Reply> reply; /* not yet told to the run */
    uint64_t slice = 0;           /* most service */
    uint64_t until = UINT64_MAX;  /* position where another's turn comes */
    uint64_t clock = 0;           /* of the context when it was taken */
    uint64_t least = 0;           /* service since, whatever the clock says */
    uint64_t service = 0;         /* since, device time */

    /* A step was made, or something charged; while the context is live. */
    void stepped()
    {
        least += context->run.least_service();
        charged();
    }
    void charged()
    {
        service = std::max(context->run.clock() - clock, least);
    }
    /* Of the slice; 0: another's turn has come. */
    uint64_t left() const
    {
        return service < slice && context->run.position() < until
                   ? slice - service
                   : 0;
    }
};

} // namespace ccad
