/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Failures on purpose, decided at random but repeatably: the n-th decision of
 * a kind depends on the seed, the kind and n alone, so that one kind does not
 * disturb another.  Where several contexts run at once, which of them gets
 * the n-th is up to the threads.
 */
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "ccad_core.h"

namespace ccad {

enum class Failure : uint8_t {
    lose_completion,
    lose_interrupt,
    fault_translation,
    fault_page_request,
    fault_command,
    delay_translation,
    delay_page_request,
    delay_command,
    delay_length, /* never strikes: how long the delays are */
};
inline constexpr size_t failure_count = 9;

class Injection {
public:
    explicit Injection(const ccad_injection &config)
        : seed_(config.seed),
          per_million_{config.lose_completion,
                       config.lose_interrupt,
                       config.fault_translation,
                       config.fault_page_request,
                       config.fault_command,
                       config.delay_translation,
                       config.delay_page_request,
                       config.delay_command},
          delay_us_(config.delay_us)
    {
    }

    /* Whether the case at hand fails. */
    bool strikes(Failure kind)
    {
        uint64_t per_million = per_million_[index(kind)];

        /* 2^32 stands for all cases. */
        return per_million &&
               (draw(kind) >> 32) < (per_million << 32) / one_million;
    }

    /* The next random number of a kind, evenly distributed. */
    uint64_t draw(Failure kind)
    {
        uint64_t n =
            drawn_[index(kind)].fetch_add(1, std::memory_order_relaxed);

        return mix(mix(seed_ + index(kind)) + n);
    }

    /* How long the case at hand is delayed, nanoseconds; mostly 0. */
    uint64_t delay_ns(Failure kind)
    {
        if (!delay_us_ || !strikes(kind)) {
            return 0;
        }
        return 1000 * (1 + draw(Failure::delay_length) % delay_us_);
    }
    template <typename Archive> void transfer(Archive &a) { a(drawn_); }

    static constexpr uint32_t one_million = 1'000'000;

private:
    static constexpr size_t index(Failure kind)
    {
        return static_cast<size_t>(kind);
    }
    /* SplitMix64: Steele, Lea, Flood, OOPSLA 2014. */
    static constexpr uint64_t mix(uint64_t n)
    {
        n *= 0x9e3779b97f4a7c15;
        n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9;
        n = (n ^ n >> 27) * 0x94d049bb133111eb;
        return n ^ n >> 31;
    }

    const uint64_t seed_;
    const std::array<uint32_t, failure_count> per_million_;
    const uint32_t delay_us_;
    std::array<std::atomic<uint64_t>, failure_count> drawn_{};
};

} // namespace ccad
