/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine around the core: flat physical memory with a window of device
 * memory, four-level page tables in it, a big lock, and an operating system
 * that serves page requests from a list of regions.
 *
 * It watches the rules of ccad_core.h: pages that the core has mapped are
 * counted, a page that was freed may not be mapped, and operations that may
 * take the big lock must find no page mapped by their thread.
 */
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "ccad_core.h"
#include "ccad_hw.h"

namespace ccad::test {

inline constexpr uint64_t page = 4096;
inline constexpr uint64_t huge = 2 * 1024 * 1024;

/* Recursive, and it knows who holds it. */
class BigLock {
public:
    void lock();
    void unlock();
    bool held() const { return owner_ == std::this_thread::get_id(); }

private:
    std::recursive_mutex mutex_;
    std::atomic<std::thread::id> owner_;
    unsigned depth_ = 0;
};

class FakeHost {
public:
    static constexpr uint64_t ram_size = 64 << 20;
    static constexpr uint64_t local_base = uint64_t{1} << 32;
    static constexpr uint64_t local_size = 16 << 20;

    FakeHost();
    ~FakeHost();

    ccad_host_ops ops() const;
    /* Until then there is nobody to invalidate. */
    void attach(ccad_core *core) { core_ = core; }
    /* Before the core goes: no thread of the host's answers it any more. */
    void stop_serving();

    /* Physical memory, in naturally aligned blocks of a power of two. */
    uint64_t alloc(uint64_t size, bool local = false);
    void free(uint64_t pa, uint64_t size);
    uint8_t *at(uint64_t pa);

    /* Page tables. unmap() does not invalidate. */
    void map(uint32_t pasid, uint64_t va, uint64_t pa, uint64_t size,
             bool writable = true);
    void unmap(uint32_t pasid, uint64_t va);
    std::optional<ccad_translation> walk(uint32_t pasid, uint64_t va);
    /* The byte at va, which has to be mapped. */
    uint8_t *ptr(uint32_t pasid, uint64_t va);

    /* Allocate and map [va, va + len). */
    void populate(uint32_t pasid, uint64_t va, uint64_t len,
                  bool local = false, bool writable = true,
                  uint64_t page_bytes = page);
    /* What an operating system does: unmap, invalidate, free. */
    void release(uint32_t pasid, uint64_t va);
    /* The same, but what was in the page goes on in another one. */
    void migrate(uint32_t pasid, uint64_t va, bool local);
    /* Take the right to write away. */
    void protect(uint32_t pasid, uint64_t va);

    /* Whether the device may touch only what page tables have mapped. */
    std::atomic<bool> strict{false};
    /* A system that does not wait for its invalidations. */
    std::atomic<bool> revoke_early{false};

    /* Time stands still but for this; calls the timer if it is due. */
    void advance_time(std::chrono::nanoseconds by);
    /* When the timer is due, UINT64_MAX: never. */
    uint64_t timer_ns() const { return timer_ns_; }

    /* A region that page requests may populate. */
    struct Region {
        uint64_t start;
        uint64_t len;
        bool writable = true;
        bool local = false;
        uint64_t page_bytes = page;
    };
    void add_region(uint32_t pasid, const Region &region);
    /* Serve one page request as an operating system does. */
    ccad_response serve(uint32_t pasid, uint64_t va, bool write);

    /* A group of page requests. */
    struct PageRequest {
        uint32_t pasid;
        uint64_t va; /* of the first page */
        std::vector<uint64_t> pages;
        bool read;
        bool write;
        uint16_t prgi;
    };
    enum class Serving {
        inside,   /* before page_request() returns */
        thread,   /* by a thread of the host's */
        never,    /* they pile up in requests() */
        impossible, /* page_request() says false */
    };
    void serving(Serving how);
    std::vector<PageRequest> requests();
    void respond(const PageRequest &request, ccad_response response);
    /* One page after the other, until one of them fails. */
    ccad_response serve(const PageRequest &request);
    /* Answer for a page instead of serve(), if it gives an answer. */
    std::function<std::optional<ccad_response>(uint64_t va)> answer;
    /* Page requests of all groups so far. */
    unsigned page_request_count() const { return page_request_count_; }

