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

/* Software has that long to make room for page requests, in the host's time. */
constexpr uint64_t busy_ns = 1'000'000;

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

uint64_t bytes_of(const Meter &meter)
{
    return meter.local.bytes() + meter.system.bytes();
}

uint64_t accesses_of(const Meter &meter)
{
    return meter.local.accesses + meter.system.accesses;
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
    clock_.store(0, std::memory_order_relaxed);
    origin_.store(0, std::memory_order_relaxed);
    hang_.store(false, std::memory_order_relaxed);
}

Next Run::advance(uint64_t left_ns, const Gate *gate)
{
    left_ns_ = left_ns;
    gate_ = gate;
    accesses_ = 0;
    if (error_ != Next::advance) {
        return error_;
    }
    if (hung_) {
        return Next::hang;
    }
    if (delay_ns_) {
        return Next::delay;
    }
    switch (need_) {
    case Need::nothing:
        break;
    case Need::translation:
        return Next::translate;
    case Need::page:
        return Next::ask;
    }

    Next next = Next::idle;
    switch (phase_) {
    case Phase::fetch:
        next = fetch();
        charge(Operand::ring);
        break;
    case Phase::execute:
        next = execute();
        break;
    case Phase::complete:
        next = complete();
        charge(Operand::completion);
        break;
    }
    return next;
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
        Window window =
            open(Operand::ring, va, sizeof(ccad_desc), false, Span::access);
        if (window.size() < sizeof(ccad_desc)) {
            blocked(window, Operand::ring, va, sizeof(ccad_desc), false);
            return Next::advance;
        }
        command_ = {};
        unmetered_ = {};
        command_.desc = load_descriptor(window.data());
        window.use(sizeof(ccad_desc));
    }
    head_.store(head + 1, std::memory_order_release);
    fruitless_ = 0;
    for (OperandState &operand : operands_) {
        operand.cursor = {};
    }
    if (config_.timeout_ms) {
        deadline_.store(env_.host.now_ns() +
                            uint64_t{config_.timeout_ms} * 1'000'000,
                        std::memory_order_relaxed);
    }
    env_.host.trace(CCAD_STEP_FETCH, number_, head, command_.desc.opcode,
                    command_.desc.tag);

    if (command_.desc.completion % sizeof(ccad_completion)) {
        count_command();
        error_ = Next::completion_error;
        return error_;
    }
    phase_ = Phase::execute;
    if (hang_.load(std::memory_order_relaxed) &&
        hang_.exchange(false, std::memory_order_relaxed)) {
        hung_ = true;
        env_.host.trace(CCAD_STEP_HANG, number_, command_.desc.tag);
    }
    uint8_t status = check_descriptor(command_.desc, config_.physical);
    if (status == CCAD_COMP_NONE &&
        env_.injection.strikes(Failure::fault_command)) {
        status = CCAD_COMP_BUS_ERROR;
    }
    if (status != CCAD_COMP_NONE) {
        end_command(status);
    } else {
        begin_command(command_);
    }
    delay_ns_ = env_.injection.delay_ns(Failure::delay_command);
    return Next::advance;
}

Next Run::execute()
{
    const Meter before = command_.meter + unmetered_;
    Stepped stepped =
        find_opcode(command_.desc.opcode)->step(command_, *this);
    const Meter after = command_.meter + unmetered_;

    accesses_ = accesses_of(after) - accesses_of(before);
    charge(Operand::src);
    if (!due_.empty()) {
        post_counters();
    }
    reports_.counters |= env_.counters.news();
    if (bytes_of(after) != bytes_of(before)) {
        fruitless_ = 0;
    }
    if (stepped == Stepped::ended) {
        end_command(half_written() ? CCAD_COMP_POISON : CCAD_COMP_SUCCESS);
    } else if (stepped == Stepped::failed) {
        end_command(command_.status);
    }
    return Next::advance;
}

