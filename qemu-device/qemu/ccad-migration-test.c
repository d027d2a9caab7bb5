/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qtest of ccad: snapshots, and migration to another QEMU, while contexts run
 * and a page request is outstanding.  No command is lost or run twice.
 */
#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
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

/* Pages sent of a migration that has not come to its end. */
static int64_t pages_sent(QTestState *qts)
{
    QDict *answer = qtest_qmp(qts, "{'execute':'query-migrate'}");
    QDict *info = qdict_get_qdict(answer, "return");
    int64_t count = 0;

    if (qdict_haskey(info, "ram")) {
        g_assert_cmpstr(qdict_get_str(info, "status"), ==, "active");
        count = qdict_get_int(qdict_get_qdict(info, "ram"), "normal");
    }
    qobject_unref(answer);
    return count;
}

/* The machine is in another QEMU now. */
static void switch_to(Ccad *c, QTestState *target)
{
    qpci_free_pc(c->bus);
    qtest_quit(c->qts);
    c->qts = target;
    c->bus = qpci_new_pc(target, NULL);
    c->dev->bus = c->bus;
    if (c->port) {
        c->port->bus = c->bus;
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
    switch_to(c, ccad_qtest_start("%s -incoming defer", c->machine));
    qtest_qmp_assert_success(c->qts, "{'execute':'migrate-incoming',"
                             "'arguments':{'uri':%s}}", uri);
    wait_for_run_state(c->qts);
    unlink(file);
}

/*
 * What is under way while the state is saved: a page request that has not been
 * answered, an entry of the ATC, poison, and context 1.
 */
typedef struct Load {
    PageRequest request;
    uint32_t i;             /* the command that waits for it */
    uint64_t commands;      /* that ended before */
    uint64_t written;       /* by them, records included */
} Load;

static const struct ccad_desc crc = {
    .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(4), .len = 0x100 };

static void begin(Ccad *c, Load *load)
{
    qpci_msix_enable(c->dev);
    run(c, crc);
    qpci_io_writeq(c->dev, c->mem, 0x4000, 0x0123456789abcdefULL);
    qtest_qmp_assert_success(c->qts, "{'execute':'ccad-inject-poison',"
                             "'arguments':{'path':'ccad0','start':65536,"
                             "'length':64}}");
    load->commands = counter(c, CCAD_STAT_COMMANDS);
    load->written = counter(c, CCAD_STAT_WRITE_SYSTEM);
    load->i = submit(c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(30), .len = 8, .arg = 7,
        .flags = CCAD_DESC_INTERRUPT });
    load->request = next_page_request(c);
    start_load(c);
}

/* All of it goes on from where it was, to its end. */
static void finish(Ccad *c, Load *load)
{
    struct ccad_completion r;
    uint64_t invalidations;

    g_assert_cmphex(context_state(c, 0), ==, CCAD_CTX_ENABLED);
    g_assert_cmphex(qpci_io_readq(c->dev, c->mem, 0x4000), ==,
                    0x0123456789abcdefULL);
    g_assert_cmpuint(qpci_io_readq(c->dev, c->regs, CCAD_REG_POISON_LINES), ==,
                     1);

    g_assert_false(qpci_msix_pending(c->dev, 1));
    set_pte(c, 30, PAGES + PAGE(11), PTE_RW);
    respond(c, &load->request, 0);
    r = wait_for(c, load->i);
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmpuint(r.page_requests, ==, 1);
    g_assert_cmphex(qtest_readq(c->qts, PAGES + PAGE(11)), ==, 7);
    for (int tries = 0; !qpci_msix_pending(c->dev, 1); tries++) {
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }

    for (unsigned n = 0; n < COMMANDS; n++) {
        r = wait_for_record(c, PAGES + PAGE(RECORDS1) + n * 64);
        g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
        g_assert_cmpuint(r.tag, ==, n);
        g_assert_cmpuint(r.bytes_done, ==, PAGE(WIDE_PAGES));
    }
    g_assert_cmpuint(counter(c, CCAD_STAT_COMMANDS), ==,
                     load->commands + COMMANDS + 1);
    g_assert_cmpuint(counter(c, CCAD_STAT_ERRORS), ==, 0);
    g_assert_cmpuint(counter(c, CCAD_STAT_WRITE_SYSTEM), ==,
                     load->written + COMMANDS * PAGE(WIDE_PAGES) +
                     (COMMANDS + 1) * 64 + 8);

    /* Invalidations come as before, and the IOMMU translates. */
    invalidations = counter(c, CCAD_STAT_INVALIDATIONS);
    invalidate_page(c, VA + PAGE(4));
    g_assert_cmpuint(counter(c, CCAD_STAT_INVALIDATIONS), ==,
                     invalidations + 1);
    r = run(c, crc);
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    g_assert_cmpuint(r.translations, ==, 1);
}

