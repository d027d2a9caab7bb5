/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NOP and FENCE.  A command of a context is fetched when the one before has
 * ended with everything that comes of it: its record written, what it reported
 * delivered before that, its interrupt raised.  So a fence has nothing to wait
 * for; it is there for software that must not rely on that.
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
