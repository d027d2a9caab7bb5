// SPDX-License-Identifier: GPL-2.0-only
/*
 * MPOL_F_COHERENT_NODES: a mask of ordinary and coherent nodes that is meant.
 * And the rest of what policies know: home nodes, weights, static and relative
 * masks, sizes between a page and a huge page.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "cdm_env.h"
#include "cdm_fixture.h"
#include "cdm_mempolicy.h"

#ifndef __NR_set_mempolicy_home_node
#define __NR_set_mempolicy_home_node	450
#endif

#define LEN	(8 * MB)
#define PAGES	((long)(LEN / 4096))
#define WEIGHTS	"/sys/kernel/mm/mempolicy/weighted_interleave/"
#define THP	"/sys/kernel/mm/transparent_hugepage/"

FIXTURE(mixed)
{
	int node, ordinary;
	unsigned long mask, both;
	char *map;
	long used;
};

FIXTURE_SETUP(mixed)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->mask = 1UL << self->node;
	self->both = self->mask | 1UL << self->ordinary;
	cdm_drain();
	self->used = cdm_used_pages(self->node);
	self->map = cdm_map(LEN);
	ASSERT_NE(NULL, self->map);
}

FIXTURE_TEARDOWN(mixed)
{
	cdm_task_policy(MPOL_DEFAULT, 0);
	cdm_group_remove();
	if (self->map)
		munmap(self->map, LEN);
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
}

static long on_node(struct _test_data_mixed *self)
{
	return cdm_pages_on(self->map, LEN, self->node);
}

static long on_ordinary(struct _test_data_mixed *self)
{
	return cdm_pages_on(self->map, LEN, self->ordinary);
}

static int weight(int node, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), WEIGHTS "node%d", node);
	return cdm_write_string(path, value);
}

/* The same mask without the flag, then with it. */
TEST_F(mixed, interleave)
{
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_INTERLEAVE, self->both, 0));
	cdm_write_pattern(self->map, LEN, 1);
	EXPECT_EQ(PAGES, on_ordinary(self));

	ASSERT_EQ(0, madvise(self->map, LEN, MADV_DONTNEED));
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_INTERLEAVE | MPOL_F_COHERENT_NODES,
			      self->both, 0));
	cdm_write_pattern(self->map, LEN, 2);
	EXPECT_EQ(PAGES / 2, on_ordinary(self));
	EXPECT_EQ(PAGES / 2, on_node(self));
	EXPECT_NE(cdm_page_node(self->map), cdm_page_node(self->map + 4096));
	EXPECT_EQ(cdm_page_node(self->map), cdm_page_node(self->map + 2 * 4096));
	EXPECT_TRUE(cdm_check_pattern(self->map, LEN, 2));
}

TEST_F(mixed, weighted_interleave)
{
	if (weight(self->ordinary, "3") || weight(self->node, "1"))
		SKIP(return, "no weights");
	ASSERT_EQ(0, cdm_bind(self->map, LEN,
			      MPOL_WEIGHTED_INTERLEAVE | MPOL_F_COHERENT_NODES,
			      self->both, 0));
	cdm_write_pattern(self->map, LEN, 3);
	EXPECT_EQ(PAGES * 3 / 4, on_ordinary(self));
	EXPECT_EQ(PAGES / 4, on_node(self));

	/* Among coherent nodes alone the weight of others is of no account. */
	ASSERT_EQ(0, madvise(self->map, LEN, MADV_DONTNEED));
	EXPECT_EQ(0, weight(self->node, "5"));
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_WEIGHTED_INTERLEAVE, self->mask, 0));
	cdm_write_pattern(self->map, LEN, 4);
	EXPECT_EQ(PAGES, on_node(self));
	cdm_write_string(WEIGHTS "auto", "true");
}

TEST_F(mixed, huge_pages_in_turn)
{
	char *huge = cdm_map_thp(LEN);
	size_t i;

	if (access(THP "enabled", F_OK))
		SKIP(return, "no transparent huge pages");
	ASSERT_NE(NULL, huge);
	ASSERT_EQ(0, cdm_bind(huge, LEN, MPOL_INTERLEAVE | MPOL_F_COHERENT_NODES,
			      self->both, 0));
	cdm_write_pattern(huge, LEN, 5);
	EXPECT_EQ(PAGES / 2, (long)cdm_pages_on(huge, LEN, self->node));
	for (i = 0; i < LEN; i += 2 * MB)
		EXPECT_EQ(512, (long)cdm_pages_on(huge + i, 2 * MB, cdm_page_node(huge + i)));
	EXPECT_NE(cdm_page_node(huge), cdm_page_node(huge + 2 * MB));
	ASSERT_EQ(0, munmap(huge, LEN));
}

