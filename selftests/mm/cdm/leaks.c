// SPDX-License-Identifier: GPL-2.0-only
/*
 * Code that works with the pages of one task under the policy of another, or
 * with all memory there is: each of these would put ordinary pages on a
 * coherent node, or take its pages away.
 *
 * The control (CDM_CONTROL=1, the same memory being an ordinary node) has to
 * see that.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <numaif.h>

#include "cdm_env.h"
#include "cdm_fixture.h"

#define LEN	(8 * MB)
#define PAGES	((long)(LEN / 4096))

#define ZSWAP	"/sys/module/zswap/parameters/enabled"
#define ZSWAP_MAX	CDM_GROUP "/memory.zswap.max"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

FIXTURE(leak)
{
	int node, ordinary;
	bool control;
	unsigned long mask;
	long used;
	char zswap[8];
};

FIXTURE_SETUP(leak)
{
	self->control = cdm_control();
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	/* For what may not be movable */
	if (self->control)
		ASSERT_EQ(0, cdm_online_kernel(self->node));
	self->mask = 1UL << self->node;
	cdm_drain();
	self->used = cdm_used_pages(self->node);
}

FIXTURE_TEARDOWN(leak)
{
	if (self->zswap[0])
		cdm_write_string(ZSWAP, self->zswap);
	cdm_ksm_off();
	cdm_group_remove();
	cdm_swap_off();
}

