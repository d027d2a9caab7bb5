/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CRC32C, as of iSCSI and ext4: the CRC goes in and out finished, that is
 * inverted, so that the CRC of a whole is that of its parts in a row, with 0
 * to start.  A command that fails has the CRC of bytes_done as its result.
 */
#include <isa-l/crc.h>

#include "command.hpp"

namespace ccad {

namespace {

bool check(const ccad_desc &desc)
{
    return !wraps(desc.src, desc.len) && desc.arg <= UINT32_MAX;
}

void begin(Command &command)
{
    command.value = command.desc.arg;
}

Stepped step(Command &command, Operands &operands)
{
    uint64_t left = command.left();

    if (!left) {
        return Stepped::ended;
    }

    uint64_t va = command.desc.src + command.done;
    OperandWindow src(operands, Operand::src, va, left, false);
    if (!src) {
        return Stepped::blocked;
    }

    static_assert(max_access <= INT32_MAX);
    command.value = ~crc32_iscsi(src->data(), static_cast<int>(src->size()),
                                 ~static_cast<uint32_t>(command.value));
    src->use(src->size());
    command.done += src->size();
    return command.left() ? Stepped::more : Stepped::ended;
}

} // namespace

const Opcode opcode_crc32c = {check, step, begin};

} // namespace ccad
