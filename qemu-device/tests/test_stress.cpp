/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Everything at once: every opcode, page requests in groups, pages small and
 * huge that are freed, moved, write-protected and invalidated, contexts that
 * are disabled, stopped and cleared, resets, and failures on purpose.
 *
 * What must hold: every byte that the device reads or writes lies in a page
 * that is mapped for it at that time, no page is touched once its invalidation
 * has returned (the fake host watches every access, and poisons what is
 * freed), no write is lost when a page moves (its contents are known), and
 * everything ends.  Under ThreadSanitizer a late access is a race with the
 * poison as well.  The last test proves that the watch can fail.
 *
 * CCAD_FULL makes it longer, CCAD_STRESS_SECONDS as long as it says;
 * CCAD_STRESS_SEED repeats the choices.
 */
#include <isa-l/crc.h>

#include <cstdlib>
#include <random>
#include <thread>

#include "commands.hpp"

namespace ccad::test {

namespace {

using testing::IsEmpty;
using testing::Not;

constexpr uint32_t users = 6;
constexpr uint64_t pages = 48;
constexpr uint64_t small_len = pages * page;

unsigned from_environment(const char *name, unsigned otherwise)
{
    const char *value = std::getenv(name);
    return value ? static_cast<unsigned>(std::atoi(value)) : otherwise;
}

struct Plan {
    unsigned seconds = from_environment("CCAD_STRESS_SECONDS",
                                        std::getenv("CCAD_FULL") ? 60 : 2);
    unsigned seed = from_environment("CCAD_STRESS_SEED",
                                     std::random_device()());
    bool failures = false; /* on purpose, and a clock that runs */
    bool long_steps = false; /* of many accesses each, where nothing costs */
    bool broken = false;   /* until the first rule is */
};

ccad_config stress_config(const Plan &plan)
{
    ccad_config config = small_config();
    config.contexts = users;
    config.engines = 3;
    config.atc_sets = 16; /* so that entries are pushed out all the time */
    config.atc_ways = 2;
    config.vectors = 1 + users;
    config.page_requests = 6; /* less than the users want */
    if (plan.long_steps) {
        config.cost = {};
    }
    if (plan.failures) {
        config.injection = {
            .seed = plan.seed,
            .lose_completion = 0, /* they are waited for */
            .lose_interrupt = 1'000,
            .fault_translation = 2'000,
            .fault_page_request = 10'000,
            .fault_command = 10'000,
            .delay_translation = 20'000,
            .delay_page_request = 50'000,
            .delay_command = 20'000,
            .delay_us = 300,
        };
    }
    return config;
}

class Stress {
public:
    explicit Stress(const Plan &plan)
        : plan(plan), end(std::chrono::steady_clock::now() +
                          std::chrono::seconds(plan.seconds))
    {
        testing::Test::RecordProperty("seed", std::to_string(plan.seed));
        host.strict = true;
        host.revoke_early = plan.broken;
        device.enable();
        host.serving(FakeHost::Serving::thread);
        for (uint32_t i = 0; i < users; i++) {
            uint64_t size = huge_pages(i) ? huge : page;
            uint64_t bytes = huge_pages(i) ? huge : small_len;
            host.add_region(pasid_of(i), {src_of(i), bytes, true, false, size});
            host.add_region(pasid_of(i), {dst_of(i), bytes, true, true, size});
        }
    }

    void run();

    std::atomic<uint64_t> resets{0};
    std::atomic<uint64_t> commands{0};
    std::atomic<uint64_t> checks{0};
    std::atomic<uint64_t> moves{0};
    std::atomic<uint64_t> stopped{0}; /* contexts, by their errors */

private:
    /* Not before something of everything has happened, on a slow machine. */
    bool over() const
    {
        if (plan.broken && host_is_accused) {
            return true;
        }
        auto now = std::chrono::steady_clock::now();
        bool enough = checks > 2 && moves > 20 && resets > 2 && !plan.broken;
        return now > end && (enough || now > end + std::chrono::minutes(3));
    }
    /* Two users share a PASID, but for the careful ones at the end. */
    static bool careful(uint32_t user) { return user >= users - 2; }
    static bool huge_pages(uint32_t user) { return user / 2 == 1; }
    uint64_t len_of(uint32_t user) const
    {
        return plan.long_steps && huge_pages(user) ? huge : small_len;
    }
    static uint32_t pasid_of(uint32_t user)
    {
        return careful(user) ? 100 + user : 10 + user / 2;
    }

    /*
     * Not each other's memory: data races of software prove nothing.  So far
     * apart that no index of GATHER leads there.
     */
    static uint64_t src_of(uint32_t user)
    {
        return src_va + (uint64_t{user} << 40);
    }
    static uint64_t dst_of(uint32_t user)
    {
        return dst_va + (uint64_t{user} << 40);
    }

    ccad_desc any_command(uint32_t user, std::mt19937_64 &random);
    void careless(uint32_t user);
    void checking(uint32_t user);
    void operating_system();
    void resetter();
    void clock();
    std::optional<ccad_completion> finish(Queue &queue, uint32_t index,
                                          uint64_t generation);

