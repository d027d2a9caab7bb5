/* SPDX-License-Identifier: GPL-2.0-only */
/* Ways to fill memory, one a kind of page. */
#ifndef CDM_PRESSURE_H
#define CDM_PRESSURE_H

#include <stddef.h>

/*
 * Leave @room bytes of ordinary memory and fill them with page cache, confined
 * to the ordinary nodes: whatever is allocated next makes the kernel reclaim,
 * or go elsewhere.  0 or a negative errno.
 */
int pressure_build(size_t room);
/* The end of the process does the rest. */
void pressure_release(void);
/* Pages reclaimed so far. */
long pressure_reclaimed(void);

/*
 * A kind of memory: allocate about @len bytes of it and keep them until the
 * process ends.  Returns the bytes allocated, or a negative errno.
 */
struct pressure_kind {
	const char *name;
	long (*fill)(size_t len);
	/* Name in nodeN/meminfo of what it grows, if there is one. */
	const char *meminfo;
	/* Undo what the end of the process does not. */
	void (*cleanup)(void);
};

extern const struct pressure_kind pressure_anonymous;
extern const struct pressure_kind pressure_thp;
extern const struct pressure_kind pressure_cache_read;
extern const struct pressure_kind pressure_cache_write;
extern const struct pressure_kind pressure_tmpfs;
extern const struct pressure_kind pressure_slab;
extern const struct pressure_kind pressure_page_tables;
extern const struct pressure_kind pressure_pipes;
extern const struct pressure_kind pressure_sockets;

#endif /* CDM_PRESSURE_H */
