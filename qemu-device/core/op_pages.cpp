/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * COPY_PAGES: a list of pages by physical address, for the kernel.  An entry
 * counts in bytes_done when its page has been copied; the page that failed may
 * have been written in part.
 */
#include <algorithm>
#include <cstring>

#include "command.hpp"

namespace ccad {

namespace {

constexpr uint64_t min_shift = 12;
constexpr uint64_t max_shift = 30;

bool check(const ccad_desc &desc)
{
    return desc.arg >= min_shift && desc.arg <= max_shift &&
           desc.src % sizeof(ccad_page_copy) == 0 &&
           desc.len % sizeof(ccad_page_copy) == 0 &&
           !wraps(desc.src, desc.len);
}

Stepped step(Command &command, Operands &operands)
{
    const uint64_t size = uint64_t{1} << command.desc.arg;
    Progress &progress = command.progress;
    uint64_t left = command.left();

    if (!left) {
        return Stepped::ended;
    }

    if (!progress.loaded) {
        uint64_t va = command.desc.src + command.done;
        Window list = operands.open(Operand::src, va, sizeof(ccad_page_copy),
                                    false, Span::access);
        if (list.size() < sizeof(ccad_page_copy)) {
            operands.blocked(list, Operand::src, va, left, false);
            return Stepped::blocked;
        }
        std::memcpy(&progress.page, list.data(), sizeof(progress.page));
        list.use(sizeof(progress.page));
        if ((progress.page.src | progress.page.dst) % size) {
            return fail(command, CCAD_COMP_INVALID_FIELD, va,
                        CCAD_ACCESS_READ);
        }
        progress.loaded = true;
    }

    uint64_t src_pa = progress.page.src + progress.copied;
    uint64_t page_left = size - progress.copied;
    OperandWindow src(operands, Operand::table, src_pa, page_left, false);
    if (!src) {
        return Stepped::blocked;
    }

    uint64_t dst_pa = progress.page.dst + progress.copied;
    OperandWindow dst(operands, Operand::dst, dst_pa, page_left, true);
    if (!dst) {
        return Stepped::blocked;
    }

    /* A page may be copied onto itself. */
    uint64_t bytes = std::min(src->size(), dst->size());
    std::memmove(dst->data(), src->data(), bytes);
    src->use(bytes);
    dst->use(bytes);
    progress.copied += bytes;
    if (progress.copied == size) {
        progress.copied = 0;
        progress.loaded = false;
        command.done += sizeof(ccad_page_copy);
        command.value++;
    }
    return command.left() ? Stepped::more : Stepped::ended;
}

} // namespace

const Opcode opcode_copy_pages = {
    .check = check,
    .step = step,
    .physical = true,
};

} // namespace ccad
