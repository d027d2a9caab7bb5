/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qtest of ccad: what the device tells software on its own, all of it through
 * the IOMMU without a PASID.  MSI-X messages go to a page of memory here, so
 * that they can be seen; so do the records of the access counters.
 */
#include "qemu/osdep.h"
#include "hw/pci/pcie_regs.h"
#include "ccad-test-process.h"

/* Bus addresses, in the page table that libqos makes for PASID 0. */
#define BUS(n)      ((QVTD_IOVA & ~0xfffULL) + PAGE(1 + (n)))
#define MESSAGES    14      /* pages from PAGES on */
#define RECORDS2    15

#define MESSAGE(n)  (0xabc00000 | (n))

/* Map a page of memory at BUS(n), or nothing. */
static void map_bus(Ccad *c, unsigned n, unsigned page)
{
    qtest_writeq(c->qts, qvtd_leaf_pte_addr(BUS(n)),
                 page ? qvtd_make_leaf_pte(PAGES + PAGE(page),
                                           QVTD_TM_SCALABLE_FLT) : 0);
}

static void unmask(Ccad *c, unsigned vector, uint64_t addr)
{
    uint64_t entry = c->dev->msix_table_off + vector * PCI_MSIX_ENTRY_SIZE;
    QPCIBar bar = c->dev->msix_table_bar;

    qpci_io_writeq(c->dev, bar, entry + PCI_MSIX_ENTRY_LOWER_ADDR, addr);
    qpci_io_writel(c->dev, bar, entry + PCI_MSIX_ENTRY_DATA, MESSAGE(vector));
    qpci_io_writel(c->dev, bar, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
}

/* Vectors 0 to 3: of events, of contexts 0 and 1, of the counters. */
#define VECTORS         4
#define VECTOR_COUNTERS 3

static void enable_messages(Ccad *c)
{
    map_bus(c, 0, MESSAGES);
    qpci_msix_enable(c->dev);
    for (unsigned i = 0; i < VECTORS; i++) {
        unmask(c, i, BUS(0) + i * 4);
    }
}

static uint32_t message(Ccad *c, unsigned vector)
{
    return qtest_readl(c->qts, PAGES + PAGE(MESSAGES) + vector * 4);
}

/* Wait for the message of a vector, and make it possible to see the next. */
static void wait_for_message(Ccad *c, unsigned vector)
{
    for (int tries = 0; message(c, vector) != MESSAGE(vector); tries++) {
        g_assert_cmphex(message(c, vector), ==, 0);
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
    qtest_writel(c->qts, PAGES + PAGE(MESSAGES) + vector * 4, 0);
}

static void test_msix(void)
{
    struct ccad_desc nop = {
        .opcode = CCAD_OP_NOP, .flags = CCAD_DESC_INTERRUPT };
    Ccad c;

    start(&c);
    enable_messages(&c);
    run(&c, nop);
    wait_for_message(&c, 1);
    run(&c, (struct ccad_desc) { .opcode = CCAD_OP_NOP });
    run(&c, nop);
    wait_for_message(&c, 1);
    for (unsigned i = 0; i < VECTORS; i++) {
        g_assert_cmphex(message(&c, i), ==, 0);
    }

    /* Where the IOMMU maps nothing, nothing arrives. */
    unmask(&c, 1, BUS(2));
    run(&c, nop);
    unmask(&c, 1, BUS(0) + 4);
    run(&c, nop);
    wait_for_message(&c, 1);

    /* A reset takes the messages away, and those under way with them. */
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 15; i++) {
            submit(&c, nop);
        }
        flr(&c);
        qtest_writel(c.qts, PAGES + PAGE(MESSAGES) + 4, 0);
        g_usleep(1000);
        g_assert_cmphex(message(&c, 1), ==, 0);
        enable_device(&c);
        enable_context(&c, 0, RING);
        enable_messages(&c);
        run(&c, nop);
        wait_for_message(&c, 1);
    }
    stop(&c);
}

/*
 * A guest may aim a message at anything, such as the control register of the
 * slot: the engine that sends it takes its own device out of the machine.
 */