Next Run::complete()
{
    uint64_t va = command_.desc.completion;

    if (va) {
        Window window =
            open(Operand::completion, va, sizeof(ccad_completion), true,
                 Span::access);
        if (!write_record(window)) {
            blocked(window, Operand::completion, va, sizeof(ccad_completion),
                    true);
            return Next::advance;
        }
    } else {
        count_command();
    }
    phase_ = Phase::fetch;
    if (timed_out_) {
        error_ = Next::timed_out;
    }
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
    record.device_ns = operands_ns();
    record.bytes_local = meter.local.read + meter.local.written;
    record.atc_hits = static_cast<uint32_t>(meter.atc_hits);
    record.translations = static_cast<uint32_t>(meter.translations);
    record.page_requests = static_cast<uint32_t>(meter.page_requests);

    /* Who sees the record sees it counted. */
    if (env_.injection.strikes(Failure::lose_completion)) {
        env_.host.trace(CCAD_STEP_LOSE_RECORD, number_, command_.desc.tag,
                        command_.status);
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
    for (OperandState &operand : operands_) {
        if (operand.mapping.written()) {
            operand.mapping.close(env_.host);
        }
    }
    command_.status = status;
    command_.codec.reset();
    phase_ = Phase::complete;
    fruitless_ = 0;
}

/* The access of miss_ cannot be made. */
void Run::fault(uint8_t status)
{
    need_ = Need::nothing;
    alone_ = false;
    switch (miss_.operand) {
    case Operand::ring:
        error_ = Next::ring_error;
        break;
    case Operand::completion:
        count_command();
        phase_ = Phase::fetch;
        error_ = timed_out_ ? Next::timed_out : Next::completion_error;
        break;
    case Operand::src:
    case Operand::dst:
    case Operand::table:
    case Operand::again:
        command_.access = miss_.write ? CCAD_ACCESS_WRITE : CCAD_ACCESS_READ;
        command_.fault_addr = miss_.va;
        end_command(status);
        break;
    }
}

Window Run::open(Operand operand, uint64_t va, uint64_t len, bool write,
                 Span span)
{
    auto index = static_cast<unsigned>(operand);
    bool again = operand == Operand::again;
    bool counts = env_.counters.on() && of_command(operand) && !again;

    operands_[index].held.apart = again;
    if (config_.physical) {
        /* Nor is there an address space to count in. */
        operands_[index].held = physical_addresses;
        counts = false;
    }
    /* As many as the slice has room for, if nobody can tell when they were. */
    uint64_t accesses = 1;
    if (span == Span::several && !counts && !timeline_) {
        accesses = std::clamp<uint64_t>(left_ns_ / env_.pair_ns, 1, max_span);
    }
    return Window(env_, config_.pasid, operands_[index], meter_of(operand),
                  counts ? &due_ : nullptr, va, len, write,
                  accesses * max_access);
}

void Run::unmap()
{
    for (OperandState &operand : operands_) {
        operand.mapping.close(env_.host);
    }
}

void Run::blocked(const Window &window, Operand operand, uint64_t va,
                  uint64_t len, bool write)
{
    miss_ = {operand, write, config_.pasid, va, len};
    switch (window.state()) {
    case Opened::miss:
        ask_translation();
        break;
    case Opened::poison:
        reports_.poison = window.local_offset();
        fault(CCAD_COMP_POISON);
        break;
    default:
        fault(CCAD_COMP_BUS_ERROR);
        break;
    }
}

/*
 * Whether an output whose length was not known ended within a poisoned line,
 * which so stays poisoned.
 */
bool Run::half_written()
{
    for (const OperandState &operand : operands_) {
        const Cursor &cursor = operand.cursor;
        const Translation &entry = operand.held.entry;
        uint64_t va = cursor.end & ~(Poison::line - 1);
        uint64_t offset;

        if (cursor.rewriting &&
            env_.host.local_offset(entry.pa + (va - entry.first), &offset)) {
            reports_.poison = offset;
            command_.fault_addr = va;
            command_.access = CCAD_ACCESS_WRITE;
            return true;
        }
    }
    return false;
}

void Run::translated(
    uint64_t generation,
    std::optional<std::span<const ccad_translation>> answer)
{
    Held &held = operands_[static_cast<unsigned>(miss_.operand)].held;

    /* How often it takes depends on the host: it costs what one costs. */
    if (!std::exchange(repeats_, false)) {
        meter_of(miss_.operand).translations++;
        charge(miss_.operand);
    }
    if (!answer) {
        env_.host.trace(CCAD_STEP_TRANSLATE, number_, miss_.va, miss_.write,
                        false);
        fault(CCAD_COMP_PAGE_FAULT);
        return;
    }

    /* The rest of the operand was asked for as well: into the ATC with it. */
    const bool apart = miss_.operand == Operand::again;
    bool got = false;
    bool stale = false;
    uint64_t cursor = miss_.va;
    for (const ccad_translation &one : *answer) {
        auto entry = Translation::from(one);
        if (!entry || !entry->covers(cursor) || !entry->allows(miss_.write)) {
            break;
        }
        bool good = apart ? env_.atc.fresh(generation, config_.pasid,
                                           entry->first, entry->last)
                          : env_.atc.insert(generation, config_.pasid, *entry);
        if (!good) {
            stale = true; /* invalidated meanwhile */
            break;
        }
        if (!got) {
            held = {*entry, generation, true, true};
            got = true;
        }
        if (apart) {
            break;
        }
        if (entry->last == UINT64_MAX) {
            break;
        }
        cursor = entry->last + 1;
    }
    env_.host.trace(CCAD_STEP_TRANSLATE, number_, miss_.va, miss_.write, got);
    if (got) {
        need_ = Need::nothing;
        alone_ = false;
    } else if (stale) {
        repeats_ = true;
        ask_translation();
    } else if (timed_out_ ||
               (of_command(miss_.operand) &&
                (command_.desc.flags & CCAD_DESC_NO_PAGE_REQUEST))) {
        fault(CCAD_COMP_PAGE_FAULT);
    } else {
        ask_pages(*answer);
    }
}

/* The translation of miss_ is missing. */
void Run::ask_translation(uint64_t wait_ns)
{
    if (env_.injection.strikes(Failure::fault_translation)) {
        translated(0, std::nullopt);
        return;
    }
    need_ = Need::translation;
    delay_ns_ = wait_ns +
                env_.injection.delay_ns(Failure::delay_translation);
}

/* The page of miss_ is missing. */
void Run::ask_pages(std::span<const ccad_translation> answer)
{
    find_group(answer);
    need_ = Need::page;
    if (env_.injection.strikes(Failure::fault_page_request)) {
        asked({Answer::failure, group_.size});
        return;
    }
    delay_ns_ = env_.injection.delay_ns(Failure::delay_page_request);
}

/*
 * The pages to request: the one that is needed, and those after it that the
 * operand will touch and the host's answer says are missing as well.
 */
void Run::find_group(std::span<const ccad_translation> answer)
{
    const uint32_t most = alone_ ? 1 : env_.page_request_group;
    const uint64_t last = miss_.va + (miss_.len - 1);
    uint64_t cursor = miss_.va & ~(page_size - 1);

    group_.size = 0;
    group_.add(cursor);
    for (const ccad_translation &one : answer) {
        if (cursor < one.va || cursor - one.va >= one.len) {
            return; /* not in order */
        }
        uint64_t end = std::min(one.va + (one.len - 1), last);
        if (end < cursor) {
            return; /* it wraps around, as none may */
        }
        auto entry = Translation::from(one);
        if (!entry || !entry->allows(miss_.write)) {
            for (uint64_t va = cursor;; va += page_size) {
                if (va != group_.pages[0]) {
                    if (group_.size == most) {
                        return;
                    }
                    group_.add(va);
                }
                if (end - va < page_size) {
                    break;
                }
            }
        }
        if (end == last) {
            return;
        }
        cursor = end + 1;
    }
}

void Run::asked(Reply reply)
{
    Meter &meter = meter_of(miss_.operand);

    env_.host.trace(CCAD_STEP_ANSWER, number_, miss_.va, miss_.write,
                    reply.answer == Answer::success);
    if (reply.answer != Answer::busy) {
        meter.page_requests += reply.pages;
        meter.page_groups += reply.pages != 0;
        charge(miss_.operand);
    }
    switch (reply.answer) {
    case Answer::success:
        if (++fruitless_ > max_fruitless) {
            fault(CCAD_COMP_PAGE_FAULT);
        } else {
            ask_translation();
        }
        break;
    case Answer::invalid:
        meter.page_failures += reply.pages;
        /* Of which page, nobody says: the one that is needed decides. */
        if (reply.pages > 1) {
            alone_ = true;
            ask_translation();
        } else {
            fault(CCAD_COMP_PAGE_FAULT);
        }
        break;
    case Answer::failure:
        meter.page_failures += reply.pages;
        fault(CCAD_COMP_PAGE_FAULT);
        break;
    case Answer::refused:
        fault(CCAD_COMP_PAGE_FAULT);
        break;
    case Answer::busy:
        repeats_ = true;
        ask_translation(busy_ns);
        break;
    }
}

void Run::expire(uint64_t now)
{
    if (now < deadline()) {
        return; /* it has ended meanwhile, and maybe another one has begun */
    }
    need_ = Need::nothing;
    repeats_ = false;
    hung_ = false;
    delay_ns_ = 0;
    timed_out_ = true;
    deadline_.store(UINT64_MAX, std::memory_order_relaxed);
    end_command(CCAD_COMP_TIMEOUT);
}

void Run::abort(bool record)
{
    need_ = Need::nothing;
    repeats_ = false;
    error_ = Next::advance;
    hung_ = false;
    delay_ns_ = 0;
    timeline_ = nullptr; /* an engine may be using it for somebody else */
    if (phase_ != Phase::fetch) {
        if (phase_ == Phase::execute) {
            end_command(CCAD_COMP_ABORTED);
        }
        if (!record || !write_last_record()) {
            count_command();
        }
        phase_ = Phase::fetch;
    }
    unmap();
    publish();
    timeline_ = env_.timeline;
    timed_out_ = false;
    command_ = {};
    overhead_ = {};
    overhead_charged_ = {};
    published_ = {};
    published_ns_ = 0;
    for (OperandState &operand : operands_) {
        operand.held = {};
    }
    alone_ = false;
    fruitless_ = 0;
}

bool Run::write_last_record()
{
    if (!command_.desc.completion) {
        return false;
    }
    Window window = open(Operand::completion, command_.desc.completion,
                         sizeof(ccad_completion), true, Span::access);
    return write_record(window);
}

} // namespace ccad
