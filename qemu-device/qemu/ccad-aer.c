/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ccad: advanced error reporting
 *
 * Errors are reported from a bottom half: whoever finds one need not have the
 * BQL, and a message goes through the bridges above.
 */
#include "qemu/osdep.h"
#include "hw/pci/pci.h"
#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie.h"
#include "hw/pci/pcie_aer.h"
#include "hw/pci/pcie_regs.h"
#include "ccad.h"
#include "trace.h"

static const PCIEAERErr ccad_aer_errors[CCAD_AER_COUNT] = {
    [CCAD_AER_POISON] = { .status = PCI_ERR_UNC_POISON_TLP },
    [CCAD_AER_UNCORRECTABLE] = { .status = PCI_ERR_UNC_INTN },
    [CCAD_AER_CORRECTED] = { .status = PCI_ERR_COR_INTERNAL,
                             .flags = PCIE_AER_ERR_IS_CORRECTABLE },
};

static void ccad_aer_bh(void *opaque)
{
    CcadState *s = opaque;
    PCIDevice *pdev = PCI_DEVICE(s);
    uint32_t pending = qatomic_xchg(&s->aer_pending, 0);

    for (int i = 0; i < CCAD_AER_COUNT; i++) {
        if (pending & BIT(i)) {
            PCIEAERErr err = ccad_aer_errors[i];

            err.source_id = pci_requester_id(pdev);
            trace_ccad_aer(err.status, err.flags);
            pcie_aer_inject_error(pdev, &err);
        }
    }
}

void ccad_aer_report(CcadState *s, CcadAer error)
{
    qatomic_or(&s->aer_pending, BIT(error));
    qemu_bh_schedule(s->aer_bh);
}

void ccad_aer_resume(CcadState *s)
{
    s->aer_pending &= BIT(CCAD_AER_COUNT) - 1;
    if (s->aer_pending) {
        qemu_bh_schedule(s->aer_bh);
    }
}

bool ccad_aer_init(CcadState *s, Error **errp)
{
    PCIDevice *pdev = PCI_DEVICE(s);

    pcie_cap_deverr_init(pdev);
    pdev->exp.aer_log.log_max = PCIE_AER_LOG_MAX_DEFAULT;
    if (pcie_aer_init(pdev, PCI_ERR_VER, CCAD_AER_OFFSET, PCI_ERR_SIZEOF,
                      errp)) {
        return false;
    }
    s->aer_bh = qemu_bh_new_guarded(ccad_aer_bh, s,
                                    &DEVICE(s)->mem_reentrancy_guard);
    return true;
}

void ccad_aer_exit(CcadState *s)
{
    g_clear_pointer(&s->aer_bh, qemu_bh_delete);
    pcie_aer_exit(PCI_DEVICE(s));
}

/* Whether power stays on: a reset of the function or of its bus. */
static bool ccad_reset_is_warm(PCIDevice *pdev)
{
    PCIDevice *bridge = pci_bridge_get_device(pci_get_bus(pdev));

    return (pci_get_word(pdev->config + pdev->exp.exp_cap + PCI_EXP_DEVCTL) &
            PCI_EXP_DEVCTL_BCR_FLR) ||
           (bridge && (pci_get_word(bridge->config + PCI_BRIDGE_CONTROL) &
                       PCI_BRIDGE_CTL_BUS_RESET));
}

/* The registers of the capability are sticky (PCIe 6.0, 7.4). */
void ccad_aer_reset(CcadState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint8_t *cap = pdev->config + CCAD_AER_OFFSET;

    qatomic_set(&s->aer_pending, 0);
    pcie_cap_deverr_reset(pdev);
    if (ccad_reset_is_warm(pdev)) {
        return;
    }
    pci_set_long(cap + PCI_ERR_UNCOR_STATUS, 0);
    pci_set_long(cap + PCI_ERR_UNCOR_MASK, PCI_ERR_UNC_MASK_DEFAULT);
    pci_set_long(cap + PCI_ERR_UNCOR_SEVER, PCI_ERR_UNC_SEVERITY_DEFAULT);
    pci_set_long(cap + PCI_ERR_COR_STATUS, 0);
    pci_set_long(cap + PCI_ERR_COR_MASK, PCI_ERR_COR_MASK_DEFAULT);
    pci_set_long(cap + PCI_ERR_CAP, PCI_ERR_CAP_ECRC_GENC |
                 PCI_ERR_CAP_ECRC_CHKC | PCI_ERR_CAP_MHRC);
    memset(cap + PCI_ERR_HEADER_LOG, 0, PCI_ERR_HEADER_LOG_SIZE);
    pdev->exp.aer_log.log_num = 0;
}
