/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Birth and death, scheduling, invalidation and page requests. */
#include "core.hpp"

#include <algorithm>
#include <utility>

#include "engine.hpp"

namespace ccad {

Core::Core(const ccad_config &config, const ccad_host_ops &ops, void *opaque)
    : config_(config), injection_(config.injection),
      host_(ops, opaque, injection_),
      atc_(config.atc_sets, config.atc_ways),
      poison_(config.mem_size), counters_(config.counters, config.vectors),
      environment_{{host_, atc_, poison_, counters_},
                   config_.cost,
                   config.ordered ? &timeline_ : nullptr,
                   injection_,
                   config_.page_request_group},
      scheduler_(config.ordered, config.slice_ns),
      requests_(config.page_requests)
{
    for (uint32_t i = 0; i < config.contexts; i++) {
        contexts_.push_back(std::make_unique<Context>(i, environment_));
    }
    for (uint32_t i = 0; i < config.engines; i++) {
        engines_.push_back(std::make_unique<Engine>(*this));
    }
    if (config.host_driven) {
        return;
    }
    try {
        for (auto &engine : engines_) {
            engine->start();
        }
    } catch (...) {
        end_engines();
        throw;
    }
}

Core::~Core()
{
    end_engines();
}

void Core::end_engines()
{
    {
        std::lock_guard lock(state_);
        quit_ = true;
        running_ = false;
    }
    work_.notify_all();
    for (auto &engine : engines_) {
        engine->join();
    }
}

bool Core::next(Work &work)
{
    std::unique_lock lock(state_);

    if (std::exchange(work.context, nullptr) && !--busy_) {
        quiet_.notify_all();
    }
    auto any = [this] { return running_ && scheduler_.runnable(); };
    if (config_.host_driven) {
        if (!any()) {
            return false;
        }
    } else {
        work_.wait(lock, [&] { return quit_ || any(); });
        if (quit_) {
            return false;
        }
    }
    busy_++;

    work = scheduler_.take();
    Context &context = *work.context;
    work.epoch = context.epoch.load(std::memory_order_relaxed);
    work.disabled = context.disabled;
    work.resets = resets_;
    work.reply = std::exchange(context.reply, std::nullopt);
    host_.trace(CCAD_STEP_TAKE, context.number, context.run.head(),
                context.run.tail());
    return true;
}

bool Core::live(const Work &work) const
{
    return running_.load(std::memory_order_acquire) &&
           work.context->epoch.load(std::memory_order_acquire) == work.epoch;
}

/*
 * With state_ held: an engine has nothing to do with the context any more.
 * False if it was stopped meanwhile; it has had the service all the same.
 */
bool Core::give_back(const Work &work)
{
    scheduler_.give_back();
    if (work.resets == resets_) {
        scheduler_.served(work);
    }
    return work.context->epoch.load(std::memory_order_relaxed) == work.epoch;
}

void Core::put_back(Work &work, bool more)
{
    Context &context = *work.context;
    std::lock_guard lock(state_);

    if (!give_back(work)) {
        return;
    }
    context.reply = work.reply;
    host_.trace(CCAD_STEP_SLICE_END, context.number, more, context.run.head(),
                context.run.tail());
    if (!more) {
        scheduler_.move(context, Place::idle);
        more = context.run.head() != context.run.tail();
    }
    if (more) {
        scheduler_.move(context, Place::ready);
    }
}

void Core::fail(const Work &work, uint32_t cause)
{
    bool raise;
    {
        std::lock_guard lock(state_);
        if (!give_back(work)) {
            return;
        }
        halt(*work.context, CCAD_CTX_ERROR, cause);
        raise = set_event(CCAD_EVENT_CTX_ERROR);
    }
    if (raise) {
        before_reset(work, [this] { host_.interrupt(CCAD_VECTOR_EVENT); });
    }
}

void Core::hang(const Work &work)
{
    std::lock_guard lock(state_);

    if (give_back(work)) {
        scheduler_.move(*work.context, Place::hung);
    }
}

/* No engine waits: the host's timer makes it ready again. */
void Core::delay(const Work &work, uint64_t ns)
{
    Context &context = *work.context;
    std::lock_guard lock(state_);

    if (give_back(work)) {
        context.delayed_until = host_.now_ns() + ns;
        host_.trace(CCAD_STEP_DELAY, context.number, ns,
                    context.delayed_until);
        scheduler_.move(context, Place::delayed);
        set_alarm(context.delayed_until);
    }
}

void Core::ask(const Work &work, const Miss &miss, const Group &group)
{
    Context &context = *work.context;
    PageRequest request;
    {
        std::lock_guard lock(state_);
        if (!give_back(work)) {
            return;
        }
        if (!running_) {
            scheduler_.move(context, Place::ready);
            return;
        }
        if (!requests_.allocation()) {
            reply(context, {Answer::refused, 0});
            return;
        }
        auto granted = std::exchange(context.granted, std::nullopt);
        if (granted) {
            requests_.send(*granted);
        } else {
            granted =
                requests_.add(&context, work.epoch, miss.pasid, group.size);
        }
        scheduler_.move(context, granted ? Place::waiting : Place::stalled);
        kick(); /* this engine will be with the host */
        if (!granted) {
            host_.trace(CCAD_STEP_STALL, context.number, miss.va, miss.write,
                        group.size);
            return;
        }
        request = *granted;
    }
    host_.trace(CCAD_STEP_ASK, context.number, miss.va, miss.write,
                request.prgi);
    /*
     * From here on the context may be with another engine already, and the
     * group may be forgotten before it is sent: its PASID is another's then.
     */
    host_.locked([&] {
        {
            std::lock_guard lock(state_);
            if (!requests_.outstanding(request)) {
                return;
            }
        }
        if (!host_.page_request(miss.pasid, group.first(request.pages),
                                miss.write, request.prgi)) {
            std::lock_guard lock(state_);
            if (requests_.cancel(request)) {
                request.pages = 0;
                settle(request, Answer::refused);
            }
        }
    });
}

bool Core::page_response(uint32_t pasid, uint16_t prgi, ccad_response response)
{
    std::lock_guard lock(state_);
    auto request = requests_.end(pasid, prgi);

    if (!request) {
        return false;
    }
    Answer answer = Answer::failure;
    if (response == CCAD_RESPONSE_SUCCESS) {
        answer = Answer::success;
    } else if (response == CCAD_RESPONSE_INVALID) {
        answer = Answer::invalid;
    } else if (response == CCAD_RESPONSE_BUSY) {
        answer = Answer::busy;
    }
    settle(*request, answer);
    return true;
}

void Core::page_request_allocation(uint32_t allocation)
{
    std::lock_guard lock(state_);

    requests_.allocate(std::min(allocation, config_.page_requests));
    /* Of the old allocation, and not sent yet: its context asks again. */
    for (auto &context : contexts_) {
        revoke(*context);
    }
    if (!allocation) {
        /* Nobody will answer; who stands in line is told when it asks. */
        while (auto request = requests_.end_one()) {
            settle(*request, Answer::refused);
        }
        while (Context *context = requests_.give_up()) {
            make_ready(*context);
        }
        return;
    }
    grant_room();
}

void Core::reply(Context &context, Reply reply)
{
    context.reply = reply;
    make_ready(context);
}

/* The request has left the table. */
void Core::settle(const PageRequest &request, Answer answer)
{
    Context &context = *request.context;

    if (context.epoch.load(std::memory_order_relaxed) == request.epoch &&
        context.schedule.place == Place::waiting) {
        reply(context, {answer, request.pages});
    }
    grant_room();
}

/* For those who stand in line, as far as there is room. */
void Core::grant_room()
{
    while (auto request = requests_.next()) {
        request->context->granted = request;
        make_ready(*request->context);
    }
}

/*
 * With state_ held, when the context stops: what it sent stays outstanding,
 * what it did not send makes room.
 */
void Core::withdraw(Context &context)
{
    context.reply.reset();
    requests_.leave(&context);
    revoke(context);
    grant_room();
}

/* The room that the context was granted and has not used. */
void Core::revoke(Context &context)
{
    if (auto granted = std::exchange(context.granted, std::nullopt)) {
        requests_.cancel(*granted);
    }
}

void Core::make_ready(Context &context)
{
    if (enqueue(context)) {
        work_.notify_one();
    }
}

/* With state_ held; whether an engine has to be woken. */
bool Core::enqueue(Context &context)
{
    if (context.schedule.place == Place::idle) {
        set_alarm(context.run.config());
    }
    scheduler_.move(context, Place::ready);
    return scheduler_.runnable();
}

/* With state_ held: somebody may have become runnable. */
void Core::kick()
{
    if (scheduler_.runnable()) {
        work_.notify_one();
    }
}

void Core::invalidate(uint32_t pasid, bool global, uint64_t va, uint64_t len)
{
    uint64_t last = va + (len - 1);

    if (!len || last < va) {
        last = UINT64_MAX;
    }
    {
        std::lock_guard lock(state_);
        stats_.add(CCAD_STAT_INVALIDATIONS, 1);
        for (auto &[bound, binding] : bindings_) {
            binding.invalidations += global || bound == pasid;
        }
    }
    /* After this no lookup finds it; after the gates no access uses it. */
    atc_.invalidate(pasid, global, va, last);
    drain();
}

void Core::drain()
{
    for (auto &engine : engines_) {
        engine->gate().pass();
    }
    control_gate_.pass();
}

void Core::run()
{
    if (config_.host_driven) {
        engines_.front()->run();
    }
}

uint64_t Core::stat(uint32_t stat) const
{
    std::lock_guard lock(state_);
    return Stats::valid(stat) ? device_stat(stat) : 0;
}

/* With state_ held. */
uint64_t Core::device_stat(uint32_t stat) const
{
    uint64_t sum = stats_.get(stat);

    if (stat != CCAD_STAT_INVALIDATIONS) {
        for (auto &context : contexts_) {
            sum += context->stats.get(stat);
        }
    }
    return sum;
}

uint64_t Core::commands(uint32_t kind) const
{
    std::lock_guard lock(state_);
    uint64_t sum = stats_.commands(kind);

    for (auto &context : contexts_) {
        sum += context->stats.commands(kind);
    }
    return sum;
}

} // namespace ccad
