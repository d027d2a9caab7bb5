/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qtest of ccad: every reset, and unplugging, while contexts run and a page
 * request is outstanding.  Memory is left alone afterwards, nothing of before
 * is remembered, and the device works again.  Likewise when what contexts need
 * in configuration space goes off and on: bus mastering, ATS and PASID.
 */
#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "ccad-test-process.h"

/* Context 1 fills all that is mapped to these pages, which is a lot. */
#define RING1       13
#define FIRST       2
#define PAGES1      8
#define WIDE        64
#define WIDE_PAGES  448

static void set_up_load(Ccad *c)
{
    struct ccad_desc d = {
        .opcode = CCAD_OP_FILL, .dst = VA + PAGE(WIDE),
        .len = PAGE(WIDE_PAGES), .arg = -1ULL, .flags = CCAD_DESC_INTERRUPT,
    };

    for (unsigned i = 0; i < WIDE_PAGES; i++) {
        set_pte(c, WIDE + i, PAGES + PAGE(FIRST + i % PAGES1), PTE_RW);
    }
    for (unsigned i = 0; i < 16; i++) {
        qtest_memwrite(c->qts, PAGES + PAGE(RING1) + i * sizeof(d), &d,
                       sizeof(d));
    }
}

static void start_load(Ccad *c)
{
    enable_context(c, 1, VA + PAGE(RING1));
    qpci_io_writel(c->dev, c->regs, CCAD_DOORBELL(1) + CCAD_DB_TAIL, 16);
}

static void check_untouched(Ccad *c)
{
    g_autofree uint8_t *got = g_malloc(PAGE(PAGES1));

    qtest_memset(c->qts, PAGES + PAGE(FIRST), 0, PAGE(PAGES1));
    g_usleep(2000);
    qtest_memread(c->qts, PAGES + PAGE(FIRST), got, PAGE(PAGES1));
    for (unsigned i = 0; i < PAGE(PAGES1); i++) {
        g_assert_cmphex(got[i], ==, 0);
    }
}

/* The state after a reset that reaches configuration space. */
static void check_capabilities(Ccad *c)
{
    g_assert_cmphex(qtest_readw(c->qts, cfg(c, 0x100 + PCI_ATS_CTRL)), ==, 0);
    g_assert_cmphex(qtest_readw(c->qts, cfg(c, 0x110 + PCI_PASID_CTRL)), ==,
                    0);
    g_assert_cmphex(qtest_readw(c->qts, cfg(c, 0x120 + PCI_PRI_CTRL)), ==, 0);
    g_assert_cmphex(qtest_readl(c->qts, cfg(c, 0x120 + PCI_PRI_ALLOC_REQ)),
                    ==, 0);
    g_assert_cmphex(qtest_readw(c->qts, cfg(c, 0x120 + PCI_PRI_STATUS)), ==,
                    PCI_PRI_STATUS_PASID | PCI_PRI_STATUS_STOPPED);
    g_assert_cmphex(qpci_config_readw(c->dev, PCI_COMMAND), ==, 0);
}

static void check_registers(Ccad *c)
{
    for (unsigned n = 0; n < 2; n++) {
        uint32_t block = CCAD_CTX(n), doorbell = CCAD_DOORBELL(n);

        g_assert_cmphex(context_state(c, n), ==, CCAD_CTX_DISABLED);
        g_assert_cmphex(qpci_io_readl(c->dev, c->regs, block +
                                      CCAD_CTX_CTRL), ==, 0);
        g_assert_cmphex(qpci_io_readl(c->dev, c->regs, block +
                                      CCAD_CTX_PASID), ==, 0);
        g_assert_cmphex(qpci_io_readq(c->dev, c->regs, block +
                                      CCAD_CTX_RING), ==, 0);
        g_assert_cmphex(qpci_io_readl(c->dev, c->regs, doorbell +
                                      CCAD_DB_HEAD), ==, 0);
        g_assert_cmphex(qpci_io_readl(c->dev, c->regs, doorbell +
                                      CCAD_DB_TAIL), ==, 0);
    }
    for (unsigned i = 0; i < CCAD_STAT_COUNT; i++) {
        g_assert_cmpuint(counter(c, i * 8), ==, 0);
    }
    g_assert_cmphex(qpci_io_readl(c->dev, c->regs, CCAD_REG_EVENT), ==, 0);
    g_assert_cmphex(qpci_io_readq(c->dev, c->regs, CCAD_REG_CLOCK), ==, 0);
}

typedef struct Reset {
    const char *name;
    void (*reset)(Ccad *c);
    bool config;    /* configuration space as well */
    bool machine;   /* and everything else */
} Reset;

static void reset_device(Ccad *c)
{
    qpci_io_writel(c->dev, c->regs, CCAD_REG_CTRL, CCAD_CTRL_RESET);
}

