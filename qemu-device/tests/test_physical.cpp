/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contexts with physical addresses, COPY_PAGES, and who may do neither. */
#include <bit>

#include "commands.hpp"

namespace ccad::test {

namespace {

/* Context 0 as the kernel uses it: ring and record in physical memory. */
class Physical : public DeviceTest {
protected:
    Physical() : ring(host.alloc(page)), record_pa(host.alloc(page)) {}

    void reg(uint32_t offset, uint64_t value, unsigned size = 4)
    {
        device.write(CCAD_CTX(0) + offset, value, size);
    }
    uint32_t status()
    {
        return static_cast<uint32_t>(
            device.read(CCAD_DOORBELL(0) + CCAD_DB_STATUS, 4));
    }
    uint64_t stat(uint32_t stat)
    {
        return device.read(CCAD_DOORBELL(0) + CCAD_DB_STATS + stat);
    }
    void enable(uint32_t flags = CCAD_CTX_CTRL_PHYSICAL)
    {
        reg(CCAD_CTX_RING, ring, 8);
        reg(CCAD_CTX_RING_SHIFT, 4);
        reg(CCAD_CTX_VECTOR, 1);
        reg(CCAD_CTX_PASID, pasid);
        reg(CCAD_CTX_CTRL, CCAD_CTX_CTRL_ENABLE | flags);
        tail = 0;
    }

    ccad_completion run(ccad_desc desc)
    {
        auto *words = reinterpret_cast<uint64_t *>(host.at(record_pa));
        for (size_t i = 0; i < 8; i++) {
            __atomic_store_n(&words[i], 0, __ATOMIC_RELAXED);
        }
        desc.completion = record_pa;
        std::memcpy(host.at(ring + tail++ % 16 * sizeof(desc)), &desc,
                    sizeof(desc));
        device.write(CCAD_DOORBELL(0) + CCAD_DB_TAIL, tail);

        EXPECT_TRUE(eventually([&] {
            return __atomic_load_n(host.at(record_pa), __ATOMIC_ACQUIRE) != 0;
        })) << "status "
            << status();
        ccad_completion record;
        std::memcpy(&record, words, sizeof(record));
        return record;
    }

    void put(uint64_t pa, const std::vector<uint8_t> &bytes)
    {
        std::memcpy(host.at(pa), bytes.data(), bytes.size());
    }
    std::vector<uint8_t> get(uint64_t pa, uint64_t len)
    {
        return {host.at(pa), host.at(pa) + len};
    }

