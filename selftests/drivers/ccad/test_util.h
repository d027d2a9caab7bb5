/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of the accelerator share. */
#ifndef CCAD_TEST_UTIL_H
#define CCAD_TEST_UTIL_H

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
#define CCAD_ALIGNED	__attribute__((aligned(64)))

/* Whether the accelerator is in this machine, driver or not. */
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
int test_write(const char *path, const char *value);
/* Wait until the device has no more than @used contexts: 0 or -ETIMEDOUT. */
int test_wait_contexts(long long used);

/*
 * A test needs a device.  A machine without one skips; one that has it and no
 * working driver fails.
 */
#define TEST_NEED_DEVICE() do {						\
	if (!test_device_present())					\
		SKIP(return, "no accelerator");				\
	ASSERT_EQ(0, ccad_find(NULL, 0, NULL, 0))			\
		TH_LOG("the accelerator has no driver, see dmesg");	\
} while (0)

/* Run a descriptor and expect a status. */
#define EXPECT_STATUS(_status, _ctx, _desc, _comp) do {			\
	struct ccad_desc __desc = (_desc);				\
	ASSERT_EQ(0, ccad_run(_ctx, &__desc, _comp, WAIT_MS));		\
	EXPECT_EQ(_status, (_comp)->status)				\
		TH_LOG("fault_addr %#llx access %u bytes_done %llu",	\
		       (_comp)->fault_addr, (_comp)->access,		\
		       (_comp)->bytes_done);				\
} while (0)

#define EXPECT_SUCCESS(_ctx, _desc, _comp) \
	EXPECT_STATUS(CCAD_COMP_SUCCESS, _ctx, _desc, _comp)

#endif /* CCAD_TEST_UTIL_H */
