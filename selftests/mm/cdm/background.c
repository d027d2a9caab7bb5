// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel does by itself neither brings pages to a coherent node nor
 * takes those away that were put there: khugepaged and MADV_COLLAPSE, NUMA
 * balancing, memory tiers with demotion and promotion, compaction.
 *
 * The control (CDM_CONTROL=1, the same memory being an ordinary node) has to
 * see each of them move pages to or from the node.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>

#include <numaif.h>

#include "kselftest_harness.h"
#include "cdm_env.h"
#include "cdm_util.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define HUGE		(2 * MB)
#define HUGE_PAGES	((long)(HUGE / 4096))
#define LEN		(4 * MB)
#define PAGES		((long)(LEN / 4096))
#define TIMEOUT		300
#define PATIENCE	200	/* seconds for something to happen */

#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define KHUGEPAGED	THP "khugepaged/"
#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define SCHED		"/sys/kernel/debug/sched/numa_balancing/"
#define DEMOTION	"/sys/kernel/mm/numa/demotion_enabled"
#define TIERS		"/sys/devices/virtual/memory_tiering"

/* Put back, last one first, when the test is over. */
#define MAX_SAVED	8
static struct {
	const char *path;
	char value[64];
} saved[MAX_SAVED];
static int nr_saved;

static int set(const char *path, const char *value)
{
	FILE *f = fopen(path, "r");
	char *text;

	if (!f)
		return -errno;
	text = saved[nr_saved].value;
	if (!fgets(text, sizeof(saved[0].value), f))
		text[0] = 0;
	fclose(f);
	saved[nr_saved++].path = path;
	return cdm_write_string(path, value);
}

FIXTURE(background)
{
	int node, ordinary;
	bool control;
	unsigned long mask;
	long used;
};

FIXTURE_SETUP(background)
{
	self->control = cdm_control();
	self->node = cdm_node();
	self->ordinary = cdm_ordinary_node();
	if (geteuid())
		SKIP(return, "needs root");
	if ((self->node < 0 || self->ordinary < 0) && !self->control)
		SKIP(return, "no node of coherent device memory");
	ASSERT_LE(0, self->node);
	self->mask = 1UL << self->node;
	cdm_drain();
	self->used = cdm_used_pages(self->node);
}

FIXTURE_TEARDOWN(background)
{
	while (nr_saved--)
		cdm_write_string(saved[nr_saved].path, saved[nr_saved].value);
	cdm_group_remove();
	cdm_swap_off();
}

static time_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* Whether all of the pages went to @node. */
static bool move_range(char *map, size_t len, int node)
{
	static void *pages[PAGES];
	static int nodes[PAGES], status[PAGES];
	size_t done, i, n;

	for (done = 0; done < len / 4096; done += n) {
		n = len / 4096 - done < (size_t)PAGES ? len / 4096 - done : (size_t)PAGES;
		for (i = 0; i < n; i++) {
			pages[i] = map + (done + i) * 4096;
			nodes[i] = node;
		}
		if (move_pages(0, n, pages, nodes, status, MPOL_MF_MOVE))
			return false;
	}
	return cdm_pages_on(map, len, node) == len / 4096;
}

/*
 * Small pages in one mapping: the first half of the range on node @first, the
 * other on @second.  There is no policy, so all that says where they should be
 * is where they are.
 */
static char *two_halves(int first, int second, size_t len, unsigned long seed)
{
	char *map = cdm_map(len);

	if (!map)
		return NULL;
	cdm_write_pattern(map, len, seed);
	if (!move_range(map, len / 2, first) || !move_range(map + len / 2, len / 2, second))
		return NULL;
	return map;
}

static bool is_where(const char *map, size_t len, int first, int second)
{
	return cdm_pages_on(map, len / 2, first) == len / 2 / 4096 &&
	       cdm_pages_on(map + len / 2, len / 2, second) == len / 2 / 4096;
}

