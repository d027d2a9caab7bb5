// SPDX-License-Identifier: GPL-2.0-only
/* The accelerator's own memory as a node of coherent device memory. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <numa.h>
#include <numaif.h>

#include "kselftest_harness.h"
#include "../../mm/cdm/cdm_util.h"
#include "test_util.h"

#define LEN	(4 * MB)
#define PAGES	((long)(LEN / PAGE))
/* To processors; $CCAD_DISTANCE where the machine has another one */
#define DISTANCE	160

FIXTURE(devmem)
{
	CCAD_ALIGNED struct ccad_completion comp;
	struct ccad_ctx ctx;
	int node, ordinary;
	unsigned long mask;
};

FIXTURE_SETUP(devmem)
{
	char path[256], mode[32] = "";
	FILE *f;

	self->ctx.fd = -1;
	if (!test_device_present())
		SKIP(return, "no accelerator");
	ASSERT_EQ(0, test_pci_path("ccad/memory", path, sizeof(path)));
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	ASSERT_NE(NULL, fgets(mode, sizeof(mode), f));
	fclose(f);
	if (strncmp(mode, "cdm", 3))
		SKIP(return, "the memory is %.10s", mode);
	ASSERT_EQ(0, ccad_open(&self->ctx, 4));
	self->node = self->ctx.info.node;
	self->ordinary = cdm_ordinary_node();
	ASSERT_GE(self->node, 0) TH_LOG("the device's memory has no node");
	self->mask = 1UL << self->node;
}

FIXTURE_TEARDOWN(devmem)
{
	ccad_close(&self->ctx);
}

/* What firmware and device say of it is what the kernel shows. */
TEST_F(devmem, node)
{
	const char *env = getenv("CCAD_DISTANCE");
	int distance = env && *env ? atoi(env) : DISTANCE;
	char path[256];
	struct stat st;

	EXPECT_EQ(self->node, ccad_attr("node"));
	EXPECT_TRUE(cdm_node_in("has_coherent_memory", self->node));
	EXPECT_TRUE(cdm_node_in("online", self->node));
	EXPECT_FALSE(cdm_node_in("has_memory", self->node));
	EXPECT_FALSE(cdm_node_in("has_normal_memory", self->node));
	EXPECT_FALSE(cdm_node_in("has_cpu", self->node));

	ASSERT_EQ(0, test_pci_path("numa_node", path, sizeof(path)));
	EXPECT_EQ(self->node, cdm_read_long(path));
	ASSERT_EQ(0, test_pci_path("resource2", path, sizeof(path)));
	ASSERT_EQ(0, stat(path, &st));
	EXPECT_EQ(st.st_size >> 10, cdm_node_value(self->node, "meminfo", "MemTotal"));

	/* As in the guest's SLIT, in both directions */
	EXPECT_EQ(distance, numa_distance(self->ordinary, self->node));
	EXPECT_EQ(distance, numa_distance(self->node, self->ordinary));

	/* Only what can be moved away. */
	EXPECT_EQ(0, cdm_node_value(self->node, "vmstat", "nr_slab_unreclaimable"));
	EXPECT_EQ(0, cdm_node_value(self->node, "vmstat", "nr_page_table_pages"));
	EXPECT_EQ(0, cdm_node_value(self->node, "vmstat", "nr_kernel_stack"));
}

