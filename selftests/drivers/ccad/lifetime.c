// SPDX-License-Identifier: GPL-2.0-only
/*
 * However a context ends, with commands in flight or without, by exit, signal,
 * reset or removal: nothing of it stays behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <numaif.h>

#include "kselftest_harness.h"
#include "../../mm/cdm/cdm_util.h"
#include "test_util.h"
#include "test_work.h"

#define TIMEOUT	120
#define HELD	(64 * MB)

FIXTURE(life)
{
	CCAD_ALIGNED struct ccad_completion comp;
	long long used;
	long pasid;
	int node;
	long pages;
};

/* The PASID of a process that comes and goes: the lowest that is free. */
static long free_pasid(void)
{
	int fd[2], status;
	long pasid = -1;
	pid_t pid;

	if (pipe(fd))
		return -1;
	pid = fork();
	if (!pid) {
		struct ccad_ctx ctx;

		if (ccad_open(&ctx, 3))
			_exit(2);
		pasid = ctx.info.pasid;
		_exit(write(fd[1], &pasid, sizeof(pasid)) != sizeof(pasid));
	}
	close(fd[1]);
	if (read(fd[0], &pasid, sizeof(pasid)) != sizeof(pasid))
		pasid = -1;
	close(fd[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return pasid;
}

/* What is gone may still be on its way out: wait for @most to be free. */
static long wait_pasid(long most)
{
	long pasid = free_pasid();
	int i;

	for (i = 0; i < 100 && pasid > most; i++) {
		usleep(100000);
		pasid = free_pasid();
	}
	return pasid;
}

FIXTURE_SETUP(life)
{
	if (!test_device_present())
		SKIP(return, "no accelerator");
	self->used = ccad_attr("contexts_used");
	ASSERT_GE(self->used, 0);
	self->pasid = free_pasid();
	ASSERT_GT(self->pasid, 0);
	self->node = cdm_node();
	if (self->node >= 0) {
		cdm_drain();
		self->pages = cdm_used_pages(self->node);
	}
}

/* The device works for a new context and has nothing of the old ones. */
static void expect_clean(struct __test_metadata *_metadata, struct _test_data_life *self)
{
	struct ccad_ctx ctx;

	EXPECT_EQ(0, test_wait_contexts(self->used))
		TH_LOG("%lld contexts in use, %lld before", ccad_attr("contexts_used"),
		       self->used);
	ASSERT_EQ(0, ccad_open(&ctx, 3));
	EXPECT_SUCCESS(&ctx, ccad_crc32c("123456789", 9, 0), &self->comp);
	EXPECT_EQ(0xe3069283, self->comp.result);
	ccad_close(&ctx);
	EXPECT_EQ(self->used, ccad_attr("contexts_used"));
	/* This process has a PASID by now, and keeps it. */
	EXPECT_LE(wait_pasid(self->pasid + 1), self->pasid + 1);
	if (self->node >= 0)
		EXPECT_EQ(0, cdm_wait_used(self->node, self->pages))
			TH_LOG("pages of node %d did not come back", self->node);
}

FIXTURE_TEARDOWN(life)
{
	if (test_device_present())
		expect_clean(_metadata, self);
}

static CCAD_ALIGNED struct ccad_completion comps[ENTRIES];

/* A child that starts work, says so and ends in one of several ways. */
enum end { END_EXIT, END_KILL, END_EXEC, END_CLOSE, END_UNMAP };

static void run_child(struct __test_metadata *_metadata, int node, enum end end)
{
	int ready[2], status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		struct ccad_ctx ctx;
		char *work;

		if (test_start_work(&ctx, comps, &work, node) || write(ready[1], "", 1) != 1)
			_exit(2);
		switch (end) {
		case END_KILL:
			pause();
			break;
		case END_EXEC:
			execl("/bin/true", "true", NULL);
			_exit(3);
		case END_CLOSE:
			ccad_close(&ctx);
			break;
		case END_UNMAP:
			munmap(work, WORK);
			break;
		case END_EXIT:
			break;
		}
		_exit(0);
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	close(ready[0]);
	if (end == END_KILL) {
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		return;
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F_TIMEOUT(life, exit_in_flight, TIMEOUT)
{
	int i;

	for (i = 0; i < 4; i++)
		run_child(_metadata, self->node, END_EXIT);
}

TEST_F_TIMEOUT(life, kill_in_flight, TIMEOUT)
{
	int i;

	for (i = 0; i < 4; i++)
		run_child(_metadata, self->node, END_KILL);
}

TEST_F_TIMEOUT(life, exec_in_flight, TIMEOUT)
{
	run_child(_metadata, self->node, END_EXEC);
}

TEST_F_TIMEOUT(life, close_in_flight, TIMEOUT)
{
	run_child(_metadata, self->node, END_CLOSE);
}

TEST_F_TIMEOUT(life, unmap_and_exit_in_flight, TIMEOUT)
{
	run_child(_metadata, self->node, END_UNMAP);
}

/* A child's memory stands still from the fork on; the parent's work goes on. */
TEST_F_TIMEOUT(life, fork_in_flight, TIMEOUT)
{
	struct ccad_ctx ctx;
	int round, status;
	char *work;
	pid_t pid;
	__u32 seen;

	ASSERT_EQ(0, test_start_work(&ctx, comps, &work, self->node));
	for (round = 0; round < 4; round++) {
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			static char was[WORK / PAGE];
			size_t i, changed = 0;

			for (i = 0; i < WORK / PAGE; i++)
				was[i] = work[i * PAGE];
			usleep(200000);
			for (i = 0; i < WORK / PAGE; i++)
				changed += was[i] != work[i * PAGE];
			memset(work, 0xee, WORK);
			_exit(changed ? 1 : 0);
		}
		seen = ccad_db_read(&ctx, CCAD_DB_HEAD);
		ASSERT_LT(seen, ENTRIES) TH_LOG("the device was too fast for the test");
		ASSERT_EQ(0, ccad_wait(&comps[seen - 1], WAIT_MS));
		EXPECT_EQ(CCAD_COMP_SUCCESS, comps[seen - 1].status);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status) TH_LOG("the device wrote to the child's memory");
	}
	ccad_close(&ctx);
	munmap(work, WORK);
}

/* Once munmap() has returned no command reads there any more. */
TEST_F_TIMEOUT(life, munmap_while_reading, TIMEOUT)
{
	__u64 freed, fault = 0;
	struct ccad_desc desc;
	struct ccad_ctx ctx;
	__u32 seen, i;
	char *work;

	ASSERT_EQ(0, ccad_open(&ctx, SHIFT));
	work = test_map(WORK);
	ASSERT_NE(NULL, work);
	test_pattern(work, WORK, 1);
	freed = (uintptr_t)work + WORK / 2;
	memset(comps, 0, sizeof(comps));
	for (i = 0; i < ENTRIES; i++) {
		desc = ccad_crc32c(work, WORK, 0);
		desc.completion = (uintptr_t)&comps[i];
		ASSERT_EQ(0, ccad_push(&ctx, &desc));
	}
	ccad_kick(&ctx);
	ASSERT_EQ(0, ccad_wait(&comps[0], WAIT_MS));
	ASSERT_EQ(0, munmap(work + WORK / 2, WORK / 2));
	seen = ccad_db_read(&ctx, CCAD_DB_HEAD);
	ASSERT_LT(seen, ENTRIES) TH_LOG("the device was too fast for the test");

	ASSERT_EQ(0, ccad_wait(&comps[ENTRIES - 1], TIMEOUT * 1000));
	for (i = 0; i < ENTRIES; i++) {
		if (comps[i].status == CCAD_COMP_SUCCESS) {
			EXPECT_LT(i, seen) TH_LOG("command %u read freed memory", i);
			EXPECT_EQ(comps[0].result, comps[i].result);
			continue;
		}
		ASSERT_EQ(CCAD_COMP_PAGE_FAULT, comps[i].status);
		EXPECT_EQ(CCAD_ACCESS_READ, comps[i].access);
		EXPECT_GE(comps[i].fault_addr, freed);
		EXPECT_LT(comps[i].fault_addr, freed + WORK / 2);
		/* Whoever began after it faults at the first byte. */
		if (i >= seen)
			EXPECT_EQ(freed, comps[i].fault_addr);
		fault = comps[i].fault_addr;
	}
	EXPECT_NE(0, fault);
	ccad_close(&ctx);
}

TEST_F_TIMEOUT(life, open_and_close, TIMEOUT)
{
	long long contexts = ccad_attr("contexts");
	struct ccad_ctx ctx;
	long long i;

	ASSERT_GT(contexts, 0);
	for (i = 0; i < 3 * contexts + 1; i++) {
		ASSERT_EQ(0, ccad_open(&ctx, 3)) TH_LOG("round %lld", i);
		if (!(i % 16))
			EXPECT_SUCCESS(&ctx, ccad_crc32c("123456789", 9, 0), &self->comp);
		ccad_close(&ctx);
	}
}

TEST_F_TIMEOUT(life, all_contexts, TIMEOUT)
{
	long long contexts = ccad_attr("contexts") - self->used, i;
	struct ccad_ctx *ctx, more;

	ASSERT_GT(contexts, 0);
	ctx = calloc(contexts, sizeof(*ctx));
	for (i = 0; i < contexts; i++)
		ASSERT_EQ(0, ccad_open(&ctx[i], 3)) TH_LOG("context %lld", i);
	EXPECT_EQ(-EBUSY, ccad_open(&more, 3));
	EXPECT_EQ(self->used + contexts, ccad_attr("contexts_used"));
	EXPECT_SUCCESS(&ctx[contexts - 1], ccad_crc32c("123456789", 9, 0), &self->comp);
	for (i = 0; i < contexts; i++)
		ccad_close(&ctx[i]);
	EXPECT_EQ(self->used, ccad_attr("contexts_used"));
}

/* However many processes come and go, PASIDs do not climb. */
TEST_F_TIMEOUT(life, pasids_come_back, TIMEOUT)
{
	long pasid;
	int i;

	for (i = 0; i < 50; i++) {
		pasid = free_pasid();
		ASSERT_GT(pasid, 0);
		/* A process that is gone may still be on its way out. */
		EXPECT_LE(pasid, self->pasid + 2) TH_LOG("round %d", i);
	}
}

static int write_attr(const char *name, const char *value)
{
	char path[256];
	int ret;

	ret = test_pci_path(name, path, sizeof(path));
	return ret ? ret : test_write(path, value);
}

/* The bus has a reset of its own, which is another thing to test. */
static void expect_flr(struct __test_metadata *_metadata)
{
	char path[256], method[32] = "";
	FILE *f;

	ASSERT_EQ(0, write_attr("reset_method", "flr"));
	ASSERT_EQ(0, test_pci_path("reset_method", path, sizeof(path)));
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	ASSERT_NE(NULL, fgets(method, sizeof(method), f));
	fclose(f);
	ASSERT_STREQ("flr\n", method);
}

/* A reset stops every context, tells its owner, and lets it start again. */
TEST_F_TIMEOUT(life, reset_in_flight, TIMEOUT)
{
	struct pollfd pfd = { .events = POLLIN };
	struct ccad_ctx ctx;
	int i, done = 0;
	char *work;

	expect_flr(_metadata);
	ASSERT_EQ(0, test_start_work(&ctx, comps, &work, self->node));
	ASSERT_EQ(0, write_attr("reset", "1"));

	pfd.fd = ctx.fd;
	EXPECT_EQ(1, poll(&pfd, 1, WAIT_MS));
	EXPECT_TRUE(pfd.revents & POLLERR);
	ASSERT_EQ(0, ioctl(ctx.fd, CCAD_IOC_INFO, &ctx.info));
	EXPECT_TRUE(ctx.info.flags & CCAD_INFO_LOST);
	/* Nothing is written any more. */
	for (i = 0; i < ENTRIES; i++)
		done += ccad_status(&comps[i]) == CCAD_COMP_SUCCESS;
	EXPECT_LT(done, ENTRIES);
	memset(work, 7, WORK);
	usleep(200000);
	for (i = 0; i < (int)WORK; i += PAGE)
		if (work[i] != 7)
			break;
	EXPECT_EQ((int)WORK, i) TH_LOG("the device wrote after its reset");

	ASSERT_EQ(0, ccad_restart(&ctx));
	EXPECT_FALSE(ctx.info.flags & CCAD_INFO_LOST);
	EXPECT_SUCCESS(&ctx, ccad_fill(work, 0, WORK / 4), &self->comp);
	EXPECT_EQ(0, work[0]);
	ccad_close(&ctx);
}

static void on_alarm(int sig)
{
	(void)sig;
}

/*
 * The device is reset whatever becomes of who asked for it, so signals to them
 * must not keep its memory from being emptied first.
 */
TEST_F_TIMEOUT(life, reset_under_signals, TIMEOUT)
{
	struct itimerval timer = { { 0, 1000 }, { 0, 1000 } };
	struct sigaction alarm = { .sa_handler = on_alarm };
	int in_use, again, status, round;
	char path[256], *map;
	pid_t pid;

	if (self->node < 0)
		SKIP(return, "no node of coherent device memory");
	in_use = test_log_from_here();
	again = test_log_from_here();
	ASSERT_LE(0, in_use);
	ASSERT_LE(0, again);
	expect_flr(_metadata);
	ASSERT_EQ(0, test_pci_path("reset", path, sizeof(path)));
	map = cdm_map(HELD);
	ASSERT_NE(NULL, map);
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, cdm_bind(map, HELD, MPOL_BIND, 1UL << self->node, MPOL_MF_MOVE));
		cdm_write_pattern(map, HELD, round);
		ASSERT_EQ(HELD / PAGE, cdm_pages_on(map, HELD, self->node));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			int fd = open(path, O_WRONLY), ret;

			/* No SA_RESTART: whatever waits for long is interrupted */
			sigaction(SIGALRM, &alarm, NULL);
			setitimer(ITIMER_REAL, &timer, NULL);
			ret = write(fd, "1", 1);
			_exit(ret == 1 ? 0 : errno);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status) TH_LOG("the reset: %s", strerror(WEXITSTATUS(status)));
		EXPECT_EQ(HELD / PAGE, cdm_pages_on(map, HELD, cdm_ordinary_node()))
			TH_LOG("%zu pages were left on the node",
			       cdm_pages_on(map, HELD, self->node));
		EXPECT_TRUE(cdm_check_pattern(map, HELD, round));
		EXPECT_TRUE(cdm_node_in("has_coherent_memory", self->node));
	}
	EXPECT_FALSE(test_log_has(in_use, "reset with local memory in use"));
	/* The control: the log is read, and the memory went and came back */
	EXPECT_TRUE(test_log_has(again, "of local memory online"));
	close(in_use);
	close(again);
	munmap(map, HELD);
}

