/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qtest of ccad: its options.  Each is described, has limits, and a machine in
 * which the device cannot work is refused with the remedy.
 */
#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "ccad-test.h"

/* Machines that do not work */

typedef struct Refusal {
    const char *name;
    const char *machine;    /* the command line before the device */
    const char *device;     /* more arguments of -device, JSON */
    const char *error;      /* part of what it says */
    const char *hint;       /* part of the remedy, NULL if the error is one */
} Refusal;

#define ON_PORT "'bus':'rp','memdev':'local'"
#define PORT "-device pcie-root-port,id=rp,slot=1 "

static const Refusal refusals[] = {
    { "no-memdev", CCAD_PORT, "'bus':'rp'", "'memdev' is required",
      "memory-backend-ram" },
    { "memdev-of-another",
      CCAD_PORT "-device ccad,memdev=local,bus=pcie.0 ", ON_PORT,
      "memory backend 'local' is in use", "of its own" },
    { "memdev-of-the-machine", CCAD_PORT, "'bus':'rp','memdev':'ram'",
      "memory backend 'ram' is in use", "of its own" },
    { "memdev-12M", CCAD_PORT "-object memory-backend-ram,id=odd,size=12M ",
      "'bus':'rp','memdev':'odd'", "'odd' is not a power of two", "8 MiB" },
    { "memdev-2K", CCAD_PORT "-object memory-backend-ram,id=odd,size=2K ",
      "'bus':'rp','memdev':'odd'", "'odd' is less than a page", "4 KiB" },
    { "memdev-readonly",
      CCAD_PORT "-object memory-backend-file,id=odd,size=64K,readonly=on,"
      "mem-path=/proc/self/exe ",
      "'bus':'rp','memdev':'odd'", "'odd' is read-only", "readonly=on" },
    { "ordered-without-cost", CCAD_PORT,
      ON_PORT ",'ordered':true,'local-latency-ns':0,'local-bandwidth':0",
      "ordered needs a latency or a bandwidth of local memory", NULL },
    { "proximity-no-node", CCAD_PORT, ON_PORT ",'proximity-domain':2",
      "is no NUMA node", "-numa node,nodeid=2" },
    { "proximity-with-memory", CCAD_PORT, ON_PORT ",'proximity-domain':0",
      "has memory or CPUs", "-numa node,nodeid=0" },
    { "no-iommu", PORT, ON_PORT, "no IOMMU serves", "-device intel-iommu" },
    { "device-iotlb-off",
      "-device intel-iommu,scalable-mode=on,fsts=on,pasid-bits=20 " PORT,
      ON_PORT, "device-iotlb=off", "device-iotlb=on" },
    { "snoop-control-on",
      "-device intel-iommu,device-iotlb=on,snoop-control=on " PORT,
      ON_PORT, "snoop-control=on", "Remove" },
    { "scalable-mode-off", "-device intel-iommu,device-iotlb=on " PORT,
      ON_PORT, "scalable-mode=off", "scalable-mode=on" },
    { "pasid-bits-0",
      "-device intel-iommu,device-iotlb=on,scalable-mode=on,fsts=on " PORT,
      ON_PORT, "pasid-bits=0", "pasid-bits=20" },
    { "fsts-off",
      "-device intel-iommu,device-iotlb=on,scalable-mode=on,pasid-bits=20 "
      PORT, ON_PORT, "fsts=off", "fsts=on,svm=on" },
    { "svm-off",
      "-device intel-iommu,device-iotlb=on,scalable-mode=on,fsts=on,"
      "pasid-bits=20 " PORT, ON_PORT, "svm=off", "svm=on" },
    { "shared-requester-id",
      CCAD_IOMMU "-device pcie-pci-bridge,id=bridge "
      "-device pcie-root-port,id=rp,bus=bridge,addr=1,slot=1 ",
      ON_PORT, "shares its requester ID", "pcie-root-port" },
    { "iommu-without-ats", "-device virtio-iommu-pci " PORT, ON_PORT,
      "has no ATS", "-device intel-iommu" },
    { "conventional-bus", CCAD_IOMMU "-device pcie-pci-bridge,id=rp ",
      ON_PORT ",'addr':'1'", "is not PCI Express", "pcie-root-port" },
};

static void expect_text(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        g_test_message("no '%s' in: %s", part, text);
        g_test_fail();
    }
}

