// SPDX-License-Identifier: GPL-2.0-only
/*
 * The node is emptied and opened again, over and over, under processes that do
 * to memory there what processes do to memory.  Not a byte may change, nobody
 * may be killed, and each time the node has to get empty.
 *
 * $CDM_CYCLES: how often.  $CDM_FAULT=1 is the control: one worker spoils a
 * byte, which has to be noticed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <numaif.h>

#include "cdm_env.h"
#include "cdm_fixture.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define CYCLES		30
#define LEN		(512 * 1024UL)
#define PAGES		(LEN / 4096)
#define KEEP		(4 * MB)
#define DEADLINE_MS	"60000"

/* Shared by all processes */
struct shared {
	atomic_int stop;
	atomic_int broken;		/* number of the worker, from 1 */
	atomic_uint turns;		/* odd while the node is not open all the time */
	bool swap;			/* there is some */
	atomic_ulong swapped;		/* pages */
	char what[80];
	atomic_ulong rounds[16];
	atomic_ulong on_node[16];
};

struct worker {
	struct shared *shared;
	int index;
	int node, ordinary;
	unsigned long mask;
	unsigned int seed;
	unsigned long round;
};

static void broken(struct worker *w, const char *what)
{
	snprintf(w->shared->what, sizeof(w->shared->what), "%s in round %lu (%s)",
		 what, w->round, strerror(errno));
	w->shared->broken = w->index + 1;
	_exit(1);
}

static void check(struct worker *w, const void *addr, size_t len, unsigned long seed,
		  const char *what)
{
	if (!cdm_check_pattern(addr, len, seed))
		broken(w, what);
}

/* Memory that asks for the node; while that is closed, by an error or not at all */
static char *bound(struct worker *w, size_t len, bool thp)
{
	char *map = thp ? cdm_map_thp(len) : cdm_map(len);
	int ret;

	if (!map)
		broken(w, "mmap");
	ret = cdm_bind(map, len, MPOL_BIND, w->mask, 0);
	if (ret && ret != -EBUSY && ret != -EINVAL)
		broken(w, "mbind");
	return map;
}

static void count(struct worker *w, const void *addr, size_t len)
{
	w->shared->on_node[w->index] += cdm_pages_on(addr, len, w->node);
}

