/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine around the device: ccad_host_ops with the opaque pointer bound,
 * and the failures that are injected on the way there.
 */
#pragma once

#include <span>

#include "ccad_core.h"
#include "injection.hpp"

namespace ccad {

class Host {
public:
    Host(const ccad_host_ops &ops, void *opaque, Injection &injection)
        : ops_(ops), opaque_(opaque), injection_(injection)
    {
    }

    int translate(uint32_t pasid, uint64_t va, uint64_t len, bool write,
                  std::span<ccad_translation> out) const
    {
        return ops_.translate(opaque_, pasid, va, len, write, out.data(),
                              out.size());
    }
    bool page_request(uint32_t pasid, std::span<const uint64_t> pages,
                      bool write, uint16_t prgi) const
    {
        return ops_.page_request(opaque_, pasid, pages.data(), pages.size(),
                                 !write, write, prgi);
    }
    void *map(uint64_t pa, uint64_t *len, bool write) const
    {
        return ops_.map(opaque_, pa, len, write);
    }
    void unmap(void *ptr, uint64_t len, bool write) const
    {
        ops_.unmap(opaque_, ptr, len, write);
    }
    bool local_offset(uint64_t pa, uint64_t *offset) const
    {
        return ops_.local_offset(opaque_, pa, offset);
    }
    void interrupt(uint32_t vector) const
    {
        if (!injection_.strikes(Failure::lose_interrupt)) {
            ops_.interrupt(opaque_, vector);
        }
    }
    /* The same, as a step of a command of context. */
    void interrupt(uint32_t context, uint32_t vector) const
    {
        bool lost = injection_.strikes(Failure::lose_interrupt);

        trace(lost ? CCAD_STEP_LOSE_INTERRUPT : CCAD_STEP_INTERRUPT, context,
              vector);
        if (!lost) {
            ops_.interrupt(opaque_, vector);
        }
    }
    void error(ccad_error kind, uint64_t address) const
    {
        ops_.error(opaque_, kind, address);
    }
    template <typename Function>
    void locked(Function function) const
    {
        ops_.locked(
            opaque_, [](void *arg) { (*static_cast<Function *>(arg))(); },
            &function);
    }
    bool dma_write(uint64_t addr, const void *buf, uint64_t len) const
    {
        return ops_.dma_write(opaque_, addr, buf, len);
    }
    uint64_t now_ns() const { return ops_.now_ns(opaque_); }
    void set_timer(uint64_t ns) const { ops_.set_timer(opaque_, ns); }
    void thread_enter() const { ops_.thread_enter(opaque_); }
    void thread_leave() const { ops_.thread_leave(opaque_); }
    bool pasid_bind(uint32_t pasid) const
    {
        return ops_.pasid_bind(opaque_, pasid);
    }
    void pasid_unbind(uint32_t pasid) const
    {
        ops_.pasid_unbind(opaque_, pasid);
    }
    bool physical_allowed() const { return ops_.physical_allowed(opaque_); }
    void trace(ccad_step step, uint32_t context, uint64_t a, uint64_t b = 0,
               uint64_t c = 0) const
    {
        if (ops_.trace) [[unlikely]] {
            ops_.trace(opaque_, step, context, a, b, c);
        }
    }

private:
    ccad_host_ops ops_;
    void *opaque_;
    Injection &injection_;
};

} // namespace ccad
