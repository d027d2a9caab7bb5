// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a task with a policy over a coherent node gets there, and what not: the
 * anonymous memory of its own address space, whatever it is used for, and
 * nothing that the kernel keeps for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <numaif.h>

#include "cdm_fixture.h"

#define LEN	(1 * MB)
#define PAGES	((long)(LEN / 4096))
#define TABLES	256
#define MTHP	"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/"

FIXTURE(task)
{
	int node, ordinary;
	unsigned long mask;
	char mthp[64];
};

FIXTURE_SETUP(task)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->mask = 1UL << self->node;
	cdm_drain();
}

FIXTURE_TEARDOWN(task)
{
	if (self->mthp[0])
		cdm_write_string(MTHP "enabled", self->mthp);
}

/* The part of a stack below the caller's frame. */
static long stack_pages(int node)
{
	char frame[LEN + 2 * 4096], *start;

	start = (char *)(((unsigned long)frame + 4095) & ~4095UL);
	cdm_write_pattern(start, LEN, 111);
	__asm__ volatile("" : : "r" (start) : "memory");
	return cdm_pages_on(start, LEN, node);
}

/* Not to be inlined: its frame is what is tested. */
long (*in_a_frame_below)(int node) = stack_pages;

TEST_F(task, stack)
{
	long there;

	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, self->mask));
	there = in_a_frame_below(self->node);
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(PAGES, there);
}

TEST_F(task, heap)
{
	char *start = sbrk(LEN + 4096);

	ASSERT_NE((void *)-1, start);
	start = (char *)(((unsigned long)start + 4095) & ~4095UL);
	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, self->mask));
	cdm_write_pattern(start, LEN, 112);
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(start, LEN, self->node));
}

/* The copy is the task's, the original is everybody's. */
TEST_F(task, private_copies_of_a_file)
{
	int fd = cdm_scratch_file(0);
	char *copy, *file;

	if (fd == -ENOENT)
		SKIP(return, "no disk to make a file on, set CDM_SCRATCH");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, LEN));
	copy = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	file = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, copy);
	ASSERT_NE(MAP_FAILED, file);
	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, self->mask));
	cdm_write_pattern(copy, LEN, 113);
	cdm_write_pattern(file, LEN, 114);
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(copy, LEN, self->node));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(file, LEN, self->ordinary));
	EXPECT_TRUE(cdm_check_pattern(copy, LEN, 113));
	EXPECT_TRUE(cdm_check_pattern(file, LEN, 114));
	close(fd);
}

/* A child has the policy from its parent, a program has it from who started it. */
TEST_F(task, inherited)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		cdm_task_policy(MPOL_BIND, self->mask);
		pid = fork();
		if (!pid) {
			char *map = cdm_map(LEN);

			cdm_write_pattern(map, LEN, 115);
			_exit(cdm_pages_on(map, LEN, self->node) != (size_t)PAGES);
		}
		_exit(pid < 0 || waitpid(pid, &status, 0) != pid || status);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Page tables, kernel stacks, slab: for the task, but not the task's. */
TEST_F_TIMEOUT(task, kernel_memory, 120)
{
	static const char * const kinds[] = {
		"nr_page_table_pages", "nr_kernel_stack", "nr_slab_reclaimable",
		"nr_slab_unreclaimable", "nr_file_pages", "nr_shmem",
	};
	long before[ARRAY_SIZE(kinds)], tables, stacks;
	pid_t pids[16];
	unsigned int i;
	const char *map;

	map = mmap(NULL, TABLES * 2 * MB, PROT_READ,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	madvise((void *)map, TABLES * 2 * MB, MADV_NOHUGEPAGE);
	cdm_used_pages(self->node);
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		before[i] = cdm_node_value(self->node, "vmstat", kinds[i]);
	tables = cdm_vmstat("nr_page_table_pages");
	stacks = cdm_vmstat("nr_kernel_stack");

	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, self->mask));
	/* Reads of untouched memory map the zero page. */
	for (i = 0; i < TABLES; i++)
		__asm__ volatile("" : : "r" (map[i * 2 * MB]));
	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		if (!pids[i]) {
			pause();
			_exit(0);
		}
	}
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	cdm_used_pages(self->node);
	/* The control: there was something to be put somewhere */
	EXPECT_LE(TABLES, cdm_vmstat("nr_page_table_pages") - tables);
	EXPECT_LT(0, cdm_vmstat("nr_kernel_stack") - stacks);
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		EXPECT_EQ(before[i], cdm_node_value(self->node, "vmstat", kinds[i]))
			TH_LOG("kind %u of the list", i);
	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		if (pids[i] <= 0)
			continue;
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}

/* A folio of 64 kB is tried on the node first, and stays there under a bind. */
TEST_F(task, multi_size_thp)
{
	char *bound = cdm_map(LEN), *mixed = cdm_map(LEN);
	long folios;
	FILE *f;

	f = fopen(MTHP "enabled", "r");
	if (!f)
		SKIP(return, "no multi-size THP");
	/* "always inherit madvise [never]" */
	if (fscanf(f, "%*[^[][%63[^]]", self->mthp) != 1)
		snprintf(self->mthp, sizeof(self->mthp), "never");
	fclose(f);
	ASSERT_NE(NULL, bound);
	ASSERT_NE(NULL, mixed);
	ASSERT_EQ(0, cdm_write_string(MTHP "enabled", "always"));
	ASSERT_EQ(0, madvise(bound, LEN, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(mixed, LEN, MADV_HUGEPAGE));
	ASSERT_EQ(0, cdm_bind(bound, LEN, MPOL_BIND, self->mask, 0));
	ASSERT_EQ(0, cdm_bind(mixed, LEN, MPOL_BIND, self->mask | 1UL << self->ordinary, 0));
	folios = cdm_read_long(MTHP "stats/anon_fault_alloc");
	cdm_write_pattern(bound, LEN, 116);
	cdm_write_pattern(mixed, LEN, 117);
	folios = cdm_read_long(MTHP "stats/anon_fault_alloc") - folios;
	EXPECT_LE(2 * PAGES / 16, folios) TH_LOG("no folios of 64 kB");
	EXPECT_EQ(PAGES, (long)cdm_pages_on(bound, LEN, self->node));
	EXPECT_EQ(PAGES, (long)cdm_pages_on(mixed, LEN, self->ordinary));
	EXPECT_TRUE(cdm_check_pattern(bound, LEN, 116));
	EXPECT_TRUE(cdm_check_pattern(mixed, LEN, 117));
}

TEST_HARNESS_MAIN
