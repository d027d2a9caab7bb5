/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * libccad - contexts of a ccad accelerator for user space
 *
 * A context is a ring of descriptors in the process's own memory and one page
 * of registers.  Commands are submitted and completed without a system call;
 * every address in a descriptor is an ordinary pointer of the process that
 * opened the context, also in a child that inherited the file.
 *
 * A context is used by one thread at a time.  Functions return 0 or a negative
 * errno unless they say otherwise.
 */
#ifndef LIBCCAD_H
#define LIBCCAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <misc/uacce/ccad.h>
#include "ccad_hw.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CCAD_RING_SHIFT_DEFAULT	8

struct ccad_ctx {
	int fd;
	__u32 shift;			/* log2 of descriptors in the ring */
	__u32 tail;			/* descriptors written, running freely */
	__u32 head;			/* the device's count when last read */
	bool ring_owned;
	struct ccad_desc *ring;
	__u8 *doorbell;
	struct ccad_info info;
};

/* Counters of a context since it was started, named as CCAD_STAT_*. */
struct ccad_stats {
	__u64 commands;
	__u64 errors;
	__u64 read_local;
	__u64 read_system;
	__u64 write_local;
	__u64 write_system;
	__u64 atc_hits;
	__u64 translations;
	__u64 page_requests;
	__u64 page_failures;
	__u64 invalidations;
	__u64 device_ns;
	__u64 faults;
};

/* Whether a device is there: its node in /dev and its directory in sysfs. */
int ccad_find(char *dev, size_t dev_len, char *sysfs, size_t sysfs_len);
/* The number in attribute @name of the device's sysfs group, or -errno. */
long long ccad_attr(const char *name);

/* Open the first device with a ring of its own of 1 << @shift descriptors. */
int ccad_open(struct ccad_ctx *ctx, __u32 shift);
/* The same with a ring of the caller's, page aligned; NULL allocates one. */
int ccad_open_ring(struct ccad_ctx *ctx, __u32 shift, void *ring);
/* Stops the context; on return no command of it touches memory. */
void ccad_close(struct ccad_ctx *ctx);

/* Write a descriptor into the ring, -EAGAIN if there is no room. */
int ccad_push(struct ccad_ctx *ctx, const struct ccad_desc *desc);
/* Tell the device of everything pushed. */
void ccad_kick(struct ccad_ctx *ctx);
/* Push and kick. */
int ccad_submit(struct ccad_ctx *ctx, const struct ccad_desc *desc);

/* CCAD_COMP_* of a record, CCAD_COMP_NONE if it is not written yet. */
__u8 ccad_status(const struct ccad_completion *comp);
/* Wait by looking: 0 when the record is there, or -ETIMEDOUT. */
int ccad_wait(const struct ccad_completion *comp, int timeout_ms);
/* Wait in poll() for a command with CCAD_DESC_INTERRUPT. */
int ccad_wait_poll(struct ccad_ctx *ctx, const struct ccad_completion *comp,
		   int timeout_ms);
/* Clear @comp, submit @desc with it and wait. */
int ccad_run(struct ccad_ctx *ctx, struct ccad_desc *desc,
	     struct ccad_completion *comp, int timeout_ms);

__u32 ccad_db_read(const struct ccad_ctx *ctx, __u32 reg);
void ccad_db_write(struct ccad_ctx *ctx, __u32 reg, __u32 value);
/* CCAD_CTX_DISABLED, ... */
__u32 ccad_state(const struct ccad_ctx *ctx);
/* Wait until the context is in @state. */
int ccad_wait_state(const struct ccad_ctx *ctx, __u32 state, int timeout_ms);
/* Leave CCAD_CTX_ERROR; what was in the ring is forgotten. */
int ccad_clear(struct ccad_ctx *ctx, int timeout_ms);
/* Start again after a reset of the device has stopped the context. */
int ccad_restart(struct ccad_ctx *ctx);
void ccad_get_stats(const struct ccad_ctx *ctx, struct ccad_stats *stats);

/* Descriptors. */
static inline struct ccad_desc ccad_copy(void *dst, const void *src, size_t len)
{
	struct ccad_desc desc = {};

	desc.opcode = CCAD_OP_COPY;
	desc.src = (uintptr_t)src;
	desc.dst = (uintptr_t)dst;
	desc.len = len;
	return desc;
}

