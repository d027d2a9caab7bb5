/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Poison in local memory: how it is kept, met, reported and overwritten. */
#include "poison.hpp"

#include <isa-l/crc.h>

#include <random>
#include <thread>

#include "commands.hpp"

namespace ccad::test {

namespace {

constexpr uint64_t line = CCAD_POISON_LINE;
constexpr uint64_t size = FakeHost::local_size;

using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;

Ranges list(ccad_core *core)
{
    Ranges ranges;

    ccad_core_poison_list(
        core,
        [](void *arg, uint64_t offset, uint64_t len) {
            static_cast<Ranges *>(arg)->emplace_back(offset, len);
        },
        &ranges);
    return ranges;
}

class PoisonedLines : public testing::Test {
protected:
    Device device;
    ccad_core *core = device.core();
};

TEST_F(PoisonedLines, AreThoseThatTheRangeTouches)
{
    EXPECT_EQ(ccad_core_poison_inject(core, 130, 1), nullptr);
    EXPECT_EQ(list(core), (Ranges{{128, 64}}));
    EXPECT_EQ(ccad_core_poison_inject(core, 0x1000 + 63, 2), nullptr);
    EXPECT_EQ(list(core), (Ranges{{128, 64}, {0x1000, 128}}));
    EXPECT_EQ(device.read(CCAD_REG_POISON_LINES), 3);
    EXPECT_EQ(ccad_core_poison_inject(core, 128, 64), nullptr) << "again";
    EXPECT_EQ(device.read(CCAD_REG_POISON_LINES), 3);
}

TEST_F(PoisonedLines, AreListedInRanges)
{
    EXPECT_EQ(ccad_core_poison_inject(core, 0x1f80, 0x2100), nullptr);
    EXPECT_EQ(ccad_core_poison_inject(core, size - 1, 1), nullptr);
    EXPECT_EQ(list(core), (Ranges{{0x1f80, 0x2100}, {size - 64, 64}}));
    EXPECT_EQ(ccad_core_poison_clear(core, 0x2fc0, 1), nullptr);
    EXPECT_EQ(ccad_core_poison_clear(core, 0x3000, 64), nullptr);
    EXPECT_EQ(list(core), (Ranges{{0x1f80, 0x1040},
                                  {0x3040, 0x1040},
                                  {size - 64, 64}}));
    EXPECT_EQ(device.read(CCAD_REG_POISON_LINES),
              (0x1040 + 0x1040 + 64) / line);
    EXPECT_EQ(ccad_core_poison_clear(core, 0, size), nullptr);
    EXPECT_THAT(list(core), testing::IsEmpty());
    EXPECT_EQ(device.read(CCAD_REG_POISON_LINES), 0);
}

TEST_F(PoisonedLines, CanBeAllThereAre)
{
    EXPECT_EQ(ccad_core_poison_inject(core, 0, size), nullptr);
    EXPECT_EQ(list(core), (Ranges{{0, size}}));
    EXPECT_EQ(device.read(CCAD_REG_POISON_LINES), size / line);
}

/* Against a set of lines, at random. */
TEST_F(PoisonedLines, AreTheSameAsInASimpleSet)
{
    std::mt19937_64 random(3);
    constexpr uint64_t space = 64 * page;
    Poison poison(space);
    std::set<uint64_t> lines;

    for (int round = 0; round < 2000; round++) {
        uint64_t offset = random() % space;
        uint64_t len = 1 + random() % std::min<uint64_t>(space - offset,
                                                         2 * page);
        bool inject = random() % 2;
        for (uint64_t i = offset / line; i <= (offset + len - 1) / line; i++) {
            if (inject) {
                lines.insert(i);
            } else {
                lines.erase(i);
            }
        }
        ASSERT_EQ(inject ? poison.inject(offset, len)
                         : poison.clear(offset, len),
                  nullptr);
        ASSERT_EQ(poison.lines(), lines.size());

        offset = random() % space;
        len = 1 + random() % (space - offset);
        uint64_t clean = len;
        auto first = lines.lower_bound(offset / line);
        if (first != lines.end() && *first * line < offset + len) {
            clean = std::max(*first * line, offset) - offset;
        }
        ASSERT_EQ(poison.clean(offset, len), clean) << offset << " " << len;
    }
    std::set<uint64_t> listed;
    uint64_t end = UINT64_MAX;
    for (auto r = poison.next(0); r; r = poison.next(r->offset + r->len)) {
        EXPECT_NE(r->offset, end) << "adjacent ranges are one";
        end = r->offset + r->len;
        for (uint64_t i = r->offset; i < end; i += line) {
            listed.insert(i / line);
        }
    }
    EXPECT_EQ(listed, lines);
}

TEST_F(PoisonedLines, AreWithinLocalMemoryOnly)
{
    for (auto call : {ccad_core_poison_inject, ccad_core_poison_clear}) {
        EXPECT_THAT(call(core, 0, 0), testing::HasSubstr("length"));
        EXPECT_THAT(call(core, size, 1), testing::HasSubstr("address"));
        EXPECT_THAT(call(core, size - 64, 65), testing::HasSubstr("range"));
        EXPECT_THAT(call(core, 64, UINT64_MAX), testing::HasSubstr("range"));
        EXPECT_THAT(call(core, UINT64_MAX, 2), testing::HasSubstr("address"));
    }
    EXPECT_EQ(device.read(CCAD_REG_POISON_LINES), 0);
}

TEST(PoisonWithoutMemory, IsRefused)
{
    ccad_config config = small_config();
    config.mem_size = 0;
    Device device(config);

    EXPECT_THAT(ccad_core_poison_inject(device.core(), 0, 1),
                testing::HasSubstr("address"));
}

/* Commands that meet it. */
class PoisonTest : public DeviceTest {
protected:
    PoisonTest()
    {
        host.populate(pasid, src_va, 4 * page, true);
        host.populate(pasid, dst_va, 4 * page, true);
        store(host, src_va, random_bytes(4 * page));
    }