static void test_load(void)
{
    for (int round = 0; round < 4; round++) {
        Load load;
        Ccad c;

        start(&c);
        begin(&c, &load);
        g_usleep(round * 1000);
        migrate(&c);
        finish(&c, &load);
        stop(&c);
    }
}

/* Pages that engines write when they have been sent are sent again. */
static void test_live(void)
{
    /* What takes long to send lies behind all that the process has. */
    const uint64_t behind = 0x14000000, size = 64 << 20;
    const uint64_t word = PAGES + PAGE(10);
    g_autofree char *path = g_strdup_printf("%s/ccad-migration-%d.sock",
                                            g_get_tmp_dir(), getpid());
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    const unsigned runs = 100;
    QTestState *target;
    Load load;
    Ccad c;

    start(&c);
    qtest_memset(c.qts, behind, 0x5a, size);
    target = ccad_qtest_start("%s -incoming defer", c.machine);
    qtest_qmp_assert_success(target, "{'execute':'migrate-incoming',"
                             "'arguments':{'uri':%s}}", uri);
    qtest_qmp_assert_success(c.qts, "{'execute':'migrate-set-parameters',"
                             "'arguments':{'max-bandwidth':2097152}}");
    qtest_qmp_assert_success(c.qts, "{'execute':'migrate','arguments':"
                             "{'uri':%s}}", uri);
    for (int tries = 0; pages_sent(c.qts) < 256; tries++) {
        g_assert_cmpint(tries, <, 20000);
        g_usleep(1000);
    }
    for (unsigned i = 0; i < runs; i++) {
        g_assert_cmpuint(run(&c, (struct ccad_desc) {
            .opcode = CCAD_OP_FETCH_ADD, .dst = VA + PAGE(10), .len = 8,
            .arg = 1 }).status, ==, CCAD_COMP_SUCCESS);
    }
    begin(&c, &load);
    g_assert_cmpint(pages_sent(c.qts), >=, 256);
    qtest_qmp_assert_success(c.qts, "{'execute':'migrate-set-parameters',"
                             "'arguments':{'max-bandwidth':0,"
                             "'downtime-limit':10000}}");
    wait_for_status(c.qts);
    wait_for_run_state(target);
    switch_to(&c, target);

    g_assert_cmpuint(qtest_readq(c.qts, word), ==, runs);
    finish(&c, &load);
    g_assert_cmpuint(run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FETCH_ADD, .dst = VA + PAGE(10), .len = 8,
        .arg = 1 }).result, ==, runs);
    stop(&c);
    unlink(path);
}

/* What the ATC held is still there. */
static void test_atc(void)
{
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
    const uint64_t root_status = port_aer(PCI_ERR_ROOT_STATUS);
    Ccad c;

    start_behind_port(&c, "");
    enable_aer(&c);
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
    g_assert_cmphex(qtest_readl(c.qts, port_aer(PCI_ERR_ROOT_ERR_SRC)) >> 16,
                    ==, c.sid);
    g_assert_cmphex(qtest_readl(c.qts, cfg(&c, 0x180 + PCI_ERR_UNCOR_STATUS)),
                    ==, PCI_ERR_UNC_POISON_TLP);
    g_assert_cmphex(qpci_io_readq(c.dev, c.regs, CCAD_REG_POISON_ADDR), ==, 0);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_EVENT), ==,
                    CCAD_EVENT_POISON);
    g_assert_cmpuint(run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_NOP }).status, ==, CCAD_COMP_SUCCESS);
    stop(&c);
}

