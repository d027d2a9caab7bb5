// SPDX-License-Identifier: GPL-2.0-only
/*
 * The accelerator works on a process's own pointers, whatever kind of memory
 * is behind them, and sees the changes that the process makes to it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "test_util.h"

#define HPAGE	(2 * MB)

FIXTURE(sva)
{
	CCAD_ALIGNED struct ccad_completion comp;
	struct ccad_ctx ctx;
};

FIXTURE_SETUP(sva)
{
	self->ctx.fd = -1;
	if (!test_device_present())
		SKIP(return, "no accelerator");
	ASSERT_EQ(0, ccad_open(&self->ctx, CCAD_RING_SHIFT_DEFAULT));
}

FIXTURE_TEARDOWN(sva)
{
	ccad_close(&self->ctx);
}

/* Read, written and checksummed: @src and @dst are mapped, @src has contents. */
static void use_memory(struct __test_metadata *_metadata, struct _test_data_sva *self,
		       void *dst, const void *src, size_t len)
{
	__u32 crc = test_crc32c(0, src, len);

	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(src, len, 0), &self->comp);
	EXPECT_EQ(crc, self->comp.result);
	EXPECT_EQ(len, self->comp.bytes_done);
	EXPECT_SUCCESS(&self->ctx, ccad_copy(dst, src, len), &self->comp);
	EXPECT_EQ(len, self->comp.bytes_done);
	EXPECT_EQ(0, memcmp(dst, src, len));
	EXPECT_SUCCESS(&self->ctx, ccad_fill(dst, 0x1122334455667788, len), &self->comp);
	EXPECT_EQ(0x88, *(__u8 *)dst);
	EXPECT_EQ(0x77, *((__u8 *)dst + 1));
}

TEST_F(sva, malloc)
{
	char *src = malloc(MB), *dst = malloc(MB);

	ASSERT_NE(NULL, src);
	ASSERT_NE(NULL, dst);
	test_pattern(src, MB, 1);
	memset(dst, 0, MB);
	use_memory(_metadata, self, dst, src, MB);
	/* No two ends on a page, nor on a word, and nothing beyond them. */
	memset(dst, 0, MB);
	use_memory(_metadata, self, dst + 3, src + 4093, MB - 5000);
	EXPECT_EQ(0, dst[2]);
	EXPECT_EQ(0, dst[3 + MB - 5000]);
}

TEST_F(sva, stack)
{
	char src[16 * PAGE], dst[16 * PAGE];

	test_pattern(src, sizeof(src), 2);
	use_memory(_metadata, self, dst, src, sizeof(src));
}

static const char rodata[] = "a constant that the linker has put into a file mapping";

TEST_F(sva, program_file)
{
	char dst[sizeof(rodata)];

	use_memory(_metadata, self, dst, rodata, sizeof(rodata));
}

TEST_F(sva, file_shared)
{
	int fd = test_file(MB);
	char *map, *back = malloc(MB), *src = malloc(MB);

	ASSERT_GE(fd, 0);
	test_pattern(src, MB, 3);
	ASSERT_EQ((ssize_t)MB, pwrite(fd, src, MB, 0));
	map = mmap(NULL, MB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);

	/* The device maps the pages itself. */
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(map, MB, 0), &self->comp);
	EXPECT_EQ(test_crc32c(0, src, MB), self->comp.result);
	EXPECT_GT(self->comp.page_requests, 0);

	/* And what it writes is in the file. */
	test_pattern(src, MB, 4);
	EXPECT_SUCCESS(&self->ctx, ccad_copy(map, src, MB), &self->comp);
	ASSERT_EQ((ssize_t)MB, pread(fd, back, MB, 0));
	EXPECT_EQ(0, memcmp(back, src, MB));
	EXPECT_EQ(0, msync(map, MB, MS_SYNC));
}