static sigjmp_buf bus_error;

static void on_bus_error(int sig)
{
	(void)sig;
	siglongjmp(bus_error, 1);
}

/* The device is gone from a context that worked: the process has its memory. */
static void expect_gone(struct __test_metadata *_metadata, int node, struct ccad_ctx *ctx,
			char *work)
{
	struct pollfd pfd = { .events = POLLIN };
	int i;

	EXPECT_EQ(-ENODEV, ccad_find(NULL, 0, NULL, 0));
	if (node >= 0) {
		EXPECT_FALSE(cdm_node_in("has_coherent_memory", node));
		EXPECT_EQ(0, (long)cdm_pages_on(work, WORK / 8, node));
		EXPECT_EQ(WORK / 8 / PAGE,
			  cdm_pages_on(work, WORK / 8, cdm_ordinary_node()));
	}

	/* Its memory is its own again, its doorbell is nobody's. */
	memset(work, 7, WORK);
	usleep(200000);
	for (i = 0; i < (int)WORK; i += PAGE)
		if (work[i] != 7)
			break;
	EXPECT_EQ((int)WORK, i) TH_LOG("the device wrote after it was gone");
	signal(SIGBUS, on_bus_error);
	if (!sigsetjmp(bus_error, 1)) {
		ccad_db_read(ctx, CCAD_DB_HEAD);
		EXPECT_TRUE(false) TH_LOG("the doorbell is still mapped");
	}
	pfd.fd = ctx->fd;
	poll(&pfd, 1, 0);
	ccad_close(ctx);
	munmap(work, WORK);
}

