// SPDX-License-Identifier: GPL-2.0-only
/* What lists nodes, or asks for the name of one, knows coherent nodes as well. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include <numaif.h>

#include "cdm_env.h"
#include "cdm_fixture.h"

#define DEBUG		"/sys/kernel/debug/"
#define WEIGHTS		"/sys/kernel/mm/mempolicy/weighted_interleave/"
#define LEN		(1 * MB)
#define GROUPS		40

FIXTURE(shown)
{
	int node, ordinary;
};

FIXTURE_SETUP(shown)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
}

static void group_path(char *path, size_t len, int i)
{
	snprintf(path, len, CDM_GROUP "-%d", i);
}

FIXTURE_TEARDOWN(shown)
{
	char path[64];
	int i;

	for (i = 0; i < GROUPS; i++) {
		group_path(path, sizeof(path), i);
		rmdir(path);
	}
}

/* The node was there before the directory: its driver is built in. */
TEST_F(shown, interleave_weight)
{
	char path[128], value[24];
	long weight;

	snprintf(path, sizeof(path), WEIGHTS "node%d", self->ordinary);
	if (access(path, R_OK))
		SKIP(return, "no weighted interleave");
	snprintf(path, sizeof(path), WEIGHTS "node%d", self->node);
	weight = cdm_read_long(path);
	ASSERT_LT(0, weight);
	EXPECT_EQ(0, cdm_write_string(path, "7"));
	EXPECT_EQ(7, cdm_read_long(path));
	snprintf(value, sizeof(value), "%ld", weight);
	EXPECT_EQ(0, cdm_write_string(path, value));
	EXPECT_EQ(-EINVAL, cdm_write_string(path, "256"));
}

/*
 * Every group has its two nodes, in this order.  It takes more than one read()
 * to see them all, and the place to go on is told by a number.
 */
TEST_F(shown, generations)
{
	static char text[1 << 20];
	int groups = 0, expect = -1, nid, fd, i;
	char path[64], chunk[512], *line;
	size_t len = 0;
	ssize_t n;

	fd = open(DEBUG "lru_gen", O_RDONLY);
	if (fd < 0)
		SKIP(return, "no multi-gen LRU");
	cdm_write_string(CDM_CGROUP "cgroup.subtree_control", "+memory");
	for (i = 0; i < GROUPS; i++) {
		group_path(path, sizeof(path), i);
		ASSERT_EQ(0, mkdir(path, 0755)) TH_LOG("%s: %s", path, strerror(errno));
	}
	while ((n = read(fd, chunk, sizeof(chunk))) > 0 && len + n < sizeof(text)) {
		memcpy(text + len, chunk, n);
		len += n;
	}
	close(fd);
	ASSERT_EQ(0, n);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (!strncmp(line, "memcg ", 6)) {
			EXPECT_EQ(-1, expect) TH_LOG("node %d is missing before %s", expect, line);
			groups++;
			expect = self->ordinary;
		} else if (sscanf(line, " node %d", &nid) == 1) {
			EXPECT_EQ(expect, nid) TH_LOG("of group %d", groups);
			expect = nid == self->ordinary ? self->node : -1;
		}
	}
	EXPECT_EQ(-1, expect);
	EXPECT_LE(GROUPS + 1, groups);
}

/* Lines "Node N, zone ..." of @path that are about the node; -1: no such file */
static int lines_of(const char *path, int node)
{
	char line[512];
	int nid, nr = 0;
	FILE *f;

	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		nr += sscanf(line, "Node %d, zone", &nid) == 1 && nid == node;
	fclose(f);
	return nr;
}

/* All that show the free lists of nodes. */
TEST_F(shown, free_lists)
{
	static const char * const files[] = {
		"/proc/buddyinfo", "/proc/pagetypeinfo", "/proc/zoneinfo",
		DEBUG "extfrag/unusable_index", DEBUG "extfrag/extfrag_index",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		int ordinary = lines_of(files[i], self->ordinary);

		EXPECT_LT(0, ordinary) TH_LOG("%s", files[i]);
		EXPECT_LT(0, lines_of(files[i], self->node)) TH_LOG("%s", files[i]);
		/* The control: of a node without memory there is nothing */
		EXPECT_EQ(0, lines_of(files[i], 63)) TH_LOG("%s", files[i]);
	}
}

static unsigned long block_pages(void)
{
	unsigned long size = 0;
	FILE *f;

	f = fopen("/sys/devices/system/memory/block_size_bytes", "r");
	if (!f || fscanf(f, "%lx", &size) != 1)
		size = 128 * MB;
	if (f)
		fclose(f);
	return size / 4096;
}

/* Is the page in a memory block of the node? */
static bool pfn_is_on(unsigned long pfn, int node)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/memory%lu", node,
		 pfn / block_pages());
	return !access(path, F_OK);
}

/* The first page of the node. */
static unsigned long first_pfn(int node)
{
	unsigned long first = -1UL, block;
	struct dirent *ent;
	char path[128];
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", node);
	dir = opendir(path);
	while (dir && (ent = readdir(dir)))
		if (sscanf(ent->d_name, "memory%lu", &block) == 1 && block < first)
			first = block;
	if (dir)
		closedir(dir);
	return first * block_pages();
}

/* With the filter, pages of the node alone, and there are some to be seen. */
TEST_F_TIMEOUT(shown, page_owner, 120)
{
	int fd = open(DEBUG "page_owner", O_RDWR), seen = 0, i;
	char *map = cdm_map(LEN), filter[32], text[4096], *at;
	unsigned long pfn;
	ssize_t n;

	if (fd < 0)
		SKIP(return, "boot with page_owner=on");
	ASSERT_NE(NULL, map);
	ASSERT_EQ(0, cdm_bind(map, LEN, MPOL_BIND, 1UL << self->node, 0));
	cdm_write_pattern(map, LEN, 91);
	snprintf(filter, sizeof(filter), "nid=%d", self->node);
	ASSERT_EQ((ssize_t)strlen(filter), write(fd, filter, strlen(filter)))
		TH_LOG("%s: %s", filter, strerror(errno));
	/* It is far to the memory of a device. */
	ASSERT_LT(0, lseek(fd, first_pfn(self->node), SEEK_SET));
	/* One page a read() */
	for (i = 0; i < 64 && (n = read(fd, text, sizeof(text) - 1)) > 0; i++) {
		text[n] = 0;
		at = strstr(text, "PFN ");
		if (!at || sscanf(at, "PFN %lx", &pfn) != 1)
			continue;
		EXPECT_TRUE(pfn_is_on(pfn, self->node)) TH_LOG("%s", text);
		seen++;
	}
	EXPECT_LT(0, seen);

	/* The control: it is the filter that says which; no node 63 is there */
	snprintf(filter, sizeof(filter), "nid=%d", self->ordinary);
	ASSERT_EQ((ssize_t)strlen(filter), write(fd, filter, strlen(filter)));
	ASSERT_LT(0, lseek(fd, first_pfn(self->node), SEEK_SET));
	EXPECT_EQ(0, read(fd, text, sizeof(text) - 1));
	EXPECT_EQ(-1, write(fd, "nid=63", 6));
	close(fd);
}

TEST_HARNESS_MAIN
