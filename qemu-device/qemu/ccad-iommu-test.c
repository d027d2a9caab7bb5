/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qtest of ccad through the emulated IOMMU: commands of a context with a
 * PASID, whose first stage page tables are set up here.
 */
#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "ccad-test.h"
#include "libqos/qos-intel-iommu.h"

#define DEVFN       QPCI_DEVFN(4, 0)
#define SID         DEVFN
#define VTD         Q35_HOST_BRIDGE_IOMMU_ADDR

#define PASID       5

/* Guest physical memory; the IOMMU's own structures are at QVTD_MEM_BASE. */
#define PT_L4       0x11000000ULL
#define PT_L3       0x11001000ULL
#define PT_L2       0x11002000ULL
#define PT_L1       0x11003000ULL
#define PRQ         0x11010000ULL   /* page request queue, 128 entries */
#define PAGES       0x12000000ULL   /* page n of the process is here */

/* The process: 512 pages from VA on, those of SETUP_PAGES are mapped. */
#define VA          0x7f0000000000ULL
#define SETUP_PAGES 16
#define PAGE(n)     ((n) * 0x1000ULL)
#define RING        (VA + PAGE(0))
#define RECORDS     (VA + PAGE(1))
#define RING_SHIFT  4

#define PTE_RW      (VTD_FS_P | VTD_FS_RW | VTD_FS_US)
#define PTE_RO      (VTD_FS_P | VTD_FS_US)

typedef struct Ccad {
    QTestState *qts;
    QPCIBus *bus;
    QPCIDevice *dev;
    QPCIBar regs;
    uint32_t iq_tail;
    uint32_t tail;      /* of context 0 */
} Ccad;

static uint64_t cfg(uint16_t offset)
{
    return CCAD_ECAM + (DEVFN << 12) + offset;
}

static uint64_t pte_addr(unsigned page)
{
    return PT_L1 + page * 8;
}

static void set_pte(Ccad *c, unsigned page, uint64_t pa, uint64_t bits)
{
    qtest_writeq(c->qts, pte_addr(page), pa | bits);
}

static uint64_t get_pte(Ccad *c, unsigned page)
{
    return qtest_readq(c->qts, pte_addr(page));
}

/* Root, context and PASID entries come from libqos, for PASID 0. */
static void set_up_iommu(Ccad *c)
{
    uint64_t context = QVTD_CONTEXT_TABLE_BASE +
                       DEVFN * VTD_CTX_ENTRY_SCALABLE_SIZE;
    uint64_t entry = QVTD_PASID_TABLE_BASE + PASID * VTD_PASID_ENTRY_SIZE;

    qvtd_build_translation(c->qts, QVTD_TM_SCALABLE_FLT, SID);
    /* Device TLB, PASID and page requests */
    qtest_writeq(c->qts, context, qtest_readq(c->qts, context) | 0x1c);
    qtest_memset(c->qts, entry, 0, VTD_PASID_ENTRY_SIZE);
    qtest_writeq(c->qts, entry + 16, PT_L4);
    qtest_writeq(c->qts, entry + 8, QVTD_DOMAIN_ID);
    /* 48 bits of address, as Linux says here for the first stage, too */
    qtest_writeq(c->qts, entry, VTD_PASID_ENTRY_P | 2 << 2 |
                 (uint64_t)VTD_SM_PASID_ENTRY_FST << 6);

    qtest_memset(c->qts, PT_L4, 0, 0x4000);
    qtest_writeq(c->qts, PT_L4 + (VA >> 39 & 511) * 8, PT_L3 | PTE_RW);
    qtest_writeq(c->qts, PT_L3 + (VA >> 30 & 511) * 8, PT_L2 | PTE_RW);
    qtest_writeq(c->qts, PT_L2 + (VA >> 21 & 511) * 8, PT_L1 | PTE_RW);
    for (unsigned i = 0; i < SETUP_PAGES; i++) {
        set_pte(c, i, PAGES + PAGE(i), PTE_RW);
    }
    qtest_memset(c->qts, PAGES, 0, PAGE(SETUP_PAGES));

    qtest_writeq(c->qts, VTD + DMAR_PQH_REG, 0);
    qtest_writeq(c->qts, VTD + DMAR_PQT_REG, 0);
    qtest_writeq(c->qts, VTD + DMAR_PQA_REG, PRQ);

    /* PASID based invalidations need descriptors of 256 bits. */
    qtest_writeq(c->qts, VTD + DMAR_RTADDR_REG,
                 QVTD_ROOT_TABLE_BASE | VTD_RTADDR_SMT);
    qtest_writel(c->qts, VTD + DMAR_GCMD_REG, VTD_GCMD_SRTP);
    qtest_writeq(c->qts, VTD + DMAR_IQT_REG, 0);
    qtest_writeq(c->qts, VTD + DMAR_IQA_REG, QVTD_IQ_BASE | VTD_IQA_DW_MASK);
    qtest_writel(c->qts, VTD + DMAR_GCMD_REG, VTD_GCMD_QIE);
    qtest_writel(c->qts, VTD + DMAR_GCMD_REG, VTD_GCMD_QIE | VTD_GCMD_TE);
    g_assert_cmphex(qtest_readl(c->qts, VTD + DMAR_GSTS_REG), ==,
                    VTD_GSTS_RTPS | VTD_GSTS_QIES | VTD_GSTS_TES);
}

