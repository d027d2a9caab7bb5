// SPDX-License-Identifier: GPL-2.0-only
/*
 * Long-term pins and pages that go bad.  A pin for longer takes the page off
 * the node first, so that the node can be emptied; what is taken out of use
 * moves to ordinary memory or is lost to its owners alone.
 *
 * The control (CDM_CONTROL=1, the same memory being an ordinary node) has to
 * see the pages of an offlined one stay on the node.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <numaif.h>

#include "cdm_env.h"
#include "cdm_fixture.h"

#ifndef MADV_HWPOISON
#define MADV_HWPOISON		100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef BUS_MCEERR_AR
#define BUS_MCEERR_AR		4
#endif

#define LEN	(1 * MB)
#define PAGES	((long)(LEN / 4096))
#define UNPOISON "/sys/kernel/debug/hwpoison/unpoison-pfn"

FIXTURE(pins)
{
	int node, ordinary, ring;
	bool control;
	unsigned long mask;
	struct cdm_usage before;
	unsigned long bad_pfn;
};

FIXTURE_SETUP(pins)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	self->ring = -1;
	self->control = cdm_control();
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->mask = 1UL << self->node;
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	cdm_drain();
	ASSERT_EQ(0, cdm_usage_read(self->node, &self->before));
}

FIXTURE_TEARDOWN(pins)
{
	char pfn[32];

	if (self->ring >= 0)
		close(self->ring);
	if (self->bad_pfn) {
		snprintf(pfn, sizeof(pfn), "%#lx", self->bad_pfn);
		EXPECT_EQ(0, cdm_write_string(UNPOISON, pfn));
	}
	if (!self->control)
		cdm_attr_write(self->node, "state", "online");
}

/* Buffers of io_uring leave the node, and what comes after them can be emptied. */
TEST_F_TIMEOUT(pins, long_term, 120)
{
	char *map = cdm_map(LEN), *thp = cdm_map_thp(2 * MB);

	if (self->control)
		SKIP(return, "movable memory is left by pins, of whatever node");
	ASSERT_NE(NULL, map);
	ASSERT_NE(NULL, thp);
	self->ring = cdm_ring_make();
	if (self->ring < 0)
		SKIP(return, "no io_uring");
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	ASSERT_EQ(0, cdm_bind(thp, 2 * MB, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(map, LEN, 82);
	cdm_write_pattern(thp, 2 * MB, 83);
	/* The control: they were there */
	ASSERT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->node));
	ASSERT_EQ(2 * PAGES, (long)cdm_pages_on(thp, 2 * MB, self->node));

	ASSERT_EQ(0, cdm_ring_pin(self->ring, map, LEN));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->ordinary));
	EXPECT_TRUE(cdm_check_pattern(map, LEN, 82));
	/* Pinned pages are in nobody's way. */
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "empty"));
	EXPECT_EQ(0, cdm_used_pages(self->node));
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "online"));
	/* Nor does anything take them there, be it bound or asked to move. */
	EXPECT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, MPOL_MF_MOVE));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->ordinary));
	EXPECT_TRUE(cdm_check_pattern(map, LEN, 82));

	close(self->ring);
	self->ring = cdm_ring_make();
	ASSERT_LE(0, self->ring);
	ASSERT_EQ(0, cdm_bind(thp, 2 * MB, MPOL_BIND, self->mask, MPOL_MF_MOVE));
	ASSERT_EQ(0, cdm_ring_pin(self->ring, thp, 2 * MB));
	EXPECT_EQ(2 * PAGES, (long)cdm_pages_on(thp, 2 * MB, self->ordinary));
	EXPECT_TRUE(cdm_check_pattern(thp, 2 * MB, 83));
}

/* What is faulted in by the pin itself never gets there. */
TEST_F_TIMEOUT(pins, long_term_not_present, 120)
{
	char *map = cdm_map(LEN);

	if (self->control)
		SKIP(return, "movable memory is left by pins, of whatever node");
	ASSERT_NE(NULL, map);
	self->ring = cdm_ring_make();
	if (self->ring < 0)
		SKIP(return, "no io_uring");
	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, self->mask));
	ASSERT_EQ(0, cdm_ring_pin(self->ring, map, LEN));
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->ordinary));
	EXPECT_EQ(0, cdm_wait_used(self->node, self->before.used));
}

