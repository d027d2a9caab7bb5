// SPDX-License-Identifier: GPL-2.0-only
/*
 * A coherent node is emptied while it is in use: nobody gets in meanwhile, what
 * is there moves with its contents, what cannot move is named.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <numaif.h>

#include "cdm_fixture.h"

#define LEN	(4 * MB)
#define PAGES	((long)(LEN / 4096))
#define PINNED	3

FIXTURE(evacuate)
{
	int node, ordinary;
	unsigned long mask;
	int pipe[2];
	pid_t drainer;
};

FIXTURE_SETUP(evacuate)
{
	char state[32];

	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->mask = 1UL << self->node;
	ASSERT_EQ(0, cdm_state(self->node, state, sizeof(state)));
	ASSERT_STREQ("online", state);
	ASSERT_EQ(0, cdm_attr_write(self->node, "drain_timeout_ms", "20000"));
	ASSERT_EQ(0, pipe(self->pipe));
}

FIXTURE_TEARDOWN(evacuate)
{
	if (self->drainer > 0) {
		kill(self->drainer, SIGKILL);
		waitpid(self->drainer, NULL, 0);
	}
	cdm_attr_write(self->node, "state", "online");
	cdm_attr_write(self->node, "drain_timeout_ms", "60000");
}

static bool state_is(int node, const char *state)
{
	char text[32];

	return !cdm_state(node, text, sizeof(text)) && !strcmp(text, state);
}

static bool wait_for_state(int node, const char *state)
{
	int i;

	for (i = 0; i < 500; i++) {
		if (state_is(node, state))
			return true;
		usleep(10000);
	}
	return false;
}

/* The pages of the pipe's buffers cannot be moved */
static int pin(int fd, void *addr, int pages)
{
	struct iovec iov = { .iov_base = addr, .iov_len = pages * 4096 };

	return vmsplice(fd, &iov, 1, 0) == (ssize_t)iov.iov_len ? 0 : -errno;
}

static void unpin(int fd, int pages)
{
	char page[4096];

	while (pages--)
		if (read(fd, page, sizeof(page)) != sizeof(page))
			abort();
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* Empty the node in another process: its exit code is the error */
static pid_t drain_elsewhere(int node, unsigned int alarm_s)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	pid_t pid = fork();

	if (pid)
		return pid;
	sigaction(SIGALRM, &sa, NULL);
	alarm(alarm_s);
	_exit(-cdm_attr_write(node, "state", "empty"));
}

static int exit_code(pid_t *pid)
{
	int status;

	if (waitpid(*pid, &status, 0) != *pid)
		return -1;
	*pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int migrate_in(int node, int from)
{
	unsigned long old = 1UL << from, new = 1UL << node;
	long ret = migrate_pages(0, CDM_MAX_NODES + 1, &old, &new);

	return ret < 0 ? -errno : 0;
}

static int move_in(void *addr, int node)
{
	int status = -EIO;

	if (move_pages(0, 1, &addr, &node, &status, MPOL_MF_MOVE))
		return -errno;
	return status == node ? 0 : -EIO;
}

/* Every way in is open, or none */
static void check_gate(struct __test_metadata *_metadata, int node, int ordinary,
		       bool open)
{
	char *old = cdm_map(LEN), *new = cdm_map(4096), *plain = cdm_map(4096);
	char *none = cdm_map(4096);
	unsigned long mask = 1UL << node;
	int error = open ? 0 : -EBUSY;

	ASSERT_NE(NULL, old);
	ASSERT_NE(NULL, new);
	ASSERT_NE(NULL, plain);
	ASSERT_NE(NULL, none);
	*plain = 1;
	EXPECT_EQ(error, cdm_bind(new, 4096, MPOL_BIND, mask, 0));
	*new = 1;
	EXPECT_EQ(open ? node : ordinary, cdm_page_node(new));
	EXPECT_EQ(error, cdm_bind(new, 4096, MPOL_PREFERRED, mask, MPOL_MF_MOVE));
	EXPECT_EQ(error, cdm_task_policy(MPOL_INTERLEAVE, mask));
	EXPECT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	/* No page, no move */
	EXPECT_EQ(-EIO, move_in(none, node));
	EXPECT_EQ(error, move_in(plain, node));
	EXPECT_EQ(open ? node : ordinary, cdm_page_node(plain));
	EXPECT_EQ(error, migrate_in(node, ordinary));
	if (open)
		EXPECT_EQ(0, migrate_in(ordinary, node));
	munmap(old, LEN);
	munmap(new, 4096);
	munmap(plain, 4096);
	munmap(none, 4096);
}

TEST_F_TIMEOUT(evacuate, states, 120)
{
	char *map = cdm_map(LEN);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	check_gate(_metadata, self->node, self->ordinary, true);

	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "empty"));
	EXPECT_TRUE(state_is(self->node, "empty"));
	EXPECT_TRUE(cdm_node_in("has_coherent_memory", self->node));
	EXPECT_EQ(0, cdm_used_pages(self->node));
	check_gate(_metadata, self->node, self->ordinary, false);
	/* A policy from before is no reason to fail, or to be killed */
	cdm_write_pattern(map, LEN / 2, 5);
	EXPECT_EQ(PAGES / 2, (long)cdm_pages_on(map, LEN / 2, self->ordinary));
	EXPECT_EQ(0, cdm_used_pages(self->node));
	/* Again is fine */
	EXPECT_EQ(0, cdm_attr_write(self->node, "state", "empty"));

	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "online"));
	EXPECT_TRUE(state_is(self->node, "online"));
	check_gate(_metadata, self->node, self->ordinary, true);
	/* ... and it is followed again */
	cdm_write_pattern(map + LEN / 2, LEN / 2, 6);
	EXPECT_EQ(PAGES / 2, (long)cdm_pages_on(map + LEN / 2, LEN / 2, self->node));

	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "offline"));
	EXPECT_TRUE(state_is(self->node, "offline"));
	EXPECT_FALSE(cdm_node_in("has_coherent_memory", self->node));
	EXPECT_EQ(-ENODEV, cdm_attr_write(self->node, "state", "empty"));
	EXPECT_EQ(-EINVAL, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	EXPECT_TRUE(cdm_check_pattern(map, LEN / 2, 5));
	EXPECT_TRUE(cdm_check_pattern(map + LEN / 2, LEN / 2, 6));

	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "online"));
	EXPECT_TRUE(state_is(self->node, "online"));
	check_gate(_metadata, self->node, self->ordinary, true);
	EXPECT_EQ(-EINVAL, cdm_attr_write(self->node, "state", "draining"));
}

