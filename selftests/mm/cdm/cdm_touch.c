// SPDX-License-Identifier: GPL-2.0-only
/*
 * Touch N MB of anonymous memory under the policy that the program was started
 * with and print one line "NODE PAGES" for each node that has some.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cdm_util.h"

int main(int argc, char **argv)
{
	size_t len = (argc > 1 ? strtoul(argv[1], NULL, 0) : 8) * MB, pages;
	char *map = cdm_map(len);
	int node;

	if (!map || !len) {
		fprintf(stderr, "usage: %s [MB]\n", argv[0]);
		return 1;
	}
	cdm_write_pattern(map, len, 41);
	for (node = 0; node < CDM_MAX_NODES; node++) {
		pages = cdm_pages_on(map, len, node);
		if (pages)
			printf("%d %zu\n", node, pages);
	}
	return 0;
}