    uint64_t offset_of(uint64_t va)
    {
        auto t = host.walk(pasid, va);
        return t->pa + (va - t->va) - FakeHost::local_base;
    }
    /* Poison the lines at va, which do not cross a page. */
    void poison(uint64_t va, uint64_t len = 1)
    {
        ASSERT_EQ(ccad_core_poison_inject(device.core(), offset_of(va), len),
                  nullptr);
    }
    uint64_t lines() { return device.read(CCAD_REG_POISON_LINES); }
    void expect_poison(const ccad_completion &record, uint64_t va,
                       uint8_t access, uint64_t done)
    {
        EXPECT_EQ(record.status, CCAD_COMP_POISON);
        EXPECT_EQ(record.fault_addr, va);
        EXPECT_EQ(record.access, access);
        EXPECT_EQ(record.bytes_done, done);
    }

    Queue queue = device.queue();
};

TEST_F(PoisonTest, EndsARead)
{
    constexpr uint64_t done = page + 5 * line;
    poison(src_va + done);
    auto bytes = load(host, src_va, done);

    auto record = queue.run(crc(src_va, 3 * page));
    expect_poison(record, src_va + done, CCAD_ACCESS_READ, done);
    EXPECT_EQ(record.result,
              static_cast<uint32_t>(~crc32_iscsi(
                  bytes.data(), static_cast<int>(done), UINT32_MAX)));
    EXPECT_EQ(record.bytes_local, done);
    EXPECT_EQ(queue.stat(CCAD_STAT_ERRORS), 1);
    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(lines(), 1) << "a read does not clear it";
}

TEST_F(PoisonTest, IsMetByteExact)
{
    poison(src_va + line);

    EXPECT_EQ(queue.run(crc(src_va + 10, line - 10)).status,
              CCAD_COMP_SUCCESS);
    EXPECT_EQ(queue.run(crc(src_va + 2 * line, 10)).status,
              CCAD_COMP_SUCCESS);
    expect_poison(queue.run(crc(src_va + 10, line)), src_va + line,
                  CCAD_ACCESS_READ, line - 10);
    expect_poison(queue.run(crc(src_va + line + 7, 1)), src_va + line + 7,
                  CCAD_ACCESS_READ, 0);
}

TEST_F(PoisonTest, EndsACopyWithWhatCouldBeRead)
{
    constexpr uint64_t done = 2 * page + 3 * line - 20;
    poison(src_va + 20 + done);

    expect_poison(queue.run(copy(src_va + 20, dst_va, 3 * page)),
                  src_va + 20 + done, CCAD_ACCESS_READ, done);
    EXPECT_EQ(load(host, dst_va, done), load(host, src_va + 20, done));
    EXPECT_EQ(load(host, dst_va + done, line),
              std::vector<uint8_t>(line)) << "nothing beyond it is written";
}

TEST_F(PoisonTest, IsReported)
{
    device.write(CCAD_REG_EVENT_MASK, CCAD_EVENT_POISON);
    poison(src_va + page);
    poison(src_va + 3 * line);

    queue.run(crc(src_va + page + 9, 4));
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), CCAD_EVENT_POISON);
    EXPECT_EQ(device.read(CCAD_REG_POISON_ADDR), offset_of(src_va + page));
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 1);

    queue.run(crc(src_va, page));
    EXPECT_EQ(device.read(CCAD_REG_POISON_ADDR), offset_of(src_va + page))
        << "the first since the event was cleared";
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 1);

    device.write(CCAD_REG_EVENT, CCAD_EVENT_POISON);
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), 0);
    EXPECT_EQ(device.read(CCAD_REG_POISON_ADDR), 0);
    queue.run(crc(src_va, page));
    EXPECT_EQ(device.read(CCAD_REG_POISON_ADDR),
              offset_of(src_va + 3 * line));
    EXPECT_EQ(host.interrupts(CCAD_VECTOR_EVENT), 2);

    std::pair met{CCAD_ERROR_POISON, offset_of(src_va + 3 * line)};
    EXPECT_THAT(host.errors(),
                testing::ElementsAre(
                    std::pair{CCAD_ERROR_POISON, offset_of(src_va + page)},
                    met, met));
}

