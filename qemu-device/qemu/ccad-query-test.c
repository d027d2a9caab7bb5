/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qtest of ccad: what the monitor tells of the state, against what it is. */
#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "ccad-test-process.h"

static void test_query(void)
{
    const uint32_t block = CCAD_CTX(0);
    Ccad c;
    PageRequest request;
    QDict *state, *context, *one;
    uint32_t i;

    start(&c);
    disable_context(&c, 0);
    qpci_io_writel(c.dev, c.regs, block + CCAD_CTX_PRIORITY, 2);
    qpci_io_writel(c.dev, c.regs, block + CCAD_CTX_SLICE_NS, 5000);
    qpci_io_writel(c.dev, c.regs, block + CCAD_CTX_TIMEOUT_MS, 50);
    enable_context(&c, 0, RING);
    run(&c, (struct ccad_desc) { .opcode = CCAD_OP_NOP });
    run(&c, (struct ccad_desc) { .opcode = 0xff });
    /* Half a page, and then one that is missing. */
    i = submit(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(SETUP_PAGES - 1) + 0x800,
        .len = 0x1000 });
    request = next_page_request(&c);

    /* For the next time. */
    qpci_io_writel(c.dev, c.regs, block + CCAD_CTX_PASID, PASID2);
    qpci_io_writel(c.dev, c.regs, block + CCAD_CTX_VECTOR, 9);
    qpci_io_writeq(c.dev, c.regs, block + CCAD_CTX_RING, VA);
    qpci_io_writel(c.dev, c.regs, block + CCAD_CTX_RING_SHIFT, 7);
    qpci_io_writel(c.dev, c.regs, block + CCAD_CTX_PRIORITY, 3);
    qpci_io_writel(c.dev, c.regs, block + CCAD_CTX_SLICE_NS, 6000);
    qpci_io_writel(c.dev, c.regs, block + CCAD_CTX_TIMEOUT_MS, 60);

    state = info(&c);
    g_assert_true(qdict_get_bool(state, "enabled"));
    g_assert_false(qdict_get_bool(state, "paused"));
    g_assert_cmpint(number(state, "statistics.commands"), ==, 2);
    g_assert_cmpint(number(state, "statistics.errors"), ==, 1);
    g_assert_cmpint(number(state, "atc.sets"), ==, 64);
    g_assert_cmpint(number(state, "atc.entries"), >=, 2);
    g_assert_cmpuint(qlist_size(qdict_get_qlist(state, "engines")), ==, 2);
    g_assert_cmpuint(qlist_size(qdict_get_qlist(state, "contexts")), ==, 1);
    g_assert_cmpint(number(state, "page-request-allocation"), ==, 32);
    g_assert_false(qdict_haskey(state, "local-busy-ns"));
    g_assert_false(qdict_haskey(state, "system-busy-ns"));

    context = element(state, "contexts", 0);
    g_assert_cmpint(number(context, "context"), ==, 0);
    g_assert_false(qdict_haskey(context, "delayed-until-ns"));
    g_assert_cmpstr(qdict_get_str(context, "state"), ==, "enabled");
    g_assert_cmpstr(qdict_get_str(context, "cause"), ==, "none");
    g_assert_cmpstr(qdict_get_str(context, "place"), ==, "waiting");
    g_assert_false(qdict_get_bool(context, "physical"));
    g_assert_cmpint(number(context, "pasid"), ==, PASID2);
    g_assert_cmpint(number(context, "vector"), ==, 9);
    g_assert_cmphex(number(context, "ring"), ==, VA);
    g_assert_cmpint(number(context, "ring-shift"), ==, 7);
    g_assert_cmpint(number(context, "priority"), ==, 3);
    g_assert_cmpint(number(context, "slice-ns"), ==, 6000);
    g_assert_cmpint(number(context, "timeout-ms"), ==, 60);
    one = qdict_get_qdict(context, "latched");
    g_assert_false(qdict_get_bool(one, "physical"));
    g_assert_cmpint(number(one, "pasid"), ==, PASID);
    g_assert_cmpint(number(one, "vector"), ==, 1);
    g_assert_cmphex(number(one, "ring"), ==, RING);
    g_assert_cmpint(number(one, "ring-shift"), ==, RING_SHIFT);
    g_assert_cmpint(number(one, "priority"), ==, 2);
    g_assert_cmpint(number(one, "slice-ns"), ==, 5000);
    g_assert_cmpint(number(one, "timeout-ms"), ==, 50);
    one = qdict_get_qdict(context, "command");
    g_assert_cmpstr(qdict_get_str(one, "name"), ==, "fill");
    g_assert_cmphex(number(one, "tag"), ==, 0xc0de0000 | i);
    g_assert_cmphex(number(one, "done"), ==, 0x800);
    g_assert_cmpint(number(one, "deadline-ns") + 1, ==,
                    qtest_clock_step(c.qts, 1) + 50 * 1000 * 1000);
    g_assert_cmpint(number(context, "clock-ns"), ==,
                    qpci_io_readq(c.dev, c.regs, CCAD_DOORBELL(0) +
                                  CCAD_DB_CLOCK));
    g_assert_cmpint(number(state, "clock-ns"), ==,
                    qpci_io_readq(c.dev, c.regs, CCAD_REG_CLOCK));
    g_assert_cmpint(number(context, "head"), ==, 3);
    g_assert_cmpint(number(context, "tail"), ==, 3);
    g_assert_cmpint(number(context, "statistics.commands"), ==, 2);
    one = element(context, "commands", 0);
    g_assert_cmpstr(qdict_get_str(one, "name"), ==, "nop");
    g_assert_cmpint(number(one, "count"), ==, 1);
    one = element(context, "commands", 1);
    g_assert_cmpstr(qdict_get_str(one, "name"), ==, "unknown");

    one = element(state, "page-requests", 0);
    g_assert_nonnull(one);
    g_assert_cmpint(number(one, "context"), ==, 0);
    g_assert_cmpint(number(one, "pasid"), ==, PASID);
    g_assert_cmpint(number(one, "group"), ==, request.group);
    g_assert_false(qdict_get_bool(qdict_get_qdict(state, "counters"),
                                  "enabled"));
    qobject_unref(state);

    /* Stopped with the machine. */
    qtest_qmp_assert_success(c.qts, "{'execute':'stop'}");
    state = info(&c);
    g_assert_true(qdict_get_bool(state, "enabled"));
    g_assert_true(qdict_get_bool(state, "paused"));
    qobject_unref(state);
    qtest_qmp_assert_success(c.qts, "{'execute':'cont'}");
    respond(&c, &request, 1);
    wait_for(&c, i);
    state = info(&c);
    context = element(state, "contexts", 0);
    g_assert_false(qdict_haskey(context, "command"));
    g_assert_cmpint(number(context, "statistics.faults"), ==, 1);
    qobject_unref(state);

    /* An error, and its cause. */
    qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(0) + CCAD_DB_TAIL,
                   c.tail + 17);
    state = info(&c);
    context = element(state, "contexts", 0);
    g_assert_cmpstr(qdict_get_str(context, "state"), ==, "error");
    g_assert_cmpstr(qdict_get_str(context, "cause"), ==, "doorbell");
    g_assert_null(element(state, "page-requests", 0));
    qobject_unref(state);

    /* What a context has counted can be read until it is enabled anew. */
    disable_context(&c, 0);
    state = info(&c);
    context = element(state, "contexts", 0);
    g_assert_cmpstr(qdict_get_str(context, "state"), ==, "disabled");
    g_assert_cmpstr(qdict_get_str(context, "place"), ==, "idle");
    g_assert_false(qdict_haskey(context, "latched"));
    g_assert_cmpint(number(context, "statistics.commands"), ==, 3);
    g_assert_null(element(state, "contexts", 1));
    qobject_unref(state);

    qpci_io_writel(c.dev, c.regs, CCAD_REG_CTRL, CCAD_CTRL_RESET);
    state = info(&c);
    g_assert_false(qdict_get_bool(state, "enabled"));
    g_assert_true(qlist_empty(qdict_get_qlist(state, "contexts")));
    g_assert_true(qlist_empty(qdict_get_qlist(state, "commands")));
    qobject_unref(state);
    stop(&c);
}

