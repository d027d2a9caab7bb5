/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * As little of a machine as a core can run on, so that what is measured is
 * the core: memory in one piece, translations that are computed, mappings
 * that cost nothing.
 */
#pragma once

#include <atomic>
#include <cstdint>

#include "ccad_core.h"
#include "ccad_hw.h"

namespace ccad::bench {

inline constexpr uint64_t page = 4096;
inline constexpr uint64_t huge = 2 * 1024 * 1024;
inline constexpr uint32_t pasid = 1;

struct Options {
    bool threads = false;
    uint32_t contexts = 1;
    uint64_t page_bytes = huge; /* of every translation */
};

class PlainHost {
public:
    /* Virtual addresses begin at 0; addresses below memory_size are mapped. */
    static constexpr uint64_t memory_size = 64 << 20;

    explicit PlainHost(const Options &options);
    ~PlainHost();
    PlainHost(const PlainHost &) = delete;
    PlainHost &operator=(const PlainHost &) = delete;

    ccad_core *core() { return core_; }
    uint8_t *at(uint64_t va) { return memory_ + va; }

    /* A page that is there only for one translation after a page request. */
    static constexpr uint64_t fleeting = memory_size - page;
    /* Until then every page is granted and stays. */
    std::atomic<bool> requests{false};

private:
    struct Ops;

    int translate(uint64_t va, uint64_t len, ccad_translation *out,
                  size_t max);

    const uint64_t page_bytes_;
    uint8_t *memory_;
    ccad_core *core_;
    std::atomic<bool> present_{false};
};

/* One context of it and its ring, which is at the start of memory. */
class Ring {
public:
    static constexpr uint32_t shift = 8;

    Ring(PlainHost &host, uint32_t context = 0);

    ccad_completion &record(uint32_t index)
    {
        return records_[index % (1u << shift)];
    }
    /* Into the ring, with a record of its own. */
    uint32_t push(ccad_desc desc);
    void doorbell();
    /* Whether the command has, as only successful ones may. */
    bool ended(uint32_t index);
    void wait(uint32_t index);
    uint32_t next() const { return tail_; }

private:
    PlainHost &host_;
    const uint32_t context_;
    uint64_t ring_va_;
    uint64_t records_va_;
    ccad_desc *ring_;
    ccad_completion *records_;
    uint32_t tail_ = 0;
};

} // namespace ccad::bench