FIXTURE(first)
{
	int node, ordinary;
	unsigned long both;
};

FIXTURE_VARIANT(first)
{
	int mode;
	bool thp;
};

FIXTURE_VARIANT_ADD(first, bind)
{
	.mode = MPOL_BIND,
};

FIXTURE_VARIANT_ADD(first, bind_huge)
{
	.mode = MPOL_BIND, .thp = true,
};

FIXTURE_VARIANT_ADD(first, preferred_many)
{
	.mode = MPOL_PREFERRED_MANY,
};

FIXTURE_SETUP(first)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	self->both = 1UL << self->node | 1UL << self->ordinary;
}

FIXTURE_TEARDOWN(first)
{
}

/* Ordinary memory comes first, or else the home node. */
TEST_F(first, home_node)
{
	const int flagged = variant->mode | MPOL_F_COHERENT_NODES;
	int home;

	for (home = -1; home < 2; home++) {
		int want = home == 1 ? self->node : self->ordinary;
		char *map = variant->thp ? cdm_map_thp(LEN) : cdm_map(LEN);

		ASSERT_NE(NULL, map);
		ASSERT_EQ(0, cdm_bind(map, LEN, flagged, self->both, 0));
		if (home >= 0)
			ASSERT_EQ(0, syscall(__NR_set_mempolicy_home_node, map, LEN,
					     want, 0));
		cdm_write_pattern(map, LEN, 6);
		EXPECT_EQ(PAGES, (long)cdm_pages_on(map, LEN, want))
			TH_LOG("home node %d", home < 0 ? -1 : want);
		munmap(map, LEN);
	}
}

/* With two devices the home node says which is filled first. */
TEST_F(mixed, home_among_several)
{
	unsigned long devices;
	int other, i;

	for (other = 0; other < CDM_MAX_NODES; other++)
		if (other != self->node && cdm_node_in("has_coherent_memory", other))
			break;
	if (other == CDM_MAX_NODES)
		SKIP(return, "just one node of coherent device memory");
	devices = self->mask | 1UL << other;
	for (i = 0; i < 2; i++) {
		int home = i ? other : self->node;

		ASSERT_EQ(0, madvise(self->map, LEN, MADV_DONTNEED));
		ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND, devices, 0));
		ASSERT_EQ(0, syscall(__NR_set_mempolicy_home_node, self->map, LEN, home, 0));
		cdm_write_pattern(self->map, LEN, 15);
		EXPECT_EQ(PAGES, (long)cdm_pages_on(self->map, LEN, home));
	}
	/* Nor is one of them filled for the other's interleave. */
	ASSERT_EQ(0, madvise(self->map, LEN, MADV_DONTNEED));
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_INTERLEAVE, devices, 0));
	cdm_write_pattern(self->map, LEN, 16);
	EXPECT_EQ(PAGES / 2, on_node(self));
	EXPECT_EQ(PAGES / 2, (long)cdm_pages_on(self->map, LEN, other));
}

/* What the system calls say, and what is shown. */
TEST_F(mixed, is_told)
{
	char policy[64], shown[64];
	unsigned long nodes = 0;
	int mode = -1;

	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND | MPOL_F_COHERENT_NODES,
			      self->both, 0));
	cdm_write_pattern(self->map, LEN, 17);
	ASSERT_EQ(0, get_mempolicy(&mode, &nodes, CDM_MAX_NODES + 1, self->map, MPOL_F_ADDR));
	EXPECT_EQ(MPOL_BIND | MPOL_F_COHERENT_NODES, mode);
	EXPECT_EQ(self->both, nodes);
	ASSERT_EQ(0, cdm_numa_maps_policy(self->map, policy, sizeof(policy)));
	snprintf(shown, sizeof(shown), "bind=coherent:%d%c%d", self->ordinary,
		 self->node == self->ordinary + 1 ? '-' : ',', self->node);
	EXPECT_STREQ(shown, policy);
	/* Without the flag the mask is told as it is used. */
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND, self->both, 0));
	ASSERT_EQ(0, get_mempolicy(&mode, &nodes, CDM_MAX_NODES + 1, self->map, MPOL_F_ADDR));
	EXPECT_EQ(MPOL_BIND, mode);
	EXPECT_EQ(self->both & ~self->mask, nodes);
}

