// SPDX-License-Identifier: GPL-2.0-only
/*
 * memory.coherent: what a memory cgroup has of coherent device memory is
 * counted whoever put it there, and the limit stops policies and moves alike.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <numaif.h>

#include "cdm_env.h"
#include "cdm_fixture.h"

#define LEN	(16 * MB)
#define PAGES	((long)(LEN / 4096))
#define LIMIT	(4 * MB)
#define LIMIT_PAGES	((long)(LIMIT / 4096))
#define SUB	CDM_GROUP "/sub"

enum { OK, NO_POLICY, WRONG_DATA, TOO_FEW, TOO_MANY, NOT_COUNTED, NOT_MOVED, NO_ERROR };
#define CODES	"1 no policy, 2 wrong data, 3 too few pages there, 4 too many, " \
		"5 wrong count, 6 not moved, 7 no error, 137 killed"

FIXTURE(limit)
{
	int node, ordinary;
	unsigned long mask;
	long used;
};

FIXTURE_SETUP(limit)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->mask = 1UL << self->node;
	cdm_drain();
	self->used = cdm_used_pages(self->node);
	if (cdm_group_make("+memory") || access(CDM_GROUP "/memory.max", W_OK))
		SKIP(return, "no memory cgroups");
	ASSERT_EQ(0, access(CDM_GROUP "/memory.coherent.max", W_OK));
}

FIXTURE_TEARDOWN(limit)
{
	rmdir(SUB);
	cdm_group_remove();
	cdm_swap_off();
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
}

static int set_limit(const char *group, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/memory.coherent.max", group);
	return cdm_write_string(path, value);
}

/* Bytes, when they are @want or after two seconds: what is freed is batched. */
static long current_is(const char *group, long want)
{
	char path[128];
	long bytes = -1;
	int i;

	snprintf(path, sizeof(path), "%s/memory.coherent.current", group);
	for (i = 0; i < 20; i++) {
		bytes = cdm_read_long(path);
		if (bytes == want)
			break;
		cdm_drain();
		usleep(100000);
	}
	return bytes;
}

static long pages_there(const char *map, unsigned long mask)
{
	return cdm_pages_on(map, LEN, __builtin_ctzl(mask));
}

static int bind_all(unsigned long mask)
{
	char *map = cdm_map(LEN);

	if (!map || cdm_bind(map, LEN, MPOL_BIND, mask, 0))
		return NO_POLICY;
	cdm_write_pattern(map, LEN, 1);
	if (pages_there(map, mask) != PAGES)
		return TOO_FEW;
	if (current_is(CDM_GROUP, LEN) != (long)LEN)
		return NOT_COUNTED;
	return cdm_check_pattern(map, LEN, 1) ? OK : WRONG_DATA;
}

static int bind_huge(unsigned long mask)
{
	char *map = cdm_map_thp(LEN);

	if (!map || cdm_bind(map, LEN, MPOL_BIND, mask, 0))
		return NO_POLICY;
	cdm_write_pattern(map, LEN, 2);
	if (current_is(CDM_GROUP, LEN) != (long)LEN)
		return NOT_COUNTED;
	/* Half of each is freed, so they are split sooner or later. */
	for (size_t i = 0; i < LEN; i += 2 * MB)
		munmap(map + i, MB);
	if (current_is(CDM_GROUP, LEN) > (long)LEN)
		return NOT_COUNTED;
	munmap(map, LEN);
	return current_is(CDM_GROUP, 0) ? NOT_COUNTED : OK;
}

/* Without a limit everything is counted, with and without huge pages. */
TEST_F(limit, control)
{
	EXPECT_EQ(0, cdm_group_run(bind_all, self->mask)) TH_LOG(CODES);
	EXPECT_EQ(0, current_is(CDM_GROUP, 0));
	EXPECT_EQ(0, cdm_group_run(bind_huge, self->mask)) TH_LOG(CODES);
	EXPECT_EQ(0, current_is(CDM_GROUP, 0));
	EXPECT_EQ(0, cdm_group_value(CDM_GROUP, "memory.coherent.events", "max"));
	EXPECT_EQ(0, cdm_group_value(CDM_GROUP, "memory.coherent.events", "oom"));
}

