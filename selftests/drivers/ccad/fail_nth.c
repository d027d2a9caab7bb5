// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every allocation of what the driver does fails, one at a time: of opening a
 * context, of probing the device with all of its memory, of emptying the node
 * and taking it offline and online.  What is done then may fail; nothing of it
 * stays behind, and the next try, with memory, succeeds.
 *
 * For a kernel with CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC that looks for
 * what went wrong meanwhile: KASAN, lockdep, kmemleak.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include <numaif.h>

#include "kselftest_harness.h"
#include "../../mm/cdm/cdm_util.h"
#include "test_util.h"

#define TIMEOUT	14400
#define LEN	(4 * MB)
#define FAULTS	"/sys/kernel/debug/"
#define KNOBS	12

/*
 * It does not look whether it could make its files, and who removes them warns
 * that they are not there: what it allocates is not for this test to fail.
 */
#define SPARED	"register_irq_proc"
static char spared_start[40], spared_end[40];	/* addresses of its code */

/* By default an allocation that may wait does not fail, nor does a single page. */
static const struct {
	const char *path, *value;
} knobs[KNOBS] = {
	{ FAULTS "failslab/ignore-gfp-wait", "N" },
	{ FAULTS "failslab/verbose", "0" },
	{ FAULTS "failslab/stacktrace-depth", "32" },
	{ FAULTS "failslab/reject-start", spared_start },
	{ FAULTS "failslab/reject-end", spared_end },
	{ FAULTS "fail_page_alloc/ignore-gfp-wait", "N" },
	{ FAULTS "fail_page_alloc/ignore-gfp-highmem", "N" },
	{ FAULTS "fail_page_alloc/min-order", "0" },
	{ FAULTS "fail_page_alloc/verbose", "0" },
	{ FAULTS "fail_page_alloc/stacktrace-depth", "32" },
	{ FAULTS "fail_page_alloc/reject-start", spared_start },
	{ FAULTS "fail_page_alloc/reject-end", spared_end },
};

FIXTURE(fail_nth)
{
	CCAD_ALIGNED struct ccad_completion comp;
	char before[KNOBS][32];
	char driver[256], name[64];
	long long used;
	int fd, node;
};

static ssize_t read_knob(const char *path, char *value, size_t len)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, value, len - 1);
	close(fd);
	if (n >= 0)
		value[n] = 0;
	return n;
}

/* Find where the code of SPARED begins, and the next one's. */
static bool find_spared(void)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	char addr[32], name[256];
	bool found = false, ended = false;

	if (!f)
		return false;
	while (!ended && fscanf(f, "%31s %*s %255s%*[^\n]", addr, name) == 2) {
		ended = found;
		if (found || !strcmp(name, SPARED))
			snprintf(found ? spared_end : spared_start,
				 sizeof(spared_start), "0x%s", addr);
		found |= !strcmp(name, SPARED);
	}
	fclose(f);
	return ended;
}

FIXTURE_SETUP(fail_nth)
{
	char path[320], device[256];
	int i;

	if (!test_device_present())
		SKIP(return, "no accelerator");
	self->fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (self->fd < 0)
		SKIP(return, "no fault injection in this kernel");
	ASSERT_TRUE(find_spared());
	for (i = 0; i < KNOBS; i++) {
		if (read_knob(knobs[i].path, self->before[i], sizeof(self->before[i])) < 0)
			SKIP(return, "no %s", knobs[i].path);
		ASSERT_EQ(0, test_write(knobs[i].path, knobs[i].value));
	}
	self->used = ccad_attr("contexts_used");
	ASSERT_GE(self->used, 0);
	self->node = cdm_node();

	ASSERT_EQ(0, test_pci_path("driver", path, sizeof(path)));
	ASSERT_NE(NULL, realpath(path, self->driver));
	ASSERT_EQ(0, test_pci_path("", path, sizeof(path)));
	ASSERT_NE(NULL, realpath(path, device));
	snprintf(self->name, sizeof(self->name), "%s", strrchr(device, '/') + 1);
}

FIXTURE_TEARDOWN(fail_nth)
{
	int i;

	for (i = 0; i < KNOBS; i++)
		if (self->before[i][0])
			test_write(knobs[i].path, self->before[i]);
	close(self->fd);
}

/* The @n-th allocation of this thread from now on fails. */
static void arm(int fd, unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(fd, text, len, 0) != len)
		abort();
}

/* Whether it came so far. */
static bool disarm(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		abort();
	arm(fd, 0);
	return atoi(text) == 0;
}

/* The first ones each, then fewer: with CCAD_FULL all of them. */
static unsigned int next(unsigned int n)
{
	return getenv("CCAD_FULL") ? n + 1 : n + 1 + n / 16;
}

