/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ccad: snapshots and migration
 *
 * The state of the core is one block of bytes, which the core makes and
 * checks.  What comes besides is the shim's: configuration space, MSI-X, and
 * which PASIDs the IOMMU tells us about.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "hw/pci/msix.h"
#include "hw/pci/pcie_aer.h"
#include "migration/vmstate.h"
#include "ccad.h"

/* 2^24 counters, and more than everything else comes to. */
#define CCAD_STATE_MAX (2U << 30)

static int ccad_pre_save(void *opaque)
{
    CcadState *s = opaque;
    size_t size = 0;

    s->saved = ccad_core_save(s->core, &size);
    if (!s->saved || size > CCAD_STATE_MAX) {
        error_report("ccad: the state of the device cannot be saved: its "
                     "engines are not quiet, or memory ran out");
        return -EINVAL;
    }
    s->saved_size = size;
    s->saved_pasids = ccad_host_pasids(s, &s->saved_pasid_count);
    return 0;
}

static void ccad_post_save(void *opaque)
{
    CcadState *s = opaque;

    free(s->saved);
    s->saved = NULL;
    g_clear_pointer(&s->saved_pasids, g_free);
}

static bool ccad_sizes_are_sound(void *opaque, int version_id)
{
    CcadState *s = opaque;

    return s->saved_size <= CCAD_STATE_MAX &&
           s->saved_pasid_count <= s->config.contexts;
}

/* The IOMMU's own state has come before that of any device. */
static int ccad_post_load(void *opaque, int version_id)
{
    CcadState *s = opaque;
    g_autofree uint8_t *saved = g_steal_pointer(&s->saved);
    g_autofree uint32_t *pasids = g_steal_pointer(&s->saved_pasids);
    const char *complaint;

    ccad_host_unbind_all(s);
    ccad_host_update_local_base(s);
    complaint = ccad_core_load(s->core, saved, s->saved_size);
    if (complaint) {
        error_report("ccad: %s; both machines need the same '-device ccad' "
                     "options", complaint);
        return -EINVAL;
    }
    for (uint32_t i = 0; i < s->saved_pasid_count; i++) {
        if (!ccad_host_bind(s, pasids[i])) {
            error_report("ccad: PASID %" PRIu32 " cannot be bound", pasids[i]);
            return -EINVAL;
        }
    }
    ccad_aer_resume(s);
    return 0;
}

const VMStateDescription ccad_vmstate = {
    .name = "ccad",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = ccad_pre_save,
    .post_save = ccad_post_save,
    .post_load = ccad_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, CcadState),
        VMSTATE_STRUCT(parent_obj.exp.aer_log, CcadState, 0,
                       vmstate_pcie_aer_log, PCIEAERLog),
        VMSTATE_MSIX(parent_obj, CcadState),
        VMSTATE_UINT32(aer_pending, CcadState),
        VMSTATE_BOOL(paused, CcadState),
        VMSTATE_UINT32(saved_size, CcadState),
        VMSTATE_UINT32(saved_pasid_count, CcadState),
        VMSTATE_VALIDATE("sizes", ccad_sizes_are_sound),
        VMSTATE_VBUFFER_ALLOC_UINT32(saved, CcadState, 1, NULL, saved_size),
        VMSTATE_VARRAY_UINT32_ALLOC(saved_pasids, CcadState, saved_pasid_count,
                                    1, vmstate_info_uint32, uint32_t),
        VMSTATE_END_OF_LIST()
    }
};
