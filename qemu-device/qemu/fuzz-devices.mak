# SPDX-License-Identifier: GPL-2.0-or-later
# For QEMU's fuzzer: the devices that it fuzzes, and the machine for them.
CONFIG_Q35=y
CONFIG_VTD=y
CONFIG_CCAD=y
