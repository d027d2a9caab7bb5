/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way of an engine to memory: operands, their translations, and windows.
 *
 * A window is one access, or several that follow each other where nothing can
 * tell when each was made.  An operand has one at a time.  It is opened and
 * used under the engine's gate.  The mapping that it lies in stays open for the
 * operand's next windows (mapping.hpp) but is closed before the gate is left,
 * so that an invalidation that passes the gate finds nothing open.
 *
 * Each operand keeps the translation it used last besides the ATC.  So a
 * command makes progress however small the ATC is, and several accesses to
 * one page need no lookup; the ATC's generation decides whether it is good.
 *
 * Poison ends a window before the line that it is in.  A line that the command
 * writes in full, be it in two windows, is clean afterwards.
 */
#pragma once

#include <cstdint>

#include "atc.hpp"
#include "cost.hpp"
#include "counters.hpp"
#include "host.hpp"
#include "mapping.hpp"
#include "poison.hpp"

namespace ccad {

/*
 * What an address of a context is used for.  again is for what the command has
 * read before: it costs and counts nothing, and leaves the ATC as it is.
 */
enum class Operand : uint8_t { ring, completion, src, dst, table, again };
inline constexpr unsigned operand_count = 6;

/* Whether it belongs to a command, or to the context's own machinery. */
constexpr bool of_command(Operand operand)
{
    return operand != Operand::ring && operand != Operand::completion;
}

struct Held {
    Translation entry;
    uint64_t generation;
    bool valid = false;
    bool asked = false; /* not used since the host gave it: no ATC hit */
    bool identity = false; /* addresses are physical: always good, no hit */
    bool apart = false;    /* does not go through the ATC */
};

/* Every address is its own translation. */
inline constexpr Held physical_addresses = {
    .entry = {0, UINT64_MAX, 0, true, true},
    .generation = 0,
    .valid = true,
    .identity = true,
};

/* Where the last access of an operand ended; begins anew with each command. */
struct Cursor {
    uint64_t end = 0;
    bool rewriting = false; /* there, within a poisoned line, from its start */

    template <typename Archive> void transfer(Archive &a) { a(end, rewriting); }
};

/* What an access to an operand goes on from, and leaves behind. */
struct OperandState {
    Held held;
    Cursor cursor;
    Mapping mapping;
};

/* What of the device every access meets. */
struct Memory {
    const Host &host;
    Atc &atc;
    Poison &poison;
    Counters &counters;
};

/* A translation that is missing: what to ask the host for. */
struct Miss {
    Operand operand;
    bool write;
    uint32_t pasid;
    uint64_t va;
    uint64_t len; /* of the rest of the operand */

    template <typename Archive> void transfer(Archive &a)
    {
        a.enumeration(operand, static_cast<Operand>(operand_count - 1));
        a(write, pasid, va, len);
    }
};

enum class Opened : uint8_t { ok, miss, bus_error, poison };

class Window {
public:
    /*
     * Open at most len bytes at va, and at most limit, with the engine's gate
     * held; meter is who pays.  len is all that is left of the operand: a line
     * that it ends in is not written in full.  Granules that reach the
     * threshold go to due; null: no counting.
     */
    Window(const Memory &memory, uint32_t pasid, OperandState &operand,
           Meter &meter, CounterRecords *due, uint64_t va, uint64_t len,
           bool write, uint64_t limit);
    Window(const Window &) = delete;
    Window &operator=(const Window &) = delete;

    Opened state() const { return state_; }
    uint8_t *data() const { return data_; }
    uint64_t size() const { return size_; }
    /* Where in local memory it begins, if it does. */
    uint64_t local_offset() const { return offset_; }

    /* Charge and count the accesses; once, and only if they take place. */
    void use(uint64_t bytes);

private:
    bool poisoned(uint64_t at) const;
    bool continues() const
    {
        return va_ % Poison::line && va_ == operand_.cursor.end;
    }
    bool rewrites() const
    {
        return continues() && operand_.cursor.rewriting;
    }
    uint64_t sound(uint64_t len) const;
    bool rewrite(uint64_t bytes);

    const Memory &memory_;
    const uint32_t pasid_;
    OperandState &operand_;
    Meter &meter_;
    CounterRecords *const due_;
    const uint64_t va_;
    const bool write_;
    uint8_t *data_ = nullptr;
    uint64_t pa_ = 0;
    uint64_t size_ = 0;
    Opened state_ = Opened::ok;
    bool local_ = false;
    uint64_t offset_ = 0;
};

} // namespace ccad
