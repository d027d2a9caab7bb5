/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "command.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace ccad {

namespace {

constexpr std::array<const Opcode *, 14> opcodes = [] {
    std::array<const Opcode *, 14> table{};

    table[CCAD_OP_NOP] = &opcode_nop;
    table[CCAD_OP_FENCE] = &opcode_fence;
    table[CCAD_OP_COPY] = &opcode_copy;
    table[CCAD_OP_FILL] = &opcode_fill;
    table[CCAD_OP_CRC32C] = &opcode_crc32c;
    table[CCAD_OP_COMPARE] = &opcode_compare;
    table[CCAD_OP_REDUCE] = &opcode_reduce;
    table[CCAD_OP_FETCH_ADD] = &opcode_fetch_add;
    table[CCAD_OP_COMPARE_SWAP] = &opcode_compare_swap;
    table[CCAD_OP_GATHER] = &opcode_gather;
    table[CCAD_OP_LIST_WALK] = &opcode_list_walk;
    table[CCAD_OP_COMPRESS] = &opcode_compress;
    table[CCAD_OP_DECOMPRESS] = &opcode_decompress;
    table[CCAD_OP_COPY_PAGES] = &opcode_copy_pages;
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

uint64_t Progress::take(const uint8_t *data, uint64_t size, uint32_t item)
{
    uint64_t taken = std::min<uint64_t>(size, item - have);

    std::memcpy(bytes + have, data, taken);
    have += static_cast<uint32_t>(taken);
    return taken;
}

void begin_command(Command &command)
{
    ccad_desc desc = command.desc;

    command = {};
    command.desc = desc;
    if (auto begin = find_opcode(desc.opcode)->begin) {
        begin(command);
    }
}

Stepped fail(Command &command, uint8_t status, uint64_t addr, uint8_t access)
{
    command.status = status;
    command.fault_addr = addr;
    command.access = access;
    return Stepped::failed;
}

uint8_t check_descriptor(const ccad_desc &desc, bool physical)
{
    const Opcode *opcode = find_opcode(desc.opcode);

    if (!opcode || (opcode->physical && !physical)) {
        return CCAD_COMP_INVALID_OPCODE;
    }
    if (desc.rsvd0 || desc.rsvd1 || (desc.arg2 && !opcode->uses_arg2) ||
        (desc.flags & ~known_flags) || !opcode->check(desc)) {
        return CCAD_COMP_INVALID_FIELD;
    }
    return CCAD_COMP_NONE;
}

} // namespace ccad