/* As a driver does: everything that a reset clears. */
static void enable_device(Ccad *c)
{
    qpci_device_enable(c->dev);
    c->regs = qpci_iomap(c->dev, CCAD_BAR_REGS, NULL);
    qtest_writew(c->qts, cfg(0x110 + PCI_PASID_CTRL), PCI_PASID_CTRL_ENABLE);
    qtest_writel(c->qts, cfg(0x120 + PCI_PRI_ALLOC_REQ), 32);
    qtest_writew(c->qts, cfg(0x120 + PCI_PRI_CTRL), PCI_PRI_CTRL_ENABLE);
    qtest_writew(c->qts, cfg(0x100 + PCI_ATS_CTRL), PCI_ATS_CTRL_ENABLE);
    qpci_io_writel(c->dev, c->regs, CCAD_REG_CTRL, CCAD_CTRL_ENABLE);
}

static uint32_t context_state(Ccad *c, unsigned n)
{
    return qpci_io_readl(c->dev, c->regs, CCAD_DOORBELL(n) + CCAD_DB_STATUS);
}

static void enable_context(Ccad *c, unsigned n, uint64_t ring)
{
    uint32_t block = CCAD_CTX(n);

    qpci_io_writel(c->dev, c->regs, block + CCAD_CTX_PASID, PASID);
    qpci_io_writel(c->dev, c->regs, block + CCAD_CTX_VECTOR, n + 1);
    qpci_io_writeq(c->dev, c->regs, block + CCAD_CTX_RING, ring);
    qpci_io_writel(c->dev, c->regs, block + CCAD_CTX_RING_SHIFT, RING_SHIFT);
    qpci_io_writel(c->dev, c->regs, block + CCAD_CTX_CTRL,
                   CCAD_CTX_CTRL_ENABLE);
    g_assert_cmphex(context_state(c, n), ==, CCAD_CTX_ENABLED);
    c->tail = 0;
}

static void start(Ccad *c)
{
    *c = (Ccad) {};
    c->qts = ccad_qtest_start(CCAD_IOMMU CCAD_LOCAL "-device ccad,id=ccad0,"
                              "addr=04.0,memdev=local");
    c->bus = qpci_new_pc(c->qts, NULL);
    ccad_enable_ecam(c->bus);
    c->dev = qpci_device_find(c->bus, DEVFN);
    g_assert_nonnull(c->dev);

    set_up_iommu(c);
    enable_device(c);
    enable_context(c, 0, RING);
}

static void stop(Ccad *c)
{
    g_free(c->dev);
    qpci_free_pc(c->bus);
    qtest_quit(c->qts);
}

