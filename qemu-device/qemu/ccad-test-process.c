/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For the qtests of ccad: see ccad-test-process.h. */
#include "qemu/osdep.h"
#include "hw/pci/pcie_regs.h"
#include "qobject/qlist.h"
#include "ccad-test-process.h"

/* Guest physical memory; the IOMMU's own structures are at QVTD_MEM_BASE. */
#define TABLES      0x11000000ULL   /* four levels, a page each */
#define PRQ         0x11010000ULL   /* page request queue, 128 entries */

#define PORT_DEVFN  QPCI_DEVFN(5, 0)
#define PORT_BUS    1
#define PORT_AER    0x100

uint64_t cfg(Ccad *c, uint16_t offset)
{
    return CCAD_ECAM + ((uint64_t)c->sid << 12) + offset;
}

static uint64_t pte_addr(unsigned page)
{
    return TABLES + 0x3000 + page * 8;
}

void set_pte(Ccad *c, unsigned page, uint64_t pa, uint64_t bits)
{
    qtest_writeq(c->qts, pte_addr(page), pa | bits);
}

uint64_t get_pte(Ccad *c, unsigned page)
{
    return qtest_readq(c->qts, pte_addr(page));
}

void set_up_pasid(Ccad *c, uint32_t pasid, uint64_t l4,
                  uint64_t pages)
{
    const uint64_t l3 = l4 + 0x1000, l2 = l4 + 0x2000,
                   l1 = l4 + 0x3000;
    uint64_t entry = QVTD_PASID_TABLE_BASE + pasid * VTD_PASID_ENTRY_SIZE;

    qtest_memset(c->qts, entry, 0, VTD_PASID_ENTRY_SIZE);
    qtest_writeq(c->qts, entry + 16, l4);
    qtest_writeq(c->qts, entry + 8, QVTD_DOMAIN_ID);
    /* 48 bits of address, as Linux says here for the first stage, too */
    qtest_writeq(c->qts, entry, VTD_PASID_ENTRY_P | 2 << 2 |
                 (uint64_t)VTD_SM_PASID_ENTRY_FST << 6);

    qtest_memset(c->qts, l4, 0, 0x4000);
    qtest_writeq(c->qts, l4 + (VA >> 39 & 511) * 8, l3 | PTE_RW);
    qtest_writeq(c->qts, l3 + (VA >> 30 & 511) * 8, l2 | PTE_RW);
    qtest_writeq(c->qts, l2 + (VA >> 21 & 511) * 8, l1 | PTE_RW);
    for (unsigned i = 0; i < SETUP_PAGES; i++) {
        qtest_writeq(c->qts, l1 + i * 8, (pages + PAGE(i)) | PTE_RW);
    }
}

void set_huge(Ccad *c, uint64_t pa)
{
    qtest_writeq(c->qts, TABLES + 0x2000 + (HUGE_VA >> 21 & 511) * 8,
                 pa ? pa | PTE_RW | PTE_HUGE : 0);
}

