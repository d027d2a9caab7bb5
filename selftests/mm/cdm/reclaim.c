// SPDX-License-Identifier: GPL-2.0-only
/* Memory leaves a coherent node for the swap area, and for a long-term pin. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include <numaif.h>

#include "cdm_env.h"
#include "cdm_fixture.h"

#define LEN	(16 * MB)
#define PAGES	((long)(LEN / 4096))

FIXTURE(reclaim)
{
	int node, ordinary;
	unsigned long mask;
	long used;
};

FIXTURE_SETUP(reclaim)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->mask = 1UL << self->node;
	cdm_drain();
	self->used = cdm_used_pages(self->node);
}

FIXTURE_TEARDOWN(reclaim)
{
	cdm_swap_off();
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
}

/* nodeN/reclaim swaps out what is there, and it comes back to where it was. */
TEST_F_TIMEOUT(reclaim, node_reclaim, 120)
{
	char *bound = cdm_map(LEN), *task = cdm_map(LEN), path[128];
	unsigned long ordinary = 1UL << self->ordinary;
	long there;

	if (cdm_swap_on(64 * MB))
		SKIP(return, "no swap to be had");
	ASSERT_EQ(0, cdm_bind(bound, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(bound, LEN, 1);
	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, self->mask));
	cdm_write_pattern(task, LEN, 2);
	ASSERT_EQ(2 * PAGES, (long)(cdm_pages_on(bound, LEN, self->node) +
				    cdm_pages_on(task, LEN, self->node)));

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/reclaim", self->node);
	EXPECT_EQ(0, cdm_write_string(path, "16M swappiness=max"));
	there = cdm_pages_on(bound, LEN, self->node) + cdm_pages_on(task, LEN, self->node);
	EXPECT_LE(there, 2 * PAGES - PAGES * 3 / 4)
		TH_LOG("%ld of %ld pages are still there", there, 2 * PAGES);
	EXPECT_EQ(0, (long)cdm_pages_on(bound, LEN, self->ordinary));

	EXPECT_TRUE(cdm_check_pattern(bound, LEN, 1));
	EXPECT_TRUE(cdm_check_pattern(task, LEN, 2));
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(bound, LEN, self->node));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(task, LEN, self->node));
	munmap(bound, LEN);
	munmap(task, LEN);
	/* The task has touched more than this under its policy. */
	migrate_pages(0, CDM_MAX_NODES + 1, &self->mask, &ordinary);
}

/* A buffer that is registered leaves the device, and that is counted. */
TEST_F(reclaim, pin_is_counted)
{
	int ring = cdm_ring_make();
	char *map = cdm_map(MB);
	long node, all;

	if (ring < 0)
		SKIP(return, "no io_uring");
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_bind(map, MB, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(map, MB, 3);
	cdm_drain();
	cdm_used_pages(self->node);
	node = cdm_node_value(self->node, "vmstat", "cdm_pin_migrated");
	all = cdm_vmstat("cdm_pin_migrated");
	ASSERT_GE(node, 0);
	ASSERT_EQ(0, cdm_ring_pin(ring, map, MB));
	EXPECT_EQ(256, (long)cdm_pages_on(map, MB, self->ordinary));
	EXPECT_TRUE(cdm_check_pattern(map, MB, 3));
	cdm_used_pages(self->node);
	EXPECT_EQ(256, cdm_node_value(self->node, "vmstat", "cdm_pin_migrated") - node);
	EXPECT_EQ(256, cdm_vmstat("cdm_pin_migrated") - all);
	/* Other ways out are not. */
	ASSERT_EQ(0, close(ring));
	munmap(map, MB);
	map = cdm_map(MB);
	ASSERT_EQ(0, cdm_bind(map, MB, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(map, MB, 4);
	ASSERT_EQ(0, cdm_bind(map, MB, MPOL_BIND, 1UL << self->ordinary,
			      MPOL_MF_MOVE | MPOL_MF_STRICT));
	cdm_used_pages(self->node);
	EXPECT_EQ(256, cdm_vmstat("cdm_pin_migrated") - all);
	munmap(map, MB);
}

TEST_HARNESS_MAIN
