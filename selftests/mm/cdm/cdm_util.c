// SPDX-License-Identifier: GPL-2.0-only
/* Nodes of coherent device memory as the tests see them. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/statfs.h>

#include <linux/magic.h>
#include <numaif.h>
#include "cdm_util.h"

#define NODES	"/sys/devices/system/node"
#define HPAGE	(2 * MB)

bool cdm_control(void)
{
	const char *env = getenv("CDM_CONTROL");

	return env && *env && strcmp(env, "0");
}

long cdm_read_long(const char *path)
{
	char text[64] = "";
	ssize_t len;
	int fd;

	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	return len > 0 ? strtol(text, NULL, 0) : -EIO;
}

int cdm_write_string(const char *path, const char *value)
{
	int fd, ret = 0;

	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

unsigned long cdm_parse_nodes(const char *list)
{
	unsigned long mask = 0;
	char *p = (char *)list;

	while (*p >= '0' && *p <= '9') {
		unsigned long first = strtoul(p, &p, 10), last = first;

		if (*p == '-')
			last = strtoul(p + 1, &p, 10);
		for (; first <= last && first < CDM_MAX_NODES; first++)
			mask |= 1UL << first;
		if (*p == ',')
			p++;
	}
	return mask;
}

/* The list of @attr as a mask. */
static unsigned long node_mask(const char *attr)
{
	char path[128], text[256] = "";
	FILE *file;

	snprintf(path, sizeof(path), NODES "/%s", attr);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (!fgets(text, sizeof(text), file))
		text[0] = 0;
	fclose(file);
	return cdm_parse_nodes(text);
}

unsigned long cdm_nodes(void)
{
	return node_mask("has_coherent_memory");
}

unsigned long cdm_ordinary_nodes(void)
{
	return node_mask("has_memory");
}

bool cdm_node_in(const char *attr, int node)
{
	return node_mask(attr) & (1UL << node);
}

int cdm_node(void)
{
	const char *env = getenv("CDM_NODE");
	unsigned long mask;

	if (env && *env)
		return atoi(env);
	mask = cdm_control() ? node_mask("has_memory") & ~node_mask("has_cpu") :
		node_mask("has_coherent_memory");
	return mask ? __builtin_ctzl(mask) : -1;
}

int cdm_ordinary_node(void)
{
	unsigned long mask = node_mask("has_memory") & node_mask("has_cpu");

	return mask ? __builtin_ctzl(mask) : -1;
}

long cdm_node_value(int node, const char *file, const char *name)
{
	char path[128], line[256];
	size_t len = strlen(name);
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), NODES "/node%d/%s", node, file);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), f)) {
		/* meminfo: "Node 1 MemFree:  1234 kB"; the others: "name 12". */
		char *p = line;

		if (!strncmp(p, "Node ", 5)) {
			p = strchr(p + 5, ' ');
			p = p ? p + 1 : line;
		}
		if (!strncmp(p, name, len) && (p[len] == ' ' || p[len] == ':'))
			value = strtol(p + len + 1, NULL, 10);
	}
	fclose(f);
	return value;
}

long cdm_vmstat(const char *name)
{
	size_t len = strlen(name);
	char line[128];
	long value = -1;
	FILE *f;

	f = fopen("/proc/vmstat", "r");
	if (!f)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, len) && line[len] == ' ')
			value = strtol(line + len, NULL, 10);
	fclose(f);
	return value;
}

/*
 * The free lists themselves are counted.  NR_FREE_PAGES is behind by what the
 * processors have not folded in yet, which is never nothing while the per-CPU
 * lists shrink: folding shrinks them.
 */
static long free_pages(int node)
{
	char line[512];
	long nr = 0;
	int nid, n;
	FILE *f;

	f = fopen("/proc/buddyinfo", "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		long count, size = 1;
		char *p = line;

		if (sscanf(p, "Node %d, zone %*s%n", &nid, &n) < 1 || nid != node)
			continue;
		for (p += n; sscanf(p, "%ld%n", &count, &n) == 1; p += n) {
			nr += count * size;
			size *= 2;
		}
	}
	fclose(f);
	return nr;
}

long cdm_zone_value(int node, const char *name)
{
	long sum = -1, value;
	char line[256], word[64];
	bool in = false;
	int nid;
	FILE *f;

	f = fopen("/proc/zoneinfo", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %d, zone", &nid) == 1)
			in = nid == node;
		else if (in && sscanf(line, " %63s %ld", word, &value) == 2 &&
			 !strcmp(word, name))
			sum = value + (sum > 0 ? sum : 0);
	}
	if (f)
		fclose(f);
	return sum;
}

