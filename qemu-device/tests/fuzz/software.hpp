/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software that drives the device as a fuzzer wills it, and what it knows
 * about the device: what has to hold whatever it did.
 */
#pragma once

#include <array>

#include "input.hpp"
#include "machine.hpp"

namespace ccad::fuzz {

/* Where an input's addresses lie; pages of them are mapped or not. */
inline constexpr uint64_t regions[] = {
    0x10000,            /* low */
    0x7fff'ffff'0000,   /* up to the end of the lower half */
    0xffff'ffff'ffff'0000, /* up to the end of the address space */
};
inline constexpr unsigned region_pages = 16;
inline constexpr uint64_t large_va = 0x4000'0000;
/* Rings and completion records of the contexts; no operand lies there. */
inline constexpr uint64_t rings_va = 0x7f00'0000'0000;
inline constexpr uint64_t records_va = rings_va + 0x10000;
inline constexpr uint32_t ring_shift = 4;
inline constexpr unsigned records = 64; /* a page of them for each context */

/* What one machine has been made for; the same four in every run. */
Machine &machine_of(unsigned choice);
inline constexpr unsigned machines = 4;

class Software {
public:
    explicit Software(Machine &machine);

    Machine &machine() { return machine_; }
    ccad_core *core() { return machine_.core(); }

    /* Registers, with what has to hold of any access. */
    uint64_t read(uint64_t offset, unsigned size);
    void write(uint64_t offset, uint64_t value, unsigned size = 4);
    uint32_t status(uint32_t context);
    uint32_t state(uint32_t context)
    {
        return status(context) & CCAD_CTX_STATE_MASK;
    }
    uint32_t doorbell(uint32_t context, uint32_t reg)
    {
        return static_cast<uint32_t>(
            read(CCAD_DOORBELL(context) + reg, 4));
    }
    uint64_t stat(uint32_t context, uint32_t stat);
    void reset();
    void run();
    uint32_t contexts() const { return machine_.config().contexts; }

    /* Map ring and records of a context, in frames of their own, and enable. */
    void set_up(uint32_t context, uint32_t pasid);
    void enable(uint32_t context, uint32_t pasid, uint64_t ring,
                uint32_t shift, uint32_t vector, uint32_t ctrl);
    /* Into the ring of set_up(); the doorbell is another step. */
    void push(uint32_t context, const ccad_desc &desc);
    uint32_t tail(uint32_t context) const { return tails_[context]; }
    void ring_doorbell(uint32_t context, uint32_t tail);
    static uint64_t record_va(uint32_t context, uint32_t index)
    {
        return records_va + context * page +
               index % records * sizeof(ccad_completion);
    }

    /* Decisions of the input. */
    static uint64_t address(Input &input);
    static uint64_t length(Input &input);
    /* Whether a page request may bring the page. */
    static bool populated(uint64_t va);
    static ccad_desc descriptor(Input &input);
    void mapping(Input &input);
    static ccad_response response(uint8_t choice);

    /* A record that the device has written for this descriptor. */
    static void check_record(const ccad_desc &desc,
                             const ccad_completion &record);
    /* The device's counters are the sum of those of its contexts. */
    void check_stats();
    /*
     * Answer what is outstanding; then nothing may be left to do.  To add up
     * the counters takes as long as a short input.
     */
    void finish(bool thorough);

private:
    Machine &machine_;
    std::array<uint32_t, CCAD_MAX_CONTEXTS> tails_{};
    /* Of the lives of contexts that are over. */
    std::array<uint64_t, CCAD_STAT_COUNT> past_{};
};

} // namespace ccad::fuzz