/* One register of its block is enough for a context to be told. */
static void test_touched(void)
{
    static const struct {
        uint32_t reg;
        const char *name;
    } registers[] = {
        { CCAD_CTX_PASID, "pasid" },
        { CCAD_CTX_VECTOR, "vector" },
        { CCAD_CTX_RING, "ring" },
        { CCAD_CTX_RING_SHIFT, "ring-shift" },
        { CCAD_CTX_PRIORITY, "priority" },
        { CCAD_CTX_SLICE_NS, "slice-ns" },
        { CCAD_CTX_TIMEOUT_MS, "timeout-ms" },
    };
    QDict *state, *context;
    Ccad c;

    start(&c);
    for (uint32_t n = 0; n < ARRAY_SIZE(registers); n++) {
        qpci_io_writel(c.dev, c.regs, CCAD_CTX(2 * n + 1) + registers[n].reg,
                       3);
    }
    state = info(&c);
    for (uint32_t n = 0; n < ARRAY_SIZE(registers); n++) {
        context = element(state, "contexts", n + 1); /* 0 is enabled */
        g_assert_nonnull(context);
        g_assert_cmpint(number(context, "context"), ==, 2 * n + 1);
        g_assert_cmpint(number(context, registers[n].name), ==, 3);
    }
    g_assert_null(element(state, "contexts", ARRAY_SIZE(registers) + 1));
    qobject_unref(state);
    stop(&c);
}

