#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The control of isolation: the same program where the same memory is an
# ordinary node has to find every kind of page there.

DIR="$(dirname "$(readlink -f "$0")")"
. "${DIR}"/../../kselftest/ktap_helpers.sh

if ! grep -q "memory=ordinary" /proc/cmdline; then
	ktap_print_header
	ktap_skip_all "boot with ccad.memory=ordinary"
	exit "${KSFT_SKIP}"
fi

CDM_CONTROL=1 exec "${DIR}"/isolation "$@"
