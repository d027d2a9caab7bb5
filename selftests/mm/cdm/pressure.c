// SPDX-License-Identifier: GPL-2.0-only
/* Ways to fill memory, one a kind of page. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <numaif.h>
#include "cdm_env.h"
#include "cdm_util.h"
#include "pressure.h"

#define CHUNK	(1 * MB)

static char chunk[CHUNK];

/* Read a file that is one hole: page cache without a disk's time. */
static long read_hole(size_t len)
{
	size_t done;
	ssize_t n;
	int fd;

	fd = cdm_scratch_file(0);
	if (fd < 0)
		return fd;
	if (ftruncate(fd, len))
		return -errno;
	for (done = 0; done < len; done += n) {
		n = read(fd, chunk, CHUNK);
		if (n <= 0)
			return n ? -errno : -EIO;
	}
	return done;
}

/* The pool of huge pages of the ordinary node, whose pages nobody clears. */
static long pool_resize(long pages)
{
	int node = cdm_ordinary_node();

	return cdm_pool_resize(node, pages) ? 0 : cdm_pool(node, "nr_hugepages");
}

/* Take @len bytes of the node for as long as the process lives. */
static int take(int node, size_t len)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	char *ballast;
	int ret;

	ballast = cdm_map_thp(len);
	if (!ballast)
		return -ENOMEM;
	ret = cdm_bind(ballast, len, MPOL_BIND, 1UL << node, 0);
	if (ret)
		return ret;
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	return mlock(ballast, len) ? -errno : 0;
}

/*
 * Free memory of @node in kB, once it has stopped growing: page tables and
 * slab of processes that are gone come back after a grace period only.
 */
static long settled_free(int node)
{
	long before, kb = cdm_node_value(node, "meminfo", "MemFree");
	int tries = 50;

	do {
		before = kb;
		usleep(200000);
		kb = cdm_node_value(node, "meminfo", "MemFree");
	} while (kb > before + 1024 && --tries);
	return kb;
}

int pressure_build(size_t room)
{
	int node = cdm_ordinary_node(), ret;
	long kb, read;
	size_t free;

	if (node < 0)
		return -ENODEV;
	ret = cdm_lock_program();
	if (ret)
		return ret;
	sync();
	ret = cdm_write_string("/proc/sys/vm/drop_caches", "3");
	if (ret)
		return ret;
	kb = settled_free(node);
	if (kb < 0)
		return -EIO;
	free = (size_t)kb << 10;
	/* What the pool does not get is taken at the cost of clearing it. */
	if (free > room)
		free -= pool_resize((free - room) / (2 * MB)) * 2 * MB;
	if (free > room + 4 * MB) {
		ret = take(node, free - room);
		if (ret)
			return ret;
	}
	ret = cdm_task_policy(MPOL_BIND, 1UL << node);
	if (ret)
		return ret;
	read = read_hole(room);
	ret = cdm_task_policy(MPOL_DEFAULT, 0);
	return read < 0 ? (int)read : ret;
}

void pressure_release(void)
{
	pool_resize(0);
}

long pressure_reclaimed(void)
{
	return cdm_vmstat("pgsteal_kswapd") + cdm_vmstat("pgsteal_direct");
}

static long fill_anonymous(size_t len)
{
	char *map = cdm_map(len);

	if (!map)
		return -ENOMEM;
	cdm_write_pattern(map, len, 1);
	return len;
}

static long fill_thp(size_t len)
{
	char *map = cdm_map_thp(len);

	if (!map)
		return -ENOMEM;
	cdm_write_pattern(map, len, 1);
	return len;
}

static long fill_cache_write(size_t len)
{
	size_t done;
	int fd;

	fd = cdm_scratch_file(0);
	if (fd < 0)
		return fd;
	for (done = 0; done < len; done += CHUNK)
		if (write(fd, chunk, CHUNK) != CHUNK)
			return -errno;
	return done;
}

