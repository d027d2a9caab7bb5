/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any descriptor over any page tables, one command after the other, each
 * compared with what it has to come to.
 */
#include <cstring>
#include <iterator>
#include <vector>

#include "model.hpp"
#include "software.hpp"

namespace ccad::fuzz {

namespace {

constexpr unsigned most_commands = 6;
constexpr uint32_t context = 0;
constexpr uint32_t pasid = 1;

class Session {
public:
    Session(Machine &machine, Input input, bool physical)
        : software_(machine), input_(input), physical_(physical)
    {
    }

    const std::vector<ccad_completion> &run(bool thorough);

private:
    void prepare();
    void command();
    void record_somewhere(ccad_desc &desc);
    uint64_t record_address() const;
    uint64_t physical_address(uint64_t va) const;
    void physical_operands(ccad_desc &desc);
    void page_list(ccad_desc &desc);

    Software software_;
    Machine &machine_ = software_.machine();
    Input input_;
    const bool physical_; /* the context uses physical addresses */
    OnDemand on_demand_;
    uint32_t index_ = 0;
    std::vector<ccad_completion> records_;
};

void Session::prepare()
{
    uint8_t how = input_.u8();
    static constexpr uint64_t windows[] = {UINT64_MAX, UINT64_MAX, 4096,
                                             1000};

    machine_.policy.longest_window = windows[how & 3];
    machine_.policy.most_entries = how & 4 ? 1 : UINT32_MAX;
    machine_.policy.page_requests_work = (how >> 3 & 3) != 3;
    /* A failure fails all of a group, also those that could be brought. */
    bool brings = (how >> 3 & 3) == 0;
    ccad_response otherwise =
        how & 0x10 ? CCAD_RESPONSE_FAILURE : CCAD_RESPONSE_INVALID;
    on_demand_ = [brings](uint64_t va) { return brings && Software::populated(va); };
    machine_.serve = [this, otherwise](const Machine::Request &request) {
        for (size_t i = 0; i < request.n; i++) {
            uint64_t va = request.pages[i];
            auto leaf = machine_.walk(request.pasid, va);
            if (leaf && (leaf->write || !request.write)) {
                continue;
            }
            if (leaf || !on_demand_(va)) {
                return otherwise;
            }
            unsigned first = 2 * software_.contexts();
            unsigned frame = first + static_cast<unsigned>(va / page) % 16;
            machine_.map(request.pasid, va, Machine::frame_pa(frame), true);
        }
        return CCAD_RESPONSE_SUCCESS;
    };
    /* Before anything else is mapped, while there are page tables left. */
    if (physical_) {
        software_.enable(context, 0, Machine::frame_pa(2 * context),
                         ring_shift, 0,
                         CCAD_CTX_CTRL_ENABLE | CCAD_CTX_CTRL_PHYSICAL);
    } else {
        software_.set_up(context, pasid);
    }
    for (unsigned n = how >> 5 ? (how >> 5) * 3 : 1; n; n--) {
        software_.mapping(input_);
    }
}

uint64_t Session::record_address() const
{
    uint64_t va = Software::record_va(context, index_);

    return physical_ ? Machine::frame_pa(2 * context + 1) + va % page : va;
}

/* Each region has frames in a row; the rest is where nothing is. */
uint64_t Session::physical_address(uint64_t va) const
{
    const unsigned first = 2 * machine_.config().contexts;

    for (unsigned i = 0; i < std::size(regions); i++) {
        uint64_t number = (va - regions[i]) / page;
        if (number < region_pages) {
            auto frame = static_cast<unsigned>(number) + i * region_pages;
            return Machine::frame_pa(first +
                                     frame % (Machine::frames - first)) +
                   va % page;
        }
    }
    return va;
}

void Session::physical_operands(ccad_desc &desc)
{
    desc.src = physical_address(desc.src);
    desc.dst = physical_address(desc.dst);
    /* The table, or what becomes a pointer. */
    if (desc.opcode == CCAD_OP_GATHER || desc.opcode == CCAD_OP_FILL) {
        desc.arg = physical_address(desc.arg);
    }
    if (desc.opcode == CCAD_OP_COPY_PAGES) {
        page_list(desc);
    }
}

/* What else is in memory is hardly ever a list of pages. */
void Session::page_list(ccad_desc &desc)
{
    const unsigned first = 2 * machine_.config().contexts;
    uint8_t how = input_.u8();

    if (how >= 0xf8) {
        return;
    }
    desc.arg = how & 0x40 ? 13 : 12;
    desc.arg2 = 0;
    desc.src &= ~uint64_t{sizeof(ccad_page_copy) - 1};
    desc.len = how % 7 * sizeof(ccad_page_copy);
    auto somewhere = [&] {
        uint8_t which = input_.u8();
        uint64_t pa = Machine::frame_pa(first + which % (Machine::frames -
                                                         first));
        return which == 0xff ? pa + 8 : which == 0xfe ? 0x123456000 : pa;
    };
    for (uint64_t at = 0; at < desc.len; at += sizeof(ccad_page_copy)) {
        ccad_page_copy entry;
        entry.src = somewhere();
        entry.dst = somewhere();
        machine_.poke(desc.src + at, &entry, sizeof(entry));
    }
}

/* Seldom anywhere but where it belongs. */
void Session::record_somewhere(ccad_desc &desc)
{
    uint8_t where = input_.u8();

    desc.completion = record_address();
    if (where >= 0xfc) {
        desc.completion = Software::address(input_);
    } else if (where == 0xfb) {
        desc.completion = 0;
    }
}

void Session::command()
{
    ccad_desc desc = Software::descriptor(input_);
    ccad_completion record{};

    if (physical_) {
        physical_operands(desc);
    }
    record_somewhere(desc);
    uint64_t at = record_address();
    uint64_t pa = Machine::frame_pa(2 * context + 1) + at % page;
    index_++;
    machine_.poke(pa, &record, sizeof(record));

    uint64_t before = software_.stat(context, CCAD_STAT_COMMANDS);
    Expectation expected(machine_, pasid, physical_, desc, on_demand_);
    software_.push(context, desc);
    software_.ring_doorbell(context, software_.tail(context));
    software_.run();
    if (!machine_.requests().empty()) {
        broken("a page request that was answered is outstanding");
    }

    machine_.peek(pa, &record, sizeof(record));
    if (software_.stat(context, CCAD_STAT_COMMANDS) != before + 1) {
        broken("a command is not counted once");
    }
    if (software_.state(context) == CCAD_CTX_ERROR) {
        if (software_.status(context) >> CCAD_CTX_CAUSE_SHIFT !=
                CCAD_CAUSE_COMPLETION ||
            desc.completion == at) {
            broken("an error without a cause", software_.status(context));
        }
        software_.write(CCAD_DOORBELL(context) + CCAD_DB_CLEAR, 1);
    }
    if (software_.state(context) != CCAD_CTX_ENABLED) {
        broken("the context has stopped", software_.status(context));
    }
    if (desc.completion == at) {
        Software::check_record(desc, record);
        expected.check(record);
        records_.push_back(record);
    }
}

const std::vector<ccad_completion> &Session::run(bool thorough)
{
    prepare();
    for (unsigned i = 0; i < most_commands && !input_.empty(); i++) {
        if (input_.u8() < 0xe0) {
            command();
        } else {
            software_.mapping(input_);
        }
    }
    software_.finish(thorough);
    return records_;
}

} // namespace

} // namespace ccad::fuzz

using namespace ccad::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input input(data, size);
    bool twice = input.one_in(8);
    uint8_t first = input.u8();
    Machine &machine = machine_of(first);
    Session session(machine, input, first & 0x10);
    const auto &records = session.run(first & 0x20);

    /* The same commands give the same records, to the nanosecond. */
    if (twice) {
        Session again(machine, input, first & 0x10);
        const auto &others = again.run(true);
        if (records.size() != others.size() ||
            (records.size() &&
             std::memcmp(records.data(), others.data(),
                         records.size() * sizeof(records[0])))) {
            broken("the same commands give other records");
        }
    }
    return 0;
}