TEST_F(mixed, is_refused)
{
	const int flag = MPOL_F_COHERENT_NODES;

	EXPECT_EQ(0, cdm_task_policy(MPOL_INTERLEAVE | flag, self->both));
	EXPECT_EQ(0, cdm_task_policy(MPOL_INTERLEAVE | flag | MPOL_F_STATIC_NODES, self->both));
	EXPECT_EQ(-EINVAL, cdm_task_policy(MPOL_DEFAULT | flag, 0));
	EXPECT_EQ(-EINVAL, cdm_task_policy(MPOL_LOCAL | flag, 0));
	EXPECT_EQ(-EINVAL, cdm_task_policy(MPOL_PREFERRED | flag, 0));
	EXPECT_EQ(-EINVAL, cdm_task_policy(MPOL_BIND | flag, 0));
	EXPECT_EQ(-EINVAL, cdm_task_policy(MPOL_BIND | flag | MPOL_F_RELATIVE_NODES,
					   self->both));
	EXPECT_EQ(-EINVAL, cdm_bind(self->map, LEN, MPOL_DEFAULT | flag, 0, 0));
}

/* mbind() leaves what lies on a node that is meant, and moves the rest. */
TEST_F(mixed, move)
{
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND, self->mask, 0));
	cdm_write_pattern(self->map, LEN, 7);
	ASSERT_EQ(PAGES, on_node(self));
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND | MPOL_F_COHERENT_NODES, self->both,
			      MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(PAGES, on_node(self));
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND, self->both,
			      MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(PAGES, on_ordinary(self));
	EXPECT_TRUE(cdm_check_pattern(self->map, LEN, 7));
}

/* Of the task's policy nothing but its anonymous memory sees the device. */
TEST_F(mixed, task_policy)
{
	struct cdm_usage before, after;
	char what[512], *buffer;
	int shm;

	buffer = malloc(MB);
	ASSERT_NE(NULL, buffer);
	memset(buffer, 8, MB);
	shm = memfd_create("cdm", 0);
	ASSERT_GE(shm, 0);
	ASSERT_EQ(0, cdm_usage_read(self->node, &before));
	ASSERT_EQ(0, cdm_task_policy(MPOL_INTERLEAVE | MPOL_F_COHERENT_NODES, self->both));
	for (int i = 0; i < 8; i++)
		EXPECT_EQ((ssize_t)MB, write(shm, buffer, MB));
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	ASSERT_EQ(0, cdm_usage_read(self->node, &after));
	EXPECT_FALSE(cdm_usage_differs(&before, &after, what, sizeof(what)))
		TH_LOG("node %d:%s", self->node, what);
	close(shm);

	ASSERT_EQ(0, cdm_task_policy(MPOL_INTERLEAVE | MPOL_F_COHERENT_NODES, self->both));
	cdm_write_pattern(self->map, LEN, 9);
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(PAGES / 2, on_node(self));
}

/* A mount option says the same in words. */
TEST_F(mixed, tmpfs)
{
	char options[64], path[] = "/tmp/cdm-XXXXXX", file[64], line[256];
	bool shown = false;
	char *map;
	FILE *f;
	int fd;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    !mkdtemp(path))
		SKIP(return, "no directory to mount on");
	snprintf(options, sizeof(options), "mpol=interleave=coherent:%d,%d", self->ordinary,
		 self->node);
	ASSERT_EQ(0, mount("cdm", path, "tmpfs", 0, options));
	snprintf(file, sizeof(file), "%s/file", path);
	fd = open(file, O_CREAT | O_RDWR, 0600);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ftruncate(fd, LEN));
	map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	cdm_write_pattern(map, LEN, 10);
	EXPECT_EQ(PAGES / 2, (long)cdm_pages_on(map, LEN, self->node));
	f = fopen("/proc/mounts", "r");
	while (f && fgets(line, sizeof(line), f))
		shown |= strstr(line, path) && strstr(line, "mpol=interleave=coherent:");
	EXPECT_TRUE(shown) TH_LOG("the mount option is not shown as it was given");
	fclose(f);
	munmap(map, LEN);
	close(fd);
	umount(path);
	/* Neither a number nor a default is a name. */
	snprintf(options, sizeof(options), "mpol=bind=relative|coherent:%d", self->node);
	EXPECT_EQ(-1, mount("cdm", path, "tmpfs", 0, options));
	EXPECT_EQ(-1, mount("cdm", path, "tmpfs", 0, "mpol=local=coherent"));
	rmdir(path);
}

