/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory policies, those too that a C library may not know yet. */
#ifndef CDM_MEMPOLICY_H
#define CDM_MEMPOLICY_H

#include <numaif.h>

#ifndef MPOL_PREFERRED_MANY
#define MPOL_PREFERRED_MANY	5
#endif
#ifndef MPOL_WEIGHTED_INTERLEAVE
#define MPOL_WEIGHTED_INTERLEAVE	6
#endif
#ifndef MPOL_F_COHERENT_NODES
#define MPOL_F_COHERENT_NODES	0x1000
#endif
#ifndef MPOL_F_STATIC_NODES
#define MPOL_F_STATIC_NODES	0x8000
#define MPOL_F_RELATIVE_NODES	0x4000
#endif

#endif /* CDM_MEMPOLICY_H */
