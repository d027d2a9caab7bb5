// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory of a coherent node can be taken away while it is in use: the data
 * moves to ordinary memory and the node is no longer one to ask for.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include <numaif.h>

#include "cdm_fixture.h"

#define LEN		(16 * MB)
#define PAGES		((long)(LEN / 4096))
#define MAX_BLOCKS	256
#define TIMEOUT		120

FIXTURE(hotplug)
{
	int node, ordinary, nr;
	int blocks[MAX_BLOCKS];
};

static int set_block(int block, const char *state)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%d/state", block);
	return cdm_write_string(path, state);
}

FIXTURE_SETUP(hotplug)
{
	struct dirent *ent;
	char path[128];
	DIR *dir;

	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	/* The links go away with the node: remember them. */
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", self->node);
	dir = opendir(path);
	ASSERT_NE(NULL, dir);
	while ((ent = readdir(dir)) && self->nr < MAX_BLOCKS)
		if (sscanf(ent->d_name, "memory%d", &self->blocks[self->nr]) == 1)
			self->nr++;
	closedir(dir);
	ASSERT_GT(self->nr, 0);
}

FIXTURE_TEARDOWN(hotplug)
{
	int i;

	for (i = 0; i < self->nr; i++)
		set_block(self->blocks[i], "online_movable");
}

TEST_F_TIMEOUT(hotplug, bound_pages_survive, TIMEOUT)
{
	unsigned long mask = 1UL << self->node;
	char *map = cdm_map(LEN), *thp = cdm_map_thp(LEN);
	int i;

	ASSERT_NE(NULL, map);
	ASSERT_NE(NULL, thp);
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, mask, 0));
	ASSERT_EQ(0, cdm_bind(thp, LEN, MPOL_BIND, mask, 0));
	cdm_write_pattern(map, LEN, 31);
	cdm_write_pattern(thp, LEN, 32);
	ASSERT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->node));
	ASSERT_EQ(PAGES, (long)cdm_pages_on(thp, LEN, self->node));

	for (i = 0; i < self->nr; i++)
		ASSERT_EQ(0, set_block(self->blocks[i], "offline"))
			TH_LOG("memory%d", self->blocks[i]);
	EXPECT_FALSE(cdm_node_in("has_coherent_memory", self->node));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->ordinary));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(thp, LEN, self->ordinary));
	EXPECT_TRUE(cdm_check_pattern(map, LEN, 31));
	EXPECT_TRUE(cdm_check_pattern(thp, LEN, 32));
	EXPECT_EQ(-EINVAL, cdm_bind(map, LEN, MPOL_BIND, mask, 0));

	for (i = 0; i < self->nr; i++)
		ASSERT_EQ(0, set_block(self->blocks[i], "online_movable"))
			TH_LOG("memory%d", self->blocks[i]);
	EXPECT_TRUE(cdm_node_in("has_coherent_memory", self->node));
	EXPECT_FALSE(cdm_node_in("has_memory", self->node));
	EXPECT_FALSE(cdm_node_in("has_normal_memory", self->node));
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, mask, MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->node));
	EXPECT_TRUE(cdm_check_pattern(map, LEN, 31));
}

TEST_HARNESS_MAIN
