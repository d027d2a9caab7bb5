#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# control.sh PROGRAM: the control of a test that has to find nothing on the
# node.  Where the same memory is an ordinary node it has to find all of it.

DIR="$(dirname "$(readlink -f "$0")")"
. "${DIR}"/../../kselftest/ktap_helpers.sh

if ! grep -q "memory=ordinary" /proc/cmdline; then
	ktap_print_header
	ktap_skip_all "boot with ccad.memory=ordinary"
	exit "${KSFT_SKIP}"
fi

program="$1"
shift
CDM_CONTROL=1 exec "${DIR}"/"${program}" "$@"