/* Guest physical address of the record of command i. */
static uint64_t record(uint32_t i)
{
    return PAGES + PAGE(1) + (i & 15) * 64;
}

static uint32_t submit(Ccad *c, struct ccad_desc d)
{
    uint32_t i = c->tail++;

    d.tag = 0xc0de0000 | i;
    d.completion = RECORDS + (i & 15) * 64;
    qtest_memset(c->qts, record(i), 0, sizeof(struct ccad_completion));
    qtest_memwrite(c->qts, PAGES + (i & 15) * sizeof(d), &d, sizeof(d));
    qpci_io_writel(c->dev, c->regs, CCAD_DOORBELL(0) + CCAD_DB_TAIL, c->tail);
    return i;
}

static struct ccad_completion wait_for(Ccad *c, uint32_t i)
{
    struct ccad_completion r;

    for (int tries = 0; tries < 10000; tries++) {
        qtest_memread(c->qts, record(i), &r, sizeof(r));
        if (r.status) {
            g_assert_cmphex(r.tag, ==, 0xc0de0000 | i);
            return r;
        }
        g_usleep(1000);
    }
    g_error("command %u did not end", i);
}

static struct ccad_completion run(Ccad *c, struct ccad_desc d)
{
    return wait_for(c, submit(c, d));
}

static uint64_t counter(Ccad *c, uint32_t which)
{
    return qpci_io_readq(c->dev, c->regs, CCAD_REG_STATS + which);
}

/* Queued invalidation and page group responses */

static void queue(Ccad *c, uint64_t lo, uint64_t hi)
{
    uint64_t desc = QVTD_IQ_BASE + c->iq_tail * 32;

    qtest_writeq(c->qts, desc, lo);
    qtest_writeq(c->qts, desc + 8, hi);
    qtest_writeq(c->qts, desc + 16, 0);
    qtest_writeq(c->qts, desc + 24, 0);
    c->iq_tail++;
    qtest_writeq(c->qts, VTD + DMAR_IQT_REG, c->iq_tail << 5);
    g_assert_cmphex(qtest_readl(c->qts, VTD + DMAR_FSTS_REG) & VTD_FSTS_IQE,
                    ==, 0);
}

static void invalidate_page(Ccad *c, uint64_t va)
{
    queue(c, VTD_INV_DESC_PIOTLB | VTD_INV_DESC_PIOTLB_PSI_IN_PASID |
          (uint64_t)QVTD_DOMAIN_ID << 16 | (uint64_t)PASID << 32, va);
    queue(c, VTD_INV_DESC_DEV_PIOTLB | SID << 16 | (uint64_t)PASID << 32, va);
}

typedef struct PageRequest {
    uint64_t va;
    uint16_t group;
    bool read, write;
} PageRequest;

