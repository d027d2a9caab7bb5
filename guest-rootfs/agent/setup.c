// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What has to be there before the first command: file systems and links.
 *
 * In C and not in a script since every process costs milliseconds in an
 * emulated guest.  The root is shared by all guests and read-only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

static const struct {
	const char *source, *target, *type, *options;
	unsigned long flags;
	const char *only_if;	/* variable of the kernel's command line */
	int optional;
} mounts[] = {
	{ "proc", "/proc", "proc", "", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, 0 },
	{ "sysfs", "/sys", "sysfs", "", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, 0 },
	{ "devpts", "/dev/pts", "devpts", "gid=5,mode=620,ptmxmode=666", 0, NULL, 0 },
	{ "tmpfs", "/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, NULL, 0 },
	{ "tmpfs", "/run", "tmpfs", "mode=755", 0, NULL, 0 },
	{ "tmpfs", "/tmp", "tmpfs", "mode=1777", 0, NULL, 0 },
	{ "tmpfs", "/root", "tmpfs", "mode=700", 0, NULL, 0 },
	{ "tmpfs", "/mnt", "tmpfs", "mode=755", 0, NULL, 0 },
	{ "debugfs", "/sys/kernel/debug", "debugfs", "", 0, NULL, 1 },
	{ "hugetlbfs", "/dev/hugepages", "hugetlbfs", "", 0, NULL, 1 },
	{ "cgroup2", "/sys/fs/cgroup", "cgroup2", "nsdelegate", 0, NULL, 1 },
	{ "/dev/vdb", "/scratch", "ext4", "", 0, "ccad_scratch", 0 },
	{ "host", "/host", "9p", "trans=virtio,version=9p2000.L,msize=262144", MS_RDONLY,
	  "ccad_share", 0 },
	{ "input", "/input", "9p", "trans=virtio,version=9p2000.L,msize=262144", MS_RDONLY,
	  "ccad_input", 0 },
};

static const char * const links[][2] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
};

void setup(void)
{
	struct rlimit core = { 0, RLIM_INFINITY };
	size_t i;

	umask(022);
	/* devtmpfs is there: the kernel mounts it (CONFIG_DEVTMPFS_MOUNT). */
	mkdir("/dev/pts", 0755);
	mkdir("/dev/shm", 0755);
	mkdir("/dev/hugepages", 0755);
	for (i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		if (mounts[i].only_if && !getenv(mounts[i].only_if))
			continue;
		if (mount(mounts[i].source, mounts[i].target, mounts[i].type, mounts[i].flags,
			  mounts[i].options) && !mounts[i].optional)
			klog("<3>ccad-agent: mount %s: %s\n", mounts[i].target, strerror(errno));
		if (mounts[i].only_if)
			unsetenv(mounts[i].only_if);
	}
	for (i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlink(links[i][0], links[i][1]) && errno != EEXIST)
			klog("<3>ccad-agent: %s: %s\n", links[i][1], strerror(errno));
	sethostname("ccad", 4);
	setrlimit(RLIMIT_CORE, &core);
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("USER", "root", 1);
	setenv("SHELL", "/bin/bash", 1);
}
