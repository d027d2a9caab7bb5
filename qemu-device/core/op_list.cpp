/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LIST_WALK.  Of a node its pointer is read first, then its field; a node
 * counts when both are.  So the result is that of bytes_done nodes, however
 * the command ends.
 *
 * A cycle is found by Brent's algorithm: the mark moves up to the walk after
 * 1, 2, 4, ... nodes, and a walk that comes to its mark goes round.  That
 * takes at most three times as many nodes as the list has.
 */
#include <cstring>

#include "command.hpp"
#include "reduction.hpp"

namespace ccad {

namespace {

/* Nodes of one step: two accesses each.  More make it no faster. */
constexpr unsigned batch = 8;

constexpr uint32_t pointer_size = 8;

struct Node {
    explicit Node(const ccad_desc &desc)
        : next(desc.arg2 & UINT32_MAX),
          field(desc.arg2 >> CCAD_LIST_FIELD_SHIFT)
    {
    }

    uint64_t next;
    uint64_t field;
};

bool check(const ccad_desc &desc)
{
    return find_reduction(desc.arg);
}

void begin(Command &command)
{
    Progress &progress = command.progress;

    command.value = find_reduction(command.desc.arg)->nothing;
    progress.node = command.desc.src;
    progress.mark = command.desc.src;
    progress.span = 1;
}

/* Into progress.bytes; false if blocked. */
bool read_item(Command &command, Operands &operands, uint64_t va,
               uint32_t size)
{
    Progress &progress = command.progress;

    while (progress.have < size) {
        uint64_t at = va + progress.have;
        uint64_t left = size - progress.have;
        OperandWindow window(operands, Operand::src, at, left, false);

        if (!window) {
            return false;
        }
        if (window->size() == pointer_size &&
            reinterpret_cast<uintptr_t>(window->data()) % pointer_size == 0) {
            /* CPUs may change the list: never half a pointer. */
            uint64_t word = __atomic_load_n(
                reinterpret_cast<const uint64_t *>(window->data()),
                __ATOMIC_ACQUIRE);
            std::memcpy(progress.bytes, &word, sizeof(word));
            progress.have = pointer_size;
        } else {
            progress.take(window->data(), window->size(), size);
        }
        window->use(window->size());
    }
    return true;
}

Stepped step(Command &command, Operands &operands)
{
    const Reduction &reduction = *find_reduction(command.desc.arg);
    const Node offset(command.desc);
    Progress &progress = command.progress;

    for (unsigned i = 0; i < batch; i++) {
        if (!progress.node) {
            return Stepped::ended;
        }
        if (!command.left()) {
            return fail(command, CCAD_COMP_LIMIT, progress.node);
        }
        if (wraps(progress.node, offset.next + pointer_size) ||
            wraps(progress.node, offset.field + reduction.element)) {
            return fail(command, CCAD_COMP_INVALID_FIELD, progress.node,
                        CCAD_ACCESS_READ);
        }

        if (!progress.loaded) {
            if (!read_item(command, operands, progress.node + offset.next,
                           pointer_size)) {
                return Stepped::blocked;
            }
            std::memcpy(&progress.next, progress.bytes, pointer_size);
            progress.have = 0;
            progress.loaded = true;
        }
        if (!read_item(command, operands, progress.node + offset.field,
                       reduction.element)) {
            return Stepped::blocked;
        }
        command.value = reduction.fold(command.value, progress.bytes, 1);
        command.done++;
        progress.have = 0;
        progress.loaded = false;

        progress.node = progress.next;
        if (progress.node == progress.mark) {
            return fail(command, CCAD_COMP_CYCLE, progress.node);
        }
        if (++progress.since == progress.span) {
            progress.mark = progress.node;
            progress.since = 0;
            progress.span *= 2;
        }
    }
    return Stepped::more;
}

} // namespace

const Opcode opcode_list_walk = {
    .check = check,
    .step = step,
    .begin = begin,
    .uses_arg2 = true,
};

} // namespace ccad
