// SPDX-License-Identifier: GPL-2.0-only
/*
 * Policies over several coherent nodes, and those whose masks are not simply a
 * list of nodes: weights, overflow, MPOL_F_RELATIVE_NODES, MPOL_F_STATIC_NODES.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "cdm_env.h"
#include "cdm_mempolicy.h"
#include "cdm_util.h"

#define LEN	(4 * MB)
#define PAGES	((long)(LEN / 4096))
#define TIMEOUT	120
#define WEIGHTS	"/sys/kernel/mm/mempolicy/weighted_interleave/"

FIXTURE(nodes)
{
	int a, b;		/* coherent; b is the smaller one */
	int ordinary, other;	/* other: an ordinary node without processors, or -1 */
	unsigned long both;
	long used_a;
	long weight_a, weight_b;
	char *fill;
	size_t fill_len;
};

static void weight_path(char *path, size_t len, int node)
{
	snprintf(path, len, WEIGHTS "node%d", node);
}

static long weight_get(int node)
{
	char path[128];

	weight_path(path, sizeof(path), node);
	return cdm_read_long(path);
}

static int weight_set(int node, long weight)
{
	char path[128], value[24];

	weight_path(path, sizeof(path), node);
	snprintf(value, sizeof(value), "%ld", weight);
	return cdm_write_string(path, value);
}

FIXTURE_SETUP(nodes)
{
	unsigned long others;

	if (geteuid())
		SKIP(return, "needs root");
	self->both = cdm_nodes();
	self->ordinary = cdm_ordinary_node();
	if (__builtin_popcountl(self->both) != 2 || self->ordinary < 0)
		SKIP(return, "needs two nodes of coherent device memory");
	self->a = __builtin_ctzl(self->both);
	self->b = 63 - __builtin_clzl(self->both);
	if (cdm_node_value(self->a, "meminfo", "MemTotal") <
	    cdm_node_value(self->b, "meminfo", "MemTotal")) {
		int node = self->a;

		self->a = self->b;
		self->b = node;
	}
	others = cdm_ordinary_nodes() & ~(1UL << self->ordinary);
	self->other = others ? __builtin_ctzl(others) : -1;
	self->weight_a = weight_get(self->a);
	self->weight_b = weight_get(self->b);
	cdm_drain();
	self->used_a = cdm_used_pages(self->a);
}

FIXTURE_TEARDOWN(nodes)
{
	weight_set(self->a, self->weight_a);
	weight_set(self->b, self->weight_b);
	cdm_group_remove();
}

/* Memory under a policy, as many times the size as asked for. */
static char *under(int mode, unsigned long nodes, size_t len)
{
	char *map = cdm_map(len);

	if (!map || cdm_bind(map, len, mode, nodes, 0))
		return NULL;
	cdm_write_pattern(map, len, 101);
	return map;
}

static void expect_split(struct __test_metadata *_metadata, struct _test_data_nodes *self,
			 const char *map, long on_a, long on_b)
{
	EXPECT_EQ(on_a, (long)cdm_pages_on(map, LEN, self->a));
	EXPECT_EQ(on_b, (long)cdm_pages_on(map, LEN, self->b));
	EXPECT_EQ(on_a, cdm_numa_maps_pages(map, self->a));
	EXPECT_EQ(on_b, cdm_numa_maps_pages(map, self->b));
	EXPECT_TRUE(cdm_check_pattern(map, LEN, 101));
}

TEST_F_TIMEOUT(nodes, interleave, TIMEOUT)
{
	char *vma = under(MPOL_INTERLEAVE, self->both, LEN), *task = cdm_map(LEN);

	ASSERT_NE(NULL, vma);
	ASSERT_NE(NULL, task);
	expect_split(_metadata, self, vma, PAGES / 2, PAGES / 2);
	ASSERT_EQ(0, cdm_task_policy(MPOL_INTERLEAVE, self->both));
	cdm_write_pattern(task, LEN, 101);
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	/* The task counts what else it touches, too. */
	EXPECT_EQ(PAGES, (long)(cdm_pages_on(task, LEN, self->a) +
				cdm_pages_on(task, LEN, self->b)));
	EXPECT_GE(4, labs((long)cdm_pages_on(task, LEN, self->a) - PAGES / 2));
}

