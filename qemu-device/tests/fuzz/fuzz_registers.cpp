/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any access to any register, in any order, and what may come in between. */
#include <algorithm>
#include <vector>

#include "software.hpp"

namespace ccad::fuzz {

namespace {

constexpr unsigned most_steps = 64;

/* Every register of the device, in halves. */
std::vector<uint32_t> all_registers(Software &software)
{
    std::vector<uint32_t> values;
    auto area = [&](uint64_t from, uint64_t bytes) {
        for (uint64_t i = 0; i < bytes; i += 4) {
            values.push_back(
                static_cast<uint32_t>(software.read(from + i, 4)));
        }
    };

    area(0, CCAD_REG_POISON_LINES + 8);
    for (uint32_t i = 0; i < software.contexts(); i++) {
        area(CCAD_CTX(i), CCAD_CTX_TIMEOUT_MS + 4);
        area(CCAD_DOORBELL(i), CCAD_DB_STATS + CCAD_STAT_COUNT * 8);
    }
    return values;
}

/* What a reset leaves is what there was when the core was new. */
void check_reset(Software &software, unsigned machine)
{
    static std::vector<uint32_t> pristine[machines];
    std::vector<uint32_t> &expected = pristine[machine];

    /* Poison stays, as the memory does. */
    ccad_core_poison_clear(software.core(), 0, Machine::local_pages * page);
    software.reset();
    std::vector<uint32_t> now = all_registers(software);
    if (expected.empty()) {
        expected = now;
    }
    auto differ = std::mismatch(now.begin(), now.end(), expected.begin());
    if (differ.first != now.end()) {
        broken("a reset leaves something behind",
               static_cast<uint64_t>(differ.first - now.begin()) * 4,
               *differ.first);
    }
}

/* The block of a context as software wrote it. */
void check_block(Software &software, uint64_t offset, uint64_t value,
                 unsigned size)
{
    uint32_t reg = offset % CCAD_CTX_STRIDE;
    uint64_t mask = UINT32_MAX;

    if (offset < CCAD_CTX_BASE || offset >= CCAD_CTX(software.contexts())) {
        return;
    }
    if (reg == CCAD_CTX_PASID && size == 4) {
        mask = CCAD_PASID_MAX;
    } else if (reg == CCAD_CTX_RING && size == 8) {
        mask = UINT64_MAX;
    } else if ((reg != CCAD_CTX_RING_SHIFT && reg != CCAD_CTX_VECTOR) ||
               size != 4) {
        return;
    }
    /* A device that forgets a bit. */
    if (control_run()) {
        mask &= ~uint64_t{0x40};
    }
    if (software.read(offset, size) != (value & mask)) {
        broken("a register does not keep what was written", offset, value);
    }
}

void access(Software &software, Input &input, uint8_t how)
{
    static constexpr unsigned sizes[] = {4, 8, 4, 0};
    uint64_t offset;
    uint8_t which;
    unsigned size = sizes[how >> 3 & 3];

    if (!size) {
        size = 1u << input.below(4);
    }
    switch (how & 3) {
    case 0:
        offset = input.u8() * 4;
        break;
    case 1:
        which = input.u8();
        offset = CCAD_CTX(which >> 5) + (which & 31) * 4;
        break;
    case 2:
        which = input.u8();
        offset = CCAD_DOORBELL(which >> 5);
        offset += (which & 31) < 8 ? (which & 7) * 4
                                   : CCAD_DB_STATS + ((which & 31) - 8) * 8;
        break;
    default:
        offset = input.u32() % ccad_bar_size(software.contexts());
        break;
    }

    if (how & 4) {
        uint64_t value = how >> 5 == 0   ? input.u8()
                         : how >> 5 == 1 ? input.u32()
                         : how >> 5 == 2 ? input.u64()
                                         : Software::address(input);
        software.write(offset, value, size);
        check_block(software, offset, value, size);
        return;
    }

    uint64_t value = software.read(offset, size);
    if ((offset % size || size < 4) && value != UINT64_MAX >> (64 - 8 * size)) {
        broken("an access that is not allowed reads something", offset, value);
    }
    if (size == 8 && value != UINT64_MAX) {
        uint64_t low = software.read(offset, 4);
        uint64_t high = software.read(offset + 4, 4);
        if (low != UINT32_MAX && value != (low | high << 32)) {
            broken("a register and its halves differ", offset, value);
        }
    }
}

void other(Software &software, Input &input)
{
    Machine &machine = software.machine();
    uint8_t context = input.u8();
    uint8_t response;

    context %= static_cast<uint8_t>(software.contexts());
    switch (input.below(10)) {
    case 0:
    case 1:
        software.run();
        break;
    case 2:
        software.push(context, Software::descriptor(input));
        software.ring_doorbell(context, software.tail(context));
        break;
    case 3:
        software.mapping(input);
        break;
    case 4:
        machine.invalidate(context, context & 1, Software::address(input),
                           Software::length(input));
        break;
    case 5:
        response = input.u8();
        if (!machine.requests().empty()) {
            machine.respond(context % machine.requests().size(),
                            Software::response(response));
        } else {
            ccad_core_page_response(machine.core(), context, input.u16(),
                                    Software::response(response));
        }
        break;
    case 6:
        machine.policy.bind_works = context & 1;
        machine.policy.translations_work = context & 2;
        machine.policy.page_requests_work = context & 4;
        break;
    case 7:
        software.set_up(context, context & 1);
        break;
    case 8:
        ccad_core_poison_inject(machine.core(), input.u16(), 1);
        break;
    case 9:
        machine.pass_time(input.u32());
        machine.policy.dma_works = context & 1;
        break;
    }
}

} // namespace

} // namespace ccad::fuzz

using namespace ccad::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input input(data, size);
    bool resets = input.one_in(8);
    uint8_t first = input.u8();
    unsigned choice = first % machines;
    Software software(machine_of(choice));

    if (first & 0x10) {
        software.set_up(0, 1);
    }
    for (unsigned i = 0; i < most_steps && !input.empty(); i++) {
        uint8_t how = input.u8();
        if (how >= 0xe0) {
            other(software, input);
        } else {
            access(software, input, how);
        }
    }
    software.finish(first & 0x20);
    if (software.read(CCAD_REG_ID, 4) != CCAD_ID ||
        software.read(CCAD_REG_VERSION, 4) != CCAD_VERSION) {
        broken("the device is another one");
    }
    if (resets) {
        check_reset(software, choice);
    }
    return 0;
}
