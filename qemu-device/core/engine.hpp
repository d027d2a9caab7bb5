/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An engine: a thread that runs contexts, a slice at a time; or the host's
 * thread while it is in ccad_core_run().
 */
#pragma once

#include <thread>

#include "core.hpp"

namespace ccad {

class Engine {
public:
    explicit Engine(Core &core);

    void start() { thread_ = std::thread([this] { main(); }); }
    void join()
    {
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    Gate &gate() { return gate_; }
    /* The context it runs, -1 for none; from any thread. */
    int32_t context() const { return context_.load(std::memory_order_relaxed); }

    /* Run contexts until there is no work to be had. */
    void run();

private:
    void main();
    void slice(Work &work);
    bool translate(Work &work, const Miss &miss);

    Core &core_;
    const uint64_t batch_; /* most bytes to translate at once */
    Gate gate_;
    std::atomic<int32_t> context_{-1};
    std::thread thread_;
};

} // namespace ccad