/* Events, poison and the access counters: what their registers have. */
static void test_registers(void)
{
    const uint64_t ring = (QVTD_IOVA & ~0xfffULL) + PAGE(1);
    const struct ccad_desc crc = {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(20), .len = 0x1000 };
    QDict *state, *one;
    Ccad c;

    start(&c);
    set_pte(&c, 20, c.mem.addr + 0x10000, PTE_RW);
    qtest_writeq(c.qts, qvtd_leaf_pte_addr(ring),
                 qvtd_make_leaf_pte(PAGES + PAGE(14), QVTD_TM_SCALABLE_FLT));
    qpci_io_writel(c.dev, c.regs, CCAD_REG_EVENT_MASK, CCAD_EVENT_COUNTERS);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CNT_GRANULE_SHIFT, 20);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CNT_THRESHOLD, 64);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CNT_BATCH, 12);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CNT_VECTOR, 9);
    qpci_io_writeq(c.dev, c.regs, CCAD_REG_CNT_RING, ring);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CNT_RING_SHIFT, 6);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CNT_CTRL, CCAD_CNT_ENABLE);
    run(&c, crc);
    run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(4), .len = 192 });
    run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(20), .len = 128 });
    run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(5), .len = 320 });
    run(&c, crc);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CNT_PASID, PASID);
    qpci_io_writeq(c.dev, c.regs, CCAD_REG_CNT_VA, VA + PAGE(21));
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CNT_CMD, CCAD_CNT_CMD_READ);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CNT_TAIL, 1);
    /* A tail that is ahead of the head. */
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CNT_TAIL, 9);
    qtest_qmp_assert_success(c.qts, "{'execute':'ccad-inject-poison',"
                             "'arguments':{'path':'ccad0','start':65664,"
                             "'length':128}}");
    g_assert_cmpuint(run(&c, crc).status, ==, CCAD_COMP_POISON);

    state = info(&c);
    g_assert_cmphex(number(state, "event"), ==, CCAD_EVENT_POISON |
                    CCAD_EVENT_COUNTERS);
    g_assert_cmphex(number(state, "event-mask"), ==, CCAD_EVENT_COUNTERS);
    g_assert_cmphex(number(state, "poison-address"), ==, 0x10080);
    one = element(state, "poison", 0);
    g_assert_cmphex(number(one, "start"), ==, 0x10080);
    g_assert_cmphex(number(one, "length"), ==, 128);
    g_assert_null(element(state, "poison", 1));

    one = qdict_get_qdict(state, "counters");
    g_assert_true(qdict_get_bool(one, "enabled"));
    g_assert_cmphex(number(one, "status"), ==, CCAD_CNT_RING_ERROR);
    g_assert_cmpint(number(one, "granule-shift"), ==, 20);
    g_assert_cmpint(number(one, "threshold"), ==, 64);
    g_assert_cmpint(number(one, "batch"), ==, 12);
    g_assert_cmpint(number(one, "vector"), ==, 9);
    g_assert_cmphex(number(one, "ring"), ==, ring);
    g_assert_cmpint(number(one, "ring-shift"), ==, 6);
    g_assert_cmpint(number(one, "head"), ==, 2);
    g_assert_cmpint(number(one, "tail"), ==, 1);
    g_assert_cmpint(number(one, "lost"), ==, 0);
    g_assert_cmpint(number(one, "pasid"), ==, PASID);
    g_assert_cmphex(number(one, "va"), ==, VA + PAGE(21));
    g_assert_cmpint(number(one, "read-local"), ==, 128);
    g_assert_cmpint(number(one, "read-system"), ==, 3);
    g_assert_cmpint(number(one, "write-local"), ==, 2);
    g_assert_cmpint(number(one, "write-system"), ==, 5);
    qobject_unref(state);
    stop(&c);
}

