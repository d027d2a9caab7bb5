// SPDX-License-Identifier: GPL-2.0-only
/* What the tests of the accelerator share. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "test_util.h"

static long read_hex(const char *dir, const char *name)
{
	char path[320];
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.64s/%s", dir, name);
	f = fopen(path, "r");
	if (!f)
		return -1;
	if (fscanf(f, "%lx", &value) != 1)
		value = -1;
	fclose(f);
	return value;
}

bool test_device_present(void)
{
	struct dirent *ent;
	bool found = false;
	DIR *dir;

	dir = opendir("/sys/bus/pci/devices");
	if (!dir)
		return false;
	while (!found && (ent = readdir(dir)))
		found = read_hex(ent->d_name, "vendor") == CCAD_PCI_VENDOR_ID &&
			read_hex(ent->d_name, "device") == CCAD_PCI_DEVICE_ID;
	closedir(dir);
	return found;
}

__u32 test_crc32c(__u32 crc, const void *data, size_t len)
{
	static __u32 table[256];
	const __u8 *p = data;
	__u32 i, bit;

	if (!table[1]) {
		for (i = 0; i < 256; i++) {
			table[i] = i;
			for (bit = 0; bit < 8; bit++)
				table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0x82f63b78 : 0);
		}
	}
	crc = ~crc;
	while (len--)
		crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
	return ~crc;
}

void test_pattern(void *data, size_t len, __u32 seed)
{
	__u32 state = seed * 2654435761u + 1;
	__u8 *p = data;
	size_t i;

	for (i = 0; i < len; i++) {
		state = state * 1664525u + 1013904223u;
		p[i] = state >> 24;
	}
}

void *test_map(size_t len)
{
	void *map;

	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	madvise(map, len, MADV_NOHUGEPAGE);
	return map;
}

int test_file(size_t len)
{
	const char *dir = getenv("CDM_SCRATCH");
	char path[256];
	int fd;

	if (!dir || !*dir)
		dir = access("/scratch", W_OK) ? "/tmp" : "/scratch";
	snprintf(path, sizeof(path), "%.200s/ccad-XXXXXX", dir);
	fd = mkstemp(path);
	if (fd < 0)
		return -errno;
	unlink(path);
	return ftruncate(fd, len) ? -errno : fd;
}

int test_pci_path(const char *name, char *path, size_t len)
{
	char sysfs[128];
	int ret;

	ret = ccad_find(NULL, 0, sysfs, sizeof(sysfs));
	if (!ret)
		snprintf(path, len, "%s/%s", sysfs, name);
	return ret;
}

int test_pci_name(char *name, size_t len)
{
	char path[256], device[PATH_MAX];
	int ret;

	ret = test_pci_path("", path, sizeof(path));
	if (ret)
		return ret;
	if (!realpath(path, device))
		return -errno;
	snprintf(name, len, "%s", strrchr(device, '/') + 1);
	return 0;
}

int test_write(const char *path, const char *value)
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

int test_wait_contexts(long long used)
{
	long long now = -1;
	int i;

	for (i = 0; i < 100; i++) {
		now = ccad_attr("contexts_used");
		if (now >= 0 && now <= used)
			return 0;
		usleep(100000);
	}
	return now < 0 ? (int)now : -ETIMEDOUT;
}

int test_log_from_here(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);

	return fd < 0 || lseek(fd, 0, SEEK_END) < 0 ? -errno : fd;
}

bool test_log_has(int fd, const char *text)
{
	char record[2048];
	bool found = false;
	ssize_t n;

	while ((n = read(fd, record, sizeof(record) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		if (n < 0)
			continue;
		record[n] = 0;
		found |= !!strstr(record, text);
	}
	return found;
}

int test_slot_path(const char *device, const char *name, char *path, size_t len)
{
	static const char slots[] = "/sys/bus/pci/slots";
	struct dirent *ent;
	char address[64];
	int ret = -ENOENT;
	DIR *dir;
	FILE *f;

	dir = opendir(slots);
	if (!dir)
		return -errno;
	while (ret && (ent = readdir(dir))) {
		snprintf(path, len, "%s/%.64s/address", slots, ent->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		/* Without the function: 0000:01:00 */
		if (fscanf(f, "%63s", address) == 1 && !strncmp(device, address, strlen(address))) {
			snprintf(path, len, "%s/%.64s/%s", slots, ent->d_name, name);
			ret = 0;
		}
		fclose(f);
	}
	closedir(dir);
	return ret;
}
