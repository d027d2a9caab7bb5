/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ccad - coherent accelerator device: the QEMU side
 *
 * A thin shim around the core (core/, see include/ccad_core.h): PCI identity,
 * capabilities and BARs here, all behaviour of the device there.
 */
#ifndef HW_MISC_CCAD_H
#define HW_MISC_CCAD_H

#include "hw/pci/pci_device.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qom/object.h"
#include "system/hostmem.h"
#include "system/runstate.h"

#include "ccad_core.h"
#include "ccad_hw.h"

#define TYPE_CCAD "ccad"
OBJECT_DECLARE_SIMPLE_TYPE(CcadState, CCAD)

/* A page request group index has 9 bits. */
#define CCAD_PRI_GROUPS (PCI_PRI_PRGI_MASK + 1)

/* Extended capabilities. */
#define CCAD_ATS_OFFSET     0x100
#define CCAD_PASID_OFFSET   0x110
#define CCAD_PRI_OFFSET     0x120
#define CCAD_DVSEC_OFFSET   0x140
#define CCAD_AER_OFFSET     0x180
#define CCAD_PASID_BITS     20

/* Errors that the device reports, see ccad-aer.c. */
typedef enum CcadAer {
    CCAD_AER_POISON,
    CCAD_AER_UNCORRECTABLE,
    CCAD_AER_CORRECTED,
    CCAD_AER_COUNT
} CcadAer;

/* Fields are used under the BQL alone, but for config and what is atomic. */
struct CcadState {
    PCIDevice parent_obj;

    /* Properties. */
    HostMemoryBackend *hostmem;
    ccad_config config;
    uint32_t proximity_domain;
    bool is_volatile;

    ccad_core *core;            /* NULL before realize and while unplugged */
    MemoryRegion regs;          /* BAR0 */
    MemoryRegion *mem;          /* BAR2 */
    uint64_t local_base;        /* where BAR2 is, PCI_BAR_UNMAPPED; atomic */

    GHashTable *pasids;         /* of CcadPasid, by PASID: those in use */
    QEMUTimer timer;            /* of the core; virtual time */

    QEMUBH *aer_bh;
    uint32_t aer_pending;       /* bits of CcadAer; atomic */

    VMChangeStateEntry *vmstate;
    bool paused;                /* engines stopped along with the machine */
    bool quiescing;             /* somebody waits for them without the BQL */
    ccad_core *ended;           /* unplugged; its threads may still be there */

    /* Between pre_save and post_save, or until post_load. */
    uint8_t *saved;             /* the core's state */
    uint32_t saved_size;
    uint32_t *saved_pasids;     /* those in use */
    uint32_t saved_pasid_count;
};

/* ccad-check.c: refuse what cannot work, naming the remedy. */
bool ccad_check(CcadState *s, Error **errp);

/* ccad-caps.c */
bool ccad_caps_init(CcadState *s, Error **errp);
void ccad_caps_exit(CcadState *s);
/* Clear what pci_do_device_reset() leaves: PASID, ATS and PRI control. */
void ccad_caps_reset(CcadState *s);
void ccad_write_config(PCIDevice *pdev, uint32_t addr, uint32_t val, int len);

/* ccad-aer.c */
bool ccad_aer_init(CcadState *s, Error **errp);
void ccad_aer_exit(CcadState *s);
void ccad_aer_reset(CcadState *s);
/* From any thread, with or without the BQL. */
void ccad_aer_report(CcadState *s, CcadAer error);
/* Report what was pending when the state was saved. */
void ccad_aer_resume(CcadState *s);

/* ccad-host.c */
extern const ccad_host_ops ccad_host;
void ccad_host_init(CcadState *s);
void ccad_host_exit(CcadState *s);
/* Forget every PASID. */
void ccad_host_reset(CcadState *s);
/* The PASIDs in use, in their order; to be freed. */
uint32_t *ccad_host_pasids(CcadState *s, uint32_t *count);
/* Listen to what the IOMMU says of a PASID; false if it is refused. */
bool ccad_host_bind(CcadState *s, uint32_t pasid);
/* Stop listening to the IOMMU, whatever the contexts think. */
void ccad_host_unbind_all(CcadState *s);
/*
 * Tell the core how many page requests software allows; to be called whenever
 * the control registers of PRI or PASID may have changed.
 */
void ccad_host_pri_changed(CcadState *s);
void ccad_host_update_local_base(CcadState *s);

/* ccad-migration.c */
extern const VMStateDescription ccad_vmstate;

/* ccad-stats.c */
extern const char *const ccad_command_names[CCAD_COMMAND_KINDS];
void ccad_class_init_stats(ObjectClass *klass);

/* ccad-qmp.c: those of query-ccad, to be freed. */
struct CcadContextList *ccad_contexts(CcadState *s);

#endif /* HW_MISC_CCAD_H */