static PageRequest next_page_request(Ccad *c)
{
    uint64_t head = qtest_readq(c->qts, VTD + DMAR_PQH_REG);
    uint64_t lo, hi;

    for (int tries = 0; ; tries++) {
        if (qtest_readq(c->qts, VTD + DMAR_PQT_REG) != head) {
            break;
        }
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
    lo = qtest_readq(c->qts, PRQ + head);
    hi = qtest_readq(c->qts, PRQ + head + 8);
    g_assert_cmphex(lo, ==, VTD_PRD_TYPE | VTD_PRD_PP(1) | VTD_PRD_RID(SID) |
                    VTD_PRD_PASID(PASID));
    g_assert_cmphex(hi & VTD_PRD_LPIG(1), !=, 0);
    qtest_writeq(c->qts, VTD + DMAR_PQH_REG,
                 (head + VTD_PQA_ENTRY_SIZE) % (128 * VTD_PQA_ENTRY_SIZE));
    qtest_writel(c->qts, VTD + DMAR_PRS_REG, VTD_PR_STATUS_PPR);
    return (PageRequest) {
        .va = hi & ~0xfffULL,
        .group = hi >> 3 & 0x1ff,
        .read = hi & VTD_PRD_RDR(1),
        .write = hi & VTD_PRD_WRR(1),
    };
}

static void respond(Ccad *c, PageRequest *request, unsigned code)
{
    queue(c, VTD_INV_DESC_PGRESP | 1 << 4 | code << 12 | SID << 16 |
          (uint64_t)PASID << 32,
          VTD_PRD_LPIG(1) | (uint64_t)request->group << 3);
}

/* Tests */

static void fill_page(Ccad *c, unsigned page, uint8_t pattern)
{
    qtest_memset(c->qts, PAGES + PAGE(page), pattern, 0x1000);
}

static void test_copy(void)
{
    Ccad c;
    struct ccad_completion r;
    uint8_t got[0x1800];

    start(&c);
    fill_page(&c, 2, 0x5a);
    fill_page(&c, 3, 0xa5);
    r = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_COPY, .src = VA + PAGE(2) + 0x800,
        .dst = VA + PAGE(8) + 0x123, .len = 0x1000 });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmpuint(r.bytes_done, ==, 0x1000);
    g_assert_cmpuint(r.bytes_local, ==, 0);
    g_assert_cmpuint(r.page_requests, ==, 0);
    g_assert_cmpuint(r.translations, >, 0);
    qtest_memread(c.qts, PAGES + PAGE(8), got, sizeof(got));
    for (unsigned i = 0; i < sizeof(got); i++) {
        uint8_t want = i < 0x123 ? 0 : i < 0x923 ? 0x5a
                     : i < 0x1123 ? 0xa5 : 0;
        g_assert_cmphex(got[i], ==, want);
    }
    stop(&c);
}

static void test_local_memory(void)
{
    Ccad c;
    QPCIBar mem;
    struct ccad_completion r;

    start(&c);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CTRL, CCAD_CTRL_RESET);
    mem = qpci_iomap(c.dev, CCAD_BAR_MEM, NULL);
    set_pte(&c, 20, mem.addr + 0x10000, PTE_RW);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CTRL, CCAD_CTRL_ENABLE);
    enable_context(&c, 0, RING);

    r = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(20), .len = 0x1000,
        .arg = 0x1122334455667788ULL });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmpuint(r.bytes_local, ==, 0x1000);
    g_assert_cmphex(qpci_io_readq(c.dev, mem, 0x10ff8), ==,
                    0x1122334455667788ULL);
    g_assert_cmpuint(counter(&c, CCAD_STAT_WRITE_LOCAL), ==, 0x1000);
    stop(&c);
}

static void test_not_memory(void)
{
    Ccad c;
    struct ccad_completion r;

    start(&c);
    set_pte(&c, 20, 0xfed00000, PTE_RW);    /* HPET: a device */
    set_pte(&c, 21, 0xd0000000, PTE_RW);    /* nothing */
    r = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(20), .len = 64 });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_BUS_ERROR);
    g_assert_cmphex(r.fault_addr, ==, VA + PAGE(20));
    r = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(21), .len = 64 });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_BUS_ERROR);
    stop(&c);
}