static unsigned long pfn_of(const void *addr)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry), (uintptr_t)addr / 4096 * 8) != sizeof(entry))
		entry = 0;
	close(fd);
	return entry & ((1UL << 55) - 1);
}

/* A page that is going bad is replaced in ordinary memory, wherever it was. */
TEST_F_TIMEOUT(pins, soft_offline, 120)
{
	char *there = cdm_map(LEN), *here = cdm_map(LEN);
	struct cdm_usage after;
	char what[512], pfn[32];
	unsigned long bad;

	if (access(UNPOISON, W_OK))
		SKIP(return, "no CONFIG_HWPOISON_INJECT");
	ASSERT_NE(NULL, there);
	ASSERT_NE(NULL, here);
	cdm_write_pattern(here, LEN, 84);
	ASSERT_EQ(0, cdm_usage_read(self->node, &self->before));

	bad = pfn_of(here);
	ASSERT_NE(0, bad);
	ASSERT_EQ(0, madvise(here, 4096, MADV_SOFT_OFFLINE));
	EXPECT_NE(bad, pfn_of(here));
	snprintf(pfn, sizeof(pfn), "%#lx", bad);
	EXPECT_EQ(0, cdm_write_string(UNPOISON, pfn));
	EXPECT_TRUE(cdm_check_pattern(here, LEN, 84));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(here, LEN, self->ordinary));
	ASSERT_EQ(0, cdm_usage_read(self->node, &after));
	EXPECT_FALSE(cdm_usage_differs(&self->before, &after, what, sizeof(what)))
		TH_LOG("node %d:%s", self->node, what);

	ASSERT_EQ(0, cdm_bind(there, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(there, LEN, 85);
	ASSERT_EQ(PAGES, (long)cdm_pages_on(there, LEN, self->node));
	bad = pfn_of(there);
	ASSERT_NE(0, bad);
	ASSERT_EQ(0, madvise(there, 4096, MADV_SOFT_OFFLINE));
	self->bad_pfn = bad;
	EXPECT_NE(bad, pfn_of(there));
	EXPECT_TRUE(cdm_check_pattern(there, LEN, 85));
	EXPECT_EQ(self->control ? self->node : self->ordinary, cdm_page_node(there));
	EXPECT_EQ(PAGES - 1, (long)cdm_pages_on(there + 4096, LEN - 4096, self->node));
}

static sigjmp_buf bus;
static int bus_code;
static void *bus_addr;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	bus_code = info->si_code;
	bus_addr = info->si_addr;
	siglongjmp(bus, 1);
}

/* A page that went bad costs its owner that page; the node can still be emptied. */
TEST_F_TIMEOUT(pins, hard_failure, 120)
{
	struct sigaction sa = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };
	char *map = cdm_map(LEN), *bad;

	if (access(UNPOISON, W_OK))
		SKIP(return, "no CONFIG_HWPOISON_INJECT");
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(map, LEN, 86);
	ASSERT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->node));
	bad = map + LEN - 4096;
	self->bad_pfn = pfn_of(bad);
	ASSERT_NE(0, self->bad_pfn);
	sigaction(SIGBUS, &sa, NULL);
	/* The call looks at the page, as the access did that found it. */
	if (!sigsetjmp(bus, 1)) {
		madvise(bad, 4096, MADV_HWPOISON);
		__asm__ volatile("" : : "r" (*bad));
		EXPECT_TRUE(false) TH_LOG("a bad page can be read");
	}
	EXPECT_EQ(BUS_MCEERR_AR, bus_code);
	EXPECT_EQ((void *)bad, (void *)((uintptr_t)bus_addr & ~4095UL));
	EXPECT_TRUE(cdm_check_pattern(map, LEN - 4096, 86));
	EXPECT_EQ(PAGES - 1, (long)cdm_pages_on(map, LEN - 4096, self->node));
	if (self->control)
		return;
	/* It is nobody's, and in nobody's way. */
	EXPECT_EQ(0, cdm_attr_write(self->node, "state", "empty"));
	EXPECT_TRUE(cdm_check_pattern(map, LEN - 4096, 86));
	EXPECT_EQ(PAGES - 1, (long)cdm_pages_on(map, LEN - 4096, self->ordinary));
}

TEST_HARNESS_MAIN