/* The translations that the ATC holds, if they are asked for. */
static void test_translations(void)
{
    const QListEntry *entry;
    QDict *state, *answer, *atc;
    unsigned found = 0;
    Ccad c;

    start(&c);
    set_pte(&c, 20, c.mem.addr, PTE_RW);
    set_huge(&c, HUGE_PAGE);
    run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_COPY, .src = HUGE_VA + 0x3000, .dst = VA + PAGE(20),
        .len = 64 });
    state = info(&c);
    g_assert_false(qdict_haskey(qdict_get_qdict(state, "atc"),
                                "translations"));
    qobject_unref(state);

    answer = qtest_qmp(c.qts, "{'execute':'query-ccad','arguments':"
                       "{'path':'ccad0','translations':true}}");
    atc = qdict_get_qdict(qdict_get_qdict(answer, "return"), "atc");
    g_assert_cmpuint(qlist_size(qdict_get_qlist(atc, "translations")), ==,
                     number(atc, "entries"));
    QLIST_FOREACH_ENTRY(qdict_get_qlist(atc, "translations"), entry) {
        QDict *one = qobject_to(QDict, qlist_entry_obj(entry));
        uint64_t va = number(one, "va");

        g_assert_cmpint(number(one, "pasid"), ==, PASID);
        g_assert_true(qdict_get_bool(one, "read"));
        if (va == VA + PAGE(20)) {
            g_assert_cmphex(number(one, "pa"), ==, c.mem.addr);
            g_assert_cmphex(number(one, "size"), ==, 0x1000);
            g_assert_true(qdict_get_bool(one, "write"));
            found++;
        } else if (va == HUGE_VA) {
            g_assert_cmphex(number(one, "pa"), ==, HUGE_PAGE);
            g_assert_cmphex(number(one, "size"), ==, 0x200000);
            g_assert_false(qdict_get_bool(one, "write"));
            found++;
        }
    }
    g_assert_cmpuint(found, ==, 2);
    qobject_unref(answer);
    stop(&c);
}

/* Contexts that wait for room for their page requests, in their order. */
static void test_line(void)
{
    static const unsigned order[] = { 0, 2, 1 };
    struct ccad_desc fill = {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(30), .len = 8 };
    Ccad c;

    start_behind_port(&c, ",page-requests=1");
    qtest_memwrite(c.qts, PAGES + PAGE(13), &fill, sizeof(fill));
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        const QListEntry *entry;
        QList *line;
        QDict *state;
        size_t n = 1;

        if (!order[i]) {
            submit(&c, fill);
        } else {
            enable_context(&c, order[i], VA + PAGE(13));
            qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(order[i]) +
                           CCAD_DB_TAIL, 1);
        }
        for (int tries = 0; ; tries++) {
            state = info(&c);
            line = qdict_get_qlist(state, "page-request-line");
            if (qlist_size(line) == i && element(state, "page-requests", 0)) {
                break;
            }
            qobject_unref(state);
            g_assert_cmpint(tries, <, 10000);
            g_usleep(1000);
        }
        QLIST_FOREACH_ENTRY(line, entry) {
            QNum *num = qobject_to(QNum, qlist_entry_obj(entry));

            g_assert_cmpint(qnum_get_int(num), ==, order[n++]);
        }
        g_assert_cmpint(number(element(state, "page-requests", 0), "context"),
                        ==, 0);
        qobject_unref(state);
    }
    stop(&c);
}