TEST_F(devmem, copies)
{
	char *here = cdm_map(LEN), *there = cdm_map(LEN), *there2 = cdm_map(LEN);

	ASSERT_EQ(0, cdm_bind(there, LEN, MPOL_BIND, self->mask, 0));
	ASSERT_EQ(0, cdm_bind(there2, LEN, MPOL_BIND, self->mask, 0));
	test_pattern(here, LEN, 1);
	memset(there, 0, LEN);
	memset(there2, 0, LEN);
	ASSERT_EQ(PAGES, (long)cdm_pages_on(there, LEN, self->node));

	EXPECT_SUCCESS(&self->ctx, ccad_copy(there, here, LEN), &self->comp);
	EXPECT_EQ(LEN, self->comp.bytes_local);
	EXPECT_EQ(0, memcmp(there, here, LEN));
	EXPECT_SUCCESS(&self->ctx, ccad_copy(there2, there, LEN), &self->comp);
	EXPECT_EQ(2 * LEN, self->comp.bytes_local);
	EXPECT_EQ(0, memcmp(there2, here, LEN));
	memset(here, 0, LEN);
	EXPECT_SUCCESS(&self->ctx, ccad_copy(here, there, LEN), &self->comp);
	EXPECT_EQ(LEN, self->comp.bytes_local);
	EXPECT_EQ(0, memcmp(here, there2, LEN));
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(here, LEN, 0), &self->comp);
	EXPECT_EQ(0, self->comp.bytes_local);
}

/* Its own memory is the nearer one in device time too. */
TEST_F(devmem, cost)
{
	char *here = cdm_map(LEN), *there = cdm_map(LEN);
	__u64 ns;

	ASSERT_EQ(0, cdm_bind(there, LEN, MPOL_BIND, self->mask, 0));
	memset(here, 1, LEN);
	memset(there, 1, LEN);
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(here, LEN, 0), &self->comp);
	ns = self->comp.device_ns;
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(there, LEN, 0), &self->comp);
	EXPECT_LT(self->comp.device_ns, ns);
}

/* A page that the device touches first lies where the mapping's policy says. */
TEST_F(devmem, first_touch_bound)
{
	char *map = cdm_map(LEN);

	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	EXPECT_SUCCESS(&self->ctx, ccad_fill(map, 0x0101010101010101, LEN), &self->comp);
	EXPECT_GT(self->comp.page_requests, 0);
	EXPECT_EQ(LEN, self->comp.bytes_local);
	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->node));
	EXPECT_EQ(1, map[LEN - 1]);
}

/* And in ordinary memory if it says nothing. */
TEST_F(devmem, first_touch_default)
{
	char *map = cdm_map(LEN);

	EXPECT_SUCCESS(&self->ctx, ccad_fill(map, 0x0101010101010101, LEN), &self->comp);
	EXPECT_EQ(0, self->comp.bytes_local);
	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->ordinary));
}

TEST_F(devmem, huge_pages)
{
	char *map = cdm_map_thp(LEN);

	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	test_pattern(map, LEN, 2);
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(map, LEN, 0), &self->comp);
	EXPECT_EQ(test_crc32c(0, map, LEN), self->comp.result);
	EXPECT_EQ(LEN, self->comp.bytes_local);
	EXPECT_LT(self->comp.translations, 32);
}

/* Moving pages to and fro under a device that reads them changes nothing. */
TEST_F_TIMEOUT(devmem, move_while_reading, 120)
{
	char *map = cdm_map(LEN);
	struct ccad_desc desc;
	__u64 local = 0;
	__u32 crc, i;

	test_pattern(map, LEN, 3);
	crc = test_crc32c(0, map, LEN);
	for (i = 0; i < 10; i++) {
		memset(&self->comp, 0, sizeof(self->comp));
		desc = ccad_crc32c(map, LEN, 0);
		desc.completion = (uintptr_t)&self->comp;
		ASSERT_EQ(0, ccad_submit(&self->ctx, &desc));
		ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND,
				      1UL << (i % 2 ? self->ordinary : self->node),
				      MPOL_MF_MOVE));
		ASSERT_EQ(0, ccad_wait(&self->comp, WAIT_MS));
		ASSERT_EQ(CCAD_COMP_SUCCESS, self->comp.status);
		EXPECT_EQ(crc, self->comp.result) TH_LOG("round %u", i);
		EXPECT_SUCCESS(&self->ctx, ccad_crc32c(map, LEN, 0), &self->comp);
		EXPECT_EQ(crc, self->comp.result);
		EXPECT_EQ(i % 2 ? 0 : LEN, self->comp.bytes_local);
		local += self->comp.bytes_local;
	}
	EXPECT_EQ(5 * LEN, local);
}

TEST_HARNESS_MAIN
