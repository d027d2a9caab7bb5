/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "ccad_core.h"

namespace ccad::test {

/* Round figures, in which each kind of access can be told from the others. */
inline constexpr ccad_cost costs = {
    .local_latency_ns = 100,
    .local_mbps = 10000,
    .system_latency_ns = 500,
    .system_mbps = 1000,
    .translation_ns = 1000,
    .page_request_ns = 20000,
};

} // namespace ccad::test
