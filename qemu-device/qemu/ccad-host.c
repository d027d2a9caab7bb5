/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ccad: what the core asks of the machine, and what the IOMMU tells the core
 *
 * Locks.  The vIOMMU calls the two notifiers from the guest's write of the
 * invalidation queue tail, with the BQL held; the core then waits for the
 * copies in flight, so map and unmap must never take the BQL.  ATS and PRI
 * requests need it: the vIOMMU reports faults and sends interrupts from them.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci.h"
#include "hw/pci/pcie.h"
#include "system/address-spaces.h"
#include "system/memory.h"
#include "ccad.h"
#include "trace.h"

#define CCAD_PAGE_SIZE  4096ULL
/* Entries of one ATS request; the core asks again for what is left. */
#define CCAD_ATS_BATCH  32

/* A PASID in use, between pasid_bind and pasid_unbind. */
typedef struct CcadPasid {
    CcadState *s;
    uint32_t pasid;
    IOMMUNotifier iotlb;
    IOMMUPRINotifier pri;
} CcadPasid;

static bool ccad_pasid_in_use(CcadState *s, uint32_t pasid)
{
    /* An engine may have waited for the BQL while we were unplugged. */
    return s->pasids &&
           g_hash_table_contains(s->pasids, GUINT_TO_POINTER(pasid));
}

/* ATS */

static int ccad_host_translate(void *opaque, uint32_t pasid, uint64_t va,
                               uint64_t len, bool write, ccad_translation *out,
                               size_t max)
{
    CcadState *s = opaque;
    IOMMUTLBEntry entries[CCAD_ATS_BATCH];
    uint64_t cursor = va;
    uint32_t untranslated;
    ssize_t n;

    max = MIN(max, CCAD_ATS_BATCH);
    len = MIN(len, max * CCAD_PAGE_SIZE);
    if (!len || va + len - 1 < va) {
        return -1;
    }
    if (va + len == 0) {
        /* The IOMMU's loop cannot end at 2^64; nothing is mapped there. */
        len -= CCAD_PAGE_SIZE;
        if (!len) {
            out[0] = (ccad_translation) { .va = va, .len = CCAD_PAGE_SIZE };
            return 1;
        }
    }

    BQL_LOCK_GUARD();
    RCU_READ_LOCK_GUARD();
    /* Unheard of invalidations are worse than a fault. */
    if (!ccad_pasid_in_use(s, pasid)) {
        trace_ccad_translate(pasid, va, len, write, -1);
        return -1;
    }
    n = pci_ats_request_translation(PCI_DEVICE(s), pasid, false, false, va,
                                    len, !write, entries, max, &untranslated);
    trace_ccad_translate(pasid, va, len, write, n);
    if (n < 0) {
        return -1;
    }

    /* A page that is not present has no iova, but a size: keep count here. */
    for (ssize_t i = 0; i < n; i++) {
        uint64_t mask = entries[i].addr_mask;
        bool memory = entries[i].target_as == &address_space_memory;

        out[i] = (ccad_translation) {
            .va = cursor & ~mask,
            .pa = entries[i].translated_addr & ~mask,
            .len = mask + 1,
            .read = memory && (entries[i].perm & IOMMU_RO),
            /* Not asked for means that the dirty bit is not set. */
            .write = memory && write && (entries[i].perm & IOMMU_WO),
        };
        cursor = out[i].va + out[i].len;
        trace_ccad_translation(pasid, out[i].va, out[i].pa, out[i].len,
                               out[i].read, out[i].write);
    }
    return n;
}

static void ccad_iotlb_notify(IOMMUNotifier *notifier, IOMMUTLBEntry *entry)
{
    CcadPasid *p = container_of(notifier, CcadPasid, iotlb);
    /* The range may be cropped, or be all of it: mask + 1 is 0 then. */
    uint64_t len = entry->addr_mask + 1 ?: UINT64_MAX;

    trace_ccad_invalidate(p->pasid, entry->iova, len);
    ccad_core_invalidate(p->s->core, p->pasid, false, entry->iova, len);
}

/* PRI */

static void ccad_pri_status(CcadState *s, uint16_t bits)
{
    pci_word_test_and_set_mask(PCI_DEVICE(s)->config + CCAD_PRI_OFFSET +
                               PCI_PRI_STATUS, bits);
}