static void test_refusal(const void *opaque)
{
    const Refusal *r = opaque;
    QTestState *qts = ccad_qtest_start(CCAD_NUMA CCAD_LOCAL "%s", r->machine);
    g_autofree char *device = g_strdup_printf("{'driver':'ccad',%s}",
                                              r->device);
    g_autofree char *command =
        g_strdup_printf("{'execute':'device_add','arguments':%s}", device);
    g_autofree char *line =
        g_strdup_printf(CCAD_NUMA CCAD_LOCAL "%s -device \"%s\"", r->machine,
                        device);
    g_autofree char *out = NULL, *err = NULL;
    g_auto(GStrv) lines = NULL;
    QDict *answer;

    /* The text is one of those above, no format. */
    qtest_qmp_send_raw(qts, "%s", command);
    answer = qtest_qmp_receive(qts);
    g_assert_true(qdict_haskey(answer, "error"));
    expect_text(qdict_get_str(qdict_get_qdict(answer, "error"), "desc"),
                r->error);
    qobject_unref(answer);

    /* A refused device leaves nothing behind: a good one still fits. */
    if (g_str_has_prefix(r->machine, CCAD_PORT) &&
        !strstr(r->machine, "memdev=local")) {
        qtest_qmp_device_add(qts, "ccad", "good",
                             "{'bus':'rp','memdev':'local'}");
    }
    qtest_quit(qts);

    /* On the command line: the error in one line, the remedy in another. */
    g_assert_false(ccad_qemu_run(line, &out, &err));
    lines = g_strsplit(err, "\n", 0);
    g_assert_cmpuint(g_strv_length(lines), ==, r->hint ? 3 : 2);
    expect_text(lines[0], r->error);
    if (r->hint) {
        expect_text(lines[1], r->hint);
    }
}

/* Limits */

typedef struct Limit {
    const char *name;
    uint64_t least, most;
} Limit;

static const Limit limits[] = {
    { "contexts", 1, 1024 },
    { "engines", 1, 64 },
    { "atc-sets", 1, 65536 },
    { "atc-ways", 1, 64 },
    { "page-requests", 1, 512 },
    { "page-request-group", 1, 16 },
    { "time-slice-ns", 1, UINT32_MAX },
    { "counters", 1, 1 << 24 },
    { "local-latency-ns", 0, UINT32_MAX },
    { "local-bandwidth", 0, UINT32_MAX },
    { "system-latency-ns", 0, UINT32_MAX },
    { "system-bandwidth", 0, UINT32_MAX },
    { "translation-ns", 0, UINT32_MAX },
    { "page-request-ns", 0, UINT32_MAX },
    { "x-seed", 0, UINT64_MAX },
    { "x-lose-completion", 0, 1000000 },
    { "x-lose-interrupt", 0, 1000000 },
    { "x-fault-translation", 0, 1000000 },
    { "x-fault-page-request", 0, 1000000 },
    { "x-fault-command", 0, 1000000 },
    { "x-delay-translation", 0, 1000000 },
    { "x-delay-page-request", 0, 1000000 },
    { "x-delay-command", 0, 1000000 },
    { "x-delay-us", 0, 10000000 },
};

/* Where query-ccad tells them, if not in "config". */
static const char *place_of(const char *option)
{
    return g_str_has_prefix(option, "x-") ? "injection"
         : g_str_has_prefix(option, "atc-") ? "atc" : NULL;
}

/* Options without limits, or tried elsewhere. */
static const char *const other_options[] = {
    "memdev", "proximity-domain", "ordered", "volatile",
};

static QDict *add_with(QTestState *qts, const char *name, const char *value)
{
    g_autofree char *command =
        g_strdup_printf("{'execute':'device_add','arguments':{'driver':'ccad',"
                        "'id':'hot',%s,'%s':%s}}", ON_PORT, name, value);

    qtest_qmp_send_raw(qts, "%s", command);
    return qtest_qmp_receive(qts);
}

static void expect_refused(QTestState *qts, const char *name,
                           const char *value)
{
    QDict *answer = add_with(qts, name, value);

    g_test_message("%s=%s", name, value);
    g_assert_true(qdict_haskey(answer, "error"));
    expect_text(qdict_get_str(qdict_get_qdict(answer, "error"), "desc"), name);
    qobject_unref(answer);
}

/* What query-ccad says of an option, that is what the core got. */
static uint64_t told(QTestState *qts, const char *name)
{
    const char *place = place_of(name);
    QDict *answer = qtest_qmp(qts, "{'execute':'query-ccad','arguments':"
                              "{'path':'hot'}}");
    QDict *info = qdict_get_qdict(answer, "return");
    QDict *where;
    uint64_t value;

    g_assert_nonnull(info);
    where = qdict_get_qdict(info, "config");
    if (place) {
        where = qdict_get_qdict(g_str_equal(place, "atc") ? info : where,
                                place);
        name = strchr(name, '-') + 1;
    }
    value = qdict_get_uint(where, name);
    qobject_unref(answer);
    return value;
}

static void expect_taken(QTestState *qts, const char *name, uint64_t value)
{
    g_autofree char *text = g_strdup_printf("%" PRIu64, value);
    QDict *answer = add_with(qts, name, text);

    g_test_message("%s=%s", name, text);
    g_assert_true(qdict_haskey(answer, "return"));
    qobject_unref(answer);
    answer = qtest_qmp(qts, "{'execute':'qom-get','arguments':{'path':'hot',"
                       "'property':%s}}", name);
    g_assert_cmpuint(qdict_get_uint(answer, "return"), ==, value);
    qobject_unref(answer);
    g_assert_cmpuint(told(qts, name), ==, value);
    /* No guest acknowledges: the machine's reset unplugs. */
    qtest_qmp_device_del_send(qts, "hot");
    qtest_system_reset_nowait(qts);
    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
}

