/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qtest of ccad: the monitor.  Poison, hangs, errors and how they reach the
 * root port, what contexts have yet to do, configuration space, and traces.
 * What else it tells of the state is in ccad-query-test.c.
 */
#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "hw/pci/pcie_regs.h"
#include "ccad-test-process.h"

#define AER         0x180

/* Poison */

static void G_GNUC_PRINTF(3, 4) expect_error(Ccad *c, const char *text,
                                             const char *fmt, ...)
{
    va_list ap;
    QDict *answer, *error;

    va_start(ap, fmt);
    qtest_qmp_vsend(c->qts, fmt, ap);
    va_end(ap);
    answer = qtest_qmp_receive(c->qts);
    error = qdict_get_qdict(answer, "error");
    g_assert_nonnull(error);
    if (!strstr(qdict_get_str(error, "desc"), text)) {
        g_test_message("got: %s", qdict_get_str(error, "desc"));
        g_test_fail();
    }
    qobject_unref(answer);
}

#define POISON(command) \
    "{'execute':'ccad-" command "-poison','arguments':{'path':" \
    "'/machine/peripheral/ccad0','start':%u,'length':%u}}"

/* The ranges of query-ccad-poison, as text. */
static char *poison(Ccad *c)
{
    GString *text = g_string_new("");
    const QListEntry *entry;
    QDict *answer = qtest_qmp(c->qts, "{'execute':'query-ccad-poison',"
                              "'arguments':{'path':"
                              "'/machine/peripheral/ccad0'}}");

    QLIST_FOREACH_ENTRY(qdict_get_qlist(answer, "return"), entry) {
        QDict *range = qobject_to(QDict, qlist_entry_obj(entry));

        g_string_append_printf(text, "%" PRIx64 "+%" PRIx64 " ",
                               (uint64_t)qdict_get_int(range, "start"),
                               (uint64_t)qdict_get_int(range, "length"));
    }
    qobject_unref(answer);
    return g_string_free(text, false);
}

#define ASSERT_POISON(c, want) G_STMT_START { \
    g_autofree char *got_ = poison(c); \
    g_assert_cmpstr(got_, ==, want); \
} G_STMT_END

static void test_poison(void)
{
    Ccad c;
    struct ccad_completion r;
    struct ccad_desc crc = {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(20), .len = 0x1000 };

    start_behind_port(&c, "");
    enable_aer(&c);
    set_pte(&c, 20, c.mem.addr + 0x10000, PTE_RW);
    ASSERT_POISON(&c, "");
    qtest_qmp_assert_success(c.qts, POISON("inject"), 0x10080, 128);
    qtest_qmp_assert_success(c.qts, POISON("inject"), 0x20000, 64);
    ASSERT_POISON(&c, "10080+80 20000+40 ");
    g_assert_cmpuint(qpci_io_readq(c.dev, c.regs, CCAD_REG_POISON_LINES), ==,
                     3);

    r = run(&c, crc);
    g_assert_cmpuint(r.status, ==, CCAD_COMP_POISON);
    g_assert_cmphex(r.fault_addr, ==, VA + PAGE(20) + 0x80);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_EVENT) &
                    CCAD_EVENT_POISON, !=, 0);
    g_assert_cmphex(qpci_io_readq(c.dev, c.regs, CCAD_REG_POISON_ADDR), ==,
                    0x10080);
    g_assert_cmphex(wait_for_root_status(&c), ==, PCI_ERR_ROOT_UNCOR_RCV |
                    PCI_ERR_ROOT_NONFATAL_RCV);
    g_assert_cmphex(qtest_readl(c.qts, port_aer(PCI_ERR_ROOT_ERR_SRC)) >> 16,
                    ==, c.sid);
    g_assert_cmphex(qtest_readl(c.qts, cfg(&c, AER + PCI_ERR_UNCOR_STATUS)),
                    ==, PCI_ERR_UNC_POISON_TLP);

    /* A write of whole lines clears them; so does the command. */
    r = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(20), .len = 0x1000 });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
    ASSERT_POISON(&c, "20000+40 ");
    g_assert_cmpuint(run(&c, crc).status, ==, CCAD_COMP_SUCCESS);
    qtest_qmp_assert_success(c.qts, POISON("clear"), 0x20000, 64);
    ASSERT_POISON(&c, "");
    stop(&c);
}

