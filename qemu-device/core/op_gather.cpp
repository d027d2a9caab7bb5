/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GATHER.  Elements are copied one after the other, in the order of the
 * indices.  An index counts in bytes_done when its element is all there; the
 * one that failed may have been written in part.
 */
#include <algorithm>
#include <cstring>

#include "command.hpp"

namespace ccad {

namespace {

/* Elements of one step. */
constexpr uint64_t batch = 128;

constexpr uint64_t max_element_shift = 6;

struct Shape {
    explicit Shape(const ccad_desc &desc)
        : index(desc.arg2 & CCAD_GATHER_INDEX64 ? 8 : 4),
          shift(desc.arg2 & CCAD_GATHER_ELEMENT_MASK),
          element(uint64_t{1} << shift)
    {
    }

    uint32_t index; /* bytes */
    uint64_t shift;
    uint64_t element; /* bytes */
};

bool check(const ccad_desc &desc)
{
    if (desc.arg2 & ~uint64_t{CCAD_GATHER_ELEMENT_MASK | CCAD_GATHER_INDEX64} ||
        (desc.arg2 & CCAD_GATHER_ELEMENT_MASK) > max_element_shift) {
        return false;
    }

    Shape shape(desc);
    uint64_t count = desc.len / shape.index;
    if (desc.len % shape.index || count > UINT64_MAX >> shape.shift ||
        wraps(desc.src, desc.len) || wraps(desc.dst, count << shape.shift)) {
        return false;
    }
    return !overlaps(desc.src, desc.len, desc.dst, count << shape.shift);
}

uint64_t load_index(const uint8_t *data, const Shape &shape)
{
    uint64_t index = 0;

    std::memcpy(&index, data, shape.index);
    return index;
}

/* Copy the elements of up to count indices. */
Stepped copy_elements(Command &command, Operands &operands,
                      const uint8_t *indices, uint64_t count)
{
    const ccad_desc &desc = command.desc;
    const Shape shape(desc);
    uint64_t &copied = command.progress.copied;

    uint64_t dst_va = desc.dst + command.value * shape.element + copied;
    uint64_t dst_left = command.left() / shape.index * shape.element - copied;
    OperandWindow dst(operands, Operand::dst, dst_va, dst_left, true);
    if (!dst) {
        return Stepped::blocked;
    }

    Stepped stepped = Stepped::more;
    uint64_t written = 0;
    for (uint64_t i = 0; i < count && written < dst->size();) {
        uint64_t index = load_index(indices + i * shape.index, shape);
        uint64_t va = desc.arg + (index << shape.shift);
        if (index > UINT64_MAX >> shape.shift || va < desc.arg ||
            wraps(va, shape.element)) {
            stepped = fail(command, CCAD_COMP_INVALID_FIELD,
                           desc.src + command.done, CCAD_ACCESS_READ);
            break;
        }

        uint64_t left = shape.element - copied;
        OperandWindow table(operands, Operand::table, va + copied, left,
                            false);
        if (!table) {
            stepped = Stepped::blocked;
            break;
        }
        uint64_t bytes = std::min(table->size(), dst->size() - written);
        /* The table may overlap what is written. */
        std::memmove(dst->data() + written, table->data(), bytes);
        table->use(bytes);
        written += bytes;
        copied += bytes;
        if (copied == shape.element) {
            copied = 0;
            command.done += shape.index;
            command.value++;
            i++;
        }
    }
    if (written) {
        dst->use(written);
    }
    return stepped;
}

Stepped step(Command &command, Operands &operands)
{
    const Shape shape(command.desc);
    Progress &progress = command.progress;
    uint64_t left = command.left();
    Stepped stepped;
    uint64_t before = command.done;

    if (!left) {
        return Stepped::ended;
    }

    if (progress.have == shape.index) {
        stepped = copy_elements(command, operands, progress.bytes, 1);
        if (command.done != before) {
            progress.have = 0;
        }
        return stepped;
    }

    uint64_t va = command.desc.src + command.done + progress.have;
    left -= progress.have;
    OperandWindow src(operands, Operand::src, va, left, false);
    if (!src) {
        return Stepped::blocked;
    }
    /* An index that lies in two windows. */
    if (progress.have || src->size() < shape.index) {
        src->use(progress.take(src->data(), src->size(), shape.index));
        return Stepped::more;
    }
    stepped = copy_elements(command, operands, src->data(),
                            std::min(src->size() / shape.index, batch));
    if (command.done != before) {
        src->use(command.done - before);
    }
    return stepped;
}

} // namespace

const Opcode opcode_gather = {
    .check = check,
    .step = step,
    .uses_arg2 = true,
};

} // namespace ccad
