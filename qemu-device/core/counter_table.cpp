/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "counter_table.hpp"

#include <algorithm>

namespace ccad {

size_t CounterTable::Hash::operator()(const Key &key) const
{
    uint64_t n = (key.granule ^ uint64_t{key.pasid} << 44) *
                 0x9e3779b97f4a7c15;

    return n ^ n >> 32;
}

CounterTable::Shard &CounterTable::shard_of(const Key &key)
{
    return shards_[(Hash()(key) >> 16) % shards_.size()];
}

void CounterTable::restart(uint32_t granule_shift, uint64_t threshold)
{
    clear_all();
    shift_ = granule_shift;
    threshold_ = threshold;
    lost_.store(0, std::memory_order_relaxed);
}

bool CounterTable::count(const Access &access, CounterRecords &due)
{
    uint64_t first = access.va / line;
    const uint64_t last = (access.va + (access.bytes - 1)) / line;
    const unsigned shift = shift_ - 6; /* of a line's number */
    bool room = true;

    if (access.continues) {
        first++;
    }
    while (first <= last) {
        uint64_t granule = first >> shift;
        uint64_t end = std::min(last, (granule << shift) +
                                          ((uint64_t{1} << shift) - 1));
        room &= add({granule, access.pasid}, access, end - first + 1, due);
        first = end + 1;
    }
    return room;
}

bool CounterTable::take_slot()
{
    uint32_t used = used_.load(std::memory_order_relaxed);

    while (used < capacity_) {
        if (used_.compare_exchange_weak(used, used + 1,
                                        std::memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

bool CounterTable::add(const Key &key, const Access &access, uint64_t lines,
                       CounterRecords &due)
{
    Shard &shard = shard_of(key);
    std::lock_guard lock(shard.mutex);
    auto found = shard.entries.find(key);

    if (found == shard.entries.end()) {
        if (!take_slot()) {
            lost_.fetch_add(lines, std::memory_order_relaxed);
            return false;
        }
        found = shard.entries.try_emplace(key).first;
    }

    Entry &entry = found->second;
    entry.count.of(access.local, access.write) += lines;
    uint64_t sum = entry.count.sum();
    if (threshold_ && sum - entry.notified >= threshold_) {
        entry.notified = sum;
        ccad_counter_record record{};
        record.va = key.granule << shift_;
        record.pasid = key.pasid;
        record.granule_shift = static_cast<uint8_t>(shift_);
        record.read_local = entry.count.read_local;
        record.read_system = entry.count.read_system;
        record.write_local = entry.count.write_local;
        record.write_system = entry.count.write_system;
        due.push_back(record);
    }
    return true;
}

AccessCount CounterTable::read(uint32_t pasid, uint64_t va, bool clear)
{
    const Key key{va >> shift_, pasid};
    Shard &shard = shard_of(key);
    std::lock_guard lock(shard.mutex);
    auto found = shard.entries.find(key);

    if (found == shard.entries.end()) {
        return {};
    }
    AccessCount count = found->second.count;
    if (clear) {
        shard.entries.erase(found);
        used_.fetch_sub(1, std::memory_order_relaxed);
    }
    return count;
}

template <typename Predicate>
void CounterTable::erase_if(Predicate predicate)
{
    if (!used_.load(std::memory_order_relaxed)) {
        return;
    }
    for (Shard &shard : shards_) {
        std::lock_guard lock(shard.mutex);
        size_t erased = std::erase_if(
            shard.entries,
            [&](const auto &entry) { return predicate(entry.first); });
        used_.fetch_sub(static_cast<uint32_t>(erased),
                        std::memory_order_relaxed);
    }
}

void CounterTable::clear(uint32_t pasid)
{
    erase_if([pasid](const Key &key) { return key.pasid == pasid; });
}

void CounterTable::clear_all()
{
    erase_if([](const Key &) { return true; });
}

} // namespace ccad