static void test_page_request(void)
{
    Ccad c;
    PageRequest request;
    struct ccad_completion r;
    uint32_t i;

    start(&c);
    i = submit(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(30) + 0x10, .len = 0x20,
        .arg = ~0ULL });
    request = next_page_request(&c);
    g_assert_cmphex(request.va, ==, VA + PAGE(30));
    g_assert_true(request.write);
    set_pte(&c, 30, PAGES + PAGE(30), PTE_RW);
    qtest_memset(c.qts, PAGES + PAGE(30), 0, 0x1000);
    respond(&c, &request, 0);
    r = wait_for(&c, i);
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmpuint(r.page_requests, ==, 1);
    g_assert_cmphex(qtest_readq(c.qts, PAGES + PAGE(30) + 8), ==, 0);
    g_assert_cmphex(qtest_readq(c.qts, PAGES + PAGE(30) + 0x28), ==, ~0ULL);

    /* Refused: the command fails with its address, and the next one runs. */
    i = submit(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(31) + 0x18, .len = 8 });
    request = next_page_request(&c);
    g_assert_cmphex(request.va, ==, VA + PAGE(31));
    g_assert_true(request.read && !request.write);
    respond(&c, &request, 1);
    r = wait_for(&c, i);
    g_assert_cmpuint(r.status, ==, CCAD_COMP_PAGE_FAULT);
    g_assert_cmpuint(r.access, ==, CCAD_ACCESS_READ);
    g_assert_cmphex(r.fault_addr, ==, VA + PAGE(31) + 0x18);
    r = run(&c, (struct ccad_desc) { .opcode = CCAD_OP_NOP });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmpuint(counter(&c, CCAD_STAT_PAGE_REQUESTS), ==, 2);
    g_assert_cmpuint(counter(&c, CCAD_STAT_PAGE_FAILURES), ==, 1);

    /* A response that nobody waits for is only remembered. */
    respond(&c, &request, 0);
    g_assert_true(qtest_readw(c.qts, cfg(0x120 + PCI_PRI_STATUS)) &
                  PCI_PRI_STATUS_UPRGI);

    /* Not asked for. */
    r = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(31), .len = 8,
        .flags = CCAD_DESC_NO_PAGE_REQUEST });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_PAGE_FAULT);
    stop(&c);
}

static void test_invalidate(void)
{
    Ccad c;
    struct ccad_desc crc = {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(4), .len = 0x1000 };
    struct ccad_completion before, after;
    uint64_t invalidations;

    start(&c);
    fill_page(&c, 4, 1);
    fill_page(&c, 40, 2);
    before = run(&c, crc);
    g_assert_cmpuint(before.status, ==, CCAD_COMP_SUCCESS);

    /* What is cached is used: that is why it has to be invalidated. */
    set_pte(&c, 4, PAGES + PAGE(40), PTE_RW);
    after = run(&c, crc);
    g_assert_cmphex(after.result, ==, before.result);
    g_assert_cmpuint(after.translations, ==, 0);

    invalidations = counter(&c, CCAD_STAT_INVALIDATIONS);
    invalidate_page(&c, VA + PAGE(4));
    g_assert_cmpuint(counter(&c, CCAD_STAT_INVALIDATIONS), ==, invalidations + 1);
    after = run(&c, crc);
    g_assert_cmpuint(after.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmphex(after.result, !=, before.result);
    g_assert_cmpuint(after.translations, ==, 1);
    stop(&c);
}

/* Linux flushes half of the address space at a time: address mask 35. */
static void test_wide_invalidation(void)
{
    Ccad c;
    struct ccad_desc crc = {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(4), .len = 0x1000 };
    struct ccad_completion before, after;

    start(&c);
    fill_page(&c, 4, 1);
    fill_page(&c, 40, 2);
    before = run(&c, crc);
    set_pte(&c, 4, PAGES + PAGE(40), PTE_RW);
    queue(&c, VTD_INV_DESC_PIOTLB | VTD_INV_DESC_PIOTLB_PSI_IN_PASID |
          (uint64_t)PASID << 32, 35);
    /* And the device, all of it: S set and every address bit but one. */
    queue(&c, VTD_INV_DESC_DEV_PIOTLB | SID << 16 | (uint64_t)PASID << 32,
          0x7ffffffffffff000ULL | 1 << 11);
    after = run(&c, crc);
    g_assert_cmphex(after.result, !=, before.result);
    stop(&c);
}

static void test_accessed_dirty(void)
{
    Ccad c;
    PageRequest request;
    struct ccad_completion r;
    uint32_t i;

    start(&c);
    g_assert_cmphex(get_pte(&c, 5) & (VTD_FS_A | VTD_FS_D), ==, 0);
    run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(5), .len = 8 });
    g_assert_cmphex(get_pte(&c, 5) & (VTD_FS_A | VTD_FS_D), ==, VTD_FS_A);
    /* Accessed before, and in the IOTLB: dirty all the same. */
    r = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(5), .len = 8 });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmphex(get_pte(&c, 5) & (VTD_FS_A | VTD_FS_D), ==,
                    VTD_FS_A | VTD_FS_D);

    /* A page that may only be read is asked for, and never dirty. */
    set_pte(&c, 32, PAGES + PAGE(6), PTE_RO);
    i = submit(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(32), .len = 8, .arg = 7 });
    request = next_page_request(&c);
    g_assert_cmphex(request.va, ==, VA + PAGE(32));
    g_assert_true(request.write);
    g_assert_cmphex(get_pte(&c, 32) & VTD_FS_D, ==, 0);
    respond(&c, &request, 1);
    r = wait_for(&c, i);
    g_assert_cmpuint(r.status, ==, CCAD_COMP_PAGE_FAULT);
    g_assert_cmpuint(r.access, ==, CCAD_ACCESS_WRITE);
    g_assert_cmphex(get_pte(&c, 32) & VTD_FS_D, ==, 0);

    /* Permission added without an invalidation is seen. */
    i = submit(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(32), .len = 8, .arg = 7 });
    request = next_page_request(&c);
    set_pte(&c, 32, PAGES + PAGE(6), PTE_RW);
    respond(&c, &request, 0);
    r = wait_for(&c, i);
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmphex(get_pte(&c, 32) & VTD_FS_D, !=, 0);
    stop(&c);
}

