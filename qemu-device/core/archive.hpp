/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of the device as bytes, for snapshots and migration.
 *
 * Each class lists what it has once, in a transfer() that serves both ways:
 *
 *     template <typename Archive> void transfer(Archive &a)
 *     {
 *         a(head_, tail_);
 *         a.require(tail_ - head_ <= entries);
 *     }
 *
 * Numbers are little endian and as long as their type; an enumeration comes
 * with its last value, and a sequence with its length.  What a Loader reads
 * may be anything: every value that something depends on has to be required,
 * and nothing that was loaded is used unless good() says so in the end.
 */
#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "ccad_hw.h"

namespace ccad {

/* What both ways have in common; Derived has a raw() for an integer. */
template <typename Derived> class Archive {
public:
    template <typename... Values> void operator()(Values &...values)
    {
        (value(values), ...);
    }

    template <typename Enum> void enumeration(Enum &value, Enum last)
    {
        auto number = static_cast<uint8_t>(value);

        derived().raw(number);
        require(number <= static_cast<uint8_t>(last));
        value = number <= static_cast<uint8_t>(last)
                    ? static_cast<Enum>(number)
                    : Enum{};
    }
    template <typename Enum>
    void enumeration(std::optional<Enum> &value, Enum last)
    {
        bool there = value.has_value();
        Enum inner = value.value_or(Enum{});

        (*this)(there);
        enumeration(inner, last);
        value = there ? std::optional(inner) : std::nullopt;
    }

    /* Give up, with all that follows, unless it holds. */
    void require(bool holds) { good_ = good_ && holds; }
    bool good() const { return good_; }

protected:
    bool good_ = true;

private:
    Derived &derived() { return static_cast<Derived &>(*this); }

    void value(bool &flag)
    {
        uint8_t number = flag;

        derived().raw(number);
        require(number <= 1);
        flag = number == 1;
    }
    template <std::unsigned_integral Int> void value(Int &number)
    {
        derived().raw(number);
    }
    template <std::signed_integral Int> void value(Int &number)
    {
        auto bits = static_cast<std::make_unsigned_t<Int>>(number);

        derived().raw(bits);
        number = static_cast<Int>(bits);
    }
    template <typename T> void value(std::atomic<T> &number)
    {
        T plain = number.load(std::memory_order_relaxed);

        value(plain);
        number.store(plain, std::memory_order_relaxed);
    }
    template <typename T, size_t size> void value(std::array<T, size> &all)
    {
        for (T &one : all) {
            value(one);
        }
    }
    void value(ccad_desc &d)
    {
        (*this)(d.opcode, d.rsvd0, d.flags, d.tag, d.completion, d.src, d.dst,
                d.len, d.arg, d.arg2, d.rsvd1);
    }
    template <typename T>
        requires requires(T &object, Derived &archive) {
            object.transfer(archive);
        }
    void value(T &object)
    {
        object.transfer(derived());
    }
};

class Saver : public Archive<Saver> {
public:
    static constexpr bool loading = false;

    template <std::unsigned_integral Int> void raw(Int number)
    {
        for (size_t i = 0; i < sizeof(Int); i++) {
            bytes_.push_back(static_cast<uint8_t>(number >> 8 * i));
        }
    }
    /* The length of a sequence whose elements follow. */
    size_t length(size_t n, size_t)
    {
        raw(static_cast<uint32_t>(n));
        return n;
    }
    std::vector<uint8_t> take() { return std::move(bytes_); }

private:
    std::vector<uint8_t> bytes_;
};

class Loader : public Archive<Loader> {
public:
    static constexpr bool loading = true;

    explicit Loader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

    /* Zero once anything was wrong. */
    template <std::unsigned_integral Int> void raw(Int &number)
    {
        require(bytes_.size() >= sizeof(Int));
        number = 0;
        if (!good_) {
            return;
        }
        for (size_t i = 0; i < sizeof(Int); i++) {
            number |= static_cast<Int>(static_cast<Int>(bytes_[i]) << 8 * i);
        }
        bytes_ = bytes_.subspan(sizeof(Int));
    }
    size_t length(size_t, size_t most)
    {
        uint32_t n;

        raw(n);
        require(n <= most);
        return good_ ? n : 0;
    }
    /* Nothing may be left over. */
    void end() { require(bytes_.empty()); }

private:
    std::span<const uint8_t> bytes_;
};

} // namespace ccad
