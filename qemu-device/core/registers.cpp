/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BAR0: which register an access means, and what it does.
 *
 * Registers are 4 or 8 bytes long.  An access is decoded to the register it
 * lies in; what decode() does not let through has no effect.
 */
#include <array>
#include <bit>
#include <optional>
#include <span>

#include "core.hpp"

namespace ccad {

namespace {

struct Register {
    uint32_t offset;
    uint32_t size;
    uint32_t count = 1;
};

constexpr Register global_registers[] = {
    {CCAD_REG_ID, 4},
    {CCAD_REG_VERSION, 4},
    {CCAD_REG_CAPS, 8},
    {CCAD_REG_OPCODES, 8},
    {CCAD_REG_CTRL, 4},
    {CCAD_REG_STATUS, 4},
    {CCAD_REG_MEM_SIZE, 8},
    {CCAD_REG_EVENT, 4},
    {CCAD_REG_EVENT_MASK, 4},
    {CCAD_REG_CLOCK, 8},
    {CCAD_REG_STATS, 8, CCAD_STAT_COUNT},
    {CCAD_REG_CNT_CTRL, 4},
    {CCAD_REG_CNT_STATUS, 4},
    {CCAD_REG_CNT_GRANULE_SHIFT, 4},
    {CCAD_REG_CNT_THRESHOLD, 4},
    {CCAD_REG_CNT_BATCH, 4},
    {CCAD_REG_CNT_VECTOR, 4},
    {CCAD_REG_CNT_RING, 8},
    {CCAD_REG_CNT_RING_SHIFT, 4},
    {CCAD_REG_CNT_HEAD, 4},
    {CCAD_REG_CNT_TAIL, 4},
    {CCAD_REG_CNT_LOST, 8},
    {CCAD_REG_CNT_PASID, 4},
    {CCAD_REG_CNT_VA, 8},
    {CCAD_REG_CNT_CMD, 4},
    {CCAD_REG_CNT_READ_LOCAL, 8},
    {CCAD_REG_CNT_READ_SYSTEM, 8},
    {CCAD_REG_CNT_WRITE_LOCAL, 8},
    {CCAD_REG_CNT_WRITE_SYSTEM, 8},
    {CCAD_REG_POISON_ADDR, 8},
    {CCAD_REG_POISON_LINES, 8},
};

constexpr Register context_registers[] = {
    {CCAD_CTX_CTRL, 4},   {CCAD_CTX_STATUS, 4}, {CCAD_CTX_PASID, 4},
    {CCAD_CTX_VECTOR, 4}, {CCAD_CTX_RING, 8},   {CCAD_CTX_RING_SHIFT, 4},
    {CCAD_CTX_PRIORITY, 4}, {CCAD_CTX_SLICE_NS, 4}, {CCAD_CTX_TIMEOUT_MS, 4},
};

constexpr Register doorbell_registers[] = {
    {CCAD_DB_TAIL, 4},
    {CCAD_DB_HEAD, 4},
    {CCAD_DB_STATUS, 4},
    {CCAD_DB_CLEAR, 4},
    {CCAD_DB_CLOCK, 8},
    {CCAD_DB_STATS, 8, CCAD_STAT_COUNT},
};

enum class Part : uint8_t { all, low, high, reserved };

struct Decoded {
    uint32_t reg; /* offset of the register */
    Part part;
};

/* The registers of an area by word; where there is none the size is 0. */
template <size_t words>
using Words = std::array<Register, words>;

template <size_t n>
constexpr uint32_t end_of(const Register (&registers)[n])
{
    const Register &last = registers[n - 1];

    return last.offset + last.size * last.count;
}

template <size_t words>
constexpr Words<words> by_word(std::span<const Register> registers)
{
    Words<words> map{};

    for (const Register &reg : registers) {
        for (uint32_t i = 0; i < reg.size * reg.count; i += 4) {
            map[(reg.offset + i) / 4] = {reg.offset + i / reg.size * reg.size,
                                         reg.size};
        }
    }
    return map;
}

constexpr auto global_words =
    by_word<end_of(global_registers) / 4>(global_registers);
constexpr auto context_words =
    by_word<end_of(context_registers) / 4>(context_registers);
constexpr auto doorbell_words =
    by_word<end_of(doorbell_registers) / 4>(doorbell_registers);

/* Nothing if the access is not allowed. */
std::optional<Decoded> decode(std::span<const Register> words, uint32_t offset,
                              unsigned size)
{
    auto at = [words](uint32_t word) {
        return word < words.size() ? words[word] : Register{};
    };

    if ((size != 4 && size != 8) || offset % size) {
        return std::nullopt;
    }
    Register reg = at(offset / 4);
    if (reg.size == size) {
        return Decoded{reg.offset, Part::all};
    }
    if (reg.size > size) {
        return Decoded{reg.offset,
                       offset == reg.offset ? Part::low : Part::high};
    }
    if (reg.size || (size == 8 && at(offset / 4 + 1).size)) {
        return std::nullopt;
    }
    return Decoded{offset, Part::reserved};
}

/* A page or block of BAR0. */
struct Area {
    std::span<const Register> words;
    enum { global, context, doorbell, hole } kind;
    uint32_t number;
    uint32_t offset;
};

Area area_of(uint64_t offset, uint32_t contexts)
{
    uint64_t number;

    if (offset < CCAD_CTX_BASE) {
        return {global_words, Area::global, 0,
                static_cast<uint32_t>(offset)};
    }
    if (offset < CCAD_DOORBELL_BASE) {
        number = (offset - CCAD_CTX_BASE) / CCAD_CTX_STRIDE;
        offset %= CCAD_CTX_STRIDE;
        if (number < contexts) {
            return {context_words, Area::context,
                    static_cast<uint32_t>(number),
                    static_cast<uint32_t>(offset)};
        }
    } else {
        number = (offset - CCAD_DOORBELL_BASE) / CCAD_DOORBELL_STRIDE;
        offset %= CCAD_DOORBELL_STRIDE;
        if (number < contexts) {
            return {doorbell_words, Area::doorbell,
                    static_cast<uint32_t>(number),
                    static_cast<uint32_t>(offset)};
        }
    }
    return {{}, Area::hole, 0, static_cast<uint32_t>(offset % 8)};
}

/* A 64-bit register after a write of its half. */
constexpr uint64_t merge(uint64_t before, uint64_t half, bool high)
{
    return high ? (before & UINT32_MAX) | half << 32
                : (before & ~uint64_t{UINT32_MAX}) | (half & UINT32_MAX);
}

} // namespace

uint64_t Core::read(uint64_t offset, unsigned size)
{
    Area area = area_of(offset, config_.contexts);
    auto decoded = decode(area.words, area.offset, size);

    if (!decoded) {
        return UINT64_MAX >> (64 - 8 * (size < 8 ? size : 8));
    }
    if (decoded->part == Part::reserved) {
        return 0;
    }

    std::lock_guard lock(state_);
    uint64_t value;
    Halves *halves = &halves_;
    if (area.kind == Area::global) {
        value = read_global(decoded->reg);
    } else {
        Context &context = *contexts_[area.number];
        halves = &context.halves;
        value = area.kind == Area::context
                    ? read_context(context, decoded->reg)
                    : read_doorbell(context, decoded->reg);
    }
    switch (decoded->part) {
    case Part::low:
        return halves->low(decoded->reg, value);
    case Part::high:
        return halves->high(decoded->reg, value);
    default:
        return value;
    }
}

void Core::write(uint64_t offset, uint64_t value, unsigned size)
{
    Area area = area_of(offset, config_.contexts);
    auto decoded = decode(area.words, area.offset, size);

    if (!decoded || decoded->part == Part::reserved) {
        return;
    }

    bool high = decoded->part == Part::high;
    switch (area.kind) {
    case Area::global:
        if (decoded->part != Part::all) {
            std::lock_guard lock(state_);
            value = merge(read_global(decoded->reg), value, high);
        }
        write_global(decoded->reg, value);
        break;
    case Area::context:
        write_context(*contexts_[area.number], decoded->reg, value, size,
                      high);
        break;
    case Area::doorbell:
        write_doorbell(*contexts_[area.number], decoded->reg,
                       static_cast<uint32_t>(value));
        break;
    case Area::hole:
        break;
    }
}

uint64_t Core::read_global(uint32_t reg)
{
    switch (reg) {
    case CCAD_REG_ID:
        return CCAD_ID;
    case CCAD_REG_VERSION:
        return CCAD_VERSION;
    case CCAD_REG_CAPS:
        return uint64_t{config_.contexts} << CCAD_CAPS_CONTEXTS_SHIFT |
               uint64_t{config_.engines} << CCAD_CAPS_ENGINES_SHIFT |
               uint64_t{CCAD_RING_SHIFT_MAX} << CCAD_CAPS_RING_SHIFT |
               uint64_t{config_.counters} << CCAD_CAPS_COUNTERS_SHIFT;
    case CCAD_REG_OPCODES:
        return opcode_mask();
    case CCAD_REG_CTRL:
        return running_ ? CCAD_CTRL_ENABLE : 0;
    case CCAD_REG_STATUS:
        return running_ ? CCAD_STATUS_READY : 0;
    case CCAD_REG_MEM_SIZE:
        return config_.mem_size;
    case CCAD_REG_EVENT:
        return event_;
    case CCAD_REG_EVENT_MASK:
        return event_mask_;
    case CCAD_REG_POISON_ADDR:
        return poison_addr_;
    case CCAD_REG_POISON_LINES:
        return poison_.lines();
    case CCAD_REG_CLOCK:
        return scheduler_.clock();
    default:
        return reg < CCAD_REG_CNT_CTRL ? device_stat(reg - CCAD_REG_STATS)
                                       : counters_.read(reg);
    }
}

uint64_t Core::read_context(Context &context, uint32_t reg)
{
    switch (reg) {
    case CCAD_CTX_CTRL:
        return context.ctrl;
    case CCAD_CTX_STATUS:
        return context.status();
    case CCAD_CTX_PASID:
        return context.block.pasid;
    case CCAD_CTX_VECTOR:
        return context.block.vector;
    case CCAD_CTX_RING:
        return context.block.ring;
    case CCAD_CTX_RING_SHIFT:
        return context.block.shift;
    case CCAD_CTX_PRIORITY:
        return context.block.priority;
    case CCAD_CTX_SLICE_NS:
        return context.block.slice_ns;
    default:
        return context.block.timeout_ms;
    }
}

uint64_t Core::read_doorbell(Context &context, uint32_t reg)
{
    switch (reg) {
    case CCAD_DB_TAIL:
        return context.run.tail();
    case CCAD_DB_HEAD:
        return context.run.head();
    case CCAD_DB_STATUS:
        return context.status();
    case CCAD_DB_CLEAR:
        return 0;
    case CCAD_DB_CLOCK:
        return context.run.clock();
    default:
        return context_stat(context, reg - CCAD_DB_STATS);
    }
}

/* With state_ held. */
uint64_t Core::context_stat(const Context &context, uint32_t stat) const
{
    if (stat == CCAD_STAT_INVALIDATIONS && context.bound &&
        !context.run.config().physical) {
        return bindings_.at(context.run.config().pasid).invalidations -
               context.invalidations_base;
    }
    return context.stats.get(stat);
}

void Core::write_global(uint32_t reg, uint64_t value)
{
    const auto word = static_cast<uint32_t>(value);

    switch (reg) {
    case CCAD_REG_CTRL:
        control(word);
        break;
    case CCAD_REG_EVENT:
        write_event(word);
        break;
    case CCAD_REG_EVENT_MASK:
        write_event_mask(word);
        break;
    default:
        if (reg >= CCAD_REG_CNT_CTRL && reg < CCAD_REG_POISON_ADDR) {
            write_counters(reg, value);
        }
        break;
    }
}

void Core::write_context(Context &context, uint32_t reg, uint64_t value,
                         unsigned size, bool high)
{
    if (reg == CCAD_CTX_CTRL) {
        {
            std::lock_guard lock(state_);
            context.ctrl =
                value & (CCAD_CTX_CTRL_ENABLE | CCAD_CTX_CTRL_PHYSICAL);
        }
        if (value & CCAD_CTX_CTRL_ENABLE) {
            enable(context);
        } else {
            disable(context);
        }
        return;
    }

    std::lock_guard lock(state_);
    RunConfig &block = context.block;
    switch (reg) {
    case CCAD_CTX_PASID:
        block.pasid = value & CCAD_PASID_MAX;
        break;
    case CCAD_CTX_VECTOR:
        block.vector = static_cast<uint32_t>(value);
        break;
    case CCAD_CTX_RING:
        block.ring = size == 8 ? value : merge(block.ring, value, high);
        break;
    case CCAD_CTX_RING_SHIFT:
        block.shift = static_cast<uint32_t>(value);
        break;
    case CCAD_CTX_PRIORITY:
        block.priority = static_cast<uint32_t>(value);
        break;
    case CCAD_CTX_SLICE_NS:
        block.slice_ns = static_cast<uint32_t>(value);
        break;
    case CCAD_CTX_TIMEOUT_MS:
        block.timeout_ms = static_cast<uint32_t>(value);
        break;
    }
}

void Core::write_doorbell(Context &context, uint32_t reg, uint32_t value)
{
    switch (reg) {
    case CCAD_DB_TAIL:
        doorbell(context, value);
        break;
    case CCAD_DB_CLEAR:
        if (value & 1) {
            clear_error(context);
        }
        break;
    }
}

} // namespace ccad
