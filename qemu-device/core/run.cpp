/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "run.hpp"

#include <cstring>

namespace ccad {

namespace {

/*
 * A page that was granted and is gone again before it was used is asked for
 * again, but not for ever.
 */
constexpr unsigned max_fruitless = 32;

template <typename Record>
using Words = std::array<uint64_t, sizeof(Record) / sizeof(uint64_t)>;

/* Guest CPUs write descriptors and poll records: word by word, atomically. */
ccad_desc load_descriptor(const uint8_t *data)
{
    Words<ccad_desc> words;
    auto from = reinterpret_cast<const uint64_t *>(data);
    ccad_desc desc;

    for (size_t i = 0; i < words.size(); i++) {
        words[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
    std::memcpy(&desc, words.data(), sizeof(desc));
    return desc;
}

/* The word with the status last, so that it vouches for the others. */
void store_completion(uint8_t *data, const ccad_completion &completion)
{
    Words<ccad_completion> words;
    auto to = reinterpret_cast<uint64_t *>(data);

    static_assert(offsetof(ccad_completion, status) < sizeof(uint64_t));
    std::memcpy(words.data(), &completion, sizeof(completion));
    for (size_t i = 1; i < words.size(); i++) {
        __atomic_store_n(&to[i], words[i], __ATOMIC_RELAXED);
    }
    __atomic_store_n(&to[0], words[0], __ATOMIC_RELEASE);
}

/* Both lie within one page, so that one access reaches them. */
static_assert(sizeof(ccad_desc) == 64 && sizeof(ccad_completion) == 64);

} // namespace

void Run::start(const RunConfig &config)
{
    abort(false);
    config_ = config;
    head_.store(0, std::memory_order_release);
    tail_.store(0, std::memory_order_release);
    stats_.clear();
}

Next Run::advance()
{
    if (error_ != Next::advance) {
        return error_;
    }
    switch (need_) {
    case Need::nothing:
        break;
    case Need::translation:
        return Next::translate;
    case Need::page:
        return Next::ask;
    }
    switch (phase_) {
    case Phase::fetch:
        return fetch();
    case Phase::execute:
        return execute();
    case Phase::complete:
        return complete();
    }
    return Next::idle;
}

Next Run::fetch()
{
    uint32_t head = head_.load(std::memory_order_relaxed);
    uint32_t entries = uint32_t{1} << config_.shift;

    if (head == tail()) {
        return Next::idle;
    }

    uint64_t va = config_.ring + (head & (entries - 1)) * sizeof(ccad_desc);
    {
        Window window = open(Operand::ring, va, sizeof(ccad_desc), false);
        if (window.size() < sizeof(ccad_desc)) {
            blocked(window, Operand::ring, va, sizeof(ccad_desc), false);
            return Next::advance;
        }
        command_ = {};
        command_.desc = load_descriptor(window.data());
        window.use(sizeof(ccad_desc));
    }
    head_.store(head + 1, std::memory_order_release);
    fruitless_ = 0;
    cursors_ = {};
    env_.host.trace(CCAD_STEP_FETCH, number_, head, command_.desc.opcode,
                    command_.desc.tag);

    if (command_.desc.completion % sizeof(ccad_completion)) {
        count_command();
        error_ = Next::completion_error;
        return error_;
    }
    phase_ = Phase::execute;
    uint8_t status = check_descriptor(command_.desc);
    if (status != CCAD_COMP_NONE) {
        end_command(status);
    }
    return Next::advance;
}

Next Run::execute()
{
    uint64_t before = command_.done;
    Stepped stepped =
        find_opcode(command_.desc.opcode)->step(command_, *this);

    if (!due_.empty()) {
        post_counters();
    }
    if (command_.done != before) {
        work_ += command_.done - before;
        fruitless_ = 0;
    }
    if (stepped == Stepped::ended) {
        end_command(CCAD_COMP_SUCCESS);
    }
    return Next::advance;
}

Next Run::complete()
{
    uint64_t va = command_.desc.completion;

    if (va) {
        Window window =
            open(Operand::completion, va, sizeof(ccad_completion), true);
        if (!write_record(window)) {
            blocked(window, Operand::completion, va, sizeof(ccad_completion),
                    true);
            return Next::advance;
        }
    } else {
        count_command();
    }
    phase_ = Phase::fetch;
    return command_.desc.flags & CCAD_DESC_INTERRUPT ? Next::interrupt
                                                     : Next::advance;
}

/* False if the window does not give room for it. */
bool Run::write_record(Window &window)
{
    if (window.size() < sizeof(ccad_completion)) {
        return false;
    }

    const Meter &meter = command_.meter;
    ccad_completion record{};
    record.status = command_.status;
    record.access = command_.access;
    record.tag = command_.desc.tag;
    record.result = command_.value;
    record.fault_addr = command_.fault_addr;
    record.bytes_done = command_.done;
    record.device_ns = device_ns(env_.cost, meter);
    record.bytes_local = meter.local.read + meter.local.written;
    record.atc_hits = static_cast<uint32_t>(meter.atc_hits);
    record.translations = static_cast<uint32_t>(meter.translations);
    record.page_requests = static_cast<uint32_t>(meter.page_requests);

    /* Who sees the record sees it counted. */
    if (env_.injection.strikes(Failure::lose_completion)) {
        count_command();
        return true;
    }
    window.use(sizeof(record));
    count_command();
    store_completion(window.data(), record);
    return true;
}

void Run::end_command(uint8_t status)
{
    command_.status = status;
    phase_ = Phase::complete;
    fruitless_ = 0;
}

/* The access of miss_ cannot be made. */
void Run::fault(uint8_t status)
{
    need_ = Need::nothing;
    switch (miss_.operand) {
    case Operand::ring:
        error_ = Next::ring_error;
        break;
    case Operand::completion:
        count_command();
        phase_ = Phase::fetch;
        error_ = Next::completion_error;
        break;
    case Operand::src:
    case Operand::dst:
        command_.access = miss_.write ? CCAD_ACCESS_WRITE : CCAD_ACCESS_READ;
        command_.fault_addr = miss_.va;
        end_command(status);
        break;
    }
}

Window Run::open(Operand operand, uint64_t va, uint64_t len, bool write)
{
    auto index = static_cast<unsigned>(operand);
    bool counts = env_.counters.on() && of_command(operand);

    return Window(env_, config_.pasid, held_[index], cursors_[index],
                  meter_of(operand), counts ? &due_ : nullptr, va, len, write);
}

void Run::blocked(const Window &window, Operand operand, uint64_t va,
                  uint64_t len, bool write)
{
    miss_ = {operand, write, config_.pasid, va, len};
    switch (window.state()) {
    case Opened::miss:
        need_ = Need::translation;
        break;
    case Opened::poison:
        poison_ = window.local_offset();
        fault(CCAD_COMP_POISON);
        break;
    default:
        fault(CCAD_COMP_BUS_ERROR);
        break;
    }
}

/* Granules reached the threshold in the step that has just been made. */
void Run::post_counters()
{
    for (ccad_counter_record &record : due_) {
        record.clock = clock();
    }
    env_.counters.post(due_);
    due_.clear();
}

/* Device time of the context. */
uint64_t Run::clock() const
{
    return stats_.get(CCAD_STAT_DEVICE_NS) - published_ns_ +
           device_ns(env_.cost, command_.meter) +
           device_ns(env_.cost, overhead_);
}

void Run::translated(
    uint64_t generation,
    std::optional<std::span<const ccad_translation>> answer)
{
    Held &held = held_[static_cast<unsigned>(miss_.operand)];

    meter_of(miss_.operand).translations++;
    if (!answer) {
        env_.host.trace(CCAD_STEP_TRANSLATE, number_, miss_.va, miss_.write,
                        false);
        fault(CCAD_COMP_PAGE_FAULT);
        return;
    }

    /* The rest of the operand was asked for as well: into the ATC with it. */
    bool got = false;
    bool stale = false;
    uint64_t cursor = miss_.va;
    for (const ccad_translation &one : *answer) {
        auto entry = Translation::from(one);
        if (!entry || !entry->covers(cursor) || !entry->allows(miss_.write)) {
            break;
        }
        if (!env_.atc.insert(generation, config_.pasid, *entry)) {
            stale = true; /* invalidated meanwhile */
            break;
        }
        if (!got) {
            held = {*entry, generation, true, true};
            got = true;
        }
        if (entry->last == UINT64_MAX) {
            break;
        }
        cursor = entry->last + 1;
    }
    env_.host.trace(CCAD_STEP_TRANSLATE, number_, miss_.va, miss_.write, got);
    if (got) {
        need_ = Need::nothing;
    } else if (stale) {
        need_ = Need::translation;
    } else if (of_command(miss_.operand) &&
               (command_.desc.flags & CCAD_DESC_NO_PAGE_REQUEST)) {
        fault(CCAD_COMP_PAGE_FAULT);
    } else {
        need_ = Need::page;
    }
}

void Run::asked(Answer answer)
{
    Meter &meter = meter_of(miss_.operand);

    env_.host.trace(CCAD_STEP_ANSWER, number_, miss_.va, miss_.write,
                    answer == Answer::success);
    if (answer != Answer::refused) {
        meter.page_requests++;
    }
    switch (answer) {
    case Answer::success:
        if (++fruitless_ > max_fruitless) {
            fault(CCAD_COMP_PAGE_FAULT);
        } else {
            need_ = Need::translation;
        }
        break;
    case Answer::invalid:
    case Answer::failure:
        meter.page_failures++;
        fault(CCAD_COMP_PAGE_FAULT);
        break;
    case Answer::refused:
        fault(CCAD_COMP_PAGE_FAULT);
        break;
    }
}

void Run::abort(bool record)
{
    need_ = Need::nothing;
    error_ = Next::advance;
    if (phase_ != Phase::fetch) {
        if (phase_ == Phase::execute) {
            end_command(CCAD_COMP_ABORTED);
        }
        if (!record || !write_last_record()) {
            count_command();
        }
        phase_ = Phase::fetch;
    }
    publish();
    command_ = {};
    overhead_ = {};
    published_ = {};
    published_ns_ = 0;
    held_ = {};
    fruitless_ = 0;
}

bool Run::write_last_record()
{
    if (!command_.desc.completion) {
        return false;
    }
    Window window = open(Operand::completion, command_.desc.completion,
                         sizeof(ccad_completion), true);
    return write_record(window);
}

Meter &Run::meter_of(Operand operand)
{
    return of_command(operand) ? command_.meter : overhead_;
}

void Run::count_command()
{
    env_.host.trace(CCAD_STEP_COMPLETE, number_, command_.desc.tag,
                    command_.status, device_ns(env_.cost, command_.meter));
    for (Stats *stats : {&stats_, &env_.device_stats}) {
        stats->count_command(command_.desc.opcode);
        stats->add(CCAD_STAT_ERRORS, command_.status != CCAD_COMP_SUCCESS);
    }
    publish();
    command_.meter = {};
    overhead_ = {};
    published_ = {};
    published_ns_ = 0;
}

void Run::publish()
{
    Meter sum = command_.meter + overhead_;
    Meter news = sum - published_;
    uint64_t ns =
        device_ns(env_.cost, command_.meter) + device_ns(env_.cost, overhead_);

    for (Stats *stats : {&stats_, &env_.device_stats}) {
        stats->add(CCAD_STAT_READ_LOCAL, news.local.read);
        stats->add(CCAD_STAT_READ_SYSTEM, news.system.read);
        stats->add(CCAD_STAT_WRITE_LOCAL, news.local.written);
        stats->add(CCAD_STAT_WRITE_SYSTEM, news.system.written);
        stats->add(CCAD_STAT_ATC_HITS, news.atc_hits);
        stats->add(CCAD_STAT_TRANSLATIONS, news.translations);
        stats->add(CCAD_STAT_PAGE_REQUESTS, news.page_requests);
        stats->add(CCAD_STAT_PAGE_FAILURES, news.page_failures);
        stats->add(CCAD_STAT_DEVICE_NS, ns - published_ns_);
    }
    published_ = sum;
    published_ns_ = ns;
}

} // namespace ccad
