// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory policy that names coherent device memory alone gets it, one that
 * names a mix stays on its ordinary nodes, and a task's policy takes nothing
 * there but anonymous memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "cdm_fixture.h"
#include "cdm_mempolicy.h"

#define SHMEM_HUGE	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define LEN	(8 * MB)
#define PAGES	((long)(LEN / 4096))

/* Each mode, asked for memory of the node alone. */
FIXTURE(mode)
{
	int node, ordinary;
	unsigned long mask;
	long used;
};

FIXTURE_VARIANT(mode)
{
	int mode;
	const char *shown;
};

FIXTURE_VARIANT_ADD(mode, bind)
{
	.mode = MPOL_BIND, .shown = "bind:",
};

FIXTURE_VARIANT_ADD(mode, preferred)
{
	.mode = MPOL_PREFERRED, .shown = "prefer:",
};

FIXTURE_VARIANT_ADD(mode, preferred_many)
{
	.mode = MPOL_PREFERRED_MANY, .shown = "prefer (many):",
};

FIXTURE_VARIANT_ADD(mode, interleave)
{
	.mode = MPOL_INTERLEAVE, .shown = "interleave:",
};

FIXTURE_VARIANT_ADD(mode, weighted_interleave)
{
	.mode = MPOL_WEIGHTED_INTERLEAVE, .shown = "weighted interleave:",
};

FIXTURE_SETUP(mode)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	cdm_drain();
	self->mask = 1UL << self->node;
	self->used = cdm_used_pages(self->node);
}

FIXTURE_TEARDOWN(mode)
{
}

TEST_F(mode, vma)
{
	char *map = cdm_map(LEN), policy[64], shown[64];
	int node = -1;
	long anon;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_bind(map, LEN, variant->mode, self->mask, 0));
	anon = cdm_node_value(self->node, "vmstat", "nr_anon_pages");
	cdm_write_pattern(map, LEN, 1);

	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->node));
	EXPECT_EQ(PAGES, cdm_numa_maps_pages(map, self->node));
	EXPECT_EQ(0, cdm_numa_maps_pages(map, self->ordinary));
	EXPECT_EQ(0, get_mempolicy(&node, NULL, 0, map, MPOL_F_NODE | MPOL_F_ADDR));
	EXPECT_EQ(self->node, node);
	ASSERT_EQ(0, cdm_numa_maps_policy(map, policy, sizeof(policy)));
	/* The name of a mode may hold a space; the first word will do. */
	snprintf(shown, sizeof(shown), "%s%d", variant->shown, self->node);
	EXPECT_EQ(0, strncmp(policy, shown, strcspn(shown, " ")))
		TH_LOG("numa_maps shows %s, not %s", policy, shown);

	EXPECT_EQ(0, cdm_wait_used(self->node, self->used + PAGES));
	EXPECT_EQ(PAGES, cdm_node_value(self->node, "vmstat", "nr_anon_pages") - anon);

	EXPECT_TRUE(cdm_check_pattern(map, LEN, 1));
	ASSERT_EQ(0, munmap(map, LEN));
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used))
		TH_LOG("munmap() did not give all pages back");
}

TEST_F(mode, task)
{
	char *map = cdm_map(LEN);

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_task_policy(variant->mode, self->mask));
	cdm_write_pattern(map, LEN, 2);
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->node));
}

/* Two huge pages, whole and on the node. */
TEST_F(mode, huge_pages)
{
	char *map = cdm_map_thp(LEN);
	long huge;

	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		SKIP(return, "no transparent huge pages");
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_bind(map, LEN, variant->mode, self->mask, 0));
	cdm_drain();
	huge = cdm_node_value(self->node, "meminfo", "AnonHugePages");
	cdm_write_pattern(map, LEN, 3);
	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->node));
	huge = cdm_node_value(self->node, "meminfo", "AnonHugePages") - huge;
	EXPECT_EQ((long)LEN >> 10, huge)
		TH_LOG("%ld kB in huge pages", huge);
}

