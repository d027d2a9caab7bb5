/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ccad: PCI Express capabilities, and what writing to them means
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie.h"
#include "hw/pci/pcie_aer.h"
#include "ccad.h"
#include "trace.h"

static void ccad_dvsec_init(CcadState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint8_t *cap = pdev->config + CCAD_DVSEC_OFFSET;
    uint16_t flags = CCAD_DVSEC_FLAG_MEM;

    if (s->is_volatile) {
        flags |= CCAD_DVSEC_FLAG_VOLATILE;
    }

    pcie_add_capability(pdev, PCI_EXT_CAP_ID_DVSEC, 1, CCAD_DVSEC_OFFSET,
                        CCAD_DVSEC_LENGTH);
    pci_set_long(cap + PCI_DVSEC_HEADER1, CCAD_DVSEC_VENDOR_ID |
                 CCAD_DVSEC_REVISION << 16 | CCAD_DVSEC_LENGTH << 20);
    pci_set_word(cap + PCI_DVSEC_HEADER2, CCAD_DVSEC_ID);
    pci_set_word(cap + CCAD_DVSEC_FLAGS, flags);
    pci_set_long(cap + CCAD_DVSEC_GRANULE_SHIFT, CCAD_GRANULE_SHIFT_DEFAULT);
    pci_set_quad(cap + CCAD_DVSEC_MEM_SIZE, s->config.mem_size);
    pci_set_long(cap + CCAD_DVSEC_LATENCY_NS, s->config.cost.local_latency_ns);
    pci_set_long(cap + CCAD_DVSEC_BANDWIDTH_MBPS, s->config.cost.local_mbps);
    pci_set_long(cap + CCAD_DVSEC_PXM, s->proximity_domain);
}

bool ccad_caps_init(CcadState *s, Error **errp)
{
    PCIDevice *pdev = PCI_DEVICE(s);

    if (msix_init_exclusive_bar(pdev, s->config.vectors, CCAD_BAR_MSIX, errp)) {
        return false;
    }
    for (uint32_t i = 0; i < s->config.vectors; i++) {
        msix_vector_use(pdev, i);
    }

    if (pcie_endpoint_cap_init(pdev, 0) < 0) {
        error_setg(errp, "no room for the PCI Express capability");
        msix_uninit_exclusive_bar(pdev);
        return false;
    }
    pcie_cap_flr_init(pdev);
    pcie_ats_init(pdev, CCAD_ATS_OFFSET, true);
    /* Neither execute nor privileged mode: processes read and write data. */
    pcie_pasid_init(pdev, CCAD_PASID_OFFSET, CCAD_PASID_BITS, false, false);
    pcie_pri_init(pdev, CCAD_PRI_OFFSET, s->config.page_requests, true);
    /* What the device changes may differ when its state is loaded. */
    pci_set_word(pdev->cmask + CCAD_PRI_OFFSET + PCI_PRI_STATUS,
                 (uint16_t)~(PCI_PRI_STATUS_RF | PCI_PRI_STATUS_UPRGI |
                             PCI_PRI_STATUS_STOPPED));
    ccad_dvsec_init(s);
    if (!ccad_aer_init(s, errp)) {
        pcie_cap_exit(pdev);
        msix_uninit_exclusive_bar(pdev);
        return false;
    }
    return true;
}

void ccad_caps_exit(CcadState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);

    ccad_aer_exit(s);
    pcie_cap_exit(pdev);
    msix_uninit_exclusive_bar(pdev);
}

void ccad_caps_reset(CcadState *s)
{
    uint8_t *config = PCI_DEVICE(s)->config;

    pci_set_word(config + CCAD_ATS_OFFSET + PCI_ATS_CTRL, 0);
    pci_set_word(config + CCAD_PASID_OFFSET + PCI_PASID_CTRL, 0);
    pci_set_word(config + CCAD_PRI_OFFSET + PCI_PRI_CTRL, 0);
    pci_set_long(config + CCAD_PRI_OFFSET + PCI_PRI_ALLOC_REQ, 0);
    pci_set_word(config + CCAD_PRI_OFFSET + PCI_PRI_STATUS,
                 PCI_PRI_STATUS_PASID | PCI_PRI_STATUS_STOPPED);
    ccad_host_pri_changed(s);
    ccad_aer_reset(s);
}

/* Keep the status of the page request interface in step with its control. */
static void ccad_pri_control(CcadState *s, bool was_enabled)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint8_t *cap = pdev->config + CCAD_PRI_OFFSET;
    bool enabled = pcie_pri_enabled(pdev);

    /* Reads as zero; nothing is outstanding while the interface is off. */
    pci_word_test_and_clear_mask(cap + PCI_PRI_CTRL, PCI_PRI_CTRL_RESET);
    if (enabled && !was_enabled) {
        pci_word_test_and_clear_mask(cap + PCI_PRI_STATUS,
                                     PCI_PRI_STATUS_STOPPED |
                                     PCI_PRI_STATUS_RF |
                                     PCI_PRI_STATUS_UPRGI);
    } else if (!enabled && was_enabled) {
        pci_word_test_and_set_mask(cap + PCI_PRI_STATUS,
                                   PCI_PRI_STATUS_STOPPED);
    }
    ccad_host_pri_changed(s);
}

void ccad_write_config(PCIDevice *pdev, uint32_t addr, uint32_t val, int len)
{
    CcadState *s = CCAD(pdev);
    bool master = pdev->is_master;
    bool pasid = pcie_pasid_enabled(pdev);
    bool ats = pcie_ats_enabled(pdev);
    bool pri = pcie_pri_enabled(pdev);

    pci_default_write_config(pdev, addr, val, len);
    pcie_aer_write_config(pdev, addr, val, len);
    ccad_host_update_local_base(s);

    /*
     * Without PASID nothing can be translated any more, and the IOMMU would
     * refuse to let the notifiers go later.
     */
    if (pasid && !pcie_pasid_enabled(pdev)) {
        ccad_host_unbind_all(s);
    }
    /* What was translated must not be used any longer; this drains, too. */
    if (s->core && ((master && !pdev->is_master) ||
                    (pasid && !pcie_pasid_enabled(pdev)) ||
                    (ats && !pcie_ats_enabled(pdev)))) {
        ccad_core_invalidate(s->core, 0, true, 0, UINT64_MAX);
    }
    ccad_pri_control(s, pri);

    if (master != pdev->is_master || pasid != pcie_pasid_enabled(pdev) ||
        ats != pcie_ats_enabled(pdev) || pri != pcie_pri_enabled(pdev)) {
        trace_ccad_enables(pdev->is_master, pcie_pasid_enabled(pdev),
                           pcie_ats_enabled(pdev), pcie_pri_enabled(pdev));
    }
    /* Last: a function level reset undoes all of the above. */
    pcie_cap_flr_write_config(pdev, addr, val, len);
}