    /* May change the answer to a translation request. */
    std::function<void(ccad_translation *answer, size_t n)> on_answer;
    /* Called in these operations, without the big lock. */
    std::function<void(uint32_t pasid, uint64_t va)> on_translate;
    std::function<void()> on_translated;
    std::function<void(uint64_t pa, bool write)> on_map;
    std::function<void(uint64_t pa, uint64_t used, bool write)> on_unmap;
    std::function<void(const char *op)> on_op;
    /* The same, but with locks of the core held. */
    std::function<void(ccad_step step, uint32_t context, uint64_t a,
                       uint64_t b, uint64_t c)> on_trace;

    BigLock &big_lock() { return big_lock_; }
    std::atomic<bool> translations_work{true};
    std::atomic<bool> bind_works{true};
    std::atomic<bool> physical_works{true};
    std::atomic<bool> dma_works{true}; /* a bus address is a physical one */
    std::atomic<uint64_t> map_limit{UINT64_MAX}; /* longest mapping given */
    std::atomic<uint64_t> unmapped_pa{UINT64_MAX}; /* nothing answers here */

    unsigned interrupts(uint32_t vector);
    /* What the core reported. */
    std::vector<std::pair<ccad_error, uint64_t>> errors();
    std::multiset<uint32_t> bound();
    unsigned mapped_pages() const { return mapped_; }
    unsigned translate_calls() const { return translate_calls_; }
    unsigned write_translate_calls() const { return write_translate_calls_; }
    int threads_inside() const { return threads_; }
    /* Broken rules, for EXPECT_THAT(..., IsEmpty()). */
    std::vector<std::string> violations();

private:
    struct Op;

    uint64_t *entry(uint32_t pasid, uint64_t va, unsigned level, bool make);
    void violation(const std::string &what);
    void enter_op(const char *name);
    size_t page_index(uint64_t pa) const;
    bool valid(uint64_t pa) const;
    static bool has_open_windows();
    void grant(uint64_t pa, uint64_t size, bool writable);
    void revoke(uint64_t pa, uint64_t size, bool only_writing);
    void unmap_and_invalidate(uint32_t pasid, const ccad_translation &t);
    void serve_thread();
    int do_translate(uint32_t pasid, uint64_t va, uint64_t len, bool write,
                     ccad_translation *out, size_t max);
    bool do_page_request(const PageRequest &request);
    void *do_map(uint64_t pa, uint64_t *len, bool write);
    void do_unmap(void *ptr, uint64_t used, bool write);
    bool do_dma_write(uint64_t addr, const void *buf, uint64_t len);

    ccad_core *core_ = nullptr;
    uint8_t *memory_;
    BigLock big_lock_;
    std::map<uint32_t, uint64_t> roots_; /* of the page tables, by PASID */
    std::map<uint32_t, std::vector<Region>> regions_;
    std::map<uint64_t, std::vector<uint64_t>> free_[2]; /* by size */
    uint64_t next_[2];

    struct PageState {
        std::atomic<uint32_t> mapped{0};
        std::atomic<uint32_t> written{0}; /* of those, for writing */
        std::atomic<bool> freed{false};
        std::atomic<bool> readable{false};
        std::atomic<bool> writable{false};
    };
    std::vector<PageState> pages_;
    std::atomic<unsigned> mapped_{0};
    std::atomic<unsigned> translate_calls_{0};
    std::atomic<unsigned> write_translate_calls_{0};
    std::atomic<unsigned> page_request_count_{0};
    std::atomic<int> threads_{0};
    std::atomic<uint64_t> now_ns_{1'000'000'000};
    std::atomic<uint64_t> timer_ns_{UINT64_MAX};

    std::mutex mutex_; /* of what follows; innermost */
    std::condition_variable changed_;
    std::map<uint32_t, unsigned> interrupts_;
    std::vector<std::pair<ccad_error, uint64_t>> errors_;
    std::multiset<uint32_t> bound_;
    std::vector<std::string> violations_;
    Serving serving_ = Serving::inside;
    std::deque<PageRequest> requests_;
    bool quit_ = false;
    std::thread server_;
};

} // namespace ccad::test