/* Write to a file of sysfs; the @n-th allocation fails. */
static int write_armed(int fd, const char *path, const char *value, unsigned int n, bool *hit)
{
	int ret = 0, file = open(path, O_WRONLY);

	*hit = false;
	if (file < 0)
		return -errno;
	arm(fd, n);
	if (write(file, value, strlen(value)) < 0)
		ret = -errno;
	*hit = disarm(fd);
	close(file);
	return ret;
}

TEST_F_TIMEOUT(fail_nth, open, TIMEOUT)
{
	struct ccad_ctx ctx;
	char buf[64];
	unsigned int n;
	bool hit = true;
	int ret;

	for (n = 1; hit; n = next(n)) {
		arm(self->fd, n);
		ret = ccad_open(&ctx, 3);
		hit = disarm(self->fd);
		if (ret) {
			EXPECT_TRUE(hit) TH_LOG("allocation %u: %s", n, strerror(-ret));
			if (!hit)
				break;
		} else {
			EXPECT_SUCCESS(&ctx, ccad_fill(buf, 0, sizeof(buf)), &self->comp);
			arm(self->fd, n);
			ccad_close(&ctx);
			hit |= disarm(self->fd);
		}
		ASSERT_EQ(0, test_wait_contexts(self->used)) TH_LOG("allocation %u", n);
	}
	TH_LOG("%u allocations", n);
	EXPECT_GT(n, 5);
}

TEST_F_TIMEOUT(fail_nth, probe, TIMEOUT)
{
	char unbind[320], bind[320];
	bool hit = true, there;
	struct ccad_ctx ctx;
	char buf[64];
	unsigned int n;
	int ret;

	snprintf(unbind, sizeof(unbind), "%s/unbind", self->driver);
	snprintf(bind, sizeof(bind), "%s/bind", self->driver);
	for (n = 1; hit; n = next(n)) {
		ASSERT_EQ(0, test_write(unbind, self->name)) TH_LOG("allocation %u", n);
		ret = write_armed(self->fd, bind, self->name, n, &hit);
		if (ret)
			EXPECT_TRUE(hit) TH_LOG("allocation %u: %s", n, strerror(-ret));
		there = self->node < 0 || cdm_node_in("has_coherent_memory", self->node);
		/* It may do without its memory, until it is bound once more. */
		if (!ret && !there) {
			EXPECT_TRUE(hit) TH_LOG("allocation %u", n);
			ASSERT_EQ(0, test_write(unbind, self->name)) TH_LOG("allocation %u", n);
		}
		if (ret || !there)
			ASSERT_EQ(0, test_write(bind, self->name)) TH_LOG("allocation %u", n);
		if (self->node >= 0)
			ASSERT_TRUE(cdm_node_in("has_coherent_memory", self->node))
				TH_LOG("allocation %u", n);
		ASSERT_EQ(0, ccad_open(&ctx, 3)) TH_LOG("allocation %u", n);
		EXPECT_SUCCESS(&ctx, ccad_fill(buf, 0, sizeof(buf)), &self->comp);
		ccad_close(&ctx);
	}
	TH_LOG("%u allocations", n);
	EXPECT_GT(n, 50);
}

TEST_F_TIMEOUT(fail_nth, states, TIMEOUT)
{
	static const char * const states[] = { "empty", "online", "offline", "online" };
	unsigned int n, reached = 0;
	char path[128], now[16];
	bool hit, any = true;
	char *map;
	int i, ret;

	if (self->node < 0)
		SKIP(return, "no CDM node");
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cdm/state", self->node);
	map = cdm_map(LEN);
	ASSERT_NE(NULL, map);
	for (n = 1; any; n = next(n)) {
		any = false;
		/* Something to be moved */
		munmap(map, LEN);
		map = cdm_map(LEN);
		ASSERT_NE(NULL, map);
		ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, 1UL << self->node, 0));
		cdm_write_pattern(map, LEN, n);
		for (i = 0; i < 4; i++) {
			ret = write_armed(self->fd, path, states[i], n, &hit);
			any |= hit;
			if (hit)
				reached = n;
			if (ret) {
				EXPECT_TRUE(hit)
					TH_LOG("allocation %u, %s: %d", n, states[i], ret);
				ASSERT_EQ(0, cdm_state(self->node, now, sizeof(now)));
				EXPECT_STRNE("draining", now);
				ret = cdm_attr_write(self->node, "state", states[i]);
			}
			ASSERT_EQ(0, ret) TH_LOG("allocation %u, %s", n, states[i]);
			ASSERT_EQ(0, cdm_state(self->node, now, sizeof(now)));
			ASSERT_STREQ(states[i], now) TH_LOG("allocation %u", n);
		}
		EXPECT_TRUE(cdm_check_pattern(map, LEN, n)) TH_LOG("allocation %u", n);
	}
	TH_LOG("%u allocations", reached);
	EXPECT_GT(reached, 50);
	munmap(map, LEN);
}

TEST_HARNESS_MAIN
