// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who may use a coherent node is a matter of the cpuset, of either version:
 * grants and denies, what becomes of policies and pages when they change, and
 * of sets that nobody could live in.
 */
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cdm_env.h"
#include "cdm_fixture.h"
#include "cdm_mempolicy.h"

#define LEN	(1 * MB)
#define PAGES	((long)(LEN / 4096))
#define V1	"/tmp/cdm-cpuset"
#define MAPS	6

FIXTURE(cpuset)
{
	int node, ordinary;
	long used;
	char group[64], both[32], without[16], alone[16];
};

FIXTURE_VARIANT(cpuset)
{
	int version;
};

FIXTURE_VARIANT_ADD(cpuset, v2)
{
	.version = 2,
};

FIXTURE_VARIANT_ADD(cpuset, v1)
{
	.version = 1,
};

static int group_write(const struct _test_data_cpuset *self, const char *file,
		       const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", self->group, file);
	return cdm_write_string(path, value);
}

/* The first has the group's own file names, and a processor. */
static int make_v1(struct _test_data_cpuset *self)
{
	int i;

	cdm_write_string(CDM_CGROUP "cgroup.subtree_control", "-cpuset");
	mkdir(V1, 0755);
	/* Groups of version 2 that are gone hold the controller for a while. */
	for (i = 0; mount("cpuset", V1, "cgroup", 0, "cpuset"); i++) {
		if (errno != EBUSY || i == 200)
			return -errno;
		usleep(50000);
	}
	snprintf(self->group, sizeof(self->group), V1 "/cdm-test");
	if (mkdir(self->group, 0755) && errno != EEXIST)
		return -errno;
	return group_write(self, "cpuset.cpus", "0") ? :
		group_write(self, "cpuset.memory_migrate", "1");
}

FIXTURE_SETUP(cpuset)
{
	cdm_need_nodes(_metadata, &self->node, &self->ordinary);
	snprintf(self->both, sizeof(self->both), "%d,%d", self->ordinary, self->node);
	snprintf(self->without, sizeof(self->without), "%d", self->ordinary);
	snprintf(self->alone, sizeof(self->alone), "%d", self->node);
	if (variant->version == 1) {
		int ret = make_v1(self);

		if (ret)
			SKIP(return, "no cpusets of version 1: %s", strerror(-ret));
	} else {
		snprintf(self->group, sizeof(self->group), CDM_GROUP);
		if (cdm_group_make("+cpuset") || access(CDM_GROUP "/cpuset.mems", W_OK))
			SKIP(return, "no cpusets");
	}
	cdm_drain();
	self->used = cdm_used_pages(self->node);
}

/*
 * Is @what the state of the controller?  "0": back in version 2, "1": in a
 * hierarchy of version 1 that has no group but its root.
 */
static bool v1_is(const char *what)
{
	unsigned int hierarchy, groups;
	char line[128];
	bool is = false;
	FILE *f;

	f = fopen("/proc/cgroups", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "cpuset %u %u", &hierarchy, &groups) == 2)
			is = *what == '0' ? !hierarchy : hierarchy && groups == 1;
	if (f)
		fclose(f);
	return is;
}

FIXTURE_TEARDOWN(cpuset)
{
	if (variant->version == 1) {
		int i;

		cdm_write_string(V1 "/cgroup.procs", "0");
		for (i = 0; i < 100 && rmdir(self->group) && errno == EBUSY; i++)
			usleep(50000);
		/* Unmounted with a group that is dying it would keep the controller. */
		for (i = 0; i < 200 && !v1_is("1"); i++)
			usleep(50000);
		umount2(V1, 0);
		for (i = 0; i < 200 && !v1_is("0"); i++)
			usleep(50000);
		rmdir(V1);
	} else {
		cdm_group_remove();
	}
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
}

/*
 * A process in the group that does what it is told, by a letter, and answers
 * with a letter.
 */
struct worker {
	pid_t pid;
	int to[2], from[2];
};

/* Mappings of the worker: each with a policy of its own. */
enum { BOUND, FIXED, PREFERRED, INTERLEAVED, SHARED, ORDINARY };

