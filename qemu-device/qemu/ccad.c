/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ccad - coherent accelerator device, see docs/specs/ccad.rst
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/guest-random.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "hw/core/qdev-properties.h"
#include "hw/core/resettable.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci.h"
#include "hw/pci/pcie.h"
#include "migration/vmstate.h"
#include "system/address-spaces.h"
#include "system/memory.h"
#include "system/ramblock.h"
#include "ccad.h"
#include "trace.h"

/* BAR0.  An access may have waited for the BQL while we were unplugged. */

static uint64_t ccad_regs_read(void *opaque, hwaddr offset, unsigned size)
{
    CcadState *s = opaque;
    uint64_t value = s->core ? ccad_core_read(s->core, offset, size) : -1ULL;

    trace_ccad_regs_read(offset, size, value);
    return value;
}

static void ccad_regs_write(void *opaque, hwaddr offset, uint64_t value,
                            unsigned size)
{
    CcadState *s = opaque;

    trace_ccad_regs_write(offset, size, value);
    if (s->core) {
        ccad_core_write(s->core, offset, value, size);
    }
}

/* The core decides about sizes and alignment. */
static const MemoryRegionOps ccad_regs_ops = {
    .read = ccad_regs_read,
    .write = ccad_regs_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
    .impl = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
};

/* Without the BQL: engines may need it to end. */
static void *ccad_end(void *opaque)
{
    CcadState *s = opaque;

    rcu_register_thread();
    ccad_core_delete(s->ended);
    bql_lock();
    object_unref(OBJECT(s));
    bql_unlock();
    rcu_unregister_thread();
    return NULL;
}

/*
 * A thread of its own, with a reference: who unplugs us may be an engine, by an
 * interrupt that the guest has aimed at the slot, and cannot wait for itself.
 */
static void ccad_end_engines(CcadState *s)
{
    QemuThread thread;

    object_ref(OBJECT(s));
    qemu_thread_create(&thread, "ccad-end", ccad_end, s, QEMU_THREAD_DETACHED);
}

/* A machine that is stopped does not change: the engines pause with it. */
static void ccad_vm_state_changed(void *opaque, bool running, RunState state)
{
    CcadState *s = opaque;
    uint32_t ctrl = ccad_core_read(s->core, CCAD_REG_CTRL, 4);

    if (running && s->paused) {
        ccad_core_write(s->core, CCAD_REG_CTRL, ctrl | CCAD_CTRL_ENABLE, 4);
        s->paused = false;
    } else if (!running && (ctrl & CCAD_CTRL_ENABLE)) {
        ccad_core_write(s->core, CCAD_REG_CTRL, ctrl & ~CCAD_CTRL_ENABLE, 4);
        s->paused = true;
    }
    trace_ccad_vm_state_changed(running, s->paused);
    if (!running) {
        ccad_core *core = s->core;

        /* Engines may need the BQL to come back, and may unplug us. */
        object_ref(OBJECT(s));
        s->quiescing = true;
        bql_unlock();
        ccad_core_quiesce(core);
        bql_lock();
        s->quiescing = false;
        if (s->ended) {
            ccad_end_engines(s);
        }
        object_unref(OBJECT(s));
    }
}

/* A run with failures on purpose can be repeated. */
static void ccad_choose_seed(CcadState *s)
{
    ccad_injection *injection = &s->config.injection;

    if (!injection->lose_completion && !injection->lose_interrupt &&
        !injection->fault_translation && !injection->fault_page_request &&
        !injection->fault_command && !injection->delay_translation &&
        !injection->delay_page_request && !injection->delay_command) {
        return;
    }
    while (!injection->seed) {
        qemu_guest_getrandom_nofail(&injection->seed, sizeof(injection->seed));
    }
    info_report("ccad: failures are injected, x-seed=%" PRIu64,
                injection->seed);
}