static int64_t qom_number(Ccad *c, const char *property)
{
    QDict *answer = qtest_qmp(c->qts, "{'execute':'qom-get','arguments':"
                              "{'path':'/machine/peripheral/ccad0',"
                              "'property':%s}}", property);
    int64_t value = qdict_get_int(answer, "return");

    qobject_unref(answer);
    return value;
}

/* In the order of CCAD_STAT_*. */
static const char *const statistics[CCAD_STAT_COUNT] = {
    "commands", "errors", "read-local", "read-system", "write-local",
    "write-system", "atc-hits", "translations", "page-requests",
    "page-failures", "invalidations", "device-ns", "faults",
};

/* What each place tells of what was done, against what was done. */
static void test_statistics(void)
{
    static const char *const kinds[] = {
        "nop", "fence", "copy", "fill", "crc32c", "fetch-add", "unknown",
    };
    struct ccad_completion records[9];
    struct ccad_desc copy = {
        .opcode = CCAD_OP_COPY, .src = VA + PAGE(20), .dst = VA + PAGE(5),
        .len = 0x400, .completion = VA + PAGE(6) };
    uint64_t hits = 0, translations = 0, local = 0, ns = 0;
    PageRequest request;
    QDict *state, *answer;
    unsigned n = 0;
    uint32_t i;
    Ccad c;

    start(&c);
    set_pte(&c, 20, c.mem.addr, PTE_RW);
    records[n++] = run(&c, (struct ccad_desc) { .opcode = CCAD_OP_NOP });
    records[n++] = run(&c, (struct ccad_desc) { .opcode = CCAD_OP_FENCE });
    records[n++] = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_COPY, .src = VA + PAGE(2) + 0x10,
        .dst = VA + PAGE(4), .len = 0x1800 });
    records[n++] = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(20), .len = 0x800 });
    records[n++] = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FETCH_ADD, .dst = VA + PAGE(20), .len = 8 });
    records[n++] = run(&c, (struct ccad_desc) { .opcode = 0xff });
    i = submit(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(31), .len = 8 });
    request = next_page_request(&c);
    respond(&c, &request, 1);
    records[n++] = wait_for(&c, i);
    records[n++] = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(2), .len = 0x80 });
    /* Context 1, of the same process. */
    qtest_memwrite(c.qts, PAGES + PAGE(13), &copy, sizeof(copy));
    enable_context(&c, 1, VA + PAGE(13));
    qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(1) + CCAD_DB_TAIL, 1);
    records[n++] = wait_for_record(&c, PAGES + PAGE(6));
    invalidate_page(&c, VA + PAGE(2));
    g_assert_cmpuint(n, ==, ARRAY_SIZE(records));

    for (n = 0; n < ARRAY_SIZE(records); n++) {
        hits += records[n].atc_hits;
        translations += records[n].translations;
        local += records[n].bytes_local;
        ns += records[n].device_ns;
    }
    g_assert_cmpuint(counter(&c, CCAD_STAT_COMMANDS), ==, n);
    g_assert_cmpuint(counter(&c, CCAD_STAT_ERRORS), ==, 2);
    g_assert_cmpuint(counter(&c, CCAD_STAT_FAULTS), ==, 1);
    /* Besides operands there are descriptors and records. */
    g_assert_cmpuint(counter(&c, CCAD_STAT_READ_LOCAL), ==, 0x400);
    g_assert_cmpuint(counter(&c, CCAD_STAT_WRITE_LOCAL), ==, 0x808);
    g_assert_cmpuint(local, ==, 0xc08);
    g_assert_cmpuint(counter(&c, CCAD_STAT_READ_SYSTEM), ==,
                     0x1800 + 0x80 + n * 64);
    g_assert_cmpuint(counter(&c, CCAD_STAT_WRITE_SYSTEM), ==,
                     0x1800 + 0x400 + n * 64);
    g_assert_cmpuint(counter(&c, CCAD_STAT_PAGE_REQUESTS), ==, 1);
    g_assert_cmpuint(counter(&c, CCAD_STAT_PAGE_FAILURES), ==, 1);
    g_assert_cmpuint(counter(&c, CCAD_STAT_INVALIDATIONS), ==, 1);
    g_assert_cmpuint(counter(&c, CCAD_STAT_DEVICE_NS), >, ns);
    /* Two pages each: the ring and the record. */
    g_assert_cmpuint(counter(&c, CCAD_STAT_ATC_HITS) +
                     counter(&c, CCAD_STAT_TRANSLATIONS), ==,
                     hits + translations + 2 * n);
    g_assert_cmpuint(hits, >, 0);
    g_assert_cmpuint(translations, >, 0);

    state = info(&c);
    for (n = 0; n < CCAD_STAT_COUNT; n++) {
        g_autofree char *property = g_strdup_printf("stat-%s", statistics[n]);
        g_autofree char *path = g_strdup_printf("statistics.%s",
                                                statistics[n]);
        int64_t want = counter(&c, n * 8);
        int64_t sum = number(element(state, "contexts", 0), path) +
                      number(element(state, "contexts", 1), path);

        g_assert_cmpint(qom_number(&c, property), ==, want);
        g_assert_cmpint(number(state, path), ==, want);
        /* An invalidation is one of each context of its PASID. */
        g_assert_cmpint(sum, ==, n * 8 == CCAD_STAT_INVALIDATIONS ? 2 * want
                                                                 : want);
        sum = 0;
        for (unsigned k = 0; k < 2; k++) {
            sum += qpci_io_readq(c.dev, c.regs, CCAD_DOORBELL(k) +
                                 CCAD_DB_STATS + n * 8);
        }
        g_assert_cmpint(sum, ==, n * 8 == CCAD_STAT_INVALIDATIONS ? 2 * want
                                                                 : want);
    }
    for (n = 0; n < ARRAY_SIZE(kinds); n++) {
        g_autofree char *property = g_strdup_printf("stat-commands-%s",
                                                    kinds[n]);
        QDict *kind = element(state, "commands", n);
        int64_t want = g_str_equal(kinds[n], "copy") ||
                       g_str_equal(kinds[n], "crc32c") ? 2 : 1;

        g_assert_cmpstr(qdict_get_str(kind, "name"), ==, kinds[n]);
        g_assert_cmpint(number(kind, "count"), ==, want);
        g_assert_cmpint(qom_number(&c, property), ==, want);
    }
    g_assert_null(element(state, "commands", n));
    g_assert_cmpint(qom_number(&c, "stat-commands-gather"), ==, 0);

    /* Those of contexts, in one property. */
    answer = qtest_qmp(c.qts, "{'execute':'qom-get','arguments':{'path':"
                       "'/machine/peripheral/ccad0','property':"
                       "'stat-contexts'}}");
    g_assert_true(qobject_is_equal(qdict_get(answer, "return"),
                                   qdict_get(state, "contexts")));
    qobject_unref(answer);
    qobject_unref(state);
    stop(&c);
}

static void test_qtree(void)
{
    Ccad c;
    g_autofree char *tree = NULL;

    start(&c);
    tree = qtest_hmp(c.qts, "info qtree");
    g_assert_nonnull(strstr(tree, "dev: ccad, id \"ccad0\""));
    g_assert_nonnull(strstr(tree, "contexts = 64 (0x40)"));
    g_assert_nonnull(strstr(tree, "memdev = \"/objects/local\""));
    stop(&c);
}

void ccad_add_query_tests(void)
{
    qtest_add_func("/ccad/query/state", test_query);
    qtest_add_func("/ccad/query/touched", test_touched);
    qtest_add_func("/ccad/query/registers", test_registers);
    qtest_add_func("/ccad/query/translations", test_translations);
    qtest_add_func("/ccad/query/line", test_line);
    qtest_add_func("/ccad/query/statistics", test_statistics);
    qtest_add_func("/ccad/query/qtree", test_qtree);
}
