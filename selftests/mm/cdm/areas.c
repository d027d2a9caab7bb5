// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is set aside, handed over or written out as a whole has none of
 * a coherent node: CMA, the pool of KFENCE, scratch areas of kexec handover,
 * the image of hibernation.
 *
 * The control (CDM_CONTROL=1, the same memory being an ordinary node) has to
 * see the node used, where there is one in time: the scratch areas of kexec
 * handover are reserved at boot, before the device has a driver.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include <numaif.h>

#include "cdm_env.h"
#include "cdm_fixture.h"

#define DEBUG		"/sys/kernel/debug/"
#define CMA		DEBUG "cma/reserved/"
#define KFENCE		"/sys/module/kfence/parameters/sample_interval"
#define SCRATCH		DEBUG "kho/out/scratch_"
#define POWER		"/sys/power/"
#define CHUNK		(4 * MB)
#define MAX_CHUNKS	512
#define ROOM		16	/* chunks */
#define RESERVE		"/proc/sys/vm/min_free_kbytes"
#define ALL		100000	/* huge pages */
#define POOL		((long)(2 * MB / 4096))	/* of 255 objects */
#define LEFT		(90 * MB)	/* half of it in the area, half above the watermarks */

FIXTURE(areas)
{
	int node, ordinary;
	bool control;
	long taken;		/* pages of CMA */
	long pool;		/* of huge pages, before */
	long reserve;		/* min_free_kbytes, before */
	struct cdm_usage before;
};

FIXTURE_SETUP(areas)
{
	self->control = cdm_control();
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->pool = -1;
	/* What these look for is memory that may not be movable */
	if (self->control)
		ASSERT_EQ(0, cdm_online_kernel(self->node));
	ASSERT_EQ(0, cdm_lock_program());
	cdm_drain();
	ASSERT_EQ(0, cdm_usage_read(self->node, &self->before));
}

FIXTURE_TEARDOWN(areas)
{
	char pages[24];

	if (self->pool >= 0)
		cdm_pool_resize(self->ordinary, self->pool);
	if (self->reserve > 0) {
		snprintf(pages, sizeof(pages), "%ld", self->reserve);
		EXPECT_EQ(0, cdm_write_string(RESERVE, pages));
	}
	if (!self->taken)
		return;
	snprintf(pages, sizeof(pages), "%ld", self->taken);
	EXPECT_EQ(0, cdm_write_string(CMA "free", pages));
}

/* A node that is left alone; an ordinary one has @pages more in use. */
static void expect_untouched(struct __test_metadata *_metadata, struct _test_data_areas *self,
			     long pages)
{
	struct cdm_usage after;
	char what[512];

	ASSERT_EQ(0, cdm_usage_read(self->node, &after));
	if (self->control) {
		EXPECT_LE(pages, after.used - self->before.used)
			TH_LOG("an ordinary node is left alone too");
		return;
	}
	EXPECT_FALSE(cdm_usage_differs(&self->before, &after, what, sizeof(what)))
		TH_LOG("node %d:%s", self->node, what);
}

/*
 * The area is lent to whoever has movable pages.  When it is asked for they
 * have to go, to a node with room if there is any.
 */
TEST_F_TIMEOUT(areas, cma, 300)
{
	/* Three quarters of it; kB there, pages here */
	long want = cdm_meminfo("CmaTotal") / 4 * 3 / 4, moved;
	int nr = 0, first = 0, i, ret;
	static char *chunks[MAX_CHUNKS];
	char pages[24];

	if (want <= 0 || access(CMA "alloc", W_OK))
		SKIP(return, "boot with cma=128M");
	/* Movable pages take from it as much as from the rest, towards the end. */
	while (nr < MAX_CHUNKS &&
	       cdm_node_value(self->ordinary, "meminfo", "MemFree") > (long)(LEFT >> 10)) {
		char *map = cdm_map(CHUNK);

		ASSERT_NE(NULL, map);
		ASSERT_EQ(0, cdm_bind(map, CHUNK, MPOL_BIND, 1UL << self->ordinary, 0));
		cdm_write_pattern(map, CHUNK, nr);
		ASSERT_EQ(0, cdm_bind(map, CHUNK, MPOL_DEFAULT, 0, 0));
		chunks[nr++] = map;
	}
	ASSERT_LT(ROOM, nr);
	ASSERT_LT(cdm_meminfo("CmaFree"), want * 4);
	ASSERT_EQ(0, cdm_usage_read(self->node, &self->before));
	snprintf(pages, sizeof(pages), "%ld", want);
	/* Only the device has room at first, which is as good as none. */
	moved = cdm_vmstat("pgmigrate_success");
	ret = cdm_write_string(CMA "alloc", pages);
	/* First of all: not even the kernel has memory to look up a file now */
	for (first = 0; first < ROOM; first++)
		munmap(chunks[first], CHUNK);
	if (ret) {
		expect_untouched(_metadata, self, 0);
		ret = cdm_write_string(CMA "alloc", pages);
	}
	if (!ret)
		self->taken = want;
	moved = cdm_vmstat("pgmigrate_success") - moved;
	EXPECT_EQ(0, ret);
	EXPECT_LT(want / 8, moved);
	expect_untouched(_metadata, self, want / 16);
	for (i = first; i < nr; i++)
		EXPECT_TRUE(cdm_check_pattern(chunks[i], CHUNK, i));
}