static void test_limits(void)
{
    QTestState *qts = ccad_qtest_start(CCAD_PORT CCAD_LOCAL);

    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        const Limit *l = &limits[i];
        /* Beyond the type is refused by QEMU, below it by ourselves. */
        g_autofree char *over =
            l->most < UINT64_MAX ? g_strdup_printf("%" PRIu64, l->most + 1)
                                 : g_strdup("18446744073709551616");
        g_autofree char *under = g_strdup_printf("%" PRId64,
                                                 (int64_t)l->least - 1);

        expect_refused(qts, l->name, over);
        if (l->most < UINT64_MAX) {
            expect_refused(qts, l->name, under);
        }
        expect_refused(qts, l->name, "'many'");
        expect_taken(qts, l->name, l->least);
        expect_taken(qts, l->name, l->most);
    }
    expect_refused(qts, "atc-sets", "3");
    expect_refused(qts, "ordered", "'often'");
    expect_refused(qts, "volatile", "2");
    qtest_quit(qts);
}

/* Help */

static QList *list(QTestState *qts, const char *command, const char *type)
{
    QDict *answer = qtest_qmp(qts, "{'execute':%s,'arguments':"
                              "{'typename':%s}}", command, type);
    QList *list = qdict_get_qlist(answer, "return");

    g_assert_nonnull(list);
    qobject_ref(list);
    qobject_unref(answer);
    return list;
}

static bool has_property(QList *list, const char *name)
{
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(list, entry) {
        QDict *p = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(p, "name"), name)) {
            return true;
        }
    }
    return false;
}

static bool is_known_option(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        if (g_str_equal(limits[i].name, name)) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(other_options); i++) {
        if (g_str_equal(other_options[i], name)) {
            return true;
        }
    }
    return g_str_has_prefix(name, "stat-");
}

/*
 * Every property that PCI devices do not have anyway is described, both by
 * -device ccad,help and to QMP, and is tried in this file.
 */
static void test_help(void)
{
    QTestState *qts = ccad_qtest_start("-S");
    QList *ours = list(qts, "qom-list-properties", "ccad");
    QList *every = list(qts, "qom-list-properties", "pci-device");
    g_autofree char *out = NULL, *err = NULL;
    const QListEntry *entry;
    unsigned described = 0;

    g_assert_true(ccad_qemu_run("-device ccad,help", &out, &err));
    g_assert_cmpstr(err, ==, "");
    QLIST_FOREACH_ENTRY(ours, entry) {
        QDict *p = qobject_to(QDict, qlist_entry_obj(entry));
        const char *name = qdict_get_str(p, "name");
        g_autofree char *pattern =
            g_strdup_printf("(?m)^ +%s=<.+> +- [A-Z].{8,}$", name);

        if (has_property(every, name)) {
            continue;
        }
        g_test_message("%s", name);
        g_assert_true(qdict_haskey(p, "description"));
        g_assert_true(is_known_option(name));
        if (!g_regex_match_simple(pattern, out, 0, 0)) {
            g_test_message("'-device ccad,help' does not describe it");
            g_test_fail();
        }
        described++;
    }
    g_assert_cmpuint(described, ==, ARRAY_SIZE(limits) +
                     ARRAY_SIZE(other_options) + CCAD_STAT_COUNT +
                     CCAD_OP_COPY_PAGES + 2 + 1);
    qobject_unref(every);
    qobject_unref(ours);
    qtest_quit(qts);
}

/*
 * Which failures a run gets can be repeated: the seed is printed.  The second
 * device, which is refused, ends QEMU.
 */
static void test_seed(void)
{
    static const char line[] =
        CCAD_PORT CCAD_LOCAL "-device ccad,memdev=local,bus=rp%s "
        "-device ccad";
    g_autofree char *random = NULL;

    for (int run = 0; run < 4; run++) {
        g_autofree char *options =
            g_strdup_printf(line, run == 0 ? ""
                                : run == 1 ? ",x-seed=77,x-delay-command=1"
                                           : ",x-lose-interrupt=5");
        g_autofree char *out = NULL, *err = NULL;
        const char *said;

        g_assert_false(ccad_qemu_run(options, &out, &err));
        said = strstr(err, "ccad: failures are injected, x-seed=");
        if (run == 0) {
            g_assert_null(said);
            continue;
        }
        g_assert_nonnull(said);
        said = strchr(said, '=') + 1;
        if (run == 1) {
            g_assert_true(g_str_has_prefix(said, "77\n"));
        } else {
            g_autofree char *seed = g_strndup(said, strcspn(said, "\n"));

            g_assert_cmpuint(g_ascii_strtoull(seed, NULL, 10), >, 0);
            g_assert_cmpstr(seed, !=, random);
            g_free(random);
            random = g_steal_pointer(&seed);
        }
    }
}

void ccad_add_options_tests(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        g_autofree char *path = g_strdup_printf("/ccad/refuse/%s",
                                                refusals[i].name);

        qtest_add_data_func(path, &refusals[i], test_refusal);
    }
    qtest_add_func("/ccad/options/limits", test_limits);
    qtest_add_func("/ccad/options/help", test_help);
    qtest_add_func("/ccad/options/seed", test_seed);
}
