// SPDX-License-Identifier: GPL-2.0-only
/* libccad - contexts of a ccad accelerator for user space */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <misc/uacce/uacce.h>
#include "libccad.h"

#define CLASS	"/sys/class/uacce"

/*
 * Descriptors have to be in memory before the doorbell is seen.  The doorbell
 * is device memory: a port to a processor that orders that against ordinary
 * stores by a barrier of its own puts it here.
 */
static void doorbell_barrier(void)
{
	__sync_synchronize();
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

int ccad_find(char *dev, size_t dev_len, char *sysfs, size_t sysfs_len)
{
	struct dirent *ent;
	int ret = -ENODEV;
	DIR *dir;

	dir = opendir(CLASS);
	if (!dir)
		return -ENODEV;
	while ((ent = readdir(dir))) {
		if (strncmp(ent->d_name, "ccad-", 5))
			continue;
		if (dev)
			snprintf(dev, dev_len, "/dev/%.64s", ent->d_name);
		if (sysfs)
			snprintf(sysfs, sysfs_len, CLASS "/%.64s/device", ent->d_name);
		ret = 0;
		break;
	}
	closedir(dir);
	return ret;
}

long long ccad_attr(const char *name)
{
	char sysfs[128], path[256], text[32] = "";
	long long value;
	ssize_t len;
	char *end;
	int fd, ret;

	ret = ccad_find(NULL, 0, sysfs, sizeof(sysfs));
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "%s/ccad/%s", sysfs, name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return -EIO;
	value = strtoll(text, &end, 0);
	return end == text ? -EINVAL : value;
}

int ccad_open(struct ccad_ctx *ctx, __u32 shift)
{
	return ccad_open_ring(ctx, shift, NULL);
}

int ccad_open_ring(struct ccad_ctx *ctx, __u32 shift, void *ring)
{
	size_t size = sizeof(struct ccad_desc) << shift;
	struct ccad_ring args = { .shift = shift };
	char dev[80];
	void *map;
	int ret;

	memset(ctx, 0, sizeof(*ctx));
	ctx->fd = -1;
	ctx->shift = shift;
	ctx->ring = ring;
	ret = ccad_find(dev, sizeof(dev), NULL, 0);
	if (ret)
		return ret;

	ctx->fd = open(dev, O_RDWR | O_CLOEXEC);
	if (ctx->fd < 0)
		return -errno;
	if (!ring) {
		map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (map == MAP_FAILED)
			goto fail;
		ctx->ring = map;
		ctx->ring_owned = true;
		/* A child would share the pages copy on write, and to no use. */
		madvise(map, size, MADV_DONTFORK);
	}
	args.addr = (uintptr_t)ctx->ring;
	if (ioctl(ctx->fd, CCAD_IOC_RING, &args) ||
	    ioctl(ctx->fd, UACCE_CMD_START_Q) ||
	    ioctl(ctx->fd, CCAD_IOC_INFO, &ctx->info))
		goto fail;
	map = mmap(NULL, CCAD_DOORBELL_STRIDE, PROT_READ | PROT_WRITE,
		   MAP_SHARED, ctx->fd, UACCE_QFRT_MMIO * sysconf(_SC_PAGESIZE));
	if (map == MAP_FAILED)
		goto fail;
	ctx->doorbell = map;
	return 0;

fail:
	ret = -errno;
	ccad_close(ctx);
	return ret;
}

void ccad_close(struct ccad_ctx *ctx)
{
	/* The mapping holds the file: unmapped later, it would delay release. */
	if (ctx->doorbell)
		munmap(ctx->doorbell, CCAD_DOORBELL_STRIDE);
	if (ctx->fd >= 0)
		close(ctx->fd);
	if (ctx->ring_owned)
		munmap(ctx->ring, sizeof(struct ccad_desc) << ctx->shift);
	memset(ctx, 0, sizeof(*ctx));
	ctx->fd = -1;
}

int ccad_push(struct ccad_ctx *ctx, const struct ccad_desc *desc)
{
	__u32 entries = 1u << ctx->shift;

	/* HEAD is a read of the device: only when the ring looks full. */
	if (ctx->tail - ctx->head >= entries) {
		ctx->head = ccad_db_read(ctx, CCAD_DB_HEAD);
		if (ctx->tail - ctx->head >= entries)
			return -EAGAIN;
	}
	ctx->ring[ctx->tail & (entries - 1)] = *desc;
	ctx->tail++;
	return 0;
}

void ccad_kick(struct ccad_ctx *ctx)
{
	doorbell_barrier();
	ccad_db_write(ctx, CCAD_DB_TAIL, ctx->tail);
}

int ccad_submit(struct ccad_ctx *ctx, const struct ccad_desc *desc)
{
	int ret = ccad_push(ctx, desc);

	if (!ret)
		ccad_kick(ctx);
	return ret;
}

__u8 ccad_status(const struct ccad_completion *comp)
{
	return __atomic_load_n(&comp->status, __ATOMIC_ACQUIRE);
}

int ccad_wait(const struct ccad_completion *comp, int timeout_ms)
{
	long long end = now_ms() + timeout_ms;

	while (ccad_status(comp) == CCAD_COMP_NONE) {
		if (now_ms() > end)
			return -ETIMEDOUT;
		sched_yield();
	}
	return 0;
}

int ccad_wait_poll(struct ccad_ctx *ctx, const struct ccad_completion *comp,
		   int timeout_ms)
{
	struct pollfd pfd = { .fd = ctx->fd, .events = POLLIN };
	long long end = now_ms() + timeout_ms, left;
	int ret;

	while (ccad_status(comp) == CCAD_COMP_NONE) {
		left = end - now_ms();
		if (left <= 0)
			return -ETIMEDOUT;
		ret = poll(&pfd, 1, left);
		if (ret < 0 && errno != EINTR)
			return -errno;
		/* An interrupt that did not come is no success. */
		if (!ret)
			return -ETIMEDOUT;
		if (pfd.revents & (POLLERR | POLLHUP | POLLNVAL))
			return ccad_status(comp) == CCAD_COMP_NONE ? -EIO : 0;
	}
	return 0;
}

int ccad_run(struct ccad_ctx *ctx, struct ccad_desc *desc,
	     struct ccad_completion *comp, int timeout_ms)
{
	int ret;

	memset(comp, 0, sizeof(*comp));
	desc->completion = (uintptr_t)comp;
	ret = ccad_submit(ctx, desc);
	if (ret)
		return ret;
	return desc->flags & CCAD_DESC_INTERRUPT ?
		ccad_wait_poll(ctx, comp, timeout_ms) :
		ccad_wait(comp, timeout_ms);
}

__u32 ccad_db_read(const struct ccad_ctx *ctx, __u32 reg)
{
	/* One access of the register's own size, never two and never none. */
	return __atomic_load_n((__u32 *)(ctx->doorbell + reg), __ATOMIC_RELAXED);
}

void ccad_db_write(struct ccad_ctx *ctx, __u32 reg, __u32 value)
{
	__atomic_store_n((__u32 *)(ctx->doorbell + reg), value, __ATOMIC_RELAXED);
}

__u32 ccad_state(const struct ccad_ctx *ctx)
{
	return ccad_db_read(ctx, CCAD_DB_STATUS) & CCAD_CTX_STATE_MASK;
}

int ccad_wait_state(const struct ccad_ctx *ctx, __u32 state, int timeout_ms)
{
	long long end = now_ms() + timeout_ms;

	while (ccad_state(ctx) != state) {
		if (now_ms() > end)
			return -ETIMEDOUT;
		sched_yield();
	}
	return 0;
}

int ccad_clear(struct ccad_ctx *ctx, int timeout_ms)
{
	int ret;

	ccad_db_write(ctx, CCAD_DB_CLEAR, 1);
	ret = ccad_wait_state(ctx, CCAD_CTX_ENABLED, timeout_ms);
	ctx->tail = ccad_db_read(ctx, CCAD_DB_TAIL);
	ctx->head = ctx->tail;
	return ret;
}

int ccad_restart(struct ccad_ctx *ctx)
{
	/* PUT_Q of a queue that the reset has stopped already does no harm. */
	if (ioctl(ctx->fd, UACCE_CMD_PUT_Q) || ioctl(ctx->fd, UACCE_CMD_START_Q))
		return -errno;
	ctx->tail = 0;
	ctx->head = 0;
	return ioctl(ctx->fd, CCAD_IOC_INFO, &ctx->info) ? -errno : 0;
}

static __u64 stat64(const struct ccad_ctx *ctx, __u32 stat)
{
	return __atomic_load_n((__u64 *)(ctx->doorbell + CCAD_DB_STATS + stat),
			       __ATOMIC_RELAXED);
}

void ccad_get_stats(const struct ccad_ctx *ctx, struct ccad_stats *stats)
{
	stats->commands = stat64(ctx, CCAD_STAT_COMMANDS);
	stats->errors = stat64(ctx, CCAD_STAT_ERRORS);
	stats->read_local = stat64(ctx, CCAD_STAT_READ_LOCAL);
	stats->read_system = stat64(ctx, CCAD_STAT_READ_SYSTEM);
	stats->write_local = stat64(ctx, CCAD_STAT_WRITE_LOCAL);
	stats->write_system = stat64(ctx, CCAD_STAT_WRITE_SYSTEM);
	stats->atc_hits = stat64(ctx, CCAD_STAT_ATC_HITS);
	stats->translations = stat64(ctx, CCAD_STAT_TRANSLATIONS);
	stats->page_requests = stat64(ctx, CCAD_STAT_PAGE_REQUESTS);
	stats->page_failures = stat64(ctx, CCAD_STAT_PAGE_FAILURES);
	stats->invalidations = stat64(ctx, CCAD_STAT_INVALIDATIONS);
	stats->device_ns = stat64(ctx, CCAD_STAT_DEVICE_NS);
	stats->faults = stat64(ctx, CCAD_STAT_FAULTS);
}
