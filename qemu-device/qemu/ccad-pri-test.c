/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qtest of ccad: page requests and their responses through the IOMMU. */
#include "qemu/osdep.h"
#include "ccad-test-process.h"

static uint16_t pri_status(Ccad *c)
{
    return qtest_readw(c->qts, cfg(c, 0x120 + PCI_PRI_STATUS));
}

static void test_single(void)
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
    g_assert_true(pri_status(&c) & PCI_PRI_STATUS_UPRGI);

    /* Not asked for. */
    r = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(31), .len = 8,
        .flags = CCAD_DESC_NO_PAGE_REQUEST });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_PAGE_FAULT);
    stop(&c);
}

/* A group for pages 30 to 32, which get something behind them. */
static void serve_group(Ccad *c)
{
    PageRequest requests[3];

    for (unsigned n = 0; n < 3; n++) {
        requests[n] = next_of_group(c, n == 2);
        g_assert_cmphex(requests[n].va, ==, VA + PAGE(30 + n));
        g_assert_cmpuint(requests[n].group, ==, requests[0].group);
        set_pte(c, 30 + n, PAGES + PAGE(4 + n), PTE_RW);
    }
    respond(c, &requests[2], 0);
}

/* What comes next in an operand is requested along, and answered along. */
static void test_group(void)
{
    Ccad c;
    struct ccad_completion r;
    uint32_t i;

    start(&c);
    i = submit(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(30) + 0xff0,
        .len = 0x1020, .arg = ~0ULL });
    serve_group(&c);
    r = wait_for(&c, i);
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmpuint(r.page_requests, ==, 3);
    g_assert_cmphex(qtest_readq(c.qts, PAGES + PAGE(6) + 8), ==, ~0ULL);
    g_assert_cmphex(qtest_readq(c.qts, PAGES + PAGE(6) + 0x10), ==, 0);
    stop(&c);
}

/* Response Failure: told to software, by the command and in the status. */
static void test_failure(void)
{
    Ccad c;

    start(&c);
    for (int by_enabling = 0; by_enabling < 2; by_enabling++) {
        uint64_t ctrl = cfg(&c, 0x120 + PCI_PRI_CTRL);
        PageRequest request;
        struct ccad_completion r;
        uint32_t i = submit(&c, (struct ccad_desc) {
            .opcode = CCAD_OP_FILL, .dst = VA + PAGE(30), .len = 8 });

        request = next_page_request(&c);
        g_assert_cmphex(pri_status(&c) & PCI_PRI_STATUS_RF, ==, 0);
        respond(&c, &request, 0xf);
        r = wait_for(&c, i);
        g_assert_cmpuint(r.status, ==, CCAD_COMP_PAGE_FAULT);
        g_assert_cmpuint(r.access, ==, CCAD_ACCESS_WRITE);
        g_assert_cmphex(pri_status(&c) & PCI_PRI_STATUS_RF, !=, 0);
        if (by_enabling) {
            qtest_writew(c.qts, ctrl, 0);
            g_assert_cmphex(pri_status(&c) & PCI_PRI_STATUS_RF, !=, 0);
            qtest_writew(c.qts, ctrl, PCI_PRI_CTRL_ENABLE);
        } else {
            qtest_writew(c.qts, cfg(&c, 0x120 + PCI_PRI_STATUS),
                         PCI_PRI_STATUS_RF);
        }
        g_assert_cmphex(pri_status(&c) & PCI_PRI_STATUS_RF, ==, 0);
    }
    stop(&c);
}

/*
 * The IOMMU's queue is full, from the beginning of a group or in its middle: it
 * is sent again from time to time, until software has made room.
 */
static void test_overflow(void)
{
    for (unsigned room = 0; room < 2; room++) {
        uint64_t tail, full, before;
        uint32_t i;
        Ccad c;

        start(&c);
        tail = qtest_readq(c.qts, VTD + DMAR_PQT_REG);
        full = tail + room * VTD_PQA_ENTRY_SIZE;
        qtest_writeq(c.qts, VTD + DMAR_PQH_REG, full + VTD_PQA_ENTRY_SIZE);
        i = submit(&c, (struct ccad_desc) {
            .opcode = CCAD_OP_FILL, .dst = VA + PAGE(30), .len = PAGE(3) });
        wait_for_place(&c, "delayed");
        before = counter(&c, CCAD_STAT_TRANSLATIONS);
        for (unsigned n = 0; n < 50; n++) {
            wait_for_place(&c, "delayed");
            /* Seen, but nothing is done about it: it overflows again. */
            qtest_writel(c.qts, VTD + DMAR_PRS_REG, VTD_PR_STATUS_PRO);
            qtest_clock_step(c.qts, 1000 * 1000);
            for (int tries = 0; !(qtest_readl(c.qts, VTD + DMAR_PRS_REG) &
                                  VTD_PR_STATUS_PRO); tries++) {
                g_assert_cmpint(tries, <, 10000);
                g_usleep(1000);
            }
        }
        g_assert_cmpuint(counter(&c, CCAD_STAT_TRANSLATIONS), ==, before);
        g_assert_cmphex(qtest_readq(c.qts, VTD + DMAR_PQT_REG), ==, full);
        /* Neither time nor requests, while none has been answered. */
        g_assert_cmpuint(counter(&c, CCAD_STAT_PAGE_REQUESTS), ==, 0);

        /* Software throws away what is there of the group. */
        wait_for_place(&c, "delayed");
        qtest_writeq(c.qts, VTD + DMAR_PQH_REG, full);
        qtest_writel(c.qts, VTD + DMAR_PRS_REG, VTD_PR_STATUS_PRO |
                     VTD_PR_STATUS_PPR);
        qtest_clock_step(c.qts, 1000 * 1000);
        serve_group(&c);
        g_assert_cmpuint(wait_for(&c, i).status, ==, CCAD_COMP_SUCCESS);
        g_assert_cmpuint(counter(&c, CCAD_STAT_PAGE_REQUESTS), ==, 3);
        stop(&c);
    }
}

/* Without the page request interface every page that is missing is a fault. */
static void test_off(void)
{
    struct ccad_desc fill = {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(30), .len = 8 };
    Ccad c;
    uint32_t i;

    start(&c);
    i = submit(&c, fill);
    next_page_request(&c);
    qtest_writew(c.qts, cfg(&c, 0x120 + PCI_PRI_CTRL), 0);
    g_assert_cmpuint(wait_for(&c, i).status, ==, CCAD_COMP_PAGE_FAULT);
    g_assert_cmphex(pri_status(&c) & PCI_PRI_STATUS_STOPPED, !=, 0);
    g_assert_cmpuint(run(&c, fill).status, ==, CCAD_COMP_PAGE_FAULT);
    g_assert_cmpuint(run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_NOP }).status, ==, CCAD_COMP_SUCCESS);
    stop(&c);
}

void ccad_add_pri_tests(void)
{
    qtest_add_func("/ccad/pri/single", test_single);
    qtest_add_func("/ccad/pri/group", test_group);
    qtest_add_func("/ccad/pri/failure", test_failure);
    qtest_add_func("/ccad/pri/overflow", test_overflow);
    qtest_add_func("/ccad/pri/off", test_off);
}
