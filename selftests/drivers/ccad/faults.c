// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the process may not do, the accelerator may not do for it: the command
 * ends with the address that failed, and the context goes on.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "test_util.h"

FIXTURE(fault)
{
	CCAD_ALIGNED struct ccad_completion comp;
	struct ccad_ctx ctx;
	char *good;
};

FIXTURE_SETUP(fault)
{
	self->ctx.fd = -1;
	if (!test_device_present())
		SKIP(return, "no accelerator");
	ASSERT_EQ(0, ccad_open(&self->ctx, 4));
	self->good = test_map(4 * PAGE);
	ASSERT_NE(NULL, self->good);
	test_pattern(self->good, 4 * PAGE, 1);
}

FIXTURE_TEARDOWN(fault)
{
	ccad_close(&self->ctx);
}

static void expect_works(struct __test_metadata *_metadata, struct _test_data_fault *self)
{
	EXPECT_EQ(CCAD_CTX_ENABLED, ccad_state(&self->ctx));
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(self->good, 4 * PAGE, 0), &self->comp);
	EXPECT_EQ(test_crc32c(0, self->good, 4 * PAGE), self->comp.result);
}

static void expect_fault(struct __test_metadata *_metadata, struct _test_data_fault *self,
			 struct ccad_desc desc, __u64 addr, unsigned int access,
			 __u64 done)
{
	EXPECT_STATUS(CCAD_COMP_PAGE_FAULT, &self->ctx, desc, &self->comp);
	EXPECT_EQ(addr, self->comp.fault_addr);
	EXPECT_EQ(access, self->comp.access);
	EXPECT_EQ(done, self->comp.bytes_done);
	expect_works(_metadata, self);
}

/* Not to be read and not to be written, from its first byte on. */
static void expect_refused(struct __test_metadata *_metadata, struct _test_data_fault *self,
			   __u64 addr)
{
	void *bad = (void *)(uintptr_t)addr;

	expect_fault(_metadata, self, ccad_crc32c(bad, 64, 0), addr, CCAD_ACCESS_READ, 0);
	expect_fault(_metadata, self, ccad_copy(self->good, bad, 64), addr,
		     CCAD_ACCESS_READ, 0);
	expect_fault(_metadata, self, ccad_fill(bad, 0, 64), addr, CCAD_ACCESS_WRITE, 0);
	expect_fault(_metadata, self, ccad_copy(bad, self->good, 64), addr,
		     CCAD_ACCESS_WRITE, 0);
}

TEST_F(fault, unmapped)
{
	char *map = test_map(PAGE);

	memset(map, 1, PAGE);
	ASSERT_EQ(0, munmap(map, PAGE));
	expect_refused(_metadata, self, (uintptr_t)map + 100);
}

TEST_F(fault, prot_none)
{
	char *map = test_map(PAGE);

	memset(map, 1, PAGE);
	ASSERT_EQ(0, mprotect(map, PAGE, PROT_NONE));
	expect_refused(_metadata, self, (uintptr_t)map + 8);
}

TEST_F(fault, null)
{
	expect_refused(_metadata, self, 0);
	expect_refused(_metadata, self, 64);
}

TEST_F(fault, non_canonical)
{
	expect_refused(_metadata, self, 0x0000800000000000);
	expect_refused(_metadata, self, 0x4000000000001000);
}

/* The kernel's own addresses: direct map, vmemmap, text. */
TEST_F(fault, kernel)
{
	expect_refused(_metadata, self, 0xffff888000100000);
	expect_refused(_metadata, self, 0xffffea0000000000);
	expect_refused(_metadata, self, 0xffffffff81000000);
}

TEST_F(fault, write_to_read_only)
{
	char *map = test_map(PAGE);

	memset(map, 1, PAGE);
	ASSERT_EQ(0, mprotect(map, PAGE, PROT_READ));
	expect_fault(_metadata, self, ccad_fill(map + 16, 0, 64), (uintptr_t)map + 16,
		     CCAD_ACCESS_WRITE, 0);
	EXPECT_EQ(1, map[16]);
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(map, PAGE, 0), &self->comp);
}

static const char rodata[PAGE] = { 1 };

TEST_F(fault, write_to_program)
{
	expect_fault(_metadata, self, ccad_fill((void *)rodata, 0, 8), (uintptr_t)rodata,
		     CCAD_ACCESS_WRITE, 0);
	EXPECT_EQ(0, memcmp(rodata, "\1", 2));
}

/* A command that fails in its middle says how far it came. */
TEST_F(fault, in_the_middle)
{
	char *map = test_map(3 * PAGE);

	test_pattern(map, 3 * PAGE, 2);
	ASSERT_EQ(0, munmap(map + 2 * PAGE, PAGE));
	expect_fault(_metadata, self, ccad_fill(map + PAGE, 0, 2 * PAGE),
		     (uintptr_t)map + 2 * PAGE, CCAD_ACCESS_WRITE, PAGE);
	EXPECT_EQ(0, map[PAGE]);
	EXPECT_EQ(0, map[2 * PAGE - 1]);

	EXPECT_STATUS(CCAD_COMP_PAGE_FAULT, &self->ctx, ccad_crc32c(map + 10, 3 * PAGE, 0),
		      &self->comp);
	EXPECT_EQ(2 * PAGE - 10, self->comp.bytes_done);
	EXPECT_EQ(test_crc32c(0, map + 10, 2 * PAGE - 10), self->comp.result);
	expect_works(_metadata, self);
}

