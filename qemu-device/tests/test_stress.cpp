/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Everything at once: engines, page requests, pages that are freed, moved and
 * invalidated, contexts that are disabled, stopped and cleared, resets.
 *
 * What must hold: no page is touched once its invalidation has returned (the
 * fake host counts mappings and poisons what is freed), no write is lost when
 * a page moves (its contents are known), and everything ends.  Under
 * ThreadSanitizer a late access is a race with the poison as well.
 *
 * CCAD_STRESS_SECONDS makes it longer; CCAD_STRESS_SEED repeats the choices.
 */
#include <isa-l/crc.h>

#include <cstdlib>
#include <random>
#include <thread>

#include "device.hpp"

namespace ccad::test {

namespace {

constexpr uint32_t users = 6;
constexpr uint64_t pages = 48;
constexpr uint64_t len = pages * page;

unsigned from_environment(const char *name, unsigned otherwise)
{
    const char *value = std::getenv(name);
    return value ? static_cast<unsigned>(std::atoi(value)) : otherwise;
}

ccad_config stress_config()
{
    ccad_config config = small_config();
    config.contexts = users;
    config.engines = 3;
    config.atc_sets = 16; /* so that entries are pushed out all the time */
    config.atc_ways = 2;
    config.vectors = 1 + users;
    config.page_requests = 2; /* fewer than there are users */
    return config;
}

class Stress : public testing::Test {
protected:
    Stress()
        : end(std::chrono::steady_clock::now() +
              std::chrono::seconds(
                  from_environment("CCAD_STRESS_SECONDS", 2))),
          seed(from_environment("CCAD_STRESS_SEED", std::random_device()()))
    {
        RecordProperty("seed", std::to_string(seed));
        device.enable();
        host.serving(FakeHost::Serving::thread);
        for (uint32_t i = 0; i < users; i++) {
            host.add_region(pasid_of(i), {src_of(i), len});
            host.add_region(pasid_of(i), {dst_of(i), len, true, true});
        }
    }

    /* Not before something of everything has happened, on a slow machine. */
    bool over() const
    {
        auto now = std::chrono::steady_clock::now();
        bool enough = checks > 2 && moves > 20 && resets > 2;
        return now > end && (enough || now > end + std::chrono::minutes(3));
    }
    /* Two users share a PASID, but for the careful ones at the end. */
    static bool careful(uint32_t user) { return user >= users - 2; }
    static uint32_t pasid_of(uint32_t user)
    {
        return careful(user) ? 100 + user : 10 + user / 2;
    }

    /* Not each other's memory: data races of software prove nothing. */
    static uint64_t src_of(uint32_t user) { return src_va + user * huge; }
    static uint64_t dst_of(uint32_t user) { return dst_va + user * huge; }

    void careless(uint32_t user);
    void checking(uint32_t user);
    void operating_system();
    void resetter();
    std::optional<ccad_completion> finish(Queue &queue, uint32_t index,
                                          uint64_t generation);

