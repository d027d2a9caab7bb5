/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "command.hpp"

#include <array>

namespace ccad {

namespace {

constexpr std::array<const Opcode *, 5> opcodes = [] {
    std::array<const Opcode *, 5> table{};

    table[CCAD_OP_NOP] = &opcode_nop;
    table[CCAD_OP_FENCE] = &opcode_fence;
    table[CCAD_OP_COPY] = &opcode_copy;
    table[CCAD_OP_FILL] = &opcode_fill;
    table[CCAD_OP_CRC32C] = &opcode_crc32c;
    return table;
}();

constexpr uint16_t known_flags =
    CCAD_DESC_INTERRUPT | CCAD_DESC_NO_PAGE_REQUEST;

} // namespace

const Opcode *find_opcode(uint8_t opcode)
{
    return opcode < opcodes.size() ? opcodes[opcode] : nullptr;
}

uint64_t opcode_mask()
{
    uint64_t mask = 0;

    for (size_t i = 0; i < opcodes.size(); i++) {
        mask |= uint64_t{opcodes[i] != nullptr} << i;
    }
    return mask;
}

uint8_t check_descriptor(const ccad_desc &desc)
{
    const Opcode *opcode = find_opcode(desc.opcode);

    if (!opcode) {
        return CCAD_COMP_INVALID_OPCODE;
    }
    if (desc.rsvd0 || desc.rsvd1 || desc.arg2 ||
        (desc.flags & ~known_flags) || !opcode->check(desc)) {
        return CCAD_COMP_INVALID_FIELD;
    }
    return CCAD_COMP_NONE;
}

} // namespace ccad
