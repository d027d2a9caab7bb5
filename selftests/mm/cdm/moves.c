// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moving what is not simply there to be moved: pages that are locked, merged,
 * shared with another process, swapped out, or of hugetlb.  Each of the system
 * calls, there and back; what each says of it, and the data.
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

#define LEN	(1 * MB)
#define PAGES	((long)(LEN / 4096))
#define HUGE	(2 * MB)

enum call { MOVE_PAGES, MOVE_PAGES_ALL, MIGRATE_PAGES, MBIND, MBIND_ALL };

FIXTURE(moves)
{
	int node, ordinary;
	long used;
	pid_t child;
	char *map;
	size_t len;
	long pool;
	int status[PAGES];
};

FIXTURE_VARIANT(moves)
{
	enum call call;
	bool shared;	/* moves what others map, too */
};

FIXTURE_VARIANT_ADD(moves, move_pages)
{
	.call = MOVE_PAGES,
};

FIXTURE_VARIANT_ADD(moves, move_pages_all)
{
	.call = MOVE_PAGES_ALL, .shared = true,
};

/* Root moves what is shared. */
FIXTURE_VARIANT_ADD(moves, migrate_pages)
{
	.call = MIGRATE_PAGES, .shared = true,
};

FIXTURE_VARIANT_ADD(moves, mbind)
{
	.call = MBIND,
};

FIXTURE_VARIANT_ADD(moves, mbind_all)
{
	.call = MBIND_ALL, .shared = true,
};

FIXTURE_SETUP(moves)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->pool = -1;
	cdm_drain();
	self->used = cdm_used_pages(self->node);
	self->len = LEN;
}

FIXTURE_TEARDOWN(moves)
{
	unsigned long from = 1UL << self->node, to = 1UL << self->ordinary;

	if (self->child > 0) {
		kill(self->child, SIGKILL);
		waitpid(self->child, NULL, 0);
	}
	if (self->map)
		munmap(self->map, self->len);
	if (self->pool >= 0)
		cdm_pool_resize(self->ordinary, self->pool);
	cdm_ksm_off();
	cdm_group_remove();
	cdm_swap_off();
	/*
	 * migrate_pages() takes program and stack along, and of what the test
	 * has copied since the harness has the original.
	 */
	migrate_pages(0, CDM_MAX_NODES + 1, &from, &to);
	migrate_pages(getppid(), CDM_MAX_NODES + 1, &from, &to);
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used))
		TH_LOG("pages of node %d did not come back", self->node);
}

/* The call's result; of move_pages() also self->status, one a page of @size. */
static long move(struct _test_data_moves *self, enum call call, size_t size, int node)
{
	unsigned long from = 1UL << (node == self->node ? self->ordinary : self->node);
	unsigned long to = 1UL << node;
	static void *pages[PAGES];
	static int nodes[PAGES];
	size_t nr = self->len / size, i;
	long ret;

	switch (call) {
	case MOVE_PAGES:
	case MOVE_PAGES_ALL:
		for (i = 0; i < nr; i++) {
			pages[i] = self->map + i * size;
			nodes[i] = node;
			self->status[i] = 1000;
		}
		ret = move_pages(0, nr, pages, nodes, self->status,
				 call == MOVE_PAGES ? MPOL_MF_MOVE : MPOL_MF_MOVE_ALL);
		break;
	case MIGRATE_PAGES:
		ret = migrate_pages(0, CDM_MAX_NODES + 1, &from, &to);
		break;
	default:
		return cdm_bind(self->map, self->len, MPOL_BIND, to,
				call == MBIND ? MPOL_MF_MOVE : MPOL_MF_MOVE_ALL);
	}
	return ret < 0 ? -errno : ret;
}

static bool tells(enum call call)
{
	return call == MOVE_PAGES || call == MOVE_PAGES_ALL;
}

static long count_status(const struct _test_data_moves *self, size_t size, int status)
{
	size_t i, n = 0;

	for (i = 0; i < self->len / size; i++)
		n += self->status[i] == status;
	return n;
}

