/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several contexts at once: doorbells, enabling and disabling, resets,
 * invalidations and page responses, also while the device is in the middle of
 * a translation or of a page request.
 */
#include <algorithm>
#include <optional>

#include "software.hpp"

namespace ccad::fuzz {

namespace {

constexpr unsigned most_steps = 48;
constexpr unsigned most_nested = 12;

class Session {
public:
    Session(Machine &machine, Input input) : software_(machine), input_(input)
    {
    }

    void run(bool thorough);

private:
    void step(bool nested);
    void contexts_step(bool nested, uint8_t what, uint32_t context);
    void host_step(uint8_t what);
    void enable(uint32_t context);
    void serve_later(uint8_t how);
    std::optional<ccad_response> serve(const Machine::Request &request,
                                       uint8_t how);

    Software software_;
    Machine &machine_ = software_.machine();
    Input input_;
    unsigned nested_ = 0;
    bool inside_ = false;
};

std::optional<ccad_response> Session::serve(const Machine::Request &request,
                                            uint8_t how)
{
    switch (how & 3) {
    case 0:
        return std::nullopt;
    case 1:
        return CCAD_RESPONSE_INVALID;
    case 2: /* without doing anything about it */
        return CCAD_RESPONSE_SUCCESS;
    default:
        for (size_t i = 0; i < request.n; i++) {
            uint64_t va = request.pages[i];
            if (!Software::populated(va)) {
                return CCAD_RESPONSE_FAILURE;
            }
            if (!machine_.walk(request.pasid, va)) {
                unsigned first = 2 * software_.contexts();
                machine_.map(request.pasid, va,
                             Machine::frame_pa(first + (how >> 2) % 32), true);
            }
        }
        return CCAD_RESPONSE_SUCCESS;
    }
}

/* How page requests are answered from here on. */
void Session::serve_later(uint8_t how)
{
    machine_.serve = [this, how](const Machine::Request &request) {
        return serve(request, how);
    };
}

void Session::enable(uint32_t context)
{
    uint8_t how = input_.u8();
    uint32_t pasid = how & 3;

    if (how & 4) {
        uint64_t ring = Software::address(input_);
        software_.enable(context, pasid, how & 8 ? ring & ~(page - 1) : ring,
                         how >> 4, input_.below(8),
                         input_.u8() >= 0xf0
                             ? CCAD_CTX_CTRL_ENABLE | CCAD_CTX_CTRL_PHYSICAL
                             : CCAD_CTX_CTRL_ENABLE);
    } else {
        software_.set_up(context, pasid);
    }
}

void Session::contexts_step(bool nested, uint8_t what, uint32_t context)
{
    ccad_desc desc;

    switch (what) {
    case 0: /* a command, or a batch of them */
    case 1:
    case 2:
    case 3:
        for (unsigned i = 0; i <= what; i++) {
            desc = Software::descriptor(input_);
            desc.completion =
                what & 1 ? Software::record_va(context, input_.u8()) : 0;
            software_.push(context, desc);
        }
        software_.ring_doorbell(context, software_.tail(context));
        break;
    case 4: /* as a broken program does */
        software_.ring_doorbell(context, software_.tail(context) +
                                             input_.u16() - 0x100);
        break;
    case 5:
        enable(context);
        break;
    case 6:
        software_.write(CCAD_CTX(context) + CCAD_CTX_CTRL, 0);
        if (software_.status(context) != CCAD_CTX_DISABLED) {
            broken("a context is not disabled", context);
        }
        break;
    case 7:
        software_.write(CCAD_DOORBELL(context) + CCAD_DB_CLEAR, 1);
        break;
    case 8:
        if (!nested) {
            software_.run();
        }
        break;
    }
}

void Session::host_step(uint8_t what)
{
    uint8_t how = input_.u8();

    switch (what) {
    case 0:
    case 1:
        software_.mapping(input_);
        break;
    case 2:
        machine_.invalidate(how & 3, how & 4, Software::address(input_),
                            Software::length(input_));
        break;
    case 3: /* some request is answered */
    case 4:
        if (!machine_.requests().empty()) {
            size_t index = (how >> 4) % machine_.requests().size();
            auto response = serve(machine_.requests()[index], how);
            machine_.respond(index,
                             response.value_or(CCAD_RESPONSE_FAILURE));
        } else { /* or one that is long forgotten */
            ccad_core_page_response(machine_.core(), how & 3, how * 3,
                                    Software::response(how));
        }
        break;
    case 5:
        serve_later(how);
        break;
    case 6:
        machine_.policy.translations_work = (how & 3) != 3;
        machine_.policy.senseless_translations = (how >> 2 & 3) == 3;
        machine_.policy.page_requests_work = (how >> 4 & 3) != 3;
        machine_.policy.bind_works = (how >> 6 & 3) != 3;
        break;
    case 7:
        machine_.policy.longest_window = how < 0x80 ? UINT64_MAX : how * 8;
        machine_.policy.most_entries = how & 3 ? UINT32_MAX : 1;
        break;
    case 8: /* time passes, memory decays, a command hangs */
        machine_.pass_time(uint64_t{how} << 20);
        break;
    case 9:
        if (how & 0x80) {
            ccad_core_poison_clear(software_.core(), (how & 15) * page,
                                   page);
        } else {
            ccad_core_poison_inject(software_.core(),
                                    (how & 15) * page + (how & 0x70) * 8, 1);
        }
        break;
    case 10:
        ccad_core_hang(software_.core(), how % software_.contexts());
        software_.write(CCAD_CTX(how % software_.contexts()) +
                            CCAD_CTX_TIMEOUT_MS, how >> 4);
        break;
    case 11:
        machine_.allocate(how & 7 ? how : 0);
        break;
    case 12: /* a reset by the bus, by the register, or only stopped for a while */
        if (how < 0x20) {
            software_.reset();
        } else if (how < 0x40) {
            software_.write(CCAD_REG_CTRL, CCAD_CTRL_RESET);
        }
        software_.write(CCAD_REG_CTRL, how & 1 ? 0 : CCAD_CTRL_ENABLE);
        break;
    }
}

void Session::step(bool nested)
{
    uint8_t what = input_.u8();
    uint32_t context = (what >> 6) % software_.contexts();

    what &= 63;
    if (what < 36) {
        contexts_step(nested, what % 9, context);
    } else {
        host_step((what - 36) % 13);
    }
}

void Session::run(bool thorough)
{
    uint8_t how = input_.u8();

    for (uint32_t i = 0; i < software_.contexts(); i++) {
        software_.set_up(i, 1 + (how >> i & 1));
    }
    serve_later(how >> 4);
    machine_.meanwhile = [this] {
        /* Zero goes on; and what happens there has no meanwhile of its own. */
        if (!inside_ && nested_ < most_nested && input_.u8() > 0xc0) {
            inside_ = true;
            nested_++;
            step(true);
            inside_ = false;
        }
    };
    for (unsigned i = 0; i < most_steps && !input_.empty(); i++) {
        step(false);
    }
    software_.finish(thorough);
}

} // namespace

} // namespace ccad::fuzz

using namespace ccad::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input input(data, size);
    uint8_t first = input.u8();

    Session(machine_of(first), input).run(first & 0x20);
    return 0;
}
