/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "ccad-test-process.h"

void ccad_add_migration_tests(void)
{
}