/* A file that is shorter than its mapping. */
TEST_F(fault, beyond_end_of_file)
{
	int fd = test_file(PAGE);
	char *map;

	ASSERT_GE(fd, 0);
	map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	expect_fault(_metadata, self, ccad_crc32c(map, 2 * PAGE, 0), (uintptr_t)map + PAGE,
		     CCAD_ACCESS_READ, PAGE);
}

TEST_F(fault, counted)
{
	struct ccad_stats before, after;
	long long device;

	device = ccad_attr("stat_faults");
	ASSERT_LE(0, device);
	ccad_get_stats(&self->ctx, &before);
	EXPECT_STATUS(CCAD_COMP_PAGE_FAULT, &self->ctx, ccad_fill(NULL, 0, 8), &self->comp);
	ccad_get_stats(&self->ctx, &after);
	EXPECT_EQ(before.commands + 1, after.commands);
	EXPECT_EQ(before.errors + 1, after.errors);
	EXPECT_EQ(before.page_failures + 1, after.page_failures);
	EXPECT_EQ(before.faults + 1, after.faults);
	EXPECT_EQ(device + 1, ccad_attr("stat_faults"));
}

TEST_F(fault, invalid_descriptors)
{
	struct ccad_desc desc;

	desc = ccad_fill(self->good, 0, 8);
	desc.opcode = 0xff;
	EXPECT_STATUS(CCAD_COMP_INVALID_OPCODE, &self->ctx, desc, &self->comp);
	desc = ccad_fill(self->good, 0, 8);
	desc.rsvd0 = 1;
	EXPECT_STATUS(CCAD_COMP_INVALID_FIELD, &self->ctx, desc, &self->comp);
	desc = ccad_fill(self->good, 0, 8);
	desc.rsvd1 = 1;
	EXPECT_STATUS(CCAD_COMP_INVALID_FIELD, &self->ctx, desc, &self->comp);
	desc = ccad_fill(self->good, 0, 8);
	desc.flags = 0x8000;
	EXPECT_STATUS(CCAD_COMP_INVALID_FIELD, &self->ctx, desc, &self->comp);
	desc = ccad_copy(self->good + 8, self->good, 64);
	EXPECT_STATUS(CCAD_COMP_INVALID_FIELD, &self->ctx, desc, &self->comp);
	desc = ccad_crc32c((void *)-8, 64, 0);
	EXPECT_STATUS(CCAD_COMP_INVALID_FIELD, &self->ctx, desc, &self->comp);
	expect_works(_metadata, self);
}

/* Expect the context to stop for @cause, to tell poll() so, and to go on. */
static void expect_stopped(struct __test_metadata *_metadata, struct _test_data_fault *self,
			   __u32 cause)
{
	struct pollfd pfd = { .fd = self->ctx.fd, .events = POLLIN };
	__u32 status;

	ASSERT_EQ(0, ccad_wait_state(&self->ctx, CCAD_CTX_ERROR, WAIT_MS));
	status = ccad_db_read(&self->ctx, CCAD_DB_STATUS);
	EXPECT_EQ(cause, (status & CCAD_CTX_CAUSE_MASK) >> CCAD_CTX_CAUSE_SHIFT);
	EXPECT_EQ(1, poll(&pfd, 1, WAIT_MS));
	EXPECT_TRUE(pfd.revents & POLLERR);

	ASSERT_EQ(0, ccad_clear(&self->ctx, WAIT_MS));
	expect_works(_metadata, self);
}

TEST_F(fault, completion_record)
{
	struct ccad_desc desc = ccad_fill(self->good, 0, 8);
	char *map = test_map(PAGE);

	ASSERT_EQ(0, munmap(map, PAGE));
	desc.completion = (uintptr_t)map;
	ASSERT_EQ(0, ccad_submit(&self->ctx, &desc));
	test_pattern(self->good, 4 * PAGE, 1);
	expect_stopped(_metadata, self, CCAD_CAUSE_COMPLETION);

	desc.completion = (uintptr_t)&self->comp + 8;
	ASSERT_EQ(0, ccad_submit(&self->ctx, &desc));
	expect_stopped(_metadata, self, CCAD_CAUSE_COMPLETION);
}

TEST_F(fault, doorbell)
{
	ccad_db_write(&self->ctx, CCAD_DB_TAIL, self->ctx.tail + 17);
	expect_stopped(_metadata, self, CCAD_CAUSE_DOORBELL);
}

TEST_F(fault, ring)
{
	size_t size = sizeof(struct ccad_desc) << self->ctx.shift;

	expect_works(_metadata, self);
	ASSERT_EQ(0, mprotect(self->ctx.ring, size, PROT_NONE));
	self->ctx.tail++;
	ccad_kick(&self->ctx);
	ASSERT_EQ(0, ccad_wait_state(&self->ctx, CCAD_CTX_ERROR, WAIT_MS));
	ASSERT_EQ(0, mprotect(self->ctx.ring, size, PROT_READ | PROT_WRITE));
	expect_stopped(_metadata, self, CCAD_CAUSE_RING);
}

TEST_HARNESS_MAIN