/* Root, context and PASID entries come from libqos, for PASID 0. */
static void set_up_iommu(Ccad *c)
{
    uint64_t context = QVTD_CONTEXT_TABLE_BASE +
                       (c->sid & 0xff) * VTD_CTX_ENTRY_SCALABLE_SIZE;

    qvtd_build_translation(c->qts, QVTD_TM_SCALABLE_FLT, c->sid);
    /* Device TLB, PASID and page requests */
    qtest_writeq(c->qts, context, qtest_readq(c->qts, context) | 0x1c);
    set_up_pasid(c, PASID, TABLES, PAGES);
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

void enable_device(Ccad *c)
{
    qpci_device_enable(c->dev);
    if (c->regs.addr) {
        qpci_config_writel(c->dev, PCI_BASE_ADDRESS_0, c->regs.addr);
        qpci_config_writel(c->dev, PCI_BASE_ADDRESS_2, c->mem.addr);
    } else {
        c->regs = qpci_iomap(c->dev, CCAD_BAR_REGS, NULL);
        c->mem = qpci_iomap(c->dev, CCAD_BAR_MEM, NULL);
    }
    qtest_writew(c->qts, cfg(c, 0x110 + PCI_PASID_CTRL), PCI_PASID_CTRL_ENABLE);
    qtest_writel(c->qts, cfg(c, 0x120 + PCI_PRI_ALLOC_REQ), 32);
    qtest_writew(c->qts, cfg(c, 0x120 + PCI_PRI_CTRL), PCI_PRI_CTRL_ENABLE);
    qtest_writew(c->qts, cfg(c, 0x100 + PCI_ATS_CTRL), PCI_ATS_CTRL_ENABLE);
    qpci_io_writel(c->dev, c->regs, CCAD_REG_CTRL, CCAD_CTRL_ENABLE);
}

uint32_t context_state(Ccad *c, unsigned n)
{
    return qpci_io_readl(c->dev, c->regs, CCAD_DOORBELL(n) + CCAD_DB_STATUS);
}

void try_context(Ccad *c, unsigned n, uint64_t ring, uint32_t pasid)
{
    uint32_t block = CCAD_CTX(n);

    qpci_io_writel(c->dev, c->regs, block + CCAD_CTX_PASID, pasid);
    qpci_io_writel(c->dev, c->regs, block + CCAD_CTX_VECTOR, n + 1);
    qpci_io_writeq(c->dev, c->regs, block + CCAD_CTX_RING, ring);
    qpci_io_writel(c->dev, c->regs, block + CCAD_CTX_RING_SHIFT, RING_SHIFT);
    qpci_io_writel(c->dev, c->regs, block + CCAD_CTX_CTRL,
                   CCAD_CTX_CTRL_ENABLE);
}

void enable_context_with(Ccad *c, unsigned n, uint64_t ring, uint32_t pasid)
{
    try_context(c, n, ring, pasid);
    g_assert_cmphex(context_state(c, n), ==, CCAD_CTX_ENABLED);
}

void enable_context(Ccad *c, unsigned n, uint64_t ring)
{
    enable_context_with(c, n, ring, PASID);
    if (n == 0) {
        c->tail = 0;
    }
}

/* As firmware does: everything below the port has one bus and one window. */
void set_up_buses(Ccad *c)
{
    ccad_enable_ecam(c->bus);
    if (!c->port) {
        return;
    }
    qpci_config_writeb(c->port, PCI_PRIMARY_BUS, 0);
    qpci_config_writeb(c->port, PCI_SECONDARY_BUS, PORT_BUS);
    qpci_config_writeb(c->port, PCI_SUBORDINATE_BUS, PORT_BUS);
    qpci_config_writew(c->port, PCI_MEMORY_BASE, 0xe000);
    qpci_config_writew(c->port, PCI_MEMORY_LIMIT, 0xeff0);
    qpci_config_writew(c->port, PCI_PREF_MEMORY_BASE, 0xfff0);
    qpci_config_writew(c->port, PCI_PREF_MEMORY_LIMIT, 0);
    qpci_config_writew(c->port, PCI_COMMAND, PCI_COMMAND_MEMORY |
                       PCI_COMMAND_MASTER | PCI_COMMAND_SERR);
}

void set_up(Ccad *c)
{
    set_up_buses(c);
    set_up_iommu(c);
    c->iq_tail = 0;
    enable_device(c);
    enable_context(c, 0, RING);
}

void find(Ccad *c)
{
    c->bus = qpci_new_pc(c->qts, NULL);
    if (c->sid >> 8) {
        c->port = qpci_device_find(c->bus, PORT_DEVFN);
        g_assert_nonnull(c->port);
    }
    set_up_buses(c);
    c->dev = qpci_device_find(c->bus, c->sid);
    g_assert_nonnull(c->dev);
}

void start(Ccad *c)
{
    *c = (Ccad) { .sid = DEVFN };
    c->machine = g_strdup(CCAD_PROCESS);
    c->qts = ccad_qtest_start("%s", c->machine);
    find(c);
    set_up(c);
}

void start_behind_port(Ccad *c, const char *options)
{
    *c = (Ccad) { .sid = PORT_BUS << 8 };
    c->machine = g_strdup_printf(
        "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off "
        CCAD_IOMMU CCAD_LOCAL
        "-device pcie-root-port,id=rp,addr=05.0,chassis=1,slot=1 "
        "-device ccad,id=ccad0,bus=rp,memdev=local%s", options);
    c->qts = ccad_qtest_start("%s", c->machine);
    find(c);
    set_up(c);
}

void stop(Ccad *c)
{
    g_free(c->dev);
    g_free(c->port);
    g_free(c->machine);
    qpci_free_pc(c->bus);
    qtest_quit(c->qts);
}

uint64_t record(uint32_t i)
{
    return PAGES + PAGE(1) + (i & 15) * 64;
}

uint32_t submit(Ccad *c, struct ccad_desc d)
{
    uint32_t i = c->tail++;

    d.tag = 0xc0de0000 | i;
    d.completion = RECORDS + (i & 15) * 64;
    qtest_memset(c->qts, record(i), 0, sizeof(struct ccad_completion));
    qtest_memwrite(c->qts, PAGES + (i & 15) * sizeof(d), &d, sizeof(d));
    qpci_io_writel(c->dev, c->regs, CCAD_DOORBELL(0) + CCAD_DB_TAIL, c->tail);
    return i;
}

struct ccad_completion wait_for_record(Ccad *c, uint64_t pa)
{
    struct ccad_completion r;

    for (int tries = 0; tries < 20000; tries++) {
        qtest_memread(c->qts, pa, &r, sizeof(r));
        if (r.status) {
            return r;
        }
        g_usleep(1000);
    }
    g_error("the command with its record at 0x%" PRIx64 " did not end", pa);
}

struct ccad_completion wait_for(Ccad *c, uint32_t i)
{
    struct ccad_completion r = wait_for_record(c, record(i));

    g_assert_cmphex(r.tag, ==, 0xc0de0000 | i);
    return r;
}

struct ccad_completion run(Ccad *c, struct ccad_desc d)
{
    return wait_for(c, submit(c, d));
}

uint64_t counter(Ccad *c, uint32_t which)
{
    return qpci_io_readq(c->dev, c->regs, CCAD_REG_STATS + which);
}

/* Queued invalidation and page group responses */

void queue(Ccad *c, uint64_t lo, uint64_t hi)
{
    uint64_t desc = QVTD_IQ_BASE + c->iq_tail * 32;

    qtest_writeq(c->qts, desc, lo);
    qtest_writeq(c->qts, desc + 8, hi);
    qtest_writeq(c->qts, desc + 16, 0);
    qtest_writeq(c->qts, desc + 24, 0);
    c->iq_tail = (c->iq_tail + 1) % IQ_ENTRIES;
    qtest_writeq(c->qts, VTD + DMAR_IQT_REG, c->iq_tail << 5);
    g_assert_cmphex(qtest_readl(c->qts, VTD + DMAR_FSTS_REG) & VTD_FSTS_IQE,
                    ==, 0);
}

void invalidate_page(Ccad *c, uint64_t va)
{
    queue(c, VTD_INV_DESC_PIOTLB | VTD_INV_DESC_PIOTLB_PSI_IN_PASID |
          (uint64_t)QVTD_DOMAIN_ID << 16 | (uint64_t)PASID << 32, va);
    queue(c, VTD_INV_DESC_DEV_PIOTLB | c->sid << 16 | (uint64_t)PASID << 32,
          va);
}

PageRequest next_of_group(Ccad *c, bool last)
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
    g_assert_cmphex(lo, ==, VTD_PRD_TYPE | VTD_PRD_PP(1) | VTD_PRD_RID(c->sid) |
                    VTD_PRD_PASID(PASID));
    g_assert_true(!(hi & VTD_PRD_LPIG(1)) == !last);
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

PageRequest next_page_request(Ccad *c)
{
    return next_of_group(c, true);
}

void respond(Ccad *c, PageRequest *request, unsigned code)
{
    queue(c, VTD_INV_DESC_PGRESP | 1 << 4 | code << 12 | c->sid << 16 |
          (uint64_t)PASID << 32,
          VTD_PRD_LPIG(1) | (uint64_t)request->group << 3);
}

void wait_for_error(Ccad *c, unsigned n, unsigned cause)
{
    for (int tries = 0; (context_state(c, n) & CCAD_CTX_STATE_MASK) !=
                        CCAD_CTX_ERROR; tries++) {
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
    g_assert_cmphex(context_state(c, n) >> CCAD_CTX_CAUSE_SHIFT, ==, cause);
}

void disable_context(Ccad *c, unsigned n)
{
    qpci_io_writel(c->dev, c->regs, CCAD_CTX(n) + CCAD_CTX_CTRL, 0);
    for (int tries = 0; context_state(c, n) != CCAD_CTX_DISABLED; tries++) {
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
}

void plug(Ccad *c)
{
    uint8_t cap = qpci_find_capability(c->port, PCI_CAP_ID_EXP, 0);

    qtest_qmp_device_add(c->qts, "ccad", "ccad0",
                         "{'bus':'rp','memdev':'local'}");
    qpci_config_writew(c->port, cap + PCI_EXP_SLTCTL,
                       PCI_EXP_SLTCTL_PWR_IND_ON);
    enable_device(c);
}

void flr(Ccad *c)
{
    uint8_t cap = qpci_find_capability(c->dev, PCI_CAP_ID_EXP, 0);

    qpci_config_writew(c->dev, cap + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
}

void enable_aer(Ccad *c)
{
    uint8_t cap = qpci_find_capability(c->dev, PCI_CAP_ID_EXP, 0);
    uint8_t port_cap = qpci_find_capability(c->port, PCI_CAP_ID_EXP, 0);
    uint16_t all = PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE |
                   PCI_EXP_DEVCTL_FERE;

    qpci_config_writew(c->port, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_SERR);
    qpci_config_writew(c->port, port_cap + PCI_EXP_DEVCTL, all);
    qpci_config_writew(c->dev, cap + PCI_EXP_DEVCTL, all);
}

uint64_t port_aer(uint16_t offset)
{
    return CCAD_ECAM + (PORT_DEVFN << 12) + PORT_AER + offset;
}

uint32_t wait_for_root_status(Ccad *c)
{
    for (int tries = 0; ; tries++) {
        uint32_t status = qtest_readl(c->qts, port_aer(PCI_ERR_ROOT_STATUS)) &
                          0x7f;

        if (status) {
            qtest_writel(c->qts, port_aer(PCI_ERR_ROOT_STATUS), status);
            return status;
        }
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
}

QDict *info(Ccad *c)
{
    QDict *answer = qtest_qmp(c->qts, "{'execute':'query-ccad','arguments':"
                              "{'path':'/machine/peripheral/ccad0'}}");
    QDict *info = qdict_get_qdict(answer, "return");

    g_assert_nonnull(info);
    qobject_ref(info);
    qobject_unref(answer);
    return info;
}

int64_t number(QDict *dict, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, ".", 0);
    size_t i;

    for (i = 0; names[i + 1]; i++) {
        dict = qdict_get_qdict(dict, names[i]);
        g_assert_nonnull(dict);
    }
    return qdict_get_int(dict, names[i]);
}

QDict *element(QDict *dict, const char *name, size_t n)
{
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(dict, name), entry) {
        if (!n--) {
            return qobject_to(QDict, qlist_entry_obj(entry));
        }
    }
    return NULL;
}

void wait_for_place(Ccad *c, const char *place)
{
    for (int tries = 0; ; tries++) {
        QDict *state = info(c);
        bool there = g_str_equal(qdict_get_str(element(state, "contexts", 0),
                                               "place"), place);

        qobject_unref(state);
        if (there) {
            return;
        }
        g_assert_cmpint(tries, <, 10000);
        g_usleep(1000);
    }
}
