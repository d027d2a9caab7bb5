/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * FETCH_ADD and COMPARE_SWAP: sequentially consistent atomic operations of the
 * host on the memory itself, so that CPUs see them as those of another CPU.
 * The access is a write, also if the comparison fails, as on a CPU.
 */
#include <atomic>

#include "command.hpp"

namespace ccad {

namespace {

bool fits(uint64_t value, uint64_t len)
{
    return len == 8 || value <= UINT32_MAX;
}

bool check_target(const ccad_desc &desc)
{
    return (desc.len == 4 || desc.len == 8) && desc.dst % desc.len == 0;
}

bool check_fetch_add(const ccad_desc &desc)
{
    return check_target(desc) && fits(desc.arg, desc.len);
}

bool check_compare_swap(const ccad_desc &desc)
{
    return check_fetch_add(desc) && fits(desc.arg2, desc.len);
}

struct FetchAdd {
    template <typename T>
    static T apply(T &target, const ccad_desc &desc)
    {
        return std::atomic_ref(target).fetch_add(static_cast<T>(desc.arg));
    }
};

struct CompareSwap {
    template <typename T>
    static T apply(T &target, const ccad_desc &desc)
    {
        T was = static_cast<T>(desc.arg);

        std::atomic_ref(target).compare_exchange_strong(
            was, static_cast<T>(desc.arg2));
        return was;
    }
};

template <typename Operation, typename T>
uint64_t apply(uint8_t *data, const ccad_desc &desc)
{
    static_assert(std::atomic_ref<T>::is_always_lock_free &&
                  std::atomic_ref<T>::required_alignment == sizeof(T));
    return Operation::apply(*reinterpret_cast<T *>(data), desc);
}

template <typename Operation>
Stepped step(Command &command, Operands &operands)
{
    const ccad_desc &desc = command.desc;

    Window dst =
        operands.open(Operand::dst, desc.dst, desc.len, true, Span::access);
    /* Memory that the host has in pieces or askew is none for this. */
    if (dst.size() < desc.len ||
        reinterpret_cast<uintptr_t>(dst.data()) % desc.len) {
        operands.blocked(dst, Operand::dst, desc.dst, desc.len, true);
        return Stepped::blocked;
    }

    command.value = desc.len == 4
                        ? apply<Operation, uint32_t>(dst.data(), desc)
                        : apply<Operation, uint64_t>(dst.data(), desc);
    dst.use(desc.len);
    command.done = desc.len;
    return Stepped::ended;
}

} // namespace

const Opcode opcode_fetch_add = {
    .check = check_fetch_add,
    .step = step<FetchAdd>,
};
const Opcode opcode_compare_swap = {
    .check = check_compare_swap,
    .step = step<CompareSwap>,
    .uses_arg2 = true,
};

} // namespace ccad