FIXTURE(bound)
{
	int node, ordinary;
	unsigned long mask;
	long used;
};

FIXTURE_SETUP(bound)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	cdm_drain();
	self->mask = 1UL << self->node;
	self->used = cdm_used_pages(self->node);
}

FIXTURE_TEARDOWN(bound)
{
}

/* The copies of a child's writes stay, and its exit gives them back. */
TEST_F(bound, fork_copies_on_write)
{
	char *map = cdm_map(LEN);
	int status;
	pid_t pid;

	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(map, LEN, 4);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		int fail = !cdm_check_pattern(map, LEN, 4);

		cdm_write_pattern(map, LEN, 5);
		if (cdm_pages_on(map, LEN, self->node) != (size_t)PAGES)
			fail |= 2;
		if (cdm_used_pages(self->node) < self->used + 2 * PAGES)
			fail |= 4;
		_exit(fail);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("child: 1 data, 2 place, 4 counters");
	EXPECT_TRUE(cdm_check_pattern(map, LEN, 4));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->node));
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used + PAGES));
}

TEST_F(bound, exit_gives_back)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		char *map = cdm_map(LEN);

		if (!map || cdm_bind(map, LEN, MPOL_BIND, self->mask, 0))
			_exit(1);
		cdm_write_pattern(map, LEN, 6);
		_exit(cdm_pages_on(map, LEN, self->node) != (size_t)PAGES);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
}

/* The policy of a shared object holds for whoever touches it. */
TEST_F(bound, shared_memory)
{
	int fd = memfd_create("cdm", 0), status;
	char *map;
	pid_t pid;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ftruncate(fd, LEN));
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(map, LEN / 2, 7);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		cdm_write_pattern(map + LEN / 2, LEN / 2, 8);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(cdm_check_pattern(map + LEN / 2, LEN / 2, 8));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, self->node));
	ASSERT_EQ(0, munmap(map, LEN));
	close(fd);
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
}

/* Huge pages of a file go where the file's policy says, not where the task's does. */
TEST_F(bound, shared_huge_pages)
{
	unsigned long len = 2 * MB;
	char old[32] = "never";
	long huge;
	FILE *f;
	int way;

	f = fopen(SHMEM_HUGE, "r");
	if (!f)
		SKIP(return, "no huge pages of shared memory");
	/* "always within_size advise [never] deny force" */
	if (fscanf(f, "%*[^[][%31[^]]", old) != 1)
		strcpy(old, "never");
	fclose(f);
	ASSERT_EQ(0, cdm_write_string(SHMEM_HUGE, "advise"));
	for (way = 0; way < 2; way++) {
		int fd = memfd_create("cdm", 0), node = way ? self->ordinary : self->node;
		char *at = cdm_map(len), *map;

		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, ftruncate(fd, len));
		/* Aligned, in the place of something else */
		map = mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
		ASSERT_EQ(at, map);
		ASSERT_EQ(0, madvise(map, len, MADV_HUGEPAGE));
		huge = cdm_node_value(node, "vmstat", "nr_shmem_hugepages");
		ASSERT_EQ(0, way ? cdm_task_policy(MPOL_BIND, self->mask) :
				   cdm_bind(map, len, MPOL_BIND, self->mask, 0));
		cdm_write_pattern(map, len, 9);
		ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
		cdm_used_pages(node);
		EXPECT_EQ(1, cdm_node_value(node, "vmstat", "nr_shmem_hugepages") - huge);
		EXPECT_EQ(len / 4096, cdm_pages_on(map, len, node));
		EXPECT_TRUE(cdm_check_pattern(map, len, 9));
		munmap(map, len);
		close(fd);
	}
	EXPECT_EQ(0, cdm_write_string(SHMEM_HUGE, old));
}