static void test_interrupt(void)
{
    Ccad c;
    struct ccad_completion r;

    start(&c);
    qpci_msix_enable(c.dev);
    /* Every vector is masked after a reset, so it stays pending. */
    r = run(&c, (struct ccad_desc) { .opcode = CCAD_OP_NOP });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    g_assert_false(qpci_msix_pending(c.dev, 1));

    run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_NOP, .flags = CCAD_DESC_INTERRUPT });
    for (int tries = 0; !qpci_msix_pending(c.dev, 1); tries++) {
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
    g_assert_false(qpci_msix_pending(c.dev, 0));

    /* The event vector, by a doorbell that points beyond the ring. */
    qpci_io_writel(c.dev, c.regs, CCAD_REG_EVENT_MASK, CCAD_EVENT_CTX_ERROR);
    qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(0) + CCAD_DB_TAIL,
                   c.tail + 17);
    g_assert_cmphex(context_state(&c, 0), ==, CCAD_CTX_ERROR |
                    CCAD_CAUSE_DOORBELL << CCAD_CTX_CAUSE_SHIFT);
    g_assert_true(qpci_msix_pending(c.dev, 0));
    stop(&c);
}

static void flr(Ccad *c)
{
    uint8_t cap = qpci_find_capability(c->dev, PCI_CAP_ID_EXP, 0);

    qpci_config_writew(c->dev, cap + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
}

static void test_flr(void)
{
    Ccad c;
    PageRequest request;
    struct ccad_completion r;

    start(&c);
    submit(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(33), .len = 8, .arg = 7 });
    request = next_page_request(&c);
    flr(&c);

    g_assert_cmphex(qtest_readw(c.qts, cfg(0x100 + PCI_ATS_CTRL)), ==, 0);
    g_assert_cmphex(qtest_readw(c.qts, cfg(0x110 + PCI_PASID_CTRL)), ==, 0);
    g_assert_cmphex(qtest_readw(c.qts, cfg(0x120 + PCI_PRI_CTRL)), ==, 0);
    g_assert_cmphex(qtest_readw(c.qts, cfg(0x120 + PCI_PRI_STATUS)), ==,
                    PCI_PRI_STATUS_PASID | PCI_PRI_STATUS_STOPPED);
    /* The answer that is still under way goes nowhere. */
    respond(&c, &request, 0);

    enable_device(&c);
    g_assert_cmphex(context_state(&c, 0), ==, CCAD_CTX_DISABLED);
    g_assert_cmpuint(counter(&c, CCAD_STAT_COMMANDS), ==, 0);
    enable_context(&c, 0, RING);
    r = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(7), .len = 8, .arg = 7 });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    /* The first write was lost with the reset. */
    g_assert_cmphex(get_pte(&c, 33), ==, 0);
    stop(&c);
}

