/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A command in execution, and the table of opcodes.
 *
 * An opcode is a check of the descriptor, a beginning and a step.  The step
 * does one access, one pair to copy, or a bounded number of small or cheap
 * ones, and is called until it says that the command has ended; everything it
 * has to remember is in the command, so that a command can stop for a
 * translation, for the time slice of another context, or for good, between any
 * two steps.  A step that was blocked has charged what it did and is called
 * again.
 */
#pragma once

#include <cstdint>
#include <memory>

#include "ccad_hw.h"
#include "window.hpp"

namespace ccad {

class Codec;
struct CodecDelete {
    void operator()(Codec *codec) const;
};

/* What steps remember besides done and value: plain data. */
struct Progress {
    uint8_t bytes[8] = {}; /* the first have of an item in two windows */
    uint32_t have = 0;
    bool loaded = false;   /* next or page holds what is worked on */
    uint64_t copied = 0;   /* bytes of the element or page worked on */
    uint64_t node = 0;     /* LIST_WALK: to visit */
    uint64_t next = 0;     /* its pointer */
    uint64_t mark = 0;     /* an earlier node, met again in a cycle */
    uint64_t since = 0;    /* nodes since the mark, which is set anew */
    uint64_t span = 0;     /* after so many */
    uint32_t sum = 0;      /* COMPRESS, DECOMPRESS: CRC of the output */
    ccad_page_copy page{};

    template <typename Archive> void transfer(Archive &a)
    {
        for (uint8_t &byte : bytes) {
            a(byte);
        }
        a(have, loaded, copied, node, next, mark, since, span, sum, page.src,
          page.dst);
    }

    /* Take what is missing of an item, or what there is; returns how much. */
    uint64_t take(const uint8_t *data, uint64_t size, uint32_t item);
};

struct Command {
    ccad_desc desc{};
    uint64_t done = 0;  /* bytes of the operands, or what the opcode counts */
    uint64_t value = 0; /* result so far */
    Meter meter;
    Charge charged;      /* of the meter, on the clock already */
    uint64_t waited = 0; /* nanoseconds, for memory that others used */
    uint8_t status = CCAD_COMP_NONE;
    uint8_t access = 0;
    uint64_t fault_addr = 0;
    Progress progress;
    /* Not plain data: a command that was loaded has to make it anew. */
    std::unique_ptr<Codec, CodecDelete> codec;

    uint64_t left() const { return desc.len - done; }

    template <typename Archive> void transfer(Archive &a)
    {
        a(desc, done, value, meter, charged, waited, status, access,
          fault_addr, progress);
    }
};

/* Of a window: one access, or max_span if that makes no difference. */
enum class Span : uint8_t { access, several };

/* What a step gives its operands through; see Run. */
class Operands {
public:
    virtual Window open(Operand operand, uint64_t va, uint64_t len,
                        bool write, Span span) = 0;
    /* The window could not be opened: note why. */
    virtual void blocked(const Window &window, Operand operand, uint64_t va,
                         uint64_t len, bool write) = 0;
    /* Somebody waits for the gate: make no more accesses in this step. */
    virtual bool wanted() const = 0;

protected:
    ~Operands() = default;
};

/* A window of a step; if it could not be opened, why has been noted. */
class OperandWindow {
public:
    OperandWindow(Operands &operands, Operand operand, uint64_t va,
                  uint64_t len, bool write, Span span = Span::access)
        : window_(operands.open(operand, va, len, write, span))
    {
        if (!*this) {
            operands.blocked(window_, operand, va, len, write);
        }
    }

    explicit operator bool() const { return window_.state() == Opened::ok; }
    Window *operator->() { return &window_; }

private:
    Window window_;
};

enum class Stepped : uint8_t {
    more,    /* call again */
    ended,   /* command.value is the result */
    failed,  /* command.status, access and fault_addr say why */
    blocked, /* Operands::blocked() was told */
};

struct Opcode {
    /* Whether the fields fit; those an opcode does not use are not looked at. */
    bool (*check)(const ccad_desc &desc);
    Stepped (*step)(Command &command, Operands &operands);
    /* Before the first step; may be null. */
    void (*begin)(Command &command) = nullptr;
    bool uses_arg2 = false; /* else it has to be zero */
    bool physical = false;  /* for contexts with physical addresses alone */
};

/* Set the command back to before its first step, with nothing charged. */
void begin_command(Command &command);

/* Note why the command fails; for a step to return. */
Stepped fail(Command &command, uint8_t status, uint64_t addr = 0,
             uint8_t access = 0);

/* Null if there is no such opcode. */
const Opcode *find_opcode(uint8_t opcode);

/* As CCAD_REG_OPCODES. */
uint64_t opcode_mask();

/* CCAD_COMP_NONE if a context, physical or not, may execute the descriptor. */
uint8_t check_descriptor(const ccad_desc &desc, bool physical);

/* Whether [va, va + len) runs past the end of the address space. */
constexpr bool wraps(uint64_t va, uint64_t len)
{
    return len && va + (len - 1) < va;
}

/* Whether [a, a + a_len) and [b, b + b_len), which do not wrap, overlap. */
constexpr bool overlaps(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a < b ? b - a < a_len && b_len : a - b < b_len && a_len;
}

/* The engine families. */
extern const Opcode opcode_nop;
extern const Opcode opcode_fence;
extern const Opcode opcode_copy;
extern const Opcode opcode_fill;
extern const Opcode opcode_crc32c;
extern const Opcode opcode_compare;
extern const Opcode opcode_reduce;
extern const Opcode opcode_fetch_add;
extern const Opcode opcode_compare_swap;
extern const Opcode opcode_gather;
extern const Opcode opcode_list_walk;
extern const Opcode opcode_compress;
extern const Opcode opcode_decompress;
extern const Opcode opcode_copy_pages;

} // namespace ccad