static void test_refusals(void)
{
    Ccad c;

    start(&c);
    expect_error(&c, "no ccad device at 'nowhere'",
                 "{'execute':'query-ccad','arguments':{'path':'nowhere'}}");
    expect_error(&c, "no ccad device at '/machine'",
                 "{'execute':'query-ccad-poison','arguments':"
                 "{'path':'/machine'}}");
    expect_error(&c, "local memory", POISON("inject"), 0x1000000, 64);
    expect_error(&c, "local memory", POISON("inject"), 0xffffc0, 128);
    expect_error(&c, "local memory", POISON("clear"), 0x1000000, 64);
    expect_error(&c, "", POISON("inject"), 0, 0);
    expect_error(&c, "has contexts 0 to 63",
                 "{'execute':'ccad-inject-hang','arguments':{'path':"
                 "'ccad0','context':64}}");
    expect_error(&c, "context 1 is not enabled",
                 "{'execute':'ccad-inject-hang','arguments':{'path':"
                 "'ccad0','context':1}}");
    ASSERT_POISON(&c, "");
    stop(&c);
}

/* Advanced error reporting */

#define INJECT(kind) \
    "{'execute':'ccad-inject-error','arguments':{'path':'ccad0'," \
    "'kind':'" kind "'}}"

static uint32_t aer(Ccad *c, uint16_t reg)
{
    return qtest_readl(c->qts, cfg(c, AER + reg));
}

static void wait_for_aer(Ccad *c, uint16_t reg, uint32_t bit)
{
    for (int tries = 0; !(aer(c, reg) & bit); tries++) {
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
}

static void test_errors(void)
{
    Ccad c;

    start_behind_port(&c, "");
    g_assert_cmphex(aer(&c, 0) & 0xffff, ==, PCI_EXT_CAP_ID_ERR);
    enable_aer(&c);

    /* Masked: remembered, and nobody is told. */
    qtest_qmp_assert_success(c.qts, INJECT("corrected"));
    wait_for_aer(&c, PCI_ERR_COR_STATUS, PCI_ERR_COR_INTERNAL);
    qtest_qmp_assert_success(c.qts, INJECT("uncorrectable"));
    wait_for_aer(&c, PCI_ERR_UNCOR_STATUS, PCI_ERR_UNC_INTN);
    g_assert_cmphex(qtest_readl(c.qts, port_aer(PCI_ERR_ROOT_STATUS)) & 0x7f,
                    ==, 0);

    qtest_writel(c.qts, cfg(&c, AER + PCI_ERR_COR_STATUS), ~0U);
    qtest_writel(c.qts, cfg(&c, AER + PCI_ERR_UNCOR_STATUS), ~0U);
    g_assert_cmphex(aer(&c, PCI_ERR_COR_STATUS), ==, 0);
    g_assert_cmphex(aer(&c, PCI_ERR_UNCOR_STATUS), ==, 0);
    qtest_writel(c.qts, cfg(&c, AER + PCI_ERR_COR_MASK), 0);
    qtest_writel(c.qts, cfg(&c, AER + PCI_ERR_UNCOR_MASK), 0);

    qtest_qmp_assert_success(c.qts, INJECT("corrected"));
    g_assert_cmphex(wait_for_root_status(&c), ==, PCI_ERR_ROOT_COR_RCV);
    qtest_qmp_assert_success(c.qts, INJECT("uncorrectable"));
    g_assert_cmphex(wait_for_root_status(&c), ==, PCI_ERR_ROOT_UNCOR_RCV |
                    PCI_ERR_ROOT_FATAL_RCV | PCI_ERR_ROOT_FIRST_FATAL);
    g_assert_cmphex(qtest_readl(c.qts, port_aer(PCI_ERR_ROOT_ERR_SRC)) &
                    0xffff, ==, c.sid);

    /* What is sticky outlives a reset of the function, not of the machine. */
    flr(&c);
    g_assert_cmphex(aer(&c, PCI_ERR_UNCOR_STATUS), ==, PCI_ERR_UNC_INTN);
    g_assert_cmphex(aer(&c, PCI_ERR_COR_MASK), ==, 0);
    g_assert_cmphex(qpci_config_readw(c.dev, qpci_find_capability(c.dev,
                                      PCI_CAP_ID_EXP, 0) + PCI_EXP_DEVCTL) &
                    PCI_EXP_DEVCTL_NFERE, ==, 0);
    qpci_config_writew(c.port, PCI_BRIDGE_CONTROL,
                       PCI_BRIDGE_CTL_SERR | PCI_BRIDGE_CTL_BUS_RESET);
    qpci_config_writew(c.port, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_SERR);
    g_assert_cmphex(aer(&c, PCI_ERR_UNCOR_STATUS), ==, PCI_ERR_UNC_INTN);
    qtest_system_reset(c.qts);
    set_up(&c);
    g_assert_cmphex(aer(&c, PCI_ERR_UNCOR_STATUS), ==, 0);
    g_assert_cmphex(aer(&c, PCI_ERR_UNCOR_MASK), ==,
                    PCI_ERR_UNC_MASK_DEFAULT);
    g_assert_cmphex(aer(&c, PCI_ERR_COR_MASK), ==, PCI_ERR_COR_MASK_DEFAULT);
    stop(&c);
}

/* An integrated endpoint has no root port to tell. */
static void test_errors_without_port(void)
{
    Ccad c;

    start(&c);
    qtest_writel(c.qts, cfg(&c, AER + PCI_ERR_UNCOR_MASK), 0);
    qtest_qmp_assert_success(c.qts, INJECT("uncorrectable"));
    wait_for_aer(&c, PCI_ERR_UNCOR_STATUS, PCI_ERR_UNC_INTN);
    stop(&c);
}

static void test_hang(void)
{
    Ccad c;
    uint32_t i;

    start(&c);
    disable_context(&c, 0);
    enable_context(&c, 1, VA + PAGE(13));
    qpci_io_writel(c.dev, c.regs, CCAD_CTX(0) + CCAD_CTX_TIMEOUT_MS, 50);
    enable_context(&c, 0, RING);
    qtest_qmp_assert_success(c.qts, "{'execute':'ccad-inject-hang',"
                             "'arguments':{'path':'ccad0','context':0}}");
    i = submit(&c, (struct ccad_desc) { .opcode = CCAD_OP_NOP });
    /* The time-out is one of the machine's time, which stands still here. */
    wait_for_place(&c, "hung");
    g_assert_cmphex(context_state(&c, 0), ==, CCAD_CTX_ENABLED);
    qtest_clock_step(c.qts, 50 * 1000 * 1000);
    g_assert_cmpuint(wait_for(&c, i).status, ==, CCAD_COMP_TIMEOUT);
    g_assert_cmphex(context_state(&c, 0), ==, CCAD_CTX_ERROR |
                    CCAD_CAUSE_TIMEOUT << CCAD_CTX_CAUSE_SHIFT);
    g_assert_cmphex(context_state(&c, 1), ==, CCAD_CTX_ENABLED);

    /* Its owner gets it out of this, without a reset of the device. */
    qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(0) + CCAD_DB_CLEAR, 1);
    g_assert_cmphex(context_state(&c, 0), ==, CCAD_CTX_ENABLED);
    g_assert_cmpuint(run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_NOP }).status, ==, CCAD_COMP_SUCCESS);
    stop(&c);
}

