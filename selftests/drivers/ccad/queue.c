// SPDX-License-Identifier: GPL-2.0-only
/* Rings, doorbells, completions and interrupts of contexts. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <misc/uacce/uacce.h>

#include "kselftest_harness.h"
#include "test_util.h"

FIXTURE(queue)
{
	CCAD_ALIGNED struct ccad_completion comp;
	struct ccad_ctx ctx;
	char *buffer;
};

FIXTURE_SETUP(queue)
{
	self->ctx.fd = -1;
	if (!test_device_present())
		SKIP(return, "no accelerator");
	ASSERT_EQ(0, ccad_open(&self->ctx, 3));
	self->buffer = test_map(MB);
	ASSERT_NE(NULL, self->buffer);
	test_pattern(self->buffer, MB, 1);
}

FIXTURE_TEARDOWN(queue)
{
	ccad_close(&self->ctx);
}

TEST_F(queue, information)
{
	EXPECT_LT(self->ctx.info.context, self->ctx.info.contexts);
	EXPECT_NE(0, self->ctx.info.pasid);
	EXPECT_LE(self->ctx.info.pasid, CCAD_PASID_MAX);
	EXPECT_EQ(self->ctx.info.contexts, ccad_attr("contexts"));
	EXPECT_GE(ccad_attr("contexts_used"), 1);
	EXPECT_EQ(CCAD_CTX_ENABLED, ccad_state(&self->ctx));
}

/* Many times around a ring of eight, in order. */
TEST_F(queue, wrap)
{
	struct ccad_completion *comps = aligned_alloc(64, 500 * sizeof(*comps));
	struct ccad_desc desc;
	__u32 i;
	int ret;

	ASSERT_NE(NULL, comps);
	memset(comps, 0, 500 * sizeof(*comps));
	for (i = 0; i < 500; i++) {
		desc = ccad_fill(self->buffer + i * 8, i, 8);
		desc.tag = i;
		desc.completion = (uintptr_t)&comps[i];
		do {
			ret = ccad_submit(&self->ctx, &desc);
		} while (ret == -EAGAIN);
		ASSERT_EQ(0, ret);
	}
	for (i = 0; i < 500; i++) {
		ASSERT_EQ(0, ccad_wait(&comps[i], WAIT_MS)) TH_LOG("command %u", i);
		EXPECT_EQ(CCAD_COMP_SUCCESS, comps[i].status);
		EXPECT_EQ(i, comps[i].tag);
		EXPECT_EQ(i, ((__u64 *)self->buffer)[i]);
	}
	EXPECT_EQ(500, ccad_db_read(&self->ctx, CCAD_DB_HEAD));
}

TEST_F(queue, full)
{
	struct ccad_desc desc = ccad_crc32c(self->buffer, 8, 0);
	__u32 i;

	/* Without the doorbell nothing is taken. */
	for (i = 0; i < 8; i++)
		ASSERT_EQ(0, ccad_push(&self->ctx, &desc));
	EXPECT_EQ(-EAGAIN, ccad_push(&self->ctx, &desc));
	ccad_kick(&self->ctx);
	for (i = 0; i < 1000 && ccad_db_read(&self->ctx, CCAD_DB_HEAD) != 8; i++)
		usleep(1000);
	EXPECT_EQ(0, ccad_push(&self->ctx, &desc));
}

/* A fence ends after what was before it, and a batch takes one doorbell. */
TEST_F(queue, fence)
{
	CCAD_ALIGNED struct ccad_completion comps[6] = {};
	struct ccad_desc desc;
	__u32 i;

	for (i = 0; i < 5; i++) {
		desc = ccad_crc32c(self->buffer, MB, 0);
		desc.completion = (uintptr_t)&comps[i];
		ASSERT_EQ(0, ccad_push(&self->ctx, &desc));
	}
	desc = (struct ccad_desc){
		.opcode = CCAD_OP_FENCE, .completion = (uintptr_t)&comps[5],
	};
	ASSERT_EQ(0, ccad_push(&self->ctx, &desc));
	ccad_kick(&self->ctx);
	ASSERT_EQ(0, ccad_wait(&comps[5], WAIT_MS));
	EXPECT_EQ(CCAD_COMP_SUCCESS, comps[5].status);
	for (i = 0; i < 5; i++)
		EXPECT_EQ(CCAD_COMP_SUCCESS, ccad_status(&comps[i]));
}

TEST_F(queue, crc_in_parts)
{
	__u32 crc = test_crc32c(0, self->buffer, MB);

	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(self->buffer, 12345, 0), &self->comp);
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(self->buffer + 12345, MB - 12345,
					       self->comp.result), &self->comp);
	EXPECT_EQ(crc, self->comp.result);
	/* The well-known check value. */
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c("123456789", 9, 0), &self->comp);
	EXPECT_EQ(0xe3069283, self->comp.result);
}

