/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "software.hpp"

#include <algorithm>
#include <memory>

#include "../costs.hpp"

namespace ccad::fuzz {

namespace {

ccad_config config_of(unsigned choice)
{
    ccad_config config = {
        .contexts = 4,
        .engines = 2,
        .atc_sets = 8,
        .atc_ways = 2,
        .vectors = 5,
        .page_requests = 8,
        .page_request_group = 4,
        .counters = 8,
        .mem_size = Machine::local_pages * page,
        .slice_ns = 100'000,
        .ordered = false,
        .cost = test::costs,
        .injection = {},
        .host_driven = true,
    };

    switch (choice) {
    case 1: /* as little as can be */
        config.contexts = 1;
        config.atc_sets = 1;
        config.atc_ways = 1;
        config.page_requests = 1;
        config.page_request_group = 1;
        break;
    case 2: /* contexts stall, and entries push each other out */
        config.atc_sets = 1;
        config.page_requests = 2;
        config.ordered = true;
        break;
    case 3: /* free of charge */
        config.atc_sets = 16;
        config.page_requests = 512;
        config.page_request_group = 16;
        config.cost = {};
        break;
    }
    return config;
}

/*
 * Where each few bytes are an access of their own, as many as there are steps
 * of are enough; and zlib takes longer than all else.  A length that no memory
 * is there for costs nothing.
 */
void bound(ccad_desc &desc)
{
    constexpr uint64_t most_indices = 1100; /* two batches, and some */
    constexpr uint64_t most_coded = 5 * page;

    if (desc.len >= huge) {
        return;
    }
    if (desc.opcode == CCAD_OP_GATHER) {
        desc.len %= most_indices;
    } else if (desc.opcode == CCAD_OP_COMPRESS) {
        desc.len %= most_coded;
    }
}

} // namespace

Machine &machine_of(unsigned choice)
{
    static std::unique_ptr<Machine> made[machines];
    std::unique_ptr<Machine> &machine = made[choice % machines];

    if (!machine) {
        machine = std::make_unique<Machine>(config_of(choice % machines));
    }
    return *machine;
}

Software::Software(Machine &machine) : machine_(machine)
{
    machine_.restart();
    write(CCAD_REG_CTRL, CCAD_CTRL_ENABLE);
}

/* Registers */

uint64_t Software::read(uint64_t offset, unsigned size)
{
    uint64_t value = ccad_core_read(core(), offset, size);

    machine_.check_quiet();
    if (size < 8 && value >> (8 * size)) {
        broken("a register reads wider than it is", offset, value);
    }
    return value;
}

void Software::write(uint64_t offset, uint64_t value, unsigned size)
{
    bool control = offset >= CCAD_CTX_BASE && offset < CCAD_DOORBELL_BASE &&
                   offset % CCAD_CTX_STRIDE == CCAD_CTX_CTRL && size == 4;
    auto context = static_cast<uint32_t>((offset - CCAD_CTX_BASE) /
                                         CCAD_CTX_STRIDE);
    std::array<uint64_t, CCAD_STAT_COUNT> before{};

    control = control && context < contexts();
    bool was_disabled = control && state(context) == CCAD_CTX_DISABLED;
    if (control && (value & CCAD_CTX_CTRL_PHYSICAL)) {
        machine_.physical = true;
    }
    if (was_disabled) {
        for (uint32_t i = 0; i < CCAD_STAT_COUNT; i++) {
            before[i] = stat(context, i * 8);
        }
    }

    ccad_core_write(core(), offset, value, size);
    machine_.check_quiet();

    if (was_disabled && state(context) == CCAD_CTX_ENABLED) {
        for (uint32_t i = 0; i < CCAD_STAT_COUNT; i++) {
            past_[i] += before[i];
        }
    }
    if (offset == CCAD_REG_CTRL && size == 4 && (value & CCAD_CTRL_RESET)) {
        past_ = {};
        machine_.forget();
    }
}

uint32_t Software::status(uint32_t context)
{
    auto status =
        static_cast<uint32_t>(read(CCAD_CTX(context) + CCAD_CTX_STATUS, 4));

    if (status != doorbell(context, CCAD_DB_STATUS)) {
        broken("the two status registers differ", status);
    }
    if ((status & CCAD_CTX_STATE_MASK) > CCAD_CTX_DRAINING ||
        (status & ~(CCAD_CTX_STATE_MASK | CCAD_CTX_CAUSE_MASK)) ||
        status >> CCAD_CTX_CAUSE_SHIFT > CCAD_CAUSE_TIMEOUT ||
        ((status & CCAD_CTX_STATE_MASK) == CCAD_CTX_ERROR) !=
            (status >> CCAD_CTX_CAUSE_SHIFT != CCAD_CAUSE_NONE)) {
        broken("a status that is none", status);
    }
    return status;
}

uint64_t Software::stat(uint32_t context, uint32_t stat)
{
    return read(CCAD_DOORBELL(context) + CCAD_DB_STATS + stat, 8);
}

void Software::reset()
{
    ccad_core_reset(core());
    machine_.check_quiet();
    machine_.forget();
    past_ = {};
}

void Software::run()
{
    ccad_core_run(core());
    machine_.check_quiet();
}

/* Contexts */

void Software::set_up(uint32_t context, uint32_t pasid)
{
    static_assert((sizeof(ccad_desc) << ring_shift) <= page);
    static_assert(records * sizeof(ccad_completion) <= page);

    machine_.map(pasid, rings_va + context * page,
                 Machine::frame_pa(2 * context), false);
    machine_.map(pasid, records_va + context * page,
                 Machine::frame_pa(2 * context + 1), true);
    enable(context, pasid, rings_va + context * page, ring_shift,
           context % machine_.config().vectors, CCAD_CTX_CTRL_ENABLE);
}

void Software::enable(uint32_t context, uint32_t pasid, uint64_t ring,
                      uint32_t shift, uint32_t vector, uint32_t ctrl)
{
    uint64_t block = CCAD_CTX(context);

    write(block + CCAD_CTX_PASID, pasid);
    write(block + CCAD_CTX_VECTOR, vector);
    write(block + CCAD_CTX_RING, ring, 8);
    write(block + CCAD_CTX_RING_SHIFT, shift);
    write(block + CCAD_CTX_CTRL, ctrl);
    tails_[context] = doorbell(context, CCAD_DB_TAIL);
}

void Software::push(uint32_t context, const ccad_desc &desc)
{
    uint32_t entry = tails_[context]++ & ((1u << ring_shift) - 1);

    machine_.poke(Machine::frame_pa(2 * context) + entry * sizeof(desc), &desc,
                  sizeof(desc));
}

void Software::ring_doorbell(uint32_t context, uint32_t tail)
{
    write(CCAD_DOORBELL(context) + CCAD_DB_TAIL, tail);
}

/* Decisions */

uint64_t Software::address(Input &input)
{
    uint8_t where = input.u8();
    uint64_t va;

    switch (where & 7) {
    case 7:
        va = input.u64();
        break;
    case 6:
        va = large_va + (where >> 3) % 20 * page + input.u16() % page;
        break;
    default:
        va = regions[(where & 3) % std::size(regions)] +
             (where >> 3) % region_pages * page;
        if (where & 4) {
            va += input.u16() % page;
        }
        break;
    }
    /* Data does not meet rings and records. */
    return va >> 40 == rings_va >> 40 ? va % huge : va;
}

bool Software::populated(uint64_t va)
{
    return std::any_of(std::begin(regions), std::end(regions),
                       [va](uint64_t region) {
                           return va - region < region_pages * page;
                       });
}

uint64_t Software::length(Input &input)
{
    uint8_t what = input.u8();

    switch (what >> 6) {
    case 0:
        return what & 63;
    case 1:
        return (what & 63) * 8;
    case 2:
        return (what & 63) % 24 * page + input.u8() - 128;
    default:
        return input.u64();
    }
}

ccad_desc Software::descriptor(Input &input)
{
    ccad_desc desc{};
    uint8_t shape = input.u8();
    uint8_t opcode = input.u8();

    desc.opcode = opcode & 0x80 ? opcode : opcode % 16;
    desc.tag = opcode * 0x01010101u;
    desc.flags = shape & 3;
    desc.src = address(input);
    desc.dst = address(input);
    desc.len = length(input);
    if (shape & 4) {
        desc.arg = input.u8();
    } else if (shape & 8) {
        desc.arg = input.u64();
    } else if (shape & 16) {
        desc.arg = address(input);
    } else {
        desc.arg = input.u16();
    }
    if (shape & 32) {
        desc.arg2 = input.u16();
    }
    if (shape & 64) {
        desc.arg2 |= uint64_t{input.u8()} << CCAD_LIST_FIELD_SHIFT;
    }
    if ((shape & 128) && input.u8() >= 0xf0) {
        desc.flags = input.u16();
        desc.rsvd0 = input.u8();
        desc.rsvd1 = input.u8();
    }
    bound(desc);
    return desc;
}

/* Map a page, or take it away. */
void Software::mapping(Input &input)
{
    uint8_t what = input.u8();
    uint32_t pasid = what & 1;
    bool write = !(what & 2);
    uint64_t va = address(input) & ~(page - 1);
    /* The first frames are rings and records. */
    unsigned first = 2 * contexts();
    unsigned frame = first + input.u8() % (Machine::frames - first);

    if (what & 4) {
        machine_.unmap(pasid, va);
        machine_.invalidate(pasid, false, va, page);
        return;
    }
    if (machine_.walk(pasid, va)) {
        machine_.invalidate(pasid, false, va, page);
    }
    if ((what & 24) == 24) {
        /* 2 MiB of which the first few pages are there. */
        machine_.invalidate(pasid, false, large_va, huge);
        machine_.map(pasid, large_va, Machine::local_base, write, true);
    } else if ((what & 24) == 8) {
        machine_.map(pasid, va, 0x123456000, write); /* nothing is there */
    } else {
        machine_.map(pasid, va, Machine::frame_pa(frame), write);
    }
}

ccad_response Software::response(uint8_t choice)
{
    return choice & 2   ? CCAD_RESPONSE_SUCCESS
           : choice & 1 ? CCAD_RESPONSE_INVALID
                        : CCAD_RESPONSE_FAILURE;
}

/* What has to hold */

void Software::check_record(const ccad_desc &desc,
                            const ccad_completion &record)
{
    bool fault = record.status == CCAD_COMP_PAGE_FAULT ||
                 record.status == CCAD_COMP_BUS_ERROR ||
                 record.status == CCAD_COMP_POISON;

    if (record.status == CCAD_COMP_NONE || record.status > CCAD_COMP_TIMEOUT) {
        broken("a completion record without a status", record.status);
    }
    if (record.rsvd0 || record.rsvd1 || record.tag != desc.tag) {
        broken("a completion record of something else", record.tag, desc.tag);
    }
    /* These say which element, node or pair it was. */
    bool addressed = record.status == CCAD_COMP_LIMIT ||
                     record.status == CCAD_COMP_CYCLE ||
                     (record.status == CCAD_COMP_INVALID_FIELD &&
                      (desc.opcode == CCAD_OP_GATHER ||
                       desc.opcode == CCAD_OP_LIST_WALK ||
                       desc.opcode == CCAD_OP_COPY_PAGES));
    if (fault ? record.access != CCAD_ACCESS_READ &&
                    record.access != CCAD_ACCESS_WRITE
              : !addressed && (record.access || record.fault_addr)) {
        broken("a fault that does not fit the status", record.status,
               record.fault_addr);
    }
    switch (desc.opcode) {
    case CCAD_OP_COPY:
    case CCAD_OP_FILL:
    case CCAD_OP_CRC32C:
        if (record.status == CCAD_COMP_SUCCESS
                ? record.bytes_done != desc.len
                : record.bytes_done >= desc.len && desc.len) {
            broken("bytes_done does not fit the status", record.bytes_done,
                   desc.len);
        }
        if (fault && record.fault_addr - record.bytes_done !=
                         (desc.opcode == CCAD_OP_FILL ||
                                  record.access == CCAD_ACCESS_WRITE
                              ? desc.dst
                              : desc.src)) {
            broken("fault_addr is not where bytes_done ends",
                   record.fault_addr, record.bytes_done);
        }
        break;
    }
}

void Software::check_stats()
{
    for (uint32_t i = 0; i < CCAD_STAT_COUNT; i++) {
        uint64_t sum = past_[i];

        if (i * 8 == CCAD_STAT_INVALIDATIONS) {
            continue; /* those of a PASID count once for each context */
        }
        for (uint32_t context = 0; context < contexts(); context++) {
            sum += stat(context, i * 8);
        }
        if (sum != ccad_core_stat(core(), i * 8)) {
            broken("a counter is not the sum of the contexts'", i * 8, sum);
        }
    }
    if (ccad_core_stat(core(), CCAD_STAT_ERRORS) >
        ccad_core_stat(core(), CCAD_STAT_COMMANDS)) {
        broken("more errors than commands");
    }
    if (ccad_core_stat(core(), CCAD_STAT_TRANSLATIONS) >
        machine_.translate_calls()) {
        broken("more translations than the host was asked for");
    }
}

void Software::finish(bool thorough)
{
    /* Every command ends: so many page requests are more than enough. */
    constexpr unsigned enough = 20000;
    unsigned rounds = 0;

    machine_.meanwhile = nullptr;
    machine_.serve = nullptr;
    write(CCAD_REG_CTRL, CCAD_CTRL_ENABLE);
    run();
    while (!machine_.requests().empty()) {
        if (++rounds > enough) {
            broken("page requests without end");
        }
        machine_.respond(0, CCAD_RESPONSE_FAILURE);
        run();
    }
    for (uint32_t context = 0; context < contexts(); context++) {
        uint32_t now = state(context);

        if (now == CCAD_CTX_DRAINING) {
            broken("a context drains and nothing is in flight", context);
        }
        ccad_context_info info;
        ccad_core_context_info(core(), context, &info);
        if (info.place != CCAD_PLACE_IDLE && info.place != CCAD_PLACE_HUNG) {
            broken("a context has something to do", context, info.place);
        }
        if (info.place == CCAD_PLACE_IDLE && now == CCAD_CTX_ENABLED &&
            doorbell(context, CCAD_DB_HEAD) !=
                doorbell(context, CCAD_DB_TAIL)) {
            broken("a command does not end", context);
        }
    }
    if (thorough) {
        check_stats();
    }
}

} // namespace ccad::fuzz
