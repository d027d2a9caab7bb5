// SPDX-License-Identifier: GPL-2.0-only
/*
 * A node's pool of hugetlb pages belongs to who names the node: nobody else
 * gets a page of it, counts on it, or finds it in the global numbers.
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

#define HPAGE	(2 * MB)
#define POOL	4
#define GLOBAL	"/sys/kernel/mm/hugepages/hugepages-2048kB/"

FIXTURE(pool)
{
	int node, ordinary;
	unsigned long mask;
	long used;
};

static char *map_huge(size_t pages, int flags)
{
	char *map = mmap(NULL, pages * HPAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | flags, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

FIXTURE_SETUP(pool)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	if (access(GLOBAL "nr_hugepages", W_OK))
		SKIP(return, "no hugetlb pages of 2 MB");
	self->mask = 1UL << self->node;
	cdm_drain();
	self->used = cdm_used_pages(self->node);
	ASSERT_EQ(0, cdm_read_long(GLOBAL "nr_hugepages"));
}

FIXTURE_TEARDOWN(pool)
{
	cdm_attr_write(self->node, "state", "online");
	cdm_write_string(GLOBAL "nr_overcommit_hugepages", "0");
	cdm_write_string(GLOBAL "nr_hugepages", "0");
	cdm_pool_resize(self->node, 0);
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
	EXPECT_EQ(0, cdm_read_long(GLOBAL "nr_hugepages"));
	EXPECT_EQ(0, cdm_read_long(GLOBAL "resv_hugepages"));
}

/* The global pool and its overcommit are in ordinary memory, however large. */
TEST_F(pool, global_stays_away)
{
	char *map;

	ASSERT_EQ(0, cdm_write_string(GLOBAL "nr_hugepages", "4"));
	ASSERT_EQ(0, cdm_write_string(GLOBAL "nr_overcommit_hugepages", "8"));
	EXPECT_EQ(4, cdm_read_long(GLOBAL "nr_hugepages"));
	EXPECT_EQ(0, cdm_pool(self->node, "nr_hugepages"));
	map = map_huge(8, 0);
	ASSERT_NE(NULL, map);
	memset(map, 1, 8 * HPAGE);
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(self->ordinary, cdm_page_node(map + i * HPAGE));
	EXPECT_EQ(0, cdm_pool(self->node, "nr_hugepages"));
	EXPECT_EQ(0, cdm_pool(self->node, "surplus_hugepages"));
	ASSERT_EQ(0, munmap(map, 8 * HPAGE));
	/* A task's policy does not say where a pool is either. */
	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, self->mask));
	map = map_huge(2, 0);
	ASSERT_NE(NULL, map);
	memset(map, 2, 2 * HPAGE);
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(self->ordinary, cdm_page_node(map));
	ASSERT_EQ(0, munmap(map, 2 * HPAGE));
}

/* The node's file fills its pool; what is there nobody can count on. */
TEST_F(pool, is_the_nodes)
{
	int status;
	pid_t pid;
	char *map;

	ASSERT_EQ(0, cdm_pool_resize(self->node, 4));
	EXPECT_EQ(POOL, cdm_pool(self->node, "nr_hugepages"));
	EXPECT_EQ(POOL, cdm_pool(self->node, "free_hugepages"));
	EXPECT_EQ(0, cdm_read_long(GLOBAL "nr_hugepages"));
	EXPECT_EQ(0, cdm_read_long(GLOBAL "free_hugepages"));
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used + POOL * (long)(HPAGE / 4096)));

	/* No reservation, and without one no page. */
	EXPECT_EQ(NULL, map_huge(1, 0));
	EXPECT_EQ(ENOMEM, errno);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		map = map_huge(1, MAP_NORESERVE);
		if (!map)
			_exit(1);
		*map = 1;
		_exit(2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)
		TH_LOG("a page of the node for an ordinary mapping: %#x", status);
	EXPECT_EQ(POOL, cdm_pool(self->node, "free_hugepages"));
}

