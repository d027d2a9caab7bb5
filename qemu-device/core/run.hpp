/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The execution of a context's commands, one after the other, as a state
 * machine that never waits: advance() does one step at most, of a few
 * accesses (command.hpp), and says what it needs next.
 *
 *   fetch -> execute -> complete -> fetch ...
 *
 * In any of them an access can miss.  Then advance() answers translate until
 * translated() was told what the host said, and maybe ask until asked() was
 * told how the page request was answered.
 *
 * All of it is called under the gate of whoever runs the context, and the
 * memory it touches is touched there.
 */
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "command.hpp"
#include "gate.hpp"
#include "page_requests.hpp"
#include "stats.hpp"

namespace ccad {

/* What a context runs with, latched when it is enabled. */
struct RunConfig {
    uint64_t ring = 0;
    uint32_t shift = 0;
    uint32_t pasid = 0; /* means nothing if physical */
    uint32_t vector = 0;
    uint32_t priority = 0;
    uint32_t slice_ns = 0;   /* 0: the device's */
    uint32_t timeout_ms = 0; /* 0: none */
    bool physical = false;   /* every address is a physical one */

    template <typename Archive> void transfer(Archive &a)
    {
        a(ring, shift, pasid, vector, priority, slice_ns, timeout_ms,
          physical);
    }
};

/* What of the device a run reaches. */
struct RunEnvironment : Memory {
    const ccad_cost &cost;
    Timeline *timeline; /* null: memories are not shared */
    Injection &injection;
    const uint32_t page_request_group; /* most pages in one */
    const uint64_t pair_ns = std::max(longest_pair_ns(cost), 2 * least_ns);
};

/* What came of an access besides the access. */
struct Reports {
    std::optional<uint64_t> poison; /* where in local memory it met some */
    bool counters = false;          /* Counters has news */
};

/* The pages of a page request group, in order; the first one is needed now. */
struct Group {
    std::array<uint64_t, max_group> pages;
    uint32_t size = 0;

    void add(uint64_t va) { pages[size++] = va; }
    std::span<const uint64_t> first(uint32_t n) const
    {
        return std::span(pages).first(std::min(n, size));
    }
};

/* How a page request group was answered, and how many pages it had. */
enum class Answer : uint8_t { success, invalid, failure, refused, busy };
struct Reply {
    Answer answer;
    uint32_t pages; /* 0 if it was not sent */

    template <typename Archive> void transfer(Archive &a)
    {
        a.enumeration(answer, Answer::busy);
        a(pages);
    }
};

/* A command as an engine has left it. */
struct InFlight {
    uint8_t opcode;
    uint32_t tag;
    uint64_t done; /* as bytes_done of a record */
};

enum class Next : uint8_t {
    advance,   /* call advance() again */
    idle,      /* no command in the ring */
    translate, /* ask the host for miss(), then translated() */
    ask,       /* request the pages of group(), then asked() */
    interrupt, /* raise the vector */
    hang,      /* never again, unless expire() is called */
    delay,     /* not before take_delay() is over */
    ring_error,
    completion_error,
    timed_out,
};

class Run final : private Operands {
public:
    Run(const RunEnvironment &environment, uint32_t number, Stats &stats)
        : env_(environment), timeline_(environment.timeline), number_(number),
          stats_(stats)
    {
    }

    /* Begin anew, with an empty ring and without statistics. */
    void start(const RunConfig &config);

    /*
     * left_ns: of the slice, in device time; gate: which is held, null if
     * nobody can wait for it.
     */
    Next advance(uint64_t left_ns, const Gate *gate);
    /* Service of the step at the least, where accesses cost next to nothing. */
    uint64_t least_service() const
    {
        return std::max<uint64_t>(accesses_, 1) * least_ns;
    }
    const Miss &miss() const { return miss_; }
    const Group &group() const { return group_; }
    const RunConfig &config() const { return config_; }

    /* The host's answer to a request made at generation; none: refused. */
    void translated(uint64_t generation,
                    std::optional<std::span<const ccad_translation>> answer);
    void asked(Reply reply);

    /*
     * What there is to report, which has to be done before the next step:
     * who sees the completion record has been told.
     */
    bool reports() const { return reports_.poison || reports_.counters; }
    Reports take_reports() { return std::exchange(reports_, {}); }
    /* Nanoseconds of the host's time. */
    uint64_t take_delay() { return std::exchange(delay_ns_, 0); }

    /* Give mapped memory back; before the gate is left. */
    void unmap();
    /* Bring the statistics up to date. */
    void publish();

