// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device that loses interrupts and completion records and sits on commands,
 * see injected.settings: whoever waits gets out of it, and goes on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "test_util.h"

#define COMMANDS	48
/* Long for a command, and a fraction of what the device delays them. */
#define PATIENCE_MS	1000

FIXTURE(injected)
{
	CCAD_ALIGNED struct ccad_completion comp;
	struct ccad_ctx ctx;
	long long used;
};

FIXTURE_SETUP(injected)
{
	self->ctx.fd = -1;
	if (!test_device_present())
		SKIP(return, "no accelerator");
	self->used = ccad_attr("contexts_used");
	ASSERT_EQ(0, ccad_open(&self->ctx, 3));
}

FIXTURE_TEARDOWN(injected)
{
	ccad_close(&self->ctx);
	if (test_device_present())
		EXPECT_EQ(0, test_wait_contexts(self->used));
}

/* The time-out is the process's own, and so is the reset of its context. */
TEST_F(injected, time_out_and_go_on)
{
	int good = 0, no_interrupt = 0, no_record = 0, stuck = 0, i, ret;
	struct ccad_ctx *ctx = &self->ctx;
	struct ccad_stats stats;
	struct ccad_desc desc;

	for (i = 0; i < COMMANDS; i++) {
		desc = ccad_crc32c("123456789", 9, 0);
		desc.flags = CCAD_DESC_INTERRUPT;
		ret = ccad_run(ctx, &desc, &self->comp, PATIENCE_MS);
		if (ret)
			ASSERT_EQ(-ETIMEDOUT, ret);
		if (ccad_status(&self->comp) != CCAD_COMP_NONE) {
			ASSERT_EQ(CCAD_COMP_SUCCESS, self->comp.status);
			EXPECT_EQ(0xe3069283, self->comp.result);
			if (ret)
				no_interrupt++;
			else
				good++;
			continue;
		}
		/* Has it ended without a word, or does it hang? */
		ccad_get_stats(ctx, &stats);
		if (stats.commands == ctx->tail)
			no_record++;
		else
			stuck++;
		ASSERT_EQ(0, ccad_restart(ctx));
		EXPECT_EQ(CCAD_CTX_ENABLED, ccad_state(ctx));
	}
	TH_LOG("%d good, without interrupt %d, without record %d, stuck %d",
	       good, no_interrupt, no_record, stuck);
	if (good == COMMANDS)
		SKIP(return, "the device injects no failures");
	EXPECT_GT(good, 0);
	EXPECT_GT(no_interrupt, 0);
	EXPECT_GT(no_record, 0);
	EXPECT_GT(stuck, 0);
}

/* A context stops at once, whatever its command waits for. */
TEST_F(injected, exit_while_stuck)
{
	int round, i, status;
	pid_t pid;

	for (round = 0; round < 8; round++) {
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			struct ccad_desc desc = ccad_crc32c("123456789", 9, 0);
			struct ccad_ctx ctx;

			if (ccad_open(&ctx, 3))
				_exit(2);
			for (i = 0; i < 8; i++)
				if (ccad_submit(&ctx, &desc))
					_exit(3);
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(0, test_wait_contexts(self->used + 1));
}

TEST_HARNESS_MAIN
