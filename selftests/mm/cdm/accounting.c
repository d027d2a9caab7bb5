// SPDX-License-Identifier: GPL-2.0-only
/*
 * A coherent node is not memory to hand out, so figures of what there is leave
 * it out, whether it is empty or full; figures of one node, one process or one
 * group show it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <numaif.h>

#include "cdm_env.h"
#include "cdm_fixture.h"

#define LEN	(64 * MB)
#define KB	((long)LEN >> 10)
#define PAGES	((long)(LEN / 4096))
/* What others may allocate or free while the test looks away. */
#define NOISE	(8L << 10)

FIXTURE(accounting)
{
	int node, ordinary;
	unsigned long mask;
	char *map;
};

FIXTURE_SETUP(accounting)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->mask = 1UL << self->node;
	self->map = cdm_map_thp(LEN);
	ASSERT_NE(NULL, self->map);
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND, self->mask, 0));
	cdm_drain();
}

FIXTURE_TEARDOWN(accounting)
{
	cdm_write_string("/proc/sys/vm/overcommit_memory", "0");
	cdm_group_remove();
}

static long ordinary_kb(const char *name)
{
	unsigned long nodes = cdm_ordinary_nodes();
	long kb = 0;
	int node;

	for (node = 0; node < CDM_MAX_NODES; node++)
		if (nodes >> node & 1)
			kb += cdm_node_value(node, "meminfo", name);
	return kb;
}

/* Each is about ordinary memory before and after the node is filled. */
TEST_F(accounting, what_there_is)
{
	long total = ordinary_kb("MemTotal"), free[2], available[2], dirty[2], background[2];
	struct sysinfo info;
	int i;

	ASSERT_LT(KB, cdm_node_value(self->node, "meminfo", "MemTotal"));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(total, cdm_meminfo("MemTotal"));
		free[i] = cdm_meminfo("MemFree");
		EXPECT_GE(NOISE, labs(free[i] - ordinary_kb("MemFree")));
		available[i] = cdm_meminfo("MemAvailable");
		EXPECT_LE(available[i], total);
		dirty[i] = cdm_vmstat("nr_dirty_threshold");
		background[i] = cdm_vmstat("nr_dirty_background_threshold");
		ASSERT_EQ(0, sysinfo(&info));
		EXPECT_EQ(total, (long)(info.totalram * info.mem_unit >> 10));
		EXPECT_GE(NOISE, labs(free[i] - (long)(info.freeram * info.mem_unit >> 10)));
		if (i)
			break;
		cdm_write_pattern(self->map, LEN, 121);
		ASSERT_EQ(PAGES, (long)cdm_pages_on(self->map, LEN, self->node));
	}
	EXPECT_GE(NOISE, labs(free[1] - free[0]));
	EXPECT_GE(NOISE, labs(available[1] - available[0]));
	EXPECT_GE(NOISE / 4, labs(dirty[1] - dirty[0]));
	EXPECT_GE(NOISE / 4, labs(background[1] - background[0]));
	/* 20 and 10 per cent of ordinary memory at most, in pages */
	EXPECT_LE(dirty[0], total / 4 / 5);
	EXPECT_LE(background[0], total / 4 / 10);
}

/* A share of all there is, less what hugetlb has, and swap. */
TEST_F(accounting, commit_limit)
{
	long ratio = cdm_read_long("/proc/sys/vm/overcommit_ratio");
	long total = cdm_meminfo("MemTotal"), limit = cdm_meminfo("CommitLimit");

	ASSERT_LT(0, ratio);
	EXPECT_GE(64, labs((total - cdm_meminfo("Hugetlb")) * ratio / 100 +
			   cdm_meminfo("SwapTotal") - limit));
}

/* Nothing of the pool is there, though it may take from all nodes. */
TEST_F(accounting, hugetlb_pool)
{
	long before = cdm_read_long("/proc/sys/vm/nr_hugepages"), huge, node_huge;
	char value[24];

	if (before < 0)
		SKIP(return, "no hugetlb");
	node_huge = cdm_node_value(self->node, "meminfo", "HugePages_Total");
	snprintf(value, sizeof(value), "%ld", before + 8);
	ASSERT_EQ(0, cdm_write_string("/proc/sys/vm/nr_hugepages", value));
	huge = cdm_meminfo("HugePages_Total");
	EXPECT_LT(before, huge);
	EXPECT_EQ(huge, ordinary_kb("HugePages_Total") + (node_huge > 0 ? node_huge : 0));
	EXPECT_EQ(node_huge, cdm_node_value(self->node, "meminfo", "HugePages_Total"));
	snprintf(value, sizeof(value), "%ld", before);
	EXPECT_EQ(0, cdm_write_string("/proc/sys/vm/nr_hugepages", value));
}