/* All pages of the node, and those of them in the lists of processors */
static long managed_pages(int node, long *listed)
{
	long managed = -1, value;
	char line[256];
	bool in = false;
	int nid;
	FILE *f;

	*listed = 0;
	f = fopen("/proc/zoneinfo", "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %d, zone", &nid) == 1)
			in = nid == node;
		if (!in)
			continue;
		if (sscanf(line, " count: %ld", &value) == 1)
			*listed += value;
		else if (sscanf(line, " managed %ld", &value) == 1)
			managed = value + (managed > 0 ? managed : 0);
	}
	fclose(f);
	return managed;
}

long cdm_used_pages(int node)
{
	long managed, listed, free;
	int i;

	/* Gives the lists of idle processors back and updates nr_* */
	cdm_write_string("/proc/sys/vm/stat_refresh", "1");
	/* Not while pages go from one kind of list to the other */
	for (i = 0; i < 100; i++) {
		free = free_pages(node);
		managed = managed_pages(node, &listed);
		if (free < 0 || managed < 0)
			return -1;
		if (free == free_pages(node))
			break;
	}
	return managed - free - listed;
}

void cdm_drain(void)
{
	unsigned long mask = 1UL << cdm_ordinary_node();

	/* Moves nothing, but empties the batches of every processor first. */
	migrate_pages(0, CDM_MAX_NODES + 1, &mask, &mask);
}

long cdm_wait_used(int node, long pages)
{
	long used = -1;
	int i;

	for (i = 0; i < 20; i++) {
		cdm_drain();
		used = cdm_used_pages(node);
		if (used == pages)
			return 0;
		usleep(100000);
	}
	return used;
}

int cdm_usage_read(int node, struct cdm_usage *usage)
{
	char path[128], line[128];
	long hit, miss;
	FILE *f;

	memset(usage, 0, sizeof(*usage));
	usage->used = cdm_used_pages(node);
	hit = cdm_node_value(node, "numastat", "numa_hit");
	miss = cdm_node_value(node, "numastat", "numa_miss");
	if (usage->used < 0 || hit < 0 || miss < 0)
		return -EIO;
	usage->allocated = hit + miss;

	snprintf(path, sizeof(path), NODES "/node%d/vmstat", node);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	while (usage->nr_stats < CDM_MAX_STATS && fgets(line, sizeof(line), f)) {
		int i = usage->nr_stats;

		/* nr_free_* moves with the per-CPU lists; @used and @allocated have it. */
		if (!strncmp(line, "numa_", 5) || !strncmp(line, "nr_free", 7) ||
		    !strncmp(line, "nr_tlb", 6))
			continue;
		if (sscanf(line, "%31s %ld", usage->names[i], &usage->stats[i]) == 2)
			usage->nr_stats++;
	}
	fclose(f);
	return 0;
}

bool cdm_usage_differs(const struct cdm_usage *a, const struct cdm_usage *b,
		       char *what, size_t len)
{
	size_t pos = 0;
	int i;

	what[0] = 0;
	if (a->used != b->used)
		pos += snprintf(what + pos, len - pos, " used %ld -> %ld",
				a->used, b->used);
	if (a->allocated != b->allocated && pos < len)
		pos += snprintf(what + pos, len - pos, " allocated %ld -> %ld",
				a->allocated, b->allocated);
	for (i = 0; i < a->nr_stats && pos < len; i++)
		if (a->stats[i] != b->stats[i])
			pos += snprintf(what + pos, len - pos, " %s %ld -> %ld",
					a->names[i], a->stats[i], b->stats[i]);
	return pos;
}

int cdm_page_node(const void *addr)
{
	void *page = (void *)((uintptr_t)addr & ~4095UL);
	int status = -EIO;

	if (move_pages(0, 1, &page, NULL, &status, 0))
		return -errno;
	return status;
}

#define BATCH	1024
static void *pages[BATCH];
static int status[BATCH];

size_t cdm_pages_of(pid_t pid, const void *addr, size_t len, int node)
{
	size_t total = len / 4096, done, count = 0, i;

	for (done = 0; done < total; done += BATCH) {
		size_t n = total - done < BATCH ? total - done : BATCH;

		for (i = 0; i < n; i++)
			pages[i] = (char *)addr + (done + i) * 4096;
		if (move_pages(pid, n, pages, NULL, status, 0))
			return 0;
		for (i = 0; i < n; i++)
			count += status[i] == node;
	}
	return count;
}

size_t cdm_pages_on(const void *addr, size_t len, int node)
{
	return cdm_pages_of(0, addr, len, node);
}