static void reset_bus(Ccad *c)
{
    qpci_config_writew(c->port, PCI_BRIDGE_CONTROL,
                       PCI_BRIDGE_CTL_BUS_RESET);
    qpci_config_writew(c->port, PCI_BRIDGE_CONTROL, 0);
}

static void reset_machine(Ccad *c)
{
    qtest_system_reset(c->qts);
    set_up_buses(c);
}

static const Reset resets[] = {
    { "register", reset_device },
    { "flr", flr, .config = true },
    { "bus", reset_bus, .config = true },
    { "system", reset_machine, .config = true, .machine = true },
};

static void test_reset(const void *opaque)
{
    const Reset *reset = opaque;
    Ccad c;

    start_behind_port(&c, "");
    for (int round = 0; round < 8; round++) {
        PageRequest request;
        struct ccad_completion r;

        set_up_load(&c);
        submit(&c, (struct ccad_desc) {
            .opcode = CCAD_OP_FILL, .dst = VA + PAGE(33), .len = 8 });
        request = next_page_request(&c);
        start_load(&c);
        g_usleep(round * 500);
        reset->reset(&c);
        check_untouched(&c);
        if (reset->config) {
            check_capabilities(&c);
        }
        if (!reset->machine) {
            /* The answer that is still under way goes nowhere. */
            respond(&c, &request, 0);
        }
        qpci_device_enable(c.dev);
        qpci_config_writel(c.dev, PCI_BASE_ADDRESS_0, c.regs.addr);
        check_registers(&c);
        if (reset->machine) {
            set_up(&c);
        } else {
            enable_device(&c);
            enable_context(&c, 0, RING);
        }
        r = run(&c, (struct ccad_desc) {
            .opcode = CCAD_OP_FILL, .dst = VA + PAGE(11), .len = 8,
            .arg = 7 });
        g_assert_cmpuint(r.status, ==, CCAD_COMP_SUCCESS);
        g_assert_cmpuint(r.page_requests, ==, 0);
        /* The first write was lost with the reset. */
        g_assert_cmphex(get_pte(&c, 33), ==, 0);
    }
    stop(&c);
}

/* Local memory: kept by every reset, or lost by every one but the register. */
static void test_volatile(const void *opaque)
{
    const Reset *reset = opaque;

    for (int is_volatile = 0; is_volatile < 2; is_volatile++) {
        const uint64_t value = 0x0123456789abcdefULL;
        uint64_t got;
        Ccad c;

        start_behind_port(&c, is_volatile ? ",volatile=on" : "");
        qpci_io_writeq(c.dev, c.mem, 0x8000, value);
        /* Something writes to it until the end. */
        set_up_load(&c);
        for (unsigned i = 0; i < WIDE_PAGES; i++) {
            set_pte(&c, WIDE + i, c.mem.addr + PAGE(64 + i), PTE_RW);
        }
        start_load(&c);
        reset->reset(&c);
        if (reset->machine) {
            set_up(&c);
        } else {
            enable_device(&c);
        }
        got = qpci_io_readq(c.dev, c.mem, 0x8000);
        g_assert_cmphex(got, ==, is_volatile && reset->config ? 0 : value);
        if (is_volatile && reset->config) {
            got = qpci_io_readq(c.dev, c.mem, PAGE(64));
            g_assert_cmphex(got, ==, 0);
        }
        stop(&c);
    }
}

/* As a guest does that was asked to let go of the device. */
static void unplug(Ccad *c)
{
    uint8_t cap = qpci_find_capability(c->port, PCI_CAP_ID_EXP, 0);

    qpci_config_writew(c->port, cap + PCI_EXP_SLTCTL,
                       PCI_EXP_SLTCTL_PWR_IND_ON);
    qtest_qmp_device_del_send(c->qts, "ccad0");
    g_assert_true(qpci_config_readw(c->port, cap + PCI_EXP_SLTSTA) &
                  PCI_EXP_SLTSTA_ABP);
    qpci_config_writew(c->port, cap + PCI_EXP_SLTCTL,
                       PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_PWR_OFF);
    qtest_qmp_eventwait(c->qts, "DEVICE_DELETED");
}

static void test_unplug(void)
{
    Ccad c;

    start_behind_port(&c, "");
    for (int round = 0; round < 4; round++) {
        PageRequest request;

        set_up_load(&c);
        submit(&c, (struct ccad_desc) {
            .opcode = CCAD_OP_FILL, .dst = VA + PAGE(33), .len = 8 });
        request = next_page_request(&c);
        start_load(&c);
        unplug(&c);
        check_untouched(&c);
        g_assert_cmphex(qpci_config_readw(c.dev, PCI_VENDOR_ID), ==, 0xffff);
        /* The answer, and invalidations, to a device that is gone. */
        respond(&c, &request, 0);
        invalidate_page(&c, VA + PAGE(FIRST));

        plug(&c);
        check_registers(&c);
        enable_context(&c, 0, RING);
        g_assert_cmpuint(run(&c, (struct ccad_desc) {
            .opcode = CCAD_OP_NOP }).status, ==, CCAD_COMP_SUCCESS);
    }
    stop(&c);
}