/* The figures of the node itself. */
TEST_F(accounting, of_the_node)
{
	long total = cdm_node_value(self->node, "meminfo", "MemTotal");
	long used, anon, zone, free = 0;
	int i;

	used = cdm_used_pages(self->node);
	anon = cdm_node_value(self->node, "meminfo", "AnonPages");
	zone = cdm_zone_value(self->node, "nr_zone_active_anon") +
		cdm_zone_value(self->node, "nr_zone_inactive_anon");
	EXPECT_EQ(total, cdm_zone_value(self->node, "managed") * 4);
	cdm_write_pattern(self->map, LEN, 122);
	cdm_drain();
	EXPECT_EQ(PAGES, cdm_used_pages(self->node) - used);
	EXPECT_EQ(KB, cdm_node_value(self->node, "meminfo", "AnonPages") - anon);
	EXPECT_EQ(KB, cdm_node_value(self->node, "meminfo", "AnonHugePages"));
	/* What processors have in their lists, and give back, is neither used nor in MemFree */
	for (i = 0; i < 100; i++) {
		free = cdm_node_value(self->node, "meminfo", "MemFree");
		if (free == cdm_zone_value(self->node, "nr_free_pages") * 4)
			break;
	}
	EXPECT_GT(100, i);
	EXPECT_LE(free, total - 4 * cdm_used_pages(self->node));
	EXPECT_EQ(PAGES, cdm_zone_value(self->node, "nr_zone_active_anon") +
		  cdm_zone_value(self->node, "nr_zone_inactive_anon") - zone);
	EXPECT_EQ(PAGES, cdm_numa_maps_pages(self->map, self->node));
}

/* VmRSS and the like are about memory of any kind; numa_maps says of which. */
TEST_F(accounting, of_the_process)
{
	char line[256];
	long rss = -1, before = -1;
	int i;

	for (i = 0; i < 2; i++) {
		FILE *f = fopen("/proc/self/status", "r");

		ASSERT_NE(NULL, f);
		before = rss;
		while (fgets(line, sizeof(line), f))
			if (sscanf(line, "VmRSS: %ld", &rss) == 1)
				break;
		fclose(f);
		if (!i)
			cdm_write_pattern(self->map, LEN, 123);
	}
	EXPECT_LE(KB, rss - before);
	EXPECT_EQ(PAGES, cdm_numa_maps_pages(self->map, self->node));
}

/* The value in bytes of "name ... N@node=bytes" in the group's numa_stat. */
static long group_numa_stat(const char *name, int node)
{
	char line[1024], key[16], *at;
	size_t len = strlen(name);
	long value = -1;
	FILE *f;

	snprintf(key, sizeof(key), " N%d=", node);
	f = fopen(CDM_GROUP "/memory.numa_stat", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, len) || line[len] != ' ')
			continue;
		at = strstr(line, key);
		if (at)
			value = strtol(at + strlen(key), NULL, 10);
	}
	if (f)
		fclose(f);
	return value;
}

static int fill_and_look(unsigned long mask)
{
	int node = __builtin_ctzl(mask), fail = 0;
	char *map = cdm_map_thp(16 * MB);

	if (!map || cdm_bind(map, 16 * MB, MPOL_BIND, mask, 0))
		return 1;
	cdm_write_pattern(map, 16 * MB, 124);
	if (cdm_read_long(CDM_GROUP "/memory.current") < (long)(16 * MB))
		fail |= 2;
	if (group_numa_stat("anon", node) != (long)(16 * MB))
		fail |= 4;
	if (group_numa_stat("anon_thp", node) != (long)(16 * MB))
		fail |= 8;
	return fail;
}

TEST_F(accounting, of_the_group)
{
	if (cdm_group_make("+memory") || access(CDM_GROUP "/memory.numa_stat", R_OK))
		SKIP(return, "no memory cgroups");
	EXPECT_EQ(0, cdm_group_run(fill_and_look, self->mask))
		TH_LOG("1 not bound, 2 not charged, 4 not in numa_stat, 8 nor as huge pages");
}

TEST_HARNESS_MAIN
