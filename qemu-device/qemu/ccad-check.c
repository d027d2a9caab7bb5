/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ccad: refuse at realize what cannot work, and say what would
 *
 * What is not found here either aborts QEMU later (an IOTLB notifier that the
 * IOMMU refuses, a BAR size that is no power of two) or leaves the guest with
 * a device on which SVA fails without a word.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/host-utils.h"
#include "qapi/error.h"
#include "hw/core/boards.h"
#include "hw/pci/pci.h"
#include "hw/pci/pci_bus.h"
#include "system/numa.h"
#include "ccad.h"

#define CCAD_IOMMU_REMEDY \
    "Add '-device intel-iommu,scalable-mode=on,fsts=on,svm=on,pasid-bits=20," \
    "device-iotlb=on,aw-bits=48' before this device\n"

#define CCAD_MEMORY_MIN 4096

static bool ccad_check_config(CcadState *s, Error **errp)
{
    const char *complaint = ccad_config_check(&s->config);

    if (complaint) {
        error_setg(errp, "%s", complaint);
        return false;
    }
    return true;
}

static bool ccad_check_memory(CcadState *s, Error **errp)
{
    ERRP_GUARD();
    g_autofree char *name = NULL;
    MemoryRegion *mr;
    uint64_t size;

    if (!s->hostmem) {
        error_setg(errp, "property 'memdev' is required");
        error_append_hint(errp, "Add '-object memory-backend-ram,id=ID,"
                          "size=1G' and 'memdev=ID' to the device\n");
        return false;
    }

    name = g_strdup(object_get_canonical_path_component(OBJECT(s->hostmem)));
    if (host_memory_backend_is_mapped(s->hostmem)) {
        error_setg(errp, "memory backend '%s' is in use", name);
        error_append_hint(errp, "Give the device a '-object "
                          "memory-backend-ram' of its own\n");
        return false;
    }

    mr = host_memory_backend_get_memory(s->hostmem);
    if (memory_region_is_rom(mr)) {
        error_setg(errp, "memory backend '%s' is read-only", name);
        error_append_hint(errp, "Remove 'readonly=on' from it\n");
        return false;
    }
    size = memory_region_size(mr);
    if (size < CCAD_MEMORY_MIN) {
        error_setg(errp, "size of memory backend '%s' is less than a page",
                   name);
        error_append_hint(errp, "Give it a power of two from 4 KiB on\n");
        return false;
    }
    if (!is_power_of_2(size)) {
        g_autofree char *good = size_to_str(pow2floor(size));

        error_setg(errp, "size of memory backend '%s' is not a power of two",
                   name);
        error_append_hint(errp, "The memory becomes a PCI BAR; the next "
                          "smaller size is %s\n", good);
        return false;
    }
    s->config.mem_size = size;
    return true;
}

static bool ccad_check_proximity(CcadState *s, Error **errp)
{
    ERRP_GUARD();
    MachineState *ms = MACHINE(qdev_get_machine());
    uint32_t node = s->proximity_domain;

    if (node == CCAD_DVSEC_PXM_NONE) {
        return true;
    }
    if (!ms->numa_state || node >= ms->numa_state->num_nodes) {
        error_setg(errp, "proximity-domain %" PRIu32 " is no NUMA node of the "
                   "machine", node);
        error_append_hint(errp, "Add '-numa node,nodeid=%" PRIu32 "' without "
                          "memory and CPUs\n", node);
        return false;
    }
    if (ms->numa_state->nodes[node].node_mem ||
        ms->numa_state->nodes[node].has_cpu) {
        error_setg(errp, "NUMA node %" PRIu32 " of proximity-domain has memory "
                   "or CPUs", node);
        error_append_hint(errp, "Coherent device memory needs a node of its "
                          "own: '-numa node,nodeid=%" PRIu32 "' without mem, "
                          "memdev and cpus\n", node);
        return false;
    }
    return true;
}