/* All pages on @node, and nothing else of the node taken than these. */
static void expect_on(struct __test_metadata *_metadata, struct _test_data_moves *self,
		      enum call call, int node)
{
	EXPECT_EQ((long)self->len / 4096, (long)cdm_pages_on(self->map, self->len, node))
		TH_LOG("%zu on %d, %zu on %d",
		       cdm_pages_on(self->map, self->len, self->node), self->node,
		       cdm_pages_on(self->map, self->len, self->ordinary), self->ordinary);
	/* migrate_pages() takes the rest of the process along. */
	if (node == self->ordinary && call != MIGRATE_PAGES)
		EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
}

TEST_F_TIMEOUT(moves, mlocked, 120)
{
	long locked = cdm_node_value(self->node, "vmstat", "nr_mlock");
	int way;

	self->map = cdm_map(LEN);
	ASSERT_NE(NULL, self->map);
	ASSERT_EQ(0, mlock(self->map, LEN));
	cdm_write_pattern(self->map, LEN, 61);
	for (way = 0; way < 2; way++) {
		int node = way ? self->ordinary : self->node;

		ASSERT_LE(0, move(self, variant->call, 4096, node));
		if (tells(variant->call))
			EXPECT_EQ(PAGES, count_status(self, 4096, node));
		EXPECT_TRUE(cdm_check_pattern(self->map, LEN, 61));
		expect_on(_metadata, self, variant->call, node);
		/* Locked they are still. */
		cdm_drain();
		cdm_used_pages(self->node);
		EXPECT_EQ(way ? 0 : PAGES,
			  cdm_node_value(self->node, "vmstat", "nr_mlock") - locked);
	}
}

/* A page of two processes goes with the calls that say so, for both of them. */
TEST_F_TIMEOUT(moves, of_two_processes, 120)
{
	int to_child[2], from_child[2], way;
	char byte;

	self->map = cdm_map(LEN);
	ASSERT_NE(NULL, self->map);
	cdm_write_pattern(self->map, LEN, 62);
	ASSERT_EQ(0, pipe(to_child));
	ASSERT_EQ(0, pipe(from_child));
	self->child = fork();
	ASSERT_LE(0, self->child);
	if (!self->child) {
		while (read(to_child[0], &byte, 1) == 1) {
			byte = cdm_check_pattern(self->map, LEN, 62);
			if (write(from_child[1], &byte, 1) != 1)
				break;
		}
		_exit(0);
	}
	for (way = 0; way < 2; way++) {
		int node = way ? self->ordinary : self->node;

		ASSERT_LE(0, move(self, variant->call, 4096, node));
		if (variant->call == MOVE_PAGES && !way)
			EXPECT_EQ(PAGES, count_status(self, 4096, -EACCES));
		expect_on(_metadata, self, variant->call,
			  variant->shared ? node : self->ordinary);
		EXPECT_TRUE(cdm_check_pattern(self->map, LEN, 62));
		ASSERT_EQ(1, write(to_child[1], "", 1));
		ASSERT_EQ(1, read(from_child[0], &byte, 1));
		EXPECT_EQ(1, byte) TH_LOG("the other process sees other data");
	}
}