/* Who asks for more is killed, and not another one of the group. */
TEST_F_TIMEOUT(limit, bind_is_killed, 120)
{
	pid_t tempting;
	int status;

	ASSERT_EQ(0, set_limit(CDM_GROUP, "4M"));
	tempting = fork();
	ASSERT_GE(tempting, 0);
	if (!tempting) {
		char *map = cdm_map(32 * MB);

		if (cdm_write_string(CDM_GROUP "/cgroup.procs", "0") ||
		    cdm_write_string("/proc/self/oom_score_adj", "1000"))
			_exit(1);
		cdm_write_pattern(map, 32 * MB, 3);
		pause();
		_exit(0);
	}
	EXPECT_EQ(128 + SIGKILL, cdm_group_run(bind_all, self->mask)) TH_LOG(CODES);
	EXPECT_EQ(0, waitpid(tempting, &status, WNOHANG)) TH_LOG("an innocent was killed");
	kill(tempting, SIGKILL);
	waitpid(tempting, &status, 0);
	EXPECT_GT(cdm_group_value(CDM_GROUP, "memory.coherent.events", "max"), 0);
	EXPECT_EQ(1, cdm_group_value(CDM_GROUP, "memory.coherent.events", "oom"));
	EXPECT_EQ(0, current_is(CDM_GROUP, 0));
}

static int bind_swapping(unsigned long mask)
{
	char *map = cdm_map(LEN);

	if (!map || cdm_bind(map, LEN, MPOL_BIND, mask, 0))
		return NO_POLICY;
	cdm_write_pattern(map, LEN, 4);
	if (pages_there(map, mask) > LIMIT_PAGES)
		return TOO_MANY;
	return cdm_check_pattern(map, LEN, 4) ? OK : WRONG_DATA;
}

/* With swap it is reclaimed, and comes back where it was. */
TEST_F_TIMEOUT(limit, bind_swaps, 120)
{
	if (cdm_swap_on(64 * MB))
		SKIP(return, "no swap to be had");
	ASSERT_EQ(0, set_limit(CDM_GROUP, "4M"));
	EXPECT_EQ(0, cdm_group_run(bind_swapping, self->mask)) TH_LOG(CODES);
	EXPECT_GT(cdm_group_value(CDM_GROUP, "memory.coherent.events", "max"), 0);
	EXPECT_EQ(0, cdm_group_value(CDM_GROUP, "memory.coherent.events", "oom"));
	EXPECT_EQ(0, current_is(CDM_GROUP, 0));
}

static int overflow(unsigned long mask, int mode)
{
	char *map = cdm_map(LEN);
	long there;

	if (!map || cdm_bind(map, LEN, mode, mask, 0))
		return NO_POLICY;
	cdm_write_pattern(map, LEN, 5);
	there = pages_there(map, mask);
	if (there > LIMIT_PAGES)
		return TOO_MANY;
	if (there < LIMIT_PAGES * 3 / 4)
		return TOO_FEW;
	return cdm_check_pattern(map, LEN, 5) ? OK : WRONG_DATA;
}

static int preferred(unsigned long mask)
{
	return overflow(mask, MPOL_PREFERRED);
}

static int interleaved(unsigned long mask)
{
	return overflow(mask, MPOL_INTERLEAVE);
}

/* A preference takes what it gets, and ordinary memory for the rest. */
TEST_F_TIMEOUT(limit, preference_overflows, 120)
{
	ASSERT_EQ(0, set_limit(CDM_GROUP, "4M"));
	EXPECT_EQ(0, cdm_group_run(preferred, self->mask)) TH_LOG(CODES);
	EXPECT_EQ(0, cdm_group_run(interleaved, self->mask)) TH_LOG(CODES);
	EXPECT_EQ(0, cdm_group_value(CDM_GROUP, "memory.coherent.events", "oom"));
	EXPECT_EQ(0, current_is(CDM_GROUP, 0));
}

static int move(unsigned long mask)
{
	const int node = __builtin_ctzl(mask);
	static int nodes[PAGES], status[PAGES];
	static void *pages[PAGES];
	char *map = cdm_map(LEN);
	unsigned long from = 1UL << cdm_ordinary_node();
	long ret, i;

	cdm_write_pattern(map, LEN, 6);
	for (i = 0; i < PAGES; i++) {
		pages[i] = map + i * 4096;
		nodes[i] = node;
	}
	ret = move_pages(0, PAGES, pages, nodes, status, MPOL_MF_MOVE);
	if (!ret)
		return NO_ERROR;
	if (pages_there(map, mask) > LIMIT_PAGES)
		return TOO_MANY;
	if (pages_there(map, mask) < LIMIT_PAGES / 2)
		return NOT_MOVED;
	if (migrate_pages(0, CDM_MAX_NODES + 1, &from, &mask) == 0)
		return NO_ERROR;
	if (cdm_bind(map, LEN, MPOL_BIND, mask, MPOL_MF_MOVE | MPOL_MF_STRICT) != -EIO)
		return NO_ERROR;
	if (pages_there(map, mask) > LIMIT_PAGES)
		return TOO_MANY;
	/* And back, which nothing is in the way of. */
	if (cdm_bind(map, LEN, MPOL_BIND, from, MPOL_MF_MOVE | MPOL_MF_STRICT) ||
	    pages_there(map, mask))
		return NOT_MOVED;
	/* Program and libraries are not the group's, so they have been moved. */
	migrate_pages(0, CDM_MAX_NODES + 1, &mask, &from);
	if (current_is(CDM_GROUP, 0))
		return NOT_COUNTED;
	return cdm_check_pattern(map, LEN, 6) ? OK : WRONG_DATA;
}