    /*
     * Give up the command in flight.  With a record it ends as aborted if
     * the ATC still knows where the completion record lies.
     */
    void abort(bool record);

    /*
     * End the command in flight as timed out, if now is past its deadline:
     * advance() then tries to write its record, without requesting a page for
     * it, and says timed_out.
     */
    void expire(uint64_t now);
    /* In the time of Host::now_ns(); UINT64_MAX: none. From any thread. */
    uint64_t deadline() const
    {
        return deadline_.load(std::memory_order_relaxed);
    }
    /* The next command to begin hangs. From any thread. */
    void hang() { hang_.store(true, std::memory_order_relaxed); }
    /* Whether it has yet to begin. */
    bool hangs_next() const { return hang_.load(std::memory_order_relaxed); }

    /* Device time since start(). From any thread. */
    uint64_t clock() const { return clock_.load(std::memory_order_relaxed); }
    /* The same on the device's time line. */
    uint64_t position() const
    {
        return origin_.load(std::memory_order_relaxed) + clock();
    }
    /* As of the last publish(). From any thread. */
    std::optional<InFlight> in_flight() const;
    /* Whether it waits to be told by asked(). */
    bool asks() const { return need_ == Need::page; }
    /*
     * While nobody runs; the ATC comes before.  Loading, config() is for the
     * caller to check.
     */
    template <typename Archive> void transfer(Archive &a);

    /* Go on from there; only while nobody runs. */
    void start_no_earlier(uint64_t position);

    /* The doorbell's side, from any thread. */
    uint32_t head() const { return head_.load(std::memory_order_acquire); }
    uint32_t tail() const { return tail_.load(std::memory_order_acquire); }
    void set_tail(uint32_t tail)
    {
        tail_.store(tail, std::memory_order_release);
    }
    /* Drop what is in the ring; only while nobody runs. */
    void skip() { head_.store(tail(), std::memory_order_release); }

private:
    enum class Phase : uint8_t { fetch, execute, complete };
    enum class Need : uint8_t { nothing, translation, page };

    Window open(Operand operand, uint64_t va, uint64_t len, bool write,
                Span span) override;
    void blocked(const Window &window, Operand operand, uint64_t va,
                 uint64_t len, bool write) override;
    bool wanted() const override { return gate_ && gate_->wanted(); }
    void ask_translation(uint64_t wait_ns = 0);
    void ask_pages(std::span<const ccad_translation> answer);
    void find_group(std::span<const ccad_translation> answer);

    Next fetch();
    Next execute();
    Next complete();
    void end_command(uint8_t status);
    void fault(uint8_t status);
    bool write_record(Window &window);
    bool write_last_record();
    void count_command();
    void show();
    void post_counters();
    bool half_written();
    void charge(Operand operand);
    uint64_t operands_ns() const
    {
        return command_.charged.total() + command_.waited;
    }
    Meter &meter_of(Operand operand);

    const RunEnvironment &env_;
    Timeline *timeline_; /* null: do not wait for others */
    const uint32_t number_; /* of the context */
    Stats &stats_;
    RunConfig config_;
    std::atomic<uint32_t> head_{0};
    std::atomic<uint32_t> tail_{0};

    Phase phase_ = Phase::fetch;
    Need need_ = Need::nothing;
    Next error_ = Next::advance; /* what the context has to stop for */
    Command command_;
    Meter overhead_; /* of fetching and completing the command */
    Charge overhead_charged_;
    Meter unmetered_; /* of Operand::again, since the command began */
    Meter published_; /* of both, what the statistics hold already */
    uint64_t published_ns_ = 0;
    std::atomic<uint64_t> shown_{0}; /* tag, opcode, 1: in flight */
    std::atomic<uint64_t> shown_done_{0};
    std::atomic<uint64_t> clock_{0};
    std::atomic<uint64_t> origin_{0}; /* where the clock began */

    std::atomic<uint64_t> deadline_{UINT64_MAX};
    std::atomic<bool> hang_{false};
    bool hung_ = false;
    bool timed_out_ = false;
    std::array<OperandState, operand_count> operands_{};
    CounterRecords due_; /* of the step in progress */
    Reports reports_;
    Miss miss_{};
    Group group_;
    bool alone_ = false; /* a group failed: now the page that is needed */
    uint64_t delay_ns_ = 0;
    bool repeats_ = false; /* the translation of miss_ was charged already */
    uint64_t left_ns_ = 0;
    uint64_t accesses_ = 0; /* of the step */
    const Gate *gate_ = nullptr;
    unsigned fruitless_ = 0; /* page requests granted without progress */
};

} // namespace ccad