TEST_F(PoisonTest, IsOverwrittenLineByLine)
{
    poison(dst_va + 2 * line, 3 * line);

    EXPECT_EQ(queue.run(fill(dst_va + 3 * line, line, 7)).status,
              CCAD_COMP_SUCCESS);
    EXPECT_EQ(lines(), 2);
    EXPECT_EQ(queue.run(crc(dst_va + 3 * line, line)).status,
              CCAD_COMP_SUCCESS);
    expect_poison(queue.run(crc(dst_va + 2 * line, line)), dst_va + 2 * line,
                  CCAD_ACCESS_READ, 0);
    EXPECT_EQ(queue.run(fill(dst_va + line, page, 7)).status,
              CCAD_COMP_SUCCESS);
    EXPECT_EQ(lines(), 0);
}

TEST_F(PoisonTest, EndsAWriteOfAPartOfALine)
{
    poison(dst_va + 2 * line);

    expect_poison(queue.run(fill(dst_va + 2 * line, line - 1, 7)),
                  dst_va + 2 * line, CCAD_ACCESS_WRITE, 0);
    expect_poison(queue.run(fill(dst_va + 2 * line + 1, line - 1, 7)),
                  dst_va + 2 * line + 1, CCAD_ACCESS_WRITE, 0);
    expect_poison(queue.run(fill(dst_va + 2 * line + 8, 8, 7)),
                  dst_va + 2 * line + 8, CCAD_ACCESS_WRITE, 0);
    expect_poison(queue.run(fill(dst_va + 2 * line + 1, page, 7)),
                  dst_va + 2 * line + 1, CCAD_ACCESS_WRITE, 0);
    expect_poison(queue.run(fill(dst_va, 2 * line + 1, 7)), dst_va + 2 * line,
                  CCAD_ACCESS_WRITE, 2 * line);
    EXPECT_EQ(lines(), 1);
    EXPECT_EQ(host.ptr(pasid, dst_va)[2 * line - 1], 0);
    EXPECT_EQ(host.ptr(pasid, dst_va)[2 * line - 8], 7);
    EXPECT_EQ(host.ptr(pasid, dst_va)[2 * line], 0);
}

