/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ccad: the monitor's commands, see qapi/ccad.json
 *
 * Whatever a register tells is read from it; reading one in one piece has no
 * side effects.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-ccad.h"
#include "hw/pci/pci.h"
#include "hw/pci/pcie.h"
#include "ccad.h"

static CcadState *ccad_find(const char *path, Error **errp)
{
    Object *obj = object_resolve_path_type(path, TYPE_CCAD, NULL);

    if (!obj) {
        error_setg(errp, "no ccad device at '%s'; that of '-device "
                   "ccad,id=ccad0' is '/machine/peripheral/ccad0'", path);
        return NULL;
    }
    if (!CCAD(obj)->core) {
        error_setg(errp, "the device at '%s' is unplugged; plug it in with "
                   "device_add", path);
        return NULL;
    }
    return CCAD(obj);
}

static uint32_t ccad_reg32(CcadState *s, uint64_t offset)
{
    return ccad_core_read(s->core, offset, 4);
}

static uint64_t ccad_reg64(CcadState *s, uint64_t offset)
{
    return ccad_core_read(s->core, offset, 8);
}

/* Poison, hangs and errors */

static void ccad_complain(const char *complaint, Error **errp)
{
    if (complaint) {
        error_setg(errp, "%s", complaint);
    }
}

void qmp_ccad_inject_poison(const char *path, uint64_t start, uint64_t length,
                            Error **errp)
{
    CcadState *s = ccad_find(path, errp);

    if (s) {
        ccad_complain(ccad_core_poison_inject(s->core, start, length), errp);
    }
}

void qmp_ccad_clear_poison(const char *path, uint64_t start, uint64_t length,
                           Error **errp)
{
    CcadState *s = ccad_find(path, errp);

    if (s) {
        ccad_complain(ccad_core_poison_clear(s->core, start, length), errp);
    }
}

static void ccad_add_poison(void *opaque, uint64_t start, uint64_t length)
{
    CcadPoisonRangeList ***tail = opaque;
    CcadPoisonRange *range = g_new0(CcadPoisonRange, 1);

    range->start = start;
    range->length = length;
    QAPI_LIST_APPEND(*tail, range);
}

static CcadPoisonRangeList *ccad_poison(CcadState *s)
{
    CcadPoisonRangeList *list = NULL, **tail = &list;

    ccad_core_poison_list(s->core, ccad_add_poison, &tail);
    return list;
}

CcadPoisonRangeList *qmp_query_ccad_poison(const char *path, Error **errp)
{
    CcadState *s = ccad_find(path, errp);

    return s ? ccad_poison(s) : NULL;
}

void qmp_ccad_inject_hang(const char *path, uint32_t context, Error **errp)
{
    CcadState *s = ccad_find(path, errp);

    if (!s) {
        return;
    }
    if (context >= s->config.contexts) {
        error_setg(errp, "the device has contexts 0 to %" PRIu32,
                   s->config.contexts - 1);
    } else if (!ccad_core_hang(s->core, context)) {
        error_setg(errp, "context %" PRIu32 " is not enabled; it is the "
                   "guest that enables contexts", context);
    }
}

void qmp_ccad_inject_error(const char *path, CcadErrorKind kind, Error **errp)
{
    CcadState *s = ccad_find(path, errp);

    if (s) {
        ccad_aer_report(s, kind == CCAD_ERROR_KIND_CORRECTED
                           ? CCAD_AER_CORRECTED : CCAD_AER_UNCORRECTABLE);
    }
}

/* The whole state */