static int move_freely(unsigned long mask)
{
	char *map = cdm_map(LEN);

	cdm_write_pattern(map, LEN, 7);
	if (cdm_bind(map, LEN, MPOL_BIND, mask, MPOL_MF_MOVE | MPOL_MF_STRICT))
		return NOT_MOVED;
	return current_is(CDM_GROUP, LEN) == (long)LEN ? OK : NOT_COUNTED;
}

TEST_F_TIMEOUT(limit, moves, 120)
{
	EXPECT_EQ(0, cdm_group_run(move_freely, self->mask)) TH_LOG(CODES);
	ASSERT_EQ(0, set_limit(CDM_GROUP, "4M"));
	EXPECT_EQ(0, cdm_group_run(move, self->mask)) TH_LOG(CODES);
	EXPECT_EQ(0, cdm_group_value(CDM_GROUP, "memory.coherent.events", "oom"));
	EXPECT_EQ(0, current_is(CDM_GROUP, 0));
}

/* The limit of a group holds for those below it. */
TEST_F_TIMEOUT(limit, hierarchy, 120)
{
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/cgroup.subtree_control", "+memory"));
	ASSERT_EQ(0, mkdir(SUB, 0755));
	ASSERT_EQ(0, set_limit(CDM_GROUP, "4M"));
	EXPECT_EQ(0, cdm_group_run_in(SUB, preferred, self->mask)) TH_LOG(CODES);
	EXPECT_EQ(128 + SIGKILL, cdm_group_run_in(SUB, bind_all, self->mask)) TH_LOG(CODES);
	EXPECT_GT(cdm_group_value(CDM_GROUP, "memory.coherent.events", "max"), 0);
	EXPECT_EQ(0, cdm_group_value(SUB, "memory.coherent.events", "max"));
	/* Its own limit is below that. */
	ASSERT_EQ(0, set_limit(CDM_GROUP, "max"));
	ASSERT_EQ(0, set_limit(SUB, "4M"));
	EXPECT_EQ(0, cdm_group_run_in(SUB, preferred, self->mask)) TH_LOG(CODES);
	EXPECT_GT(cdm_group_value(SUB, "memory.coherent.events", "max"), 0);
	EXPECT_EQ(0, current_is(SUB, 0));
	EXPECT_EQ(0, current_is(CDM_GROUP, 0));
}

static int shared_fd;

static int write_shared(unsigned long mask)
{
	char *map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);

	if (map == MAP_FAILED || cdm_bind(map, LEN, MPOL_BIND, mask, 0))
		return NO_POLICY;
	cdm_write_pattern(map, LEN, 8);
	return current_is(SUB, LEN) == (long)LEN ? OK : NOT_COUNTED;
}

/* What a group leaves behind is its parent's. */
TEST_F(limit, group_is_removed)
{
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/cgroup.subtree_control", "+memory"));
	ASSERT_EQ(0, mkdir(SUB, 0755));
	shared_fd = memfd_create("cdm", 0);
	ASSERT_GE(shared_fd, 0);
	ASSERT_EQ(0, ftruncate(shared_fd, LEN));
	EXPECT_EQ(0, cdm_group_run_in(SUB, write_shared, self->mask)) TH_LOG(CODES);
	EXPECT_EQ((long)LEN, current_is(CDM_GROUP, LEN));
	ASSERT_EQ(0, rmdir(SUB));
	EXPECT_EQ((long)LEN, current_is(CDM_GROUP, LEN));
	/* Moved away by somebody who is in none of them. */
	close(shared_fd);
	EXPECT_EQ(0, current_is(CDM_GROUP, 0));
}

static int shrink(unsigned long mask)
{
	char *map = cdm_map(LEN);

	if (!map || cdm_bind(map, LEN, MPOL_BIND, mask, 0))
		return NO_POLICY;
	cdm_write_pattern(map, LEN, 9);
	if (set_limit(CDM_GROUP, "4M"))
		return NO_ERROR;
	if (cdm_read_long(CDM_GROUP "/memory.coherent.current") > (long)LIMIT)
		return TOO_MANY;
	return cdm_check_pattern(map, LEN, 9) ? OK : WRONG_DATA;
}

/* A lower limit takes back what is above it. */
TEST_F_TIMEOUT(limit, is_lowered, 120)
{
	if (cdm_swap_on(64 * MB))
		SKIP(return, "no swap to be had");
	EXPECT_EQ(0, cdm_group_run(shrink, self->mask)) TH_LOG(CODES);
	EXPECT_EQ(0, current_is(CDM_GROUP, 0));
}

TEST_HARNESS_MAIN