static bool ccad_host_page_request(void *opaque, uint32_t pasid,
                                   const uint64_t *pages, size_t n, bool read,
                                   bool write, uint16_t prgi)
{
    CcadState *s = opaque;
    int ret = -EPERM;

    assert(n && prgi < CCAD_PRI_GROUPS);
    /* All of the group in one go: a reset finds it sent or not. */
    BQL_LOCK_GUARD();
    if (!ccad_pasid_in_use(s, pasid)) {
        trace_ccad_page_request(pasid, pages[0], read, write, prgi, true, ret);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        bool last = i == n - 1;

        ret = pci_pri_request_page(PCI_DEVICE(s), pasid, false, false,
                                   pages[i], last, prgi, read, write);
        trace_ccad_page_request(pasid, pages[i], read, write, prgi, last, ret);
    }
    if (ret == -ENOSPC) {
        /*
         * The guest's queue is full: the group is lost, but for requests at its
         * beginning for which there was room.  Software discards these when it
         * sees the overflow, and nothing more gets in until then, so that the
         * group can be sent again, after a while.
         */
        ccad_core_page_response(s->core, pasid, prgi, CCAD_RESPONSE_BUSY);
        ret = 0;
    }
    return ret == 0;
}

static void ccad_pri_notify(IOMMUPRINotifier *notifier,
                            IOMMUPRIResponse *response)
{
    CcadPasid *p = container_of(notifier, CcadPasid, pri);
    CcadState *s = p->s;
    ccad_response code = CCAD_RESPONSE_FAILURE;
    bool expected;

    switch (response->response_code) {
    case IOMMU_PRI_RESP_SUCCESS:
        code = CCAD_RESPONSE_SUCCESS;
        break;
    case IOMMU_PRI_RESP_INVALID_REQUEST:
        code = CCAD_RESPONSE_INVALID;
        break;
    case IOMMU_PRI_RESP_FAILURE:
        break;
    }
    expected = ccad_core_page_response(s->core, p->pasid, response->prgi,
                                       code);
    trace_ccad_page_response(p->pasid, response->prgi,
                             response->response_code, expected);
    if (!expected) {
        ccad_pri_status(s, PCI_PRI_STATUS_UPRGI);
    } else if (code == CCAD_RESPONSE_FAILURE) {
        ccad_pri_status(s, PCI_PRI_STATUS_RF);
    }
}

void ccad_host_pri_changed(CcadState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    uint32_t allocation =
        pcie_pasid_enabled(pdev) ? pcie_pri_get_req_alloc(pdev) : 0;

    if (s->core) {
        ccad_core_page_request_allocation(s->core, allocation);
    }
}

/* PASIDs */

bool ccad_host_bind(CcadState *s, uint32_t pasid)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    CcadPasid *p;

    if (!pcie_pasid_enabled(pdev) || pasid > CCAD_PASID_MAX ||
        ccad_pasid_in_use(s, pasid)) {
        trace_ccad_pasid_bind(pasid, false);
        return false;
    }

    p = g_new0(CcadPasid, 1);
    p->s = s;
    p->pasid = pasid;
    p->pri.notify = ccad_pri_notify;
    /* Neither can fail: ccad_check() saw the IOMMU, PASID is enabled. */
    if (pci_iommu_init_iotlb_notifier(pdev, &p->iotlb, ccad_iotlb_notify, p) ||
        pci_iommu_register_iotlb_notifier(pdev, pasid, &p->iotlb)) {
        g_free(p);
        trace_ccad_pasid_bind(pasid, false);
        return false;
    }
    pci_pri_register_notifier(pdev, pasid, &p->pri);
    g_hash_table_insert(s->pasids, GUINT_TO_POINTER(pasid), p);
    trace_ccad_pasid_bind(pasid, true);
    return true;
}

static bool ccad_host_pasid_bind(void *opaque, uint32_t pasid)
{
    CcadState *s = opaque;
    PCIDevice *pdev = PCI_DEVICE(s);

    assert(bql_locked());
    return pdev->is_master && pcie_ats_enabled(pdev) &&
           (ccad_pasid_in_use(s, pasid) || ccad_host_bind(s, pasid));
}

static bool ccad_host_physical_allowed(void *opaque)
{
    CcadState *s = opaque;
    PCIDevice *pdev = PCI_DEVICE(s);

    assert(bql_locked());
    return pdev->is_master && pcie_ats_enabled(pdev);
}

static int ccad_compare_pasids(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return left < right ? -1 : left > right;
}

