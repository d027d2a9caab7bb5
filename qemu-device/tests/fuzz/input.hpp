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