/* Taking the node away, and giving it back to a policy that waits for it. */
static int lose_and_find(unsigned long mask, int flags, bool found)
{
	const unsigned long both = mask | 1UL << cdm_ordinary_node();
	const int node = __builtin_ctzl(mask);
	char *map = cdm_map(LEN), mems[2][32];
	int i;

	snprintf(mems[0], sizeof(mems[0]), "%d", cdm_ordinary_node());
	snprintf(mems[1], sizeof(mems[1]), "%d,%d", cdm_ordinary_node(), node);
	if (!map || cdm_bind(map, LEN, MPOL_INTERLEAVE | MPOL_F_COHERENT_NODES | flags, both, 0))
		return 1;
	for (i = 0; i < 2; i++) {
		long want = i && found ? PAGES / 2 : 0;

		if (cdm_write_string(CDM_GROUP "/cpuset.mems", mems[i]))
			return 2;
		madvise(map, LEN, MADV_DONTNEED);
		cdm_write_pattern(map, LEN, 11);
		if ((long)cdm_pages_on(map, LEN, node) != want)
			return 3 + i;
	}
	return 0;
}

static int lose(unsigned long mask)
{
	return lose_and_find(mask, 0, false);
}

static int lose_static(unsigned long mask)
{
	return lose_and_find(mask, MPOL_F_STATIC_NODES, true);
}

TEST_F(mixed, cpuset)
{
	char mems[32];

	if (cdm_group_make("+cpuset") || access(CDM_GROUP "/cpuset.mems", W_OK))
		SKIP(return, "no cpusets");
	snprintf(mems, sizeof(mems), "%d,%d", self->ordinary, self->node);
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/cpuset.mems", mems));
	EXPECT_EQ(0, cdm_group_run(lose, self->mask))
		TH_LOG("3: used though denied, 4: back without its name");
	ASSERT_EQ(0, cdm_write_string(CDM_GROUP "/cpuset.mems", mems));
	EXPECT_EQ(0, cdm_group_run(lose_static, self->mask))
		TH_LOG("3: used though denied, 4: did not come back");
}

/* The flags that are older, with the node alone. */
TEST_F(mixed, static_and_relative)
{
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND | MPOL_F_STATIC_NODES, self->mask, 0));
	cdm_write_pattern(self->map, LEN, 12);
	EXPECT_EQ(PAGES, on_node(self));
	/* The nth node is an ordinary one, whatever its number. */
	ASSERT_EQ(0, madvise(self->map, LEN, MADV_DONTNEED));
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND | MPOL_F_RELATIVE_NODES, self->mask, 0));
	cdm_write_pattern(self->map, LEN, 13);
	EXPECT_EQ(PAGES, on_ordinary(self));
}

/* Folios of a size in between stay where the bind says. */
TEST_F(mixed, sizes_in_between)
{
	const char *enabled = THP "hugepages-64kB/enabled";
	const char *count = THP "hugepages-64kB/stats/anon_fault_alloc";
	long before;

	if (cdm_write_string(enabled, "always"))
		SKIP(return, "no folios of 64 kB");
	before = cdm_read_long(count);
	ASSERT_EQ(0, cdm_bind(self->map, LEN, MPOL_BIND, self->mask, 0));
	madvise(self->map, LEN, MADV_HUGEPAGE);
	/* Not of 2 MB: one page of each is there already. */
	for (size_t i = 0; i < LEN; i += 2 * MB)
		madvise(self->map + i, 4096, MADV_NOHUGEPAGE);
	cdm_write_pattern(self->map, LEN, 14);
	EXPECT_EQ(PAGES, on_node(self));
	EXPECT_GT(cdm_read_long(count) - before, (long)(LEN / 65536 / 2));
	cdm_write_string(enabled, "never");
}

TEST_HARNESS_MAIN