TEST_F(pool, bind_takes_from_it)
{
	char *map = map_huge(POOL + 1, MAP_NORESERVE), *again;
	int status;
	pid_t pid;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_pool_resize(self->node, 4));
	ASSERT_EQ(0, cdm_bind(map, (POOL + 1) * HPAGE, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(map, POOL * HPAGE, 3);
	for (int i = 0; i < POOL; i++)
		EXPECT_EQ(self->node, cdm_page_node(map + i * HPAGE));
	EXPECT_EQ(0, cdm_pool(self->node, "free_hugepages"));
	EXPECT_EQ(0, cdm_read_long(GLOBAL "nr_hugepages"));
	EXPECT_TRUE(cdm_check_pattern(map, POOL * HPAGE, 3));

	/* The pool is empty, ordinary pages are no substitute. */
	ASSERT_EQ(0, cdm_write_string(GLOBAL "nr_hugepages", "2"));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		map[POOL * HPAGE] = 1;
		_exit(2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)
		TH_LOG("%#x", status);

	/* A preference takes them. */
	again = map_huge(1, MAP_NORESERVE);
	ASSERT_NE(NULL, again);
	ASSERT_EQ(0, cdm_bind(again, HPAGE, MPOL_PREFERRED, self->mask, 0));
	*again = 1;
	EXPECT_EQ(self->ordinary, cdm_page_node(again));
	munmap(again, HPAGE);
	munmap(map, (POOL + 1) * HPAGE);
	EXPECT_EQ(POOL, cdm_pool(self->node, "free_hugepages"));
	EXPECT_EQ(2, cdm_read_long(GLOBAL "free_hugepages"));
}

/* A reservation that is not needed is given up, and just once. */
TEST_F(pool, reservation_is_given_up)
{
	char *map;

	ASSERT_EQ(0, cdm_pool_resize(self->node, 4));
	ASSERT_EQ(0, cdm_write_string(GLOBAL "nr_hugepages", "2"));
	map = map_huge(2, 0);
	ASSERT_NE(NULL, map);
	EXPECT_EQ(2, cdm_read_long(GLOBAL "resv_hugepages"));
	ASSERT_EQ(0, cdm_bind(map, 2 * HPAGE, MPOL_BIND, self->mask, 0));
	*map = 1;
	EXPECT_EQ(self->node, cdm_page_node(map));
	EXPECT_EQ(1, cdm_read_long(GLOBAL "resv_hugepages"));
	EXPECT_EQ(2, cdm_read_long(GLOBAL "free_hugepages"));
	ASSERT_EQ(0, munmap(map, 2 * HPAGE));
	EXPECT_EQ(0, cdm_read_long(GLOBAL "resv_hugepages"));
	EXPECT_EQ(2, cdm_read_long(GLOBAL "free_hugepages"));
	EXPECT_EQ(POOL, cdm_pool(self->node, "free_hugepages"));
}

/* Nor does the file that obeys a task's policy reach the pool of the device. */
TEST_F(pool, obeying_a_policy)
{
	ASSERT_EQ(0, cdm_pool_resize(self->node, POOL));
	ASSERT_EQ(0, cdm_write_string(GLOBAL "nr_hugepages", "3"));
	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, self->mask));
	EXPECT_EQ(0, cdm_write_string(GLOBAL "nr_hugepages_mempolicy", "2"));
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(2, cdm_read_long(GLOBAL "nr_hugepages"));
	EXPECT_EQ(0, cdm_read_long(GLOBAL "surplus_hugepages"));
	EXPECT_EQ(POOL, cdm_pool(self->node, "nr_hugepages"));
}

/* 0 or a negative errno, and in @status where each is */
static int move(char *map, int pages, int node, int *status)
{
	void *addr[POOL];
	int nodes[POOL], i;

	for (i = 0; i < pages; i++) {
		addr[i] = map + i * HPAGE;
		nodes[i] = node;
	}
	return move_pages(0, pages, addr, nodes, status, MPOL_MF_MOVE) < 0 ? -errno : 0;
}

