/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qtest of ccad: migration to another QEMU while contexts run and a page
 * request is outstanding.  No command is lost or run twice.
 */
#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "ccad-test-process.h"

/*
 * Context 1 fills all that is mapped to these pages, one command after the
 * other, with a record each.
 */
#define RING1       13
#define RECORDS1    14
#define FIRST       2
#define PAGES1      8
#define WIDE        64
#define WIDE_PAGES  448
#define COMMANDS    16

static void start_load(Ccad *c)
{
    uint32_t tail = c->tail;    /* of context 0 */

    for (unsigned i = 0; i < WIDE_PAGES; i++) {
        set_pte(c, WIDE + i, PAGES + PAGE(FIRST + i % PAGES1), PTE_RW);
    }
    for (unsigned i = 0; i < COMMANDS; i++) {
        struct ccad_desc d = {
            .opcode = CCAD_OP_FILL, .dst = VA + PAGE(WIDE), .tag = i,
            .len = PAGE(WIDE_PAGES), .arg = i,
            .completion = VA + PAGE(RECORDS1) + i * 64,
        };

        qtest_memwrite(c->qts, PAGES + PAGE(RING1) + i * sizeof(d), &d,
                       sizeof(d));
    }
    enable_context(c, 1, VA + PAGE(RING1));
    c->tail = tail;
    qpci_io_writel(c->dev, c->regs, CCAD_DOORBELL(1) + CCAD_DB_TAIL, COMMANDS);
}

static void wait_for_status(QTestState *qts)
{
    for (int tries = 0; ; tries++) {
        QDict *answer = qtest_qmp(qts, "{'execute':'query-migrate'}");
        QDict *info = qdict_get_qdict(answer, "return");
        const char *status = qdict_get_try_str(info, "status") ?: "none";
        bool completed = g_str_equal(status, "completed");

        g_assert_cmpstr(status, !=, "failed");
        qobject_unref(answer);
        if (completed) {
            return;
        }
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
}

static void wait_for_run_state(QTestState *qts)
{
    for (int tries = 0; ; tries++) {
        QDict *answer = qtest_qmp(qts, "{'execute':'query-status'}");
        bool running = qdict_get_bool(qdict_get_qdict(answer, "return"),
                                      "running");

        qobject_unref(answer);
        if (running) {
            return;
        }
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
}

/* Go on in another QEMU. */
static void migrate(Ccad *c)
{
    g_autofree char *file = g_strdup_printf("%s/ccad-migration-%d",
                                            g_get_tmp_dir(), getpid());
    g_autofree char *uri = g_strdup_printf("file:%s", file);

    qtest_qmp_assert_success(c->qts, "{'execute':'migrate','arguments':"
                             "{'uri':%s}}", uri);
    wait_for_status(c->qts);
    qpci_free_pc(c->bus);
    qtest_quit(c->qts);

    c->qts = ccad_qtest_start("%s -incoming defer", c->machine);
    c->bus = qpci_new_pc(c->qts, NULL);
    c->dev->bus = c->bus;
    if (c->port) {
        c->port->bus = c->bus;
    }
    qtest_qmp_assert_success(c->qts, "{'execute':'migrate-incoming',"
                             "'arguments':{'uri':%s}}", uri);
    wait_for_run_state(c->qts);
    unlink(file);
}

static void test_load(void)
{
    for (int round = 0; round < 4; round++) {
        struct ccad_desc crc = {
            .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(4), .len = 0x100 };
        PageRequest request;
        struct ccad_completion r;
        uint64_t invalidations;
        uint32_t i;
        Ccad c;

        start(&c);
        qpci_msix_enable(c.dev);
        run(&c, crc);
        qpci_io_writeq(c.dev, c.mem, 0x4000, 0x0123456789abcdefULL);
        qtest_qmp_assert_success(c.qts, "{'execute':'ccad-inject-poison',"
                                 "'arguments':{'path':'ccad0','start':65536,"
                                 "'length':64}}");
        i = submit(&c, (struct ccad_desc) {
            .opcode = CCAD_OP_FILL, .dst = VA + PAGE(30), .len = 8, .arg = 7,
            .flags = CCAD_DESC_INTERRUPT });
        request = next_page_request(&c);
        start_load(&c);
        g_usleep(round * 1000);

        migrate(&c);
        g_assert_cmphex(context_state(&c, 0), ==, CCAD_CTX_ENABLED);
        g_assert_cmphex(qpci_io_readq(c.dev, c.mem, 0x4000), ==,
                        0x0123456789abcdefULL);
        g_assert_cmpuint(qpci_io_readq(c.dev, c.regs, CCAD_REG_POISON_LINES),
                         ==, 1);

        /* The answer comes to the other machine. */
        g_assert_false(qpci_msix_pending(c.dev, 1));
        set_pte(&c, 30, PAGES + PAGE(11), PTE_RW);
        respond(&c, &request, 0);
        r = wait_for(&c, i);
        g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
        g_assert_cmpuint(r.page_requests, ==, 1);
        g_assert_cmphex(qtest_readq(c.qts, PAGES + PAGE(11)), ==, 7);
        for (int tries = 0; !qpci_msix_pending(c.dev, 1); tries++) {
            g_assert_cmpint(tries, <, 10000);
            g_usleep(1000);
        }

        for (unsigned n = 0; n < COMMANDS; n++) {
            for (int tries = 0; ; tries++) {
                qtest_memread(c.qts, PAGES + PAGE(RECORDS1) + n * 64, &r,
                              sizeof(r));
                if (r.status) {
                    break;
                }
                g_assert_cmpint(tries, <, 20000);
                g_usleep(1000);
            }
            g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
            g_assert_cmpuint(r.tag, ==, n);
            g_assert_cmpuint(r.bytes_done, ==, PAGE(WIDE_PAGES));
        }
        g_assert_cmpuint(counter(&c, CCAD_STAT_COMMANDS), ==, COMMANDS + 2);
        g_assert_cmpuint(counter(&c, CCAD_STAT_ERRORS), ==, 0);
        g_assert_cmpuint(counter(&c, CCAD_STAT_WRITE_SYSTEM), ==,
                         COMMANDS * PAGE(WIDE_PAGES) + (COMMANDS + 2) * 64 +
                         8);

        /* Invalidations come as before, and the IOMMU translates. */
        invalidations = counter(&c, CCAD_STAT_INVALIDATIONS);
        invalidate_page(&c, VA + PAGE(4));
        g_assert_cmpuint(counter(&c, CCAD_STAT_INVALIDATIONS), ==,
                         invalidations + 1);
        r = run(&c, crc);
        g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
        g_assert_cmpuint(r.translations, ==, 1);
        stop(&c);
    }
}

/* What the ATC held is still there. */
static void test_atc(void)
{
    struct ccad_desc crc = {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(4), .len = 0x100 };
    struct ccad_completion before, after;
    Ccad c;

    start(&c);
    run(&c, crc);
    before = run(&c, crc);
    migrate(&c);
    after = run(&c, crc);
    g_assert_cmpuint(after.translations, ==, 0);
    g_assert_cmpuint(after.atc_hits, ==, before.atc_hits);
    g_assert_cmpuint(after.device_ns, ==, before.device_ns);
    stop(&c);
}

/* Several times, and once while the guest has the engines stopped. */
static void test_stopped(void)
{
    uint32_t i;
    Ccad c;

    start(&c);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CTRL, 0);
    i = submit(&c, (struct ccad_desc) { .opcode = CCAD_OP_NOP });
    migrate(&c);
    g_usleep(20000);
    g_assert_cmphex(qtest_readq(c.qts, record(i)), ==, 0);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_CTRL), ==, 0);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CTRL, CCAD_CTRL_ENABLE);
    g_assert_cmpuint(wait_for(&c, i).status, ==, CCAD_COMP_SUCCESS);
    migrate(&c);
    migrate(&c);
    g_assert_cmpuint(run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_NOP }).status, ==, CCAD_COMP_SUCCESS);
    flr(&c);
    enable_device(&c);
    enable_context(&c, 0, RING);
    g_assert_cmpuint(run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_NOP }).status, ==, CCAD_COMP_SUCCESS);
    stop(&c);
}

