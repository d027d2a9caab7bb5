/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qtest of ccad: what the device says of itself.
 * Everything that goes through the IOMMU is in ccad-iommu-test.c.
 */
#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "ccad-test.h"

#define FIRMWARE_SIZE (64 * 1024)
#define MACHINE "-machine q35 -m 512 -nodefaults " \
                "-global apic-common.vapic=off -bios %s %s"

static char *firmware;

QTestState *ccad_qtest_start(const char *fmt, ...)
{
    g_autofree char *options = NULL;
    va_list ap;

    va_start(ap, fmt);
    options = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return qtest_initf(MACHINE, firmware, options);
}

bool ccad_qemu_run(const char *options, char **out, char **err)
{
    g_autofree char *line = g_strdup_printf("%s -accel qtest -display none "
                                            MACHINE,
                                            getenv("QTEST_QEMU_BINARY"),
                                            firmware, options);
    g_auto(GStrv) argv = NULL;
    g_autoptr(GError) gerr = NULL;
    int status;

    g_shell_parse_argv(line, NULL, &argv, &gerr);
    g_assert_no_error(gerr);
    g_spawn_sync(NULL, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, out, err,
                 &status, &gerr);
    g_assert_no_error(gerr);
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 0;
}

void ccad_enable_ecam(QPCIBus *bus)
{
    QPCIDevice *mch = qpci_device_find(bus, QPCI_DEVFN(0, 0));

    qpci_config_writel(mch, 0x60, CCAD_ECAM | 1);
    g_free(mch);
}

static void make_firmware(void)
{
    g_autofree char *zeros = g_malloc0(FIRMWARE_SIZE);
    g_autoptr(GError) err = NULL;
    int fd = g_file_open_tmp("ccad-test-XXXXXX", &firmware, &err);

    g_assert_no_error(err);
    g_assert_cmpint(write(fd, zeros, FIRMWARE_SIZE), ==, FIRMWARE_SIZE);
    close(fd);
}

typedef struct Ccad {
    QTestState *qts;
    QPCIBus *bus;
    QPCIDevice *dev;
    QPCIBar regs;
} Ccad;

static void ccad_start(Ccad *c, const char *options)
{
    c->qts = ccad_qtest_start(CCAD_NUMA CCAD_IOMMU CCAD_LOCAL "-device ccad,"
                              "id=ccad0,addr=04.0,memdev=local%s", options);
    c->bus = qpci_new_pc(c->qts, NULL);
    c->dev = qpci_device_find(c->bus, QPCI_DEVFN(4, 0));
    g_assert_nonnull(c->dev);
}

static void ccad_map(Ccad *c)
{
    qpci_device_enable(c->dev);
    c->regs = qpci_iomap(c->dev, CCAD_BAR_REGS, NULL);
}

static void ccad_stop(Ccad *c)
{
    g_free(c->dev);
    qpci_free_pc(c->bus);
    qtest_quit(c->qts);
}

static uint64_t bar_size(QPCIDevice *dev, int bar)
{
    uint8_t reg = PCI_BASE_ADDRESS_0 + 4 * bar;
    uint64_t mask;

    qpci_config_writel(dev, reg, ~0U);
    mask = qpci_config_readl(dev, reg);
    if (mask & PCI_BASE_ADDRESS_MEM_TYPE_64) {
        qpci_config_writel(dev, reg + 4, ~0U);
        mask |= (uint64_t)qpci_config_readl(dev, reg + 4) << 32;
    } else {
        mask |= 0xffffffff00000000ULL;
    }
    return ~(mask & ~0xfULL) + 1;
}

/* Offset of an extended capability, 0 if there is none. */
static uint16_t find_ext_cap(QPCIDevice *dev, uint16_t id)
{
    uint16_t offset = PCI_CFG_SPACE_SIZE;

    while (offset) {
        uint32_t header = qtest_readl(dev->bus->qts,
                                      CCAD_ECAM + (dev->devfn << 12) + offset);

        if (header && PCI_EXT_CAP_ID(header) == id) {
            return offset;
        }
        offset = header ? PCI_EXT_CAP_NEXT(header) : 0;
    }
    return 0;
}

static uint64_t ext_read(QPCIDevice *dev, uint16_t offset, int size)
{
    uint64_t addr = CCAD_ECAM + (dev->devfn << 12) + offset;

    return size == 2 ? qtest_readw(dev->bus->qts, addr)
         : size == 4 ? qtest_readl(dev->bus->qts, addr)
                     : qtest_readq(dev->bus->qts, addr);
}

