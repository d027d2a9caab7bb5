/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "page_requests.hpp"

#include <algorithm>

namespace ccad {

/* The allocation may have shrunk since they went out. */
bool PageRequests::room(uint32_t pages) const
{
    return allocation_ && outstanding_ < allocation_ &&
           std::min(pages, allocation_) <= allocation_ - outstanding_;
}

/* There are as many slots as page requests at most, so one is free. */
PageRequest PageRequests::insert(const Waiting &who, bool sent)
{
    while (table_[next_].context) {
        next_ = (next_ + 1) % table_.size();
    }

    PageRequest &slot = table_[next_];
    slot = {.context = who.context,
            .epoch = who.epoch,
            .serial = ++serial_,
            .pasid = who.pasid,
            .pages = std::min(who.pages, allocation_),
            .prgi = static_cast<uint16_t>(next_),
            .sent = sent};
    next_ = (next_ + 1) % table_.size();
    outstanding_ += slot.pages;
    return slot;
}

std::optional<PageRequest> PageRequests::add(Context *context, uint64_t epoch,
                                             uint32_t pasid, uint32_t pages)
{
    const Waiting who{context, epoch, pasid, pages};

    if (line_.empty() && room(pages)) {
        return insert(who, true);
    }
    line_.push_back(who);
    return std::nullopt;
}

std::optional<PageRequest> PageRequests::next()
{
    if (line_.empty() || !room(line_.front().pages)) {
        return std::nullopt;
    }
    Waiting who = line_.front();
    line_.pop_front();
    return insert(who, false);
}

Context *PageRequests::give_up()
{
    if (line_.empty()) {
        return nullptr;
    }
    Context *context = line_.front().context;
    line_.pop_front();
    return context;
}

void PageRequests::leave(const Context *context)
{
    std::erase_if(line_, [context](const Waiting &who) {
        return who.context == context;
    });
}

PageRequest PageRequests::take(PageRequest &slot)
{
    PageRequest request = slot;

    slot.context = nullptr;
    outstanding_ -= request.pages;
    return request;
}

std::optional<PageRequest> PageRequests::end(uint32_t pasid, uint16_t prgi)
{
    if (prgi >= table_.size() || !table_[prgi].context ||
        !table_[prgi].sent || table_[prgi].pasid != pasid) {
        return std::nullopt;
    }
    return take(table_[prgi]);
}

std::optional<PageRequest> PageRequests::end_one()
{
    auto slot = std::ranges::find_if(table_, &PageRequest::context);

    if (slot == table_.end()) {
        return std::nullopt;
    }
    return take(*slot);
}

bool PageRequests::cancel(const PageRequest &request)
{
    if (!outstanding(request)) {
        return false;
    }
    take(table_[request.prgi]);
    return true;
}

void PageRequests::forget(uint32_t pasid)
{
    if (!outstanding_) {
        return;
    }
    for (PageRequest &slot : table_) {
        if (slot.context && slot.pasid == pasid) {
            take(slot);
        }
    }
}

void PageRequests::clear()
{
    if (outstanding_) {
        for (PageRequest &slot : table_) {
            slot.context = nullptr;
        }
        outstanding_ = 0;
    }
    line_.clear();
}

} // namespace ccad
