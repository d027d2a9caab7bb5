/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NOP and FENCE.  Commands of one context run one after the other, so that a
 * fence has nothing to wait for; it is there for software that must not rely
 * on that.
 */
#include "command.hpp"

namespace ccad {

namespace {

bool check(const ccad_desc &)
{
    return true;
}

Stepped step(Command &, Operands &)
{
    return Stepped::ended;
}

} // namespace

const Opcode opcode_nop = {check, step};
const Opcode opcode_fence = {check, step};

} // namespace ccad