/* Pages that lie between one another in the swap area come in one by one. */
TEST_F_TIMEOUT(leak, swap_readahead, 120)
{
	char *bound = cdm_map(LEN), *free = cdm_map(LEN);
	long before = cdm_vmstat("pswpin");
	size_t i;

	if (cdm_group_make("+memory") || access(CDM_GROUP "/memory.reclaim", W_OK))
		SKIP(return, "no memory cgroups");
	if (cdm_swap_on(64 * MB))
		SKIP(return, "no swap to be had");
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/cgroup.procs", "0"));
	/* Readahead by place in the swap area is what could leak. */
	cdm_write_string("/sys/kernel/mm/swap/vma_ra_enabled", "false");
	ASSERT_EQ(0, cdm_bind(bound, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(bound, LEN, 51);
	cdm_write_pattern(free, LEN, 52);
	/* Out in turns, so that any eight neighbours there are of both kinds. */
	for (i = 0; i < LEN; i += 4 * 4096) {
		madvise(bound + i, 4 * 4096, MADV_PAGEOUT);
		madvise(free + i, 4 * 4096, MADV_PAGEOUT);
	}
	/* Out of the swap cache too. */
	for (i = 0; i < 100 && cdm_meminfo("SwapCached") > 512; i++) {
		cdm_write_string(CDM_GROUP "/memory.reclaim", "4M");
		usleep(10000);
	}
	EXPECT_TRUE(cdm_check_pattern(bound, LEN, 51));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(bound, LEN, self->node));
	if (!self->control)
		EXPECT_EQ(0, cdm_wait_used(self->node, self->used + PAGES))
			TH_LOG("swapping in took more than its own pages to node %d", self->node);
	EXPECT_TRUE(cdm_check_pattern(free, LEN, 52));
	EXPECT_LE(self->control ? PAGES / 4 : PAGES,
		  (long)cdm_pages_on(free, LEN, self->control ? self->node : self->ordinary));
	EXPECT_GT(cdm_vmstat("pswpin") - before, PAGES)
		TH_LOG("too few pages came from the swap area to see anything");
	cdm_write_string("/sys/kernel/mm/swap/vma_ra_enabled", "true");
}

static int zswap_on(struct _test_data_leak *self)
{
	FILE *f = fopen(ZSWAP, "r");

	if (!f)
		return -errno;
	if (!fgets(self->zswap, sizeof(self->zswap), f))
		self->zswap[0] = 0;
	fclose(f);
	return cdm_write_string(ZSWAP, "Y");
}

/* What a page is compressed to lies near it, if ordinary memory is near. */
TEST_F_TIMEOUT(leak, zswap, 120)
{
	char *bound = cdm_map(LEN);
	long allocated;
	int i;

	if (cdm_swap_on(64 * MB))
		SKIP(return, "no swap to be had");
	if (zswap_on(self))
		SKIP(return, "no zswap");
	ASSERT_EQ(0, cdm_bind(bound, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(bound, LEN, 57);
	allocated = cdm_node_value(self->node, "numastat", "numa_hit");
	for (i = 0; i < 200 && cdm_pages_on(bound, LEN, self->node); i++) {
		madvise(bound, LEN, MADV_PAGEOUT);
		usleep(10000);
	}
	allocated = cdm_node_value(self->node, "numastat", "numa_hit") - allocated;
	EXPECT_LE((long)LEN / 2 >> 10, cdm_meminfo("Zswapped")) TH_LOG("nothing was compressed");
	if (self->control) {
		EXPECT_LT(0, allocated);
	} else {
		EXPECT_EQ(0, allocated);
		EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
	}
	EXPECT_TRUE(cdm_check_pattern(bound, LEN, 57));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(bound, LEN, self->node));
	munmap(bound, LEN);
}

/* Who meets the group's limit writes old pages back, whosever they are. */
TEST_F_TIMEOUT(leak, zswap_writeback, 120)
{
	char *bound = cdm_map(LEN), *free = cdm_map(LEN);
	long written = cdm_vmstat("zswpwb"), allocated;
	int i;

	if (cdm_group_make("+memory") || access(ZSWAP_MAX, W_OK))
		SKIP(return, "no memory cgroups, or no zswap");
	if (cdm_swap_on(64 * MB))
		SKIP(return, "no swap to be had");
	if (zswap_on(self))
		SKIP(return, "no zswap");
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/cgroup.procs", "0"));
	ASSERT_EQ(0, cdm_write_string(ZSWAP_MAX, "32K"));
	ASSERT_EQ(0, cdm_bind(bound, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(bound, LEN, 58);
	cdm_write_pattern(free, LEN, 59);
	/* What is written back are its own pages and others */
	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, self->mask));
	allocated = cdm_node_value(self->node, "numastat", "numa_hit");
	for (i = 0; i < 200 && (cdm_pages_on(bound, LEN, self->node) ||
				cdm_pages_on(free, LEN, self->ordinary)); i++) {
		madvise(free, LEN, MADV_PAGEOUT);
		madvise(bound, LEN, MADV_PAGEOUT);
		usleep(10000);
	}
	allocated = cdm_node_value(self->node, "numastat", "numa_hit") - allocated;
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	written = cdm_vmstat("zswpwb") - written;
	EXPECT_LT(PAGES / 4, written) TH_LOG("too little was written back");
	if (self->control) {
		EXPECT_LE(written / 2, allocated);
	} else {
		/* Of its own data and stack */
		EXPECT_GE(16, allocated) TH_LOG("of %ld pages written back", written);
	}
	/* What has been written back is in the swap cache for a while */
	for (i = 0; i < 100 && cdm_meminfo("SwapCached") > 64; i++) {
		cdm_write_string(CDM_GROUP "/memory.reclaim", "4M");
		usleep(10000);
	}
	EXPECT_TRUE(cdm_check_pattern(bound, LEN, 58));
	EXPECT_TRUE(cdm_check_pattern(free, LEN, 59));
	EXPECT_LE(PAGES - 16, (long)cdm_pages_on(bound, LEN, self->node));
	munmap(bound, LEN);
	munmap(free, LEN);
}

/* Every page has an equal one in the other half. */
static void write_twice(char *map, size_t len, unsigned long seed)
{
	cdm_write_pattern(map, len / 2, seed);
	cdm_write_pattern(map + len / 2, len / 2, seed);
}

/* Equal pages on both sides are merged on neither's account. */
TEST_F_TIMEOUT(leak, ksm, 120)
{
	char *bound = cdm_map(MB), *free = cdm_map(MB);

	if (access(CDM_KSM "run", W_OK))
		SKIP(return, "no KSM");
	ASSERT_EQ(0, cdm_bind(bound, MB, MPOL_BIND, self->mask, 0));
	write_twice(bound, MB, 54);
	write_twice(free, MB, 54);
	ASSERT_EQ(0, madvise(bound, MB, MADV_MERGEABLE));
	ASSERT_EQ(0, madvise(free, MB, MADV_MERGEABLE));
	cdm_ksm_scan(4);
	/* The control: it did merge what it may. */
	EXPECT_LE(128, cdm_read_long(CDM_KSM "pages_sharing"));
	if (self->control) {
		EXPECT_GT(512, (long)(cdm_pages_on(bound, MB, self->node) +
				      cdm_pages_on(free, MB, self->ordinary)));
		return;
	}
	EXPECT_EQ(256, (long)cdm_pages_on(bound, MB, self->node));
	EXPECT_EQ(256, (long)cdm_pages_on(free, MB, self->ordinary));
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used + 256));
}

/* ksmd until it has been everywhere @times times, in steps short enough to stop it there. */
static void ksm_passes(int times)
{
	long until = cdm_read_long(CDM_KSM "full_scans") + times;
	int i;

	cdm_write_string(CDM_KSM "pages_to_scan", "16");
	cdm_write_string(CDM_KSM "sleep_millisecs", "20");
	cdm_write_string(CDM_KSM "run", "1");
	for (i = 0; i < 30000 && cdm_read_long(CDM_KSM "full_scans") < until; i++)
		usleep(1000);
	cdm_write_string(CDM_KSM "run", "0");
}

/*
 * A merged page that was moved to the node takes nobody along.  ksmd merges what
 * it sees a second time, and forgets a page on the node when it comes by: so
 * what is to be merged comes first, and has been seen once.
 */