/* What contexts have yet to do, while the machine is stopped. */
static void test_to_come(void)
{
    struct ccad_desc fill = {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(30), .len = 8 };
    PageRequest request;
    QDict *state = NULL, *context;
    uint32_t i;
    Ccad c;

    start_behind_port(&c, ",page-requests=1");
    qtest_memwrite(c.qts, PAGES + PAGE(13), &fill, sizeof(fill));
    run(&c, (struct ccad_desc) { .opcode = CCAD_OP_NOP });
    i = submit(&c, fill);
    request = next_page_request(&c);
    enable_context(&c, 1, VA + PAGE(13));
    qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(1) + CCAD_DB_TAIL, 1);
    for (int tries = 0; !state || qlist_empty(qdict_get_qlist(state,
                                  "page-request-line")); tries++) {
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
        qobject_unref(state);
        state = info(&c);
    }
    for (int n = 0; n < 2; n++) {
        context = element(state, "contexts", n);
        g_assert_false(qdict_get_bool(context, "hang-armed"));
        g_assert_false(qdict_get_bool(context, "room-granted"));
        g_assert_false(qdict_get_bool(context, "reply-untold"));
    }
    /* Its clock began when that of the device had gone on. */
    g_assert_cmpint(number(context, "position-ns"), >,
                    number(context, "clock-ns"));
    g_assert_cmpint(number(context, "position-ns"), ==,
                    number(state, "clock-ns"));
    qobject_unref(state);

    qtest_qmp_assert_success(c.qts, "{'execute':'ccad-inject-hang',"
                             "'arguments':{'path':'ccad0','context':1}}");
    qtest_qmp_assert_success(c.qts, "{'execute':'stop'}");
    set_pte(&c, 30, PAGES + PAGE(11), PTE_RW);
    respond(&c, &request, 0);
    state = info(&c);
    for (int n = 0; n < 2; n++) {
        context = element(state, "contexts", n);
        g_assert_cmpstr(qdict_get_str(context, "place"), ==, "ready");
        g_assert_cmpint(qdict_get_bool(context, "hang-armed"), ==, n);
        g_assert_cmpint(qdict_get_bool(context, "room-granted"), ==, n);
        g_assert_cmpint(qdict_get_bool(context, "reply-untold"), ==, !n);
    }
    qobject_unref(state);
    qtest_qmp_assert_success(c.qts, "{'execute':'cont'}");
    g_assert_cmpuint(wait_for(&c, i).status, ==, CCAD_COMP_SUCCESS);
    stop(&c);
}

