// SPDX-License-Identifier: GPL-2.0-only
/*
 * ccad-bench [NVME]: what the accelerator does in a second, through its driver
 *
 * NVME is a block device to measure beside it.  The lines are for
 * `scripts/ccad bench device`, which says what they mean.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "libccad.h"

#define RING_SHIFT	7
#define IN_RING		(1u << RING_SHIFT)
#define STREAM_DEPTH	64	/* copies and fills in flight: work for several rests */
#define ROUNDS		30	/* of them, each with its line */
#define ROUND_SECONDS	0.05
/*
 * Looking for a record, then resting in between: the core that a waiting
 * processor keeps busy may be the one that the device works on.
 */
#define SPINS		1000
#define REST_US		200
#define PATIENCE_US	60000000
#define MB		(1ul << 20)
#define PAGE		4096ul
#define FAULTS		4096ul	/* pages, each faulted once */

static struct ccad_completion *records;

double bench_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

void bench_print(const char *name, unsigned long arg, double value)
{
	printf("%s/%lu %.9g\n", name, arg, value);
	fflush(stdout);
}

void bench_fail(const char *what, int error)
{
	fprintf(stderr, "ccad-bench: %s: %s\n", what, strerror(error));
	exit(1);
}

static void *map(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		bench_fail("memory", errno);
	return p;
}

static void push(struct ccad_ctx *ctx, struct ccad_desc *desc)
{
	struct ccad_completion *comp = &records[ctx->tail % IN_RING];

	comp->status = CCAD_COMP_NONE;
	desc->completion = (uintptr_t)comp;
	/* HEAD counts what was fetched: the ring is longer than any depth. */
	if (ccad_push(ctx, desc))
		bench_fail("the ring is full", EAGAIN);
}

static void wait_for(__u32 index)
{
	struct ccad_completion *comp = &records[index % IN_RING];
	unsigned long looks;

	for (looks = 0; ccad_status(comp) == CCAD_COMP_NONE; looks++) {
		if (looks < SPINS)
			continue;
		if (looks - SPINS > PATIENCE_US / REST_US)
			bench_fail("a command does not end", ETIMEDOUT);
		usleep(REST_US);
	}
	if (comp->status != CCAD_COMP_SUCCESS) {
		fprintf(stderr, "ccad-bench: a command ended with status %u\n",
			comp->status);
		exit(1);
	}
}

/* Commands a second in @seconds with @depth of them in flight. */
static double stream(struct ccad_ctx *ctx, struct ccad_desc desc,
		     unsigned int depth, double seconds)
{
	__u32 first = ctx->tail, oldest = first;
	double began = bench_now(), now;

	do {
		while (ctx->tail - oldest < depth)
			push(ctx, &desc);
		ccad_kick(ctx);
		wait_for(oldest++);
		while (oldest != ctx->tail &&
		       ccad_status(&records[oldest % IN_RING]))
			wait_for(oldest++);
		now = bench_now();
	} while (now - began < seconds);

	depth = oldest - first;
	while (oldest != ctx->tail)
		wait_for(oldest++);
	return depth / (now - began);
}

/*
 * All rounds of a size before those of the next: the small ones leave the
 * device idle in between, and a processor that was idle is slow for a while.
 */
static void memory(struct ccad_ctx *ctx)
{
	static const size_t sizes[] = { 4096, 65536, 2 * MB };
	char *buffer = map(6 * MB), *src, *dst;
	size_t i, round, len;

	/* 2 MiB pages, if the kernel has them to give. */
	src = (char *)(((uintptr_t)buffer + 2 * MB - 1) & ~(2 * MB - 1));
	dst = src + 2 * MB;
	madvise(src, 4 * MB, MADV_HUGEPAGE);
	memset(src, 1, 4 * MB);
	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		len = sizes[i];
		for (round = 0; round < ROUNDS; round++) {
			bench_print("copy", len, len *
				    stream(ctx, ccad_copy(dst, src, len),
					   STREAM_DEPTH, ROUND_SECONDS));
			bench_print("fill", len, len *
				    stream(ctx, ccad_fill(dst, 0, len),
					   STREAM_DEPTH, ROUND_SECONDS));
		}
	}
	munmap(buffer, 6 * MB);
}

/* Seconds until a page that was never touched has been written to. */
static void faults(struct ccad_ctx *ctx)
{
	char *by_device = map(FAULTS * PAGE), *by_cpu = map(FAULTS * PAGE);
	unsigned long i, n = 0;
	double began;

	madvise(by_device, FAULTS * PAGE, MADV_NOHUGEPAGE);
	madvise(by_cpu, FAULTS * PAGE, MADV_NOHUGEPAGE);

	began = bench_now();
	for (i = 0; i < FAULTS && bench_now() - began < BENCH_SECONDS; i++) {
		struct ccad_desc desc = ccad_fill(by_device + i * PAGE, 1, 8);
		__u32 index = ctx->tail;

		push(ctx, &desc);
		ccad_kick(ctx);
		wait_for(index);
		n += records[index % IN_RING].page_requests;
	}
	if (!n)
		bench_fail("no page request", ENODATA);
	bench_print("page_request", 1, (bench_now() - began) / i);

	began = bench_now();
	for (i = 0; i < FAULTS; i++)
		((volatile char *)by_cpu)[i * PAGE] = 1;
	bench_print("page_fault", 1, (bench_now() - began) / FAULTS);
}

int main(int argc, char **argv)
{
	static const unsigned int depths[] = { 1, 16, 64 };
	struct ccad_desc nop = { .opcode = CCAD_OP_NOP };
	struct ccad_ctx ctx;
	size_t i;
	int ret;

	ret = ccad_open(&ctx, RING_SHIFT);
	if (ret)
		bench_fail("the accelerator", -ret);
	records = aligned_alloc(PAGE, IN_RING * sizeof(*records));
	if (!records)
		bench_fail("memory", ENOMEM);
	memset(records, 0, IN_RING * sizeof(*records));

	memory(&ctx);
	for (i = 0; i < sizeof(depths) / sizeof(*depths); i++) {
		bench_print("empty", depths[i], stream(&ctx, nop, depths[i],
						       BENCH_SECONDS));
		if (argc > 1)
			bench_nvme(argv[1], depths[i]);
	}
	faults(&ctx);
	/* Once more: the host is disturbed for seconds, if it is. */
	memory(&ctx);
	ccad_close(&ctx);
	return 0;
}
