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
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>

#include <numaif.h>

#include "cdm_env.h"
#include "cdm_fixture.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define HUGE		(2 * MB)
#define HUGE_PAGES	((long)(HUGE / 4096))
#define LEN		(4 * MB)
#define PAGES		((long)(LEN / 4096))
/* Most of the node, and of it every other page: more than kcompactd puts up with */
#define HOLES		(384 * MB)
#define TIMEOUT		300
#define PATIENCE	200	/* seconds for something to happen */

#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define KHUGEPAGED	THP "khugepaged/"
#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define SCHED		"/sys/kernel/debug/sched/numa_balancing/"
#define DEMOTION	"/sys/kernel/mm/numa/demotion_enabled"
#define PROACTIVE	"/proc/sys/vm/compaction_proactiveness"
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
	long scanned;
};

/* Pages of the node that reclaim has looked at, unless a test asked for that. */
static long scanned_on(int node)
{
	return cdm_node_value(node, "vmstat", "pgscan_kswapd") +
		cdm_node_value(node, "vmstat", "pgscan_direct") +
		cdm_node_value(node, "vmstat", "pgscan_khugepaged");
}

FIXTURE_SETUP(background)
{
	self->control = cdm_control();
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->mask = 1UL << self->node;
	cdm_drain();
	self->used = cdm_used_pages(self->node);
	self->scanned = scanned_on(self->node);
}

FIXTURE_TEARDOWN(background)
{
	/* Nobody is short of it: isolation.kswapd has the control */
	if (!self->control)
		EXPECT_EQ(self->scanned, scanned_on(self->node));
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

/* The number of the tier that has the node; -1: none, or no tiers at all */
static int tier_of(int node)
{
	DIR *dir = opendir(TIERS);
	struct dirent *ent;
	int tier = -1, nr;

	while (dir && (ent = readdir(dir))) {
		char path[400], list[256];
		FILE *f;

		if (sscanf(ent->d_name, "memory_tier%d", &nr) != 1)
			continue;
		snprintf(path, sizeof(path), TIERS "/%.250s/nodelist", ent->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(list, sizeof(list), f) && cdm_parse_nodes(list) & 1UL << node)
			tier = nr;
		fclose(f);
	}
	if (dir)
		closedir(dir);
	return tier;
}

/* The first node of a tier below @node's, which its pages are demoted to; -1: none */
static int lower_node(int node)
{
	unsigned long mask = cdm_ordinary_nodes();
	int nid, tier = tier_of(node);

	for (nid = 0; nid < CDM_MAX_NODES; nid++)
		if (mask & 1UL << nid && tier_of(nid) > tier)
			return nid;
	return -1;
}

TEST_F(background, no_memory_tier)
{
	ASSERT_LE(0, tier_of(self->ordinary));
	EXPECT_EQ(self->control, tier_of(self->node) >= 0);
}

/* Pages that reclaim has demoted from the node. */
static long demoted_from(int node)
{
	static const char * const counters[] = {
		"pgdemote_kswapd", "pgdemote_direct", "pgdemote_khugepaged",
		"pgdemote_proactive",
	};
	long sum = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(counters); i++)
		sum += cdm_node_value(node, "vmstat", counters[i]);
	return sum;
}

/*
 * Reclaim with demotion on, of ordinary memory and of the node's.  An ordinary
 * node of a lower tier gets what is demoted, the device neither gives nor takes.
 */
TEST_F_TIMEOUT(background, demotion, TIMEOUT)
{
	long from_here, from_there, stolen, used;
	int lower = lower_node(self->ordinary);
	char *here, *there;

	if (lower < 0)
		SKIP(return, "no ordinary node in a lower tier: HMAT has to name a slower one");
	if (set(DEMOTION, "true"))
		SKIP(return, "no demotion");
	if (cdm_group_make("+memory") || access(CDM_GROUP "/memory.reclaim", W_OK))
		SKIP(return, "no memory cgroups");
	if (cdm_swap_on(64 * MB))
		SKIP(return, "no swap to be had");
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/cgroup.procs", "0"));
	here = two_halves(self->ordinary, self->ordinary, 16 * MB, 79);
	there = two_halves(self->node, self->node, 16 * MB, 82);
	ASSERT_NE(NULL, here);
	ASSERT_NE(NULL, there);
	from_here = demoted_from(self->ordinary);
	from_there = demoted_from(self->node);
	stolen = cdm_node_value(self->node, "vmstat", "pgsteal_proactive");
	cdm_drain();
	used = cdm_used_pages(self->node);
	cdm_write_string(CDM_GROUP "/memory.reclaim", "12M");

	EXPECT_LT(PAGES / 2, demoted_from(self->ordinary) - from_here)
		TH_LOG("nothing is demoted");
	EXPECT_LT(0, (long)cdm_pages_on(here, 16 * MB, lower));
	EXPECT_EQ(0, (long)cdm_pages_on(here, 16 * MB, self->node));
	if (self->control) {
		EXPECT_LT(0, demoted_from(self->node) - from_there);
		EXPECT_LT(0, (long)cdm_pages_on(there, 16 * MB, lower));
		return;
	}
	EXPECT_EQ(0, demoted_from(self->node) - from_there);
	EXPECT_EQ(0, (long)cdm_pages_on(there, 16 * MB, lower));
	EXPECT_EQ(0, (long)cdm_pages_on(there, 16 * MB, self->ordinary));
	EXPECT_GE(used, cdm_used_pages(self->node));
	/* To swap */
	EXPECT_LT(0, cdm_node_value(self->node, "vmstat", "pgsteal_proactive") - stolen)
		TH_LOG("nothing of the node was reclaimed");
	EXPECT_TRUE(cdm_check_pattern(here, 16 * MB, 79));
	EXPECT_TRUE(cdm_check_pattern(there, 16 * MB, 82));
}