static void test_msix_unplugs(void)
{
    uint8_t cap;
    Ccad c;

    start_behind_port(&c, "");
    cap = qpci_find_capability(c.port, PCI_CAP_ID_EXP, 0);
    qpci_config_writew(c.port, cap + PCI_EXP_SLTCTL, PCI_EXP_SLTCTL_PWR_IND_ON);
    for (int round = 0; round < 4; round++) {
        uint64_t entry = c.dev->msix_table_off + PCI_MSIX_ENTRY_SIZE;
        uint64_t port = CCAD_ECAM + ((uint64_t)c.port->devfn << 12);

        qpci_msix_enable(c.dev);
        unmask(&c, 1, BUS(0) + cap + PCI_EXP_SLTCTL);
        qpci_io_writel(c.dev, c.dev->msix_table_bar,
                       entry + PCI_MSIX_ENTRY_DATA,
                       PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_PWR_OFF);
        qtest_writeq(c.qts, qvtd_leaf_pte_addr(BUS(0)),
                     qvtd_make_leaf_pte(port, QVTD_TM_SCALABLE_FLT));
        submit(&c, (struct ccad_desc) {
            .opcode = CCAD_OP_NOP, .flags = CCAD_DESC_INTERRUPT });
        qtest_qmp_eventwait(c.qts, "DEVICE_DELETED");
        g_assert_cmphex(qpci_config_readw(c.dev, PCI_VENDOR_ID), ==, 0xffff);

        plug(&c);
        enable_context(&c, 0, RING);
        g_assert_cmpuint(run(&c, (struct ccad_desc) {
            .opcode = CCAD_OP_NOP }).status, ==, CCAD_COMP_SUCCESS);
    }
    stop(&c);
}

/* Access counters */

static void write_counters(Ccad *c, uint32_t reg, uint32_t value)
{
    qpci_io_writel(c->dev, c->regs, reg, value);
}

static uint32_t read_counters(Ccad *c, uint32_t reg)
{
    return qpci_io_readl(c->dev, c->regs, reg);
}

/* Pages as granules, four records, an interrupt for each two. */
static void enable_counters(Ccad *c)
{
    write_counters(c, CCAD_REG_CNT_GRANULE_SHIFT, 12);
    write_counters(c, CCAD_REG_CNT_THRESHOLD, 64);
    write_counters(c, CCAD_REG_CNT_BATCH, 2);
    write_counters(c, CCAD_REG_CNT_VECTOR, VECTOR_COUNTERS);
    qpci_io_writeq(c->dev, c->regs, CCAD_REG_CNT_RING, BUS(1));
    write_counters(c, CCAD_REG_CNT_RING_SHIFT, 2);
    write_counters(c, CCAD_REG_CNT_CTRL, CCAD_CNT_ENABLE);
    g_assert_cmphex(read_counters(c, CCAD_REG_CNT_CTRL), ==, CCAD_CNT_ENABLE);
}

static void touch(Ccad *c, unsigned page, unsigned n)
{
    g_assert_cmpuint(run(c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(page), .len = PAGE(n)
    }).status, ==, CCAD_COMP_SUCCESS);
}

static void check_record(Ccad *c, uint32_t i, unsigned page, uint8_t flags,
                         uint64_t local, uint64_t system)
{
    struct ccad_counter_record r;

    qtest_memread(c->qts, PAGES + PAGE(RECORDS2) + (i & 3) * sizeof(r), &r,
                  sizeof(r));
    g_assert_cmphex(r.va, ==, VA + PAGE(page));
    g_assert_cmpuint(r.pasid, ==, PASID);
    g_assert_cmpuint(r.granule_shift, ==, 12);
    g_assert_cmphex(r.flags, ==, flags);
    g_assert_cmpuint(r.read_local, ==, local);
    g_assert_cmpuint(r.read_system, ==, system);
    g_assert_cmpuint(r.write_local, ==, 0);
    g_assert_cmpuint(r.write_system, ==, 0);
    g_assert_cmpuint(r.clock, >, 0);
    g_assert_cmpuint(r.clock, <=, qpci_io_readq(c->dev, c->regs,
                                                CCAD_REG_CLOCK));
}

