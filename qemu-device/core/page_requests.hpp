/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Outstanding page requests.  Their group indices go round, so that an index
 * is used again as late as can be: a response to a request that a reset has
 * forgotten finds nobody, instead of somebody else.
 *
 * Guarded by the core's state lock.
 */
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace ccad {

struct Context;

inline constexpr uint32_t max_page_requests = 512; /* 9 bits of PRG index */

struct PageRequest {
    Context *context = nullptr; /* null: free */
    uint64_t epoch = 0;         /* of the context */
    uint64_t serial = 0;        /* tells requests of one index apart */
    uint32_t pasid = 0;
    uint16_t prgi = 0;
};

class PageRequests {
public:
    explicit PageRequests(uint32_t limit) : limit_(limit) {}

    /* Nothing if as many as allowed are outstanding. */
    std::optional<PageRequest> add(Context *context, uint64_t epoch,
                                   uint32_t pasid);
    /* The request that a response to prgi ends, if there is one. */
    std::optional<PageRequest> end(uint16_t prgi);
    /* End it if it is still the one. */
    bool cancel(const PageRequest &request);
    /* Those of a PASID that goes out of use will not be answered. */
    void forget(uint32_t pasid);
    /* Call with each one outstanding. */
    template <typename Visit> void each(Visit visit) const
    {
        for (const PageRequest &slot : table_) {
            if (slot.context) {
                visit(slot);
            }
        }
    }
    void clear();

private:
    std::array<PageRequest, max_page_requests> table_{};
    uint32_t limit_;
    uint32_t outstanding_ = 0;
    uint32_t next_ = 0;
    uint64_t serial_ = 0;
};

} // namespace ccad