    const std::chrono::steady_clock::time_point end;
    const unsigned seed;
    Device device{stress_config()};
    FakeHost &host = device.host;
    std::atomic<uint64_t> resets{0};
    std::atomic<uint64_t> commands{0};
    std::atomic<uint64_t> checks{0};
    std::atomic<uint64_t> moves{0};
};

/* The record, or nothing if a reset came in between. */
std::optional<ccad_completion> Stress::finish(Queue &queue, uint32_t index,
                                              uint64_t generation)
{
    ccad_completion record{};
    bool done = eventually([&] {
        record = queue.record(index);
        return record.status || resets != generation;
    });
    EXPECT_TRUE(done) << "a command of PASID " << queue.pasid()
                      << " does not end; seed " << seed << ", status "
                      << queue.db(CCAD_DB_STATUS);
    commands++;
    if (!done || resets != generation) {
        return std::nullopt;
    }
    return record;
}

/* Submits anything and stops at any time. */
void Stress::careless(uint32_t user)
{
    std::mt19937 random(seed + user);
    Queue queue(device, user, pasid_of(user), 4);
    const uint64_t src = src_of(user);
    const uint64_t dst = dst_of(user);

    while (!over()) {
        uint64_t generation = resets;
        queue.disable();
        queue.enable();
        for (int round = 0; round < 20 && resets == generation; round++) {
            uint32_t last = 0;
            for (uint32_t n = random() % 8 + 1; n; n--) {
                uint64_t at = random() % (len - 1);
                uint64_t bytes = random() % (len - at);
                ccad_desc desc;
                switch (random() % 4) {
                case 0:
                    desc = copy(src + at, dst + random() % (len - bytes), bytes);
                    break;
                case 1:
                    desc = copy(dst + at, src + random() % (len - bytes), bytes);
                    break;
                case 2:
                    desc = fill(src + at, bytes, random());
                    break;
                default:
                    desc = crc(dst + at, bytes + 2 * page);
                    break;
                }
                desc.flags = random() % 4;
                last = queue.push(desc);
            }
            switch (random() % 8) {
            case 0: /* stop with all that in flight */
                queue.ring_doorbell();
                queue.disable();
                queue.enable();
                continue;
            case 1: /* a wrong doorbell, noticed and cleared */
                queue.ring_doorbell();
                queue.db(CCAD_DB_TAIL, queue.tail() + 1000);
                queue.db(CCAD_DB_CLEAR, 1);
                queue.tail(queue.db(CCAD_DB_TAIL));
                continue;
            }
            queue.ring_doorbell();
            auto record = finish(queue, last, generation);
            if (!record) {
                break;
            }
            EXPECT_TRUE(record->status == CCAD_COMP_SUCCESS ||
                        record->status == CCAD_COMP_PAGE_FAULT ||
                        record->status == CCAD_COMP_INVALID_FIELD)
                << int{record->status};
        }
    }
}

/* Knows what must be in its memory, wherever that moves to. */
void Stress::checking(uint32_t user)
{
    std::mt19937_64 random(seed + user);
    Queue queue(device, user, pasid_of(user), 4);
    const uint64_t src = src_of(user);
    const uint64_t dst = dst_of(user);
    std::vector<uint64_t> expected(len / 8);

    while (!over()) {
        uint64_t generation = resets;
        queue.disable();
        queue.enable();
        while (resets == generation && !over()) {
            uint64_t pattern = random();
            std::fill(expected.begin(), expected.end(), pattern);
            queue.push(fill(src, len, pattern));
            queue.push(copy(src, dst, len));
            uint32_t last = queue.push(crc(dst, len));
            queue.ring_doorbell();
            auto record = finish(queue, last, generation);
            if (!record) {
                break;
            }
            ASSERT_EQ(record->status, CCAD_COMP_SUCCESS);
            ASSERT_EQ(record->result,
                      static_cast<uint32_t>(~crc32_iscsi(
                          reinterpret_cast<unsigned char *>(expected.data()),
                          len, UINT32_MAX)))
                << "a write was lost; seed " << seed;
            checks++;
        }
    }
}

void Stress::operating_system()
{
    std::mt19937 random(seed + 1000);

    while (!over()) {
        uint32_t user = random() % users;
        uint64_t va = random() % 2 ? src_of(user) : dst_of(user);
        va += random() % pages * page;
        if (careful(user)) {
            host.migrate(pasid_of(user), va, random() % 2);
            moves++;
            continue;
        }
        switch (random() % 16) {
        case 0: {
            std::lock_guard lock(host.big_lock());
            ccad_core_invalidate(device.core(), 0, true, 0, 0);
            break;
        }
        case 1: { /* make it read-only */
            std::lock_guard lock(host.big_lock());
            if (auto t = host.walk(pasid_of(user), va)) {
                host.map(pasid_of(user), va, t->pa, page, false);
                ccad_core_invalidate(device.core(), pasid_of(user), false, va,
                                     page);
            }
            break;
        }
        case 2: /* a response out of nowhere */
            ccad_core_page_response(device.core(), pasid_of(user), 511,
                                    CCAD_RESPONSE_SUCCESS);
            break;
        default:
            host.release(pasid_of(user), va);
            break;
        }
    }
}

void Stress::resetter()
{
    std::mt19937 random(seed + 2000);

    while (!over()) {
        std::this_thread::sleep_for(
            std::chrono::milliseconds(1 + random() % 60));
        std::lock_guard lock(host.big_lock());
        if (random() % 3 == 0) {
            device.write(CCAD_REG_CTRL, 0);
            EXPECT_EQ(host.mapped_pages(), 0);
        } else {
            device.reset();
            EXPECT_EQ(host.mapped_pages(), 0);
            EXPECT_THAT(host.bound(), testing::IsEmpty());
            resets++;
        }
        device.enable();
    }
}

TEST_F(Stress, EverythingAtOnce)
{
    std::vector<std::thread> threads;

    for (uint32_t i = 0; i < users; i++) {
        threads.emplace_back([this, i] {
            if (careful(i)) {
                checking(i);
            } else {
                careless(i);
            }
        });
    }
    threads.emplace_back([this] { operating_system(); });
    threads.emplace_back([this] { resetter(); });
    for (auto &thread : threads) {
        thread.join();
    }

    EXPECT_THAT(host.violations(), testing::IsEmpty()) << "seed " << seed;
    EXPECT_EQ(host.mapped_pages(), 0);
    EXPECT_GT(commands, 0);
    EXPECT_GT(checks, 2);
    EXPECT_GT(moves, 20);
    EXPECT_GT(resets, 2);
    RecordProperty("commands", std::to_string(commands));
    RecordProperty("checks", std::to_string(checks));
    RecordProperty("moves", std::to_string(moves));
    RecordProperty("resets", std::to_string(resets));
}

} // namespace

} // namespace ccad::test