/* Whether a line is written in full does not depend on windows. */
class RewriteInPieces : public PoisonTest,
                        public testing::WithParamInterface<uint64_t> {};

TEST_P(RewriteInPieces, ClearsWhatTheCommandWrites)
{
    host.map_limit = GetParam();
    poison(dst_va, page);
    poison(dst_va + page, page);

    EXPECT_EQ(queue.run(copy(src_va + 20, dst_va, 2 * page)).status,
              CCAD_COMP_SUCCESS);
    EXPECT_EQ(lines(), 0);
    EXPECT_EQ(load(host, dst_va, 2 * page), load(host, src_va + 20, 2 * page));

    poison(dst_va, page);
    EXPECT_EQ(queue.run(fill(dst_va, 3 * page, 1)).status,
              CCAD_COMP_SUCCESS);
    EXPECT_EQ(lines(), 0);

    /* Not the line that it ends in, however it comes there. */
    poison(dst_va, page);
    expect_poison(queue.run(copy(src_va + 20, dst_va, 5 * line + 63)),
                  dst_va + 5 * line, CCAD_ACCESS_WRITE, 5 * line);
    EXPECT_EQ(lines(), 64 - 5);
}

INSTANTIATE_TEST_SUITE_P(Limits, RewriteInPieces,
                         testing::Values(64, 65, 100, 1000, 4096, UINT64_MAX));

TEST_F(PoisonTest, IsNotOverwrittenByTwoCommands)
{
    poison(dst_va);

    EXPECT_EQ(queue.run(fill(dst_va, line / 2, 1)).status, CCAD_COMP_POISON);
    EXPECT_EQ(queue.run(fill(dst_va + line / 2, line / 2, 1)).status,
              CCAD_COMP_POISON);
    EXPECT_EQ(lines(), 1);
}

/* The page of the source ends where half of the line is written. */
TEST_F(PoisonTest, StaysIfTheRewriteOfItsLineFails)
{
    poison(dst_va + page - line);
    poison(src_va + page);

    expect_poison(
        queue.run(copy(src_va + line / 2, dst_va, 2 * page)), src_va + page,
        CCAD_ACCESS_READ, page - line / 2);
    EXPECT_EQ(lines(), 2);
    expect_poison(queue.run(crc(dst_va + page - line, line)),
                  dst_va + page - line, CCAD_ACCESS_READ, 0);
}

/* While it is being rewritten, it is poisoned again: the news count. */
TEST_F(PoisonTest, ThatComesBehindAHalfWrittenLineCounts)
{
    constexpr uint64_t half = page - line / 2;
    const uint64_t behind = offset_of(dst_va) + half;
    const uint64_t next_src = host.walk(pasid, src_va + page)->pa;
    host.on_map = [&](uint64_t at, bool) {
        if (at == next_src) { /* half of the line is written */
            ccad_core_poison_inject(device.core(), behind, 1);
        }
    };
    expect_poison(queue.run(copy(src_va + line / 2, dst_va, 2 * page)),
                  dst_va + half, CCAD_ACCESS_WRITE, half);
    host.on_map = nullptr;
}

/* Where the output ends is known when it has been written. */
TEST_F(PoisonTest, StaysInTheLineThatAnOutputEndsIn)
{
    store(host, src_va, std::vector<uint8_t>(page, 'x'));
    uint64_t len = 0;
    for (uint8_t byte = 0; len % line == 0 || len < line; byte++) {
        store(host, src_va + page, random_bytes(100, byte));
        len = queue.run(compress(src_va, page + 100, dst_va, page)).result;
        ASSERT_LT(byte, 10);
    }
    uint64_t last = dst_va + len / line * line;

    poison(dst_va, page);
    auto record = queue.run(compress(src_va, page + 100, dst_va, page));
    expect_poison(record, last, CCAD_ACCESS_WRITE, page + 100);
    EXPECT_EQ(lines(), 64 - len / line);
    EXPECT_EQ(device.read(CCAD_REG_POISON_ADDR), offset_of(last));
    EXPECT_EQ(host.errors().size(), 1);
}