uint32_t *ccad_host_pasids(CcadState *s, uint32_t *count)
{
    uint32_t *pasids;
    GHashTableIter iter;
    gpointer key;
    uint32_t n = 0;

    *count = g_hash_table_size(s->pasids);
    pasids = g_new(uint32_t, *count);
    g_hash_table_iter_init(&iter, s->pasids);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        pasids[n++] = GPOINTER_TO_UINT(key);
    }
    qsort(pasids, n, sizeof(*pasids), ccad_compare_pasids);
    return pasids;
}

/* The destructor of the table's values. */
static void ccad_pasid_free(void *opaque)
{
    CcadPasid *p = opaque;
    PCIDevice *pdev = PCI_DEVICE(p->s);
    uint8_t *ctrl = pdev->config + CCAD_PASID_OFFSET + PCI_PASID_CTRL;
    uint16_t saved = pci_get_word(ctrl);

    trace_ccad_pasid_unbind(p->pasid);
    pci_pri_unregister_notifier(pdev, p->pasid);
    /* Unregistering is refused while PASID is off, leaving p dangling. */
    pci_set_word(ctrl, saved | PCI_PASID_CTRL_ENABLE);
    pci_iommu_unregister_iotlb_notifier(pdev, p->pasid, &p->iotlb);
    pci_set_word(ctrl, saved);
    g_free(p);
}

static void ccad_host_pasid_unbind(void *opaque, uint32_t pasid)
{
    CcadState *s = opaque;

    assert(bql_locked());
    /* Gone already if the guest turned PASID off first. */
    g_hash_table_remove(s->pasids, GUINT_TO_POINTER(pasid));
}

void ccad_host_unbind_all(CcadState *s)
{
    g_hash_table_remove_all(s->pasids);
}

/* Memory */

void ccad_host_update_local_base(CcadState *s)
{
    qatomic_set(&s->local_base, pci_get_bar_addr(PCI_DEVICE(s), CCAD_BAR_MEM));
}

static bool ccad_host_local_offset(void *opaque, uint64_t pa,
                                   uint64_t *offset)
{
    CcadState *s = opaque;
    uint64_t base = qatomic_read(&s->local_base);

    *offset = pa - base;
    return base != PCI_BAR_UNMAPPED && pa >= base &&
           pa - base < s->config.mem_size;
}

static void *ccad_host_map(void *opaque, uint64_t pa, uint64_t *len,
                           bool write)
{
    CcadState *s = opaque;
    const MemTxAttrs attrs = MEMTXATTRS_UNSPECIFIED;
    hwaddr xlat, l = *len;
    MemoryRegion *mr;

    /* All of them are translated requests, which take both. */
    if (!qatomic_read(&PCI_DEVICE(s)->is_master) ||
        !pcie_ats_enabled(PCI_DEVICE(s))) {
        return NULL;
    }

    /*
     * address_space_map() would bounce what is not RAM through a device,
     * which takes the BQL; RAM alone will do.  The reference keeps it until
     * unmap, so no RCU critical section spans a copy.
     */
    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(&address_space_memory, pa, &xlat, &l, write,
                                 attrs);
    if (!l || !memory_access_is_direct(mr, write, attrs)) {
        return NULL;
    }
    memory_region_ref(mr);
    *len = l;
    return (uint8_t *)memory_region_get_ram_ptr(mr) + xlat;
}

static void ccad_host_unmap(void *opaque, void *ptr, uint64_t len, bool write)
{
    /* Marks a write dirty, drops code translated from it and the reference. */
    address_space_unmap(&address_space_memory, ptr, len, write && len, len);
}

/* Interrupts and threads */

static void ccad_host_interrupt(void *opaque, uint32_t vector)
{
    CcadState *s = opaque;

    BQL_LOCK_GUARD();
    trace_ccad_interrupt(vector);
    if (msix_enabled(PCI_DEVICE(s)) && vector < s->config.vectors) {
        msix_notify(PCI_DEVICE(s), vector);
    }
}

static void ccad_host_error(void *opaque, ccad_error kind, uint64_t address)
{
    CcadState *s = opaque;

    trace_ccad_error(kind, address);
    switch (kind) {
    case CCAD_ERROR_POISON:
        ccad_aer_report(s, CCAD_AER_POISON);
        break;
    }
}

static void ccad_host_locked(void *opaque, void (*fn)(void *arg), void *arg)
{
    BQL_LOCK_GUARD();
    fn(arg);
}

