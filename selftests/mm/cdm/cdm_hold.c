// SPDX-License-Identifier: GPL-2.0-only
/* Have N MB of anonymous memory of a node until somebody kills the program. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <numaif.h>
#include "cdm_util.h"

int main(int argc, char **argv)
{
	size_t len = (argc > 2 ? strtoul(argv[2], NULL, 0) : 0) * MB;
	char *map = len ? cdm_map_thp(len) : NULL;

	if (!map) {
		fprintf(stderr, "usage: %s NODE MB\n", argv[0]);
		return 1;
	}
	if (cdm_bind(map, len, MPOL_BIND, 1UL << atoi(argv[1]), 0)) {
		fprintf(stderr, "node %s: no memory to be bound to\n", argv[1]);
		return 1;
	}
	cdm_write_pattern(map, len, 42);
	pause();
	return 0;
}
