/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "atc.hpp"

#include <bit>
#include <numeric>

namespace ccad {

std::optional<Translation> Translation::from(const ccad_translation &answer)
{
    if (!answer.read && !answer.write) {
        return std::nullopt;
    }
    if (!std::has_single_bit(answer.len) || answer.len < page_size ||
        (answer.va & (answer.len - 1)) || (answer.pa & (answer.len - 1))) {
        return std::nullopt;
    }
    return Translation{answer.va, answer.va + (answer.len - 1), answer.pa,
                       answer.read, answer.write};
}

Atc::Atc(uint32_t sets, uint32_t ways)
    : sets_(sets), ways_(ways), lines_(size_t{sets} * ways)
{
}

bool Atc::Record::hits(uint32_t of, uint64_t from, uint64_t to) const
{
    return (global || pasid == of) && first <= to && from <= last;
}

Atc::Line *Atc::set_of(uint32_t pasid, uint64_t va, unsigned shift)
{
    uint64_t set = ((va >> shift) ^ pasid) & (sets_ - 1);

    return &lines_[set * ways_];
}

std::optional<Translation> Atc::lookup(uint32_t pasid, uint64_t va,
                                       bool for_write)
{
    std::lock_guard lock(mutex_);

    for (uint64_t left = in_use_; left; left &= left - 1) {
        auto shift = static_cast<unsigned>(std::countr_zero(left));
        Line *set = set_of(pasid, va, shift);
        for (Line *line = set; line < set + ways_; line++) {
            if (line->shift == shift && line->pasid == pasid &&
                line->entry.covers(va) && line->entry.allows(for_write)) {
                line->used = ++clock_;
                return line->entry;
            }
        }
    }
    return std::nullopt;
}

bool Atc::insert(uint64_t generation, uint32_t pasid, const Translation &entry)
{
    unsigned shift = 64 - std::countl_zero(entry.last - entry.first);
    std::lock_guard lock(mutex_);

    if (!fresh_locked(generation, pasid, entry.first, entry.last)) {
        return false;
    }

    Line *set = set_of(pasid, entry.first, shift);
    Line *victim = set;
    for (Line *line = set; line < set + ways_; line++) {
        if (line->shift == shift && line->pasid == pasid &&
            line->entry.first == entry.first) {
            victim = line;
            break;
        }
        if (victim->shift && (!line->shift || line->used < victim->used)) {
            victim = line;
        }
    }
    drop(*victim);
    *victim = {entry, ++clock_, pasid, static_cast<uint8_t>(shift)};
    enter(shift);
    return true;
}

bool Atc::fresh(uint64_t generation, uint32_t pasid, uint64_t first,
                uint64_t last) const
{
    if (generation == this->generation()) {
        return true;
    }
    std::lock_guard lock(mutex_);
    return fresh_locked(generation, pasid, first, last);
}

bool Atc::fresh_locked(uint64_t generation, uint32_t pasid, uint64_t first,
                       uint64_t last) const
{
    uint64_t now = generation_.load(std::memory_order_relaxed);

    if (now - generation > log_.size()) {
        return false;
    }
    for (uint64_t g = generation; g != now; g++) {
        if (log_[g % log_.size()].hits(pasid, first, last)) {
            return false;
        }
    }
    return true;
}

void Atc::invalidate(uint32_t pasid, bool global, uint64_t first, uint64_t last)
{
    const Record what{first, last, pasid, global};
    std::lock_guard lock(mutex_);
    uint64_t now = generation_.load(std::memory_order_relaxed);

    log_[now % log_.size()] = what;
    generation_.store(now + 1, std::memory_order_release);

    if (global || probes(what) > capacity()) {
        sweep(what);
    } else {
        probe(what);
    }
}

uint32_t Atc::entries(unsigned shift) const
{
    std::lock_guard lock(mutex_);

    if (shift) {
        return shift < sizes_.size() ? sizes_[shift] : 0;
    }
    return entries_locked();
}

uint32_t Atc::entries_locked() const
{
    return std::accumulate(sizes_.begin(), sizes_.end(), uint32_t{0});
}

void Atc::enter(unsigned shift)
{
    sizes_[shift]++;
    in_use_ |= uint64_t{1} << shift;
}

void Atc::drop(Line &line)
{
    if (line.shift) {
        if (!--sizes_[line.shift]) {
            in_use_ &= ~(uint64_t{1} << line.shift);
        }
        line.shift = 0;
    }
}

/* Lines that probe() would look at. */
uint64_t Atc::probes(const Record &what) const
{
    uint64_t lines = 0;

    each_size([&](unsigned shift) {
        lines += ((what.last >> shift) - (what.first >> shift) + 1) * ways_;
    });
    return lines;
}

void Atc::probe(const Record &what)
{
    each_size([&](unsigned shift) {
        uint64_t end = what.last >> shift;
        for (uint64_t page = what.first >> shift; page <= end; page++) {
            Line *set = set_of(what.pasid, page << shift, shift);
            for (Line *line = set; line < set + ways_; line++) {
                if (line->shift == shift && line->pasid == what.pasid &&
                    line->entry.covers(page << shift)) {
                    drop(*line);
                }
            }
        }
    });
}

void Atc::sweep(const Record &what)
{
    if (!in_use_) {
        return;
    }
    for (Line &line : lines_) {
        if (line.shift &&
            what.hits(line.pasid, line.entry.first, line.entry.last)) {
            drop(line);
        }
    }
}

} // namespace ccad