/* PASID goes off under an enabled context: faults, and no stale notifier. */
static void test_pasid_off(void)
{
    Ccad c;

    start(&c);
    qtest_writew(c.qts, cfg(&c, 0x110 + PCI_PASID_CTRL), 0);
    qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(0) + CCAD_DB_TAIL, 1);
    wait_for_error(&c, 0, CCAD_CAUSE_RING);
    invalidate_page(&c, VA);
    g_assert_cmpuint(counter(&c, CCAD_STAT_INVALIDATIONS), ==, 1);
    qpci_io_writel(c.dev, c.regs, CCAD_CTX(0) + CCAD_CTX_CTRL, 0);
    qtest_writew(c.qts, cfg(&c, 0x110 + PCI_PASID_CTRL), PCI_PASID_CTRL_ENABLE);
    enable_context(&c, 0, RING);
    g_assert_cmpuint(run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_NOP }).status, ==, CCAD_COMP_SUCCESS);
    stop(&c);
}

/* PASID goes off and on again: a PASID comes back with the next context. */
static void test_pasid_toggled(void)
{
    const uint64_t done = PAGES + PAGE(13) + 0xf00;
    struct ccad_desc d = {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(4), .len = 8,
        .completion = VA + PAGE(13) + 0xf00 };
    uint64_t invalidations;
    Ccad c;

    start(&c);
    qtest_writew(c.qts, cfg(&c, 0x110 + PCI_PASID_CTRL), 0);
    qtest_writew(c.qts, cfg(&c, 0x110 + PCI_PASID_CTRL), PCI_PASID_CTRL_ENABLE);
    qtest_memwrite(c.qts, PAGES + PAGE(13), &d, sizeof(d));
    enable_context_with(&c, 1, VA + PAGE(13), PASID);
    qpci_io_writel(c.dev, c.regs, CCAD_DOORBELL(1) + CCAD_DB_TAIL, 1);
    g_assert_cmpuint(wait_for_record(&c, done).status, ==, CCAD_COMP_SUCCESS);
    d.completion = 0;
    g_assert_cmpuint(run(&c, d).status, ==, CCAD_COMP_SUCCESS);

    /* And with it what the IOMMU says of it, once. */
    invalidations = counter(&c, CCAD_STAT_INVALIDATIONS);
    invalidate_page(&c, VA + PAGE(4));
    g_assert_cmpuint(counter(&c, CCAD_STAT_INVALIDATIONS), ==,
                     invalidations + 1);
    g_assert_cmpuint(run(&c, d).translations, ==, 1);
    disable_context(&c, 1);
    invalidate_page(&c, VA + PAGE(4));
    g_assert_cmpuint(counter(&c, CCAD_STAT_INVALIDATIONS), ==,
                     invalidations + 2);
    disable_context(&c, 0);
    invalidate_page(&c, VA + PAGE(4));
    g_assert_cmpuint(counter(&c, CCAD_STAT_INVALIDATIONS), ==,
                     invalidations + 2);
    stop(&c);
}

/* What has to be on to enable a context, be its PASID in use or not. */
static void test_needed(void)
{
    uint16_t command;
    Ccad c;

    start(&c);
    command = qpci_config_readw(c.dev, PCI_COMMAND);
    for (uint32_t pasid = PASID; pasid <= PASID2; pasid++) {
        for (unsigned off = 0; off < 3; off++) {
            qpci_config_writew(c.dev, PCI_COMMAND, off == 0 ?
                               command & ~PCI_COMMAND_MASTER : command);
            qtest_writew(c.qts, cfg(&c, 0x100 + PCI_ATS_CTRL),
                         off == 1 ? 0 : PCI_ATS_CTRL_ENABLE);
            if (off == 2) {
                qtest_writew(c.qts, cfg(&c, 0x110 + PCI_PASID_CTRL), 0);
            }
            try_context(&c, 1, RING, pasid);
            g_assert_cmphex(context_state(&c, 1), ==, CCAD_CTX_ERROR |
                            CCAD_CAUSE_CONFIG << CCAD_CTX_CAUSE_SHIFT);
            disable_context(&c, 1);
        }
        qtest_writew(c.qts, cfg(&c, 0x110 + PCI_PASID_CTRL),
                     PCI_PASID_CTRL_ENABLE);
        enable_context_with(&c, 1, RING, pasid);
        disable_context(&c, 1);
    }
    stop(&c);
}