/* A range that lies in both is left as it is, others stay on their side. */
TEST_F_TIMEOUT(background, collapse_by_madvise, TIMEOUT)
{
	char *mixed = two_halves(self->node, self->ordinary, HUGE, 71);
	char *there = two_halves(self->node, self->node, HUGE, 72);
	char *here = two_halves(self->ordinary, self->ordinary, HUGE, 73);

	ASSERT_NE(NULL, mixed);
	ASSERT_NE(NULL, there);
	ASSERT_NE(NULL, here);
	ASSERT_TRUE(is_where(mixed, HUGE, self->node, self->ordinary));
	ASSERT_EQ(0, madvise(mixed, HUGE, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(there, HUGE, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(here, HUGE, MADV_HUGEPAGE));
	if (self->control) {
		madvise(mixed, HUGE, MADV_COLLAPSE);
		EXPECT_FALSE(is_where(mixed, HUGE, self->node, self->ordinary))
			TH_LOG("a mixed range stays on an ordinary node, too");
		return;
	}
	EXPECT_EQ(-1, madvise(mixed, HUGE, MADV_COLLAPSE));
	EXPECT_TRUE(is_where(mixed, HUGE, self->node, self->ordinary));
	EXPECT_EQ(0, madvise(there, HUGE, MADV_COLLAPSE));
	EXPECT_TRUE(is_where(there, HUGE, self->node, self->node));
	/* Not with a policy of the task's over the device either */
	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, self->mask));
	EXPECT_EQ(0, madvise(here, HUGE, MADV_COLLAPSE));
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_TRUE(is_where(here, HUGE, self->ordinary, self->ordinary));
	EXPECT_TRUE(cdm_check_pattern(mixed, HUGE, 71));
	EXPECT_TRUE(cdm_check_pattern(there, HUGE, 72));
	EXPECT_TRUE(cdm_check_pattern(here, HUGE, 73));
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used + HUGE_PAGES / 2 + HUGE_PAGES));
}

/* kB in huge pages of the mapping at @addr. */
static long huge_kb(const void *addr)
{
	bool in = false;
	char line[256];
	long kb = -1;
	FILE *f;

	f = fopen("/proc/self/smaps", "r");
	while (f && kb < 0 && fgets(line, sizeof(line), f)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			in = start <= (unsigned long)addr && (unsigned long)addr < end;
		else if (in)
			sscanf(line, "AnonHugePages: %ld", &kb);
	}
	if (f)
		fclose(f);
	return kb;
}