static CcadStatistics *ccad_statistics(CcadState *s, uint64_t base)
{
    CcadStatistics *stats = g_new0(CcadStatistics, 1);

    stats->commands = ccad_reg64(s, base + CCAD_STAT_COMMANDS);
    stats->errors = ccad_reg64(s, base + CCAD_STAT_ERRORS);
    stats->read_local = ccad_reg64(s, base + CCAD_STAT_READ_LOCAL);
    stats->read_system = ccad_reg64(s, base + CCAD_STAT_READ_SYSTEM);
    stats->write_local = ccad_reg64(s, base + CCAD_STAT_WRITE_LOCAL);
    stats->write_system = ccad_reg64(s, base + CCAD_STAT_WRITE_SYSTEM);
    stats->atc_hits = ccad_reg64(s, base + CCAD_STAT_ATC_HITS);
    stats->translations = ccad_reg64(s, base + CCAD_STAT_TRANSLATIONS);
    stats->page_requests = ccad_reg64(s, base + CCAD_STAT_PAGE_REQUESTS);
    stats->page_failures = ccad_reg64(s, base + CCAD_STAT_PAGE_FAILURES);
    stats->invalidations = ccad_reg64(s, base + CCAD_STAT_INVALIDATIONS);
    stats->device_ns = ccad_reg64(s, base + CCAD_STAT_DEVICE_NS);
    stats->faults = ccad_reg64(s, base + CCAD_STAT_FAULTS);
    return stats;
}

static CcadCommandCountList *ccad_commands(const uint64_t *counts)
{
    CcadCommandCountList *list = NULL, **tail = &list;

    for (uint32_t i = 0; i < CCAD_COMMAND_KINDS; i++) {
        if (counts[i]) {
            CcadCommandCount *count = g_new0(CcadCommandCount, 1);

            count->name = g_strdup(ccad_command_names[i]);
            count->count = counts[i];
            QAPI_LIST_APPEND(tail, count);
        }
    }
    return list;
}

static CcadLatched *ccad_latched(const ccad_context_info *info)
{
    CcadLatched *latched;

    if (!info->bound) {
        return NULL;
    }
    latched = g_new0(CcadLatched, 1);
    latched->physical = info->physical;
    latched->has_pasid = !info->physical;
    latched->pasid = info->pasid;
    latched->vector = info->vector;
    latched->ring = info->ring;
    latched->ring_shift = info->ring_shift;
    latched->priority = info->priority;
    latched->slice_ns = info->slice_ns;
    latched->timeout_ms = info->timeout_ms;
    return latched;
}

static CcadCommand *ccad_command(const ccad_context_info *info)
{
    CcadCommand *command;

    if (!info->in_flight) {
        return NULL;
    }
    command = g_new0(CcadCommand, 1);
    command->name = g_strdup(ccad_command_names[MIN(info->opcode,
                                                    CCAD_COMMAND_KINDS - 1)]);
    command->tag = info->tag;
    command->done = info->done;
    command->has_deadline_ns = info->deadline_ns != UINT64_MAX;
    command->deadline_ns = info->deadline_ns;
    return command;
}

static CcadContext *ccad_context(CcadState *s, uint32_t n)
{
    uint64_t block = CCAD_CTX(n), doorbell = CCAD_DOORBELL(n);
    uint32_t status = ccad_reg32(s, block + CCAD_CTX_STATUS);
    CcadContext *context;
    ccad_context_info info;

    QEMU_BUILD_BUG_ON(CCAD_CONTEXT_STATE_DRAINING != CCAD_CTX_DRAINING);
    QEMU_BUILD_BUG_ON(CCAD_ERROR_CAUSE__MAX != CCAD_CAUSE_TIMEOUT + 1);
    QEMU_BUILD_BUG_ON((int)CCAD_CONTEXT_PLACE_DELAYED != CCAD_PLACE_DELAYED);

    ccad_core_context_info(s->core, n, &info);
    context = g_new0(CcadContext, 1);
    context->context = n;
    context->state = status & CCAD_CTX_STATE_MASK;
    context->cause = (status & CCAD_CTX_CAUSE_MASK) >> CCAD_CTX_CAUSE_SHIFT;
    context->place = (CcadContextPlace)info.place;
    context->has_delayed_until_ns = info.place == CCAD_PLACE_DELAYED;
    context->delayed_until_ns = info.delayed_until_ns;
    context->hang_armed = info.hang_armed;
    context->room_granted = info.room_granted;
    context->reply_untold = info.reply_untold;
    context->physical = ccad_reg32(s, block + CCAD_CTX_CTRL) &
                        CCAD_CTX_CTRL_PHYSICAL;
    context->pasid = ccad_reg32(s, block + CCAD_CTX_PASID);
    context->vector = ccad_reg32(s, block + CCAD_CTX_VECTOR);
    context->ring = ccad_reg64(s, block + CCAD_CTX_RING);
    context->ring_shift = ccad_reg32(s, block + CCAD_CTX_RING_SHIFT);
    context->priority = ccad_reg32(s, block + CCAD_CTX_PRIORITY);
    context->slice_ns = ccad_reg32(s, block + CCAD_CTX_SLICE_NS);
    context->timeout_ms = ccad_reg32(s, block + CCAD_CTX_TIMEOUT_MS);
    context->latched = ccad_latched(&info);
    context->command = ccad_command(&info);
    context->head = ccad_reg32(s, doorbell + CCAD_DB_HEAD);
    context->tail = ccad_reg32(s, doorbell + CCAD_DB_TAIL);
    context->clock_ns = ccad_reg64(s, doorbell + CCAD_DB_CLOCK);
    context->position_ns = info.position_ns;
    context->statistics = ccad_statistics(s, doorbell + CCAD_DB_STATS);
    context->commands = ccad_commands(info.commands);
    return context;
}

