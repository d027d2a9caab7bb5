/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qtest of ccad through the emulated IOMMU: commands of a context with a
 * PASID, whose first stage page tables are set up here.
 */
#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "ccad-test-process.h"

#define OTHER_TABLES    0x11020000ULL

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
    struct ccad_completion r;

    start(&c);
    set_pte(&c, 20, c.mem.addr + 0x10000, PTE_RW);
    r = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(20), .len = 0x1000,
        .arg = 0x1122334455667788ULL });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmpuint(r.bytes_local, ==, 0x1000);
    g_assert_cmphex(qpci_io_readq(c.dev, c.mem, 0x10ff8), ==,
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
    queue(&c, VTD_INV_DESC_DEV_PIOTLB | c.sid << 16 | (uint64_t)PASID << 32,
          0x7ffffffffffff000ULL | 1 << 11);
    after = run(&c, crc);
    g_assert_cmphex(after.result, !=, before.result);
    stop(&c);
}

/*
 * With fault processing disabled (FPD) the IOMMU has not looked at the rest of
 * a PASID's entries when it walks: bad ones translate nothing.
 */
static void test_bad_pasid_entry(void)
{
    const uint64_t entry = QVTD_PASID_TABLE_BASE + PASID * VTD_PASID_ENTRY_SIZE;
    const struct ccad_desc crc = {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(4), .len = 0x1000,
        .flags = CCAD_DESC_NO_PAGE_REQUEST };
    const uint64_t at = (VA >> 39 & 511) * 8;
    uint64_t dir, first, tables, next;
    Ccad c;

    start(&c);
    dir = qtest_readq(c.qts, QVTD_PASID_DIR_BASE);
    first = qtest_readq(c.qts, entry);
    tables = qtest_readq(c.qts, entry + 16);
    next = qtest_readq(c.qts, tables + at);
    /* What a walk from bad entries would find: no address, and a level more */
    qtest_writeq(c.qts, at, next);
    qtest_writeq(c.qts, tables, next);
    g_assert_cmpuint(run(&c, crc).status, ==, CCAD_COMP_SUCCESS);
    qtest_writeq(c.qts, QVTD_PASID_DIR_BASE, dir | VTD_PASID_DIR_FPD);
    for (int bad = 0; bad < 4; bad++) {
        qtest_writeq(c.qts, entry, bad == 1 ? 0 : first);
        /* First stage paging mode: 1 are five levels */
        qtest_writeq(c.qts, entry + 16, tables | (bad == 2) << 2);
        qtest_writeq(c.qts, QVTD_PASID_DIR_BASE,
                     bad == 3 ? VTD_PASID_DIR_FPD : dir | VTD_PASID_DIR_FPD);
        invalidate_page(&c, VA + PAGE(4));
        g_assert_cmpuint(run(&c, crc).status, ==,
                         bad ? CCAD_COMP_PAGE_FAULT : CCAD_COMP_SUCCESS);
    }
    stop(&c);
}

/* An entry of 2 MiB, which goes as a whole. */
static void test_huge_page(void)
{
    Ccad c;
    struct ccad_desc fill = {
        .opcode = CCAD_OP_FILL, .dst = HUGE_VA + PAGE(7) + 0x10,
        .len = PAGE(200), .arg = 0x1122334455667788ULL };
    struct ccad_completion r;
    QDict *state;

    start(&c);
    set_huge(&c, HUGE_PAGE);
    r = run(&c, fill);
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmpuint(r.translations, ==, 1);
    g_assert_cmphex(qtest_readq(c.qts, HUGE_PAGE + PAGE(207) + 8), ==,
                    fill.arg);
    g_assert_cmphex(qtest_readq(c.qts, HUGE_PAGE + PAGE(207) + 0x10), ==, 0);
    state = info(&c);
    g_assert_cmpint(qdict_get_int(qdict_get_qdict(state, "atc"), "entries-2m"),
                    ==, 1);
    qobject_unref(state);
    r = run(&c, fill);
    g_assert_cmpuint(r.translations, ==, 0);

    set_huge(&c, 0);
    invalidate_page(&c, HUGE_VA + PAGE(511));
    fill.flags = CCAD_DESC_NO_PAGE_REQUEST;
    r = run(&c, fill);
    g_assert_cmpuint(r.status, ==, CCAD_COMP_PAGE_FAULT);
    g_assert_cmphex(r.fault_addr, ==, fill.dst);
    stop(&c);
}

