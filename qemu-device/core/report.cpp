/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What engines report besides completions: access counters and poison. */
#include "core.hpp"

namespace ccad {

void Core::before_reset(const Work &work, const std::function<void()> &tell)
{
    host_.locked([&] {
        uint64_t resets;
        {
            std::lock_guard lock(state_);
            resets = resets_;
        }
        if (resets == work.resets) {
            tell();
        }
    });
}

/* Whether the event has to interrupt. */
bool Core::note_poison(uint64_t offset)
{
    std::lock_guard lock(state_);

    if (!(event_ & CCAD_EVENT_POISON)) {
        poison_addr_ = offset & ~(Poison::line - 1);
    }
    return set_event(CCAD_EVENT_POISON);
}

void Core::report(const Work &work, const Reports &reports, bool raise)
{
    if (reports.poison) {
        before_reset(work, [&] {
            host_.error(CCAD_ERROR_POISON,
                        *reports.poison & ~(Poison::line - 1));
            if (raise) {
                host_.interrupt(CCAD_VECTOR_EVENT);
            }
        });
    }
    if (reports.counters) {
        report_counters();
    }
}

void Core::interrupt(const Work &work, uint32_t vector)
{
    Context &context = *work.context;

    host_.locked([&] {
        uint64_t disabled;
        {
            std::lock_guard lock(state_);
            disabled = context.disabled;
        }
        if (disabled == work.disabled) {
            host_.interrupt(context.number, vector);
        }
    });
}

void Core::report_counters()
{
    counters_.forget_news();
    host_.locked([this] {
        bool raise = false;

        counters_.deliver(host_);
        {
            std::lock_guard lock(state_);
            if (counters_.take_event()) {
                raise = set_event(CCAD_EVENT_COUNTERS);
            }
        }
        if (raise) {
            host_.interrupt(CCAD_VECTOR_EVENT);
        }
    });
}

void Core::control_counters(bool enable)
{
    {
        std::lock_guard control(control_);
        if (enable == counters_.on()) {
            return;
        }
        if (enable) {
            counters_.start();
        } else {
            counters_.stop();
        }
        /* Nobody is in a step that began before; what was due is queued. */
        drain();
    }
    report_counters();
}

void Core::write_counters(uint32_t reg, uint64_t value)
{
    if (reg == CCAD_REG_CNT_CTRL) {
        control_counters(value & CCAD_CNT_ENABLE);
        return;
    }
    if (reg == CCAD_REG_CNT_CMD && value == CCAD_CNT_CMD_FLUSH) {
        report_counters();
    }
    if (auto vector = counters_.write(reg, value)) {
        host_.interrupt(*vector);
    }
    if (counters_.news()) {
        report_counters();
    }
}

} // namespace ccad
