/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device: contexts, engines, and what they share.
 *
 * Locks, in the order in which they are taken:
 *
 *   the host's big lock, if the caller holds it
 *   control_      one at a time may stop, clear, enable, disable or reset
 *   a gate        an engine's, or the control gate: memory is touched
 *   state_        registers, queues, page requests, bindings
 *   the mutexes of the ATC, of the access counters and of poison
 *
 * A gate and state_ are held together only to note that poison was met.  None
 * is held when the host is called, but for map, unmap, local_offset, now_ns and
 * trace, which run under a gate (and, when a context stops, under control_ as
 * well), and for now_ns, set_timer and trace, which run under state_.  An
 * engine waits for nothing but work: a context that waits for a page response
 * waits without an engine.
 *
 * Stopping a context: its epoch changes under state_, every gate is passed,
 * and from then on the run belongs to the one who stopped it.  An engine that
 * was inside the host comes back, finds another epoch and lets go.  A command
 * that takes too long is stopped like that and handed on to an engine, which
 * ends it (timeout.cpp).
 *
 * What an engine tells the host after it has left the gate (interrupts, errors)
 * it tells with the big lock held, under which contexts are disabled and the
 * device is reset as well: before that, or not at all.
 */
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "atc.hpp"
#include "context.hpp"
#include "gate.hpp"
#include "host.hpp"
#include "page_requests.hpp"
#include "scheduler.hpp"
#include "stats.hpp"

namespace ccad {

class Engine;

inline constexpr uint32_t all_events =
    CCAD_EVENT_CTX_ERROR | CCAD_EVENT_POISON | CCAD_EVENT_COUNTERS;

class Core {
public:
    Core(const ccad_config &config, const ccad_host_ops &ops, void *opaque);
    ~Core();
    Core(const Core &) = delete;
    Core &operator=(const Core &) = delete;

    /* As the functions of ccad_core.h. */
    uint64_t read(uint64_t offset, unsigned size);
    void write(uint64_t offset, uint64_t value, unsigned size);
    void invalidate(uint32_t pasid, bool global, uint64_t va, uint64_t len);
    bool page_response(uint32_t pasid, uint16_t prgi, ccad_response response);
    void page_request_allocation(uint32_t allocation);
    void timer();
    bool hang(uint32_t context);
    void reset();
    void quiesce();
    std::optional<std::vector<uint8_t>> save();
    const char *load(std::span<const uint8_t> bytes);
    uint64_t stat(uint32_t stat) const;
    uint64_t commands(uint32_t kind) const;
    ccad_context_info context_info(uint32_t number) const;
    ccad_device_info device_info() const;
    int32_t engine_info(uint32_t engine) const;
    uint32_t atc_entries(uint32_t shift) const { return atc_.entries(shift); }
    size_t page_request_line(std::span<uint32_t> out) const;
    size_t page_request_info(std::span<ccad_page_request_info> out) const;
    void run();

    /* For the engines. */
    const Host &host() const { return host_; }
    Atc &atc() { return atc_; }
    bool next(Work &work); /* waits, unless host_driven; false: end */
    bool live(const Work &work) const;
    void put_back(Work &work, bool more);
    void fail(const Work &work, uint32_t cause);
    void ask(const Work &work, const Miss &miss, const Group &group);
    void hang(const Work &work);
    void delay(const Work &work, uint64_t ns);
    /* With the gate held: it was met before anybody stops the context. */
    bool note_poison(uint64_t offset);
    /* What came of an access, and what note_poison() said; without locks. */
    void report(const Work &work, const Reports &reports, bool raise);
    /* The command that has ended asks for it; the same. */
    void interrupt(const Work &work, uint32_t vector);

    /* Poison of local memory, for whoever manages the machine. */
    Poison &poison() { return poison_; }

private:
    /* registers.cpp */
    uint64_t read_global(uint32_t reg);
    uint64_t read_context(Context &context, uint32_t reg);
    uint64_t read_doorbell(Context &context, uint32_t reg);
    void write_global(uint32_t reg, uint64_t value);
    void write_context(Context &context, uint32_t reg, uint64_t value,
                       unsigned size, bool high);
    void write_doorbell(Context &context, uint32_t reg, uint32_t value);
    uint64_t context_stat(const Context &context, uint32_t stat) const;

    /* control.cpp; called without locks */
    void control(uint32_t value);
    void enable(Context &context);
    void disable(Context &context);
    void doorbell(Context &context, uint32_t tail);
    void clear_error(Context &context);
    void write_event(uint32_t value);
    void write_event_mask(uint32_t value);

    /* report.cpp; called without locks */
    void report_counters();
    void control_counters(bool enable);
    void write_counters(uint32_t reg, uint64_t value);

    /* With state_ held. */
    bool latchable(const RunConfig &block) const;
    uint64_t halt(Context &context, uint32_t state, uint32_t cause);
    void make_ready(Context &context);
    bool enqueue(Context &context);
    bool give_back(const Work &work);
    void kick();
    void set_alarm(const RunConfig &config);
    void set_alarm(uint64_t ns);
    void reply(Context &context, Reply reply);
    void settle(const PageRequest &request, Answer answer);
    void grant_room();
    void withdraw(Context &context);
    void revoke(Context &context);
    uint64_t device_stat(uint32_t stat) const;
    bool set_event(uint32_t event);
    bool event_raised() const { return event_ & event_mask_; }

    /* For an engine, without locks: call tell() unless there was a reset. */
    void before_reset(const Work &work, const std::function<void()> &tell);

    /* state.cpp; with control_ and state_ held, while no engine runs */
    struct ByNumber;
    bool sound(const Context &context) const;
    bool line_is_sound() const;
    template <typename Archive> bool transfer_config(Archive &a);
    template <typename Archive> void transfer(Archive &a);
    template <typename Archive>
    void transfer_context(Archive &a, Context &context);
    template <typename Archive> void transfer_bindings(Archive &a);

    void end_engines();

    /* Without state_ or a gate held. */
    void drain();
    void seize(Context &context, bool record);

    const ccad_config config_;
    Injection injection_;
    const Host host_;
    Atc atc_;
    Poison poison_;
    Counters counters_;
    Stats stats_; /* of contexts that were enabled anew, invalidations */
    Timeline timeline_; /* with contexts in order; of who runs one */
    const RunEnvironment environment_;

    std::mutex control_;
    Gate control_gate_;

    mutable std::mutex state_;
    std::condition_variable work_; /* with state_ */
    std::condition_variable quiet_; /* the same; busy_ is 0 */
    uint32_t busy_ = 0;             /* engines that have not come back yet */
    std::atomic<bool> running_{false}; /* written under state_ */
    bool quit_ = false;
    uint32_t event_ = 0;
    uint32_t event_mask_ = 0;
    uint64_t poison_addr_ = 0; /* met first since its event was cleared */
    uint64_t resets_ = 0;
    Halves halves_;
    Scheduler scheduler_;
    uint64_t alarm_ = UINT64_MAX; /* when timer() is called */
    PageRequests requests_;

    /* A PASID in use. */
    struct Binding {
        uint32_t contexts = 0;
        uint64_t invalidations = 0;
    };
    std::unordered_map<uint32_t, Binding> bindings_;

    std::vector<std::unique_ptr<Context>> contexts_;
    std::vector<std::unique_ptr<Engine>> engines_;
};

} // namespace ccad