/* Snapshots */

static void wait_for_job(QTestState *qts, const char *id)
{
    for (int tries = 0; ; tries++) {
        QDict *answer = qtest_qmp(qts, "{'execute':'query-jobs'}");
        QList *jobs = qdict_get_qlist(answer, "return");
        QDict *job = qobject_to(QDict, qlist_peek(jobs));
        bool concluded;

        g_assert_nonnull(job);
        g_assert_cmpstr(qdict_get_str(job, "id"), ==, id);
        concluded = g_str_equal(qdict_get_str(job, "status"), "concluded");
        g_assert_cmpstr(qdict_get_try_str(job, "error") ?: "", ==, "");
        qobject_unref(answer);
        if (concluded) {
            break;
        }
        g_assert_cmpint(tries, <, 20000);
        g_usleep(1000);
    }
    qtest_qmp_assert_success(qts, "{'execute':'job-dismiss','arguments':"
                             "{'id':%s}}", id);
}

/* The block node "snap": a qcow2 image, to hold the machine's state. */
static void add_image(QTestState *qts, const char *file)
{
    qtest_qmp_assert_success(qts, "{'execute':'blockdev-create','arguments':"
                             "{'job-id':'make','options':{'driver':'file',"
                             "'filename':%s,'size':0}}}", file);
    wait_for_job(qts, "make");
    qtest_qmp_assert_success(qts, "{'execute':'blockdev-add','arguments':"
                             "{'driver':'file','node-name':'image',"
                             "'filename':%s}}", file);
    qtest_qmp_assert_success(qts, "{'execute':'blockdev-create','arguments':"
                             "{'job-id':'format','options':{'driver':'qcow2',"
                             "'file':'image','size':1048576}}}");
    wait_for_job(qts, "format");
    qtest_qmp_assert_success(qts, "{'execute':'blockdev-add','arguments':"
                             "{'driver':'qcow2','node-name':'snap',"
                             "'file':'image'}}");
}

static void snapshot(QTestState *qts, const char *command)
{
    qtest_qmp_assert_success(qts, "{'execute':%s,'arguments':{'job-id':"
                             "'snapshot','tag':'busy','vmstate':'snap',"
                             "'devices':['snap']}}", command);
    wait_for_job(qts, "snapshot");
    wait_for_run_state(qts);
}

/* What was saved under load goes on to the same end, however often. */
static void test_snapshot(void)
{
    g_autofree char *file = g_strdup_printf("%s/ccad-snapshot-%d.qcow2",
                                            g_get_tmp_dir(), getpid());
    Load load;
    Ccad c, saved;

    start(&c);
    add_image(c.qts, file);
    begin(&c, &load);
    saved = c;
    snapshot(c.qts, "snapshot-save");
    finish(&c, &load);

    /* Whatever is there when the old state comes back is forgotten. */
    qpci_io_writeq(c.dev, c.mem, 0x4000, 0);
    run(&c, (struct ccad_desc) { .opcode = 0xff });
    submit(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(31), .len = 8 });
    next_page_request(&c);
    disable_context(&c, 1);
    start_load(&c);
    snapshot(c.qts, "snapshot-load");
    c = saved;
    finish(&c, &load);

    flr(&c);
    snapshot(c.qts, "snapshot-load");
    c = saved;
    finish(&c, &load);

    snapshot(c.qts, "snapshot-load");
    snapshot(c.qts, "snapshot-load");
    c = saved;
    finish(&c, &load);
    stop(&c);
    unlink(file);
}

void ccad_add_migration_tests(void)
{
    qtest_add_func("/ccad/migration/errors", test_errors);
    qtest_add_func("/ccad/migration/load", test_load);
    qtest_add_func("/ccad/migration/live", test_live);
    qtest_add_func("/ccad/migration/atc", test_atc);
    qtest_add_func("/ccad/migration/stopped", test_stopped);
    qtest_add_func("/ccad/migration/snapshot", test_snapshot);
}