static void worker_main(const struct _test_data_cpuset *self, struct worker *w)
{
	unsigned long device = 1UL << self->node, ordinary = 1UL << self->ordinary;
	int fd = memfd_create("cdm", 0), i;
	char *map[MAPS], cmd, answer;
	size_t round = 0;

	if (group_write(self, "cgroup.procs", "0") || ftruncate(fd, LEN))
		_exit(1);
	for (i = 0; i < MAPS; i++)
		map[i] = i == SHARED ? mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) :
			cdm_map(LEN);
	while (read(w->to[0], &cmd, 1) == 1) {
		answer = '0';
		switch (cmd) {
		case 'b':	/* bind */
			if (cdm_bind(map[BOUND], LEN, MPOL_BIND, device, 0) ||
			    cdm_bind(map[FIXED], LEN, MPOL_BIND | MPOL_F_STATIC_NODES, device, 0) ||
			    cdm_bind(map[PREFERRED], LEN, MPOL_PREFERRED_MANY, device, 0) ||
			    cdm_bind(map[INTERLEAVED], LEN, MPOL_INTERLEAVE, device, 0) ||
			    cdm_bind(map[SHARED], LEN, MPOL_BIND, device, 0) ||
			    cdm_bind(map[ORDINARY], LEN, MPOL_INTERLEAVE, ordinary, 0))
				answer = '1';
			break;
		case 't':	/* touch, from scratch */
			round++;
			madvise(map[SHARED], LEN, MADV_REMOVE);
			for (i = 0; i < MAPS; i++) {
				if (i != SHARED)
					madvise(map[i], LEN, MADV_DONTNEED);
				cdm_write_pattern(map[i], LEN, round);
			}
			break;
		case 'c':	/* check the data */
			for (i = 0; i < MAPS; i++)
				if (!cdm_check_pattern(map[i], LEN, round))
					answer = '1';
			break;
		default:	/* how much of mapping number ... is on the node? */
			i = cmd - 'A';
			if (cdm_pages_on(map[i], LEN, self->node) == (size_t)PAGES)
				answer = 'a';
			else if (cdm_pages_on(map[i], LEN, self->ordinary) == (size_t)PAGES)
				answer = 'n';
			else
				answer = 's';
		}
		if (write(w->from[1], &answer, 1) != 1)
			break;
	}
	_exit(0);
}

static int worker_start(const struct _test_data_cpuset *self, struct worker *w)
{
	if (pipe(w->to) || pipe(w->from))
		return -errno;
	w->pid = fork();
	if (!w->pid) {
		close(w->to[1]);
		worker_main(self, w);
	}
	close(w->to[0]);
	close(w->from[1]);
	return w->pid > 0 ? 0 : -errno;
}

static char tell(struct worker *w, char cmd)
{
	char answer;

	if (write(w->to[1], &cmd, 1) != 1 || read(w->from[0], &answer, 1) != 1)
		return '?';
	return answer;
}

static int worker_stop(struct worker *w)
{
	int status;

	close(w->to[1]);
	if (waitpid(w->pid, &status, 0) != w->pid)
		return -errno;
	close(w->from[0]);
	return status;
}

/* All, none or some of the pages of each mapping on the node: "aannns" */
static void where(struct worker *w, char *text)
{
	int i;

	for (i = 0; i < MAPS; i++)
		text[i] = tell(w, 'A' + i);
	text[MAPS] = 0;
}

