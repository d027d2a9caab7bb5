// SPDX-License-Identifier: GPL-2.0-only
/* Every engine, on pointers of the process. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "test_util.h"

FIXTURE(engines)
{
	CCAD_ALIGNED struct ccad_completion comp;
	struct ccad_ctx ctx;
	char *src, *dst;
};

FIXTURE_SETUP(engines)
{
	self->ctx.fd = -1;
	if (!test_device_present())
		SKIP(return, "no accelerator");
	ASSERT_EQ(0, ccad_open(&self->ctx, 4));
	self->src = test_map(MB);
	self->dst = test_map(MB);
	ASSERT_NE(NULL, self->src);
	ASSERT_NE(NULL, self->dst);
}

FIXTURE_TEARDOWN(engines)
{
	ccad_close(&self->ctx);
}

TEST_F(engines, move)
{
	struct ccad_desc nop = { .opcode = CCAD_OP_NOP }, fence = { .opcode = CCAD_OP_FENCE };

	test_pattern(self->src, MB, 1);
	EXPECT_SUCCESS(&self->ctx, nop, &self->comp);
	EXPECT_SUCCESS(&self->ctx, ccad_copy(self->dst + 3, self->src + 5, MB / 2), &self->comp);
	EXPECT_EQ(MB / 2, self->comp.bytes_done);
	EXPECT_SUCCESS(&self->ctx, fence, &self->comp);
	EXPECT_EQ(0, memcmp(self->dst + 3, self->src + 5, MB / 2));
	EXPECT_EQ(0, self->dst[2]);
	EXPECT_EQ(0, self->dst[3 + MB / 2]);
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(self->dst + 3, MB / 2, 0), &self->comp);
	EXPECT_EQ(test_crc32c(0, self->src + 5, MB / 2), self->comp.result);
	EXPECT_SUCCESS(&self->ctx, ccad_fill(self->dst + 8, 0x0102030405060708, 16), &self->comp);
	EXPECT_EQ(0x0102030405060708, *(__u64 *)(self->dst + 16));
}

TEST_F(engines, compare)
{
	test_pattern(self->src, MB, 1);
	memcpy(self->dst + 5, self->src + 3, MB / 2);
	EXPECT_SUCCESS(&self->ctx, ccad_compare(self->src + 3, self->dst + 5, MB / 2),
		       &self->comp);
	EXPECT_EQ(MB / 2, self->comp.result);
	self->dst[5 + 123456] ^= 1;
	EXPECT_SUCCESS(&self->ctx, ccad_compare(self->src + 3, self->dst + 5, MB / 2),
		       &self->comp);
	EXPECT_EQ(123456, self->comp.result);
}

TEST_F(engines, reduce)
{
	int *ints = (int *)self->src;
	double *doubles = (double *)self->dst, sum = 0, result;
	long long total = 0, least = 0;
	size_t i;

	test_pattern(self->src, MB, 2);
	for (i = 0; i < MB / sizeof(*ints); i++) {
		total += ints[i];
		if (!i || ints[i] < least)
			least = ints[i];
	}
	EXPECT_SUCCESS(&self->ctx, ccad_reduce(ints, MB, CCAD_REDUCE_SUM, CCAD_TYPE_INT32),
		       &self->comp);
	EXPECT_EQ(total, (long long)self->comp.result);
	EXPECT_SUCCESS(&self->ctx, ccad_reduce(ints, MB, CCAD_REDUCE_MIN, CCAD_TYPE_INT32),
		       &self->comp);
	EXPECT_EQ(least, (long long)self->comp.result);

	for (i = 0; i < MB / sizeof(*doubles); i++) {
		doubles[i] = ints[i] / 7.0;
		sum += doubles[i];
	}
	EXPECT_SUCCESS(&self->ctx, ccad_reduce(doubles, MB, CCAD_REDUCE_SUM, CCAD_TYPE_DOUBLE),
		       &self->comp);
	memcpy(&result, &self->comp.result, sizeof(result));
	EXPECT_EQ(0, memcmp(&sum, &result, sizeof(sum)))
		TH_LOG("%a instead of %a", result, sum);
}

#define INCREMENTS	200000

static void *increment(void *arg)
{
	__u64 *counter = arg;
	int i;

	for (i = 0; i < INCREMENTS; i++)
		__atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Two processors and the device count: not one may be lost. */
