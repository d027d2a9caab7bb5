/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ccad: the monitor's commands where the device is not built */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-ccad.h"

static void ccad_not_built(Error **errp)
{
    error_setg(errp, "the ccad device is not compiled in; build QEMU with "
               "CONFIG_CCAD=y");
}

void qmp_ccad_inject_poison(const char *path, uint64_t start, uint64_t length,
                            Error **errp)
{
    ccad_not_built(errp);
}

void qmp_ccad_clear_poison(const char *path, uint64_t start, uint64_t length,
                           Error **errp)
{
    ccad_not_built(errp);
}

CcadPoisonRangeList *qmp_query_ccad_poison(const char *path, Error **errp)
{
    ccad_not_built(errp);
    return NULL;
}

void qmp_ccad_inject_hang(const char *path, uint32_t context, Error **errp)
{
    ccad_not_built(errp);
}

void qmp_ccad_inject_error(const char *path, CcadErrorKind kind, Error **errp)
{
    ccad_not_built(errp);
}

CcadInfo *qmp_query_ccad(const char *path, bool has_translations,
                         bool translations, Error **errp)
{
    ccad_not_built(errp);
    return NULL;
}