TEST_F(PoisonTest, EndsAtomics)
{
    poison(dst_va);
    for (const ccad_desc &desc :
         {fetch_add(dst_va + 8, 8, 1), compare_swap(dst_va + 8, 8, 0, 1)}) {
        expect_poison(queue.run(desc), dst_va + 8, CCAD_ACCESS_WRITE, 0);
    }
    EXPECT_EQ(load_value<uint64_t>(host, dst_va + 8), 0);
    EXPECT_EQ(queue.run(fetch_add(dst_va + line, 8, 1)).status,
              CCAD_COMP_SUCCESS);
}

TEST_F(PoisonTest, EndsACompareWhereverItIs)
{
    store(host, dst_va, load(host, src_va, 2 * page));
    poison(src_va + page + line);
    poison(dst_va + line);
    expect_poison(queue.run(compare(src_va, dst_va, page)), dst_va + line,
                  CCAD_ACCESS_READ, line);
    expect_poison(queue.run(compare(src_va + page, dst_va + page, page)),
                  src_va + page + line, CCAD_ACCESS_READ, line);
}

/* The list of indices, the table, or where the elements go. */
TEST_F(PoisonTest, EndsAGather)
{
    const uint64_t indices = src_va;
    const uint64_t table = src_va + page;
    std::vector<uint32_t> list(64);
    for (uint32_t i = 0; i < list.size(); i++) {
        list[i] = 63 - i;
    }
    store(host, indices, bytes_of(list));
    auto run = [&] {
        return queue.run(
            gather(indices, 4 * list.size(), table, dst_va, 3));
    };
    ASSERT_EQ(run().status, CCAD_COMP_SUCCESS);

    poison(table + 2 * line); /* elements 16 to 23 */
    expect_poison(run(), table + 23 * 8, CCAD_ACCESS_READ, 4 * (63 - 23));
    ASSERT_EQ(queue.run(fill(table, page, 0)).status, CCAD_COMP_SUCCESS);
    poison(indices + line);
    expect_poison(run(), indices + line, CCAD_ACCESS_READ, line);
    ASSERT_EQ(queue.run(fill(indices, page, 0)).status, CCAD_COMP_SUCCESS);
    poison(dst_va + 3 * line, 4 * line);
    ASSERT_EQ(run().status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(lines(), 0) << "lines written in full";
}

TEST_F(PoisonTest, EndsAListWalk)
{
    for (uint64_t i = 0; i < 4; i++) {
        store_value(host, src_va + 100 * i,
                    i < 3 ? src_va + 100 * (i + 1) : uint64_t{0});
        store_value(host, src_va + 100 * i + 8, i);
    }
    auto walk = list_walk(src_va, 10, CCAD_REDUCE_SUM, CCAD_TYPE_INT64, 0, 8);
    ASSERT_EQ(queue.run(walk).result, 6);

    poison(src_va + 200);
    auto record = queue.run(walk);
    expect_poison(record, src_va + 200, CCAD_ACCESS_READ, 2);
    EXPECT_EQ(record.result, 1);
}

TEST_F(PoisonTest, EndsACopyOfPages)
{
    Queue kernel = device.queue(1);
    kernel.disable();
    uint64_t ring = host.walk(pasid, kernel.ring())->pa;
    uint64_t list = host.alloc(page);
    uint64_t record = host.alloc(page);
    ccad_page_copy copies[] = {
        {host.walk(pasid, src_va)->pa, host.walk(pasid, dst_va)->pa},
        {host.walk(pasid, src_va + page)->pa,
         host.walk(pasid, dst_va + page)->pa},
    };
    std::memcpy(host.at(list), copies, sizeof(copies));
    poison(src_va + page + line);
    poison(dst_va, page);

    kernel.reg(CCAD_CTX_RING, ring, 8);
    kernel.reg(CCAD_CTX_CTRL, CCAD_CTX_CTRL_ENABLE | CCAD_CTX_CTRL_PHYSICAL);
    kernel.tail(0);
    ccad_desc desc = copy_pages(list, sizeof(copies), 12);
    desc.completion = record;
    kernel.submit(desc);
    ASSERT_TRUE(eventually(
        [&] { return kernel.stat(CCAD_STAT_COMMANDS) == 1; }));
    kernel.disable();
    ccad_completion completion;
    std::memcpy(&completion, host.at(record), sizeof(completion));
    expect_poison(completion, copies[1].src + line, CCAD_ACCESS_READ,
                  sizeof(ccad_page_copy));
    EXPECT_EQ(lines(), 1) << "the first page is clean";
}

TEST_F(PoisonTest, InADescriptorStopsTheContext)
{
    uint64_t pa = host.alloc(page, true);
    uint64_t entry = queue.ring() + sizeof(ccad_desc);
    host.unmap(pasid, queue.ring());
    ccad_core_invalidate(device.core(), pasid, false, queue.ring(), page);
    host.map(pasid, queue.ring(), pa, page);
    poison(entry);

    EXPECT_EQ(queue.run(nop()).status, CCAD_COMP_SUCCESS);
    queue.submit(nop());
    EXPECT_TRUE(eventually([&] { return queue.state() == CCAD_CTX_ERROR; }));
    EXPECT_EQ(queue.cause(), CCAD_CAUSE_RING);
    EXPECT_EQ(device.read(CCAD_REG_POISON_ADDR), offset_of(entry));
    EXPECT_TRUE(device.read(CCAD_REG_EVENT, 4) & CCAD_EVENT_POISON);
}

TEST_F(PoisonTest, IsOverwrittenByACompletionRecord)
{
    poison(dst_va);
    ccad_desc desc = nop();
    desc.completion = dst_va;

    queue.submit(desc);
    EXPECT_TRUE(eventually([&] { return lines() == 0; }));
    EXPECT_EQ(queue.state(), CCAD_CTX_ENABLED);
    EXPECT_EQ(queue.run(crc(dst_va, line)).status, CCAD_COMP_SUCCESS);
}

TEST_F(PoisonTest, IsInLocalMemoryAlone)
{
    ASSERT_EQ(ccad_core_poison_inject(device.core(), 0, size), nullptr);
    host.populate(pasid, src_va + huge, page);
    EXPECT_EQ(queue.run(crc(src_va + huge, page)).status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(queue.run(crc(src_va, page)).status, CCAD_COMP_POISON);
}

TEST_F(PoisonTest, StaysAtAReset)
{
    poison(src_va, 2 * line);
    queue.run(crc(src_va, 1));

    device.reset();
    EXPECT_EQ(lines(), 2);
    EXPECT_EQ(device.read(CCAD_REG_POISON_ADDR), 0);
    EXPECT_EQ(device.read(CCAD_REG_EVENT, 4), 0);
    device.enable();
    queue.enable();
    EXPECT_EQ(queue.run(crc(src_va, 1)).status, CCAD_COMP_POISON);
}

/* For ThreadSanitizer: poison comes and goes under the engines. */
TEST_F(PoisonTest, ComesAndGoesWhileEnginesRun)
{
    Queue other = device.queue(1);
    uint64_t src = offset_of(src_va);
    uint64_t dst = offset_of(dst_va);
    std::atomic<bool> stop{false};
    std::thread manager([&] {
        std::mt19937 random(1);
        while (!stop) {
            uint64_t base = random() % 2 ? src : dst;
            ccad_core_poison_inject(device.core(), base + random() % page, 1);
            ccad_core_poison_clear(device.core(), base + random() % page,
                                   page / 2);
            list(device.core());
        }
    });
    unsigned met = 0;
    for (int i = 0; i < 300; i++) {
        uint32_t a = queue.submit(copy(src_va, dst_va, page));
        uint32_t b = other.submit(crc(src_va, page));
        for (auto record : {queue.wait(a), other.wait(b)}) {
            EXPECT_THAT(record.status, testing::AnyOf(CCAD_COMP_SUCCESS,
                                                      CCAD_COMP_POISON));
            if (record.status == CCAD_COMP_POISON) {
                met++;
                EXPECT_EQ(record.fault_addr, src_va + record.bytes_done);
            }
        }
    }
    stop = true;
    manager.join();
    EXPECT_GT(met, 0);
}

} // namespace

} // namespace ccad::test