TEST_F_TIMEOUT(background, khugepaged, TIMEOUT)
{
	char *mixed = two_halves(self->node, self->ordinary, HUGE, 74);
	char *there = two_halves(self->node, self->node, HUGE, 75);
	char *here = two_halves(self->ordinary, self->ordinary, HUGE, 76);
	time_t end = seconds() + PATIENCE;
	long scans;

	ASSERT_NE(NULL, mixed);
	ASSERT_NE(NULL, there);
	ASSERT_NE(NULL, here);
	if (set(KHUGEPAGED "scan_sleep_millisecs", "10"))
		SKIP(return, "no khugepaged");
	set(KHUGEPAGED "alloc_sleep_millisecs", "10");
	set(KHUGEPAGED "pages_to_scan", "100000");
	ASSERT_EQ(0, madvise(mixed, HUGE, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(there, HUGE, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(here, HUGE, MADV_HUGEPAGE));

	while ((huge_kb(here) <= 0 || huge_kb(there) <= 0) && seconds() < end)
		usleep(20000);
	EXPECT_EQ(2048, huge_kb(here)) TH_LOG("khugepaged did not come by");
	EXPECT_EQ(2048, huge_kb(there));
	/* ... and once more everywhere */
	scans = cdm_read_long(KHUGEPAGED "full_scans") + 2;
	while (cdm_read_long(KHUGEPAGED "full_scans") < scans && seconds() < end)
		usleep(20000);
	EXPECT_LE(scans, cdm_read_long(KHUGEPAGED "full_scans"));

	EXPECT_EQ(!self->control, is_where(mixed, HUGE, self->node, self->ordinary));
	EXPECT_TRUE(is_where(there, HUGE, self->node, self->node));
	EXPECT_TRUE(is_where(here, HUGE, self->ordinary, self->ordinary));
	EXPECT_TRUE(cdm_check_pattern(mixed, HUGE, 74));
	EXPECT_TRUE(cdm_check_pattern(there, HUGE, 75));
	EXPECT_TRUE(cdm_check_pattern(here, HUGE, 76));
}

static void *idle(void *arg)
{
	(void)arg;
	while (1)
		pause();
	return NULL;
}

/*
 * The processor looks at pages on the node again and again.  Pages next to them
 * show that the balancer works.
 */
static void balance(struct __test_metadata *_metadata, struct _test_data_background *self,
		    const char *mode)
{
	char *there = two_halves(self->node, self->node, LEN, 77);
	char *here = two_halves(self->ordinary, self->ordinary, LEN, 78);
	long faults, updates, migrated, promoted, left;
	time_t end = seconds() + PATIENCE;
	pthread_t thread;
	size_t i;

	ASSERT_NE(NULL, there);
	ASSERT_NE(NULL, here);
	if (set(BALANCING, mode))
		SKIP(return, "no NUMA balancing");
	set(SCHED "scan_delay_ms", "10");
	set(SCHED "scan_period_min_ms", "10");
	/* The memory of a single thread is not looked at where it is near. */
	ASSERT_EQ(0, pthread_create(&thread, NULL, idle, NULL));

	faults = cdm_vmstat("numa_hint_faults");
	updates = cdm_vmstat("numa_pte_updates");
	migrated = cdm_vmstat("numa_pages_migrated");
	promoted = cdm_vmstat("pgpromote_success");
	do {
		for (i = 0; i < LEN; i += 4096)
			__asm__ volatile("" : : "r" (there[i]), "r" (here[i]));
		left = cdm_pages_on(there, LEN, self->node);
		if (self->control ? left < PAGES / 2 :
		    cdm_vmstat("numa_hint_faults") - faults > 2 * PAGES)
			break;
	} while (seconds() < end);
	faults = cdm_vmstat("numa_hint_faults") - faults;
	updates = cdm_vmstat("numa_pte_updates") - updates;
	migrated = cdm_vmstat("numa_pages_migrated") - migrated;
	promoted = cdm_vmstat("pgpromote_success") - promoted;
	if (self->control) {
		EXPECT_GT(PAGES / 2, left)
			TH_LOG("%ld updates, %ld faults, and the pages stay", updates, faults);
		return;
	}
	EXPECT_LT(2 * PAGES, faults) TH_LOG("the balancer did not work: %ld updates", updates);
	EXPECT_EQ(PAGES, left);
	EXPECT_EQ(0, migrated);
	EXPECT_EQ(0, promoted);
	EXPECT_TRUE(cdm_check_pattern(there, LEN, 77));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(here, LEN, self->ordinary));
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used + PAGES));
}

TEST_F_TIMEOUT(background, numa_balancing, TIMEOUT)
{
	balance(_metadata, self, "1");
}

/* Is there a tier with the node?  -1: no tiers at all */
static int in_a_tier(int node)
{
	DIR *dir = opendir(TIERS);
	struct dirent *ent;
	int found = -1;

	while (dir && (ent = readdir(dir))) {
		char path[400], list[256];
		FILE *f;

		snprintf(path, sizeof(path), TIERS "/%.250s/nodelist", ent->d_name);
		f = strncmp(ent->d_name, "memory_tier", 11) ? NULL : fopen(path, "r");
		if (!f)
			continue;
		if (!fgets(list, sizeof(list), f))
			list[0] = 0;
		fclose(f);
		if (found < 0)
			found = 0;
		if (cdm_parse_nodes(list) & 1UL << node)
			found = 1;
	}
	if (dir)
		closedir(dir);
	return found;
}

