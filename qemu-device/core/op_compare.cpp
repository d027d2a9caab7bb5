/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * COMPARE: the result is the number of bytes before the first difference, and
 * the command ends there.
 */
#include <algorithm>
#include <cstring>

#include "command.hpp"

namespace ccad {

namespace {

bool check(const ccad_desc &desc)
{
    return !wraps(desc.src, desc.len) && !wraps(desc.dst, desc.len);
}

/* Also right, in one way or the other, while a CPU writes to one of them. */
uint64_t equal_bytes(const uint8_t *a, const uint8_t *b, uint64_t bytes)
{
    constexpr uint64_t block = 256;
    uint64_t i = 0;

    while (bytes - i >= block && !std::memcmp(a + i, b + i, block)) {
        i += block;
    }
    while (i < bytes && a[i] == b[i]) {
        i++;
    }
    return i;
}

Stepped step(Command &command, Operands &operands)
{
    const ccad_desc &desc = command.desc;
    uint64_t left = command.left();

    if (!left) {
        return Stepped::ended;
    }

    uint64_t src_va = desc.src + command.done;
    OperandWindow src(operands, Operand::src, src_va, left, false);
    if (!src) {
        return Stepped::blocked;
    }

    uint64_t dst_va = desc.dst + command.done;
    OperandWindow dst(operands, Operand::dst, dst_va, left, false);
    if (!dst) {
        return Stepped::blocked;
    }

    uint64_t bytes = std::min(src->size(), dst->size());
    uint64_t equal = equal_bytes(src->data(), dst->data(), bytes);
    uint64_t looked_at = std::min(equal + 1, bytes);
    src->use(looked_at);
    dst->use(looked_at);
    command.done += equal;
    command.value = command.done;
    return equal < bytes || !command.left() ? Stepped::ended : Stepped::more;
}

} // namespace

const Opcode opcode_compare = {check, step};

} // namespace ccad