/*
 * Set up late, the pool is a contiguous range of anywhere.  Huge pages leave
 * none in ordinary memory, and cannot be moved out of the way.
 */
TEST_F_TIMEOUT(areas, kfence_pool, 120)
{
	int ret;

	if (access(KFENCE, W_OK))
		SKIP(return, "no KFENCE");
	ASSERT_EQ(0, cdm_read_long(KFENCE)) TH_LOG("has a pool since boot");
	self->pool = cdm_pool(self->ordinary, "nr_hugepages");
	ASSERT_LE(0, self->pool) TH_LOG("no hugetlb");
	/* The reserve is memory too */
	self->reserve = cdm_read_long(RESERVE);
	ASSERT_EQ(0, cdm_write_string(RESERVE, "1024"));
	ASSERT_EQ(0, cdm_pool_resize(self->ordinary, ALL));
	ASSERT_EQ(0, cdm_usage_read(self->node, &self->before));
	ret = cdm_write_string(KFENCE, "100");
	ASSERT_EQ(0, cdm_pool_resize(self->ordinary, self->pool));
	/* A pool is made just once, so this cannot be tried again */
	if (self->control && !ret && cdm_used_pages(self->node) - self->before.used < POOL) {
		cdm_write_string(KFENCE, "0");
		SKIP(return, "the ordinary node had room for it all the same");
	}
	expect_untouched(_metadata, self, POOL);
	if (ret)
		ret = cdm_write_string(KFENCE, "100");
	EXPECT_EQ(0, ret);
	EXPECT_EQ(0, access(DEBUG "kfence/stats", R_OK)) TH_LOG("no pool was made");
	EXPECT_EQ(0, cdm_write_string(KFENCE, "0"));
	expect_untouched(_metadata, self, POOL);
}

/* Memory of a driver in /proc/iomem that holds @addr? */
static bool is_device_memory(unsigned long addr)
{
	unsigned long start, end;
	bool found = false;
	char line[160];
	FILE *f;

	f = fopen("/proc/iomem", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " %lx-%lx", &start, &end) == 2 && start <= addr &&
		    addr <= end && strstr(line, "System RAM ("))
			found = true;
	if (f)
		fclose(f);
	return found;
}

/* Not before a kernel that is handed over to has a driver for the device. */
TEST_F(areas, kexec_handover)
{
	char phys[64] = "", len[64] = "";
	FILE *p, *l;
	int nr = 0;

	if (self->control)
		SKIP(return, "reserved at boot, when the node has no memory yet");
	p = fopen(SCRATCH "phys", "r");
	l = fopen(SCRATCH "len", "r");
	if (!p || !l)
		SKIP(return, "boot with kho=on");
	while (fgets(phys, sizeof(phys), p) && fgets(len, sizeof(len), l)) {
		unsigned long start = strtoul(phys, NULL, 0), size = strtoul(len, NULL, 0);

		ASSERT_LT(0, size);
		EXPECT_FALSE(is_device_memory(start)) TH_LOG("%#lx", start);
		EXPECT_FALSE(is_device_memory(start + size - 1)) TH_LOG("%#lx", start + size - 1);
		nr++;
	}
	fclose(p);
	fclose(l);
	EXPECT_LT(0, nr);
}

static void read_line(const char *path, char *text, size_t len)
{
	FILE *f = fopen(path, "r");

	if (!f || !fgets(text, len, f))
		text[0] = 0;
	if (f)
		fclose(f);
}

/* An image could not be put back: no hibernation while the node is online. */
TEST_F_TIMEOUT(areas, hibernation, 120)
{
	char modes[128];

	if (access(POWER "disk", W_OK))
		SKIP(return, "no hibernation");
	read_line(POWER "disk", modes, sizeof(modes));
	if (self->control) {
		EXPECT_NE(NULL, strstr(modes, "shutdown")) TH_LOG("%s", modes);
		return;
	}
	EXPECT_STREQ("[disabled]\n", modes);
	EXPECT_EQ(-EPERM, cdm_write_string(POWER "disk", "shutdown"));

	/* The control: it is the node */
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "offline"));
	read_line(POWER "disk", modes, sizeof(modes));
	EXPECT_NE(NULL, strstr(modes, "shutdown")) TH_LOG("%s", modes);
	EXPECT_EQ(0, cdm_write_string(POWER "disk", "shutdown"));
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "online"));
	read_line(POWER "disk", modes, sizeof(modes));
	EXPECT_STREQ("[disabled]\n", modes);
}

TEST_HARNESS_MAIN
