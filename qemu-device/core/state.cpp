/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole state of the device, saved while the engines are quiet.
 *
 * What is not there: epochs and gates, which tell threads apart, and what the
 * host keeps for itself (memory, configuration space, the PASIDs it has bound,
 * page requests in its queue).
 */
#include <algorithm>

#include "archive.hpp"
#include "core.hpp"
#include "reduction.hpp"

namespace ccad {

namespace {

constexpr uint32_t magic = 0x53414343; /* "CCAS" */
constexpr uint32_t version = 3;

/* Whether the opcode can go on from where the command says it is. */
bool sound(const Command &command)
{
    const ccad_desc &desc = command.desc;
    const Progress &progress = command.progress;
    uint64_t item = 1;    /* whole ones are done */
    uint64_t element = 1; /* one may be done in part */

    switch (desc.opcode) {
    case CCAD_OP_REDUCE:
        element = find_reduction(desc.arg)->element;
        return command.done <= desc.len && progress.have < element;
    case CCAD_OP_COMPRESS:
    case CCAD_OP_DECOMPRESS:
        return command.done <= desc.len && command.value <= desc.arg;
    case CCAD_OP_LIST_WALK:
        return command.done <= desc.len &&
               progress.have <= sizeof(progress.bytes);
    case CCAD_OP_GATHER:
        item = desc.arg2 & CCAD_GATHER_INDEX64 ? 8 : 4;
        element = uint64_t{1} << (desc.arg2 & CCAD_GATHER_ELEMENT_MASK);
        break;
    case CCAD_OP_COPY_PAGES:
        item = sizeof(ccad_page_copy);
        element = uint64_t{1} << desc.arg;
        break;
    }
    return command.done <= desc.len && command.done % item == 0 &&
           progress.have <= std::min<uint64_t>(item, sizeof(progress.bytes)) &&
           progress.copied < element;
}

} // namespace

/* The translation is kept if it is still good; the ATC comes first. */
template <typename Archive>
static void transfer_held(Archive &a, Held &held, const Atc &atc,
                          uint32_t pasid)
{
    const Translation &entry = held.entry;
    bool good = held.valid && !held.identity &&
                atc.fresh(held.generation, pasid, entry.first, entry.last);

    a(good);
    if constexpr (Archive::loading) {
        held = {};
        held.generation = atc.generation();
    }
    if (good && a.good()) {
        a(held.entry, held.asked);
        held.valid = true;
    }
}

template <typename Archive> void Run::transfer(Archive &a)
{
    a(config_, head_, tail_);
    a.require(config_.shift <= CCAD_RING_SHIFT_MAX &&
              config_.priority <= CCAD_PRIORITY_MAX);
    a.enumeration(phase_, Phase::complete);
    a.enumeration(need_, Need::page);
    a.enumeration(error_, Next::timed_out);
    a.require(error_ == Next::advance || error_ >= Next::ring_error);
    a(command_, overhead_, overhead_charged_, published_, published_ns_,
      clock_, origin_, deadline_, hang_, hung_, timed_out_);
    for (OperandState &operand : operands_) {
        a(operand.cursor);
    }
    a(miss_, alone_, delay_ns_, fruitless_, repeats_);
    a.require(need_ == Need::nothing || miss_.len);
    a.require(phase_ == Phase::fetch ||
              command_.desc.completion % sizeof(ccad_completion) == 0);
    a.require(phase_ != Phase::execute ||
              (check_descriptor(command_.desc, config_.physical) ==
                   CCAD_COMP_NONE &&
               sound(command_)));
    group_.size = static_cast<uint32_t>(a.length(group_.size, max_group));
    for (uint64_t &page : std::span(group_.pages).first(group_.size)) {
        a(page);
    }
    a.require(need_ != Need::page || group_.size);
    for (OperandState &operand : operands_) {
        transfer_held(a, operand.held, env_.atc, config_.pasid);
    }
    show();
}

template void Run::transfer(Saver &a);
template void Run::transfer(Loader &a);

/* Contexts by number, and whether they are still in the epoch noted. */
struct Core::ByNumber {
    Core &core;