static long fill_tmpfs(size_t len)
{
	size_t done;
	int fd;

	fd = memfd_create("cdm", 0);
	if (fd < 0)
		return -errno;
	for (done = 0; done < len; done += CHUNK)
		if (write(fd, chunk, CHUNK) != CHUNK)
			return -errno;
	return done;
}

static char slab_dir[24];

static void slab_cleanup(void)
{
	if (chdir("/"))
		return;
	umount2(slab_dir, MNT_DETACH);
	rmdir(slab_dir);
}

static long slab_pages(void)
{
	return cdm_vmstat("nr_slab_reclaimable") + cdm_vmstat("nr_slab_unreclaimable");
}

/* Directories of tmpfs: an inode, an entry and a long name each, no page. */
static long fill_slab(size_t len)
{
	long before, grown = 0;
	char name[240];
	unsigned int i;

	snprintf(slab_dir, sizeof(slab_dir), "/tmp/cdm-slab-XXXXXX");
	if (!mkdtemp(slab_dir))
		return -errno;
	if (mount("cdm", slab_dir, "tmpfs", 0, "nr_inodes=0") || chdir(slab_dir))
		return -errno;
	before = slab_pages();
	memset(name, 'n', sizeof(name));
	for (i = 0; i < len >> 9 && grown < (long)len; i++) {
		snprintf(name + sizeof(name) - 16, 16, "%015u", i);
		if (mkdir(name, 0700))
			return -errno;
		if (i % 1024 == 0)
			grown = (slab_pages() - before) * 4096;
	}
	return grown;
}

/* Reads of untouched memory map the zero page: a page table for each 2 MB. */
static long fill_page_tables(size_t len)
{
	size_t tables = len / 4096, i;
	const char *map;

	map = mmap(NULL, tables * 2 * MB, PROT_READ,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	madvise((void *)map, tables * 2 * MB, MADV_NOHUGEPAGE);
	for (i = 0; i < tables; i++)
		__asm__ volatile("" : : "r" (map[i * 2 * MB]));
	return len;
}

static long fill_pipes(size_t len)
{
	size_t done;
	ssize_t n;
	int fd[2];

	for (done = 0; done < len; done += CHUNK) {
		if (pipe2(fd, O_NONBLOCK) ||
		    fcntl(fd[1], F_SETPIPE_SZ, CHUNK) < 0)
			return -errno;
		n = write(fd[1], chunk, CHUNK);
		if (n != CHUNK)
			return n < 0 ? -errno : -EIO;
	}
	return done;
}

static long fill_sockets(size_t len)
{
	int buffer = 8 * MB, fd[2], empty = 0;
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) ||
		    setsockopt(fd[0], SOL_SOCKET, SO_SNDBUFFORCE, &buffer,
			       sizeof(buffer)))
			return -errno;
		empty++;
		while (done < len && (n = write(fd[0], chunk, 64 << 10)) > 0) {
			done += n;
			empty = 0;
		}
		if (empty > 1)
			return -EIO;
	}
	return done;
}

const struct pressure_kind pressure_anonymous = {
	"anonymous memory", fill_anonymous, "AnonPages", NULL
};

const struct pressure_kind pressure_thp = {
	"huge pages", fill_thp, "AnonPages", NULL
};

const struct pressure_kind pressure_cache_read = {
	"page cache of reads", read_hole, NULL, NULL
};

const struct pressure_kind pressure_cache_write = {
	"page cache of writes", fill_cache_write, NULL, NULL
};

const struct pressure_kind pressure_tmpfs = {
	"tmpfs", fill_tmpfs, "Shmem", NULL
};

const struct pressure_kind pressure_slab = {
	"slab", fill_slab, "Slab", slab_cleanup
};

const struct pressure_kind pressure_page_tables = {
	"page tables", fill_page_tables, "PageTables", NULL
};

const struct pressure_kind pressure_pipes = {
	"pipes", fill_pipes, NULL, NULL
};

const struct pressure_kind pressure_sockets = {
	"sockets", fill_sockets, NULL, NULL
};
