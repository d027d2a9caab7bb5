/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes of a fuzzer as a sequence of decisions, front to back, so that a
 * mutation of the end leaves the beginning as it was.  Past the end it is all
 * zeros.  corpus.py writes the same encoding.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ccad::fuzz {

class Input {
public:
    Input(const uint8_t *data, size_t size) : data_(data), left_(size) {}

    /*
     * Whether this input, as it is now, is one of so many: for what takes long.
     * A byte of the input would not do for that: what runs code twice looks
     * new to the fuzzer, which would soon keep hardly anything else.
     */
    bool one_in(unsigned n) const
    {
        uint32_t hash = 2166136261; /* FNV-1a */

        for (size_t i = 0; i < left_; i++) {
            hash = (hash ^ data_[i]) * 16777619;
        }
        return (hash >> 16) % n == 0;
    }
    bool empty() const { return !left_; }
    uint8_t u8() { return get<uint8_t>(); }
    uint16_t u16() { return get<uint16_t>(); }
    uint32_t u32() { return get<uint32_t>(); }
    uint64_t u64() { return get<uint64_t>(); }
    uint8_t below(unsigned n) { return static_cast<uint8_t>(u8() % n); }

private:
    template <typename T>
    T get()
    {
        T value{};
        size_t n = left_ < sizeof(T) ? left_ : sizeof(T);

        std::memcpy(&value, data_, n);
        data_ += n;
        left_ -= n;
        return value;
    }

    const uint8_t *data_;
    size_t left_;
};

} // namespace ccad::fuzz
