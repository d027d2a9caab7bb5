// SPDX-License-Identifier: GPL-2.0-only
/*
 * Code that works with the pages of one task under the policy of another, or
 * with all memory there is: each of these would put ordinary pages on a
 * coherent node, or take its pages away.
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

#include "kselftest_harness.h"
#include "cdm_env.h"
#include "cdm_util.h"

#define LEN	(8 * MB)
#define PAGES	((long)(LEN / 4096))

#define ZSWAP	"/sys/module/zswap/parameters/enabled"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

FIXTURE(leak)
{
	int node, ordinary;
	unsigned long mask;
	long used;
};

FIXTURE_SETUP(leak)
{
	self->node = cdm_node();
	self->ordinary = cdm_ordinary_node();
	if (geteuid())
		SKIP(return, "needs root");
	if (self->node < 0 || self->ordinary < 0)
		SKIP(return, "no node of coherent device memory");
	self->mask = 1UL << self->node;
	cdm_drain();
	self->used = cdm_used_pages(self->node);
}

FIXTURE_TEARDOWN(leak)
{
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
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used + PAGES))
		TH_LOG("swapping in took more than its own pages to node %d", self->node);
	EXPECT_TRUE(cdm_check_pattern(free, LEN, 52));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(free, LEN, self->ordinary));
	EXPECT_GT(cdm_vmstat("pswpin") - before, PAGES)
		TH_LOG("too few pages came from the swap area to see anything");
	cdm_write_string("/sys/kernel/mm/swap/vma_ra_enabled", "true");
}

/* What a page is compressed to lies near it, if ordinary memory is near. */
TEST_F_TIMEOUT(leak, zswap, 120)
{
	char *bound = cdm_map(LEN);
	char enabled[8] = "";
	FILE *f;
	int i;

	f = fopen(ZSWAP, "r");
	if (!f)
		SKIP(return, "no zswap");
	if (!fgets(enabled, sizeof(enabled), f))
		enabled[0] = 0;
	fclose(f);
	if (cdm_swap_on(64 * MB))
		SKIP(return, "no swap to be had");
	ASSERT_EQ(0, cdm_write_string(ZSWAP, "Y"));
	ASSERT_EQ(0, cdm_bind(bound, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(bound, LEN, 57);
	for (i = 0; i < 200 && cdm_pages_on(bound, LEN, self->node); i++) {
		madvise(bound, LEN, MADV_PAGEOUT);
		usleep(10000);
	}
	EXPECT_LE((long)LEN / 2 >> 10, cdm_meminfo("Zswapped")) TH_LOG("nothing was compressed");
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
	EXPECT_TRUE(cdm_check_pattern(bound, LEN, 57));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(bound, LEN, self->node));
	munmap(bound, LEN);
	cdm_write_string(ZSWAP, enabled);
}

/* Equal pages on both sides are merged on neither's account. */
TEST_F_TIMEOUT(leak, ksm, 120)
{
	char *bound = cdm_map(MB), *free = cdm_map(MB);

	if (access(CDM_KSM "run", W_OK))
		SKIP(return, "no KSM");
	ASSERT_EQ(0, cdm_bind(bound, MB, MPOL_BIND, self->mask, 0));
	memset(bound, 'k', MB);
	memset(free, 'k', MB);
	ASSERT_EQ(0, madvise(bound, MB, MADV_MERGEABLE));
	ASSERT_EQ(0, madvise(free, MB, MADV_MERGEABLE));
	cdm_ksm_scan(4);
	/* The control: it did merge what it may. */
	EXPECT_GT(cdm_read_long(CDM_KSM "pages_sharing"), 200);
	EXPECT_EQ(256, (long)cdm_pages_on(bound, MB, self->node));
	EXPECT_EQ(256, (long)cdm_pages_on(free, MB, self->ordinary));
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used + 256));
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
	char text[256] = "";
	FILE *f;

	if (cdm_group_make("+memory") || access(CDM_GROUP "/memory.max", W_OK))
		SKIP(return, "no memory cgroups");
	if (cdm_swap_on(64 * MB))
		SKIP(return, "no swap to be had");
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/memory.max", "16M"));
	EXPECT_EQ(0, cdm_group_run(fill_bound, self->mask))
		TH_LOG("1 not bound, 2 wrong data, 137 killed");
	f = fopen(CDM_GROUP "/memory.events", "r");
	ASSERT_NE(NULL, f);
	ASSERT_GT(fread(text, 1, sizeof(text) - 1, f), 0);
	fclose(f);
	EXPECT_NE(NULL, strstr(text, "oom_kill 0")) TH_LOG("%s", text);
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
	EXPECT_EQ(0, waitpid(tempting, &status, WNOHANG)) TH_LOG("an innocent was killed");
	kill(tempting, SIGKILL);
	waitpid(tempting, &status, 0);
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
}

TEST_HARNESS_MAIN