static void test_probe(void)
{
    Ccad c;
    uint8_t cap;

    ccad_start(&c, ",contexts=8");

    g_assert_cmphex(qpci_config_readw(c.dev, PCI_VENDOR_ID), ==,
                    CCAD_PCI_VENDOR_ID);
    g_assert_cmphex(qpci_config_readw(c.dev, PCI_DEVICE_ID), ==,
                    CCAD_PCI_DEVICE_ID);
    g_assert_cmphex(qpci_config_readw(c.dev, PCI_CLASS_DEVICE), ==,
                    CCAD_PCI_CLASS);

    g_assert_cmphex(bar_size(c.dev, CCAD_BAR_REGS), ==, 0x80000);
    g_assert_cmphex(bar_size(c.dev, CCAD_BAR_MEM), ==, CCAD_LOCAL_SIZE);
    g_assert_cmphex(qpci_config_readl(c.dev, PCI_BASE_ADDRESS_2) & 0xf, ==,
                    PCI_BASE_ADDRESS_MEM_TYPE_64 |
                    PCI_BASE_ADDRESS_MEM_PREFETCH);

    cap = qpci_find_capability(c.dev, PCI_CAP_ID_MSIX, 0);
    g_assert_cmpuint(cap, !=, 0);
    g_assert_cmpuint((qpci_config_readw(c.dev, cap + PCI_MSIX_FLAGS) &
                      PCI_MSIX_FLAGS_QSIZE) + 1, ==, 10);
    g_assert_cmpuint(qpci_config_readl(c.dev, cap + PCI_MSIX_TABLE) &
                     PCI_MSIX_TABLE_BIR, ==, CCAD_BAR_MSIX);

    cap = qpci_find_capability(c.dev, PCI_CAP_ID_EXP, 0);
    g_assert_cmpuint(cap, !=, 0);
    g_assert_true(qpci_config_readl(c.dev, cap + PCI_EXP_DEVCAP) &
                  PCI_EXP_DEVCAP_FLR);

    ccad_stop(&c);
}

static void test_bar_of_many_contexts(void)
{
    Ccad c;

    ccad_start(&c, ",contexts=1024");
    g_assert_cmphex(bar_size(c.dev, CCAD_BAR_REGS), ==, 0x800000);
    ccad_stop(&c);
}

static void test_capabilities(void)
{
    Ccad c;
    uint16_t cap;

    ccad_start(&c, ",page-requests=17");
    ccad_enable_ecam(c.bus);

    cap = find_ext_cap(c.dev, PCI_EXT_CAP_ID_ATS);
    g_assert_cmpuint(cap, ==, 0x100);
    g_assert_true(ext_read(c.dev, cap + PCI_ATS_CAP, 2) &
                  PCI_ATS_CAP_PAGE_ALIGNED);
    g_assert_cmphex(ext_read(c.dev, cap + PCI_ATS_CTRL, 2), ==, 0);

    cap = find_ext_cap(c.dev, PCI_EXT_CAP_ID_PASID);
    g_assert_cmpuint(cap, ==, 0x110);
    g_assert_cmphex(ext_read(c.dev, cap + PCI_PASID_CAP, 2), ==, 20 << 8);

    cap = find_ext_cap(c.dev, PCI_EXT_CAP_ID_PRI);
    g_assert_cmpuint(cap, ==, 0x120);
    g_assert_cmphex(ext_read(c.dev, cap + PCI_PRI_STATUS, 2), ==,
                    PCI_PRI_STATUS_PASID | PCI_PRI_STATUS_STOPPED);
    g_assert_cmpuint(ext_read(c.dev, cap + PCI_PRI_MAX_REQ, 4), ==, 17);

    ccad_stop(&c);
}

static void check_dvsec(const char *options, uint16_t flags, uint32_t latency,
                        uint32_t bandwidth, uint32_t pxm)
{
    Ccad c;
    uint16_t cap;

    ccad_start(&c, options);
    ccad_enable_ecam(c.bus);
    cap = find_ext_cap(c.dev, PCI_EXT_CAP_ID_DVSEC);
    g_assert_cmpuint(cap, ==, 0x140);
    g_assert_cmphex(ext_read(c.dev, cap + PCI_DVSEC_HEADER1, 4), ==,
                    CCAD_DVSEC_VENDOR_ID | CCAD_DVSEC_REVISION << 16 |
                    CCAD_DVSEC_LENGTH << 20);
    g_assert_cmphex(ext_read(c.dev, cap + PCI_DVSEC_HEADER2, 2), ==,
                    CCAD_DVSEC_ID);
    g_assert_cmphex(ext_read(c.dev, cap + CCAD_DVSEC_FLAGS, 2), ==, flags);
    g_assert_cmpuint(ext_read(c.dev, cap + CCAD_DVSEC_GRANULE_SHIFT, 4), ==,
                     CCAD_GRANULE_SHIFT_DEFAULT);
    g_assert_cmphex(ext_read(c.dev, cap + CCAD_DVSEC_MEM_SIZE, 8), ==,
                    CCAD_LOCAL_SIZE);
    g_assert_cmpuint(ext_read(c.dev, cap + CCAD_DVSEC_LATENCY_NS, 4), ==,
                     latency);
    g_assert_cmpuint(ext_read(c.dev, cap + CCAD_DVSEC_BANDWIDTH_MBPS, 4), ==,
                     bandwidth);
    g_assert_cmphex(ext_read(c.dev, cap + CCAD_DVSEC_PXM, 4), ==, pxm);
    ccad_stop(&c);
}