/* A balancer that promotes.  The ordinary one runs too and shows that somebody looks. */
TEST_F_TIMEOUT(background, promotion, TIMEOUT)
{
	if (set(DEMOTION, "true"))
		SKIP(return, "no demotion");
	balance(_metadata, self, "3");
}

/* Compaction moves pages within a zone. */
TEST_F_TIMEOUT(background, compaction, TIMEOUT)
{
	char *there = two_halves(self->node, self->node, 4 * LEN, 80);
	char *here = two_halves(self->ordinary, self->ordinary, 4 * LEN, 81);
	long scanned = cdm_vmstat("compact_migrate_scanned");
	size_t i;

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
	if (!self->control)
		EXPECT_EQ(0, cdm_wait_used(self->node, self->used + 2 * PAGES));
}

/* Every other page of the range, as pagemap has it: where in memory they are. */
static bool frames_of(const char *map, size_t len, uint64_t *frames)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t size = len / 4096 * sizeof(*frames);
	bool read;

	if (fd < 0)
		return false;
	read = pread(fd, frames, size, (uintptr_t)map / 4096 * sizeof(*frames)) == (ssize_t)size;
	close(fd);
	return read;
}

static size_t frames_changed(const char *map, size_t len, const uint64_t *before)
{
	static uint64_t now[HOLES / 4096];
	size_t i, changed = 0;

	if (!frames_of(map, len, now))
		return 0;
	for (i = 0; i < len / 4096; i++)
		changed += before[i] << 9 != now[i] << 9;
	return changed;
}

/*
 * kcompactd looks after a node on the node's own account.  The memory of a
 * device is full of holes and stays so; ordinary memory does not.
 */
TEST_F_TIMEOUT(background, kcompactd, TIMEOUT)
{
	static uint64_t was_there[HOLES / 4096], was_here[HOLES / 4096];
	char *there = cdm_map(HOLES), *here = cdm_map(HOLES), name[32];
	time_t end = seconds() + PATIENCE;
	size_t i;

	snprintf(name, sizeof(name), "kcompactd%d", self->node);
	EXPECT_EQ(self->control, cdm_thread_switches(name) >= 0);
	ASSERT_NE(NULL, there);
	ASSERT_NE(NULL, here);
	ASSERT_EQ(0, cdm_bind(there, HOLES, MPOL_BIND, self->mask, 0));
	ASSERT_EQ(0, cdm_bind(here, HOLES, MPOL_BIND, 1UL << self->ordinary, 0));
	cdm_write_pattern(there, HOLES, 83);
	cdm_write_pattern(here, HOLES, 84);
	for (i = 0; i < HOLES; i += 2 * 4096) {
		madvise(there + i, 4096, MADV_DONTNEED);
		madvise(here + i, 4096, MADV_DONTNEED);
	}
	ASSERT_TRUE(frames_of(there, HOLES, was_there));
	ASSERT_TRUE(frames_of(here, HOLES, was_here));
	if (set(PROACTIVE, "100"))
		SKIP(return, "no proactive compaction");
	while ((!frames_changed(here, HOLES, was_here) ||
		(self->control && !frames_changed(there, HOLES, was_there))) && seconds() < end)
		usleep(100000);
	/* Time for one more round */
	usleep(1000000);
	EXPECT_LT(0, frames_changed(here, HOLES, was_here)) TH_LOG("nothing is compacted");
	EXPECT_EQ(self->control, frames_changed(there, HOLES, was_there) > 0);
}

TEST_HARNESS_MAIN