TEST_F(engines, fetch_add)
{
	enum { BY_DEVICE = 3000 };
	__u64 *counter = (__u64 *)self->src;
	pthread_t threads[2];
	int i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, increment, counter));
	for (i = 0; i < BY_DEVICE; i++)
		EXPECT_SUCCESS(&self->ctx, ccad_fetch_add(counter, 8, 1), &self->comp);
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(2 * INCREMENTS + BY_DEVICE, *counter);

	*(__u32 *)self->dst = 0xffffffff;
	((__u32 *)self->dst)[1] = 5;
	EXPECT_SUCCESS(&self->ctx, ccad_fetch_add(self->dst, 4, 2), &self->comp);
	EXPECT_EQ(0xffffffff, self->comp.result);
	EXPECT_EQ(1, *(__u32 *)self->dst);
	EXPECT_EQ(5, ((__u32 *)self->dst)[1]);
	EXPECT_STATUS(CCAD_COMP_INVALID_FIELD, &self->ctx,
		      ccad_fetch_add(self->dst + 4, 8, 1), &self->comp);
}

TEST_F(engines, compare_swap)
{
	__u64 *word = (__u64 *)self->src;

	*word = 40;
	EXPECT_SUCCESS(&self->ctx, ccad_compare_swap(word, 8, 40, 41), &self->comp);
	EXPECT_EQ(40, self->comp.result);
	EXPECT_EQ(41, *word);
	EXPECT_SUCCESS(&self->ctx, ccad_compare_swap(word, 8, 40, 42), &self->comp);
	EXPECT_EQ(41, self->comp.result);
	EXPECT_EQ(41, *word);
}

TEST_F(engines, gather)
{
	__u64 *table = (__u64 *)self->src, *out = (__u64 *)self->dst;
	uintptr_t hole = (uintptr_t)self->dst + MB / 2;
	__u32 *indices = test_map(MB);
	__u32 i, n = 50000;

	ASSERT_NE(NULL, indices);
	test_pattern(table, MB, 3);
	for (i = 0; i < n; i++)
		indices[i] = i * 7919 % (MB / 8);
	EXPECT_SUCCESS(&self->ctx, ccad_gather(out, table, indices, n, 3), &self->comp);
	EXPECT_EQ(n, self->comp.result);
	for (i = 0; i < n; i++)
		ASSERT_EQ(table[indices[i]], out[i]) TH_LOG("element %u", i);
	EXPECT_EQ(0, out[n]);

	/* An index to where there is nothing ends it there. */
	indices[100] = 0x7fffffff;
	munmap(self->dst + MB / 2, MB / 2);
	EXPECT_STATUS(CCAD_COMP_PAGE_FAULT, &self->ctx,
		      ccad_gather(out, (void *)(hole - 8 * 0x7fffffffUL), indices + 100,
				  1, 3), &self->comp);
	EXPECT_EQ(hole, self->comp.fault_addr);
	EXPECT_EQ(CCAD_ACCESS_READ, self->comp.access);
	EXPECT_EQ(0, self->comp.bytes_done);
}

struct node {
	int value;
	struct node *next;
};

TEST_F(engines, list_walk)
{
	struct node *first = NULL, *last = NULL, *node;
	long long sum = 0;
	int i, n = 2000;

	/* On the heap, as lists are. */
	for (i = 0; i < n; i++) {
		node = malloc(sizeof(*node) + i % 100);
		ASSERT_NE(NULL, node);
		node->value = i * i - 100000;
		node->next = first;
		sum += node->value;
		first = node;
		if (!last)
			last = node;
	}

#define WALK(_limit)							\
	ccad_list_walk(first, _limit, CCAD_REDUCE_SUM, CCAD_TYPE_INT32,	\
		       offsetof(struct node, next), offsetof(struct node, value))

	EXPECT_SUCCESS(&self->ctx, WALK(n), &self->comp);
	EXPECT_EQ(sum, (long long)self->comp.result);
	EXPECT_EQ(n, self->comp.bytes_done);

	EXPECT_STATUS(CCAD_COMP_LIMIT, &self->ctx, WALK(n - 1), &self->comp);
	EXPECT_EQ((uintptr_t)last, self->comp.fault_addr);
	EXPECT_EQ(sum - last->value, (long long)self->comp.result);

	last->next = first->next;
	EXPECT_STATUS(CCAD_COMP_CYCLE, &self->ctx, WALK(1000000), &self->comp);
	EXPECT_GE(3 * n, self->comp.bytes_done);

	last->next = (struct node *)16;
	EXPECT_STATUS(CCAD_COMP_PAGE_FAULT, &self->ctx, WALK(n + 1), &self->comp);
	EXPECT_EQ(16 + offsetof(struct node, next), self->comp.fault_addr);
	EXPECT_EQ(n, self->comp.bytes_done);
	EXPECT_EQ(sum, (long long)self->comp.result);
}

