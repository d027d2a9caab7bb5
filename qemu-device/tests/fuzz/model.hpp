/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a command has to come to, worked out from the page tables and the
 * memory alone, a byte at a time.
 */
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "machine.hpp"

namespace ccad::fuzz {

/* More would be slow under the sanitizers, and tells no more. */
inline constexpr uint64_t most_content = 3 * page;

constexpr bool wraps(uint64_t va, uint64_t len)
{
    return len && va + (len - 1) < va;
}

/* What becomes of a page that is not mapped: whether a request brings it. */
using OnDemand = std::function<bool(uint64_t va)>;

/* The opcode whose outcome is to be spoilt, to see that it is noticed. */
std::optional<uint8_t> control_opcode();

class Expectation {
public:
    /*
     * Before the command is submitted; physical: by a context with physical
     * addresses, of which pasid and on_demand mean nothing.
     */
    Expectation(Machine &machine, uint32_t pasid, bool physical,
                const ccad_desc &desc, const OnDemand &on_demand);
    /* After it has ended. */
    void check(ccad_completion record) const;

private:
    struct Reach {
        uint64_t bytes; /* that can be accessed */
        uint8_t status; /* why no more */
    };
    /* Pages as they will be, where the command itself changes them. */
    using Frames = std::vector<std::pair<uint64_t, std::vector<uint8_t>>>;

    std::optional<Leaf> leaf(uint64_t va) const;
    Reach reach(uint64_t va, uint64_t len, bool write);
    std::vector<uint8_t> bytes(uint64_t va, uint64_t len) const;
    /* Up to eight of them as a number. */
    uint64_t number(uint64_t va, uint64_t len) const;
    bool distinct(std::initializer_list<std::pair<uint64_t, uint64_t>> reads,
                  uint64_t va, uint64_t len) const;
    bool fail(uint8_t status, uint64_t addr);
    bool access(uint64_t va, uint64_t len, bool write);
    bool plain() const;

    void linear(bool src, bool dst, bool writes);
    void copy();
    void fill();
    void crc();
    void compare();
    void reduce();
    void atomic();
    void gather();
    void list_walk();
    void compress();
    void decompress();
    void copy_pages();
    void check_cycle(const ccad_completion &record) const;
    void check_compressed(const ccad_completion &record) const;
    void spoil(ccad_completion &record) const;

    Machine &machine_;
    const uint32_t pasid_;
    const bool physical_;
    const ccad_desc desc_;
    const OnDemand &on_demand_;

    bool known_ = true;   /* how it ends can be told */
    bool mapped_ = true;  /* so far, all that it touches */
    bool own_ = false;    /* it touches rings or records, which change */
    uint8_t status_ = CCAD_COMP_SUCCESS;
    uint64_t done_ = 0;
    uint64_t fault_addr_ = 0;
    bool content_ = false; /* memory at dst and the result are known */
    std::vector<uint8_t> written_;
    uint64_t result_ = 0;
    Frames frames_; /* by physical address, of COPY_PAGES */

    /* LIST_WALK: nodes in order until one comes again, and folds so far. */
    std::vector<uint64_t> nodes_;
    std::vector<uint64_t> folds_;
    size_t back_to_ = 0; /* of nodes_, if it goes round */
    bool round_ = false;
    std::vector<uint8_t> input_; /* COMPRESS */
    uint8_t fails_as_ = 0;       /* DECOMPRESS, if that is all that is known */
};

} // namespace ccad::fuzz
