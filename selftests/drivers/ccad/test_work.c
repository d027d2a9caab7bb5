// SPDX-License-Identifier: GPL-2.0-only
/* Work that keeps the accelerator busy while something happens to it. */
#include <errno.h>
#include <string.h>

#include <numaif.h>

#include "../../mm/cdm/cdm_util.h"
#include "test_work.h"

int test_start_work(struct ccad_ctx *ctx, struct ccad_completion *comps, char **work, int node)
{
	struct ccad_desc desc;
	int ret, i;

	ret = ccad_open(ctx, SHIFT);
	if (ret)
		return ret;
	*work = test_map(WORK);
	if (!*work)
		return -ENOMEM;
	if (node >= 0 && cdm_bind(*work, WORK / 8, MPOL_BIND, 1UL << node, 0))
		return -errno;
	memset(*work, 1, WORK / 4);
	memset(comps, 0, ENTRIES * sizeof(*comps));
	for (i = 0; i < ENTRIES; i++) {
		desc = ccad_fill(*work, i, WORK);
		desc.completion = (uintptr_t)&comps[i];
		ret = ccad_push(ctx, &desc);
		if (ret)
			return ret;
	}
	ccad_kick(ctx);
	/* In flight means that the device has begun. */
	while (!ccad_db_read(ctx, CCAD_DB_HEAD))
		;
	return 0;
}