static inline struct ccad_desc ccad_fill(void *dst, __u64 pattern, size_t len)
{
	struct ccad_desc desc = {};

	desc.opcode = CCAD_OP_FILL;
	desc.dst = (uintptr_t)dst;
	desc.len = len;
	desc.arg = pattern;
	return desc;
}

static inline struct ccad_desc ccad_crc32c(const void *src, size_t len, __u32 crc)
{
	struct ccad_desc desc = {};

	desc.opcode = CCAD_OP_CRC32C;
	desc.src = (uintptr_t)src;
	desc.len = len;
	desc.arg = crc;
	return desc;
}

/* result: bytes before the first difference. */
static inline struct ccad_desc ccad_compare(const void *a, const void *b, size_t len)
{
	struct ccad_desc desc = {};

	desc.opcode = CCAD_OP_COMPARE;
	desc.src = (uintptr_t)a;
	desc.dst = (uintptr_t)b;
	desc.len = len;
	return desc;
}

/* @what: CCAD_REDUCE_*, @type: CCAD_TYPE_*, @len: bytes. */
static inline struct ccad_desc ccad_reduce(const void *src, size_t len, __u32 what, __u32 type)
{
	struct ccad_desc desc = {};

	desc.opcode = CCAD_OP_REDUCE;
	desc.src = (uintptr_t)src;
	desc.len = len;
	desc.arg = what | type << CCAD_REDUCE_TYPE_SHIFT;
	return desc;
}

/* @len: 4 or 8; result: what it was. */
static inline struct ccad_desc ccad_fetch_add(void *dst, size_t len, __u64 addend)
{
	struct ccad_desc desc = {};

	desc.opcode = CCAD_OP_FETCH_ADD;
	desc.dst = (uintptr_t)dst;
	desc.len = len;
	desc.arg = addend;
	return desc;
}

static inline struct ccad_desc ccad_compare_swap(void *dst, size_t len, __u64 expected,
						 __u64 desired)
{
	struct ccad_desc desc = {};

	desc.opcode = CCAD_OP_COMPARE_SWAP;
	desc.dst = (uintptr_t)dst;
	desc.len = len;
	desc.arg = expected;
	desc.arg2 = desired;
	return desc;
}

/* @count elements of 1 << @shift bytes by 32-bit indices. */
static inline struct ccad_desc ccad_gather(void *dst, const void *table, const __u32 *indices,
					   size_t count, __u32 shift)
{
	struct ccad_desc desc = {};

	desc.opcode = CCAD_OP_GATHER;
	desc.src = (uintptr_t)indices;
	desc.dst = (uintptr_t)dst;
	desc.len = count * sizeof(*indices);
	desc.arg = (uintptr_t)table;
	desc.arg2 = shift;
	return desc;
}

/* @next, @field: offsets in a node; bytes_done: nodes. */
static inline struct ccad_desc ccad_list_walk(const void *first, __u64 limit, __u32 what,
					      __u32 type, size_t next, size_t field)
{
	struct ccad_desc desc = ccad_reduce(first, limit, what, type);

	desc.opcode = CCAD_OP_LIST_WALK;
	desc.arg2 = next | (__u64)field << CCAD_LIST_FIELD_SHIFT;
	return desc;
}

/* @format: CCAD_FORMAT_*, @level: 0 for the default; result: bytes written. */
static inline struct ccad_desc ccad_compress(void *dst, size_t room, const void *src, size_t len,
					     __u32 format, __u32 level)
{
	struct ccad_desc desc = ccad_copy(dst, src, len);

	desc.opcode = CCAD_OP_COMPRESS;
	desc.arg = room;
	desc.arg2 = format | level << CCAD_FORMAT_LEVEL_SHIFT;
	return desc;
}

static inline struct ccad_desc ccad_decompress(void *dst, size_t room, const void *src, size_t len,
					       __u32 format)
{
	struct ccad_desc desc = ccad_compress(dst, room, src, len, format, 0);

	desc.opcode = CCAD_OP_DECOMPRESS;
	return desc;
}

#ifdef __cplusplus
}
#endif

#endif /* LIBCCAD_H */