/* Granted, taken away, granted again. */
TEST_F_TIMEOUT(cpuset, grant_and_deny, 120)
{
	struct worker w;
	char text[MAPS + 1];

	ASSERT_EQ(0, group_write(self, "cpuset.mems", self->both));
	ASSERT_EQ(0, worker_start(self, &w));
	ASSERT_EQ('0', tell(&w, 'b'));
	ASSERT_EQ('0', tell(&w, 't'));
	where(&w, text);
	EXPECT_STREQ("aaaaan", text);

	/* The pages go, the policies are ones over ordinary nodes */
	ASSERT_EQ(0, group_write(self, "cpuset.mems", self->without));
	EXPECT_EQ('0', tell(&w, 'c'));
	where(&w, text);
	EXPECT_STREQ("nnnnnn", text);
	EXPECT_EQ(0, cdm_wait_used(self->node, self->used));
	ASSERT_EQ('0', tell(&w, 't'));
	where(&w, text);
	EXPECT_STREQ("nnnnnn", text);
	EXPECT_EQ('1', tell(&w, 'b')) TH_LOG("denied nodes can be bound to");

	/* What comes back is who named the node for good, and the file */
	ASSERT_EQ(0, group_write(self, "cpuset.mems", self->both));
	where(&w, text);
	EXPECT_STREQ("nnnnnn", text) TH_LOG("a permission attracts pages");
	ASSERT_EQ('0', tell(&w, 't'));
	where(&w, text);
	EXPECT_STREQ("naanan", text);
	EXPECT_EQ('0', tell(&w, 'c'));
	EXPECT_EQ('0', tell(&w, 'b'));
	EXPECT_EQ(0, worker_stop(&w));
}

/* Page tables, page cache and kernel memory have to be somewhere. */
TEST_F(cpuset, needs_an_ordinary_node)
{
	struct worker w;

	EXPECT_EQ(-EINVAL, group_write(self, "cpuset.mems", self->alone));
	ASSERT_EQ(0, group_write(self, "cpuset.mems", self->both));
	ASSERT_EQ(0, worker_start(self, &w));
	EXPECT_EQ(-EINVAL, group_write(self, "cpuset.mems", self->alone));
	ASSERT_EQ('0', tell(&w, 'b'));
	ASSERT_EQ('0', tell(&w, 't'));
	EXPECT_EQ('0', tell(&w, 'c'));
	EXPECT_EQ(0, worker_stop(&w));
}

/* The line of /proc/PID/status, without the colon and the blanks. */
static void status_line(pid_t pid, const char *name, char *value, size_t len)
{
	char path[64], line[256];
	size_t n = strlen(name);
	FILE *f;

	value[0] = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, n) || line[n] != ':')
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(value, len, "%s", line + n + 1 + strspn(line + n + 1, " \t"));
		break;
	}
	if (f)
		fclose(f);
}

/* The node goes away under a process that lives on it, and comes back. */
TEST_F_TIMEOUT(cpuset, node_goes_away, 120)
{
	char text[MAPS + 1], mems[64];
	struct worker w;
	int i;

	ASSERT_EQ(0, group_write(self, "cpuset.mems", self->both));
	ASSERT_EQ(0, worker_start(self, &w));
	ASSERT_EQ('0', tell(&w, 'b'));
	ASSERT_EQ('0', tell(&w, 't'));
	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "offline"));
	/* cpusets are told by a worker */
	for (i = 0; i < 500; i++) {
		status_line(w.pid, "Mems_allowed_list", mems, sizeof(mems));
		if (!strcmp(mems, self->without))
			break;
		usleep(20000);
	}
	EXPECT_STREQ(self->without, mems);
	EXPECT_EQ('0', tell(&w, 'c'));
	where(&w, text);
	EXPECT_STREQ("nnnnnn", text);
	ASSERT_EQ('0', tell(&w, 't'));
	EXPECT_EQ('0', tell(&w, 'c'));
	EXPECT_EQ('1', tell(&w, 'b'));

	ASSERT_EQ(0, cdm_attr_write(self->node, "state", "online"));
	where(&w, text);
	EXPECT_STREQ("nnnnnn", text);
	EXPECT_EQ('0', tell(&w, 'c'));
	EXPECT_EQ(0, worker_stop(&w));
}

/* Pages of the process on @node, as numa_maps tells; -1: it has no memory. */
static long pages_of(pid_t pid, int node)
{
	char path[64], word[32], *line = NULL, *at;
	long pages = -1;
	size_t cap = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/numa_maps", pid);
	snprintf(word, sizeof(word), " N%d=", node);
	f = fopen(path, "r");
	while (f && getline(&line, &cap, f) > 0) {
		pages = pages < 0 ? 0 : pages;
		at = strstr(line, word);
		if (at)
			pages += strtol(at + strlen(word), NULL, 10);
	}
	if (f)
		fclose(f);
	free(line);
	return pages;
}