/* Engine threads inherit the mask: signals are for QEMU's own threads. */
static ccad_core *ccad_new_core(CcadState *s)
{
    sigset_t all, old;
    ccad_core *core;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    core = ccad_core_new(&s->config, &ccad_host, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return core;
}

static void ccad_realize(PCIDevice *pdev, Error **errp)
{
    CcadState *s = CCAD(pdev);

    /* One vector for events, one for each context, one for the counters. */
    s->config.vectors = MIN(s->config.contexts, CCAD_MAX_CONTEXTS) + 2;
    if (!ccad_check(s, errp)) {
        return;
    }

    memory_region_init_io(&s->regs, OBJECT(s), &ccad_regs_ops, s, "ccad-regs",
                          ccad_bar_size(s->config.contexts));
    pci_register_bar(pdev, CCAD_BAR_REGS, PCI_BASE_ADDRESS_SPACE_MEMORY,
                     &s->regs);

    if (!ccad_caps_init(s, errp)) {
        return;
    }

    ccad_choose_seed(s);
    ccad_host_init(s);
    s->core = ccad_new_core(s);
    if (!s->core) {
        error_setg(errp, "cannot start %" PRIu32 " engine threads",
                   s->config.engines);
        goto fail_host;
    }

    s->mem = host_memory_backend_get_memory(s->hostmem);
    host_memory_backend_set_mapped(s->hostmem, true);
    vmstate_register_ram(s->mem, DEVICE(s));
    pci_register_bar(pdev, CCAD_BAR_MEM, PCI_BASE_ADDRESS_SPACE_MEMORY |
                     PCI_BASE_ADDRESS_MEM_TYPE_64 |
                     PCI_BASE_ADDRESS_MEM_PREFETCH, s->mem);
    s->vmstate = qdev_add_vm_change_state_handler(DEVICE(s),
                                                  ccad_vm_state_changed, NULL,
                                                  s);
    return;

fail_host:
    ccad_host_exit(s);
    ccad_caps_exit(s);
}

static void ccad_exit(PCIDevice *pdev)
{
    CcadState *s = CCAD(pdev);

    qemu_del_vm_change_state_handler(s->vmstate);
    /* From here on no engine touches memory, or does more than ask in vain. */
    ccad_core_reset(s->core);
    ccad_host_reset(s);
    s->ended = s->core;
    s->core = NULL;
    if (!s->quiescing) {
        ccad_end_engines(s);
    }
    ccad_host_exit(s);
    ccad_caps_exit(s);
    vmstate_unregister_ram(s->mem, DEVICE(s));
    host_memory_backend_set_mapped(s->hostmem, false);
}

/*
 * Real memory forgets; a backend that cannot give pages back, or has them
 * pinned, is cleared.
 */
static void ccad_lose_memory(CcadState *s)
{
    uint64_t size = memory_region_size(s->mem);
    void *ptr = memory_region_get_ram_ptr(s->mem);

    if (ram_block_discard_is_disabled() ||
        ram_block_discard_range(s->mem->ram_block, 0, size)) {
        memset(ptr, 0, size);
    }
    ccad_core_poison_clear(s->core, 0, size);
    /* Marks it dirty, drops code translated from it and a reference. */
    memory_region_ref(s->mem);
    address_space_unmap(&address_space_memory, ptr, size, true, size);
}

/*
 * Every reset comes here: FLR, the bus, the machine.  The vIOMMU is reset in
 * the exit phase, and pci_do_device_reset() runs after this phase, so PASIDs
 * can still be unbound.
 */
static void ccad_reset_hold(Object *obj, ResetType type)
{
    CcadState *s = CCAD(obj);

    trace_ccad_reset(type);
    if (!s->core) {
        return;
    }
    ccad_core_reset(s->core);
    s->paused = false;
    ccad_host_reset(s);
    ccad_caps_reset(s);
    /* Memory that is shared with where we come from is still in use there. */
    if (s->is_volatile && !runstate_check(RUN_STATE_INMIGRATE)) {
        ccad_lose_memory(s);
    }
}

static const Property ccad_properties[] = {
    DEFINE_PROP_LINK("memdev", CcadState, hostmem, TYPE_MEMORY_BACKEND,
                     HostMemoryBackend *),
    DEFINE_PROP_UINT32("contexts", CcadState, config.contexts, 64),
    DEFINE_PROP_UINT32("engines", CcadState, config.engines, 2),
    DEFINE_PROP_UINT32("atc-sets", CcadState, config.atc_sets, 64),
    DEFINE_PROP_UINT32("atc-ways", CcadState, config.atc_ways, 4),
    DEFINE_PROP_UINT32("page-requests", CcadState, config.page_requests, 32),
    DEFINE_PROP_UINT32("page-request-group", CcadState,
                       config.page_request_group, 8),
    DEFINE_PROP_UINT32("time-slice-ns", CcadState, config.slice_ns, 100000),
    DEFINE_PROP_BOOL("ordered", CcadState, config.ordered, false),
    DEFINE_PROP_UINT32("counters", CcadState, config.counters, 65536),
    DEFINE_PROP_UINT32("proximity-domain", CcadState, proximity_domain,
                       CCAD_DVSEC_PXM_NONE),
    DEFINE_PROP_UINT32("local-latency-ns", CcadState,
                       config.cost.local_latency_ns, 120),
    DEFINE_PROP_UINT32("local-bandwidth", CcadState, config.cost.local_mbps,
                       400000),
    DEFINE_PROP_UINT32("system-latency-ns", CcadState,
                       config.cost.system_latency_ns, 800),
    DEFINE_PROP_UINT32("system-bandwidth", CcadState, config.cost.system_mbps,
                       50000),
    DEFINE_PROP_UINT32("translation-ns", CcadState,
                       config.cost.translation_ns, 500),
    DEFINE_PROP_UINT32("page-request-ns", CcadState,
                       config.cost.page_request_ns, 20000),
    DEFINE_PROP_BOOL("volatile", CcadState, is_volatile, false),
    DEFINE_PROP_UINT64("x-seed", CcadState, config.injection.seed, 0),
    DEFINE_PROP_UINT32("x-lose-completion", CcadState,
                       config.injection.lose_completion, 0),
    DEFINE_PROP_UINT32("x-lose-interrupt", CcadState,
                       config.injection.lose_interrupt, 0),
    DEFINE_PROP_UINT32("x-fault-translation", CcadState,
                       config.injection.fault_translation, 0),
    DEFINE_PROP_UINT32("x-fault-page-request", CcadState,
                       config.injection.fault_page_request, 0),
    DEFINE_PROP_UINT32("x-fault-command", CcadState,
                       config.injection.fault_command, 0),
    DEFINE_PROP_UINT32("x-delay-translation", CcadState,
                       config.injection.delay_translation, 0),
    DEFINE_PROP_UINT32("x-delay-page-request", CcadState,
                       config.injection.delay_page_request, 0),
    DEFINE_PROP_UINT32("x-delay-command", CcadState,
                       config.injection.delay_command, 0),
    DEFINE_PROP_UINT32("x-delay-us", CcadState, config.injection.delay_us,
                       100),
};

static const struct {
    const char *name;
    const char *description;
} ccad_descriptions[] = {
    { "memdev", "Memory backend that is the local memory; its size is a "
                "power of two from 4 KiB on" },
    { "contexts", "Contexts, each with a doorbell page, 1 to 1024" },
    { "engines", "Engine threads, 1 to 64" },
    { "atc-sets", "Sets of the address translation cache, a power of two up to "
                  "65536" },
    { "atc-ways", "Entries in each set of the address translation cache, 1 to "
                  "64" },
    { "page-requests", "Most page requests outstanding, 1 to 512" },
    { "page-request-group", "Most pages in a page request group, 1 to 16" },
    { "time-slice-ns", "Device time of a time slice, for contexts that set "
                       "none; not 0" },
    { "ordered", "Run contexts in the order of their device clocks and charge "
                 "their use of the same memory at the same time" },
    { "counters", "Granules that the access counters count at once, 1 to "
                  "16777216" },
    { "proximity-domain", "NUMA node of the local memory, given to the guest "
                          "in the DVSEC (none: 0xffffffff)" },
    { "local-latency-ns", "Device time of an access to local memory" },
    { "local-bandwidth", "Bandwidth of local memory, MiB/s" },
    { "system-latency-ns", "Device time of an access to system memory" },
    { "system-bandwidth", "Bandwidth of system memory, MiB/s" },
    { "translation-ns", "Device time of an ATS request" },
    { "page-request-ns", "Device time of a group of page requests" },
    { "volatile", "Local memory loses its contents at every reset, but for "
                  "that by the control register" },
    { "x-seed", "Seed of the failures on purpose; 0 takes a random one and "
                "tells it" },
    { "x-lose-completion", "Completion records that are not written, of a "
                           "million" },
    { "x-lose-interrupt", "Interrupts that are not raised, of a million" },
    { "x-fault-translation", "ATS requests that fail, of a million" },
    { "x-fault-page-request", "Page request groups that fail, of a million" },
    { "x-fault-command", "Commands that end with a bus error, of a million" },
    { "x-delay-translation", "ATS requests that are delayed, of a million" },
    { "x-delay-page-request", "Page request groups that are delayed, of a "
                              "million" },
    { "x-delay-command", "Commands that are delayed, of a million" },
    { "x-delay-us", "Longest delay, microseconds of virtual time, up to "
                    "10000000" },
};

QEMU_BUILD_BUG_ON(ARRAY_SIZE(ccad_descriptions) !=
                  ARRAY_SIZE(ccad_properties));

static void ccad_class_init(ObjectClass *klass, const void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);

    k->realize = ccad_realize;
    k->exit = ccad_exit;
    k->config_write = ccad_write_config;
    k->vendor_id = CCAD_PCI_VENDOR_ID;
    k->device_id = CCAD_PCI_DEVICE_ID;
    k->class_id = CCAD_PCI_CLASS;
    k->revision = CCAD_VERSION >> 16;
    rc->phases.hold = ccad_reset_hold;
    dc->vmsd = &ccad_vmstate;
    dc->desc = "Coherent accelerator with local memory, PASID, ATS and PRI";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_props(dc, ccad_properties);
    for (size_t i = 0; i < ARRAY_SIZE(ccad_descriptions); i++) {
        object_class_property_set_description(klass, ccad_descriptions[i].name,
                                              ccad_descriptions[i].description);
    }
    ccad_class_init_stats(klass);
}

static const TypeInfo ccad_types[] = {
    {
        .name          = TYPE_CCAD,
        .parent        = TYPE_PCI_DEVICE,
        .instance_size = sizeof(CcadState),
        .class_init    = ccad_class_init,
        .interfaces    = (const InterfaceInfo[]) {
            { INTERFACE_PCIE_DEVICE },
            { },
        },
    }
};

DEFINE_TYPES(ccad_types)
