/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "page_requests.hpp"

namespace ccad {

std::optional<PageRequest> PageRequests::add(Context *context, uint64_t epoch,
                                             uint32_t pasid)
{
    if (outstanding_ == limit_) {
        return std::nullopt;
    }
    while (table_[next_].context) {
        next_ = (next_ + 1) % table_.size();
    }

    PageRequest &slot = table_[next_];
    slot = {context, epoch, ++serial_, pasid, static_cast<uint16_t>(next_)};
    next_ = (next_ + 1) % table_.size();
    outstanding_++;
    return slot;
}

std::optional<PageRequest> PageRequests::end(uint16_t prgi)
{
    if (prgi >= table_.size() || !table_[prgi].context) {
        return std::nullopt;
    }
    PageRequest request = table_[prgi];
    table_[prgi].context = nullptr;
    outstanding_--;
    return request;
}

bool PageRequests::cancel(const PageRequest &request)
{
    const PageRequest &slot = table_[request.prgi];

    return slot.context && slot.serial == request.serial && end(request.prgi);
}

void PageRequests::forget(uint32_t pasid)
{
    for (PageRequest &slot : table_) {
        if (slot.context && slot.pasid == pasid) {
            end(slot.prgi);
        }
    }
}

void PageRequests::clear()
{
    for (PageRequest &slot : table_) {
        slot.context = nullptr;
    }
    outstanding_ = 0;
}

} // namespace ccad
