/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reductions, element by element, as ccad_hw.h says. */
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>

#include "ccad_hw.h"

namespace ccad::fuzz {

class Fold {
public:
    static std::optional<Fold> of(uint64_t arg)
    {
        uint64_t what = arg & ((1 << CCAD_REDUCE_TYPE_SHIFT) - 1);
        uint64_t type = arg >> CCAD_REDUCE_TYPE_SHIFT;

        if (what > CCAD_REDUCE_MAX || type > CCAD_TYPE_DOUBLE) {
            return std::nullopt;
        }
        return Fold(what, type);
    }

    uint64_t element() const
    {
        return type_ == CCAD_TYPE_INT32 || type_ == CCAD_TYPE_FLOAT ? 4 : 8;
    }

    void add(const uint8_t *data)
    {
        switch (type_) {
        case CCAD_TYPE_INT32:
            add_integer(load<int32_t>(data));
            break;
        case CCAD_TYPE_INT64:
            add_integer(load<int64_t>(data));
            break;
        case CCAD_TYPE_FLOAT:
            add_real(static_cast<double>(load<float>(data)));
            break;
        case CCAD_TYPE_DOUBLE:
            add_real(load<double>(data));
            break;
        }
    }

    uint64_t result() const
    {
        uint64_t bits;

        if (!real()) {
            return integer_;
        }
        if (std::isnan(real_)) {
            return 0x7ff8000000000000;
        }
        std::memcpy(&bits, &real_, sizeof(bits));
        return bits;
    }

private:
    Fold(uint64_t what, uint64_t type) : what_(what), type_(type)
    {
        constexpr double infinity = std::numeric_limits<double>::infinity();

        if (what == CCAD_REDUCE_MIN) {
            integer_ = INT64_MAX;
            real_ = infinity;
        } else if (what == CCAD_REDUCE_MAX) {
            integer_ = uint64_t{1} << 63;
            real_ = -infinity;
        }
    }

    bool real() const { return type_ >= CCAD_TYPE_FLOAT; }

    template <typename T>
    static T load(const uint8_t *data)
    {
        T value;

        std::memcpy(&value, data, sizeof(value));
        return value;
    }

    void add_integer(int64_t element)
    {
        auto so_far = static_cast<int64_t>(integer_);

        if (what_ == CCAD_REDUCE_SUM) {
            integer_ += static_cast<uint64_t>(element);
        } else if ((what_ == CCAD_REDUCE_MIN) == (element < so_far)) {
            integer_ = static_cast<uint64_t>(element);
        }
    }

    void add_real(double element)
    {
        bool less = element < real_ || (element == real_ &&
                                        std::signbit(element) &&
                                        !std::signbit(real_));

        if (what_ == CCAD_REDUCE_SUM) {
            real_ += element;
        } else if (std::isnan(element)) {
            real_ = element;
        } else if (!std::isnan(real_) &&
                   (what_ == CCAD_REDUCE_MIN) == less) {
            real_ = element;
        }
    }

    uint64_t what_;
    uint64_t type_;
    uint64_t integer_ = 0;
    double real_ = 0;
};

} // namespace ccad::fuzz
