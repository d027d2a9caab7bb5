/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host memory that an operand reaches, mapped once for many accesses.
 *
 * It may be longer than an access, and stays open until the gate is left or a
 * command ends.  That does not show: what an access finds is what a mapping of
 * its own would find, and who waits for the record of a command, or for the
 * gate, finds written memory given back.
 */
#pragma once

#include <algorithm>
#include <cstdint>

#include "host.hpp"

namespace ccad {

/* The longest: what giving it back may cost whoever waits for the gate. */
inline constexpr uint64_t max_mapping = 2 * 1024 * 1024;

class Mapping {
public:
    /*
     * *len bytes at pa, or as many as there are in one piece; null: none.
     * ahead is how many may be accessed there soon, *len at least and
     * max_mapping at most.  What the operand reached before may be gone.
     */
    uint8_t *reach(const Host &host, uint64_t pa, uint64_t *len,
                   uint64_t ahead, bool write)
    {
        if (!holds(pa, *len, write)) {
            close(host);
            size_ = ahead;
            data_ = static_cast<uint8_t *>(host.map(pa, &size_, write));
            pa_ = pa;
            write_ = write;
            if (data_ && !size_) {
                close(host);
            }
            if (!data_) {
                return nullptr;
            }
            *len = std::min(*len, size_);
        }
        return data_ + (pa - pa_);
    }
    /* Of what was reached at pa. */
    void use(uint64_t pa, uint64_t bytes)
    {
        used_ = std::max(used_, pa - pa_ + bytes);
    }
    bool written() const { return data_ && write_; }
    void close(const Host &host)
    {
        if (data_) {
            host.unmap(data_, used_, write_);
            data_ = nullptr;
        }
        used_ = 0;
    }

private:
    /* Without a gap: the host is told that all that was used is written. */
    bool holds(uint64_t pa, uint64_t len, bool write) const
    {
        uint64_t at = pa - pa_;

        return data_ && write == write_ && pa >= pa_ && at < size_ &&
               len <= size_ - at && (!write || at <= used_);
    }

    uint8_t *data_ = nullptr;
    uint64_t pa_ = 0;
    uint64_t size_ = 0;
    uint64_t used_ = 0; /* from the beginning */
    bool write_ = false;
};

} // namespace ccad
