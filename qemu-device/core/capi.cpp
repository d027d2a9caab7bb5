/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The C interface.  Nothing is thrown through it. */
#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>
#include <system_error>

#include "core.hpp"

struct ccad_core {
    ccad::Core core;
};

namespace {

constexpr bool within(uint32_t value, uint32_t low, uint32_t high)
{
    return value >= low && value <= high;
}

const char *check_injection(const ccad_injection &injection)
{
    constexpr uint32_t most = ccad::Injection::one_million;

    if (injection.lose_completion > most) {
        return "x-lose-completion must be 0 to 1000000";
    }
    if (injection.lose_interrupt > most) {
        return "x-lose-interrupt must be 0 to 1000000";
    }
    if (injection.fault_translation > most) {
        return "x-fault-translation must be 0 to 1000000";
    }
    if (injection.fault_page_request > most) {
        return "x-fault-page-request must be 0 to 1000000";
    }
    if (injection.fault_command > most) {
        return "x-fault-command must be 0 to 1000000";
    }
    if (injection.delay_translation > most) {
        return "x-delay-translation must be 0 to 1000000";
    }
    if (injection.delay_page_request > most) {
        return "x-delay-page-request must be 0 to 1000000";
    }
    if (injection.delay_command > most) {
        return "x-delay-command must be 0 to 1000000";
    }
    if (injection.delay_us > 10'000'000) {
        return "x-delay-us must be 0 to 10000000";
    }
    return nullptr;
}

} // namespace

extern "C" const char *ccad_config_check(const ccad_config *config)
{
    static_assert(CCAD_MAX_CONTEXTS == 1024 &&
                  ccad::max_page_requests == 512 && ccad::max_group == 16);

    if (!within(config->contexts, 1, CCAD_MAX_CONTEXTS)) {
        return "contexts must be 1 to 1024";
    }
    if (!within(config->engines, 1, 64)) {
        return "engines must be 1 to 64";
    }
    if (!within(config->atc_sets, 1, 65536) ||
        !std::has_single_bit(config->atc_sets)) {
        return "atc-sets must be a power of two from 1 to 65536";
    }
    if (!within(config->atc_ways, 1, 64)) {
        return "atc-ways must be 1 to 64";
    }
    if (!within(config->vectors, 1, 2048)) {
        return "vectors must be 1 to 2048";
    }
    if (!within(config->page_requests, 1, ccad::max_page_requests)) {
        return "page-requests must be 1 to 512";
    }
    if (!within(config->counters, 1, 1 << 24)) {
        return "counters must be 1 to 16777216";
    }
    if (!config->slice_ns) {
        return "time-slice-ns must not be 0";
    }
    const ccad_cost &cost = config->cost;
    if (config->ordered &&
        !((cost.local_latency_ns || cost.local_mbps) &&
          (cost.system_latency_ns || cost.system_mbps))) {
        return "ordered needs a latency or a bandwidth of local memory and one "
               "of system memory";
    }
    if (!within(config->page_request_group, 1, ccad::max_group)) {
        return "page-request-group must be 1 to 16";
    }
    return check_injection(config->injection);
}

extern "C" ccad_core *ccad_core_new(const ccad_config *config,
                                    const ccad_host_ops *ops, void *opaque)
{
    if (ccad_config_check(config)) {
        return nullptr;
    }
    try {
        return new ccad_core{{*config, *ops, opaque}};
    } catch (const std::bad_alloc &) {
        return nullptr;
    } catch (const std::system_error &) {
        return nullptr;
    }
}

extern "C" void ccad_core_delete(ccad_core *core)
{
    delete core;
}

extern "C" void ccad_core_run(ccad_core *core)
{
    core->core.run();
}

extern "C" uint64_t ccad_bar_size(uint32_t contexts)
{
    return std::bit_ceil(CCAD_DOORBELL_BASE +
                         uint64_t{contexts} * CCAD_DOORBELL_STRIDE);
}

extern "C" uint64_t ccad_core_read(ccad_core *core, uint64_t offset,
                                   unsigned size)
{
    return core->core.read(offset, size);
}

extern "C" void ccad_core_write(ccad_core *core, uint64_t offset,
                                uint64_t value, unsigned size)
{
    core->core.write(offset, value, size);
}

