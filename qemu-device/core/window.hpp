/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way of an engine to memory: operands, their translations, and windows.
 *
 * A window is one access.  It is opened, used and closed under the engine's
 * gate, so that an invalidation that passes the gate finds nothing open.
 *
 * Each operand keeps the translation it used last besides the ATC.  So a
 * command makes progress however small the ATC is, and several accesses to
 * one page need no lookup; the ATC's generation decides whether it is good.
 */
#pragma once

#include <cstdint>

#include "atc.hpp"
#include "cost.hpp"
#include "host.hpp"

namespace ccad {

/* What an address of a context is used for. */
enum class Operand : uint8_t { ring, completion, src, dst };
inline constexpr unsigned operand_count = 4;

/* Whether it belongs to a command, or to the context's own machinery. */
constexpr bool of_command(Operand operand)
{
    return operand == Operand::src || operand == Operand::dst;
}

struct Held {
    Translation entry;
    uint64_t generation;
    bool valid = false;
    bool asked = false; /* not used since the host gave it: no ATC hit */
};

/* A translation that is missing: what to ask the host for. */
struct Miss {
    Operand operand;
    bool write;
    uint32_t pasid;
    uint64_t va;
    uint64_t len; /* of the rest of the operand */
};

enum class Opened : uint8_t { ok, miss, bus_error };

class Window {
public:
    /*
     * Open at most len bytes at va for one access, with the engine's gate
     * held; held is the operand's translation and meter who pays.
     */
    Window(const Host &host, Atc &atc, uint32_t pasid, Held &held,
           Meter &meter, uint64_t va, uint64_t len, bool write);
    ~Window();
    Window(const Window &) = delete;
    Window &operator=(const Window &) = delete;

    Opened state() const { return state_; }
    uint8_t *data() const { return static_cast<uint8_t *>(data_); }
    uint64_t size() const { return size_; }

    /* Charge the access; once, and only if it takes place. */
    void use(uint64_t bytes);

private:
    const Host &host_;
    Held &held_;
    Meter &meter_;
    void *data_ = nullptr;
    uint64_t size_ = 0;
    uint64_t used_ = 0;
    Opened state_;
    bool write_;
    bool local_ = false;
};

} // namespace ccad
