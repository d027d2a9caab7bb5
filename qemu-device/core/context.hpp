/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One context: its registers, its state, and the run of its commands. */
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "halves.hpp"
#include "run.hpp"

namespace ccad {

/* Where the context is as the scheduler sees it. */
enum class Place : uint8_t {
    idle = CCAD_PLACE_IDLE,
    ready = CCAD_PLACE_READY,
    running = CCAD_PLACE_RUNNING,
    waiting = CCAD_PLACE_WAITING,
    stalled = CCAD_PLACE_STALLED,
};

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
    Place place = Place::idle;
    std::optional<Answer> answer; /* to the run's page request */

    /* Counted in the binding of its PASID; state lock. */
    bool bound = false;
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

} // namespace ccad