TEST_F_TIMEOUT(leak, ksm_page_moved_there, 120)
{
	char *late = cdm_map(2 * MB), *merged = late + MB;
	static void *pages[256];
	static int nodes[256], status[256];
	long taken;
	int i;

	if (access(CDM_KSM "run", W_OK))
		SKIP(return, "no KSM");
	ASSERT_NE(NULL, late);
	write_twice(merged, MB, 60);
	write_twice(late, MB, 60);
	ASSERT_EQ(0, madvise(merged, MB, MADV_MERGEABLE));
	cdm_ksm_scan(4);
	ASSERT_LE(128, cdm_read_long(CDM_KSM "pages_sharing"));
	/* To the end of a pass, for the next one to begin with the others */
	ksm_passes(1);
	ASSERT_EQ(0, madvise(late, MB, MADV_MERGEABLE));
	ksm_passes(1);
	for (i = 0; i < 256; i++) {
		pages[i] = merged + i * 4096;
		nodes[i] = self->node;
	}
	ASSERT_LE(0, move_pages(0, 256, pages, nodes, status, MPOL_MF_MOVE_ALL));
	ASSERT_EQ(256, (long)cdm_pages_on(merged, MB, self->node));
	/* What has been merged before, as ksmd does not stop in no time */
	taken = cdm_pages_on(late, MB, self->node);
	EXPECT_GT(128, taken);

	ksm_passes(3);
	if (self->control) {
		EXPECT_LT(taken, (long)cdm_pages_on(late, MB, self->node));
		return;
	}
	EXPECT_EQ(taken, (long)cdm_pages_on(late, MB, self->node));
	EXPECT_EQ(256, (long)cdm_pages_on(merged, MB, self->node));
	EXPECT_LE(128, cdm_read_long(CDM_KSM "pages_sharing"));
}

static int fill_bound(unsigned long mask)
{
	char *map = cdm_map(32 * MB);

	if (!map || cdm_bind(map, 32 * MB, MPOL_BIND, mask, 0))
		return 1;
	cdm_write_pattern(map, 32 * MB, 53);
	return cdm_check_pattern(map, 32 * MB, 53) ? 0 : 2;
}

/* A group at its limit swaps out what it has there; it is not out of memory. */
TEST_F_TIMEOUT(leak, memory_cgroup_limit, 120)
{
	long killed;

	if (cdm_group_make("+memory") || access(CDM_GROUP "/memory.max", W_OK))
		SKIP(return, "no memory cgroups");
	if (cdm_swap_on(64 * MB))
		SKIP(return, "no swap to be had");
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/memory.max", "16M"));
	/* The control: it is a limit, and swap is what saves who reaches it */
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/memory.swap.max", "0"));
	EXPECT_EQ(128 + SIGKILL, cdm_group_run(fill_bound, self->mask));
	killed = cdm_group_value(CDM_GROUP, "memory.events", "oom_kill");
	EXPECT_EQ(1, killed);
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/memory.swap.max", "max"));
	EXPECT_EQ(0, cdm_group_run(fill_bound, self->mask))
		TH_LOG("1 not bound, 2 wrong data, 137 killed");
	EXPECT_EQ(killed, cdm_group_value(CDM_GROUP, "memory.events", "oom_kill"));
	if (!self->control)
		EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
}

/* Who asks for more than the node has pays, however tempting another is. */
TEST_F_TIMEOUT(leak, out_of_memory, 120)
{
	long kb = cdm_node_value(self->node, "meminfo", "MemFree");
	size_t len = ((size_t)kb << 10) + 64 * MB;
	pid_t tempting, greedy;
	int ready[2], status;
	char byte;

	ASSERT_GT(kb, 0);
	ASSERT_EQ(0, pipe(ready));
	tempting = fork();
	ASSERT_GE(tempting, 0);
	if (!tempting) {
		char *map = cdm_map(16 * MB);

		cdm_write_pattern(map, 16 * MB, 55);
		if (cdm_write_string("/proc/self/oom_score_adj", "1000") ||
		    write(ready[1], "", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	greedy = fork();
	ASSERT_GE(greedy, 0);
	if (!greedy) {
		char *map = cdm_map_thp(len);

		if (!map || cdm_bind(map, len, MPOL_BIND, self->mask, 0))
			_exit(1);
		cdm_write_pattern(map, len, 56);
		_exit(0);
	}
	ASSERT_EQ(greedy, waitpid(greedy, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		TH_LOG("%zu MiB were asked for, and nobody was killed for it: %#x",
		       len / MB, status);
	if (self->control) {
		EXPECT_EQ(tempting, waitpid(tempting, &status, WNOHANG));
		return;
	}
	EXPECT_EQ(0, waitpid(tempting, &status, WNOHANG)) TH_LOG("an innocent was killed");
	kill(tempting, SIGKILL);
	waitpid(tempting, &status, 0);
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
}

TEST_HARNESS_MAIN