static void test_counters(void)
{
    Ccad c;

    start(&c);
    enable_messages(&c);
    map_bus(&c, 1, RECORDS2);
    set_pte(&c, 20, c.mem.addr, PTE_RW);
    write_counters(&c, CCAD_REG_EVENT_MASK, CCAD_EVENT_COUNTERS);
    enable_counters(&c);

    /* The records are there before the command has ended; one is no batch. */
    touch(&c, 4, 1);
    g_assert_cmpuint(read_counters(&c, CCAD_REG_CNT_HEAD), ==, 1);
    check_record(&c, 0, 4, 0, 0, 64);
    g_assert_cmphex(message(&c, VECTOR_COUNTERS), ==, 0);
    touch(&c, 20, 1);
    wait_for_message(&c, VECTOR_COUNTERS);
    check_record(&c, 1, 20, 0, 64, 0);

    /* Read, and one more: not before it is asked for. */
    write_counters(&c, CCAD_REG_CNT_TAIL, 2);
    touch(&c, 4, 1);
    check_record(&c, 2, 4, 0, 0, 128);
    g_assert_cmphex(message(&c, VECTOR_COUNTERS), ==, 0);
    write_counters(&c, CCAD_REG_CNT_CMD, CCAD_CNT_CMD_FLUSH);
    wait_for_message(&c, VECTOR_COUNTERS);

    /* The ring is full after four: an event, and the next record tells. */
    g_assert_cmphex(message(&c, CCAD_VECTOR_EVENT), ==, 0);
    touch(&c, 5, 4);
    wait_for_message(&c, VECTOR_COUNTERS);
    wait_for_message(&c, CCAD_VECTOR_EVENT);
    g_assert_cmphex(read_counters(&c, CCAD_REG_EVENT), ==,
                    CCAD_EVENT_COUNTERS);
    g_assert_cmphex(read_counters(&c, CCAD_REG_CNT_STATUS), ==,
                    CCAD_CNT_RING_FULL);
    g_assert_cmpuint(read_counters(&c, CCAD_REG_CNT_HEAD), ==, 6);
    check_record(&c, 5, 7, 0, 0, 64);
    write_counters(&c, CCAD_REG_CNT_TAIL, 6);
    write_counters(&c, CCAD_REG_EVENT, ~0U);
    write_counters(&c, CCAD_REG_CNT_STATUS, ~0U);
    touch(&c, 9, 1);
    check_record(&c, 6, 9, CCAD_RECORD_LOST, 0, 64);

    /* What the IOMMU does not let through is lost, and that is told, too. */
    map_bus(&c, 1, 0);
    queue(&c, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_GLOBAL, 0);
    queue(&c, VTD_INV_DESC_PIOTLB | VTD_INV_DESC_PIOTLB_ALL_IN_PASID, 0);
    touch(&c, 10, 1);
    wait_for_message(&c, CCAD_VECTOR_EVENT);
    g_assert_cmphex(read_counters(&c, CCAD_REG_CNT_STATUS), ==,
                    CCAD_CNT_RING_ERROR);
    g_assert_cmpuint(read_counters(&c, CCAD_REG_CNT_HEAD), ==, 7);
    map_bus(&c, 1, RECORDS2);
    touch(&c, 11, 1);
    check_record(&c, 7, 11, CCAD_RECORD_LOST, 0, 64);
    stop(&c);
}

/* Poison: the record of the command, the event, and AER at the root port. */
static void test_poison(void)
{
    Ccad c;
    struct ccad_completion r;

    start_behind_port(&c, "");
    enable_aer(&c);
    enable_messages(&c);
    write_counters(&c, CCAD_REG_EVENT_MASK, CCAD_EVENT_POISON);
    set_pte(&c, 20, c.mem.addr + 0x10000, PTE_RW);
    qtest_qmp_assert_success(c.qts, "{'execute':'ccad-inject-poison',"
                             "'arguments':{'path':'ccad0','start':65664,"
                             "'length':128}}");
    r = run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(20), .len = 0x1000,
        .flags = CCAD_DESC_INTERRUPT });
    g_assert_cmpuint(r.status, ==, CCAD_COMP_POISON);
    g_assert_cmpuint(r.access, ==, CCAD_ACCESS_READ);
    g_assert_cmphex(r.fault_addr, ==, VA + PAGE(20) + 0x80);
    g_assert_cmpuint(r.bytes_done, ==, 0x80);
    wait_for_message(&c, 1);
    wait_for_message(&c, CCAD_VECTOR_EVENT);
    g_assert_cmphex(read_counters(&c, CCAD_REG_EVENT), ==, CCAD_EVENT_POISON);
    g_assert_cmphex(qpci_io_readq(c.dev, c.regs, CCAD_REG_POISON_ADDR), ==,
                    0x10080);
    g_assert_cmphex(wait_for_root_status(&c), ==, PCI_ERR_ROOT_UNCOR_RCV |
                    PCI_ERR_ROOT_NONFATAL_RCV);

    /* The event is told again when it has been cleared. */
    run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(20), .len = 0x1000 });
    wait_for_root_status(&c);
    g_assert_cmphex(message(&c, CCAD_VECTOR_EVENT), ==, 0);
    write_counters(&c, CCAD_REG_EVENT, CCAD_EVENT_POISON);
    run(&c, (struct ccad_desc) {
        .opcode = CCAD_OP_CRC32C, .src = VA + PAGE(20) + 0xc0, .len = 1 });
    wait_for_message(&c, CCAD_VECTOR_EVENT);
    g_assert_cmphex(qpci_io_readq(c.dev, c.regs, CCAD_REG_POISON_ADDR), ==,
                    0x100c0);
    stop(&c);
}

void ccad_add_notify_tests(void)
{
    qtest_add_func("/ccad/notify/msix", test_msix);
    qtest_add_func("/ccad/notify/msix-unplugs", test_msix_unplugs);
    qtest_add_func("/ccad/notify/counters", test_counters);
    qtest_add_func("/ccad/notify/poison", test_poison);
}