/* What was found of all tasks but the test's own */
struct found {
	int threads;		/* of the kernel */
	int processes;
	int denied;		/* may not have a page there */
	pid_t there;		/* one that has */
	long pages;		/* ... and all pages of such */
};

static int look_at_all(int node, int ordinary, struct found *found)
{
	DIR *proc = opendir("/proc");
	struct dirent *ent;

	memset(found, 0, sizeof(*found));
	if (!proc)
		return -errno;
	while ((ent = readdir(proc))) {
		pid_t pid = atoi(ent->d_name);
		unsigned long mask;
		char allowed[64];
		long pages;

		if (pid <= 0 || pid == getpid() || pid == getppid())
			continue;
		status_line(pid, "Mems_allowed_list", allowed, sizeof(allowed));
		if (!allowed[0])
			continue;
		mask = cdm_parse_nodes(allowed);
		found->denied += !(mask & 1UL << node) || !(mask & 1UL << ordinary);
		pages = pages_of(pid, node);
		if (pages < 0)
			found->threads++;
		else
			found->processes++;
		if (pages > 0) {
			found->there = pid;
			found->pages += pages;
		}
	}
	closedir(proc);
	return 0;
}

/*
 * Everybody in the root of the hierarchy is allowed the node, threads of the
 * kernel and init too: the former fault in pages of processes, under the policy
 * of the range, when a device asks for them.  Nobody has anything there for it.
 */
TEST_F_TIMEOUT(cpuset, nobody_else_has_it, 120)
{
	struct found found;
	struct worker w;

	ASSERT_EQ(0, look_at_all(self->node, self->ordinary, &found));
	EXPECT_LT(10, found.threads);
	EXPECT_LE(1, found.processes);
	EXPECT_EQ(0, found.denied);
	EXPECT_EQ(0, found.pages) TH_LOG("%d has %ld", found.there, found.pages);
	EXPECT_EQ(self->used, cdm_used_pages(self->node));

	/* The control: one who asked for it is found, and one who is denied it */
	ASSERT_EQ(0, group_write(self, "cpuset.mems", self->both));
	ASSERT_EQ(0, worker_start(self, &w));
	ASSERT_EQ('0', tell(&w, 'b'));
	ASSERT_EQ('0', tell(&w, 't'));
	ASSERT_EQ(0, look_at_all(self->node, self->ordinary, &found));
	EXPECT_EQ(w.pid, found.there);
	EXPECT_EQ((MAPS - 1) * PAGES, found.pages);
	EXPECT_EQ(0, found.denied);
	ASSERT_EQ(0, group_write(self, "cpuset.mems", self->without));
	ASSERT_EQ(0, look_at_all(self->node, self->ordinary, &found));
	EXPECT_EQ(0, found.pages);
	EXPECT_EQ(1, found.denied);
	EXPECT_EQ(0, worker_stop(&w));
}

/* Version 1 can spread page cache over all nodes of the set. */
TEST_F_TIMEOUT(cpuset, spread_page_cache, 120)
{
	struct cdm_usage before, after;
	static char buffer[MB];
	int fd, i, status;
	char what[512];
	pid_t pid;

	if (variant->version != 1)
		SKIP(return, "no such thing in version 2");
	fd = cdm_scratch_file(0);
	if (fd == -ENOENT)
		SKIP(return, "no disk to make a file on, set CDM_SCRATCH");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, group_write(self, "cpuset.mems", self->both));
	ASSERT_EQ(0, group_write(self, "cpuset.memory_spread_page", "1"));
	cdm_drain();
	ASSERT_EQ(0, cdm_usage_read(self->node, &before));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (group_write(self, "cgroup.procs", "0"))
			_exit(1);
		for (i = 0; i < 8; i++)
			if (write(fd, buffer, MB) != (ssize_t)MB)
				_exit(2);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	close(fd);
	ASSERT_EQ(0, cdm_usage_read(self->node, &after));
	EXPECT_FALSE(cdm_usage_differs(&before, &after, what, sizeof(what)))
		TH_LOG("node %d:%s", self->node, what);
}

TEST_HARNESS_MAIN