/* The driver goes while a context works: the process lives, the node is gone. */
TEST_F_TIMEOUT(life, unbind_in_flight, TIMEOUT)
{
	char driver[PATH_MAX], path[PATH_MAX + 16], name[64], *work;
	struct ccad_ctx ctx;

	ASSERT_EQ(0, test_pci_name(name, sizeof(name)));
	ASSERT_EQ(0, test_pci_path("driver", path, sizeof(path)));
	ASSERT_NE(NULL, realpath(path, driver));
	ASSERT_EQ(0, test_start_work(&ctx, comps, &work, self->node));
	snprintf(path, sizeof(path), "%s/unbind", driver);
	ASSERT_EQ(0, test_write(path, name));
	expect_gone(_metadata, self->node, &ctx, work);

	snprintf(path, sizeof(path), "%s/bind", driver);
	ASSERT_EQ(0, test_write(path, name));
	EXPECT_EQ(0, ccad_find(NULL, 0, NULL, 0));
	if (self->node >= 0)
		EXPECT_TRUE(cdm_node_in("has_coherent_memory", self->node));
}

/*
 * The same when the slot loses its power.  An emulator takes the device out of
 * it: only where somebody puts it back when the log asks for it, which
 * CCAD_REPLUG says.
 */
TEST_F_TIMEOUT(life, power_off_in_flight, TIMEOUT)
{
	char power[256], adapter[256], name[64], *work;
	struct ccad_ctx ctx;
	int i, round;

	if (!getenv("CCAD_REPLUG"))
		SKIP(return, "CCAD_REPLUG does not say that the device comes back");
	ASSERT_EQ(0, test_pci_name(name, sizeof(name)));
	ASSERT_EQ(0, test_slot_path(name, "power", power, sizeof(power)));
	ASSERT_EQ(0, test_slot_path(name, "adapter", adapter, sizeof(adapter)));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, test_start_work(&ctx, comps, &work, self->node));
		ASSERT_EQ(0, test_write(power, "0"));
		expect_gone(_metadata, self->node, &ctx, work);

		ASSERT_EQ(0, test_write("/dev/kmsg", "ccad: plug\n"));
		for (i = 0; i < 10 * TIMEOUT && ccad_find(NULL, 0, NULL, 0); i++) {
			if (cdm_read_long(adapter) == 1)
				test_write(power, "1");
			usleep(100000);
		}
		ASSERT_EQ(0, ccad_find(NULL, 0, NULL, 0)) TH_LOG("it did not come back");
		if (self->node >= 0)
			EXPECT_TRUE(cdm_node_in("has_coherent_memory", self->node));
	}
}

TEST_HARNESS_MAIN