TEST_F(sva, file_private)
{
	int fd = test_file(MB);
	char *map, *back = malloc(MB);

	ASSERT_GE(fd, 0);
	map = mmap(NULL, MB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_SUCCESS(&self->ctx, ccad_fill(map, ~0ULL, MB), &self->comp);
	EXPECT_EQ(-1, map[0]);
	ASSERT_EQ((ssize_t)MB, pread(fd, back, MB, 0));
	EXPECT_EQ(0, back[0]) TH_LOG("a private mapping was written to its file");
}

TEST_F(sva, shared_memory)
{
	int fd = memfd_create("ccad", 0);
	char *one, *two;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ftruncate(fd, 2 * MB));
	one = mmap(NULL, 2 * MB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	two = mmap(NULL, 2 * MB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, one);
	ASSERT_NE(MAP_FAILED, two);
	test_pattern(one, MB, 5);
	use_memory(_metadata, self, two + MB, two, MB);
	EXPECT_SUCCESS(&self->ctx, ccad_copy(one + MB, one, MB), &self->comp);
	EXPECT_EQ(0, memcmp(two + MB, two, MB));
}

static char *map_huge(void)
{
	char *map = mmap(NULL, 4 * HPAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	map = (char *)(((uintptr_t)map + HPAGE - 1) & ~(HPAGE - 1));
	return madvise(map, 2 * HPAGE, MADV_HUGEPAGE) ? NULL : map;
}

TEST_F(sva, huge_pages)
{
	char *map = map_huge();

	if (!map)
		SKIP(return, "no transparent huge pages");
	test_pattern(map, HPAGE, 6);
	map[HPAGE] = 1;
	use_memory(_metadata, self, map + HPAGE, map, HPAGE);
	/* A huge page is one translation, whatever its size. */
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(map, 2 * HPAGE, 0), &self->comp);
	EXPECT_LT(self->comp.translations, 32);

	/* Split under the device: the bytes stay. */
	ASSERT_EQ(0, mprotect(map + PAGE, PAGE, PROT_READ));
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(map, HPAGE, 0), &self->comp);
	EXPECT_EQ(test_crc32c(0, map, HPAGE), self->comp.result);
	EXPECT_STATUS(CCAD_COMP_PAGE_FAULT, &self->ctx, ccad_fill(map, 0, HPAGE), &self->comp);
	EXPECT_EQ((uintptr_t)map + PAGE, self->comp.fault_addr);
}

TEST_F(sva, hugetlb)
{
	char *map;

	if (test_write("/proc/sys/vm/nr_hugepages", "4"))
		SKIP(return, "no hugetlb");
	map = mmap(NULL, 2 * HPAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	test_write("/proc/sys/vm/nr_hugepages", "0");
	if (map == MAP_FAILED)
		SKIP(return, "no huge pages to be had");
	test_pattern(map, HPAGE, 7);
	use_memory(_metadata, self, map + HPAGE, map, HPAGE);
	munmap(map, 2 * HPAGE);
}

TEST_F(sva, never_touched)
{
	char *map = test_map(MB), *zero = calloc(1, MB);

	ASSERT_NE(NULL, map);
	/* A read finds zeros ... */
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(map, MB / 2, 0), &self->comp);
	EXPECT_EQ(test_crc32c(0, zero, MB / 2), self->comp.result);
	EXPECT_GT(self->comp.page_requests, 0);
	/* ... and a write its own pages, also where zeros have been read. */
	EXPECT_SUCCESS(&self->ctx, ccad_fill(map, 0x0101010101010101, MB), &self->comp);
	EXPECT_GE(self->comp.page_requests, MB / PAGE / 2);
	memset(zero, 1, MB);
	EXPECT_EQ(0, memcmp(map, zero, MB));
	/* Once there, nothing has to be asked for. */
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(map, MB, 0), &self->comp);
	EXPECT_EQ(0, self->comp.page_requests);
}

TEST_F(sva, no_page_request)
{
	struct ccad_desc desc;
	char *map = test_map(MB);

	ASSERT_NE(NULL, map);
	memset(map, 1, PAGE);
	desc = ccad_fill(map, 0, 2 * PAGE);
	desc.flags = CCAD_DESC_NO_PAGE_REQUEST;
	EXPECT_STATUS(CCAD_COMP_PAGE_FAULT, &self->ctx, desc, &self->comp);
	EXPECT_EQ((uintptr_t)map + PAGE, self->comp.fault_addr);
	EXPECT_EQ(PAGE, self->comp.bytes_done);
	EXPECT_EQ(0, self->comp.page_requests);
}