/* What is moved there takes free pages of the pool, and moves back to a pool. */
TEST_F(pool, is_moved_to)
{
	int status[POOL];
	char *map;

	ASSERT_EQ(0, cdm_write_string(GLOBAL "nr_hugepages", "2"));
	map = map_huge(2, 0);
	ASSERT_NE(NULL, map);
	cdm_write_pattern(map, 2 * HPAGE, 5);
	ASSERT_EQ(self->ordinary, cdm_page_node(map));

	/* No pool, no move */
	EXPECT_EQ(-ENOMEM, move(map, 2, self->node, status));
	EXPECT_EQ(self->ordinary, cdm_page_node(map));

	ASSERT_EQ(0, cdm_pool_resize(self->node, 1));
	EXPECT_EQ(0, move(map, 1, self->node, status));
	EXPECT_EQ(self->node, status[0]);
	EXPECT_EQ(-ENOMEM, move(map, 2, self->node, status));
	EXPECT_EQ(self->node, cdm_page_node(map));
	EXPECT_EQ(self->ordinary, cdm_page_node(map + HPAGE));
	EXPECT_EQ(0, cdm_pool(self->node, "free_hugepages"));
	EXPECT_EQ(1, cdm_pool(self->node, "nr_hugepages"));
	EXPECT_EQ(2, cdm_read_long(GLOBAL "nr_hugepages"));
	EXPECT_EQ(1, cdm_read_long(GLOBAL "free_hugepages"));

	/* A bind is not satisfied with less, and says so */
	EXPECT_EQ(-EIO, cdm_bind(map, 2 * HPAGE, MPOL_BIND, self->mask,
				 MPOL_MF_MOVE | MPOL_MF_STRICT));
	ASSERT_EQ(0, cdm_pool_resize(self->node, 2));
	EXPECT_EQ(0, cdm_bind(map, 2 * HPAGE, MPOL_BIND, self->mask,
			      MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(self->node, cdm_page_node(map));
	EXPECT_EQ(self->node, cdm_page_node(map + HPAGE));
	EXPECT_TRUE(cdm_check_pattern(map, 2 * HPAGE, 5));

	ASSERT_EQ(0, migrate_pages(0, sizeof(self->mask) * 8, &self->mask,
				   &(unsigned long){ 1UL << self->ordinary }));
	EXPECT_EQ(self->ordinary, cdm_page_node(map));
	EXPECT_EQ(self->ordinary, cdm_page_node(map + HPAGE));
	EXPECT_EQ(2, cdm_pool(self->node, "free_hugepages"));
	EXPECT_EQ(0, cdm_read_long(GLOBAL "free_hugepages"));
	EXPECT_EQ(2, cdm_read_long(GLOBAL "nr_hugepages"));
	EXPECT_TRUE(cdm_check_pattern(map, 2 * HPAGE, 5));

	/* The other way by the same call */
	ASSERT_EQ(0, migrate_pages(0, sizeof(self->mask) * 8,
				   &(unsigned long){ 1UL << self->ordinary }, &self->mask));
	EXPECT_EQ(self->node, cdm_page_node(map));
	EXPECT_EQ(self->node, cdm_page_node(map + HPAGE));
	EXPECT_TRUE(cdm_check_pattern(map, 2 * HPAGE, 5));
	ASSERT_EQ(0, munmap(map, 2 * HPAGE));
	EXPECT_EQ(2, cdm_pool(self->node, "free_hugepages"));
	EXPECT_EQ(2, cdm_read_long(GLOBAL "free_hugepages"));
	/* Program and stack came along */
	EXPECT_LE(0, migrate_pages(0, sizeof(self->mask) * 8, &self->mask,
				   &(unsigned long){ 1UL << self->ordinary }));
}

/* A buffer that is registered leaves the node, by pages that count as many. */
TEST_F(pool, is_left_by_pins)
{
	char *map = map_huge(2, MAP_NORESERVE);
	int ring = cdm_ring_make();
	long moved;

	if (ring < 0)
		SKIP(return, "no io_uring");
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_pool_resize(self->node, 2));
	ASSERT_EQ(0, cdm_bind(map, 2 * HPAGE, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(map, 2 * HPAGE, 6);
	ASSERT_EQ(self->node, cdm_page_node(map));
	ASSERT_EQ(self->node, cdm_page_node(map + HPAGE));
	moved = cdm_node_value(self->node, "vmstat", "cdm_pin_migrated");
	ASSERT_GE(moved, 0);

	ASSERT_EQ(0, cdm_ring_pin(ring, map, 2 * HPAGE));
	EXPECT_EQ(self->ordinary, cdm_page_node(map));
	EXPECT_EQ(self->ordinary, cdm_page_node(map + HPAGE));
	EXPECT_TRUE(cdm_check_pattern(map, 2 * HPAGE, 6));
	EXPECT_EQ(2 * (long)(HPAGE / 4096),
		  cdm_node_value(self->node, "vmstat", "cdm_pin_migrated") - moved);
	/* The pool keeps what is its own, the global one lends nothing. */
	EXPECT_EQ(2, cdm_pool(self->node, "nr_hugepages"));
	EXPECT_EQ(2, cdm_pool(self->node, "free_hugepages"));
	EXPECT_EQ(2, cdm_read_long(GLOBAL "surplus_hugepages"));
	ASSERT_EQ(0, cdm_ring_unpin(ring));
	close(ring);
	ASSERT_EQ(0, munmap(map, 2 * HPAGE));
}

/* Emptying the node takes the pool along; what was in it is intact. */
TEST_F_TIMEOUT(pool, is_emptied, 120)
{
	char *map = map_huge(2, MAP_NORESERVE), state[32];

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_pool_resize(self->node, 4));
	ASSERT_EQ(0, cdm_bind(map, 2 * HPAGE, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(map, 2 * HPAGE, 4);
	ASSERT_EQ(self->node, cdm_page_node(map));

	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "empty"));
	ASSERT_EQ(0, cdm_state(self->node, state, sizeof(state)));
	EXPECT_STREQ("empty", state);
	EXPECT_EQ(self->ordinary, cdm_page_node(map));
	EXPECT_EQ(self->ordinary, cdm_page_node(map + HPAGE));
	EXPECT_TRUE(cdm_check_pattern(map, 2 * HPAGE, 4));
	EXPECT_EQ(0, cdm_pool(self->node, "nr_hugepages"));
	EXPECT_EQ(-EBUSY, cdm_pool_resize(self->node, 4));
	/* They do not stay in the global pool. */
	ASSERT_EQ(0, munmap(map, 2 * HPAGE));
	EXPECT_EQ(0, cdm_read_long(GLOBAL "nr_hugepages"));
	EXPECT_EQ(0, cdm_read_long(GLOBAL "surplus_hugepages"));
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "online"));
	ASSERT_EQ(0, cdm_pool_resize(self->node, 1));
	EXPECT_EQ(1, cdm_pool(self->node, "nr_hugepages"));
}

TEST_HARNESS_MAIN
