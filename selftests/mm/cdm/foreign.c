// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that one task brings in for another, or for a file: by ptrace, swapoff,
 * exec, and hints.  The policy of the range says where, a task policy is
 * for the memory of the task alone, and takes nothing of this to the device.
 *
 * The control (CDM_CONTROL=1, the same memory being an ordinary node) has to
 * see the task policy of whoever brings the pages in take them to the node.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <numaif.h>

#include "cdm_env.h"
#include "cdm_fixture.h"

#define LEN	(1 * MB)
#define PAGES	((long)(LEN / 4096))
#define ARGS	8
#define ARG_LEN	(96 * 1024UL)

FIXTURE(foreign)
{
	int node, ordinary;
	bool control;
	unsigned long mask;
	pid_t child;
	int to[2], from[2];
};

FIXTURE_SETUP(foreign)
{
	self->control = cdm_control();
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->mask = 1UL << self->node;
	ASSERT_EQ(0, pipe2(self->to, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(self->from, O_CLOEXEC));
}

FIXTURE_TEARDOWN(foreign)
{
	cdm_task_policy(MPOL_DEFAULT, 0);
	if (self->child > 0) {
		kill(self->child, SIGKILL);
		waitpid(self->child, NULL, 0);
	}
	cdm_group_remove();
	cdm_swap_off();
}

static bool swap_ready(void)
{
	return !cdm_group_make("+memory") && !access(CDM_GROUP "/memory.reclaim", W_OK) &&
		!cdm_write_string(CDM_GROUP "/cgroup.procs", "0") && !cdm_swap_on(32 * MB);
}

/* What @bring does under a task policy that has the node. */
#define UNDER_POLICY(bring) do {					\
	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, self->mask));		\
	bring;								\
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));			\
} while (0)

/* Pages that a task policy must not take to the node, and did in the control. */
#define EXPECT_OFF_NODE(pages)						\
	EXPECT_EQ(self->control ? PAGES : 0, (long)(pages))

/* The child's side of a conversation: tells that it is ready, and waits. */
static void ready_and_wait(const struct _test_data_foreign *self)
{
	char byte;

	if (write(self->from[1], "r", 1) != 1 || read(self->to[0], &byte, 1) != 1)
		_exit(2);
}

static bool is_ready(const struct _test_data_foreign *self)
{
	char byte;

	return read(self->from[0], &byte, 1) == 1;
}

static void go_on(struct __test_metadata *_metadata, struct _test_data_foreign *self)
{
	int status;

	ASSERT_EQ(1, write(self->to[1], "g", 1));
	ASSERT_EQ(self->child, waitpid(self->child, &status, 0));
	self->child = 0;
	EXPECT_EQ(0, status) TH_LOG("the child found other data");
}

/* Both ways to write to another process, half of the range each. */
static long write_to(pid_t pid, char *map, const char *data)
{
	struct iovec local = { (void *)data, LEN / 2 }, remote = { map, LEN / 2 };
	char path[64];
	long done;
	int fd;

	done = process_vm_writev(pid, &local, 1, &remote, 1, 0);
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return -errno;
	done += pwrite(fd, data + LEN / 2, LEN / 2, (off_t)(unsigned long)map + LEN / 2);
	close(fd);
	return done;
}

/* A child with memory that nobody has touched, in which it finds what is written */
static void child_with(struct __test_metadata *_metadata, struct _test_data_foreign *self,
		       char *map, bool bound)
{
	self->child = fork();
	ASSERT_LE(0, self->child);
	if (!self->child) {
		if (bound && cdm_task_policy(MPOL_BIND, self->mask))
			_exit(3);
		ready_and_wait(self);
		_exit(!cdm_check_pattern(map, LEN, 141));
	}
	ASSERT_TRUE(is_ready(self));
}

TEST_F_TIMEOUT(foreign, ptrace, 120)
{
	char *map = cdm_map(LEN), *data = cdm_map(LEN);
	long done;

	ASSERT_NE(NULL, map);
	ASSERT_NE(NULL, data);
	cdm_write_pattern(data, LEN, 141);

	/* The writer is bound, the memory is not its own */
	child_with(_metadata, self, map, false);
	UNDER_POLICY(done = write_to(self->child, map, data));
	EXPECT_EQ((long)LEN, done);
	EXPECT_OFF_NODE(cdm_pages_of(self->child, map, LEN, self->node));
	go_on(_metadata, self);

	/* The owner is bound, but it is not the owner who is here */
	child_with(_metadata, self, map, true);
	EXPECT_EQ((long)LEN, write_to(self->child, map, data));
	EXPECT_EQ(PAGES, (long)cdm_pages_of(self->child, map, LEN, self->ordinary));
	go_on(_metadata, self);

	/* The range is bound, whoever writes */
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	child_with(_metadata, self, map, false);
	EXPECT_EQ((long)LEN, write_to(self->child, map, data));
	EXPECT_EQ(PAGES, (long)cdm_pages_of(self->child, map, LEN, self->node));
	go_on(_metadata, self);
}

static void child_swapped_out(struct __test_metadata *_metadata,
			      struct _test_data_foreign *self, char *map, bool bound)
{
	self->child = fork();
	ASSERT_LE(0, self->child);
	if (!self->child) {
		if (bound && cdm_task_policy(MPOL_BIND, self->mask))
			_exit(3);
		cdm_write_pattern(map, LEN, 142);
		if (cdm_pages_on(map, LEN, bound ? self->node : self->ordinary) != (size_t)PAGES)
			_exit(4);
		if (!cdm_swap_out(map, LEN))
			_exit(5);
		ready_and_wait(self);
		_exit(!cdm_check_pattern(map, LEN, 142));
	}
	ASSERT_TRUE(is_ready(self));
}

