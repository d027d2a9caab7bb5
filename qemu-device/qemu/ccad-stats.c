/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ccad: the statistics of the device as read-only properties
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-ccad.h"
#include "qapi/visitor.h"
#include "ccad.h"

const char *const ccad_command_names[CCAD_COMMAND_KINDS] = {
    [CCAD_OP_NOP] = "nop",
    [CCAD_OP_FENCE] = "fence",
    [CCAD_OP_COPY] = "copy",
    [CCAD_OP_FILL] = "fill",
    [CCAD_OP_CRC32C] = "crc32c",
    [CCAD_OP_COMPARE] = "compare",
    [CCAD_OP_REDUCE] = "reduce",
    [CCAD_OP_FETCH_ADD] = "fetch-add",
    [CCAD_OP_COMPARE_SWAP] = "compare-swap",
    [CCAD_OP_GATHER] = "gather",
    [CCAD_OP_LIST_WALK] = "list-walk",
    [CCAD_OP_COMPRESS] = "compress",
    [CCAD_OP_DECOMPRESS] = "decompress",
    [CCAD_OP_COPY_PAGES] = "copy-pages",
    [CCAD_COMMAND_KINDS - 1] = "unknown",
};

typedef struct CcadStat {
    const char *name;
    uint32_t stat;
    const char *description;
} CcadStat;

static const CcadStat ccad_stats[] = {
    { "stat-commands", CCAD_STAT_COMMANDS,
      "Commands ended since the reset, failed ones too" },
    { "stat-errors", CCAD_STAT_ERRORS, "Commands ended with an error" },
    { "stat-read-local", CCAD_STAT_READ_LOCAL,
      "Bytes read from the local memory" },
    { "stat-read-system", CCAD_STAT_READ_SYSTEM,
      "Bytes read from system memory" },
    { "stat-write-local", CCAD_STAT_WRITE_LOCAL,
      "Bytes written to the local memory" },
    { "stat-write-system", CCAD_STAT_WRITE_SYSTEM,
      "Bytes written to system memory" },
    { "stat-atc-hits", CCAD_STAT_ATC_HITS,
      "Page accesses served by the address translation cache" },
    { "stat-translations", CCAD_STAT_TRANSLATIONS, "ATS requests" },
    { "stat-page-requests", CCAD_STAT_PAGE_REQUESTS, "PRI requests" },
    { "stat-page-failures", CCAD_STAT_PAGE_FAILURES,
      "PRI requests answered by a failure" },
    { "stat-invalidations", CCAD_STAT_INVALIDATIONS,
      "Invalidations of the address translation cache" },
    { "stat-device-ns", CCAD_STAT_DEVICE_NS,
      "Device time spent, nanoseconds" },
    { "stat-faults", CCAD_STAT_FAULTS, "Commands ended with a page fault" },
};

QEMU_BUILD_BUG_ON(ARRAY_SIZE(ccad_stats) != CCAD_STAT_COUNT);

static void ccad_get_stat(Object *obj, Visitor *v, const char *name,
                          void *opaque, Error **errp)
{
    CcadState *s = CCAD(obj);
    const CcadStat *stat = opaque;
    uint64_t value = s->core ? ccad_core_stat(s->core, stat->stat) : 0;

    visit_type_uint64(v, name, &value, errp);
}

static void ccad_get_commands(Object *obj, Visitor *v, const char *name,
                              void *opaque, Error **errp)
{
    CcadState *s = CCAD(obj);
    uint64_t value = s->core ? ccad_core_commands(s->core,
                                                  GPOINTER_TO_UINT(opaque))
                             : 0;

    visit_type_uint64(v, name, &value, errp);
}

static void ccad_get_contexts(Object *obj, Visitor *v, const char *name,
                              void *opaque, Error **errp)
{
    CcadState *s = CCAD(obj);
    CcadContextList *contexts = s->core ? ccad_contexts(s) : NULL;

    visit_type_CcadContextList(v, name, &contexts, errp);
    qapi_free_CcadContextList(contexts);
}

void ccad_class_init_stats(ObjectClass *klass)
{
    object_class_property_add(klass, "stat-contexts", "CcadContextList",
                              ccad_get_contexts, NULL, NULL, NULL);
    object_class_property_set_description(klass, "stat-contexts",
                                          "Contexts with their statistics, as "
                                          "query-ccad tells them");
    for (uint32_t i = 0; i < CCAD_COMMAND_KINDS; i++) {
        g_autofree char *name =
            g_strdup_printf("stat-commands-%s", ccad_command_names[i]);
        g_autofree char *description =
            g_strdup_printf("Commands ended with opcode %s",
                            ccad_command_names[i]);

        object_class_property_add(klass, name, "uint64", ccad_get_commands,
                                  NULL, NULL, GUINT_TO_POINTER(i));
        object_class_property_set_description(klass, name, description);
    }
    for (size_t i = 0; i < ARRAY_SIZE(ccad_stats); i++) {
        const CcadStat *stat = &ccad_stats[i];

        object_class_property_add(klass, stat->name, "uint64", ccad_get_stat,
                                  NULL, NULL, (void *)stat);
        object_class_property_set_description(klass, stat->name,
                                              stat->description);
    }
}