/* A task's policy is for its own memory, not for files that others read. */
TEST_F(bound, task_policy_leaves_files_alone)
{
	static const char * const kinds[] = {
		"nr_file_pages", "nr_shmem", "nr_slab_reclaimable",
		"nr_slab_unreclaimable", "nr_page_table_pages", "nr_kernel_stack",
	};
	int shm, file = cdm_scratch_file(0);
	long before[ARRAY_SIZE(kinds)];
	char *buffer;
	unsigned int i;

	buffer = malloc(MB);
	ASSERT_NE(NULL, buffer);
	memset(buffer, 9, MB);
	shm = memfd_create("cdm", 0);
	ASSERT_GE(shm, 0);
	if (file != -ENOENT) {
		ASSERT_GE(file, 0);
		ASSERT_EQ(0, ftruncate(file, 16 * MB));
	}
	cdm_drain();
	cdm_used_pages(self->node);
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		before[i] = cdm_node_value(self->node, "vmstat", kinds[i]);

	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, self->mask));
	for (i = 0; i < 8; i++) {
		EXPECT_EQ((ssize_t)MB, write(shm, buffer, MB));
		if (file < 0)
			continue;
		EXPECT_EQ((ssize_t)MB, read(file, buffer, MB));
		EXPECT_EQ((ssize_t)MB, pwrite(file, buffer, MB, (8 + i) * MB));
	}
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));

	cdm_drain();
	cdm_used_pages(self->node);
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		EXPECT_EQ(before[i], cdm_node_value(self->node, "vmstat", kinds[i]))
			TH_LOG("kind %u of the list", i);
}

/* Each mode, asked for the node and an ordinary one. */
FIXTURE(mixed)
{
	int node, ordinary;
	struct cdm_usage before;
};

FIXTURE_VARIANT(mixed)
{
	int mode;
};

FIXTURE_VARIANT_ADD(mixed, bind)
{
	.mode = MPOL_BIND,
};

FIXTURE_VARIANT_ADD(mixed, preferred_many)
{
	.mode = MPOL_PREFERRED_MANY,
};

FIXTURE_VARIANT_ADD(mixed, interleave)
{
	.mode = MPOL_INTERLEAVE,
};

FIXTURE_VARIANT_ADD(mixed, weighted_interleave)
{
	.mode = MPOL_WEIGHTED_INTERLEAVE,
};

FIXTURE_SETUP(mixed)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	cdm_drain();
	ASSERT_EQ(0, cdm_usage_read(self->node, &self->before));
}

FIXTURE_TEARDOWN(mixed)
{
}

TEST_F(mixed, stays_on_ordinary_nodes)
{
	unsigned long mask = 1UL << self->node | 1UL << self->ordinary;
	char *vma = cdm_map(LEN), *task = cdm_map(LEN), *huge = cdm_map_thp(LEN);
	struct cdm_usage after;
	char what[512];

	ASSERT_NE(NULL, vma);
	ASSERT_NE(NULL, task);
	ASSERT_NE(NULL, huge);
	ASSERT_EQ(0, cdm_bind(vma, LEN, variant->mode, mask, 0));
	ASSERT_EQ(0, cdm_bind(huge, LEN, variant->mode, mask, 0));
	cdm_write_pattern(vma, LEN, 10);
	cdm_write_pattern(huge, LEN, 11);
	ASSERT_EQ(0, cdm_task_policy(variant->mode, mask));
	cdm_write_pattern(task, LEN, 12);
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));

	EXPECT_EQ(PAGES, (long)cdm_pages_on(vma, LEN, self->ordinary));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(huge, LEN, self->ordinary));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(task, LEN, self->ordinary));
	ASSERT_EQ(0, cdm_usage_read(self->node, &after));
	EXPECT_FALSE(cdm_usage_differs(&self->before, &after, what, sizeof(what)))
		TH_LOG("node %d:%s", self->node, what);
}

TEST_HARNESS_MAIN