static void test_dvsec(void)
{
    check_dvsec("", CCAD_DVSEC_FLAG_MEM, 120, 400000, CCAD_DVSEC_PXM_NONE);
    check_dvsec(",proximity-domain=1", CCAD_DVSEC_FLAG_MEM, 120, 400000, 1);
    check_dvsec(",volatile=on,local-latency-ns=77,local-bandwidth=1234",
                CCAD_DVSEC_FLAG_MEM | CCAD_DVSEC_FLAG_VOLATILE, 77, 1234,
                CCAD_DVSEC_PXM_NONE);
}

/* The memories of several devices may make up one node. */
static void test_shared_node(void)
{
    Ccad c;

    ccad_start(&c, ",proximity-domain=1 -object memory-backend-ram,id=other,"
               "size=16M -device ccad,addr=05.0,memdev=other,"
               "proximity-domain=1");
    ccad_enable_ecam(c.bus);
    for (int slot = 4; slot <= 5; slot++) {
        QPCIDevice *dev = qpci_device_find(c.bus, QPCI_DEVFN(slot, 0));
        uint16_t cap = find_ext_cap(dev, PCI_EXT_CAP_ID_DVSEC);

        g_assert_cmpuint(ext_read(dev, cap + CCAD_DVSEC_PXM, 4), ==, 1);
        g_free(dev);
    }
    ccad_stop(&c);
}

static void test_registers(void)
{
    Ccad c;
    uint64_t caps;

    ccad_start(&c, ",contexts=5,engines=3");
    ccad_map(&c);

    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_ID), ==, CCAD_ID);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_VERSION), ==,
                    CCAD_VERSION);

    caps = qpci_io_readq(c.dev, c.regs, CCAD_REG_CAPS);
    g_assert_cmpuint(caps >> CCAD_CAPS_CONTEXTS_SHIFT & CCAD_CAPS_CONTEXTS_MASK,
                     ==, 5);
    g_assert_cmpuint(caps >> CCAD_CAPS_ENGINES_SHIFT & CCAD_CAPS_ENGINES_MASK,
                     ==, 3);
    g_assert_cmpuint(caps >> CCAD_CAPS_RING_SHIFT & CCAD_CAPS_RING_MASK, ==,
                     CCAD_RING_SHIFT_MAX);
    /* In halves. */
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_CAPS), ==,
                    (uint32_t)caps);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_CAPS + 4), ==,
                    caps >> 32);

    g_assert_cmphex(qpci_io_readq(c.dev, c.regs, CCAD_REG_MEM_SIZE), ==,
                    CCAD_LOCAL_SIZE);
    g_assert_cmphex(qpci_io_readq(c.dev, c.regs, CCAD_REG_OPCODES) &
                    1 << CCAD_OP_CRC32C, !=, 0);

    /* Not naturally aligned, or not of the register's size. */
    g_assert_cmphex(qpci_io_readb(c.dev, c.regs, CCAD_REG_ID), ==, 0xff);
    g_assert_cmphex(qpci_io_readw(c.dev, c.regs, CCAD_REG_ID), ==, 0xffff);
    g_assert_cmphex(qpci_io_readq(c.dev, c.regs, CCAD_REG_ID), ==, ~0ULL);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_ID + 2), ==, ~0U);

    /* Read only, read-write, and cleared by a reset of the device. */
    qpci_io_writel(c.dev, c.regs, CCAD_REG_ID, 0);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_ID), ==, CCAD_ID);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_EVENT_MASK, ~0U);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_EVENT_MASK), ==,
                    CCAD_EVENT_CTX_ERROR | CCAD_EVENT_POISON |
                    CCAD_EVENT_COUNTERS);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CTRL, CCAD_CTRL_ENABLE);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_STATUS), ==,
                    CCAD_STATUS_READY);
    qpci_io_writel(c.dev, c.regs, CCAD_REG_CTRL, CCAD_CTRL_RESET);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_STATUS), ==, 0);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_REG_EVENT_MASK), ==, 0);

    /* Without PASID and ATS no context can be enabled. */
    qpci_io_writel(c.dev, c.regs, CCAD_CTX(0) + CCAD_CTX_PASID, 5);
    qpci_io_writel(c.dev, c.regs, CCAD_CTX(0) + CCAD_CTX_RING_SHIFT, 4);
    qpci_io_writel(c.dev, c.regs, CCAD_CTX(0) + CCAD_CTX_CTRL,
                   CCAD_CTX_CTRL_ENABLE);
    g_assert_cmphex(qpci_io_readl(c.dev, c.regs, CCAD_DOORBELL(0) +
                                  CCAD_DB_STATUS), ==,
                    CCAD_CTX_ERROR | CCAD_CAUSE_CONFIG << CCAD_CTX_CAUSE_SHIFT);

    ccad_stop(&c);
}

