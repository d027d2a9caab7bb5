// SPDX-License-Identifier: GPL-2.0-only
/* What a test needs around it: swap, a group of its own, system-wide figures. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/io_uring.h>

#include "cdm_env.h"
#include "cdm_util.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

static char swap_file[256];

/* The header says only how long it is. */
int cdm_swap_on(size_t size)
{
	const char *dir = cdm_scratch();
	unsigned int header[3];
	char *zero;
	size_t done;
	int fd;

	if (!dir)
		return -ENOENT;
	snprintf(swap_file, sizeof(swap_file), "%.200s/cdm-swap", dir);
	fd = open(swap_file, O_CREAT | O_TRUNC | O_RDWR, 0600);
	zero = calloc(1, MB);
	if (fd < 0 || !zero)
		return -errno;
	for (done = 0; done < size; done += MB)
		if (write(fd, zero, MB) != (ssize_t)MB)
			return -errno;
	free(zero);
	header[0] = 1;			/* version */
	header[1] = size / 4096 - 1;	/* last page */
	header[2] = 0;			/* bad pages */
	if (pwrite(fd, header, sizeof(header), 1024) != sizeof(header) ||
	    pwrite(fd, "SWAPSPACE2", 10, 4096 - 10) != 10 || fsync(fd))
		return -errno;
	close(fd);
	return swapon(swap_file, 0) ? -errno : 0;
}

void cdm_swap_off(void)
{
	if (!swap_file[0])
		return;
	swapoff(swap_file);
	unlink(swap_file);
	swap_file[0] = 0;
}

bool cdm_swap_out(char *map, size_t len)
{
	int i;

	for (i = 0; i < 200; i++) {
		madvise(map, len, MADV_PAGEOUT);
		cdm_write_string(CDM_GROUP "/memory.reclaim", "2M");
		if (!cdm_pages_on(map, len, cdm_node()) &&
		    !cdm_pages_on(map, len, cdm_ordinary_node()) &&
		    cdm_meminfo("SwapCached") <= CDM_SWAP_CACHED * 4)
			return true;
		usleep(10000);
	}
	return false;
}

int cdm_group_make(const char *controllers)
{
	cdm_write_string(CDM_CGROUP "cgroup.subtree_control", controllers);
	return mkdir(CDM_GROUP, 0755) && errno != EEXIST ? -errno : 0;
}

void cdm_group_remove(void)
{
	cdm_write_string(CDM_CGROUP "cgroup.procs", "0");
	rmdir(CDM_GROUP);
}

int cdm_group_run_in(const char *group, int (*fn)(unsigned long arg), unsigned long arg)
{
	char procs[256];
	int status;
	pid_t pid;

	snprintf(procs, sizeof(procs), "%.200s/cgroup.procs", group);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		if (cdm_write_string(procs, "0"))
			_exit(100);
		_exit(fn(arg));
	}
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int cdm_group_run(int (*fn)(unsigned long arg), unsigned long arg)
{
	return cdm_group_run_in(CDM_GROUP, fn, arg);
}

/* The number behind "KEY" and @end in a line of a file; -1: there is none. */
static long keyed_value(const char *path, const char *key, char end)
{
	size_t len = strlen(key);
	char line[128];
	long value = -1;
	FILE *f;

	f = fopen(path, "r");
	while (f && value < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, len) && line[len] == end)
			value = strtol(line + len + 1, NULL, 10);
	if (f)
		fclose(f);
	return value;
}

long cdm_group_value(const char *group, const char *file, const char *key)
{
	char path[256];

	snprintf(path, sizeof(path), "%.150s/%.60s", group, file);
	return keyed_value(path, key, ' ');
}

int cdm_lock_program(void)
{
	return mlockall(MCL_CURRENT) ? -errno : 0;
}

long cdm_meminfo(const char *name)
{
	return keyed_value("/proc/meminfo", name, ':');
}

static void pool_path(int node, const char *attr, char *path, size_t len)
{
	snprintf(path, len, "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/%.40s",
		 node, attr);
}

long cdm_pool(int node, const char *attr)
{
	char path[128];

	pool_path(node, attr, path, sizeof(path));
	return cdm_read_long(path);
}

int cdm_pool_resize(int node, long pages)
{
	char path[128], value[24];

	pool_path(node, "nr_hugepages", path, sizeof(path));
	snprintf(value, sizeof(value), "%ld", pages);
	return cdm_write_string(path, value);
}

void cdm_ksm_scan(int times)
{
	long until;
	int i;

	cdm_write_string(CDM_KSM "pages_to_scan", "20000");
	cdm_write_string(CDM_KSM "sleep_millisecs", "1");
	cdm_write_string(CDM_KSM "run", "1");
	until = cdm_read_long(CDM_KSM "full_scans") + times;
	for (i = 0; i < 1000 && cdm_read_long(CDM_KSM "full_scans") < until; i++)
		usleep(10000);
}

void cdm_ksm_off(void)
{
	cdm_write_string(CDM_KSM "run", "2");
}

long cdm_thread_switches(const char *name)
{
	DIR *proc = opendir("/proc");
	char path[64], comm[32];
	struct dirent *ent;
	long switches = -1;
	FILE *f;

	while (proc && switches < 0 && (ent = readdir(proc))) {
		int pid = atoi(ent->d_name);

		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		f = pid > 0 ? fopen(path, "r") : NULL;
		if (!f)
			continue;
		if (!fgets(comm, sizeof(comm), f))
			comm[0] = 0;
		fclose(f);
		comm[strcspn(comm, "\n")] = 0;
		if (strcmp(comm, name))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
		switches = keyed_value(path, "voluntary_ctxt_switches", ':');
	}
	if (proc)
		closedir(proc);
	return switches;
}

int cdm_online_kernel(int node)
{
	char path[320], zones[64];
	struct dirent *ent;
	int ret = 0;
	FILE *f;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", node);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (!ret && (ent = readdir(dir))) {
		if (strncmp(ent->d_name, "memory", 6) ||
		    ent->d_name[6] < '0' || ent->d_name[6] > '9')
			continue;
		snprintf(path, sizeof(path), "/sys/devices/system/memory/%.32s/valid_zones",
			 ent->d_name);
		f = fopen(path, "r");
		if (!f || !fgets(zones, sizeof(zones), f))
			zones[0] = 0;
		if (f)
			fclose(f);
		if (strncmp(zones, "Movable", 7))
			continue;
		snprintf(path, sizeof(path), "/sys/devices/system/memory/%.32s/state",
			 ent->d_name);
		ret = cdm_write_string(path, "offline");
		if (!ret)
			ret = cdm_write_string(path, "online_kernel");
	}
	closedir(dir);
	return ret;
}

int cdm_ring_make(void)
{
	struct io_uring_params params = {};
	int ring = syscall(__NR_io_uring_setup, 1, &params);

	return ring < 0 ? -errno : ring;
}

int cdm_ring_pin(int ring, void *addr, size_t len)
{
	struct iovec iov = { .iov_base = addr, .iov_len = len };

	return syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1) ?
		-errno : 0;
}

int cdm_ring_unpin(int ring)
{
	return syscall(__NR_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0) ?
		-errno : 0;
}
