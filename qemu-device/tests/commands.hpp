/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors of the engines, and typed memory of the guest. */
#pragma once

#include <cstring>

#include "device.hpp"

namespace ccad::test {

inline constexpr uint64_t table_va = 0x30'0000'0000;

inline ccad_desc compare(uint64_t src, uint64_t dst, uint64_t len)
{
    ccad_desc desc = copy(src, dst, len);

    desc.opcode = CCAD_OP_COMPARE;
    return desc;
}

inline ccad_desc reduce(uint64_t src, uint64_t len, uint64_t what,
                        uint64_t type)
{
    ccad_desc desc = crc(src, len, what | type << CCAD_REDUCE_TYPE_SHIFT);

    desc.opcode = CCAD_OP_REDUCE;
    return desc;
}

inline ccad_desc fetch_add(uint64_t dst, uint64_t len, uint64_t addend)
{
    ccad_desc desc = fill(dst, len, addend);

    desc.opcode = CCAD_OP_FETCH_ADD;
    return desc;
}

inline ccad_desc compare_swap(uint64_t dst, uint64_t len, uint64_t expected,
                              uint64_t desired)
{
    ccad_desc desc = fill(dst, len, expected);

    desc.opcode = CCAD_OP_COMPARE_SWAP;
    desc.arg2 = desired;
    return desc;
}

/* bytes: of the index list; shift: log2 of an element. */
inline ccad_desc gather(uint64_t indices, uint64_t bytes, uint64_t table,
                        uint64_t dst, uint64_t shift, bool wide = false)
{
    ccad_desc desc = copy(indices, dst, bytes);

    desc.opcode = CCAD_OP_GATHER;
    desc.arg = table;
    desc.arg2 = shift | (wide ? CCAD_GATHER_INDEX64 : 0);
    return desc;
}

inline ccad_desc list_walk(uint64_t first, uint64_t limit, uint64_t what,
                           uint64_t type, uint64_t next, uint64_t field)
{
    ccad_desc desc = reduce(first, limit, what, type);

    desc.opcode = CCAD_OP_LIST_WALK;
    desc.arg2 = next | field << CCAD_LIST_FIELD_SHIFT;
    return desc;
}

inline ccad_desc compress(uint64_t src, uint64_t len, uint64_t dst,
                          uint64_t room, uint64_t format = CCAD_FORMAT_ZLIB,
                          uint64_t level = 0)
{
    ccad_desc desc = copy(src, dst, len);

    desc.opcode = CCAD_OP_COMPRESS;
    desc.arg = room;
    desc.arg2 = format | level << CCAD_FORMAT_LEVEL_SHIFT;
    return desc;
}

inline ccad_desc decompress(uint64_t src, uint64_t len, uint64_t dst,
                            uint64_t room, uint64_t format = CCAD_FORMAT_ZLIB)
{
    ccad_desc desc = compress(src, len, dst, room, format);

    desc.opcode = CCAD_OP_DECOMPRESS;
    return desc;
}

inline ccad_desc copy_pages(uint64_t list, uint64_t bytes, uint64_t shift)
{
    ccad_desc desc = crc(list, bytes, shift);

    desc.opcode = CCAD_OP_COPY_PAGES;
    return desc;
}

inline ccad_desc without_page_requests(ccad_desc desc)
{
    desc.flags |= CCAD_DESC_NO_PAGE_REQUEST;
    return desc;
}

template <typename T>
std::vector<uint8_t> bytes_of(const std::vector<T> &values)
{
    std::vector<uint8_t> bytes(values.size() * sizeof(T));

    if (!bytes.empty()) {
        std::memcpy(bytes.data(), values.data(), bytes.size());
    }
    return bytes;
}

template <typename T>
T load_value(FakeHost &host, uint64_t va, uint32_t of_pasid = pasid)
{
    auto bytes = load(host, va, sizeof(T), of_pasid);
    T value;

    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
}

template <typename T>
void store_value(FakeHost &host, uint64_t va, T value,
                 uint32_t of_pasid = pasid)
{
    store(host, va, bytes_of(std::vector<T>{value}), of_pasid);
}

} // namespace ccad::test