    const uint64_t ring;
    const uint64_t record_pa;
    uint32_t tail = 0;
};

TEST_F(Physical, NothingIsTranslated)
{
    uint64_t a = host.alloc(4 * page);
    uint64_t b = host.alloc(4 * page, true);
    auto bytes = random_bytes(4 * page);
    put(a, bytes);
    enable();

    auto record = run(copy(a + 5, b + 7, 3 * page));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.translations, 0);
    EXPECT_EQ(record.atc_hits, 0);
    EXPECT_EQ(record.page_requests, 0);
    EXPECT_EQ(record.bytes_local, 3 * page);
    EXPECT_EQ(get(b + 7, 3 * page),
              std::vector<uint8_t>(bytes.begin() + 5,
                                   bytes.begin() + 5 + 3 * page));
    EXPECT_EQ(host.translate_calls(), 0);
    EXPECT_EQ(stat(CCAD_STAT_ATC_HITS), 0);
    EXPECT_THAT(host.bound(), testing::IsEmpty());
    EXPECT_THAT(host.requests(), testing::IsEmpty());
}

TEST_F(Physical, PointersInMemoryArePhysicalToo)
{
    uint64_t node = host.alloc(page);
    uint64_t other = host.alloc(page, true);
    put(node, bytes_of(std::vector<uint64_t>{other, 30}));
    put(other, bytes_of(std::vector<uint64_t>{0, 12}));
    enable();

    EXPECT_EQ(run(list_walk(node, 9, CCAD_REDUCE_SUM, CCAD_TYPE_INT64, 0, 8))
                  .result,
              42);
    EXPECT_EQ(run(fetch_add(node + 8, 8, 1)).result, 30);
    EXPECT_EQ(host.at(node)[8], 31);
    EXPECT_EQ(host.translate_calls(), 0);
}

TEST_F(Physical, HasToBeAllowed)
{
    host.physical_works = false;
    enable();
    EXPECT_EQ(status(), CCAD_CTX_ERROR |
                            CCAD_CAUSE_CONFIG << CCAD_CTX_CAUSE_SHIFT);
    reg(CCAD_CTX_CTRL, 0);
    EXPECT_EQ(status(), CCAD_CTX_DISABLED);
    host.physical_works = true;
    enable();
    EXPECT_EQ(status(), CCAD_CTX_ENABLED);
    EXPECT_EQ(run(nop()).status, CCAD_COMP_SUCCESS);
}

/* Whether PASIDs can be used is another question. */
TEST_F(Physical, NeedsNoPasid)
{
    host.bind_works = false;
    enable();
    EXPECT_EQ(status(), CCAD_CTX_ENABLED);
}

TEST_F(Physical, IsLatchedAndReadBack)
{
    EXPECT_EQ(device.read(CCAD_CTX(0) + CCAD_CTX_CTRL, 4), 0);
    enable();
    EXPECT_EQ(device.read(CCAD_CTX(0) + CCAD_CTX_CTRL, 4),
              CCAD_CTX_CTRL_ENABLE | CCAD_CTX_CTRL_PHYSICAL);
    reg(CCAD_CTX_CTRL, CCAD_CTX_CTRL_ENABLE);
    EXPECT_EQ(run(nop()).status, CCAD_COMP_SUCCESS) << "still physical";
    EXPECT_EQ(host.translate_calls(), 0);

    reg(CCAD_CTX_CTRL, CCAD_CTX_CTRL_PHYSICAL);
    EXPECT_EQ(status(), CCAD_CTX_DISABLED);
    EXPECT_EQ(device.read(CCAD_CTX(0) + CCAD_CTX_CTRL, 4),
              CCAD_CTX_CTRL_PHYSICAL);
}

TEST_F(Physical, SurvivesDisablingClearingAndReset)
{
    host.populate(pasid, src_va, page);
    for (int round = 0; round < 2; round++) {
        enable();
        EXPECT_EQ(run(nop()).status, CCAD_COMP_SUCCESS);
        device.write(CCAD_DOORBELL(0) + CCAD_DB_TAIL, tail + 1000);
        EXPECT_EQ(status() & CCAD_CTX_STATE_MASK, CCAD_CTX_ERROR);
        device.write(CCAD_DOORBELL(0) + CCAD_DB_CLEAR, 1);
        tail += 1000;
        EXPECT_EQ(run(nop()).status, CCAD_COMP_SUCCESS);
        if (round) {
            device.reset();
            device.enable();
        } else {
            reg(CCAD_CTX_CTRL, 0);
        }
        EXPECT_EQ(status(), CCAD_CTX_DISABLED);
    }
    EXPECT_EQ(device.read(CCAD_CTX(0) + CCAD_CTX_CTRL, 4), 0);
    EXPECT_THAT(host.bound(), testing::IsEmpty());

    /* The context is a process's again, and its addresses virtual ones. */
    Queue queue = device.queue(0);
    EXPECT_THAT(host.bound(), testing::ElementsAre(pasid));
    EXPECT_EQ(queue.run(crc(src_va, page)).translations, 1);
    EXPECT_EQ(queue.run(without_page_requests(crc(ring, 64))).status,
              CCAD_COMP_PAGE_FAULT);
}

/* Nor does it count the invalidations of the PASID in its block. */
TEST_F(Physical, OutlivesThePasidInItsBlock)
{
    Queue other = device.queue(1);
    enable();
    {
        std::lock_guard lock(host.big_lock());
        ccad_core_invalidate(device.core(), pasid, false, 0, 0);
    }
    EXPECT_EQ(other.stat(CCAD_STAT_INVALIDATIONS), 1);
    EXPECT_EQ(stat(CCAD_STAT_INVALIDATIONS), 0);
    other.disable();
    EXPECT_THAT(host.bound(), testing::IsEmpty());
    EXPECT_EQ(run(nop()).status, CCAD_COMP_SUCCESS);
    reg(CCAD_CTX_CTRL, 0);
    EXPECT_EQ(status(), CCAD_CTX_DISABLED);
}

TEST_F(Physical, NoMemoryIsABusError)
{
    uint64_t a = host.alloc(4 * page);
    host.unmapped_pa = a + page;
    enable();

    auto record = run(crc(a + 3, 2 * page));
    EXPECT_EQ(record.status, CCAD_COMP_BUS_ERROR);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(record.fault_addr, a + page);
    EXPECT_EQ(record.bytes_done, page - 3);
    record = run(fill(uint64_t{1} << 60, 8, 1));
    EXPECT_EQ(record.status, CCAD_COMP_BUS_ERROR);
    EXPECT_EQ(record.access, CCAD_ACCESS_WRITE);
    EXPECT_EQ(record.fault_addr, uint64_t{1} << 60);
    EXPECT_EQ(record.page_requests, 0);
}

TEST_F(Physical, ARingThatIsNoMemoryStopsTheContext)
{
    enable();
    host.unmapped_pa = ring;
    device.write(CCAD_DOORBELL(0) + CCAD_DB_TAIL, 1);
    EXPECT_TRUE(eventually([&] {
        return status() ==
               (CCAD_CTX_ERROR | CCAD_CAUSE_RING << CCAD_CTX_CAUSE_SHIFT);
    }));
    EXPECT_EQ(host.translate_calls(), 0);
}

/* COPY_PAGES */

class CopyPages : public Physical {
protected:
    CopyPages() { enable(); }

