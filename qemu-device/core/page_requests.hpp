/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Outstanding page request groups, and who waits for room.
 *
 * A group has one index, one response, and as many page requests as it has
 * pages; each of those counts against the allocation.  Group indices go
 * round, so that an index is used again as late as can be: a response to a
 * group that a reset has forgotten finds nobody, instead of somebody else.
 *
 * Who finds no room stands in line, and room is given in the order of the
 * line: small groups do not overtake a large one for ever.
 *
 * Guarded by the core's state lock.
 */
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>

namespace ccad {

struct Context;

inline constexpr uint32_t max_page_requests = 512; /* 9 bits of PRG index */
inline constexpr uint32_t max_group = 16;

struct PageRequest {
    Context *context = nullptr; /* null: free */
    uint64_t epoch = 0;         /* of the context */
    uint64_t serial = 0;        /* tells groups of one index apart */
    uint32_t pasid = 0;
    uint32_t pages = 0; /* in the group */
    uint16_t prgi = 0;
    bool sent = false; /* a response can come */
};

class PageRequests {
public:
    explicit PageRequests(uint32_t allocation) : allocation_(allocation) {}

    /* Page requests that may be outstanding. */
    uint32_t allocation() const { return allocation_; }
    void allocate(uint32_t allocation) { allocation_ = allocation; }

    /*
     * A group of so many pages, or of as many as may ever be outstanding.
     * Nothing: there is no room, the context stands in line.
     */
    std::optional<PageRequest> add(Context *context, uint64_t epoch,
                                   uint32_t pasid, uint32_t pages);
    /* The group of the first in line, not sent, if there is room for it now. */
    std::optional<PageRequest> next();
    /* It is, from here on. */
    void send(const PageRequest &request) { table_[request.prgi].sent = true; }
    /* The first in line leaves without one; null: there is no line. */
    Context *give_up();
    /* The context does not want one any more. */
    void leave(const Context *context);

    /* The group sent that a response of pasid to prgi ends, if there is one. */
    std::optional<PageRequest> end(uint32_t pasid, uint16_t prgi);
    /* Any of those outstanding. */
    std::optional<PageRequest> end_one();
    /* Whether its index is still that of this group. */
    bool outstanding(const PageRequest &request) const
    {
        const PageRequest &slot = table_[request.prgi];

        return slot.context && slot.serial == request.serial;
    }
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
    /*
     * Call with each who stands in line, the first one first, and the epoch
     * that it was in when it came.
     */
    template <typename Visit> void each_waiting(Visit visit) const
    {
        for (const Waiting &who : line_) {
            visit(*who.context, who.epoch);
        }
    }
    void clear();

    /*
     * Who tells contexts by their number and the epoch that they are in, or
     * were in, is the caller.  Loading, they are empty.
     */
    template <typename Archive, typename Contexts>
    void transfer(Archive &a, const Contexts &contexts)
    {
        a(allocation_, next_);
        a.require(allocation_ <= table_.size() && next_ < table_.size());
        for (PageRequest &slot : table_) {
            bool used = slot.context;
            a(used);
            if (used && a.good()) {
                contexts.transfer(a, slot.context, slot.epoch);
                a(slot.pasid, slot.pages);
                a.require(slot.pages >= 1 && slot.pages <= max_group);
                slot.prgi = static_cast<uint16_t>(&slot - table_.data());
                slot.sent = true;
                if constexpr (Archive::loading) {
                    slot.serial = ++serial_;
                    outstanding_ += slot.pages;
                }
            }
        }
        a.require(outstanding_ <= table_.size());
        line_.resize(a.length(line_.size(), contexts.count()));
        for (Waiting &who : line_) {
            contexts.transfer(a, who.context, who.epoch);
            a(who.pasid, who.pages);
            a.require(who.pages >= 1 && who.pages <= max_group);
        }
    }
    /* Loading: the group of an index, if there is one, is not sent yet. */
    std::optional<PageRequest> hold(uint16_t prgi)
    {
        if (prgi >= table_.size() || !table_[prgi].context) {
            return std::nullopt;
        }
        table_[prgi].sent = false;
        return table_[prgi];
    }

private:
    struct Waiting {
        Context *context;
        uint64_t epoch;
        uint32_t pasid;
        uint32_t pages;
    };

    bool room(uint32_t pages) const;
    PageRequest insert(const Waiting &who, bool sent);
    PageRequest take(PageRequest &slot);

    std::array<PageRequest, max_page_requests> table_{};
    std::deque<Waiting> line_;
    uint32_t allocation_;
    uint32_t outstanding_ = 0; /* page requests */
    uint32_t next_ = 0;
    uint64_t serial_ = 0;
};

} // namespace ccad