TEST_F_TIMEOUT(foreign, swapoff, 120)
{
	char *map = cdm_map(LEN);

	ASSERT_NE(NULL, map);
	if (!swap_ready())
		SKIP(return, "no memory cgroups, or no swap to be had");
	child_swapped_out(_metadata, self, map, false);
	UNDER_POLICY(cdm_swap_off());
	EXPECT_LE(PAGES - CDM_SWAP_CACHED,
		  (long)cdm_pages_of(self->child, map, LEN,
				     self->control ? self->node : self->ordinary));
	if (!self->control)
		EXPECT_EQ(0, (long)cdm_pages_of(self->child, map, LEN, self->node));
	go_on(_metadata, self);

	ASSERT_EQ(0, cdm_swap_on(32 * MB));
	child_swapped_out(_metadata, self, map, true);
	cdm_swap_off();
	EXPECT_LE(PAGES - CDM_SWAP_CACHED,
		  (long)cdm_pages_of(self->child, map, LEN, self->ordinary));
	go_on(_metadata, self);
}

/* Where the arguments of a program are: fields 48 and 49 of /proc/PID/stat, read at once */
static size_t args_of(pid_t pid, unsigned long *start)
{
	char path[64], text[1024] = "", *p;
	unsigned long end = 0;
	int field;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (!fgets(text, sizeof(text), f))
		text[0] = 0;
	fclose(f);
	/* The name in parentheses is number 2 */
	p = strrchr(text, ')');
	for (field = 2; p && field < 48; field++)
		p = strchr(p + 1, ' ');
	return p && sscanf(p, "%lu %lu", start, &end) == 2 && end > *start ? end - *start : 0;
}

/* Arguments are written to the stack of a program that does not run yet. */
TEST_F_TIMEOUT(foreign, exec, 120)
{
	char path[256], node[16], *argv[3 + ARGS + 1] = { "cdm_hold", node, "2" };
	unsigned long start = 0, end;
	size_t size = 0, nr;
	ssize_t len;
	int i;

	len = readlink("/proc/self/exe", path, sizeof(path) - 16);
	ASSERT_LT(0, len);
	path[len] = 0;
	strcpy(strrchr(path, '/') + 1, "cdm_hold");
	snprintf(node, sizeof(node), "%d", self->ordinary);
	for (i = 0; i < ARGS; i++) {
		argv[3 + i] = calloc(1, ARG_LEN);
		ASSERT_NE(NULL, argv[3 + i]);
		memset(argv[3 + i], 'a', ARG_LEN - 1);
	}
	self->child = fork();
	ASSERT_LE(0, self->child);
	if (!self->child) {
		cdm_task_policy(MPOL_BIND, self->mask);
		execv(path, argv);
		_exit(errno);
	}
	for (i = 0; i < 500 && size < ARGS * ARG_LEN; i++) {
		usleep(20000);
		size = args_of(self->child, &start);
	}
	ASSERT_LE(ARGS * ARG_LEN, size) TH_LOG("%s was not started", path);
	end = start + size;
	/* The program writes to the stack itself, below these */
	start = (start + 2 * 4096) & ~4095UL;
	end &= ~4095UL;
	nr = (end - start) / 4096;
	EXPECT_EQ(nr, cdm_pages_of(self->child, (void *)start, end - start,
				   self->control ? self->node : self->ordinary));
}

/* A hint for a file that is swapped out does what a fault would do, for anybody. */
TEST_F_TIMEOUT(foreign, willneed, 120)
{
	int fd = memfd_create("cdm", 0), i;
	char *map, *private;
	long in;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, LEN));
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	private = mmap(NULL, LEN, PROT_READ, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_NE(MAP_FAILED, private);
	if (!swap_ready())
		SKIP(return, "no memory cgroups, or no swap to be had");

	for (i = 0; i < 2; i++) {
		cdm_write_pattern(map, LEN, 143);
		ASSERT_TRUE(cdm_swap_out(map, LEN));
		UNDER_POLICY(EXPECT_EQ(0, madvise(i ? private : map, LEN, MADV_WILLNEED)));
		EXPECT_TRUE(cdm_check_pattern(map, LEN, 143));
		if (self->control) {
			EXPECT_LE(PAGES - CDM_SWAP_CACHED,
				  (long)cdm_pages_on(map, LEN, self->node));
		} else {
			EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->ordinary))
				TH_LOG("hint for a %s mapping", i ? "private" : "shared");
		}
	}

	/* The file has a policy: the pages are there before they are touched */
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	ASSERT_TRUE(cdm_swap_out(map, LEN));
	in = cdm_vmstat("pswpin");
	ASSERT_EQ(0, madvise(map, LEN, MADV_WILLNEED));
	for (i = 0; i < 100 && cdm_vmstat("pswpin") - in < PAGES - CDM_SWAP_CACHED; i++)
		usleep(20000);
	EXPECT_LE(PAGES - CDM_SWAP_CACHED, cdm_vmstat("pswpin") - in);
	in = cdm_vmstat("pswpin");
	EXPECT_TRUE(cdm_check_pattern(map, LEN, 143));
	EXPECT_GE(CDM_SWAP_CACHED, cdm_vmstat("pswpin") - in);
	EXPECT_LE(PAGES - CDM_SWAP_CACHED, (long)cdm_pages_on(map, LEN, self->node));
	munmap(map, LEN);
	close(fd);
}

TEST_HARNESS_MAIN