    /* Put the list somewhere and return where. */
    uint64_t list(const std::vector<ccad_page_copy> &pages)
    {
        uint64_t pa = host.alloc(page);

        put(pa, bytes_of(pages));
        return pa;
    }
};

TEST_F(CopyPages, CopiesEachPage)
{
    std::vector<ccad_page_copy> pages;
    std::vector<std::vector<uint8_t>> contents;
    for (uint32_t i = 0; i < 20; i++) {
        contents.push_back(random_bytes(page, i));
        pages.push_back({host.alloc(page, i % 2), host.alloc(page, i % 3)});
        put(pages.back().src, contents.back());
    }

    auto record = run(copy_pages(list(pages), 20 * 16, 12));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.result, 20) << "pages";
    EXPECT_EQ(record.bytes_done, 20 * 16);
    EXPECT_EQ(record.bytes_local, (10 + 13) * page);
    EXPECT_EQ(record.translations + record.atc_hits, 0);
    for (uint32_t i = 0; i < 20; i++) {
        EXPECT_EQ(get(pages[i].dst, page), contents[i]);
        EXPECT_EQ(get(pages[i].src, page), contents[i]);
    }
}

TEST_F(CopyPages, OfTwoMegabytes)
{
    uint64_t a = host.alloc(2 * huge);
    uint64_t b = host.alloc(2 * huge, true);
    auto bytes = random_bytes(2 * huge);
    put(a, bytes);

    auto record = run(copy_pages(list({{a, b + huge}, {a + huge, b}}), 32, 21));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.result, 2);
    std::rotate(bytes.begin(), bytes.begin() + huge, bytes.end());
    EXPECT_EQ(get(b, 2 * huge), bytes);
}

TEST_F(CopyPages, OfNothing)
{
    auto record = run(copy_pages(0, 0, 12));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.result, 0);
    EXPECT_EQ(record.device_ns, 0);
}

TEST_F(CopyPages, OntoItself)
{
    uint64_t a = host.alloc(page);
    auto bytes = random_bytes(page);
    put(a, bytes);
    EXPECT_EQ(run(copy_pages(list({{a, a}}), 16, 12)).status,
              CCAD_COMP_SUCCESS);
    EXPECT_EQ(get(a, page), bytes);
}