    const Plan plan;
    const std::chrono::steady_clock::time_point end;
    Device device{stress_config(plan)};
    FakeHost &host = device.host;
    std::atomic<bool> host_is_accused{false};
    std::atomic<bool> users_done{false};
};

/* The record, or nothing if a reset or an error came in between. */
std::optional<ccad_completion> Stress::finish(Queue &queue, uint32_t index,
                                              uint64_t generation)
{
    ccad_completion record{};
    bool error = false;
    bool done = eventually([&] {
        record = queue.record(index);
        error = plan.failures && queue.state() == CCAD_CTX_ERROR;
        return record.status || resets != generation || error;
    });
    EXPECT_TRUE(done) << "a command of PASID " << queue.pasid()
                      << " does not end; seed " << plan.seed << ", status "
                      << queue.db(CCAD_DB_STATUS);
    commands++;
    stopped += error;
    if (!done || error || resets != generation) {
        return std::nullopt;
    }
    return record;
}

/* Anywhere in the user's memory, and sometimes a little beyond it. */
ccad_desc Stress::any_command(uint32_t user, std::mt19937_64 &random)
{
    const uint64_t src = src_of(user);
    const uint64_t dst = dst_of(user);
    const uint64_t len = len_of(user);
    uint64_t at = random() % (len - 1);
    uint64_t bytes = random() % (len - at);
    uint64_t to = random() % (len - bytes);
    uint64_t word = random() % (len / 8) * 8;

    switch (random() % 16) {
    case 0:
        return copy(src + at, dst + to, bytes);
    case 1:
        return copy(dst + at, src + to, bytes);
    case 2:
        return fill(src + at, bytes, random());
    case 3: /* lists to walk: of one node, for they lead to themselves */
        return fill(src + word, 8, src + word);
    case 4:
        return compare(src + at, dst + to, bytes);
    case 5:
        return reduce(src + word, (len - word) & ~uint64_t{7}, random() % 3,
                      random() % 4);
    case 6:
        return fetch_add(dst + word, 8, random());
    case 7:
        return compare_swap(src + word, 8, 0, random());
    case 8: { /* indices that are zero, or nonsense */
        uint64_t indices = random() % 64 * 4;
        return gather(src + (word & ~uint64_t{63}), indices, src, dst,
                      random() % 7);
    }
    case 9:
    case 10:
        return list_walk(src + word, 100, CCAD_REDUCE_SUM, CCAD_TYPE_INT64, 0,
                         0);
    case 11:
        return compress(src + at, std::min<uint64_t>(bytes, 5 * page), dst + to,
                        std::min<uint64_t>(bytes, 5 * page));
    case 12:
        return decompress(dst + to, bytes, src, page);
    default:
        return crc(dst + at, bytes + 2 * page);
    }
}

/* Submits anything and stops at any time. */
void Stress::careless(uint32_t user)
{
    std::mt19937_64 random(plan.seed + user);
    Queue queue(device, user, pasid_of(user), 4);

    while (!over()) {
        uint64_t generation = resets;
        queue.disable();
        if (plan.failures && random() % 2) {
            queue.reg(CCAD_CTX_TIMEOUT_MS, 2);
        }
        queue.enable();
        for (int round = 0; round < 20 && resets == generation; round++) {
            uint32_t last = 0;
            for (uint32_t n = random() % 8 + 1; n; n--) {
                ccad_desc desc = any_command(user, random);
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
            EXPECT_NE(record->status, CCAD_COMP_POISON);
            EXPECT_NE(record->status, CCAD_COMP_INVALID_OPCODE);
            EXPECT_LE(record->status, CCAD_COMP_TIMEOUT);
            if (!plan.failures) {
                EXPECT_NE(record->status, CCAD_COMP_BUS_ERROR);
                EXPECT_NE(record->status, CCAD_COMP_TIMEOUT);
            }
        }
    }
}

/* Knows what must be in its memory, wherever that moves to. */
void Stress::checking(uint32_t user)
{
    std::mt19937_64 random(plan.seed + user);
    Queue queue(device, user, pasid_of(user), 4);
    const uint64_t src = src_of(user);
    const uint64_t dst = dst_of(user);
    const uint64_t len = len_of(user);
    std::vector<uint64_t> expected(len / 8);

    while (!over()) {
        uint64_t generation = resets;
        queue.disable();
        queue.enable();
        while (resets == generation && !over()) {
            uint64_t pattern = random();
            std::fill(expected.begin(), expected.end(), pattern);
            uint32_t steps[] = {queue.push(fill(src, len, pattern)),
                                queue.push(copy(src, dst, len)),
                                queue.push(crc(dst, len))};
            queue.ring_doorbell();
            std::optional<ccad_completion> record;
            bool good = true;
            for (uint32_t step : steps) {
                record = finish(queue, step, generation);
                if (!record) {
                    break;
                }
                good = good && record->status == CCAD_COMP_SUCCESS;
                if (!plan.failures) {
                    ASSERT_EQ(record->status, CCAD_COMP_SUCCESS);
                }
            }
            if (!record) {
                break;
            }
            if (!good) {
                continue; /* a failure on purpose */
            }
            ASSERT_EQ(record->result,
                      static_cast<uint32_t>(~crc32_iscsi(
                          reinterpret_cast<unsigned char *>(expected.data()),
                          len, UINT32_MAX)))
                << "a write was lost; seed " << plan.seed;
            checks++;
        }
    }
}

void Stress::operating_system()
{
    std::mt19937 random(plan.seed + 1000);

    while (!over()) {
        uint32_t user = random() % users;
        uint64_t va = random() % 2 ? src_of(user) : dst_of(user);
        va += random() % pages * page;
        if (careful(user)) {
            host.migrate(pasid_of(user), va, random() % 2);
            moves++;
            continue;
        }
        if (huge_pages(user) && random() % (plan.long_steps ? 2 : 16)) {
            continue; /* they take their time */
        }
        switch (random() % 16) {
        case 0: {
            std::lock_guard lock(host.big_lock());
            ccad_core_invalidate(device.core(), 0, true, 0, 0);
            break;
        }
        case 1:
            host.protect(pasid_of(user), va);
            break;
        case 2: { /* a response out of nowhere */
            std::lock_guard lock(host.big_lock());
            EXPECT_FALSE(ccad_core_page_response(device.core(), 12345, 511,
                                                 CCAD_RESPONSE_SUCCESS));
            break;
        }
        case 3: { /* software changes its mind */
            std::lock_guard lock(host.big_lock());
            uint32_t least = plan.failures ? 0 : 1;
            ccad_core_page_request_allocation(device.core(),
                                              least + random() % 8);
            break;
        }
        default:
            host.release(pasid_of(user), va);
            break;
        }
        if (plan.broken && !host.violations().empty()) {
            host_is_accused = true;
        }
    }
    std::lock_guard lock(host.big_lock());
    ccad_core_page_request_allocation(device.core(), UINT32_MAX);
}

void Stress::resetter()
{
    std::mt19937 random(plan.seed + 2000);

    while (!over()) {
        std::this_thread::sleep_for(
            std::chrono::milliseconds(1 + random() % 60));
        std::lock_guard lock(host.big_lock());
        if (random() % 3 == 0) {
            device.write(CCAD_REG_CTRL, 0);
            EXPECT_EQ(host.mapped_pages(), 0);
        } else {
            if (random() % 2) {
                device.reset();
            } else {
                device.write(CCAD_REG_CTRL, CCAD_CTRL_RESET);
            }
            EXPECT_EQ(host.mapped_pages(), 0);
            EXPECT_THAT(host.bound(), IsEmpty());
            ccad_page_request_info left;
            EXPECT_EQ(ccad_core_page_requests(device.core(), &left, 1), 0);
            EXPECT_EQ(ccad_core_atc_entries(device.core(), 0), 0);
            resets++;
            /* Engines may be about to tell something of before. */
            auto told = [this] {
                unsigned sum = 0;
                for (uint32_t vector = 0; vector <= users; vector++) {
                    sum += host.interrupts(vector);
                }
                return sum;
            };
            unsigned before = told();
            std::this_thread::sleep_for(std::chrono::microseconds(200));
            EXPECT_EQ(told(), before) << "seed " << plan.seed;
            EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), 0);
        }
        device.enable();
    }
}

/* Of the host: for delays and time-outs. */
void Stress::clock()
{
    while (!users_done) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
        host.advance_time(std::chrono::microseconds(100));
    }
}