/* Two processes at the same addresses see each their own. */
static void test_two_pasids(void)
{
    struct ccad_desc crc = {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(4), .len = 0x1000 };
    struct ccad_completion first, second;
    uint64_t invalidations;
    Ccad c;

    start(&c);
    fill_page(&c, 4, 1);
    first = run(&c, crc);

    /* Context 1 is a process whose pages lie one after those of the first. */
    set_up_pasid(&c, PASID2, OTHER_TABLES, PAGES + PAGE(1));
    qtest_memset(c.qts, PAGES + PAGE(1), 0, 64);
    crc.completion = VA + PAGE(0) + 0xf00;
    qtest_memwrite(c.qts, PAGES + PAGE(1), &crc, sizeof(crc));
    fill_page(&c, 5, 2);
    enable_context_with(&c, 1, RING, PASID2);
    qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(1) + CCAD_DB_TAIL, 1);
    second = wait_for_record(&c, PAGES + PAGE(1) + 0xf00);
    g_assert_cmpuint(second.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmpuint(second.translations, ==, 1);
    g_assert_cmphex(second.result, !=, first.result);
    crc.completion = 0;
    crc.src = VA + PAGE(5);
    g_assert_cmphex(run(&c, crc).result, ==, second.result);
    crc.src = VA + PAGE(4);

    /* One of all PASIDs, the G bit, is told to each. */
    invalidations = counter(&c, CCAD_STAT_INVALIDATIONS);
    set_pte(&c, 4, PAGES + PAGE(6), PTE_RW);
    fill_page(&c, 6, 3);
    queue(&c, VTD_INV_DESC_PIOTLB | VTD_INV_DESC_PIOTLB_ALL_IN_PASID |
          (uint64_t)QVTD_DOMAIN_ID << 16 | (uint64_t)PASID << 32, 0);
    queue(&c, VTD_INV_DESC_DEV_PIOTLB | c.sid << 16 | (uint64_t)PASID << 32,
          (VA + PAGE(4)) | 1);
    g_assert_cmpuint(counter(&c, CCAD_STAT_INVALIDATIONS), ==,
                     invalidations + 2);
    second = run(&c, crc);
    g_assert_cmpuint(second.translations, ==, 1);
    g_assert_cmphex(second.result, !=, first.result);

    /* An invalidation is of one of them, and so is the end of a context. */
    invalidations = counter(&c, CCAD_STAT_INVALIDATIONS);
    queue(&c, VTD_INV_DESC_DEV_PIOTLB | c.sid << 16 | (uint64_t)PASID2 << 32,
          VA + PAGE(4));
    g_assert_cmpuint(counter(&c, CCAD_STAT_INVALIDATIONS), ==,
                     invalidations + 1);
    g_assert_cmpuint(run(&c, crc).translations, ==, 0);
    disable_context(&c, 1);
    g_assert_cmpuint(run(&c, crc).translations, ==, 0);
    queue(&c, VTD_INV_DESC_DEV_PIOTLB | c.sid << 16 | (uint64_t)PASID << 32,
          VA + PAGE(4));
    g_assert_cmpuint(run(&c, crc).translations, ==, 1);
    stop(&c);
}