/* Until when a command is delayed, and memories are busy. */
static void test_until(void)
{
    QDict *state, *context;
    int64_t until;
    uint32_t i;
    Ccad c;

    start_behind_port(&c, ",ordered=on,x-delay-command=1000000,"
                      "x-delay-us=1000000");
    set_pte(&c, 20, c.mem.addr, PTE_RW);
    i = submit(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(20), .len = 0x1000 });
    wait_for_place(&c, "delayed");
    state = info(&c);
    until = number(element(state, "contexts", 0), "delayed-until-ns");
    qobject_unref(state);
    qtest_clock_set(c.qts, until - 1);
    wait_for_place(&c, "delayed");
    qtest_clock_set(c.qts, until);
    wait_for(&c, i);
    wait_for_place(&c, "idle");

    state = info(&c);
    context = element(state, "contexts", 0);
    g_assert_cmpint(number(state, "local-busy-ns"), >, 0);
    g_assert_cmpint(number(state, "system-busy-ns"), >,
                    number(state, "local-busy-ns"));
    g_assert_cmpint(number(context, "position-ns"), >,
                    number(state, "system-busy-ns"));
    qobject_unref(state);
    stop(&c);
}

/* What software enables besides registers, and what it is told there. */
static void test_config_space(void)
{
    static const struct {
        uint16_t reg;
        const char *name;
    } enables[] = {
        { 0x100 + PCI_ATS_CTRL, "ats" },
        { 0x120 + PCI_PRI_CTRL, "pri" },
        { 0x110 + PCI_PASID_CTRL, "pasid" },
        { PCI_COMMAND, "bus-master" },
    };
    QDict *state, *space;
    char *text;
    Ccad c;

    start(&c);
    enable_context_with(&c, 1, RING, PASID2);
    qtest_qmp_assert_success(c.qts, "{'execute':'ccad-inject-error',"
                             "'arguments':{'path':'ccad0',"
                             "'kind':'corrected'}}");
    for (size_t off = 0; off <= ARRAY_SIZE(enables); off++) {
        if (off) {
            qtest_writew(c.qts, cfg(&c, enables[off - 1].reg), 0);
        }
        state = info(&c);
        space = qdict_get_qdict(state, "config-space");
        for (size_t n = 0; n < ARRAY_SIZE(enables); n++) {
            g_assert_cmpint(qdict_get_bool(space, enables[n].name), ==,
                            n >= off);
        }
        g_assert_cmpint(number(state, "page-request-allocation"), ==,
                        off < 2 ? 32 : 0);
        text = g_string_free(qobject_to_json(qdict_get(state, "pasids")),
                             false);
        g_assert_cmpstr(text, ==, off < 3 ? "[5, 6]" : "[]");
        g_free(text);
        g_assert_cmphex(number(space, "correctable-errors"), ==,
                        qtest_readl(c.qts, cfg(&c, 0x180 +
                                               PCI_ERR_COR_STATUS)));
        g_assert_cmphex(number(space, "correctable-errors"), !=, 0);
        g_assert_cmphex(number(space, "uncorrectable-errors"), ==, 0);
        qobject_unref(state);
    }
    stop(&c);
}

/* The trace once it has text, the clock going on by step_ns each time. */
static char *wait_for_trace(Ccad *c, const char *file, const char *text,
                            int64_t step_ns)
{
    for (int tries = 0; ; tries++) {
        char *trace;

        if (step_ns) {
            qtest_clock_step(c->qts, step_ns);
        }
        g_assert_true(g_file_get_contents(file, &trace, NULL, NULL));
        if (strstr(trace, text)) {
            return trace;
        }
        g_free(trace);
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
}

static void check_order(const char *trace, const char *const *steps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        trace = strstr(trace, steps[i]);
        g_assert_nonnull(trace);
    }
}