TEST_F_TIMEOUT(nodes, weighted_interleave, TIMEOUT)
{
	char *map;

	ASSERT_LT(0, self->weight_a);
	ASSERT_EQ(0, weight_set(self->a, 3));
	ASSERT_EQ(0, weight_set(self->b, 1));
	map = under(MPOL_WEIGHTED_INTERLEAVE, self->both, LEN);
	ASSERT_NE(NULL, map);
	expect_split(_metadata, self, map, PAGES * 3 / 4, PAGES / 4);
	/* The control: it is the weights */
	ASSERT_EQ(0, weight_set(self->a, 1));
	ASSERT_EQ(0, weight_set(self->b, 7));
	map = under(MPOL_WEIGHTED_INTERLEAVE, self->both, LEN);
	ASSERT_NE(NULL, map);
	expect_split(_metadata, self, map, PAGES / 8, PAGES * 7 / 8);
}

TEST_F_TIMEOUT(nodes, moved_by_interleave, TIMEOUT)
{
	char *map = cdm_map(LEN);

	ASSERT_NE(NULL, map);
	cdm_write_pattern(map, LEN, 101);
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_INTERLEAVE, self->both,
			      MPOL_MF_MOVE | MPOL_MF_STRICT));
	expect_split(_metadata, self, map, PAGES / 2, PAGES / 2);
}

/* Pages in ordinary memory; which of its nodes is nearer is none of our business. */
static long on_ordinary(const struct _test_data_nodes *self, const char *map, size_t len)
{
	return cdm_pages_on(map, len, self->ordinary) +
		(self->other < 0 ? 0 : cdm_pages_on(map, len, self->other));
}

/* Take the smaller node until nothing more is to be had there. */
static void fill(struct __test_metadata *_metadata, struct _test_data_nodes *self)
{
	long kb = cdm_node_value(self->b, "meminfo", "MemTotal");

	self->fill_len = ((size_t)kb << 10) + 4 * MB;
	self->fill = cdm_map(self->fill_len);
	ASSERT_NE(NULL, self->fill);
	ASSERT_EQ(0, cdm_bind(self->fill, self->fill_len, MPOL_PREFERRED, 1UL << self->b, 0));
	cdm_write_pattern(self->fill, self->fill_len, 102);
	ASSERT_LT(0, on_ordinary(self, self->fill, self->fill_len))
		TH_LOG("the node is not full");
}

/* What one device does not have comes from ordinary memory, not from another. */
TEST_F_TIMEOUT(nodes, overflow, 300)
{
	char *map;

	fill(_metadata, self);
	EXPECT_EQ(0, (long)cdm_pages_on(self->fill, self->fill_len, self->a));

	map = under(MPOL_PREFERRED, 1UL << self->b, LEN);
	ASSERT_NE(NULL, map);
	EXPECT_EQ(0, (long)cdm_pages_on(map, LEN, self->a));
	EXPECT_LT(PAGES / 2, on_ordinary(self, map, LEN));
	munmap(map, LEN);

	map = under(MPOL_INTERLEAVE, self->both, LEN);
	ASSERT_NE(NULL, map);
	EXPECT_EQ(PAGES / 2, (long)cdm_pages_on(map, LEN, self->a));
	EXPECT_LT(PAGES / 4, on_ordinary(self, map, LEN));
	munmap(map, LEN);

	/* Who named both gets what there is. */
	map = under(MPOL_BIND, self->both, LEN);
	ASSERT_NE(NULL, map);
	EXPECT_EQ(PAGES, (long)(cdm_pages_on(map, LEN, self->a) +
				cdm_pages_on(map, LEN, self->b)));
	EXPECT_LT(PAGES / 2, (long)cdm_pages_on(map, LEN, self->a));
	munmap(map, LEN);
	map = under(MPOL_PREFERRED_MANY, self->both, LEN);
	ASSERT_NE(NULL, map);
	EXPECT_EQ(PAGES, (long)(cdm_pages_on(map, LEN, self->a) +
				cdm_pages_on(map, LEN, self->b)));
	munmap(map, LEN);
}

TEST_F_TIMEOUT(nodes, moves_between_devices, TIMEOUT)
{
	char *map = under(MPOL_BIND, 1UL << self->a, LEN);

	ASSERT_NE(NULL, map);
	/* If that is what was asked for */
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, 1UL << self->b,
			      MPOL_MF_MOVE | MPOL_MF_STRICT));
	expect_split(_metadata, self, map, 0, PAGES);
	/* ... and not for want of another place */
	ASSERT_EQ(0, cdm_attr_write(self->b, "state", "empty"));
	EXPECT_EQ(0, (long)cdm_pages_on(map, LEN, self->a));
	EXPECT_TRUE(cdm_check_pattern(map, LEN, 101));
	ASSERT_EQ(0, cdm_attr_write(self->b, "state", "online"));
}

