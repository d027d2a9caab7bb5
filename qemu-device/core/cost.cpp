/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cost.hpp"

namespace ccad {

namespace {

__extension__ typedef unsigned __int128 wide;

wide memory_ns(const Traffic &traffic, uint32_t latency_ns, uint32_t mbps)
{
    wide ns = wide{traffic.accesses} * latency_ns;

    if (mbps) {
        wide per_second = wide{mbps} << 20;
        wide bytes = wide{traffic.read} + traffic.written;
        ns += (bytes * 1'000'000'000 + per_second - 1) / per_second;
    }
    return ns;
}

} // namespace

uint64_t device_ns(const ccad_cost &cost, const Meter &meter)
{
    wide ns = memory_ns(meter.local, cost.local_latency_ns, cost.local_mbps);

    ns += memory_ns(meter.system, cost.system_latency_ns, cost.system_mbps);
    ns += wide{meter.translations} * cost.translation_ns;
    ns += wide{meter.page_requests} * cost.page_request_ns;
    return ns > UINT64_MAX ? UINT64_MAX : static_cast<uint64_t>(ns);
}

} // namespace ccad
