/* SPDX-License-Identifier: GPL-2.0-or-later */
/* COPY and FILL. */
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "command.hpp"
#include "gate.hpp"

namespace ccad {

static_assert(std::endian::native == std::endian::little);

namespace {

/* Whole accesses, until somebody waits for the gate; how many bytes. */
template <typename Move>
uint64_t in_pieces(const Operands &operands, uint64_t size, Move move)
{
    static_assert(gate_interval % max_access == 0);
    uint64_t done = 0;

    do {
        uint64_t bytes = std::min(size - done, gate_interval);
        move(done, bytes);
        done += bytes;
    } while (done < size && !operands.wanted());
    return done;
}

bool check_copy(const ccad_desc &desc)
{
    return !wraps(desc.src, desc.len) && !wraps(desc.dst, desc.len) &&
           !overlaps(desc.src, desc.len, desc.dst, desc.len);
}

Stepped step_copy(Command &command, Operands &operands)
{
    const ccad_desc &desc = command.desc;
    uint64_t left = command.left();

    if (!left) {
        return Stepped::ended;
    }

    uint64_t src_va = desc.src + command.done;
    OperandWindow src(operands, Operand::src, src_va, left, false,
                      Span::several);
    if (!src) {
        return Stepped::blocked;
    }

    uint64_t dst_va = desc.dst + command.done;
    OperandWindow dst(operands, Operand::dst, dst_va, left, true,
                      Span::several);
    if (!dst) {
        return Stepped::blocked;
    }

    /* Two addresses may be one page: memmove. */
    uint64_t bytes = in_pieces(
        operands, std::min(src->size(), dst->size()),
        [&](uint64_t at, uint64_t bytes) {
            std::memmove(dst->data() + at, src->data() + at, bytes);
        });
    src->use(bytes);
    dst->use(bytes);
    command.done += bytes;
    return command.left() ? Stepped::more : Stepped::ended;
}

bool check_fill(const ccad_desc &desc)
{
    return !wraps(desc.dst, desc.len);
}

/* The pattern, beginning at byte phase of it. */
void fill(uint8_t *data, uint64_t bytes, uint64_t pattern, unsigned phase)
{
    pattern = std::rotr(pattern, 8 * static_cast<int>(phase));
    if (pattern == std::rotl(pattern, 8)) {
        std::memset(data, static_cast<int>(pattern & 0xff), bytes);
        return;
    }
    /* A line at a time, which compilers move with vectors. */
    std::array<uint64_t, 8> line;
    line.fill(pattern);
    for (; bytes >= sizeof(line); bytes -= sizeof(line)) {
        std::memcpy(data, line.data(), sizeof(line));
        data += sizeof(line);
    }
    std::memcpy(data, line.data(), bytes);
}

Stepped step_fill(Command &command, Operands &operands)
{
    uint64_t left = command.left();

    if (!left) {
        return Stepped::ended;
    }

    uint64_t va = command.desc.dst + command.done;
    OperandWindow dst(operands, Operand::dst, va, left, true, Span::several);
    if (!dst) {
        return Stepped::blocked;
    }

    uint64_t bytes = in_pieces(
        operands, dst->size(), [&](uint64_t at, uint64_t bytes) {
            fill(dst->data() + at, bytes, command.desc.arg,
                 (command.done + at) % 8);
        });
    dst->use(bytes);
    command.done += bytes;
    return command.left() ? Stepped::more : Stepped::ended;
}

} // namespace

const Opcode opcode_copy = {check_copy, step_copy};
const Opcode opcode_fill = {check_fill, step_fill};

} // namespace ccad
