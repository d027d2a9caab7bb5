// SPDX-License-Identifier: GPL-2.0-only
/* Moving pages to coherent device memory and back, by each of the system calls. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <numaif.h>

#include "cdm_fixture.h"

#define LEN	(8 * MB)
#define PAGES	((long)(LEN / 4096))

enum kind { ANON, THP, SHMEM, MAPPED_FILE };

FIXTURE(migrate)
{
	int node, ordinary;
	long used;
	char *map;
};

FIXTURE_VARIANT(migrate)
{
	enum kind kind;
};

FIXTURE_VARIANT_ADD(migrate, anonymous)
{
	.kind = ANON,
};

FIXTURE_VARIANT_ADD(migrate, huge_pages)
{
	.kind = THP,
};

FIXTURE_VARIANT_ADD(migrate, shmem)
{
	.kind = SHMEM,
};

FIXTURE_VARIANT_ADD(migrate, file)
{
	.kind = MAPPED_FILE,
};

static int open_kind(enum kind kind)
{
	return kind == SHMEM ? memfd_create("cdm", 0) : cdm_scratch_file(0);
}

FIXTURE_SETUP(migrate)
{
	int fd;

	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	cdm_drain();
	self->used = cdm_used_pages(self->node);

	if (variant->kind == ANON) {
		self->map = cdm_map(LEN);
	} else if (variant->kind == THP) {
		self->map = cdm_map_thp(LEN);
	} else {
		fd = open_kind(variant->kind);
		if (fd < 0 && variant->kind == MAPPED_FILE)
			SKIP(return, "no disk to make a file on, set CDM_SCRATCH");
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, ftruncate(fd, LEN));
		self->map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
		ASSERT_NE(MAP_FAILED, self->map);
	}
	ASSERT_NE(NULL, self->map);
	cdm_write_pattern(self->map, LEN, 21);
	ASSERT_EQ(PAGES, (long)cdm_pages_on(self->map, LEN, self->ordinary));
}

FIXTURE_TEARDOWN(migrate)
{
	if (self->map)
		munmap(self->map, LEN);
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used))
		TH_LOG("pages of node %d did not come back", self->node);
}

static void expect_on(struct __test_metadata *_metadata, struct _test_data_migrate *self,
		      enum kind kind, int node)
{
	EXPECT_TRUE(cdm_check_pattern(self->map, LEN, 21));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(self->map, LEN, node))
		TH_LOG("%zu on %d, %zu on %d", cdm_pages_on(self->map, LEN, self->node),
		       self->node, cdm_pages_on(self->map, LEN, self->ordinary),
		       self->ordinary);
	EXPECT_EQ(PAGES, cdm_numa_maps_pages(self->map, node));
	EXPECT_LE(self->used + (node == self->node ? PAGES : 0), cdm_used_pages(self->node));
	if (kind != THP)
		return;
	EXPECT_GE(cdm_node_value(node, "meminfo", "AnonHugePages"), (long)LEN >> 10)
		TH_LOG("huge pages were split");
}

TEST_F(migrate, mbind)
{
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND, 1UL << self->node,
			      MPOL_MF_MOVE | MPOL_MF_STRICT));
	expect_on(_metadata, self, variant->kind, self->node);
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND, 1UL << self->ordinary,
			      MPOL_MF_MOVE | MPOL_MF_STRICT));
	expect_on(_metadata, self, variant->kind, self->ordinary);
}

/* A mixed mask means its ordinary nodes, for pages that are there already too. */
TEST_F(migrate, mbind_mixed)
{
	unsigned long mask = 1UL << self->node | 1UL << self->ordinary;

	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND, 1UL << self->node,
			      MPOL_MF_MOVE | MPOL_MF_STRICT));
	expect_on(_metadata, self, variant->kind, self->node);
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND, mask, MPOL_MF_MOVE));
	expect_on(_metadata, self, variant->kind, self->ordinary);
}

/* Whether move_pages() says of each page, base or huge, that it moved. */
static bool move_to(char *map, size_t size, int node)
{
	static void *pages[PAGES];
	static int nodes[PAGES], status[PAGES];
	size_t nr = LEN / size, moved = 0, i;

	for (i = 0; i < nr; i++) {
		pages[i] = map + i * size;
		nodes[i] = node;
	}
	if (move_pages(0, nr, pages, nodes, status, MPOL_MF_MOVE))
		return false;
	for (i = 0; i < nr; i++)
		moved += status[i] == node;
	return moved == nr;
}

TEST_F(migrate, move_pages)
{
	size_t size = variant->kind == THP ? 2 * MB : 4096;

	EXPECT_TRUE(move_to(self->map, size, self->node));
	expect_on(_metadata, self, variant->kind, self->node);
	EXPECT_TRUE(move_to(self->map, size, self->ordinary));
	expect_on(_metadata, self, variant->kind, self->ordinary);
}

/* Of another process, everything it has. */
TEST_F(migrate, migrate_pages)
{
	unsigned long from = 1UL << self->ordinary, to = 1UL << self->node;
	int ready[2], go[2], status, i;
	char byte;
	pid_t pid;

	/* Pages that two processes map are not moved: let the child have them. */
	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		int fail = 0;

		cdm_write_pattern(self->map, LEN, 21);
		for (i = 0; i < 2; i++) {
			if (write(ready[1], "", 1) != 1 || read(go[0], &byte, 1) != 1)
				_exit(8);
			if (cdm_pages_on(self->map, LEN, i ? self->ordinary : self->node) !=
			    (size_t)PAGES)
				fail |= 1 << i;
			if (!cdm_check_pattern(self->map, LEN, 21))
				fail |= 4;
		}
		_exit(fail);
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	munmap(self->map, LEN);
	self->map = NULL;
	EXPECT_GE(migrate_pages(pid, CDM_MAX_NODES + 1, &from, &to), 0);
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	EXPECT_GE(migrate_pages(pid, CDM_MAX_NODES + 1, &to, &from), 0);
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, WEXITSTATUS(status))
		TH_LOG("child: 1 not moved there, 2 not moved back, 4 data, 8 hung up");
	EXPECT_TRUE(WIFEXITED(status));
	/*
	 * Root moves what is shared, too; of these pages the child has copied
	 * some since, which left this process the ones on the device.
	 */
	EXPECT_GE(migrate_pages(0, CDM_MAX_NODES + 1, &to, &from), 0);
}

TEST_HARNESS_MAIN