/* Whether nobody has touched a context since the reset. */
static bool ccad_context_is_blank(CcadState *s, uint32_t n)
{
    uint64_t block = CCAD_CTX(n), doorbell = CCAD_DOORBELL(n);

    return !ccad_reg32(s, block + CCAD_CTX_CTRL) &&
           !ccad_reg32(s, block + CCAD_CTX_STATUS) &&
           !ccad_reg32(s, block + CCAD_CTX_PASID) &&
           !ccad_reg64(s, block + CCAD_CTX_RING) &&
           !ccad_reg32(s, block + CCAD_CTX_RING_SHIFT) &&
           !ccad_reg32(s, block + CCAD_CTX_VECTOR) &&
           !ccad_reg32(s, block + CCAD_CTX_PRIORITY) &&
           !ccad_reg32(s, block + CCAD_CTX_SLICE_NS) &&
           !ccad_reg32(s, block + CCAD_CTX_TIMEOUT_MS) &&
           !ccad_reg64(s, doorbell + CCAD_DB_CLOCK);
}

CcadContextList *ccad_contexts(CcadState *s)
{
    CcadContextList *list = NULL, **tail = &list;

    for (uint32_t n = 0; n < s->config.contexts; n++) {
        if (!ccad_context_is_blank(s, n)) {
            QAPI_LIST_APPEND(tail, ccad_context(s, n));
        }
    }
    return list;
}

static CcadEngineList *ccad_engines(CcadState *s)
{
    CcadEngineList *list = NULL, **tail = &list;

    for (uint32_t i = 0; i < s->config.engines; i++) {
        int32_t context = ccad_core_engine_info(s->core, i);
        CcadEngine *engine = g_new0(CcadEngine, 1);

        engine->has_context = context >= 0;
        engine->context = context >= 0 ? context : 0;
        QAPI_LIST_APPEND(tail, engine);
    }
    return list;
}

static void ccad_add_translation(void *opaque, uint32_t pasid,
                                 const ccad_translation *translation)
{
    CcadTranslationList ***tail = opaque;
    CcadTranslation *entry = g_new0(CcadTranslation, 1);

    entry->pasid = pasid;
    entry->va = translation->va;
    entry->pa = translation->pa;
    entry->size = translation->len;
    entry->read = translation->read;
    entry->write = translation->write;
    QAPI_LIST_APPEND(*tail, entry);
}