TEST_F(background, no_memory_tier)
{
	ASSERT_EQ(1, in_a_tier(self->ordinary));
	EXPECT_EQ(self->control, in_a_tier(self->node));
}

/* Reclaim with demotion on, and a balancer that promotes. */
TEST_F_TIMEOUT(background, demotion_and_promotion, TIMEOUT)
{
	static const char * const counters[] = {
		"pgdemote_kswapd", "pgdemote_direct", "pgdemote_khugepaged",
		"pgdemote_proactive",
	};
	long demoted = 0, stolen, i;
	struct cdm_usage before, after;
	char what[512], *map;

	if (self->control)
		SKIP(return, "two nodes of one tier, see no_memory_tier");
	if (set(DEMOTION, "true"))
		SKIP(return, "no demotion");
	if (cdm_group_make("+memory") || access(CDM_GROUP "/memory.reclaim", W_OK))
		SKIP(return, "no memory cgroups");
	if (cdm_swap_on(32 * MB))
		SKIP(return, "no swap to be had");
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/cgroup.procs", "0"));
	map = cdm_map(16 * MB);
	ASSERT_NE(NULL, map);
	cdm_write_pattern(map, 16 * MB, 79);
	ASSERT_EQ(0, cdm_usage_read(self->node, &before));
	for (i = 0; i < (long)ARRAY_SIZE(counters); i++)
		demoted -= cdm_vmstat(counters[i]);
	stolen = cdm_vmstat("pgsteal_proactive");
	cdm_write_string(CDM_GROUP "/memory.reclaim", "12M");
	/* The control: it was reclaimed, to swap */
	EXPECT_LT((long)(4 * MB / 4096), cdm_vmstat("pgsteal_proactive") - stolen);
	for (i = 0; i < (long)ARRAY_SIZE(counters); i++)
		demoted += cdm_vmstat(counters[i]);
	EXPECT_EQ(0, demoted);
	ASSERT_EQ(0, cdm_usage_read(self->node, &after));
	EXPECT_FALSE(cdm_usage_differs(&before, &after, what, sizeof(what)))
		TH_LOG("node %d:%s", self->node, what);
	EXPECT_TRUE(cdm_check_pattern(map, 16 * MB, 79));
	/* With the ordinary balancer too: it shows that somebody looks */
	balance(_metadata, self, "3");
}

/* Compaction moves pages within a zone. */
TEST_F_TIMEOUT(background, compaction, TIMEOUT)
{
	char *there = two_halves(self->node, self->node, 4 * LEN, 80);
	char *here = two_halves(self->ordinary, self->ordinary, 4 * LEN, 81);
	long scanned = cdm_vmstat("compact_migrate_scanned");
	size_t i;

	if (self->control)
		SKIP(return, "pages stay in their zone whatever it is");
	ASSERT_NE(NULL, there);
	ASSERT_NE(NULL, here);
	/* Holes to be filled */
	for (i = 0; i < 4 * LEN; i += 2 * 4096) {
		madvise(there + i, 4096, MADV_DONTNEED);
		madvise(here + i, 4096, MADV_DONTNEED);
	}
	if (cdm_write_string("/proc/sys/vm/compact_memory", "1"))
		SKIP(return, "no compaction");
	EXPECT_LT(PAGES, cdm_vmstat("compact_migrate_scanned") - scanned);
	EXPECT_EQ(2 * PAGES, (long)cdm_pages_on(there, 4 * LEN, self->node));
	EXPECT_EQ(2 * PAGES, (long)cdm_pages_on(here, 4 * LEN, self->ordinary));
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used + 2 * PAGES));
}

TEST_HARNESS_MAIN