TEST_F(CopyPages, AFailingPageIsToldByItsAddress)
{
    uint64_t good = host.alloc(page);
    uint64_t to = host.alloc(page);
    uint64_t bad = host.alloc(page);
    uint64_t pages = list({{good, to}, {bad, to}, {good, bad}});
    auto bytes = random_bytes(page);
    put(good, bytes);
    host.unmapped_pa = bad;

    auto record = run(copy_pages(pages, 48, 12));
    EXPECT_EQ(record.status, CCAD_COMP_BUS_ERROR);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(record.fault_addr, bad);
    EXPECT_EQ(record.bytes_done, 16);
    EXPECT_EQ(record.result, 1);
    EXPECT_EQ(get(to, page), bytes);

    record = run(copy_pages(pages + 32, 16, 12));
    EXPECT_EQ(record.status, CCAD_COMP_BUS_ERROR);
    EXPECT_EQ(record.access, CCAD_ACCESS_WRITE);
    EXPECT_EQ(record.fault_addr, bad);
    EXPECT_EQ(record.bytes_done, 0);

    record = run(copy_pages(bad + 32, 16, 12));
    EXPECT_EQ(record.status, CCAD_COMP_BUS_ERROR);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(record.fault_addr, bad + 32) << "the list itself";
}

/* The fake host gives mappings that end where memory does. */
TEST_F(CopyPages, FailsWithinAPageExactly)
{
    uint64_t a = host.alloc(huge);
    host.unmapped_pa = a + 128 * 1024;
    uint64_t b = host.alloc(huge);

    auto record = run(copy_pages(list({{a, b}}), 16, 21));
    EXPECT_EQ(record.status, CCAD_COMP_BUS_ERROR);
    EXPECT_EQ(record.fault_addr, a + 128 * 1024);
    EXPECT_EQ(record.bytes_done, 0);
}

TEST_F(CopyPages, MisalignedPagesAreRefused)
{
    uint64_t a = host.alloc(2 * page);
    uint64_t b = host.alloc(2 * page);

    for (ccad_page_copy bad :
         {ccad_page_copy{a + 8, b}, {a, b + 2048}, {a + 1, b + 1}}) {
        uint64_t pages = list({{a, b}, bad});
        auto record = run(copy_pages(pages, 32, 12));
        EXPECT_EQ(record.status, CCAD_COMP_INVALID_FIELD);
        EXPECT_EQ(record.fault_addr, pages + 16) << "the entry";
        EXPECT_EQ(record.access, CCAD_ACCESS_READ);
        EXPECT_EQ(record.bytes_done, 16);
        EXPECT_EQ(record.result, 1);
    }
    EXPECT_EQ(run(copy_pages(list({{a + page, b}}), 16, 21)).status,
              CCAD_COMP_INVALID_FIELD);
}

TEST_F(CopyPages, BadFields)
{
    uint64_t pages = host.alloc(page);
    ccad_desc arg2 = copy_pages(pages, 16, 12);
    arg2.arg2 = 1;

    for (ccad_desc desc :
         {copy_pages(pages, 16, 11), copy_pages(pages, 16, 31),
          copy_pages(pages, 16, 64), copy_pages(pages, 16, UINT64_MAX),
          copy_pages(pages + 8, 16, 12), copy_pages(pages, 24, 12),
          copy_pages(0 - uint64_t{16}, 32, 12), arg2}) {
        EXPECT_EQ(run(desc).status, CCAD_COMP_INVALID_FIELD);
    }
}

/* Contexts of processes */

class UserContext : public DeviceTest {
protected:
    UserContext() : secret(host.alloc(page))
    {
        std::memset(host.at(secret), 0x5e, page);
        host.populate(pasid, src_va, 4 * page);
        host.populate(pasid, dst_va, 4 * page);
        host.on_map = [this](uint64_t pa, bool) {
            touched = touched || (pa & ~(page - 1)) == secret;
        };
    }

    Queue queue = device.queue();
    const uint64_t secret;
    std::atomic<bool> touched{false};
};

/* Whatever field of whatever opcode the physical address is put into. */
TEST_F(UserContext, ReachesNoPhysicalAddress)
{
    /* In memory that it can read: a list node, an index, a page list. */
    store_value<uint64_t>(host, src_va, secret);
    store_value<uint64_t>(host, src_va + 8, secret);

    unsigned faults = 0;
    for (uint8_t opcode = 0; opcode < 18; opcode++) {
        for (unsigned fields = 0; fields < 8; fields++) {
            for (uint64_t len : {4, 8, 16, 64}) {
                for (uint64_t arg : {uint64_t{0}, uint64_t{12}, secret}) {
                    for (uint64_t arg2 : {uint64_t{0}, uint64_t{0x103}}) {
                        ccad_desc desc{};
                        desc.opcode = opcode;
                        desc.src = fields & 1 ? secret : src_va;
                        desc.dst = fields & 2 ? secret : dst_va;
                        desc.arg = fields & 4 ? secret : arg;
                        desc.len = len;
                        desc.arg2 = arg2;
                        desc.flags = CCAD_DESC_NO_PAGE_REQUEST;
                        faults += queue.run(desc).status ==
                                  CCAD_COMP_PAGE_FAULT;
                    }
                }
            }
        }
    }
    EXPECT_GT(faults, 100) << "they did try";
    EXPECT_FALSE(touched);
    EXPECT_EQ(std::count(host.at(secret), host.at(secret) + page, 0x5e), page);
}