/* The line of numa_maps of the mapping that starts at or last before addr. */
static int numa_maps_line(const void *addr, char *line, size_t len)
{
	int ret = -ENOENT;
	char text[1024];
	FILE *f;

	f = fopen("/proc/self/numa_maps", "r");
	if (!f)
		return -errno;
	while (fgets(text, sizeof(text), f)) {
		if (strtoul(text, NULL, 16) > (uintptr_t)addr)
			break;
		snprintf(line, len, "%s", text);
		ret = 0;
	}
	fclose(f);
	return ret;
}

long cdm_numa_maps_pages(const void *addr, int node)
{
	char line[1024], key[16], *p;

	if (numa_maps_line(addr, line, sizeof(line)))
		return -1;
	snprintf(key, sizeof(key), " N%d=", node);
	p = strstr(line, key);
	return p ? strtol(p + strlen(key), NULL, 10) : 0;
}

int cdm_numa_maps_policy(const void *addr, char *policy, size_t len)
{
	char line[1024], *p;
	int ret;

	ret = numa_maps_line(addr, line, sizeof(line));
	if (ret)
		return ret;
	p = strtok(line, " ");
	p = p ? strtok(NULL, " ") : NULL;
	if (!p)
		return -EINVAL;
	snprintf(policy, len, "%s", p);
	return 0;
}

static void *map_aligned(size_t len, int advice)
{
	size_t size = ((len + HPAGE - 1) & ~(HPAGE - 1)) + HPAGE;
	char *map, *start;

	map = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	start = (char *)(((uintptr_t)map + HPAGE - 1) & ~(HPAGE - 1));
	/* Only what was asked for stays, so munmap(start, len) leaves nothing. */
	if (start > map)
		munmap(map, start - map);
	len = (len + 4095) & ~4095UL;
	if (map + size > start + len)
		munmap(start + len, map + size - (start + len));
	madvise(start, len, advice);
	return start;
}

void *cdm_map(size_t len)
{
	return map_aligned(len, MADV_NOHUGEPAGE);
}

void *cdm_map_thp(size_t len)
{
	return map_aligned(len, MADV_HUGEPAGE);
}

void cdm_write_pattern(void *addr, size_t len, unsigned long seed)
{
	size_t i;

	for (i = 0; i < len; i += 4096)
		*(unsigned long *)((char *)addr + i) = seed ^ (i * 0x9e3779b97f4a7c15UL);
}

bool cdm_check_pattern(const void *addr, size_t len, unsigned long seed)
{
	size_t i;

	for (i = 0; i < len; i += 4096)
		if (*(const unsigned long *)((const char *)addr + i) !=
		    (seed ^ (i * 0x9e3779b97f4a7c15UL)))
			return false;
	return true;
}

int cdm_bind(void *addr, size_t len, int mode, unsigned long nodes, unsigned int flags)
{
	return mbind(addr, len, mode, &nodes, CDM_MAX_NODES + 1, flags) ? -errno : 0;
}

int cdm_task_policy(int mode, unsigned long nodes)
{
	return set_mempolicy(mode, &nodes, CDM_MAX_NODES + 1) ? -errno : 0;
}

int cdm_attr_write(int node, const char *attr, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), NODES "/node%d/cdm/%s", node, attr);
	return cdm_write_string(path, value);
}

long cdm_attr_read(int node, const char *attr)
{
	char path[128];

	snprintf(path, sizeof(path), NODES "/node%d/cdm/%s", node, attr);
	return cdm_read_long(path);
}

ssize_t cdm_attr_text(int node, const char *attr, char *text, size_t len)
{
	char path[128];
	ssize_t ret;
	int fd;

	snprintf(path, sizeof(path), NODES "/node%d/cdm/%s", node, attr);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	ret = read(fd, text, len - 1);
	close(fd);
	if (ret < 0)
		return -EIO;
	text[ret] = 0;
	return ret;
}

int cdm_state(int node, char *state, size_t len)
{
	ssize_t ret = cdm_attr_text(node, "state", state, len);

	if (ret < 0)
		return ret;
	state[strcspn(state, "\n")] = 0;
	return 0;
}

const char *cdm_scratch(void)
{
	static const char * const guesses[] = { "/scratch", "/var/tmp", "/tmp", ".", NULL };
	const char *env = getenv("CDM_SCRATCH");
	struct statfs fs;
	size_t i;

	if (env && *env)
		return env;
	/* A file in tmpfs is not page cache: look for a disk. */
	for (i = 0; guesses[i]; i++)
		if (!access(guesses[i], W_OK) && !statfs(guesses[i], &fs) &&
		    fs.f_type == EXT4_SUPER_MAGIC)
			return guesses[i];
	return NULL;
}

int cdm_scratch_file(int flags)
{
	const char *dir = cdm_scratch();
	char path[256];
	int fd;

	if (!dir)
		return -ENOENT;
	snprintf(path, sizeof(path), "%.200s/cdm-XXXXXX", dir);
	fd = mkostemp(path, flags);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}
