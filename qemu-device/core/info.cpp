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
    info.pasid = context.bound ? context.run.config().pasid : 0;
    info.place = static_cast<ccad_place>(context.schedule.place);
    for (uint32_t kind = 0; kind < CCAD_COMMAND_KINDS; kind++) {
        info.commands[kind] = context.stats.commands(kind);
    }
    return info;
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

} // namespace ccad