/*
 * Bus mastering or ATS goes off in the middle of commands: memory is left
 * alone, what runs fails, and it works again.
 */
static void test_off_under_load(void)
{
    Ccad c;
    uint16_t command;

    start(&c);
    command = qpci_config_readw(c.dev, PCI_COMMAND);
    set_up_load(&c);
    for (int round = 0; round < 20; round++) {
        uint64_t ended;

        start_load(&c);
        g_usleep(round / 2 * 200);
        if (round % 2) {
            qtest_writew(c.qts, cfg(&c, 0x100 + PCI_ATS_CTRL), 0);
        } else {
            qpci_config_writew(c.dev, PCI_COMMAND,
                               command & ~PCI_COMMAND_MASTER);
        }
        check_untouched(&c);
        /* Its descriptors cannot be read any more; or it had ended before. */
        for (int tries = 0; (context_state(&c, 1) & CCAD_CTX_STATE_MASK) !=
                            CCAD_CTX_ERROR &&
                            qpci_io_readl(c.dev, c.regs, CCAD_DOORBELL(1) +
                                          CCAD_DB_HEAD) != 16; tries++) {
            g_assert_cmpint(tries, <, 10000);
            g_usleep(1000);
        }
        ended = counter(&c, CCAD_STAT_COMMANDS);
        qpci_config_writew(c.dev, PCI_COMMAND, command);
        qtest_writew(c.qts, cfg(&c, 0x100 + PCI_ATS_CTRL),
                     PCI_ATS_CTRL_ENABLE);
        disable_context(&c, 1);
        g_assert_cmpuint(run(&c, (struct ccad_desc) {
            .opcode = CCAD_OP_NOP }).status, ==, CCAD_COMP_SUCCESS);
        g_assert_cmpuint(counter(&c, CCAD_STAT_COMMANDS), >, ended);
    }
    stop(&c);
}

static void enable_physical(Ccad *c, unsigned n, uint64_t ring)
{
    uint32_t block = CCAD_CTX(n);

    qpci_io_writeq(c->dev, c->regs, block + CCAD_CTX_RING, ring);
    qpci_io_writel(c->dev, c->regs, block + CCAD_CTX_RING_SHIFT, RING_SHIFT);
    qpci_io_writel(c->dev, c->regs, block + CCAD_CTX_CTRL,
                   CCAD_CTX_CTRL_ENABLE | CCAD_CTX_CTRL_PHYSICAL);
    g_assert_cmphex(context_state(c, n), ==, CCAD_CTX_ENABLED);
}

/* A physical address is a translated one: without ATS there is no use for it. */
static void test_physical_off(void)
{
    const uint64_t ring = PAGES + PAGE(13), done = ring + 0xf00;
    struct ccad_desc d = { .opcode = CCAD_OP_NOP, .completion = done };
    Ccad c;

    start(&c);
    for (unsigned i = 0; i < 16; i++) {
        qtest_memwrite(c.qts, ring + i * sizeof(d), &d, sizeof(d));
    }
    for (int round = 0; round < 2; round++) {
        uint32_t doorbell = CCAD_DOORBELL(1) + CCAD_DB_TAIL;

        qtest_memset(c.qts, done, 0, sizeof(struct ccad_completion));
        enable_physical(&c, 1, ring);
        qpci_io_writel(c.dev, c.regs, doorbell, 1);
        g_assert_cmpuint(wait_for_record(&c, done).status, ==,
                         CCAD_COMP_SUCCESS);
        qtest_writew(c.qts, cfg(&c, 0x100 + PCI_ATS_CTRL), 0);
        qpci_io_writel(c.dev, c.regs, doorbell, 2);
        wait_for_error(&c, 1, CCAD_CAUSE_RING);
        qtest_writew(c.qts, cfg(&c, 0x100 + PCI_ATS_CTRL),
                     PCI_ATS_CTRL_ENABLE);
        disable_context(&c, 1);
    }
    stop(&c);
}

void ccad_add_reset_tests(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(resets); i++) {
        g_autofree char *reset = g_strdup_printf("/ccad/reset/%s",
                                                 resets[i].name);
        g_autofree char *memory = g_strdup_printf("/ccad/volatile/%s",
                                                  resets[i].name);

        qtest_add_data_func(reset, &resets[i], test_reset);
        qtest_add_data_func(memory, &resets[i], test_volatile);
    }
    qtest_add_func("/ccad/reset/unplug", test_unplug);
    qtest_add_func("/ccad/enables/needed", test_needed);
    qtest_add_func("/ccad/enables/pasid-off", test_pasid_off);
    qtest_add_func("/ccad/enables/pasid-toggled", test_pasid_toggled);
    qtest_add_func("/ccad/enables/off-under-load", test_off_under_load);
    qtest_add_func("/ccad/enables/physical-off", test_physical_off);
}