static void test_local_memory(void)
{
    Ccad c;
    QPCIBar mem;
    uint64_t size;

    ccad_start(&c, "");
    qpci_device_enable(c.dev);
    mem = qpci_iomap(c.dev, CCAD_BAR_MEM, &size);
    g_assert_cmphex(size, ==, CCAD_LOCAL_SIZE);
    qpci_io_writeq(c.dev, mem, size - 8, 0x0123456789abcdefULL);
    g_assert_cmphex(qpci_io_readq(c.dev, mem, size - 8), ==,
                    0x0123456789abcdefULL);
    qtest_system_reset(c.qts);
    qpci_device_enable(c.dev);
    mem = qpci_iomap(c.dev, CCAD_BAR_MEM, NULL);
    g_assert_cmphex(qpci_io_readq(c.dev, mem, size - 8), ==,
                    0x0123456789abcdefULL);
    ccad_stop(&c);

    ccad_start(&c, ",volatile=on");
    qpci_device_enable(c.dev);
    mem = qpci_iomap(c.dev, CCAD_BAR_MEM, &size);
    qpci_io_writeq(c.dev, mem, size - 8, 0x0123456789abcdefULL);
    qtest_system_reset(c.qts);
    qpci_device_enable(c.dev);
    mem = qpci_iomap(c.dev, CCAD_BAR_MEM, NULL);
    g_assert_cmphex(qpci_io_readq(c.dev, mem, size - 8), ==, 0);
    ccad_stop(&c);
}

static void test_unplug(void)
{
    QTestState *qts = ccad_qtest_start(CCAD_PORT CCAD_LOCAL);

    for (int i = 0; i < 3; i++) {
        QDict *answer;

        qtest_qmp_device_add(qts, "ccad", "hot",
                             "{'bus':'rp','memdev':'local'}");
        answer = qtest_qmp(qts, "{'execute':'qom-get','arguments':"
                           "{'path':'/machine/peripheral/hot',"
                           "'property':'stat-commands'}}");
        g_assert_cmpint(qdict_get_int(answer, "return"), ==, 0);
        qobject_unref(answer);

        /* No guest acknowledges: the machine's reset unplugs. */
        qtest_qmp_device_del_send(qts, "hot");
        qtest_system_reset_nowait(qts);
        qtest_qmp_eventwait(qts, "DEVICE_DELETED");
    }
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    int result;

    g_test_init(&argc, &argv, NULL);

    if (!qtest_has_machine("q35") || !qtest_has_device("ccad")) {
        g_test_message("no q35 or no ccad");
        return g_test_run();
    }
    make_firmware();
    qtest_add_func("/ccad/probe", test_probe);
    qtest_add_func("/ccad/bar-of-many-contexts", test_bar_of_many_contexts);
    qtest_add_func("/ccad/capabilities", test_capabilities);
    qtest_add_func("/ccad/dvsec", test_dvsec);
    qtest_add_func("/ccad/shared-node", test_shared_node);
    qtest_add_func("/ccad/registers", test_registers);
    qtest_add_func("/ccad/local-memory", test_local_memory);
    qtest_add_func("/ccad/unplug", test_unplug);
    ccad_add_options_tests();
    ccad_add_iommu_tests();
    ccad_add_pri_tests();
    ccad_add_notify_tests();
    ccad_add_qmp_tests();
    ccad_add_query_tests();
    ccad_add_reset_tests();
    ccad_add_migration_tests();
    result = g_test_run();
    unlink(firmware);
    g_free(firmware);
    return result;
}
