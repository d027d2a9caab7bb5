/* SPDX-License-Identifier: GPL-2.0-only */
/* Work that keeps the accelerator busy while something happens to it. */
#ifndef CCAD_TEST_WORK_H
#define CCAD_TEST_WORK_H

#include "test_util.h"

#define WORK	(32 * MB)
/* Seconds of work for the device, should the processors be late. */
#define SHIFT	9
#define ENTRIES	512

/*
 * Fill the ring of a new context with ENTRIES fills of @work, WORK bytes, and
 * wait until the first has begun; what is not there yet takes page requests
 * too.  An eighth of it lies on @node, unless that is negative.
 */
int test_start_work(struct ccad_ctx *ctx, struct ccad_completion *comps, char **work, int node);

#endif /* CCAD_TEST_WORK_H */