/* PASID goes off under an enabled context: faults, and no stale notifier. */
static void test_pasid_off(void)
{
    Ccad c;

    start(&c);
    qtest_writew(c.qts, cfg(0x110 + PCI_PASID_CTRL), 0);
    qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(0) + CCAD_DB_TAIL, 1);
    for (int tries = 0; (context_state(&c, 0) & CCAD_CTX_STATE_MASK) !=
                        CCAD_CTX_ERROR; tries++) {
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
    g_assert_cmphex(context_state(&c, 0) >> CCAD_CTX_CAUSE_SHIFT, ==,
                    CCAD_CAUSE_RING);
    invalidate_page(&c, VA);
    g_assert_cmpuint(counter(&c, CCAD_STAT_INVALIDATIONS), ==, 1);
    qpci_io_writel(c.dev, c.regs, CCAD_CTX(0) + CCAD_CTX_CTRL, 0);
    qtest_writew(c.qts, cfg(0x110 + PCI_PASID_CTRL), PCI_PASID_CTRL_ENABLE);
    enable_context(&c, 0, RING);
    g_assert_cmpuint(run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_NOP }).status, ==, CCAD_COMP_SUCCESS);
    stop(&c);
}

static void test_stop(void)
{
    Ccad c;
    uint32_t i;

    start(&c);
    qtest_qmp_assert_success(c.qts, "{'execute':'stop'}");
    i = submit(&c, (struct ccad_desc) { .opcode = CCAD_OP_NOP });
    g_usleep(50000);
    g_assert_cmphex(qtest_readq(c.qts, record(i)), ==, 0);
    qtest_qmp_assert_success(c.qts, "{'execute':'cont'}");
    g_assert_cmpuint(wait_for(&c, i).status, ==, CCAD_COMP_SUCCESS);
    stop(&c);
}

static void test_statistics(void)
{
    Ccad c;
    QDict *answer;

    start(&c);
    run(&c, (struct ccad_desc) { .opcode = CCAD_OP_NOP });
    run(&c, (struct ccad_desc) { .opcode = 0xff });
    answer = qtest_qmp(c.qts, "{'execute':'qom-get','arguments':{'path':"
                       "'/machine/peripheral/ccad0','property':"
                       "'stat-commands'}}");
    g_assert_cmpint(qdict_get_int(answer, "return"), ==, 2);
    qobject_unref(answer);
    answer = qtest_qmp(c.qts, "{'execute':'qom-get','arguments':{'path':"
                       "'/machine/peripheral/ccad0','property':"
                       "'stat-errors'}}");
    g_assert_cmpint(qdict_get_int(answer, "return"), ==, 1);
    qobject_unref(answer);
    stop(&c);
}

void ccad_add_iommu_tests(void)
{
    qtest_add_func("/ccad/iommu/copy", test_copy);
    qtest_add_func("/ccad/iommu/local-memory", test_local_memory);
    qtest_add_func("/ccad/iommu/not-memory", test_not_memory);
    qtest_add_func("/ccad/iommu/page-request", test_page_request);
    qtest_add_func("/ccad/iommu/invalidate", test_invalidate);
    qtest_add_func("/ccad/iommu/wide-invalidation", test_wide_invalidation);
    qtest_add_func("/ccad/iommu/accessed-dirty", test_accessed_dirty);
    qtest_add_func("/ccad/iommu/interrupt", test_interrupt);
    qtest_add_func("/ccad/iommu/flr", test_flr);
    qtest_add_func("/ccad/iommu/pasid-off", test_pasid_off);
    qtest_add_func("/ccad/iommu/stop", test_stop);
    qtest_add_func("/ccad/iommu/statistics", test_statistics);
}
