/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of the accelerator share. */
#ifndef CCAD_TEST_UTIL_H
#define CCAD_TEST_UTIL_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libccad.h"

#define MB		(1024UL * 1024)
#define PAGE		4096UL
/* Emulated processors are slow, and those behind them may be busy. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	120
/* For any single command. */
#define WAIT_MS		60000

/* A record has to be aligned to its size. */
#define CCAD_ALIGNED	alignas(64)

/*
 * Whether the accelerator is in this machine, driver or not: without it tests
 * are skipped, without a working driver they fail.
 */
bool test_device_present(void);

/* The reference: one bit at a time would do, a byte at a time is faster. */
__u32 test_crc32c(__u32 crc, const void *data, size_t len);
/* Bytes that differ from page to page and from seed to seed. */
void test_pattern(void *data, size_t len, __u32 seed);
/* Untouched private memory; never a huge page. */
void *test_map(size_t len);
/* An unlinked file of @len bytes on a disk, or in /tmp. */
int test_file(size_t len);

/* Path of attribute @name of the PCI device. */
int test_pci_path(const char *name, char *path, size_t len);
/* What the kernel calls the PCI device, like 0000:01:00.0. */
int test_pci_name(char *name, size_t len);
int test_write(const char *path, const char *value);
/* Path of attribute @name of the slot that @device, a test_pci_name(), is in. */
int test_slot_path(const char *device, const char *name, char *path, size_t len);
/* A descriptor of the kernel's log from here on, or -errno. */
int test_log_from_here(void);
/* Does the log that is read through @fd have a line with @text? */
bool test_log_has(int fd, const char *text);
/* Wait until the device has no more than @used contexts: 0 or -ETIMEDOUT. */
int test_wait_contexts(long long used);

/* Run a descriptor and expect a status. */
#define EXPECT_STATUS(_status, _ctx, _desc, _comp) do {			\
	struct ccad_completion *__comp = (_comp);			\
	struct ccad_desc __desc = (_desc);				\
									\
	ASSERT_EQ(0, ccad_run(_ctx, &__desc, __comp, WAIT_MS));		\
	EXPECT_EQ(_status, __comp->status)				\
		TH_LOG("fault_addr %#llx access %u bytes_done %llu",	\
		       __comp->fault_addr, __comp->access,		\
		       __comp->bytes_done);				\
} while (0)

#define EXPECT_SUCCESS(_ctx, _desc, _comp) \
	EXPECT_STATUS(CCAD_COMP_SUCCESS, _ctx, _desc, _comp)

#endif /* CCAD_TEST_UTIL_H */
