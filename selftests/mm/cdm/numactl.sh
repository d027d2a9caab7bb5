#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The distribution's numactl and numastat, unchanged, on a node of coherent
# device memory.

DIR="$(dirname "$(readlink -f "$0")")"
. "${DIR}"/../../kselftest/ktap_helpers.sh

SYS=/sys/devices/system/node
MIB=8
PAGES=$((MIB * 256))

node=${CDM_NODE:-$(cut -d, -f1 ${SYS}/has_coherent_memory 2>/dev/null | cut -d- -f1)}
ordinary=$(cut -d, -f1 ${SYS}/has_cpu | cut -d- -f1)

# Pages ever allocated on the node.
allocated()
{
	awk '/^numa_(hit|miss)/ { sum += $2 } END { print sum }' ${SYS}/node"${node}"/numastat
}

# result NAME EXPECTED SEEN
result()
{
	if [ "$2" = "$3" ]; then
		ktap_test_pass "$1"
	else
		ktap_print_msg "$1: expected '$2', got '$3'"
		ktap_test_fail "$1"
	fi
}

# touch_there NAME OPTION: all of it comes to the node
touch_there()
{
	result "$1" "${node} ${PAGES}" "$(numactl "$2" "${DIR}"/cdm_touch ${MIB} 2>&1)"
}

# touch_elsewhere NAME OPTION: nothing comes to the node, not even for a moment
touch_elsewhere()
{
	before=$(allocated)
	seen=$(numactl "$2" "${DIR}"/cdm_touch ${MIB} 2>&1)
	result "$1" "${ordinary} ${PAGES}, +0" "${seen}, +$(($(allocated) - before))"
}

ktap_print_header
if [ -z "${node}" ]; then
	ktap_skip_all "no node of coherent device memory"
	exit "${KSFT_SKIP}"
fi
if ! command -v numactl >/dev/null; then
	ktap_skip_all "no numactl"
	exit "${KSFT_SKIP}"
fi
ktap_set_plan 9

touch_there "membind" --membind="${node}"
touch_there "preferred" --preferred="${node}"
touch_there "interleave over the node" --interleave="${node}"
touch_elsewhere "interleave=all" --interleave=all
touch_elsewhere "membind=all" --membind=all
touch_elsewhere "membind of both" --membind="${ordinary},${node}"
touch_elsewhere "localalloc" --localalloc

result "hardware lists the node without processors" "node ${node} cpus:" \
	"$(numactl --hardware | sed -n "s/ *$//; /^node ${node} cpus:/p")"

# numastat has one column a node, in the order of the nodes, in MiB.
size=$(awk '/MemTotal/ { printf "%d", $4 / 1024 }' ${SYS}/node"${node}"/meminfo)
seen=$(numastat -m -z 2>/dev/null | awk -v n="${node}" '
	/Node/ { for (i = 2; i <= NF; i += 2) if ($i == n) column = i / 2 + 1 }
	/^MemTotal/ && column { printf "%d", $column }')
result "numastat -m shows the size of the node" "${size}" "${seen}"

ktap_finished