extern "C" void ccad_core_invalidate(ccad_core *core, uint32_t pasid,
                                     bool global, uint64_t va, uint64_t len)
{
    core->core.invalidate(pasid, global, va, len);
}

extern "C" void ccad_core_timer(ccad_core *core)
{
    core->core.timer();
}

extern "C" bool ccad_core_hang(ccad_core *core, uint32_t context)
{
    return core->core.hang(context);
}

extern "C" bool ccad_core_page_response(ccad_core *core, uint32_t pasid,
                                        uint16_t prgi, ccad_response response)
{
    return core->core.page_response(pasid, prgi, response);
}

extern "C" void ccad_core_page_request_allocation(ccad_core *core,
                                                  uint32_t allocation)
{
    core->core.page_request_allocation(allocation);
}

extern "C" void ccad_core_reset(ccad_core *core)
{
    core->core.reset();
}

extern "C" const char *ccad_core_poison_inject(ccad_core *core,
                                               uint64_t offset, uint64_t len)
{
    try {
        return core->core.poison().inject(offset, len);
    } catch (const std::bad_alloc &) {
        return "out of memory";
    }
}

extern "C" const char *ccad_core_poison_clear(ccad_core *core,
                                              uint64_t offset, uint64_t len)
{
    return core->core.poison().clear(offset, len);
}

extern "C" void ccad_core_poison_list(ccad_core *core,
                                      void (*each)(void *arg, uint64_t offset,
                                                   uint64_t len),
                                      void *arg)
{
    const ccad::Poison &poison = core->core.poison();

    for (auto range = poison.next(0); range;
         range = poison.next(range->offset + range->len)) {
        each(arg, range->offset, range->len);
    }
}

extern "C" void ccad_core_quiesce(ccad_core *core)
{
    core->core.quiesce();
}

extern "C" uint8_t *ccad_core_save(ccad_core *core, size_t *size)
{
    try {
        auto bytes = core->core.save();
        auto copy = bytes ? static_cast<uint8_t *>(std::malloc(bytes->size()))
                          : nullptr;

        if (copy) {
            std::ranges::copy(*bytes, copy);
            *size = bytes->size();
        }
        return copy;
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

extern "C" const char *ccad_core_load(ccad_core *core, const uint8_t *data,
                                      size_t size)
{
    try {
        return core->core.load({data, size});
    } catch (const std::bad_alloc &) {
        core->core.reset();
        return "memory ran out";
    }
}

extern "C" uint64_t ccad_core_stat(ccad_core *core, uint32_t stat)
{
    return core->core.stat(stat);
}

extern "C" uint64_t ccad_core_commands(ccad_core *core, uint32_t kind)
{
    return core->core.commands(kind);
}

extern "C" void ccad_core_context_info(ccad_core *core, uint32_t context,
                                       ccad_context_info *info)
{
    *info = core->core.context_info(context);
}

extern "C" void ccad_core_device_info(ccad_core *core, ccad_device_info *info)
{
    *info = core->core.device_info();
}

extern "C" int32_t ccad_core_engine_info(ccad_core *core, uint32_t engine)
{
    return core->core.engine_info(engine);
}

extern "C" uint32_t ccad_core_atc_entries(ccad_core *core, uint32_t shift)
{
    return core->core.atc_entries(shift);
}

extern "C" size_t ccad_core_page_requests(ccad_core *core,
                                          ccad_page_request_info *out,
                                          size_t max)
{
    return core->core.page_request_info({out, max});
}

extern "C" size_t ccad_core_page_request_line(ccad_core *core, uint32_t *out,
                                              size_t max)
{
    return core->core.page_request_line({out, max});
}

extern "C" void
ccad_core_atc_list(ccad_core *core,
                   void (*each)(void *arg, uint32_t pasid,
                                const ccad_translation *translation),
                   void *arg)
{
    core->core.atc().each([&](uint32_t pasid, const ccad::Translation &entry) {
        const ccad_translation translation{entry.first, entry.pa,
                                           entry.last - entry.first + 1,
                                           entry.read, entry.write};
        each(arg, pasid, &translation);
    });
}