TEST_F_TIMEOUT(evacuate, every_kind_moves, 120)
{
	char *anon = cdm_map(LEN), *thp = cdm_map_thp(LEN), *locked = cdm_map(LEN);
	char *shm, *file = NULL;
	long moved;
	pid_t pid;
	int fd;

	ASSERT_NE(NULL, anon);
	ASSERT_NE(NULL, thp);
	ASSERT_NE(NULL, locked);
	ASSERT_EQ(0, cdm_bind(anon, LEN, MPOL_BIND, self->mask, 0));
	ASSERT_EQ(0, cdm_bind(thp, LEN, MPOL_BIND, self->mask, 0));
	ASSERT_EQ(0, cdm_bind(locked, LEN, MPOL_BIND, self->mask, 0));
	ASSERT_EQ(0, mlock(locked, LEN));

	fd = memfd_create("evacuate", 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, LEN));
	shm = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, shm);
	ASSERT_EQ(0, cdm_bind(shm, LEN, MPOL_BIND, self->mask, 0));

	cdm_write_pattern(anon, LEN, 1);
	cdm_write_pattern(thp, LEN, 2);
	cdm_write_pattern(locked, LEN, 3);
	cdm_write_pattern(shm, LEN, 4);
	fd = cdm_scratch_file(0);
	if (fd != -ENOENT) {
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, ftruncate(fd, LEN));
		file = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		ASSERT_NE(MAP_FAILED, file);
		cdm_write_pattern(file, LEN, 5);
		ASSERT_EQ(0, fsync(fd));
		ASSERT_EQ(0, cdm_bind(file, LEN, MPOL_BIND, self->mask, MPOL_MF_MOVE));
		EXPECT_LT(0, (long)cdm_pages_on(file, LEN, self->node));
	}
	EXPECT_EQ(PAGES, (long)cdm_pages_on(anon, LEN, self->node));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(thp, LEN, self->node));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(locked, LEN, self->node));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(shm, LEN, self->node));

	/* Pages of two processes, too */
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "empty"));
	EXPECT_EQ(0, cdm_used_pages(self->node));
	moved = cdm_attr_read(self->node, "drain_moved");
	EXPECT_LE(4 * PAGES, moved);
	EXPECT_EQ(0, cdm_attr_read(self->node, "drain_left"));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(anon, LEN, self->ordinary));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(thp, LEN, self->ordinary));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(locked, LEN, self->ordinary));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(shm, LEN, self->ordinary));
	EXPECT_TRUE(cdm_check_pattern(anon, LEN, 1));
	EXPECT_TRUE(cdm_check_pattern(thp, LEN, 2));
	EXPECT_TRUE(cdm_check_pattern(locked, LEN, 3));
	EXPECT_TRUE(cdm_check_pattern(shm, LEN, 4));
	if (file)
		EXPECT_TRUE(cdm_check_pattern(file, LEN, 5));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	TH_LOG("%ld pages in %ld us", moved, cdm_attr_read(self->node, "drain_us"));
}