/* What an error has left in the registers of all that it went through. */
static void test_errors(void)
{
    const uint64_t root_status = CCAD_ECAM + (QPCI_DEVFN(5, 0) << 12) +
                                 0x100 + PCI_ERR_ROOT_STATUS;
    const uint16_t reporting = PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE |
                               PCI_EXP_DEVCTL_FERE;
    Ccad c;

    start_behind_port(&c, "");
    qpci_config_writew(c.port, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_SERR);
    qpci_config_writew(c.port, qpci_find_capability(c.port, PCI_CAP_ID_EXP, 0) +
                       PCI_EXP_DEVCTL, reporting);
    qpci_config_writew(c.dev, qpci_find_capability(c.dev, PCI_CAP_ID_EXP, 0) +
                       PCI_EXP_DEVCTL, reporting);
    set_pte(&c, 20, c.mem.addr, PTE_RW);
    qtest_qmp_assert_success(c.qts, "{'execute':'ccad-inject-poison',"
                             "'arguments':{'path':'ccad0','start':0,"
                             "'length':64}}");
    g_assert_cmpuint(run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(20), .len = 8
    }).status, ==, CCAD_COMP_POISON);
    for (int tries = 0; !(qtest_readl(c.qts, root_status) &
                          PCI_ERR_ROOT_UNCOR_RCV); tries++) {
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
    migrate(&c);
    g_assert_cmphex(qtest_readl(c.qts, root_status) & PCI_ERR_ROOT_UNCOR_RCV,
                    !=, 0);
    g_assert_cmphex(qtest_readl(c.qts, root_status + 4) >> 16, ==, c.sid);
    g_assert_cmphex(qtest_readl(c.qts, cfg(&c, 0x180 + PCI_ERR_UNCOR_STATUS)),
                    ==, PCI_ERR_UNC_POISON_TLP);
    g_assert_cmphex(qpci_io_readq(c.dev, c.regs, CCAD_REG_POISON_ADDR), ==, 0);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_EVENT), ==,
                    CCAD_EVENT_POISON);
    g_assert_cmpuint(run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_NOP }).status, ==, CCAD_COMP_SUCCESS);
    stop(&c);
}

void ccad_add_migration_tests(void)
{
    qtest_add_func("/ccad/migration/errors", test_errors);
    qtest_add_func("/ccad/migration/load", test_load);
    qtest_add_func("/ccad/migration/atc", test_atc);
    qtest_add_func("/ccad/migration/stopped", test_stopped);
}