/* The child reads what the parent wrote, changes its copy, and so does the parent */
static void work_fork(struct worker *w)
{
	char *map = bound(w, LEN, false);
	int status;
	pid_t pid;

	cdm_write_pattern(map, LEN, w->round);
	count(w, map, LEN);
	pid = fork();
	if (!pid) {
		check(w, map, LEN, w->round, "child");
		cdm_write_pattern(map, LEN / 2, ~w->round);
		check(w, map, LEN / 2, ~w->round, "child's copy");
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		broken(w, "fork");
	check(w, map, LEN, w->round, "parent");
	munmap(map, LEN);
}

static void work_mremap(struct worker *w)
{
	char *map = bound(w, LEN, false), *new;

	cdm_write_pattern(map, LEN, w->round);
	count(w, map, LEN);
	new = mmap(NULL, 2 * LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (new == MAP_FAILED)
		broken(w, "mmap");
	map = mremap(map, LEN, 2 * LEN, MREMAP_MAYMOVE | MREMAP_FIXED, new);
	if (map == MAP_FAILED)
		broken(w, "mremap");
	check(w, map, LEN, w->round, "mremap");
	munmap(map + LEN / 2, LEN / 2);
	check(w, map, LEN / 2, w->round, "munmap");
	munmap(map, LEN / 2);
	munmap(map + LEN, LEN);
}

static void work_mlock(struct worker *w)
{
	char *map = bound(w, LEN, false);

	if (mlock(map, LEN))
		broken(w, "mlock");
	cdm_write_pattern(map, LEN, w->round);
	count(w, map, LEN);
	usleep(rand_r(&w->seed) % 3000);
	check(w, map, LEN, w->round, "mlock");
	munlock(map, LEN);
	check(w, map, LEN, w->round, "munlock");
	munmap(map, LEN);
}

/* Pages that are pinned for a while, as for I/O */
static void work_pin(struct worker *w)
{
	struct iovec iov = { .iov_len = 8 * 4096 };
	static char copy[8 * 4096];
	char *map = bound(w, LEN, false);
	size_t done = 0;
	ssize_t ret;
	int fd[2];

	if (pipe(fd))
		broken(w, "pipe");
	cdm_write_pattern(map, LEN, w->round);
	count(w, map, LEN);
	iov.iov_base = map;
	if (vmsplice(fd[1], &iov, 1, 0) != (ssize_t)iov.iov_len)
		broken(w, "vmsplice");
	usleep(rand_r(&w->seed) % 5000);
	while (done < sizeof(copy)) {
		ret = read(fd[0], copy + done, sizeof(copy) - done);
		if (ret <= 0)
			broken(w, "read");
		done += ret;
	}
	check(w, copy, sizeof(copy), w->round, "what was read of pinned pages");
	check(w, map, LEN, w->round, "pinned");
	close(fd[0]);
	close(fd[1]);
	munmap(map, LEN);
}

/* Read and written by a disk, or what stands for one, without the page cache */
static void work_direct_io(struct worker *w)
{
	static int fd = -1;
	char *map;

	if (fd < 0) {
		fd = cdm_scratch_file(O_DIRECT);
		/* Without a disk: a worker that has an easy life */
		if (fd == -ENOENT)
			return work_fork(w);
		if (fd < 0)
			broken(w, "open");
	}
	map = bound(w, LEN, false);
	cdm_write_pattern(map, LEN, w->round);
	count(w, map, LEN);
	if (pwrite(fd, map, LEN, 0) != (ssize_t)LEN)
		broken(w, "direct write");
	check(w, map, LEN, w->round, "written");
	madvise(map, LEN, MADV_DONTNEED);
	/* The pages are faulted in for the disk */
	if (pread(fd, map, LEN, 0) != (ssize_t)LEN)
		broken(w, "direct read");
	check(w, map, LEN, w->round, "read back");
	munmap(map, LEN);
}

static void move_to(struct worker *w, char *map, int node)
{
	static void *pages[PAGES];
	static int nodes[PAGES], status[PAGES];
	unsigned int turns = w->shared->turns;
	size_t i;

	for (i = 0; i < PAGES; i++) {
		pages[i] = map + i * 4096;
		nodes[i] = node;
	}
	if (move_pages(0, PAGES, pages, nodes, status, MPOL_MF_MOVE) >= 0)
		return;
	/* cpusets learn of nodes that come and go a bit later: EACCES */
	if (errno == EBUSY || errno == ENODEV || errno == EACCES)
		return;
	/* Closed in the middle, and open again when the kernel looked why there was no memory */
	if (errno == ENOMEM && node == w->node && (turns % 2 || turns != w->shared->turns))
		return;
	broken(w, node == w->node ? "move_pages to the node" : "move_pages from the node");
}

static void work_move(struct worker *w)
{
	char *map = cdm_map(LEN);
	int way;

	cdm_write_pattern(map, LEN, w->round);
	for (way = 0; way < 2; way++) {
		move_to(w, map, way ? w->ordinary : w->node);
		if (!way)
			count(w, map, LEN);
		check(w, map, LEN, w->round, "moved");
	}
	munmap(map, LEN);
}

static void work_shmem(struct worker *w)
{
	int fd = memfd_create("stress", 0);
	char *one, *two;
	int ret;

	if (fd < 0 || ftruncate(fd, LEN))
		broken(w, "memfd");
	one = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	two = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (one == MAP_FAILED || two == MAP_FAILED)
		broken(w, "mmap of a memfd");
	ret = cdm_bind(one, LEN, MPOL_BIND, w->mask, 0);
	if (ret && ret != -EBUSY && ret != -EINVAL)
		broken(w, "mbind of a memfd");
	cdm_write_pattern(one, LEN, w->round);
	count(w, one, LEN);
	check(w, two, LEN, w->round, "shmem");
	munmap(one, LEN);
	check(w, two, LEN, w->round, "shmem");
	munmap(two, LEN);
	close(fd);
}

static void work_thp(struct worker *w)
{
	char *map = bound(w, 2 * MB, true);

	cdm_write_pattern(map, 2 * MB, w->round);
	count(w, map, 2 * MB);
	if (w->round & 1)	/* split */
		munmap(map + MB, 4096);
	check(w, map, MB, w->round, "thp");
	munmap(map, 2 * MB);
}

/* A page of the node's pool, which is gone whenever the node has been emptied */
static void work_hugetlb(struct worker *w)
{
	char *map = mmap(NULL, 2 * MB, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
	int ret;

	/* Without hugetlb: a worker that has an easy life */
	if (map == MAP_FAILED)
		return work_thp(w);
	cdm_pool_resize(w->node, 2);
	ret = cdm_bind(map, 2 * MB, MPOL_BIND, w->mask, 0);
	if (ret && ret != -EBUSY && ret != -EINVAL)
		broken(w, "mbind of hugetlb");
	/* No page, no signal */
	if (!ret && !madvise(map, 2 * MB, MADV_POPULATE_WRITE)) {
		cdm_write_pattern(map, 2 * MB, w->round);
		count(w, map, 2 * MB);
		usleep(rand_r(&w->seed) % 5000);
		check(w, map, 2 * MB, w->round, "hugetlb");
	}
	munmap(map, 2 * MB);
}

/* Pages that are in the swap area, and in the swap cache, while the node is emptied */
static void work_swap(struct worker *w)
{
	char *map = bound(w, LEN, false);

	cdm_write_pattern(map, LEN, w->round);
	count(w, map, LEN);
	if (w->shared->swap) {
		madvise(map, LEN, MADV_PAGEOUT);
		usleep(rand_r(&w->seed) % 3000);
		w->shared->swapped += LEN / 4096 - cdm_pages_on(map, LEN, w->node) -
			cdm_pages_on(map, LEN, w->ordinary);
		/* Half of it comes back to be written to */
		cdm_write_pattern(map, LEN / 2, w->round);
	}
	check(w, map, LEN, w->round, "swapped");
	munmap(map, LEN);
}

/* Page cache that was moved to the node by those who map it, clean and dirty */
static void work_file(struct worker *w)
{
	static int fd = -1;
	char *map;

	if (fd < 0) {
		fd = cdm_scratch_file(0);
		if (fd == -ENOENT)
			return work_shmem(w);
		if (fd < 0 || ftruncate(fd, LEN))
			broken(w, "open");
	}
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		broken(w, "mmap of a file");
	cdm_write_pattern(map, LEN, w->round);
	move_to(w, map, w->node);
	count(w, map, LEN);
	check(w, map, LEN, w->round, "file");
	if (w->round & 1 && msync(map, LEN, MS_SYNC))
		broken(w, "msync");
	cdm_write_pattern(map, LEN / 2, ~w->round);
	munmap(map, LEN);
	/* Of the disk, or of what is still dirty */
	if (w->round & 2)
		posix_fadvise(fd, 0, LEN, POSIX_FADV_DONTNEED);
	map = mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		broken(w, "mmap of a file");
	check(w, map, LEN / 2, ~w->round, "file again");
	munmap(map, LEN);
}

/* A buffer of io_uring: pinned for long, which the memory of the device is not */
static void work_ring(struct worker *w)
{
	char *map = bound(w, LEN, false);
	int ring = cdm_ring_make();

	cdm_write_pattern(map, LEN, w->round);
	count(w, map, LEN);
	if (ring < 0) {
		munmap(map, LEN);
		return work_pin(w);
	}
	if (cdm_ring_pin(ring, map, LEN))
		broken(w, "registering a buffer");
	if (cdm_pages_on(map, LEN, w->node))
		broken(w, "a registered buffer on the node");
	usleep(rand_r(&w->seed) % 5000);
	check(w, map, LEN, w->round, "registered");
	close(ring);
	munmap(map, LEN);
}

/* Memory that stays, and is written to all the time */
static void work_keep(struct worker *w)
{
	static unsigned long *counters;
	static unsigned long expected;
	size_t i;

	if (!counters)
		counters = (unsigned long *)bound(w, KEEP, false);
	for (i = 0; i < KEEP / 4096; i++) {
		if (counters[i * 512] != expected || counters[i * 512 + 511] != expected)
			broken(w, "counters");
		counters[i * 512]++;
		counters[i * 512 + 511]++;
	}
	/* It has been moved away, so ask for it to come back */
	if (expected++ % 2 == 0)
		cdm_bind(counters, KEEP, MPOL_BIND, w->mask, MPOL_MF_MOVE);
	count(w, counters, KEEP);
	if (getenv("CDM_FAULT") && expected == 20)
		counters[0]++;
}

static void (*const works[])(struct worker *) = {
	work_fork, work_mremap, work_mlock, work_pin, work_move, work_shmem, work_thp, work_keep,
	work_direct_io, work_hugetlb, work_swap, work_file, work_ring,
};

#define WORKERS	((int)ARRAY_SIZE(works))

static void worker_main(struct worker *w)
{
	while (!w->shared->stop) {
		works[w->index](w);
		w->round++;
		w->shared->rounds[w->index]++;
	}
	_exit(0);
}

FIXTURE(stress)
{
	int node, ordinary;
	struct shared *shared;
	pid_t pids[WORKERS];
};

FIXTURE_SETUP(stress)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->shared = mmap(NULL, sizeof(*self->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
	/* Without a disk: a worker that has an easy life */
	self->shared->swap = !cdm_swap_on(64 * MB);
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "online"));
	ASSERT_EQ(0, cdm_attr_write(self->node, "drain_timeout_ms", DEADLINE_MS));
}

FIXTURE_TEARDOWN(stress)
{
	int i;

	for (i = 0; i < WORKERS; i++)
		if (self->pids[i] > 0) {
			kill(self->pids[i], SIGKILL);
			waitpid(self->pids[i], NULL, 0);
		}
	cdm_attr_write(self->node, "state", "online");
	cdm_swap_off();
}

TEST_F_TIMEOUT(stress, cycles, 7200)
{
	int cycles = getenv("CDM_CYCLES") ? atoi(getenv("CDM_CYCLES")) : CYCLES;
	unsigned long moved = 0, us = 0, rounds, used;
	int i, cycle, status, offlines = 0;
	char text[4096];

	for (i = 0; i < WORKERS; i++) {
		struct worker w = {
			.shared = self->shared, .index = i, .node = self->node,
			.ordinary = self->ordinary, .mask = 1UL << self->node, .seed = i,
		};

		self->pids[i] = fork();
		if (!self->pids[i])
			worker_main(&w);
		ASSERT_LT(0, self->pids[i]);
	}

	for (cycle = 0; cycle < cycles && !self->shared->broken; cycle++) {
		bool offline = cycle % 8 == 7;
		int ret;

		/* Let them settle on the node, sometimes hardly */
		usleep(cycle % 3 ? 100000 : 1000);
		self->shared->turns++;
		ret = cdm_attr_write(self->node, "state", offline ? "offline" : "empty");
		if (ret)
			cdm_attr_text(self->node, "drain_left_pages", text, sizeof(text));
		ASSERT_EQ(0, ret) TH_LOG("cycle %d, left: %s", cycle, text);
		moved += cdm_attr_read(self->node, "drain_moved");
		us += cdm_attr_read(self->node, "drain_us");
		offlines += offline;
		if (!offline)
			EXPECT_EQ(0, cdm_used_pages(self->node)) TH_LOG("cycle %d", cycle);
		/* Now and then stay empty for a while */
		if (cycle % 4 == 0) {
			usleep(50000);
			EXPECT_EQ(0, cdm_used_pages(self->node)) TH_LOG("cycle %d", cycle);
		}
		ASSERT_EQ(0, cdm_attr_write(self->node, "state", "online"))
			TH_LOG("cycle %d", cycle);
		self->shared->turns++;
	}

	/* Whoever still works has to end by itself */
	self->shared->stop = 1;
	for (i = 0, rounds = 0, used = 0; i < WORKERS; i++) {
		ASSERT_EQ(self->pids[i], waitpid(self->pids[i], &status, 0));
		self->pids[i] = 0;
		EXPECT_EQ(0, status) TH_LOG("worker %d", i);
		EXPECT_LT(0, self->shared->rounds[i]) TH_LOG("worker %d", i);
		EXPECT_LT(0, self->shared->on_node[i]) TH_LOG("worker %d never got there", i);
		rounds += self->shared->rounds[i];
		used += self->shared->on_node[i];
	}
	EXPECT_EQ(0, self->shared->broken) TH_LOG("worker %d: %s", self->shared->broken - 1,
						  self->shared->what);
	EXPECT_LT(0, moved);
	if (self->shared->swap)
		EXPECT_LT(0, self->shared->swapped) TH_LOG("nothing was swapped out");
	TH_LOG("%d cycles (%d offline), %lu pages moved in %lu ms, %lu rounds, %lu pages seen",
	       cycle, offlines, moved, us / 1000, rounds, used);

	/* Nothing is left behind */
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "empty"));
	EXPECT_EQ(0, cdm_used_pages(self->node));
}

TEST_HARNESS_MAIN