/* The control of the above: what cannot move is found, named, and kept */
TEST_F_TIMEOUT(evacuate, pinned_pages_are_named, 120)
{
	char *map = cdm_map(LEN), text[4096], pid[32];

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(map, LEN, 7);
	ASSERT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->node));
	ASSERT_EQ(0, pin(self->pipe[1], map, PINNED));

	ASSERT_EQ(0, cdm_attr_write(self->node, "drain_timeout_ms", "500"));
	ASSERT_EQ(-ETIMEDOUT, cdm_attr_write(self->node, "state", "empty"));
	EXPECT_TRUE(state_is(self->node, "online"));
	EXPECT_EQ(-ETIMEDOUT, cdm_attr_read(self->node, "drain_error"));
	EXPECT_EQ(PINNED, cdm_attr_read(self->node, "drain_left"));
	EXPECT_EQ(PAGES - PINNED, cdm_attr_read(self->node, "drain_moved"));
	EXPECT_LE(500000, cdm_attr_read(self->node, "drain_us"));
	EXPECT_GT(5000000, cdm_attr_read(self->node, "drain_us"));

	ASSERT_LT(0, cdm_attr_text(self->node, "drain_left_owners", text, sizeof(text)));
	EXPECT_EQ(getpid(), atoi(text)) TH_LOG("%s", text);
	ASSERT_LT(0, cdm_attr_text(self->node, "drain_left_pages", text, sizeof(text)));
	snprintf(pid, sizeof(pid), " pid=%d ", getpid());
	EXPECT_NE(NULL, strstr(text, pid)) TH_LOG("%s", text);
	EXPECT_NE(NULL, strstr(text, " anon ")) TH_LOG("%s", text);

	EXPECT_EQ(PINNED, (long)cdm_pages_on(map, LEN, self->node));
	EXPECT_TRUE(cdm_check_pattern(map, LEN, 7));
	check_gate(_metadata, self->node, self->ordinary, true);

	unpin(self->pipe[0], PINNED);
	ASSERT_EQ(0, cdm_attr_write(self->node, "drain_timeout_ms", "20000"));
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "empty"));
	EXPECT_EQ(0, cdm_attr_read(self->node, "drain_left"));
	EXPECT_EQ(0, cdm_used_pages(self->node));
	EXPECT_TRUE(cdm_check_pattern(map, LEN, 7));
}

TEST_F_TIMEOUT(evacuate, closed_while_draining, 120)
{
	char *map = cdm_map(LEN);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(map, LEN / 2, 8);
	ASSERT_EQ(0, pin(self->pipe[1], map, 1));
	ASSERT_EQ(0, cdm_attr_write(self->node, "drain_timeout_ms", "0"));

	self->drainer = drain_elsewhere(self->node, 0);
	ASSERT_LT(0, self->drainer);
	ASSERT_TRUE(wait_for_state(self->node, "draining"));
	check_gate(_metadata, self->node, self->ordinary, false);
	cdm_write_pattern(map + LEN / 2, LEN / 2, 9);
	EXPECT_EQ(PAGES / 2, (long)cdm_pages_on(map + LEN / 2, LEN / 2, self->ordinary));
	EXPECT_EQ(-EBUSY, cdm_attr_write(self->node, "state", "empty"));
	EXPECT_EQ(-EBUSY, cdm_attr_write(self->node, "state", "offline"));

	/* The last obstacle goes away */
	unpin(self->pipe[0], 1);
	EXPECT_EQ(0, exit_code(&self->drainer));
	EXPECT_TRUE(state_is(self->node, "empty"));
	EXPECT_TRUE(cdm_check_pattern(map, LEN / 2, 8));
	EXPECT_TRUE(cdm_check_pattern(map + LEN / 2, LEN / 2, 9));
}

TEST_F_TIMEOUT(evacuate, cancelled, 120)
{
	char *map = cdm_map(LEN);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(map, LEN, 10);
	ASSERT_EQ(0, pin(self->pipe[1], map, 1));
	ASSERT_EQ(0, cdm_attr_write(self->node, "drain_timeout_ms", "0"));

	self->drainer = drain_elsewhere(self->node, 0);
	ASSERT_LT(0, self->drainer);
	ASSERT_TRUE(wait_for_state(self->node, "draining"));
	EXPECT_EQ(0, cdm_attr_write(self->node, "state", "online"));
	EXPECT_TRUE(state_is(self->node, "online"));
	EXPECT_EQ(ECANCELED, exit_code(&self->drainer));
	check_gate(_metadata, self->node, self->ordinary, true);

	/* By a signal */
	self->drainer = drain_elsewhere(self->node, 1);
	ASSERT_LT(0, self->drainer);
	ASSERT_TRUE(wait_for_state(self->node, "draining"));
	EXPECT_EQ(EINTR, exit_code(&self->drainer));
	EXPECT_TRUE(state_is(self->node, "online"));

	/* With nothing in the way neither of them comes true */
	unpin(self->pipe[0], 1);
	self->drainer = drain_elsewhere(self->node, 60);
	EXPECT_EQ(0, exit_code(&self->drainer));
	EXPECT_TRUE(cdm_check_pattern(map, LEN, 10));
}

TEST_HARNESS_MAIN
