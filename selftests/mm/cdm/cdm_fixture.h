/* SPDX-License-Identifier: GPL-2.0-only */
/* What the fixtures of the tests begin with. */
#ifndef CDM_FIXTURE_H
#define CDM_FIXTURE_H

#include <unistd.h>

#include "kselftest_harness.h"
#include "cdm_util.h"

/*
 * The node under test and an ordinary one.  Who is not root, and who has no
 * such node, does not run the test; in a control run there has to be one.
 */
static inline void cdm_need_nodes(struct __test_metadata *_metadata, int *node, int *ordinary)
{
	*node = cdm_node();
	*ordinary = cdm_ordinary_node();
	if (geteuid())
		SKIP(exit(KSFT_SKIP), "needs root");
	if (!cdm_control() && (*node < 0 || *ordinary < 0))
		SKIP(exit(KSFT_SKIP), "no node of coherent device memory");
	ASSERT_LE(0, *node)
		TH_LOG("a control run needs a memory node without processors");
}

#endif /* CDM_FIXTURE_H */
