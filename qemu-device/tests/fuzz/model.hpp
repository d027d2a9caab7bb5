/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a command has to come to, worked out from the page tables and the
 * memory alone, a byte at a time.
 */
#pragma once

#include <functional>
#include <vector>

#include "machine.hpp"

namespace ccad::fuzz {

/* What becomes of a page that is not mapped: whether a request brings it. */
using OnDemand = std::function<bool(uint64_t va)>;

class Expectation {
public:
    /* Before the command is submitted. */
    Expectation(Machine &machine, uint32_t pasid, const ccad_desc &desc,
                const OnDemand &on_demand);
    /* After it has ended. */
    void check(const ccad_completion &record) const;

private:
    struct Reach {
        uint64_t bytes; /* that can be accessed */
        uint8_t status; /* why no more */
        bool mapped;    /* all of them already */
    };
    Reach reach(uint64_t va, uint64_t len, bool write) const;
    std::vector<uint8_t> bytes(uint64_t va, uint64_t len) const;
    bool shares_frames() const;
    bool valid() const;
    void expect();

    Machine &machine_;
    const uint32_t pasid_;
    const ccad_desc desc_;
    const OnDemand &on_demand_;

    bool known_ = false; /* the opcode is one of those modelled */
    uint8_t status_ = CCAD_COMP_SUCCESS;
    uint64_t done_ = 0;
    uint64_t fault_addr_ = 0;
    bool content_ = false; /* what memory and result are is known */
    std::vector<uint8_t> written_;
    uint64_t result_ = 0;
};

} // namespace ccad::fuzz
