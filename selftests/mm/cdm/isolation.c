// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nobody gets a page of a coherent device memory node without asking for it.
 *
 * Ordinary memory is filled with one kind of page after another until reclaim
 * runs; not one page of the node may have been allocated meanwhile, not even
 * for a moment.
 *
 * The control (CDM_CONTROL=1, the same memory being an ordinary node) has to
 * see every one of these kinds on the node, or the tests would prove nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <numaif.h>

#include "cdm_env.h"
#include "cdm_fixture.h"
#include "pressure.h"

#define ROOM		(128 * MB)
#define TIMEOUT		120
#define ROUNDS	4
#define SWAP_ROUNDS	12
#define DEMOTION	"/sys/kernel/mm/numa/demotion_enabled"
#define HUGETLB		"/proc/sys/vm/nr_hugepages"

FIXTURE(isolation)
{
	int node;
	bool control;
	const struct pressure_kind *kind;
};

FIXTURE_SETUP(isolation)
{
	int ordinary;

	self->control = cdm_control();
	cdm_need_nodes(_metadata, &self->node, &ordinary);
	if (!self->control)
		return;
	ASSERT_FALSE(cdm_node_in("has_coherent_memory", self->node))
		TH_LOG("the control needs ordinary memory: boot with ccad.memory=ordinary");
	ASSERT_EQ(0, cdm_online_kernel(self->node));
}

FIXTURE_TEARDOWN(isolation)
{
	if (!self->kind)
		return;
	if (self->kind->cleanup)
		self->kind->cleanup();
	pressure_release();
	cdm_swap_off();
}

/* Has a part of @len come to the node? */
static bool spilled(const struct cdm_usage *before, const struct cdm_usage *after, size_t len)
{
	return (after->used - before->used) * 4096 >= (long)(len / 64);
}

/*
 * Fill more, @step at a time, until @wanted bytes have been reclaimed since
 * pressure_reclaimed() was @before: what was still on its way back to the free
 * lists is used up first.
 */
static void go_on(struct __test_metadata *_metadata, const struct pressure_kind *kind,
		  long before, size_t wanted, size_t step)
{
	int i;

	for (i = 0; i < ROUNDS && (pressure_reclaimed() - before) * 4096 < (long)wanted; i++)
		ASSERT_LT(0, kind->fill(step));
}

static void check(struct __test_metadata *_metadata, struct _test_data_isolation *self,
		  const struct pressure_kind *kind, size_t len)
{
	long reclaimed, filled, grown = 0;
	struct cdm_usage before, after;
	int ordinary = cdm_ordinary_node();
	char what[512];
	int i;

	self->kind = kind;
	ASSERT_EQ(0, pressure_build(ROOM))
		TH_LOG("ordinary memory could not be filled");

	ASSERT_EQ(0, cdm_usage_read(self->node, &before));
	reclaimed = pressure_reclaimed();
	if (kind->meminfo)
		grown -= cdm_node_value(ordinary, "meminfo", kind->meminfo);
	filled = kind->fill(len);
	if (!self->control)
		go_on(_metadata, kind, reclaimed, len / 4, len / 4);
	if (kind->meminfo)
		grown += cdm_node_value(ordinary, "meminfo", kind->meminfo);
	reclaimed = pressure_reclaimed() - reclaimed;
	ASSERT_EQ(0, cdm_usage_read(self->node, &after));

	ASSERT_GE(filled, (long)(len / 2))
		TH_LOG("%s: %s", kind->name, strerror(filled < 0 ? -filled : 0));

	if (self->control) {
		/*
		 * What kswapd does not make room for in time, which depends on
		 * the machine, so go on for a while; a leak would be a single
		 * page.
		 */
		for (i = 0; i < ROUNDS && !spilled(&before, &after, len); i++) {
			ASSERT_LT(0, kind->fill(len));
			ASSERT_EQ(0, cdm_usage_read(self->node, &after));
		}
		EXPECT_TRUE(spilled(&before, &after, len))
			TH_LOG("%s do not come to an ordinary node: the test could not see a leak",
			       kind->name);
		return;
	}
	EXPECT_FALSE(cdm_usage_differs(&before, &after, what, sizeof(what)))
		TH_LOG("%s used node %d:%s", kind->name, self->node, what);
	EXPECT_GE(reclaimed * 4096, (long)(len / 4))
		TH_LOG("%s: only %ld pages reclaimed, no pressure", kind->name, reclaimed);
	if (!kind->meminfo)
		return;
	EXPECT_GE(grown * 1024, (long)(len / 2))
		TH_LOG("%s: %s of node %d grew by %ld kB only", kind->name,
		       kind->meminfo, ordinary, grown);
}

TEST_F_TIMEOUT(isolation, anonymous_memory, TIMEOUT)
{
	check(_metadata, self, &pressure_anonymous, 64 * MB);
}