/* A merged page is shared too, and stays merged where it is taken. */
TEST_F_TIMEOUT(moves, merged, 120)
{
	long merged;
	int way;

	if (access(CDM_KSM "run", W_OK))
		SKIP(return, "no KSM");
	self->map = cdm_map(LEN);
	ASSERT_NE(NULL, self->map);
	/* Every page has an equal one in the other half. */
	cdm_write_pattern(self->map, LEN / 2, 63);
	cdm_write_pattern(self->map + LEN / 2, LEN / 2, 63);
	ASSERT_EQ(0, madvise(self->map, LEN, MADV_MERGEABLE));
	cdm_ksm_scan(4);
	merged = cdm_read_long(CDM_KSM "pages_sharing");
	ASSERT_LE(PAGES / 2, merged);
	/* No more of it from here on. */
	cdm_write_string(CDM_KSM "run", "0");

	for (way = 0; way < 2; way++) {
		int node = way ? self->ordinary : self->node;

		ASSERT_LE(0, move(self, variant->call, 4096, node));
		if (variant->call == MOVE_PAGES && !way)
			EXPECT_EQ(PAGES, count_status(self, 4096, -EACCES));
		expect_on(_metadata, self, variant->call,
			  variant->shared ? node : self->ordinary);
		EXPECT_TRUE(cdm_check_pattern(self->map, LEN / 2, 63));
		EXPECT_TRUE(cdm_check_pattern(self->map + LEN / 2, LEN / 2, 63));
		EXPECT_EQ(merged, cdm_read_long(CDM_KSM "pages_sharing"));
	}
}

/* What is not there does not move.  It comes where a policy says, if one does. */
TEST_F_TIMEOUT(moves, swapped_out, 120)
{
	bool binds = variant->call == MBIND || variant->call == MBIND_ALL;
	int way;

	if (cdm_group_make("+memory") || access(CDM_GROUP "/memory.reclaim", W_OK))
		SKIP(return, "no memory cgroups");
	if (cdm_swap_on(16 * MB))
		SKIP(return, "no swap to be had");
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/cgroup.procs", "0"));
	self->map = cdm_map(LEN);
	ASSERT_NE(NULL, self->map);
	cdm_write_pattern(self->map, LEN, 64);
	for (way = 0; way < 2; way++) {
		int node = way ? self->ordinary : self->node;

		ASSERT_TRUE(cdm_swap_out(self->map, LEN));
		ASSERT_LE(0, move(self, variant->call, 4096, node));
		if (tells(variant->call))
			EXPECT_EQ(PAGES, count_status(self, 4096, -ENOENT));
		EXPECT_TRUE(cdm_check_pattern(self->map, LEN, 64));
		EXPECT_LE(PAGES - CDM_SWAP_CACHED,
			  (long)cdm_pages_on(self->map, LEN, binds ? node : self->ordinary));
	}
}

/* A pool is of one node, and its pages go nowhere that has none. */
TEST_F_TIMEOUT(moves, hugetlb, 120)
{
	long on_node, allocated;

	self->pool = cdm_pool(self->ordinary, "nr_hugepages");
	if (self->pool < 0)
		SKIP(return, "no hugetlb");
	ASSERT_EQ(0, cdm_pool_resize(self->ordinary, self->pool + 2));
	if (cdm_pool(self->ordinary, "nr_hugepages") != self->pool + 2)
		SKIP(return, "no memory for huge pages");
	on_node = cdm_pool(self->node, "nr_hugepages");
	ASSERT_GE(0, on_node) TH_LOG("the node has a pool of its own");

	self->len = HUGE;
	self->map = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	ASSERT_NE(MAP_FAILED, self->map);
	cdm_write_pattern(self->map, HUGE, 65);
	ASSERT_EQ(self->ordinary, cdm_page_node(self->map));
	allocated = cdm_node_value(self->node, "numastat", "numa_hit");

	/* Told by move_pages(), and counted by migrate_pages() */
	if (tells(variant->call)) {
		EXPECT_NE(0, move(self, variant->call, HUGE, self->node));
		EXPECT_EQ(0, count_status(self, HUGE, self->node));
	} else {
		move(self, variant->call, HUGE, self->node);
	}
	EXPECT_TRUE(cdm_check_pattern(self->map, HUGE, 65));
	expect_on(_metadata, self, variant->call, self->ordinary);
	if (variant->call != MIGRATE_PAGES)
		EXPECT_EQ(allocated, cdm_node_value(self->node, "numastat", "numa_hit"));
	EXPECT_EQ(on_node, cdm_pool(self->node, "nr_hugepages"));
}

TEST_HARNESS_MAIN