TEST_F(queue, interrupt)
{
	struct pollfd pfd = { .fd = self->ctx.fd, .events = POLLIN };
	struct ccad_desc desc;
	int i;

	/* The control: nobody asked, nothing comes. */
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(self->buffer, 8, 0), &self->comp);
	EXPECT_EQ(0, poll(&pfd, 1, 200));

	for (i = 0; i < 20; i++) {
		desc = ccad_crc32c(self->buffer, MB, 0);
		desc.flags = CCAD_DESC_INTERRUPT;
		ASSERT_EQ(0, ccad_run(&self->ctx, &desc, &self->comp, WAIT_MS))
			TH_LOG("interrupt %d", i);
		EXPECT_EQ(CCAD_COMP_SUCCESS, self->comp.status);
	}

	/* An interrupt that came before poll() is not lost. */
	poll(&pfd, 1, 0);
	memset(&self->comp, 0, sizeof(self->comp));
	desc.completion = (uintptr_t)&self->comp;
	ASSERT_EQ(0, ccad_submit(&self->ctx, &desc));
	ASSERT_EQ(0, ccad_wait(&self->comp, WAIT_MS));
	usleep(100000);
	EXPECT_EQ(1, poll(&pfd, 1, WAIT_MS));
	EXPECT_TRUE(pfd.revents & POLLIN);
}

TEST_F(queue, counters)
{
	struct ccad_stats before, after;

	memset(self->buffer + MB / 2, 0, MB / 2);
	ccad_get_stats(&self->ctx, &before);
	EXPECT_SUCCESS(&self->ctx, ccad_copy(self->buffer + MB / 2, self->buffer, MB / 2),
		       &self->comp);
	ccad_get_stats(&self->ctx, &after);
	EXPECT_EQ(before.commands + 1, after.commands);
	EXPECT_EQ(before.errors, after.errors);
	EXPECT_GE(after.read_system - before.read_system, MB / 2);
	EXPECT_GE(after.write_system - before.write_system, MB / 2);
	EXPECT_LT(after.read_system - before.read_system, MB / 2 + 2 * PAGE);
	EXPECT_EQ(0, after.read_local + after.write_local);
	EXPECT_GT(after.device_ns, before.device_ns);
	EXPECT_GT(self->comp.device_ns, 0);
	EXPECT_EQ(0, self->comp.bytes_local);
	EXPECT_GT(self->comp.translations, 0);
}

/* Contexts side by side, each with work of its own. */
TEST_F(queue, several_contexts)
{
	enum { N = 8 };
	CCAD_ALIGNED struct ccad_completion comps[N] = {};
	struct ccad_ctx ctx[N];
	struct ccad_desc desc;
	__u32 i, j, round;

	for (i = 0; i < N; i++) {
		ASSERT_EQ(0, ccad_open(&ctx[i], 3));
		/* One address space has one PASID. */
		EXPECT_EQ(self->ctx.info.pasid, ctx[i].info.pasid);
		for (j = 0; j < i; j++)
			EXPECT_NE(ctx[j].info.context, ctx[i].info.context);
	}
	for (round = 0; round < 4; round++) {
		memset(comps, 0, sizeof(comps));
		for (i = 0; i < N; i++) {
			desc = ccad_crc32c(self->buffer + i * 1000, 500000, round);
			desc.completion = (uintptr_t)&comps[i];
			ASSERT_EQ(0, ccad_submit(&ctx[i], &desc));
		}
		for (i = 0; i < N; i++) {
			ASSERT_EQ(0, ccad_wait(&comps[i], WAIT_MS));
			EXPECT_EQ(test_crc32c(round, self->buffer + i * 1000, 500000),
				  comps[i].result);
		}
	}
	for (i = 0; i < N; i++)
		ccad_close(&ctx[i]);
}

/* The file means the memory of who opened it: nobody else may use it. */
TEST_F(queue, inherited_file)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		struct ccad_info info;
		int fail = 0;

		if (!ioctl(self->ctx.fd, UACCE_CMD_START_Q))
			fail |= 1;
		if (mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->ctx.fd, 0) != MAP_FAILED)
			fail |= 2;
		if (!ioctl(self->ctx.fd, CCAD_IOC_INFO, &info) || errno != EPERM)
			fail |= 4;
		_exit(fail);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("child could: 1 start, 2 map, 4 ask");
	EXPECT_SUCCESS(&self->ctx, ccad_crc32c(self->buffer, MB, 0), &self->comp);
}

TEST_F(queue, bad_rings)
{
	struct ccad_ring ring = { .addr = (uintptr_t)self->buffer, .shift = 3 };
	struct ccad_ctx *ctx = &self->ctx;

	/* Not while it runs. */
	EXPECT_EQ(-1, ioctl(ctx->fd, CCAD_IOC_RING, &ring));
	ASSERT_EQ(0, ioctl(ctx->fd, UACCE_CMD_PUT_Q));
	EXPECT_EQ(CCAD_CTX_DISABLED, ccad_state(ctx));

	ring.addr += 64;
	EXPECT_EQ(-1, ioctl(ctx->fd, CCAD_IOC_RING, &ring));
	ring.addr = 0xffff888000000000;
	EXPECT_EQ(-1, ioctl(ctx->fd, CCAD_IOC_RING, &ring));
	ring.addr = (uintptr_t)self->buffer;
	ring.shift = CCAD_RING_SHIFT_MAX + 1;
	EXPECT_EQ(-1, ioctl(ctx->fd, CCAD_IOC_RING, &ring));
	ring.shift = 0;
	EXPECT_EQ(-1, ioctl(ctx->fd, CCAD_IOC_RING, &ring));
	ring.shift = 3;
	ring.flags = 1;
	EXPECT_EQ(-1, ioctl(ctx->fd, CCAD_IOC_RING, &ring));

	/* The old one is still good. */
	ASSERT_EQ(0, ccad_restart(ctx));
	EXPECT_SUCCESS(ctx, ccad_crc32c(self->buffer, MB, 0), &self->comp);
}

TEST_HARNESS_MAIN