/* The device writes to the parent's pages: the child keeps what it had. */
TEST_F(sva, copy_on_write_after_fork)
{
	char *map = test_map(MB), byte;
	int go[2], status;
	pid_t pid;

	ASSERT_NE(NULL, map);
	memset(map, 'o', MB);
	/* Translations with write permission are cached now. */
	EXPECT_SUCCESS(&self->ctx, ccad_fill(map, 0x6f6f6f6f6f6f6f6f, MB), &self->comp);
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		size_t i, wrong = 0;

		if (read(go[0], &byte, 1) != 1)
			_exit(2);
		for (i = 0; i < MB; i++)
			wrong += map[i] != 'o';
		_exit(wrong ? 1 : 0);
	}
	EXPECT_SUCCESS(&self->ctx, ccad_fill(map, 0x6e6e6e6e6e6e6e6e, MB), &self->comp);
	EXPECT_GT(self->comp.page_requests, 0);
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("the child saw the parent's writes");
	EXPECT_EQ('n', map[0]);
	EXPECT_EQ('n', map[MB - 1]);
}

/* Cached translations end with the mappings that they come from. */
TEST_F(sva, remap)
{
	char *map = test_map(MB);
	__u32 i, crc;

	ASSERT_NE(NULL, map);
	for (i = 0; i < 20; i++) {
		test_pattern(map, MB, 100 + i);
		crc = test_crc32c(0, map, MB);
		EXPECT_SUCCESS(&self->ctx, ccad_crc32c(map, MB, 0), &self->comp);
		ASSERT_EQ(crc, self->comp.result) TH_LOG("round %u", i);
		/* New pages at the old addresses, in one way or the other. */
		ASSERT_TRUE(i % 2 ? !madvise(map, MB, MADV_DONTNEED) :
			    mmap(map, MB, PROT_READ | PROT_WRITE,
				 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == map);
	}
}

TEST_F(sva, protection_changes)
{
	char *map = test_map(MB);

	ASSERT_NE(NULL, map);
	memset(map, 1, MB);
	EXPECT_SUCCESS(&self->ctx, ccad_fill(map, 0, MB), &self->comp);
	ASSERT_EQ(0, mprotect(map, MB, PROT_READ));
	EXPECT_STATUS(CCAD_COMP_PAGE_FAULT, &self->ctx, ccad_fill(map, ~0ULL, MB), &self->comp);
	EXPECT_EQ(0, map[0]);
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(map, MB, 0), &self->comp);
	ASSERT_EQ(0, mprotect(map, MB, PROT_NONE));
	EXPECT_STATUS(CCAD_COMP_PAGE_FAULT, &self->ctx, ccad_crc32c(map, MB, 0), &self->comp);
	ASSERT_EQ(0, mprotect(map, MB, PROT_READ | PROT_WRITE));
	EXPECT_SUCCESS(&self->ctx, ccad_fill(map, ~0ULL, MB), &self->comp);
	EXPECT_EQ(-1, map[0]);
}

/* Two processes use one address for different things at the same time. */
TEST_F(sva, equal_addresses)
{
	void *const where = (void *)0x100000000000;
	int ready[2], go[2], status;
	char *map, byte;
	__u32 crc, i;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_GE(pid, 0);
	/* From here on both do the same, the child with a context of its own. */
	if (!pid)
		ASSERT_EQ(0, ccad_open(&self->ctx, CCAD_RING_SHIFT_DEFAULT));
	map = mmap(where, MB, PROT_READ | PROT_WRITE,
		   MAP_FIXED_NOREPLACE | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(where, map);
	test_pattern(map, MB, pid ? 200 : 300);
	crc = test_crc32c(0, map, MB);
	if (pid) {
		ASSERT_EQ(1, read(ready[0], &byte, 1));
		ASSERT_EQ(1, write(go[1], "", 1));
	} else {
		ASSERT_EQ(1, write(ready[1], "", 1));
		ASSERT_EQ(1, read(go[0], &byte, 1));
	}
	for (i = 0; i < 50; i++) {
		EXPECT_SUCCESS(&self->ctx, ccad_crc32c(map, MB, 0), &self->comp);
		ASSERT_EQ(crc, self->comp.result);
	}
	if (!pid)
		_exit(0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
