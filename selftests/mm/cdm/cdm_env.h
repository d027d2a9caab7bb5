/* SPDX-License-Identifier: GPL-2.0-only */
/* What a test needs around it: swap, a group of its own, system-wide figures. */
#ifndef CDM_ENV_H
#define CDM_ENV_H

#include <stdbool.h>
#include <stddef.h>

#define CDM_CGROUP	"/sys/fs/cgroup/"
#define CDM_GROUP	CDM_CGROUP "cdm-test"
#define CDM_KSM		"/sys/kernel/mm/ksm/"

/* A swap file of @size bytes on the scratch disk.  0 or a negative errno. */
int cdm_swap_on(size_t size);
void cdm_swap_off(void);

/*
 * Out of memory, and out of the swap cache too but for some pages: who calls is
 * in CDM_GROUP, which has memory.reclaim.
 */
#define CDM_SWAP_CACHED	16
bool cdm_swap_out(char *map, size_t len);

/* CDM_GROUP with @controllers ("+memory +cpuset").  0 or a negative errno. */
int cdm_group_make(const char *controllers);
/* The process leaves it, and it is gone. */
void cdm_group_remove(void);
/*
 * Run @fn in a child in the group: its exit code, 100 if the child does not get
 * in, 128 + signal if it is killed, or a negative errno.
 */
int cdm_group_run(int (*fn)(unsigned long arg), unsigned long arg);
/* The same in @group, which is CDM_GROUP or below. */
int cdm_group_run_in(const char *group, int (*fn)(unsigned long arg), unsigned long arg);
/* A value of a flat keyed file of @group ("memory.events", "max"); -1: none. */
long cdm_group_value(const char *group, const char *file, const char *key);

/*
 * Keep the program in memory, but not what it maps from now on: who has used
 * up all memory waits for ever to read the next page of its code.  0 or a
 * negative errno.
 */
int cdm_lock_program(void);

/* A value of /proc/meminfo in kB; -1: no such name. */
long cdm_meminfo(const char *name);

/* How often a thread of the kernel ("kswapd1") has gone to sleep; -1: there is none. */
long cdm_thread_switches(const char *name);

/*
 * For a control that needs a node that takes unmovable pages too: bring its
 * memory blocks online again in the kernel zone.  0 or a negative errno.
 */
int cdm_online_kernel(int node);

/* hugetlb pages of 2 MB: a value of a node's pool, and its new size.  Or -errno. */
long cdm_pool(int node, const char *attr);
int cdm_pool_resize(int node, long pages);

/*
 * An io_uring that pins a buffer for long: its descriptor, or 0 when pinned.
 * Or -errno, -ENOSYS if the kernel has no io_uring.
 */
int cdm_ring_make(void);
int cdm_ring_pin(int ring, void *addr, size_t len);
int cdm_ring_unpin(int ring);

/* Have KSM look at everything @times times; stop it and take it all apart. */
void cdm_ksm_scan(int times);
void cdm_ksm_off(void);

#endif /* CDM_ENV_H */