static bool ccad_check_vtd(Object *vtd, Error **errp)
{
    ERRP_GUARD();

    /* With these two it would end QEMU when the first notifier comes. */
    if (!object_property_get_bool(vtd, "device-iotlb", &error_abort)) {
        error_setg(errp, "intel-iommu has device-iotlb=off");
        error_append_hint(errp, "Add 'device-iotlb=on' to "
                          "'-device intel-iommu'\n");
        return false;
    }
    if (object_property_get_bool(vtd, "snoop-control", &error_abort)) {
        error_setg(errp, "intel-iommu has snoop-control=on");
        error_append_hint(errp, "Remove 'snoop-control=on' from "
                          "'-device intel-iommu'\n");
        return false;
    }
    /* Without PASIDs no context could ever be enabled. */
    if (!object_property_get_bool(vtd, "scalable-mode", &error_abort)) {
        error_setg(errp, "intel-iommu has scalable-mode=off and so no PASIDs");
        error_append_hint(errp, "Add 'scalable-mode=on,fsts=on,svm=on,"
                          "pasid-bits=20' to '-device intel-iommu'\n");
        return false;
    }
    if (!object_property_get_uint(vtd, "pasid-bits", &error_abort)) {
        error_setg(errp, "intel-iommu has pasid-bits=0 and so no PASIDs");
        error_append_hint(errp, "Add 'pasid-bits=20' to "
                          "'-device intel-iommu'\n");
        return false;
    }
    /* The guest has no first stage tables then, or may not share its own. */
    if (!object_property_get_bool(vtd, "fsts", &error_abort)) {
        error_setg(errp, "intel-iommu has fsts=off and so no first stage "
                   "tables");
        error_append_hint(errp, "Add 'fsts=on,svm=on' to "
                          "'-device intel-iommu'\n");
        return false;
    }
    if (!object_property_get_bool(vtd, "svm", &error_abort)) {
        error_setg(errp, "intel-iommu has svm=off and so no shared virtual "
                   "addresses");
        error_append_hint(errp, "Add 'svm=on' to '-device intel-iommu'\n");
        return false;
    }
    return true;
}

static bool ccad_check_iommu(CcadState *s, Error **errp)
{
    ERRP_GUARD();
    PCIDevice *pdev = PCI_DEVICE(s);
    PCIBus *iommu_bus, *aliased_bus;
    int aliased_devfn;
    Object *vtd;

    if (!pci_bus_is_express(pci_get_bus(pdev))) {
        error_setg(errp, "bus '%s' is not PCI Express",
                   BUS(pci_get_bus(pdev))->name);
        error_append_hint(errp, "Plug the device into a 'pcie-root-port' or "
                          "into 'pcie.0', not behind a PCIe-to-PCI bridge\n");
        return false;
    }

    pci_device_get_iommu_bus_devfn(pdev, &iommu_bus, &aliased_bus,
                                   &aliased_devfn);
    if (!iommu_bus) {
        error_setg(errp, "no IOMMU serves bus '%s'",
                   BUS(pci_get_bus(pdev))->name);
        error_append_hint(errp, CCAD_IOMMU_REMEDY);
        return false;
    }
    if (aliased_bus != pci_get_bus(pdev) || aliased_devfn != pdev->devfn) {
        error_setg(errp, "the device shares its requester ID behind a bridge");
        error_append_hint(errp, "Plug it into a 'pcie-root-port'\n");
        return false;
    }
    if (!iommu_bus->iommu_ops->ats_request_translation ||
        !iommu_bus->iommu_ops->register_iotlb_notifier ||
        !iommu_bus->iommu_ops->pri_request_page) {
        error_setg(errp, "the IOMMU of bus '%s' has no ATS and PRI",
                   BUS(pci_get_bus(pdev))->name);
        error_append_hint(errp, CCAD_IOMMU_REMEDY);
        return false;
    }

    vtd = object_resolve_path_type("", "intel-iommu", NULL);
    return !vtd || ccad_check_vtd(vtd, errp);
}

bool ccad_check(CcadState *s, Error **errp)
{
    return ccad_check_memory(s, errp) &&
           ccad_check_config(s, errp) &&
           ccad_check_proximity(s, errp) &&
           ccad_check_iommu(s, errp);
}
