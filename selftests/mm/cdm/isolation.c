// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nobody gets a page of a coherent device memory node without asking for it.
 *
 * Ordinary memory is filled with one kind of page after another until reclaim
 * runs; not one page of the node may have been allocated meanwhile, not even
 * for a moment.
 *
 * The control (CDM_CONTROL=1, the same memory being an ordinary node) has to
 * see every one of these kinds on the node, or the tests would prove nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <numaif.h>

#include "kselftest_harness.h"
#include "cdm_env.h"
#include "cdm_util.h"
#include "pressure.h"

#define ROOM		(128 * MB)
#define TIMEOUT		120
#define CONTROL_ROUNDS	4
#define HUGETLB		"/proc/sys/vm/nr_hugepages"

/*
 * The control needs a node that takes unmovable pages too: bring its memory
 * blocks online again in the kernel zone.  0 or a negative errno.
 */
static int control_online_kernel(int node)
{
	char path[320], zones[64];
	struct dirent *ent;
	int ret = 0;
	FILE *f;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", node);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (!ret && (ent = readdir(dir))) {
		if (strncmp(ent->d_name, "memory", 6) ||
		    ent->d_name[6] < '0' || ent->d_name[6] > '9')
			continue;
		snprintf(path, sizeof(path), "/sys/devices/system/memory/%.32s/valid_zones",
			 ent->d_name);
		f = fopen(path, "r");
		if (!f || !fgets(zones, sizeof(zones), f))
			zones[0] = 0;
		if (f)
			fclose(f);
		if (strncmp(zones, "Movable", 7))
			continue;
		snprintf(path, sizeof(path), "/sys/devices/system/memory/%.32s/state",
			 ent->d_name);
		ret = cdm_write_string(path, "offline");
		if (!ret)
			ret = cdm_write_string(path, "online_kernel");
	}
	closedir(dir);
	return ret;
}

FIXTURE(isolation)
{
	int node;
	bool control;
	const struct pressure_kind *kind;
};

FIXTURE_SETUP(isolation)
{
	self->control = cdm_control();
	self->node = cdm_node();
	if (geteuid())
		SKIP(return, "needs root");
	if (self->node < 0 && !self->control)
		SKIP(return, "no node of coherent device memory");
	if (!self->control)
		return;
	ASSERT_GE(self->node, 0)
		TH_LOG("the control needs a memory node without processors");
	ASSERT_FALSE(cdm_node_in("has_coherent_memory", self->node))
		TH_LOG("the control needs ordinary memory: boot with ccad.memory=ordinary");
	ASSERT_EQ(0, control_online_kernel(self->node));
}

FIXTURE_TEARDOWN(isolation)
{
	if (!self->kind)
		return;
	if (self->kind->cleanup)
		self->kind->cleanup();
	pressure_release();
}

/* Has a part of @len come to the node? */
static bool spilled(const struct cdm_usage *before, const struct cdm_usage *after, size_t len)
{
	return (after->used - before->used) * 4096 >= (long)(len / 64);
}

static void check(struct __test_metadata *_metadata, struct _test_data_isolation *self,
		  const struct pressure_kind *kind, size_t len)
{
	long reclaimed, filled, grown = 0;
	struct cdm_usage before, after;
	int ordinary = cdm_ordinary_node();
	char what[512];
	int i;

	self->kind = kind;
	ASSERT_EQ(0, pressure_build(ROOM))
		TH_LOG("ordinary memory could not be filled");

	ASSERT_EQ(0, cdm_usage_read(self->node, &before));
	reclaimed = pressure_reclaimed();
	if (kind->meminfo)
		grown -= cdm_node_value(ordinary, "meminfo", kind->meminfo);
	filled = kind->fill(len);
	if (kind->meminfo)
		grown += cdm_node_value(ordinary, "meminfo", kind->meminfo);
	reclaimed = pressure_reclaimed() - reclaimed;
	ASSERT_EQ(0, cdm_usage_read(self->node, &after));

	ASSERT_GE(filled, (long)(len / 2))
		TH_LOG("%s: %s", kind->name, strerror(filled < 0 ? -filled : 0));

	if (self->control) {
		/*
		 * What kswapd does not make room for in time, which depends on
		 * the machine, so go on for a while; a leak would be a single
		 * page.
		 */
		for (i = 0; i < CONTROL_ROUNDS && !spilled(&before, &after, len); i++) {
			ASSERT_LT(0, kind->fill(len));
			ASSERT_EQ(0, cdm_usage_read(self->node, &after));
		}
		EXPECT_TRUE(spilled(&before, &after, len))
			TH_LOG("%s do not come to an ordinary node: the test could not see a leak",
			       kind->name);
		return;
	}
	EXPECT_FALSE(cdm_usage_differs(&before, &after, what, sizeof(what)))
		TH_LOG("%s used node %d:%s", kind->name, self->node, what);
	EXPECT_GE(reclaimed * 4096, (long)(len / 4))
		TH_LOG("%s: only %ld pages reclaimed, no pressure", kind->name, reclaimed);
	if (!kind->meminfo)
		return;
	EXPECT_GE(grown * 1024, (long)(len / 2))
		TH_LOG("%s: %s of node %d grew by %ld kB only", kind->name,
		       kind->meminfo, ordinary, grown);
}

TEST_F_TIMEOUT(isolation, anonymous_memory, TIMEOUT)
{
	check(_metadata, self, &pressure_anonymous, 64 * MB);
}

TEST_F_TIMEOUT(isolation, huge_pages, TIMEOUT)
{
	check(_metadata, self, &pressure_thp, 64 * MB);
}

TEST_F_TIMEOUT(isolation, page_cache_read, TIMEOUT)
{
	check(_metadata, self, &pressure_cache_read, 128 * MB);
}

TEST_F_TIMEOUT(isolation, page_cache_write, TIMEOUT)
{
	check(_metadata, self, &pressure_cache_write, 64 * MB);
}

TEST_F_TIMEOUT(isolation, tmpfs, TIMEOUT)
{
	check(_metadata, self, &pressure_tmpfs, 64 * MB);
}

TEST_F_TIMEOUT(isolation, slab, TIMEOUT)
{
	check(_metadata, self, &pressure_slab, 48 * MB);
}

TEST_F_TIMEOUT(isolation, page_tables, TIMEOUT)
{
	check(_metadata, self, &pressure_page_tables, 48 * MB);
}

TEST_F_TIMEOUT(isolation, pipes, TIMEOUT)
{
	check(_metadata, self, &pressure_pipes, 48 * MB);
}

TEST_F_TIMEOUT(isolation, sockets, TIMEOUT)
{
	check(_metadata, self, &pressure_sockets, 48 * MB);
}

/* The pool of nr_hugepages is spread over all nodes with memory. */
TEST_F_TIMEOUT(isolation, hugetlb_pool, TIMEOUT)
{
	long before, on_node, total;
	char value[24];

	before = cdm_read_long(HUGETLB);
	if (before < 0)
		SKIP(return, "no hugetlb");
	snprintf(value, sizeof(value), "%ld", before + 16);
	ASSERT_EQ(0, cdm_write_string(HUGETLB, value));
	total = cdm_read_long(HUGETLB) - before;
	on_node = cdm_pool(self->node, "nr_hugepages");
	snprintf(value, sizeof(value), "%ld", before);
	cdm_write_string(HUGETLB, value);

	ASSERT_GE(total, 8);
	/* A node that the pool does not know has no such file. */
	EXPECT_EQ(self->control, on_node > 0);
}

TEST_HARNESS_MAIN
