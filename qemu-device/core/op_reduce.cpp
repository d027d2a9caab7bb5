/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * REDUCE.  A command that fails has the reduction of the whole elements of
 * bytes_done as its result.
 */
#include <algorithm>
#include <cstring>

#include "command.hpp"
#include "reduction.hpp"

namespace ccad {

namespace {

bool check(const ccad_desc &desc)
{
    const Reduction *reduction = find_reduction(desc.arg);

    return reduction && desc.len % reduction->element == 0 &&
           !wraps(desc.src, desc.len);
}

void begin(Command &command)
{
    command.value = find_reduction(command.desc.arg)->nothing;
}

Stepped step(Command &command, Operands &operands)
{
    const Reduction &reduction = *find_reduction(command.desc.arg);
    uint64_t left = command.left();

    if (!left) {
        return Stepped::ended;
    }

    uint64_t va = command.desc.src + command.done;
    OperandWindow src(operands, Operand::src, va, left, false);
    if (!src) {
        return Stepped::blocked;
    }

    const uint8_t *data = src->data();
    uint64_t bytes = src->size();
    /* The rest of an element that began in the window before. */
    if (command.progress.have) {
        bytes -= command.progress.take(data, bytes, reduction.element);
        data += src->size() - bytes;
        if (command.progress.have == reduction.element) {
            command.value =
                reduction.fold(command.value, command.progress.bytes, 1);
            command.progress.have = 0;
        }
    }
    uint64_t whole = bytes / reduction.element;
    command.value = reduction.fold(command.value, data, whole);
    command.progress.take(data + whole * reduction.element,
                          bytes % reduction.element, reduction.element);

    src->use(src->size());
    command.done += src->size();
    return command.left() ? Stepped::more : Stepped::ended;
}

} // namespace

const Opcode opcode_reduce = {check, step, begin};

} // namespace ccad