static CcadAtc *ccad_atc(CcadState *s, bool translations)
{
    CcadAtc *atc = g_new0(CcadAtc, 1);

    atc->sets = s->config.atc_sets;
    atc->ways = s->config.atc_ways;
    atc->entries = ccad_core_atc_entries(s->core, 0);
    atc->entries_4k = ccad_core_atc_entries(s->core, 12);
    atc->entries_2m = ccad_core_atc_entries(s->core, 21);
    atc->entries_1g = ccad_core_atc_entries(s->core, 30);
    atc->has_translations = translations;
    if (translations) {
        CcadTranslationList **tail = &atc->translations;

        ccad_core_atc_list(s->core, ccad_add_translation, &tail);
    }
    return atc;
}

static CcadPageRequestList *ccad_page_requests(CcadState *s)
{
    CcadPageRequestList *list = NULL, **tail = &list;
    ccad_page_request_info requests[CCAD_PRI_GROUPS];
    size_t n = ccad_core_page_requests(s->core, requests,
                                       ARRAY_SIZE(requests));

    for (size_t i = 0; i < n; i++) {
        CcadPageRequest *request = g_new0(CcadPageRequest, 1);

        request->context = requests[i].context;
        request->pasid = requests[i].pasid;
        request->group = requests[i].prgi;
        request->pages = requests[i].pages;
        QAPI_LIST_APPEND(tail, request);
    }
    return list;
}

static uint32List *ccad_page_request_line(CcadState *s)
{
    uint32List *list = NULL, **tail = &list;
    g_autofree uint32_t *line = g_new(uint32_t, s->config.contexts);
    size_t n = ccad_core_page_request_line(s->core, line, s->config.contexts);

    for (size_t i = 0; i < n; i++) {
        QAPI_LIST_APPEND(tail, line[i]);
    }
    return list;
}

static CcadCounters *ccad_counters(CcadState *s)
{
    CcadCounters *counters = g_new0(CcadCounters, 1);

    counters->enabled = ccad_reg32(s, CCAD_REG_CNT_CTRL) & CCAD_CNT_ENABLE;
    counters->status = ccad_reg32(s, CCAD_REG_CNT_STATUS);
    counters->granule_shift = ccad_reg32(s, CCAD_REG_CNT_GRANULE_SHIFT);
    counters->threshold = ccad_reg32(s, CCAD_REG_CNT_THRESHOLD);
    counters->batch = ccad_reg32(s, CCAD_REG_CNT_BATCH);
    counters->vector = ccad_reg32(s, CCAD_REG_CNT_VECTOR);
    counters->ring = ccad_reg64(s, CCAD_REG_CNT_RING);
    counters->ring_shift = ccad_reg32(s, CCAD_REG_CNT_RING_SHIFT);
    counters->head = ccad_reg32(s, CCAD_REG_CNT_HEAD);
    counters->tail = ccad_reg32(s, CCAD_REG_CNT_TAIL);
    counters->lost = ccad_reg64(s, CCAD_REG_CNT_LOST);
    counters->pasid = ccad_reg32(s, CCAD_REG_CNT_PASID);
    counters->va = ccad_reg64(s, CCAD_REG_CNT_VA);
    counters->read_local = ccad_reg64(s, CCAD_REG_CNT_READ_LOCAL);
    counters->read_system = ccad_reg64(s, CCAD_REG_CNT_READ_SYSTEM);
    counters->write_local = ccad_reg64(s, CCAD_REG_CNT_WRITE_LOCAL);
    counters->write_system = ccad_reg64(s, CCAD_REG_CNT_WRITE_SYSTEM);
    return counters;
}

static CcadInjection *ccad_injection_info(const ccad_injection *injection)
{
    CcadInjection *info = g_new0(CcadInjection, 1);

    info->seed = injection->seed;
    info->lose_completion = injection->lose_completion;
    info->lose_interrupt = injection->lose_interrupt;
    info->fault_translation = injection->fault_translation;
    info->fault_page_request = injection->fault_page_request;
    info->fault_command = injection->fault_command;
    info->delay_translation = injection->delay_translation;
    info->delay_page_request = injection->delay_page_request;
    info->delay_command = injection->delay_command;
    info->delay_us = injection->delay_us;
    return info;
}

