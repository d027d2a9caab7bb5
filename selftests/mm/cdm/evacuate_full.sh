#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A thousand cycles of evacuate_stress.

DIR="$(dirname "$(readlink -f "$0")")"

CDM_CYCLES="${CDM_CYCLES:-1000}" exec "${DIR}"/evacuate_stress "$@"
