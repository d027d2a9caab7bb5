#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The control of leaks.

exec "$(dirname "$(readlink -f "$0")")"/control.sh leaks "$@"