/* Numbers count ordinary nodes: 0 and 1 are both of them, whatever lies between. */
TEST_F_TIMEOUT(nodes, relative, TIMEOUT)
{
	static const int modes[] = {
		MPOL_BIND, MPOL_PREFERRED, MPOL_INTERLEAVE, MPOL_PREFERRED_MANY,
		MPOL_WEIGHTED_INTERLEAVE,
	};
	int second = self->other < 0 ? self->ordinary : self->other;
	unsigned int i;
	int n;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		for (n = 0; n < 4; n++) {
			char *map = under(modes[i] | MPOL_F_RELATIVE_NODES, 1UL << n, LEN);

			ASSERT_NE(NULL, map);
			EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, n % 2 ? second :
							    self->ordinary))
				TH_LOG("mode %d, node %d", modes[i], n);
			munmap(map, LEN);
		}
	}
	EXPECT_EQ(0, cdm_wait_used(self->a, self->used_a));
}

TEST_F_TIMEOUT(nodes, fixed, TIMEOUT)
{
	char *map = under(MPOL_BIND | MPOL_F_STATIC_NODES, 1UL << self->b, LEN);

	ASSERT_NE(NULL, map);
	expect_split(_metadata, self, map, 0, PAGES);
	map = under(MPOL_BIND | MPOL_F_STATIC_NODES, 1UL << self->b | 1UL << self->ordinary, LEN);
	ASSERT_NE(NULL, map);
	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->ordinary));
}

static int allow(int a, int b, int c)
{
	char mems[48];

	if (c < 0)
		snprintf(mems, sizeof(mems), "%d,%d", a, b);
	else
		snprintf(mems, sizeof(mems), "%d,%d,%d", a, b, c);
	return cdm_write_string(CDM_GROUP "/cpuset.mems", mems);
}

/*
 * A change of cpuset.mems maps ordinary nodes to each other by position.  A
 * coherent node is in nobody's position, and nobody in its.
 */
TEST_F_TIMEOUT(nodes, rebound_by_cpusets, TIMEOUT)
{
	unsigned long mask = 0, ordinary;
	char *vma, *task, *bound, *both;

	if (self->other < 0)
		SKIP(return, "needs two ordinary nodes");
	if (cdm_group_make("+cpuset") || access(CDM_GROUP "/cpuset.mems", W_OK))
		SKIP(return, "no cpusets");
	ordinary = 1UL << self->ordinary | 1UL << self->other;
	ASSERT_EQ(0, allow(self->ordinary, self->a, self->other));
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/cgroup.procs", "0"));
	vma = under(MPOL_INTERLEAVE, ordinary, LEN);
	task = cdm_map(LEN);
	bound = under(MPOL_BIND, 1UL << self->a, LEN);
	ASSERT_NE(NULL, vma);
	ASSERT_NE(NULL, task);
	ASSERT_NE(NULL, bound);
	/* The control: both are used */
	EXPECT_EQ(PAGES / 2, (long)cdm_pages_on(vma, LEN, self->other));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(bound, LEN, self->a));
	ASSERT_EQ(0, cdm_task_policy(MPOL_INTERLEAVE, ordinary));

	/* The ordinary node that goes has the number after the one that stays */
	ASSERT_EQ(0, allow(self->ordinary, self->a, -1));
	cdm_write_pattern(task, LEN, 103);
	EXPECT_EQ(0, get_mempolicy(NULL, &mask, CDM_MAX_NODES + 1, NULL, 0));
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(1UL << self->ordinary, mask);
	EXPECT_EQ(PAGES, (long)cdm_pages_on(task, LEN, self->ordinary));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(vma, LEN, self->ordinary));
	madvise(vma, LEN, MADV_DONTNEED);
	cdm_write_pattern(vma, LEN, 101);
	EXPECT_EQ(PAGES, (long)cdm_pages_on(vma, LEN, self->ordinary));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(bound, LEN, self->a));

	/* One device goes, another comes: that is no replacement */
	ASSERT_EQ(0, allow(self->ordinary, self->b, -1));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(bound, LEN, self->ordinary));
	madvise(bound, LEN, MADV_DONTNEED);
	cdm_write_pattern(bound, LEN, 101);
	EXPECT_EQ(PAGES, (long)cdm_pages_on(bound, LEN, self->ordinary));

	/* Of two that were named the one that is left */
	ASSERT_EQ(0, allow(self->ordinary, self->a, self->b));
	both = under(MPOL_BIND, self->both, LEN);
	ASSERT_NE(NULL, both);
	ASSERT_EQ(0, allow(self->ordinary, self->b, -1));
	EXPECT_EQ(0, (long)cdm_pages_on(both, LEN, self->a));
	madvise(both, LEN, MADV_DONTNEED);
	cdm_write_pattern(both, LEN, 101);
	EXPECT_EQ(PAGES, (long)cdm_pages_on(both, LEN, self->b));
}

TEST_HARNESS_MAIN
