#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The distribution's free, lsmem, numactl and numastat, unchanged, on a node of
# coherent device memory: of memory to be used there is what ordinary nodes
# have, and the node is shown by what shows nodes.

DIR="$(dirname "$(readlink -f "$0")")"
. "${DIR}"/../../kselftest/ktap_helpers.sh

SYS=/sys/devices/system/node
MIB=64

node=${CDM_NODE:-$(cut -d, -f1 ${SYS}/has_coherent_memory 2>/dev/null | cut -d- -f1)}

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

# near NAME KB KB: but for what others take and give back meanwhile
near()
{
	difference=$(($2 - $3))
	if [ "${difference#-}" -le 8192 ]; then
		ktap_test_pass "$1"
	else
		ktap_print_msg "$1: expected about $2 kB, got $3 kB"
		ktap_test_fail "$1"
	fi
}

# kb NODE NAME: of the node's meminfo
kb()
{
	awk -v name="$2:" '$3 == name { print $4 }' "${SYS}/node$1/meminfo"
}

# ordinary NAME: the sum over ordinary nodes
ordinary()
{
	sum=0
	for n in "${SYS}"/node[0-9]*; do
		n=${n#"${SYS}"/node}
		[ "${n}" = "${node}" ] || sum=$((sum + $(kb "${n}" "$1")))
	done
	echo "${sum}"
}

# numactl_h size|free: of the node, in MiB
numactl_h()
{
	numactl -H | awk -v n="${node}" -v what="$1:" \
		'$1 == "node" && $2 == n && $3 == what { print $4 }'
}

ktap_print_header
if [ -z "${node}" ]; then
	ktap_skip_all "no node of coherent device memory"
	exit "${KSFT_SKIP}"
fi
for tool in free lsmem numactl numastat; do
	if ! command -v "${tool}" >/dev/null; then
		ktap_skip_all "no ${tool}"
		exit "${KSFT_SKIP}"
	fi
done
ktap_set_plan 9

result "free: total" "$(ordinary MemTotal)" "$(free -k | awk '/^Mem:/ { print $2 }')"
near "free: free" "$(ordinary MemFree)" "$(free -k | awk '/^Mem:/ { print $4 }')"

# The same while the device is in use
"${DIR}"/cdm_hold "${node}" ${MIB} &
holder=$!
tries=0
while [ "$(kb "${node}" AnonPages)" -lt $((MIB * 1024)) ] && [ ${tries} -lt 600 ]; do
	tries=$((tries + 1))
	sleep 0.1
done
near "free: free, with the device in use" "$(ordinary MemFree)" \
	"$(free -k | awk '/^Mem:/ { print $4 }')"

# Both round down, and numactl's free moves.
result "numactl -H: size of the node" "$(($(kb "${node}" MemTotal) / 1024))" \
	"$(numactl_h size)"
near "numactl -H: free on the node" "$(kb "${node}" MemFree)" \
	$(($(numactl_h free) * 1024))
seen=$(numastat -p "${holder}" 2>/dev/null | awk -v n="${node}" '
	/Node/ { for (i = 2; i <= NF; i += 2) if ($i == n) column = i / 2 + 1 }
	/^Total/ && column { printf "%d", $column }')
result "numastat -p: memory of a process on the node" "${MIB}" "${seen}"
kill "${holder}"
wait "${holder}" 2>/dev/null

# lsmem has ranges, with their node and zone, in bytes.
size=$(lsmem -b -n -o SIZE,NODE |
	awk -v n="${node}" '$2 == n { sum += $1 } END { print sum / 1024 }')
result "lsmem: size of the node's blocks" "$(kb "${node}" MemTotal)" "${size}"
result "lsmem: all of it is movable" "Movable" \
	"$(lsmem -b -n -o NODE,ZONES | awk -v n="${node}" '$1 == n { print $2 }' | sort -u)"
result "lsmem: and online" "online" \
	"$(lsmem -b -n -S NODE -o NODE,STATE | awk -v n="${node}" '$1 == n { print $2 }' | sort -u)"

ktap_finished