/* Bus mastering is checked by the device's address space. */
static bool ccad_host_dma_write(void *opaque, uint64_t addr, const void *buf,
                                uint64_t len)
{
    CcadState *s = opaque;

    assert(bql_locked());
    return pci_dma_write(PCI_DEVICE(s), addr, buf, len) == MEMTX_OK;
}

/* Time: the guest's, so that commands of a stopped machine have time */

static uint64_t ccad_host_now_ns(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
}

static void ccad_host_set_timer(void *opaque, uint64_t ns)
{
    CcadState *s = opaque;

    if (ns > INT64_MAX) {
        timer_del(&s->timer);
    } else {
        timer_mod_ns(&s->timer, ns);
    }
}

static void ccad_timer(void *opaque)
{
    CcadState *s = opaque;

    if (s->core) {
        ccad_core_timer(s->core);
    }
}

/* Locks of the core may be held. */
static void ccad_host_trace(void *opaque, ccad_step step, uint32_t context,
                            uint64_t a, uint64_t b, uint64_t c)
{
    switch (step) {
    case CCAD_STEP_TAKE:
        trace_ccad_step_take(context, a, b);
        break;
    case CCAD_STEP_FETCH:
        trace_ccad_step_fetch(context, a, b, c);
        break;
    case CCAD_STEP_HANG:
        trace_ccad_step_hang(context, a);
        break;
    case CCAD_STEP_DELAY:
        trace_ccad_step_delay(context, a, b);
        break;
    case CCAD_STEP_TRANSLATE:
        trace_ccad_step_translate(context, a, b, c);
        break;
    case CCAD_STEP_STALL:
        trace_ccad_step_stall(context, a, b, c);
        break;
    case CCAD_STEP_ASK:
        trace_ccad_step_ask(context, a, b, c);
        break;
    case CCAD_STEP_ANSWER:
        trace_ccad_step_answer(context, a, b, c);
        break;
    case CCAD_STEP_LOSE_RECORD:
        trace_ccad_step_lose_record(context, a, b);
        break;
    case CCAD_STEP_COMPLETE:
        trace_ccad_step_complete(context, a, b, c);
        break;
    case CCAD_STEP_INTERRUPT:
        trace_ccad_step_interrupt(context, a);
        break;
    case CCAD_STEP_LOSE_INTERRUPT:
        trace_ccad_step_lose_interrupt(context, a);
        break;
    case CCAD_STEP_SLICE_END:
        trace_ccad_step_slice_end(context, a, b, c);
        break;
    case CCAD_STEP_ERROR:
        trace_ccad_step_error(context, a, b, c);
        break;
    }
}

static void ccad_host_thread_enter(void *opaque)
{
    rcu_register_thread();
}

static void ccad_host_thread_leave(void *opaque)
{
    rcu_unregister_thread();
}

const ccad_host_ops ccad_host = {
    .translate = ccad_host_translate,
    .page_request = ccad_host_page_request,
    .map = ccad_host_map,
    .unmap = ccad_host_unmap,
    .local_offset = ccad_host_local_offset,
    .interrupt = ccad_host_interrupt,
    .error = ccad_host_error,
    .locked = ccad_host_locked,
    .dma_write = ccad_host_dma_write,
    .now_ns = ccad_host_now_ns,
    .set_timer = ccad_host_set_timer,
    .thread_enter = ccad_host_thread_enter,
    .thread_leave = ccad_host_thread_leave,
    .pasid_bind = ccad_host_pasid_bind,
    .pasid_unbind = ccad_host_pasid_unbind,
    .physical_allowed = ccad_host_physical_allowed,
    .trace = ccad_host_trace,
};

void ccad_host_init(CcadState *s)
{
    s->local_base = PCI_BAR_UNMAPPED;
    s->pasids = g_hash_table_new_full(NULL, NULL, NULL, ccad_pasid_free);
    timer_init_ns(&s->timer, QEMU_CLOCK_VIRTUAL, ccad_timer, s);
}

void ccad_host_exit(CcadState *s)
{
    g_clear_pointer(&s->pasids, g_hash_table_destroy);
    timer_del(&s->timer);
    timer_deinit(&s->timer);
}

void ccad_host_reset(CcadState *s)
{
    ccad_host_unbind_all(s);
    qatomic_set(&s->local_base, PCI_BAR_UNMAPPED);
}
