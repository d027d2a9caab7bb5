/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "counters.hpp"

#include <utility>

#include "atc.hpp"

namespace ccad {

void Counters::count(const Access &access, CounterRecords &due)
{
    if (!table_.count(access, due)) {
        std::lock_guard lock(mutex_);
        note(CCAD_CNT_TABLE_FULL);
    }
}

/* With mutex_ held. */
void Counters::note(uint32_t status)
{
    if (!(status_ & status)) {
        status_ |= status;
        event_ = true;
        news_ = true;
    }
}

void Counters::post(const CounterRecords &records)
{
    std::lock_guard lock(mutex_);

    for (ccad_counter_record record : records) {
        if (head_ - tail_ + queue_.size() >= entries()) {
            lost_ = true;
            note(CCAD_CNT_RING_FULL);
            continue;
        }
        if (lost_) {
            record.flags |= CCAD_RECORD_LOST;
            lost_ = false;
        }
        queue_.push_back(record);
        news_ = true;
    }
}

void Counters::deliver(const Host &host)
{
    std::unique_lock lock(mutex_);
    std::optional<uint32_t> vector;

    /* The ring may lie where writes come back to the registers. */
    if (delivering_) {
        return;
    }
    delivering_ = true;
    while (!queue_.empty()) {
        const ccad_counter_record record = queue_.front();
        const uint64_t epoch = epoch_;
        const uint64_t slot =
            latched_.ring + (head_ & (entries() - 1)) * sizeof(record);
        lock.unlock();
        bool written = host.dma_write(slot, &record, sizeof(record));
        lock.lock();
        if (epoch != epoch_) {
            continue;
        }
        queue_.pop_front();
        if (written) {
            head_++;
            if (head_ - tail_ == latched_.batch) {
                vector = latched_.vector;
            }
        } else {
            note(CCAD_CNT_RING_ERROR);
            if (queue_.empty()) {
                lost_ = true;
            } else {
                queue_.front().flags |= CCAD_RECORD_LOST;
            }
        }
    }
    delivering_ = false;
    lock.unlock();
    if (vector) {
        host.interrupt(*vector);
    }
}

bool Counters::take_event()
{
    std::lock_guard lock(mutex_);

    return std::exchange(event_, false);
}

uint64_t Counters::read(uint32_t reg) const
{
    std::lock_guard lock(mutex_);

    switch (reg) {
    case CCAD_REG_CNT_CTRL:
        return on() ? CCAD_CNT_ENABLE : 0;
    case CCAD_REG_CNT_STATUS:
        return status_;
    case CCAD_REG_CNT_GRANULE_SHIFT:
        return block_.granule_shift;
    case CCAD_REG_CNT_THRESHOLD:
        return block_.threshold;
    case CCAD_REG_CNT_BATCH:
        return block_.batch;
    case CCAD_REG_CNT_VECTOR:
        return block_.vector;
    case CCAD_REG_CNT_RING:
        return block_.ring;
    case CCAD_REG_CNT_RING_SHIFT:
        return block_.ring_shift;
    case CCAD_REG_CNT_HEAD:
        return head_;
    case CCAD_REG_CNT_TAIL:
        return tail_;
    case CCAD_REG_CNT_LOST:
        return table_.lost();
    case CCAD_REG_CNT_PASID:
        return pasid_;
    case CCAD_REG_CNT_VA:
        return va_;
    case CCAD_REG_CNT_READ_LOCAL:
        return result_.read_local;
    case CCAD_REG_CNT_READ_SYSTEM:
        return result_.read_system;
    case CCAD_REG_CNT_WRITE_LOCAL:
        return result_.write_local;
    case CCAD_REG_CNT_WRITE_SYSTEM:
        return result_.write_system;
    default:
        return 0;
    }
}

std::optional<uint32_t> Counters::write(uint32_t reg, uint64_t value)
{
    const auto word = static_cast<uint32_t>(value);

    if (reg == CCAD_REG_CNT_CMD) {
        return command(word);
    }

    std::lock_guard lock(mutex_);
    switch (reg) {
    case CCAD_REG_CNT_STATUS:
        status_ &= ~word;
        break;
    case CCAD_REG_CNT_GRANULE_SHIFT:
        block_.granule_shift = word;
        break;
    case CCAD_REG_CNT_THRESHOLD:
        block_.threshold = word;
        break;
    case CCAD_REG_CNT_BATCH:
        block_.batch = word;
        break;
    case CCAD_REG_CNT_VECTOR:
        block_.vector = word;
        break;
    case CCAD_REG_CNT_RING:
        block_.ring = value;
        break;
    case CCAD_REG_CNT_RING_SHIFT:
        block_.ring_shift = word;
        break;
    case CCAD_REG_CNT_TAIL:
        return move_tail(word);
    case CCAD_REG_CNT_PASID:
        pasid_ = word & CCAD_PASID_MAX;
        break;
    case CCAD_REG_CNT_VA:
        va_ = value;
        break;
    }
    return std::nullopt;
}

/* Who left a batch unread hears of it again: more came while it was busy. */
std::optional<uint32_t> Counters::move_tail(uint32_t tail)
{
    if (tail - tail_ > head_ - tail_) {
        note(CCAD_CNT_RING_ERROR);
        return std::nullopt;
    }
    tail_ = tail;
    if (head_ == tail_ || head_ - tail_ < latched_.batch) {
        return std::nullopt;
    }
    return latched_.vector;
}

std::optional<uint32_t> Counters::command(uint32_t command)
{
    std::unique_lock lock(mutex_);

    switch (command) {
    case CCAD_CNT_CMD_READ:
    case CCAD_CNT_CMD_READ_CLEAR:
        result_ = table_.read(pasid_, va_, command == CCAD_CNT_CMD_READ_CLEAR);
        break;
    /* These take their time, and an engine may have something to post. */
    case CCAD_CNT_CMD_CLEAR_PASID: {
        uint32_t pasid = pasid_;
        lock.unlock();
        table_.clear(pasid);
        break;
    }
    case CCAD_CNT_CMD_CLEAR_ALL:
        lock.unlock();
        table_.clear_all();
        break;
    case CCAD_CNT_CMD_FLUSH:
        if (head_ != tail_) {
            return latched_.vector;
        }
        break;
    }
    return std::nullopt;
}

bool Counters::latchable(const CounterBlock &b) const
{
    if (b.granule_shift < CCAD_GRANULE_SHIFT_MIN ||
        b.granule_shift > CCAD_GRANULE_SHIFT_MAX) {
        return false;
    }
    if (!b.threshold) {
        return true; /* the ring is not used */
    }
    if (b.ring_shift < CCAD_RING_SHIFT_MIN ||
        b.ring_shift > CCAD_RING_SHIFT_MAX || b.vector >= vectors_ ||
        b.ring % page_size) {
        return false;
    }
    uint64_t bytes = sizeof(ccad_counter_record) << b.ring_shift;
    return b.ring + (bytes - 1) >= b.ring && b.batch &&
           b.batch <= uint32_t{1} << b.ring_shift;
}

void Counters::start()
{
    std::lock_guard lock(mutex_);

    if (!latchable(block_)) {
        note(CCAD_CNT_CONFIG);
        return;
    }
    latched_ = block_;
    if (!latched_.threshold) {
        /* What need not make sense for the ring is not kept. */
        latched_ = {.granule_shift = block_.granule_shift, .threshold = 0};
    }
    forget();
    table_.restart(latched_.granule_shift, latched_.threshold);
    on_.store(true, std::memory_order_release);
}

/* With mutex_ held. */
void Counters::forget()
{
    head_ = 0;
    tail_ = 0;
    queue_.clear();
    lost_ = false;
    epoch_++;
}

void Counters::reset()
{
    std::lock_guard lock(mutex_);

    on_.store(false, std::memory_order_release);
    news_ = false;
    block_ = {};
    latched_ = {};
    status_ = 0;
    event_ = false;
    forget();
    table_.restart(CCAD_GRANULE_SHIFT_DEFAULT, 0);
    pasid_ = 0;
    va_ = 0;
    result_ = {};
}

} // namespace ccad