static CcadConfig *ccad_config_info(CcadState *s)
{
    const ccad_config *config = &s->config;
    CcadConfig *info = g_new0(CcadConfig, 1);

    info->contexts = config->contexts;
    info->engines = config->engines;
    info->page_requests = config->page_requests;
    info->page_request_group = config->page_request_group;
    info->counters = config->counters;
    info->time_slice_ns = config->slice_ns;
    info->ordered = config->ordered;
    info->q_volatile = s->is_volatile;
    info->proximity_domain = s->proximity_domain;
    info->local_latency_ns = config->cost.local_latency_ns;
    info->local_bandwidth = config->cost.local_mbps;
    info->system_latency_ns = config->cost.system_latency_ns;
    info->system_bandwidth = config->cost.system_mbps;
    info->translation_ns = config->cost.translation_ns;
    info->page_request_ns = config->cost.page_request_ns;
    info->injection = ccad_injection_info(&config->injection);
    return info;
}

static CcadConfigSpace *ccad_config_space(CcadState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);
    const uint8_t *aer = pdev->config + CCAD_AER_OFFSET;
    CcadConfigSpace *space = g_new0(CcadConfigSpace, 1);

    space->bus_master = pdev->is_master;
    space->ats = pcie_ats_enabled(pdev);
    space->pasid = pcie_pasid_enabled(pdev);
    space->pri = pcie_pri_enabled(pdev);
    /* What waits for its bottom half will be there a turn of the loop later. */
    space->uncorrectable_errors = pci_get_long(aer + PCI_ERR_UNCOR_STATUS);
    space->correctable_errors = pci_get_long(aer + PCI_ERR_COR_STATUS);
    return space;
}

static uint32List *ccad_pasids(CcadState *s)
{
    uint32List *list = NULL, **tail = &list;
    uint32_t n;
    g_autofree uint32_t *pasids = ccad_host_pasids(s, &n);

    for (uint32_t i = 0; i < n; i++) {
        QAPI_LIST_APPEND(tail, pasids[i]);
    }
    return list;
}

CcadInfo *qmp_query_ccad(const char *path, bool has_translations,
                         bool translations, Error **errp)
{
    CcadState *s = ccad_find(path, errp);
    uint64_t counts[CCAD_COMMAND_KINDS];
    ccad_device_info device;
    CcadInfo *info;

    if (!s) {
        return NULL;
    }
    for (uint32_t i = 0; i < CCAD_COMMAND_KINDS; i++) {
        counts[i] = ccad_core_commands(s->core, i);
    }
    ccad_core_device_info(s->core, &device);
    info = g_new0(CcadInfo, 1);
    info->paused = s->paused;
    info->enabled = s->paused ||
        (ccad_reg32(s, CCAD_REG_CTRL) & CCAD_CTRL_ENABLE);
    info->event = ccad_reg32(s, CCAD_REG_EVENT);
    info->event_mask = ccad_reg32(s, CCAD_REG_EVENT_MASK);
    info->clock_ns = ccad_reg64(s, CCAD_REG_CLOCK);
    info->has_local_busy_ns = s->config.ordered;
    info->local_busy_ns = device.local_busy_ns;
    info->has_system_busy_ns = s->config.ordered;
    info->system_busy_ns = device.system_busy_ns;
    info->config = ccad_config_info(s);
    info->config_space = ccad_config_space(s);
    info->pasids = ccad_pasids(s);
    info->statistics = ccad_statistics(s, CCAD_REG_STATS);
    info->commands = ccad_commands(counts);
    info->contexts = ccad_contexts(s);
    info->engines = ccad_engines(s);
    info->atc = ccad_atc(s, has_translations && translations);
    info->page_request_allocation = device.page_request_allocation;
    info->page_requests = ccad_page_requests(s);
    info->page_request_line = ccad_page_request_line(s);
    info->counters = ccad_counters(s);
    info->poison = ccad_poison(s);
    info->poison_address = ccad_reg64(s, CCAD_REG_POISON_ADDR);
    return info;
}
