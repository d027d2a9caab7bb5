/* SPDX-License-Identifier: GPL-2.0-only */
/* Nodes of coherent device memory as the tests see them. */
#ifndef CDM_UTIL_H
#define CDM_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CDM_MAX_NODES	64
#define CDM_MAX_STATS	128
/* Emulated processors are slow, and those behind them may be busy. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	120

#define MB		(1024UL * 1024)

/*
 * In a control run the memory is an ordinary node, and what has to leave a CDM
 * node alone has to be seen using it.
 */
bool cdm_control(void);

/*
 * The node under test: $CDM_NODE, the first of has_coherent_memory or, in a
 * control run, the memory node without processors.  -1 if there is none.
 */
int cdm_node(void);
/* An ordinary node that has memory and processors. */
int cdm_ordinary_node(void);

/* All coherent nodes, and all ordinary ones with memory, as masks. */
unsigned long cdm_nodes(void);
unsigned long cdm_ordinary_nodes(void);

/* A list of nodes ("0,2-3") as a mask. */
unsigned long cdm_parse_nodes(const char *list);
/* Whether @node is in the list of @attr in /sys/devices/system/node. */
bool cdm_node_in(const char *attr, int node);
/* A value of meminfo (in kB), vmstat or numastat of a node; -1: no such name. */
long cdm_node_value(int node, const char *file, const char *name);
/* A value of the zones of @node in /proc/zoneinfo, their sum; -1: no such name. */
long cdm_zone_value(int node, const char *name);
/* A value of /proc/vmstat. */
long cdm_vmstat(const char *name);
/*
 * Pages of the node that are in use: not free and not in a per-CPU list of free
 * pages, which MemUsed would count.
 */
long cdm_used_pages(int node);
/* Let go of pages that wait in per-CPU batches on their way to the LRU. */
void cdm_drain(void);
/* Wait until @pages are in use: 0, or the number in use after two seconds. */
long cdm_wait_used(int node, long pages);

/* Everything that moves when a page of the node is taken, or looked at by reclaim. */
struct cdm_usage {
	long used;	/* pages in use now */
	long allocated;	/* pages ever allocated (numa_hit + numa_miss) */
	long stats[CDM_MAX_STATS];	/* vmstat of the node, reclaim too, in its order */
	char names[CDM_MAX_STATS][32];
	int nr_stats;
};

int cdm_usage_read(int node, struct cdm_usage *usage);
/* Whether b differs from a, and then what, in @what. */
bool cdm_usage_differs(const struct cdm_usage *a, const struct cdm_usage *b,
		       char *what, size_t len);

/* Node of the page at @addr or -errno, as move_pages() tells. */
int cdm_page_node(const void *addr);
/* Pages of [addr, addr + len) present on @node. */
size_t cdm_pages_on(const void *addr, size_t len, int node);
/* The same of another process. */
size_t cdm_pages_of(pid_t pid, const void *addr, size_t len, int node);
/* Pages of the mapping that holds @addr on @node, as numa_maps tells; -1: none. */
long cdm_numa_maps_pages(const void *addr, int node);
/* The policy that numa_maps shows for the mapping that holds @addr. */
int cdm_numa_maps_policy(const void *addr, char *policy, size_t len);

/* Anonymous memory, aligned to 2 MB, never a huge page unless it is asked for. */
void *cdm_map(size_t len);
void *cdm_map_thp(size_t len);
/* One distinct word a page, and the check of it. */
void cdm_write_pattern(void *addr, size_t len, unsigned long seed);
bool cdm_check_pattern(const void *addr, size_t len, unsigned long seed);

int cdm_bind(void *addr, size_t len, int mode, unsigned long nodes, unsigned int flags);
/* set_mempolicy(); nodes 0 with MPOL_DEFAULT. */
int cdm_task_policy(int mode, unsigned long nodes);

long cdm_read_long(const char *path);
int cdm_write_string(const char *path, const char *value);
/* Files of nodeN/cdm: write: 0 or -errno; read and text: -errno, or the value. */
int cdm_attr_write(int node, const char *attr, const char *value);
long cdm_attr_read(int node, const char *attr);
ssize_t cdm_attr_text(int node, const char *attr, char *text, size_t len);
int cdm_state(int node, char *state, size_t len);

/* A directory on a disk to make files in: $CDM_SCRATCH, or a guess. */
const char *cdm_scratch(void);
/* An unlinked file there, open(2) with @flags more; -ENOENT: no disk, or -errno. */
int cdm_scratch_file(int flags);

#endif /* CDM_UTIL_H */