/* Traces: the life of one command, step by step. */
static void test_trace(void)
{
    static const char *const late[] = {
        "ccad_step_interrupt ", "ccad_step_slice_end ", "ccad_step_error ",
    };
    static const char *const steps[] = {
        "ccad_step_take ", "ccad_step_fetch ", "ccad_step_translate ",
        "ccad_step_ask ", "ccad_step_answer ", "ccad_step_complete ",
        "ccad_step_interrupt ",
    };
    g_autofree char *file = g_strdup_printf("%s/ccad-trace-%d", g_get_tmp_dir(),
                                            getpid());
    g_autofree char *text = NULL;
    PageRequest request;
    Ccad c = { .sid = QPCI_DEVFN(4, 0) };
    uint32_t i;

    c.qts = ccad_qtest_start(CCAD_PROCESS " -trace ccad_step_* -D %s", file);
    find(&c);
    set_up(&c);
    i = submit(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(30), .len = 8,
        .flags = CCAD_DESC_INTERRUPT });
    request = next_page_request(&c);
    set_pte(&c, 30, PAGES + PAGE(11), PTE_RW);
    respond(&c, &request, 0);
    wait_for(&c, i);
    qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(0) + CCAD_DB_TAIL, 100);
    /* The interrupt comes after the record. */
    for (size_t n = 0; n < ARRAY_SIZE(late); n++) {
        g_free(text);
        text = wait_for_trace(&c, file, late[n], 0);
    }
    check_order(text, steps, ARRAY_SIZE(steps));
    stop(&c);
    unlink(file);
}

/* What goes wrong on purpose is traced, each with what it is about. */
static void test_trace_injected(void)
{
    static const char *const steps[] = {
        "ccad_step_delay context 0 ", "ccad_step_lose_record context 0 tag ",
        "ccad_step_complete context 0 tag ",
        "ccad_step_lose_interrupt context 0 vector 1",
        "ccad_step_hang context 0 tag ", "ccad_step_stall context 1 va ",
    };
    struct ccad_desc fill = {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(30), .len = 8 };
    g_autofree char *file = g_strdup_printf("%s/ccad-trace-%d", g_get_tmp_dir(),
                                            getpid());
    g_autofree char *text = NULL;
    Ccad c = { .sid = QPCI_DEVFN(4, 0) };

    c.qts = ccad_qtest_start(CCAD_PROCESS ",page-requests=1,x-delay-us=100,"
                             "x-delay-command=1000000,"
                             "x-lose-completion=1000000,"
                             "x-lose-interrupt=1000000 "
                             "-trace ccad_step_* -D %s", file);
    find(&c);
    set_up(&c);
    submit(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_NOP, .flags = CCAD_DESC_INTERRUPT });
    wait_for_place(&c, "delayed");
    qtest_clock_step(c.qts, 100 * 1000);
    wait_for_place(&c, "idle");
    qtest_qmp_assert_success(c.qts, "{'execute':'ccad-inject-hang',"
                             "'arguments':{'path':'ccad0','context':0}}");
    submit(&c, (struct ccad_desc) { .opcode = CCAD_OP_NOP });
    wait_for_place(&c, "hung");
    disable_context(&c, 0);

    /* One has the only page request, the other has no room. */
    qtest_memwrite(c.qts, PAGES + PAGE(13), &fill, sizeof(fill));
    for (unsigned n = 2; n >= 1; n--) {
        enable_context(&c, n, VA + PAGE(13));
        qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(n) + CCAD_DB_TAIL, 1);
        g_free(text);
        /* It may take several steps, each with a delay of its own. */
        text = wait_for_trace(&c, file, n == 2 ? "ccad_step_ask context 2 "
                                        : "ccad_step_stall context 1 ",
                              100 * 1000);
    }
    check_order(text, steps, ARRAY_SIZE(steps));
    g_assert_null(strstr(text, "ccad_step_interrupt "));
    stop(&c);
    unlink(file);
}

void ccad_add_qmp_tests(void)
{
    qtest_add_func("/ccad/qmp/poison", test_poison);
    qtest_add_func("/ccad/qmp/refusals", test_refusals);
    qtest_add_func("/ccad/qmp/errors", test_errors);
    qtest_add_func("/ccad/qmp/errors-without-port", test_errors_without_port);
    qtest_add_func("/ccad/qmp/hang", test_hang);
    qtest_add_func("/ccad/qmp/to-come", test_to_come);
    qtest_add_func("/ccad/qmp/until", test_until);
    qtest_add_func("/ccad/qmp/config-space", test_config_space);
    qtest_add_func("/ccad/qmp/trace", test_trace);
    qtest_add_func("/ccad/qmp/trace-injected", test_trace_injected);
}