/* A guest that leaves the IOMMU without PASIDs gets errors, no more. */
static void test_legacy_mode(void)
{
    Ccad c;

    start(&c);
    disable_context(&c, 0);
    qtest_writel(c.qts, VTD + DMAR_GCMD_REG, 0);
    qvtd_build_translation(c.qts, QVTD_TM_LEGACY_TRANS, c.sid);
    qtest_writeq(c.qts, VTD + DMAR_RTADDR_REG, QVTD_ROOT_TABLE_BASE);
    qtest_writel(c.qts, VTD + DMAR_GCMD_REG, VTD_GCMD_SRTP);
    for (int on = 0; on < 2; on++) {
        qtest_writel(c.qts, VTD + DMAR_GCMD_REG, on ? VTD_GCMD_TE : 0);
        enable_context(&c, 0, RING);
        qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(0) + CCAD_DB_TAIL, 1);
        wait_for_error(&c, 0, CCAD_CAUSE_RING);
        disable_context(&c, 0);
    }

    /* As before. */
    flr(&c);
    set_up(&c);
    g_assert_cmpuint(run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_NOP }).status, ==, CCAD_COMP_SUCCESS);
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

    g_assert_cmphex(qtest_readw(c.qts, cfg(&c, 0x100 + PCI_ATS_CTRL)), ==, 0);
    g_assert_cmphex(qtest_readw(c.qts, cfg(&c, 0x110 + PCI_PASID_CTRL)), ==, 0);
    g_assert_cmphex(qtest_readw(c.qts, cfg(&c, 0x120 + PCI_PRI_CTRL)), ==, 0);
    g_assert_cmphex(qtest_readw(c.qts, cfg(&c, 0x120 + PCI_PRI_STATUS)), ==,
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

/*
 * One time line: two contexts that use local memory at the same time take as
 * long as both, and without it as long as one of them.
 */
static void test_ordered(void)
{
    uint64_t alone[2], both[2];

    for (int ordered = 0; ordered < 2; ordered++) {
        for (int contexts = 1; contexts <= 2; contexts++) {
            struct ccad_desc fill = {
                .opcode = CCAD_OP_FILL, .dst = HUGE_VA, .len = 0x200000,
                .completion = VA + PAGE(6) };
            Ccad c;

            start_behind_port(&c, ordered ? ",ordered=on,local-bandwidth=1000"
                                          : ",local-bandwidth=1000");
            set_huge(&c, c.mem.addr);
            qpci_io_writel(c.dev, c.regs, CCAD_REG_CTRL, 0);
            submit(&c, fill);
            if (contexts == 2) {
                enable_context(&c, 1, VA + PAGE(13));
                qtest_memwrite(c.qts, PAGES + PAGE(13), &fill, sizeof(fill));
                qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(1) + CCAD_DB_TAIL,
                               1);
            }
            qpci_io_writel(c.dev, c.regs, CCAD_REG_CTRL, CCAD_CTRL_ENABLE);
            wait_for(&c, 0);
            if (contexts == 2) {
                wait_for_record(&c, PAGES + PAGE(6));
            }
            for (int tries = 0; counter(&c, CCAD_STAT_COMMANDS) !=
                                contexts; tries++) {
                g_assert_cmpint(tries, <, 10000);
                g_usleep(1000);
            }
            (contexts == 2 ? both : alone)[ordered] =
                qpci_io_readq(c.dev, c.regs, CCAD_REG_CLOCK);
            stop(&c);
        }
    }
    g_assert_cmpuint(alone[0], ==, alone[1]);
    g_assert_cmpuint(both[0], <, alone[0] + alone[0] / 100);
    g_assert_cmpuint(both[1], >, 2 * alone[1] - alone[1] / 100);
    g_assert_cmpuint(both[1], <, 2 * alone[1]);
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

/* Whichever way commands are cut short, memory is left alone afterwards. */
static void test_cut_short(void)
{
    const unsigned first = 2, pages = SETUP_PAGES - first;
    g_autofree uint8_t *got = g_malloc(PAGE(pages));
    Ccad c;

    start(&c);
    qpci_msix_enable(c.dev);
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 15; i++) {
            submit(&c, (struct ccad_desc) {
                .opcode = CCAD_OP_FILL, .dst = VA + PAGE(first),
                .len = PAGE(pages), .arg = -1ULL,
                .flags = CCAD_DESC_INTERRUPT });
            if (round % 4 == 3) {
                invalidate_page(&c, VA + PAGE(first + i % pages));
            }
        }
        switch (round % 4) {
        case 0:
            flr(&c);
            break;
        case 1:
            qpci_io_writel(c.dev, c.regs, CCAD_REG_CTRL, CCAD_CTRL_RESET);
            break;
        case 2:
            disable_context(&c, 0);
            break;
        case 3:
            qtest_writew(c.qts, cfg(&c, 0x110 + PCI_PASID_CTRL), 0);
            break;
        }
        qtest_memset(c.qts, PAGES + PAGE(first), 0, PAGE(pages));
        g_usleep(2000);
        qtest_memread(c.qts, PAGES + PAGE(first), got, PAGE(pages));
        for (unsigned i = 0; i < PAGE(pages); i++) {
            g_assert_cmphex(got[i], ==, 0);
        }
        flr(&c);
        enable_device(&c);
        enable_context(&c, 0, RING);
    }
    stop(&c);
}

void ccad_add_iommu_tests(void)
{
    qtest_add_func("/ccad/iommu/copy", test_copy);
    qtest_add_func("/ccad/iommu/local-memory", test_local_memory);
    qtest_add_func("/ccad/iommu/not-memory", test_not_memory);
    qtest_add_func("/ccad/iommu/invalidate", test_invalidate);
    qtest_add_func("/ccad/iommu/wide-invalidation", test_wide_invalidation);
    qtest_add_func("/ccad/iommu/bad-pasid-entry", test_bad_pasid_entry);
    qtest_add_func("/ccad/iommu/huge-page", test_huge_page);
    qtest_add_func("/ccad/iommu/two-pasids", test_two_pasids);
    qtest_add_func("/ccad/iommu/legacy-mode", test_legacy_mode);
    qtest_add_func("/ccad/iommu/accessed-dirty", test_accessed_dirty);
    qtest_add_func("/ccad/iommu/interrupt", test_interrupt);
    qtest_add_func("/ccad/iommu/flr", test_flr);
    qtest_add_func("/ccad/iommu/ordered", test_ordered);
    qtest_add_func("/ccad/iommu/cut-short", test_cut_short);
    qtest_add_func("/ccad/iommu/stop", test_stop);
}
