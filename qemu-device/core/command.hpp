/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A command in execution, and the table of opcodes.
 *
 * An opcode is a check of the descriptor and a step.  The step does one
 * access (or one pair, to copy) and is called until it says that the command
 * has ended; everything it has to remember is in the command, so that a
 * command can stop for a translation, for the time slice of another context,
 * or for good, between any two steps.
 */
#pragma once

#include <cstdint>

#include "ccad_hw.h"
#include "window.hpp"

namespace ccad {

struct Command {
    ccad_desc desc{};
    uint64_t done = 0;  /* bytes of the operands */
    uint64_t value = 0; /* result so far */
    Meter meter;
    Charge charged;      /* of the meter, on the clock already */
    uint64_t waited = 0; /* nanoseconds, for memory that others used */
    uint8_t status = CCAD_COMP_NONE;
    uint8_t access = 0;
    uint64_t fault_addr = 0;

    uint64_t left() const { return desc.len - done; }
};

/* What a step gives its operands through; see Run. */
class Operands {
public:
    virtual Window open(Operand operand, uint64_t va, uint64_t len,
                        bool write) = 0;
    /* The window could not be opened: note why. */
    virtual void blocked(const Window &window, Operand operand, uint64_t va,
                         uint64_t len, bool write) = 0;

protected:
    ~Operands() = default;
};

enum class Stepped : uint8_t {
    more,    /* call again */
    ended,   /* command.value is the result */
    blocked, /* Operands::blocked() was told */
};

struct Opcode {
    /* Whether the fields fit; those an opcode does not use are not looked at. */
    bool (*check)(const ccad_desc &desc);
    Stepped (*step)(Command &command, Operands &operands);
};

/* Null if there is no such opcode. */
const Opcode *find_opcode(uint8_t opcode);

/* As CCAD_REG_OPCODES. */
uint64_t opcode_mask();

/* CCAD_COMP_NONE if the descriptor may be executed. */
uint8_t check_descriptor(const ccad_desc &desc);

/* Whether [va, va + len) runs past the end of the address space. */
constexpr bool wraps(uint64_t va, uint64_t len)
{
    return len && va + (len - 1) < va;
}

/* The engine families. */
extern const Opcode opcode_nop;
extern const Opcode opcode_fence;
extern const Opcode opcode_copy;
extern const Opcode opcode_fill;
extern const Opcode opcode_crc32c;

} // namespace ccad