/* With everything right but the context, each opcode that has an operand. */
TEST_F(UserContext, FaultsWhereAPhysicalContextWouldNot)
{
    host.populate(pasid, table_va, page);
    store_value<uint64_t>(host, src_va, secret);
    auto faulty = [&](ccad_desc desc) {
        auto record = queue.run(without_page_requests(desc));
        EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT) << int{desc.opcode};
        EXPECT_EQ(record.fault_addr & ~(page - 1), secret);
    };

    faulty(copy(secret, dst_va, page));
    faulty(copy(src_va, secret, page));
    faulty(fill(secret, page, 0));
    faulty(crc(secret, page));
    faulty(compare(secret, dst_va, page));
    faulty(compare(src_va, secret, page));
    faulty(reduce(secret, page, CCAD_REDUCE_SUM, CCAD_TYPE_INT64));
    faulty(fetch_add(secret, 8, 1));
    faulty(compare_swap(secret, 4, 0x5e5e5e5e, 1));
    faulty(gather(secret, 8, table_va, dst_va, 3));
    faulty(gather(dst_va, 8, secret, dst_va + page, 3));
    faulty(gather(dst_va, 8, table_va, secret, 3));
    /* An index that leads from 0 to it. */
    store_value<uint64_t>(host, dst_va + 2 * page, secret / 8);
    faulty(gather(dst_va + 2 * page, 8, 0, dst_va, 3, true));
    faulty(list_walk(secret, 9, CCAD_REDUCE_SUM, CCAD_TYPE_INT64, 0, 8));
    faulty(list_walk(src_va, 9, CCAD_REDUCE_SUM, CCAD_TYPE_INT64, 0, 8));
    faulty(compress(secret, page, dst_va, page));
    faulty(compress(src_va, page, secret, page));
    faulty(decompress(secret, page, dst_va, page));
    auto packed = std::vector<uint8_t>{0x01, 0x01, 0x00, 0xfe, 0xff, 'x'};
    store(host, table_va, packed);
    faulty(decompress(table_va, packed.size(), secret, page, CCAD_FORMAT_RAW));

    ccad_page_copy pages{secret, secret};
    store(host, src_va, bytes_of(std::vector{pages}));
    EXPECT_EQ(queue.run(copy_pages(src_va, 16, 12)).status,
              CCAD_COMP_INVALID_OPCODE);
    EXPECT_EQ(queue.run(copy_pages(secret, 16, 12)).status,
              CCAD_COMP_INVALID_OPCODE);
    EXPECT_FALSE(touched);
}

/* Its page of registers gives no way to become one. */
TEST_F(UserContext, HasNoRegisterThatMakesItPhysical)
{
    for (uint32_t offset = 0; offset < CCAD_DOORBELL_STRIDE; offset += 4) {
        if (offset == CCAD_DB_TAIL) {
            continue;
        }
        queue.db(offset, CCAD_CTX_CTRL_ENABLE | CCAD_CTX_CTRL_PHYSICAL);
    }
    EXPECT_EQ(queue.reg(CCAD_CTX_CTRL), CCAD_CTX_CTRL_ENABLE);
    EXPECT_EQ(queue.run(without_page_requests(crc(secret, page))).status,
              CCAD_COMP_PAGE_FAULT);
    EXPECT_FALSE(touched);
}

/* The control of the tests above: the hook does see it. */
TEST_F(UserContext, WouldBeSeenTouchingIt)
{
    host.map(pasid, table_va, secret, page);
    EXPECT_EQ(queue.run(crc(table_va, page)).status, CCAD_COMP_SUCCESS);
    EXPECT_TRUE(touched);
}

} // namespace

} // namespace ccad::test
