/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cost.hpp"

namespace ccad {

namespace {

__extension__ typedef unsigned __int128 wide;

constexpr uint64_t saturate(wide ns)
{
    return ns > UINT64_MAX ? UINT64_MAX : static_cast<uint64_t>(ns);
}

uint64_t transfer_ns(const Traffic &traffic, uint32_t mbps)
{
    constexpr uint64_t second = 1'000'000'000;
    uint64_t bytes = traffic.bytes();

    if (!mbps || !bytes) {
        return 0;
    }
    uint64_t rate = uint64_t{mbps} << 20;
    /* Nearly always; 128 bits are divided much more slowly. */
    if (bytes < (uint64_t{1} << 33)) {
        return (bytes * second + rate - 1) / rate;
    }
    return saturate((wide{bytes} * second + rate - 1) / rate);
}

} // namespace

uint64_t Charge::total() const
{
    return saturate(wide{local} + system + rest);
}

Charge charge(const ccad_cost &cost, const Meter &meter)
{
    return {
        .local = transfer_ns(meter.local, cost.local_mbps),
        .system = transfer_ns(meter.system, cost.system_mbps),
        .rest = saturate(
            wide{meter.local.accesses} * cost.local_latency_ns +
            wide{meter.system.accesses} * cost.system_latency_ns +
            wide{meter.translations} * cost.translation_ns +
            wide{meter.page_groups} * cost.page_request_ns),
    };
}

} // namespace ccad
