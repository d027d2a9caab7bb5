/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "plain_host.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ccad::bench {

struct PlainHost::Ops {
    static PlainHost &self(void *opaque)
    {
        return *static_cast<PlainHost *>(opaque);
    }
};

PlainHost::PlainHost(const Options &options) : page_bytes_(options.page_bytes)
{
    const ccad_config config = {
        .contexts = options.contexts,
        .engines = 1,
        .atc_sets = 256,
        .atc_ways = 8,
        .vectors = 2,
        .page_requests = 32,
        .page_request_group = 8,
        .counters = 4096,
        .mem_size = 0,
        .slice_ns = 1'000'000,
        .ordered = false,
        .cost = {},
        .injection = {},
        .host_driven = !options.threads,
    };
    const ccad_host_ops ops = {
        .translate = [](void *opaque, uint32_t, uint64_t va, uint64_t len,
                        bool, ccad_translation *out, size_t max) {
            return Ops::self(opaque).translate(va, len, out, max);
        },
        .page_request = [](void *opaque, uint32_t, const uint64_t *, size_t,
                           bool, bool, uint16_t prgi) {
            PlainHost &host = Ops::self(opaque);
            host.present_ = true;
            ccad_core_page_response(host.core_, pasid, prgi,
                                    CCAD_RESPONSE_SUCCESS);
            return true;
        },
        .map = [](void *opaque, uint64_t pa, uint64_t *, bool) -> void * {
            return Ops::self(opaque).memory_ + pa;
        },
        .unmap = [](void *, void *, uint64_t, bool) {},
        .local_offset = [](void *, uint64_t, uint64_t *) { return false; },
        .interrupt = [](void *, uint32_t) {},
        .error = [](void *, ccad_error, uint64_t) {},
        .locked = [](void *, void (*fn)(void *), void *arg) { fn(arg); },
        .dma_write = [](void *, uint64_t, const void *,
                        uint64_t) { return true; },
        .now_ns = [](void *) -> uint64_t { return 0; },
        .set_timer = [](void *, uint64_t) {},
        .thread_enter = [](void *) {},
        .thread_leave = [](void *) {},
        .pasid_bind = [](void *, uint32_t) { return true; },
        .pasid_unbind = [](void *, uint32_t) {},
        .physical_allowed = [](void *) { return true; },
        .trace = nullptr,
    };

    memory_ = static_cast<uint8_t *>(std::aligned_alloc(huge, memory_size));
    if (!memory_) {
        std::abort();
    }
    madvise(memory_, memory_size, MADV_HUGEPAGE);
    std::memset(memory_, 0, memory_size);
    core_ = ccad_core_new(&config, &ops, this);
    if (!core_) {
        std::fprintf(stderr, "no core: %s\n", ccad_config_check(&config));
        std::abort();
    }
    ccad_core_write(core_, CCAD_REG_CTRL, CCAD_CTRL_ENABLE, 4);
}

PlainHost::~PlainHost()
{
    ccad_core_delete(core_);
    std::free(memory_);
}

int PlainHost::translate(uint64_t va, uint64_t len, ccad_translation *out,
                         size_t max)
{
    size_t n = 0;

    for (uint64_t at = va; at < va + len && n < max; n++) {
        bool present = at < memory_size;
        if (at / page == fleeting / page && requests) {
            /* There once: the next command asks for it again. */
            present = present_.exchange(false);
        }
        uint64_t bytes = requests ? page : page_bytes_;
        uint64_t first = at & ~(bytes - 1);
        out[n] = present ? ccad_translation{first, first, bytes, true, true}
                         : ccad_translation{at, 0, page, false, false};
        at = first + bytes;
    }
    return static_cast<int>(n);
}

Ring::Ring(PlainHost &host, uint32_t context)
    : host_(host), context_(context), ring_va_(context * 16 * page),
      records_va_(ring_va_ + 8 * page),
      ring_(reinterpret_cast<ccad_desc *>(host.at(ring_va_))),
      records_(reinterpret_cast<ccad_completion *>(host.at(records_va_)))
{
    static_assert((sizeof(ccad_desc) << shift) <= 8 * page);
    auto write = [&](uint32_t reg, uint64_t value, unsigned size) {
        ccad_core_write(host_.core(), CCAD_CTX(context_) + reg, value, size);
    };

    write(CCAD_CTX_PASID, pasid, 4);
    write(CCAD_CTX_VECTOR, 1, 4);
    write(CCAD_CTX_RING, ring_va_, 8);
    write(CCAD_CTX_RING_SHIFT, shift, 4);
    write(CCAD_CTX_CTRL, CCAD_CTX_CTRL_ENABLE, 4);
}

uint32_t Ring::push(ccad_desc desc)
{
    uint32_t entry = tail_ & ((1u << shift) - 1);

    __atomic_store_n(&records_[entry].status, CCAD_COMP_NONE,
                     __ATOMIC_RELAXED);
    desc.completion = records_va_ + entry * sizeof(ccad_completion);
    ring_[entry] = desc;
    return tail_++;
}

void Ring::doorbell()
{
    ccad_core_write(host_.core(), CCAD_DOORBELL(context_) + CCAD_DB_TAIL,
                    tail_, 4);
}

bool Ring::ended(uint32_t index)
{
    uint8_t status = __atomic_load_n(&record(index).status, __ATOMIC_ACQUIRE);

    if (status != CCAD_COMP_NONE && status != CCAD_COMP_SUCCESS) {
        std::fprintf(stderr, "a command ended with status %u\n", status);
        std::abort();
    }
    return status != CCAD_COMP_NONE;
}

void Ring::wait(uint32_t index)
{
    while (!ended(index)) {
        __builtin_ia32_pause();
    }
}

} // namespace ccad::bench
