/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small machine around a host-driven core, for fuzzers: physical memory,
 * four-level page tables, and what an operating system does with them.
 *
 * It is there to find out when the core breaks a rule.  Any byte of memory
 * outside of what the core has mapped is poisoned for AddressSanitizer, and
 * the core may map only what a translation grants that it was given and that
 * nobody has invalidated since.
 */
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "ccad_core.h"
#include "ccad_hw.h"

namespace ccad::fuzz {

inline constexpr uint64_t page = 4096;
inline constexpr uint64_t huge = 2 * 1024 * 1024;

/* A rule was broken: say so and end, so that the fuzzer keeps the input. */
[[noreturn]] void broken(const char *rule, uint64_t a = 0, uint64_t b = 0);

/* Whether the host is to break a rule itself, to see that it is noticed. */
bool control_run();

/* A leaf of the page tables. */
struct Leaf {
    uint64_t pa;
    uint64_t size;
    bool write;
};

class Machine {
public:
    /* A page table entry with a size of huge maps more than there is. */
    static constexpr unsigned ram_pages = 32;
    static constexpr unsigned local_pages = 16;
    static constexpr unsigned frames = ram_pages + local_pages;
    static constexpr uint64_t ram_base = huge;
    static constexpr uint64_t local_base = uint64_t{1} << 32;
    static constexpr uint32_t pasids = 4; /* 0 to 3 have page tables */

    explicit Machine(const ccad_config &config);
    ~Machine();
    Machine(const Machine &) = delete;
    Machine &operator=(const Machine &) = delete;

    ccad_core *core() { return core_; }
    const ccad_config &config() const { return config_; }

    /* As after power on: memory, page tables, core. */
    void restart();
    /* After every call of the core. */
    void check_quiet();

    /* Page tables; unmap() does not invalidate. */
    static uint64_t frame_pa(unsigned frame);
    void map(uint32_t pasid, uint64_t va, uint64_t pa, bool write,
             bool large = false);
    void unmap(uint32_t pasid, uint64_t va);
    std::optional<Leaf> walk(uint32_t pasid, uint64_t va) const;
    void invalidate(uint32_t pasid, bool global, uint64_t va, uint64_t len);
    /* The core was reset: its translations are gone. */
    void forget();
    /* All contexts of the PASID are going: nothing of it may be used. */
    bool bound(uint32_t pasid) const;

    /* Memory as the CPU sees it; false beyond what there is. */
    bool peek(uint64_t pa, void *to, uint64_t len) const;
    bool poke(uint64_t pa, const void *from, uint64_t len);
    bool backed(uint64_t pa) const { return frame_of(pa).has_value(); }

    /* A group of page requests. */
    static constexpr size_t most_pages = 16;
    struct Request {
        uint32_t pasid;
        uint16_t prgi;
        bool read;
        bool write;
        size_t n;
        std::array<uint64_t, most_pages> pages;
    };
    const std::vector<Request> &requests() const { return requests_; }
    void respond(size_t index, ccad_response response);
    /* How many page requests may be outstanding, 0: off. */
    void allocate(uint32_t requests);

    /* What the host makes of the core's requests. */
    struct Policy {
        uint64_t longest_window = UINT64_MAX;
        unsigned most_entries = UINT32_MAX; /* of a translation */
        bool translations_work = true;
        bool senseless_translations = false;
        bool page_requests_work = true;
        bool bind_works = true;
        bool dma_works = true;
        bool physical_works = true;
    } policy;
    /* The answer to a page request from within; nothing: later. */
    std::function<std::optional<ccad_response>(const Request &)> serve;
    /* In translate and page_request, as another CPU at that time. */
    std::function<void()> meanwhile;

    /* Some context may have been enabled to use physical addresses. */
    bool physical = false;

    /* The machine's time; passing, it may strike the core's timer. */
    uint64_t now = 0;
    void pass_time(uint64_t ns);

    uint64_t translate_calls() const { return translate_calls_; }
    uint64_t interrupts() const { return interrupts_; }

private:
    struct Ops;
    using Table = std::array<uint64_t, 512>;

    struct Grant {
        uint32_t pasid;
        bool write; /* all can be read */
        uint64_t va;
        uint64_t pa;
        uint64_t len;
    };
    struct Open {
        uint8_t *ptr;
        uint64_t len;
        bool write;
    };

    std::optional<unsigned> frame_of(uint64_t pa) const;
    uint8_t *at(uint64_t pa) const;
    void set(uint64_t *entry, uint64_t value);
    uint64_t *entry(uint32_t pasid, uint64_t va, unsigned level, bool make);
    bool granted(uint64_t pa, uint64_t len, bool write) const;
    void grant(uint32_t pasid, const ccad_translation &t);
    void enter(const char *op);

    int translate(uint32_t pasid, uint64_t va, uint64_t len, bool write,
                  ccad_translation *out, size_t max);
    bool page_request(const Request &request);
    void *open(uint64_t pa, uint64_t *len, bool write);
    void close(uint8_t *ptr, uint64_t used, bool write);

    const ccad_config config_;
    ccad_core *core_;
    uint8_t *memory_;
    std::array<bool, frames> dirty_{};
    std::array<Table, 40> tables_{}; /* all zeros from tables_used_ on */
    unsigned tables_used_ = 0;
    std::vector<uint64_t *> entries_set_;
    std::array<uint64_t *, pasids> roots_{};
    std::vector<Grant> grants_;
    std::vector<Open> open_;
    std::vector<uint32_t> bound_;
    std::vector<Request> requests_;
    uint32_t allocation_ = 0;
    uint64_t timer_ = UINT64_MAX;
    uint64_t translate_calls_ = 0;
    uint64_t interrupts_ = 0;
};

} // namespace ccad::fuzz