TEST_F(engines, compress)
{
	char *back = test_map(MB);
	__u32 format;
	size_t size;

	ASSERT_NE(NULL, back);
	/* Half of it noise, half of it nothing. */
	test_pattern(self->src, MB / 2, 4);
	for (format = CCAD_FORMAT_ZLIB; format <= CCAD_FORMAT_RAW; format++) {
		EXPECT_SUCCESS(&self->ctx,
			       ccad_compress(self->dst, MB, self->src, MB, format, 0),
			       &self->comp);
		size = self->comp.result;
		EXPECT_EQ(MB, self->comp.bytes_done);
		EXPECT_LT(size, MB * 3 / 4);
		memset(back, 0xff, MB);
		EXPECT_SUCCESS(&self->ctx, ccad_decompress(back, MB, self->dst, size, format),
			       &self->comp);
		EXPECT_EQ(MB, self->comp.result);
		EXPECT_EQ(size, self->comp.bytes_done);
		EXPECT_EQ(0, memcmp(back, self->src, MB));

		EXPECT_STATUS(CCAD_COMP_NO_ROOM, &self->ctx,
			      ccad_decompress(back, MB - 1, self->dst, size, format),
			      &self->comp);
		EXPECT_STATUS(CCAD_COMP_NO_ROOM, &self->ctx,
			      ccad_compress(self->dst, size - 1, self->src, MB, format, 0),
			      &self->comp);
		EXPECT_STATUS(CCAD_COMP_BAD_DATA, &self->ctx,
			      ccad_decompress(back, MB, self->dst, size / 2, format),
			      &self->comp);
	}
}

/* "hello, hello" by gzip: what others write is understood. */
TEST_F(engines, gunzip)
{
	static const __u8 packed[] = {
		0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03,
		0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xd7, 0x51, 0xc8,
		0x00, 0x51, 0x00, 0xff, 0xc5, 0xcc, 0xf3, 0x0c,
		0x00, 0x00, 0x00,
	};

	memcpy(self->src, packed, sizeof(packed));
	EXPECT_SUCCESS(&self->ctx,
		       ccad_decompress(self->dst, MB, self->src, sizeof(packed), CCAD_FORMAT_GZIP),
		       &self->comp);
	EXPECT_EQ(12, self->comp.result);
	EXPECT_STREQ("hello, hello", self->dst);
}

/* Pages that only the engine touches come by page requests. */
TEST_F(engines, untouched_memory)
{
	EXPECT_SUCCESS(&self->ctx, ccad_reduce(self->src, MB, CCAD_REDUCE_MAX, CCAD_TYPE_INT64),
		       &self->comp);
	EXPECT_EQ(0, self->comp.result);
	EXPECT_NE(0, self->comp.page_requests);
	EXPECT_SUCCESS(&self->ctx, ccad_fetch_add(self->dst + PAGE, 8, 9), &self->comp);
	EXPECT_EQ(9, *(__u64 *)(self->dst + PAGE));
}

/* What needs a physical address is not for processes. */
TEST_F(engines, no_physical_addresses)
{
	struct ccad_page_copy pages = { .src = 0x100000, .dst = 0x101000 };
	struct ccad_desc desc = {};

	desc.opcode = CCAD_OP_COPY_PAGES;
	desc.src = (uintptr_t)&pages;
	desc.len = sizeof(pages);
	desc.arg = 12;
	EXPECT_STATUS(CCAD_COMP_INVALID_OPCODE, &self->ctx, desc, &self->comp);
	EXPECT_STATUS(CCAD_COMP_PAGE_FAULT, &self->ctx,
		      ccad_copy(self->dst, (void *)0x1000UL, PAGE), &self->comp);
}

TEST_HARNESS_MAIN
