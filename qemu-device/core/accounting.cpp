/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a run's commands have cost: on the clock, in the statistics, in the
 * access counters.
 */
#include "run.hpp"

namespace ccad {

Meter &Run::meter_of(Operand operand)
{
    if (operand == Operand::again) {
        return unmetered_;
    }
    return of_command(operand) ? command_.meter : overhead_;
}

/* Put on the clock what an access to the operand has cost. */
void Run::charge(Operand operand)
{
    if (operand == Operand::again) {
        return;
    }
    bool of_command = ccad::of_command(operand);
    Charge &charged = of_command ? command_.charged : overhead_charged_;
    Charge sum = ccad::charge(env_.cost, meter_of(operand));
    Charge news = sum - charged;
    uint64_t ns = news.total();
    uint64_t waited = 0;

    if (timeline_) {
        waited = timeline_->transfer(position(), news);
        command_.waited += of_command ? waited : 0;
    }
    charged = sum;
    clock_.store(clock() + waited + ns, std::memory_order_relaxed);
}

void Run::start_no_earlier(uint64_t position)
{
    if (this->position() < position) {
        origin_.store(position - clock(), std::memory_order_relaxed);
    }
}

/* It has ended: the meters begin anew for the next one. */
void Run::count_command()
{
    charge(Operand::completion);
    deadline_.store(UINT64_MAX, std::memory_order_relaxed);
    env_.host.trace(CCAD_STEP_COMPLETE, number_, command_.desc.tag,
                    command_.status, operands_ns());
    stats_.count_command(command_.desc.opcode);
    stats_.add(CCAD_STAT_ERRORS, command_.status != CCAD_COMP_SUCCESS);
    stats_.add(CCAD_STAT_FAULTS, command_.status == CCAD_COMP_PAGE_FAULT);
    publish();
    command_.meter = {};
    command_.charged = {};
    overhead_ = {};
    overhead_charged_ = {};
    published_ = {};
    published_ns_ = 0;
}

void Run::publish()
{
    Meter sum = command_.meter + overhead_;
    Meter news = sum - published_;
    uint64_t ns = command_.charged.total() + overhead_charged_.total();

    stats_.add(CCAD_STAT_READ_LOCAL, news.local.read);
    stats_.add(CCAD_STAT_READ_SYSTEM, news.system.read);
    stats_.add(CCAD_STAT_WRITE_LOCAL, news.local.written);
    stats_.add(CCAD_STAT_WRITE_SYSTEM, news.system.written);
    stats_.add(CCAD_STAT_ATC_HITS, news.atc_hits);
    stats_.add(CCAD_STAT_TRANSLATIONS, news.translations);
    stats_.add(CCAD_STAT_PAGE_REQUESTS, news.page_requests);
    stats_.add(CCAD_STAT_PAGE_FAILURES, news.page_failures);
    stats_.add(CCAD_STAT_DEVICE_NS, ns - published_ns_);
    published_ = sum;
    published_ns_ = ns;
    show();
}

void Run::show()
{
    bool in_flight = phase_ != Phase::fetch;

    shown_done_.store(command_.done, std::memory_order_relaxed);
    shown_.store(in_flight ? uint64_t{command_.desc.tag} << 32 |
                                 command_.desc.opcode << 8 | 1
                           : 0,
                 std::memory_order_relaxed);
}

std::optional<InFlight> Run::in_flight() const
{
    uint64_t shown = shown_.load(std::memory_order_relaxed);

    if (!(shown & 1)) {
        return std::nullopt;
    }
    return InFlight{static_cast<uint8_t>(shown >> 8),
                    static_cast<uint32_t>(shown >> 32),
                    shown_done_.load(std::memory_order_relaxed)};
}

/* Granules reached the threshold in the step that has just been made. */
void Run::post_counters()
{
    for (ccad_counter_record &record : due_) {
        record.clock = position();
    }
    env_.counters.post(due_);
    due_.clear();
    reports_.counters = true;
}

} // namespace ccad