TEST_F_TIMEOUT(isolation, huge_pages, TIMEOUT)
{
	check(_metadata, self, &pressure_thp, 64 * MB);
}

TEST_F_TIMEOUT(isolation, page_cache_read, TIMEOUT)
{
	check(_metadata, self, &pressure_cache_read, 128 * MB);
}

TEST_F_TIMEOUT(isolation, page_cache_write, TIMEOUT)
{
	check(_metadata, self, &pressure_cache_write, 64 * MB);
}

TEST_F_TIMEOUT(isolation, tmpfs, TIMEOUT)
{
	check(_metadata, self, &pressure_tmpfs, 64 * MB);
}

TEST_F_TIMEOUT(isolation, slab, TIMEOUT)
{
	check(_metadata, self, &pressure_slab, 48 * MB);
}

TEST_F_TIMEOUT(isolation, page_tables, TIMEOUT)
{
	check(_metadata, self, &pressure_page_tables, 48 * MB);
}

TEST_F_TIMEOUT(isolation, pipes, TIMEOUT)
{
	check(_metadata, self, &pressure_pipes, 48 * MB);
}

TEST_F_TIMEOUT(isolation, sockets, TIMEOUT)
{
	check(_metadata, self, &pressure_sockets, 48 * MB);
}

/*
 * Who finds no ordinary memory wakes the kswapd of all nodes that might have
 * some, and that looks for what can go.  The node is nearly full, so that
 * it would have something to do.
 */
TEST_F_TIMEOUT(isolation, kswapd, TIMEOUT)
{
	const struct pressure_kind *kind = &pressure_anonymous;
	struct cdm_usage before, after;
	long reclaimed, switches, scanned, high;
	char name[32], what[512], *map;
	size_t len;
	int i;

	self->kind = kind;
	/* A kswapd that had no luck is not woken any more: forget that. */
	cdm_write_string(DEMOTION, "1");
	cdm_write_string(DEMOTION, "0");
	/* Without, there is nothing about anonymous pages to look for */
	if (cdm_swap_on(64 * MB))
		SKIP(return, "no swap to be had");
	high = cdm_zone_value(self->node, "high");
	ASSERT_LT(0, high);
	len = ((size_t)cdm_node_value(self->node, "meminfo", "MemFree") << 10) -
		high * 4096 - 8 * MB;
	map = cdm_map_thp(len);
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_bind(map, len, MPOL_BIND, 1UL << self->node, 0));
	cdm_write_pattern(map, len, 2);
	ASSERT_EQ(0, pressure_build(ROOM));

	snprintf(name, sizeof(name), "kswapd%d", self->node);
	switches = cdm_thread_switches(name);
	ASSERT_LE(0, switches) TH_LOG("no %s", name);
	ASSERT_EQ(0, cdm_usage_read(self->node, &before));
	scanned = cdm_node_value(self->node, "vmstat", "pgscan_kswapd");
	reclaimed = pressure_reclaimed();
	ASSERT_LT(0, kind->fill(64 * MB));
	if (self->control) {
		for (i = 0; i < SWAP_ROUNDS; i++) {
			if (cdm_node_value(self->node, "vmstat", "pgscan_kswapd") > scanned)
				break;
			ASSERT_LT(0, kind->fill(8 * MB));
		}
		EXPECT_GT(SWAP_ROUNDS, i) TH_LOG("%s of an ordinary node does not scan", name);
		return;
	}
	go_on(_metadata, kind, reclaimed, 16 * MB, 8 * MB);
	reclaimed = pressure_reclaimed() - reclaimed;
	ASSERT_EQ(0, cdm_usage_read(self->node, &after));
	EXPECT_EQ(switches, cdm_thread_switches(name));
	EXPECT_FALSE(cdm_usage_differs(&before, &after, what, sizeof(what)))
		TH_LOG("node %d:%s", self->node, what);
	EXPECT_LE((long)(16 * MB / 4096), reclaimed) TH_LOG("no pressure");
}

/* The pool of nr_hugepages is spread over all nodes with memory. */
TEST_F_TIMEOUT(isolation, hugetlb_pool, TIMEOUT)
{
	long before, on_node, total;
	char value[24];

	before = cdm_read_long(HUGETLB);
	if (before < 0)
		SKIP(return, "no hugetlb");
	snprintf(value, sizeof(value), "%ld", before + 16);
	ASSERT_EQ(0, cdm_write_string(HUGETLB, value));
	total = cdm_read_long(HUGETLB) - before;
	on_node = cdm_pool(self->node, "nr_hugepages");
	snprintf(value, sizeof(value), "%ld", before);
	cdm_write_string(HUGETLB, value);

	ASSERT_GE(total, 8);
	/* A node that the pool does not know has no such file. */
	EXPECT_EQ(self->control, on_node > 0);
}

TEST_HARNESS_MAIN
