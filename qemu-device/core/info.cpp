/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a monitor may want to know besides the registers. */
#include "core.hpp"
#include "engine.hpp"

namespace ccad {

ccad_context_info Core::context_info(uint32_t number) const
{
    ccad_context_info info{};

    if (number >= contexts_.size()) {
        return info;
    }
    const Context &context = *contexts_[number];
    std::lock_guard lock(state_);
    info.bound = context.bound;
    if (context.bound) {
        const RunConfig &config = context.run.config();
        info.pasid = config.pasid;
        info.physical = config.physical;
        info.vector = config.vector;
        info.ring = config.ring;
        info.ring_shift = config.shift;
        info.priority = config.priority;
        info.slice_ns = config.slice_ns;
        info.timeout_ms = config.timeout_ms;
    }
    if (auto command = context.run.in_flight()) {
        info.in_flight = true;
        info.opcode = command->opcode;
        info.tag = command->tag;
        info.done = command->done;
        info.deadline_ns = context.run.deadline();
    }
    info.place = static_cast<ccad_place>(context.schedule.place);
    if (context.schedule.place == Place::delayed) {
        info.delayed_until_ns = context.delayed_until;
    }
    info.position_ns = context.run.position();
    info.hang_armed = context.run.hangs_next();
    info.room_granted = context.granted.has_value();
    info.reply_untold = context.reply.has_value();
    for (uint32_t kind = 0; kind < CCAD_COMMAND_KINDS; kind++) {
        info.commands[kind] = context.stats.commands(kind);
    }
    return info;
}

ccad_device_info Core::device_info() const
{
    std::lock_guard lock(state_);

    return {.page_request_allocation = requests_.allocation(),
            .local_busy_ns = timeline_.local.load(std::memory_order_relaxed),
            .system_busy_ns =
                timeline_.system.load(std::memory_order_relaxed)};
}

int32_t Core::engine_info(uint32_t engine) const
{
    return engine < engines_.size() ? engines_[engine]->context() : -1;
}

size_t Core::page_request_info(std::span<ccad_page_request_info> out) const
{
    size_t n = 0;
    std::lock_guard lock(state_);

    requests_.each([&](const PageRequest &request) {
        if (n < out.size()) {
            out[n++] = {request.context->number, request.pasid, request.prgi,
                        request.pages};
        }
    });
    return n;
}

size_t Core::page_request_line(std::span<uint32_t> out) const
{
    size_t n = 0;
    std::lock_guard lock(state_);

    requests_.each_waiting([&](const Context &context, uint64_t) {
        if (n < out.size()) {
            out[n++] = context.number;
        }
    });
    return n;
}

} // namespace ccad