void Stress::run()
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
    std::thread time([this] { clock(); });
    for (auto &thread : threads) {
        thread.join();
    }
    users_done = true;
    time.join();

    EXPECT_GT(commands, 0);
    if (plan.broken) {
        EXPECT_THAT(host.violations(), Not(IsEmpty())) << "seed " << plan.seed;
        return;
    }
    EXPECT_THAT(host.violations(), IsEmpty()) << "seed " << plan.seed;
    EXPECT_EQ(host.mapped_pages(), 0);
    EXPECT_GT(checks, 2);
    EXPECT_GT(moves, 20);
    EXPECT_GT(resets, 2);
    for (auto [name, count] :
         {std::pair{"commands", &commands}, std::pair{"checks", &checks},
          std::pair{"moves", &moves}, std::pair{"resets", &resets},
          std::pair{"stopped", &stopped}}) {
        testing::Test::RecordProperty(name, std::to_string(*count));
    }
}

TEST(Stress, EverythingAtOnce)
{
    Stress(Plan{}).run();
}

TEST(Stress, WithLongSteps)
{
    Plan plan;
    plan.long_steps = true;
    Stress(plan).run();
}

TEST(Stress, WithFailuresOnPurpose)
{
    Plan plan;
    plan.failures = true;
    Stress stress(plan);
    stress.run();
    EXPECT_GT(stress.stopped, 0);
}

/*
 * A system that takes its pages for free before the invalidation has returned
 * is what a device that did not drain would look like: the watch has to see
 * it.  The pages stay what they are until then, so no data race is made.
 */
TEST(StressControl, EarlyUseOfAPageIsSeen)
{
    Plan plan;
    plan.broken = true;
    Stress(plan).run();
}

} // namespace

} // namespace ccad::test
