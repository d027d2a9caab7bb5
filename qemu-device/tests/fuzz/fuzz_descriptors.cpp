/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any descriptor over any page tables, one command after the other, each
 * compared with what it has to come to.
 */
#include <cstring>
#include <vector>

#include "model.hpp"
#include "software.hpp"

namespace ccad::fuzz {

namespace {

constexpr unsigned most_commands = 8;
constexpr uint32_t context = 0;
constexpr uint32_t pasid = 1;

class Session {
public:
    Session(Machine &machine, Input input) : software_(machine), input_(input)
    {
    }

    const std::vector<ccad_completion> &run(bool thorough);

private:
    void prepare();
    void command();
    void record_somewhere(ccad_desc &desc);

    Software software_;
    Machine &machine_ = software_.machine();
    Input input_;
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
    for (unsigned n = how >> 5 ? (how >> 5) * 3 : 1; n; n--) {
        software_.mapping(input_);
    }
    software_.set_up(context, pasid);
}

/* Seldom anywhere but where it belongs. */
void Session::record_somewhere(ccad_desc &desc)
{
    uint8_t where = input_.u8();

    desc.completion = Software::record_va(context, index_);
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

    record_somewhere(desc);
    uint64_t va = Software::record_va(context, index_);
    index_++;
    machine_.poke(machine_.walk(pasid, va)->pa + va % page, &record,
                  sizeof(record));

    uint64_t before = software_.stat(context, CCAD_STAT_COMMANDS);
    Expectation expected(machine_, pasid, desc, on_demand_);
    software_.push(context, desc);
    software_.ring_doorbell(context, software_.tail(context));
    software_.run();
    if (!machine_.requests().empty()) {
        broken("a page request that was answered is outstanding");
    }

    record = software_.record(pasid, va);
    if (software_.stat(context, CCAD_STAT_COMMANDS) != before + 1) {
        broken("a command is not counted once");
    }
    if (software_.state(context) == CCAD_CTX_ERROR) {
        if (software_.status(context) >> CCAD_CTX_CAUSE_SHIFT !=
                CCAD_CAUSE_COMPLETION ||
            desc.completion == va) {
            broken("an error without a cause", software_.status(context));
        }
        software_.write(CCAD_DOORBELL(context) + CCAD_DB_CLEAR, 1);
    }
    if (software_.state(context) != CCAD_CTX_ENABLED) {
        broken("the context has stopped", software_.status(context));
    }
    if (desc.completion == va) {
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
    uint8_t first = input.u8();
    Machine &machine = machine_of(first);
    Session session(machine, input);
    const auto &records = session.run(first & 0x20);

    /* The same commands give the same records, to the nanosecond. */
    if (first >= 0xe0) {
        Session again(machine, input);
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