    size_t count() const { return core.contexts_.size(); }
    template <typename Archive>
    void transfer(Archive &a, Context *&context, uint64_t &epoch) const
    {
        uint32_t number = context ? context->number : 0;
        bool current = context && context->epoch == epoch;

        a(number, current);
        a.require(number < count());
        if constexpr (Archive::loading) {
            context = core.contexts_[a.good() ? number : 0].get();
            epoch = context->epoch - !current;
        }
    }
};

template <typename Archive> void Core::transfer_context(Archive &a, Context &c)
{
    bool replied = c.reply.has_value();
    bool granted = c.granted.has_value();
    uint16_t prgi = granted ? c.granted->prgi : 0;
    Reply reply = c.reply.value_or(Reply{});

    a(c.ctrl, c.block, c.state, c.cause, c.halves, c.schedule,
      c.delayed_until, c.bound, c.invalidations_base, c.stats, c.run);
    a(replied, reply, granted, prgi);
    if constexpr (Archive::loading) {
        if (replied) {
            c.reply = reply;
        }
        if (granted) {
            c.granted = requests_.hold(prgi);
            a.require(c.granted && c.granted->context == &c);
        }
        a.require(sound(c) && scheduler_.restore(c));
    }
}

/* Whether the parts of a context that was loaded go together. */
bool Core::sound(const Context &c) const
{
    const Place place = c.schedule.place;
    const Run &run = c.run;
    const bool waits = place == Place::waiting || place == Place::stalled;

    return c.state <= CCAD_CTX_ERROR && c.cause <= CCAD_CAUSE_TIMEOUT &&
           (c.state != CCAD_CTX_ENABLED || c.bound) &&
           (c.state == CCAD_CTX_ENABLED || place == Place::idle) &&
           (!c.bound || latchable(run.config())) &&
           (c.state != CCAD_CTX_ENABLED ||
            run.tail() - run.head() <= uint32_t{1} << run.config().shift) &&
           (!(waits || c.reply || c.granted) || run.asks()) &&
           (!waits || !c.reply);
}

template <typename Archive> void Core::transfer_bindings(Archive &a)
{
    if constexpr (Archive::loading) {
        for (auto &context : contexts_) {
            if (context->bound && !context->run.config().physical) {
                bindings_[context->run.config().pasid].contexts++;
            }
        }
    }
    std::vector<uint32_t> pasids;
    for (auto &[pasid, binding] : bindings_) {
        pasids.push_back(pasid);
    }
    std::ranges::sort(pasids);
    for (uint32_t pasid : pasids) {
        a(bindings_[pasid].invalidations);
    }
}

/* A device with other properties is another device. */
template <typename Archive> bool Core::transfer_config(Archive &a)
{
    ccad_config c = config_;
    ccad_cost &cost = c.cost;
    ccad_injection &inject = c.injection;
    const auto is = [&](auto &value, const auto &ours) {
        auto now = value;
        a(now);
        return now == ours;
    };
    const ccad_config &o = config_;

    /* All of them are read, whatever they are. */
    return is(c.contexts, o.contexts) & is(c.atc_sets, o.atc_sets) &
           is(c.atc_ways, o.atc_ways) & is(c.vectors, o.vectors) &
           is(c.page_requests, o.page_requests) &
           is(c.page_request_group, o.page_request_group) &
           is(c.counters, o.counters) & is(c.mem_size, o.mem_size) &
           is(c.slice_ns, o.slice_ns) & is(c.ordered, o.ordered) &
           is(cost.local_latency_ns, o.cost.local_latency_ns) &
           is(cost.local_mbps, o.cost.local_mbps) &
           is(cost.system_latency_ns, o.cost.system_latency_ns) &
           is(cost.system_mbps, o.cost.system_mbps) &
           is(cost.translation_ns, o.cost.translation_ns) &
           is(cost.page_request_ns, o.cost.page_request_ns) &
           is(inject.seed, o.injection.seed) &
           is(inject.lose_completion, o.injection.lose_completion) &
           is(inject.lose_interrupt, o.injection.lose_interrupt) &
           is(inject.fault_translation, o.injection.fault_translation) &
           is(inject.fault_page_request, o.injection.fault_page_request) &
           is(inject.fault_command, o.injection.fault_command) &
           is(inject.delay_translation, o.injection.delay_translation) &
           is(inject.delay_page_request, o.injection.delay_page_request) &
           is(inject.delay_command, o.injection.delay_command) &
           is(inject.delay_us, o.injection.delay_us);
}

template <typename Archive> void Core::transfer(Archive &a)
{
    a(event_, event_mask_, poison_addr_, halves_, stats_, injection_,
      timeline_, scheduler_, atc_, counters_);
    a.require(!((event_ | event_mask_) & ~all_events));
    if (config_.mem_size) {
        a(poison_);
    }
    requests_.transfer(a, ByNumber{*this});
    for (auto &context : contexts_) {
        if (a.good()) {
            transfer_context(a, *context);
        }
    }
    a.require(line_is_sound());
    if (a.good()) {
        transfer_bindings(a);
    }
}

/* Each context that is stalled stands in line, once, and nobody else. */
bool Core::line_is_sound() const
{
    std::vector<bool> seen(contexts_.size());
    bool good = true;

    requests_.each_waiting([&](const Context &context, uint64_t epoch) {
        good = good && !seen[context.number] && context.epoch == epoch;
        seen[context.number] = true;
    });
    for (auto &context : contexts_) {
        good = good && seen[context->number] ==
                           (context->schedule.place == Place::stalled);
    }
    return good;
}

void Core::quiesce()
{
    std::unique_lock lock(state_);

    quiet_.wait(lock, [this] { return !busy_; });
}

std::optional<std::vector<uint8_t>> Core::save()
{
    std::lock_guard control(control_);
    std::lock_guard lock(state_);

    if (running_ || busy_) {
        return std::nullopt;
    }
    Saver a;
    a.raw(magic);
    a.raw(version);
    transfer_config(a);
    transfer(a);
    if (!a.good()) {
        return std::nullopt; /* nobody could load it */
    }
    return a.take();
}

const char *Core::load(std::span<const uint8_t> bytes)
{
    const char *complaint = nullptr;

    reset();
    {
        std::lock_guard control(control_);
        std::lock_guard lock(state_);
        Loader a(bytes);
        uint32_t found_magic;
        uint32_t found_version;

        if (busy_) {
            return "the engines are not quiet";
        }
        a.raw(found_magic);
        a.raw(found_version);
        if (!a.good() || found_magic != magic) {
            return "this is not the state of such a device";
        }
        if (found_version != version) {
            return "the state is of another version of the device";
        }
        if (!transfer_config(a)) {
            return "the state is of a device with other properties";
        }
        transfer(a);
        a.end();
        if (a.good()) {
            for (auto &context : contexts_) {
                set_alarm(context->run.deadline());
                /* Also for the commands that it has yet to begin. */
                if (context->state == CCAD_CTX_ENABLED &&
                    context->schedule.place != Place::idle) {
                    set_alarm(context->run.config());
                }
                if (context->schedule.place == Place::delayed) {
                    set_alarm(context->delayed_until);
                }
            }
        } else {
            complaint = "the state is damaged";
            bindings_.clear(); /* the host knows of none */
        }
    }
    if (complaint) {
        reset();
    }
    return complaint;
}

} // namespace ccad
