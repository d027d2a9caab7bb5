/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A device on a fake host, and the software that drives it. */
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>

#include "costs.hpp"
#include "fake_host.hpp"

namespace ccad::test {

inline constexpr uint32_t pasid = 5;

/* Wait for what another thread brings about; a failure if it does not come. */
bool eventually(const std::function<bool()> &condition);

/*
 * Holds up the threads that come by, to put something in between.  It lets
 * everybody through once it is open, and is closed from the start.
 */
class Barrier {
public:
    ~Barrier() { open(); }
    /* For the threads: wait until it opens. */
    void pass();
    /* Until a thread waits at it. */
    bool reached();
    void open();
    void close();

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    unsigned waiting_ = 0;
    bool open_ = false;
};

inline ccad_config small_config()
{
    return {
        .contexts = 4,
        .engines = 2,
        .atc_sets = 64,
        .atc_ways = 4,
        .vectors = 5,
        .page_requests = 32,
        .page_request_group = 4,
        .counters = 1024,
        .mem_size = FakeHost::local_size,
        .slice_ns = 100'000,
        .ordered = false,
        .cost = costs,
        .injection = {},
        .host_driven = false,
    };
}

/* One context as a process uses it. */
class Queue {
public:
    Queue(class Device &device, uint32_t number, uint32_t pasid,
          uint32_t shift);

    uint32_t pasid() const { return pasid_; }
    uint64_t ring() const { return ring_; }
    uint64_t ring_bytes() const { return uint64_t{64} << shift_; }

    /* Registers of the block and of the doorbell page. */
    uint32_t reg(uint32_t offset);
    void reg(uint32_t offset, uint64_t value, unsigned size = 4);
    uint32_t db(uint32_t offset);
    void db(uint32_t offset, uint32_t value);
    uint64_t stat(uint32_t stat);
    uint32_t state() { return db(CCAD_DB_STATUS) & CCAD_CTX_STATE_MASK; }
    uint32_t cause()
    {
        return db(CCAD_DB_STATUS) >> CCAD_CTX_CAUSE_SHIFT & 0xff;
    }

    void enable();
    void disable() { reg(CCAD_CTX_CTRL, 0); }

    /*
     * Put a descriptor into the ring; unless it has an address of its own,
     * its completion record is the next of the context's records.
     */
    uint32_t push(ccad_desc desc, bool with_record = true);
    void ring_doorbell() { db(CCAD_DB_TAIL, tail_); }
    uint32_t submit(const ccad_desc &desc)
    {
        uint32_t index = push(desc);
        ring_doorbell();
        return index;
    }
    /* The record of command index, now. */
    ccad_completion record(uint32_t index);
    /* The same once it has a status. */
    ccad_completion wait(uint32_t index);
    ccad_completion run(const ccad_desc &desc) { return wait(submit(desc)); }
    uint64_t record_address(uint32_t index) const;

    uint32_t tail() const { return tail_; }
    void tail(uint32_t tail) { tail_ = tail; }
    static constexpr uint32_t records = 256;

private:
    class Device &device_;
    uint32_t number_;
    uint32_t pasid_;
    uint32_t shift_;
    uint64_t ring_;
    uint64_t records_;
    uint32_t tail_ = 0;
    uint32_t next_record_ = 0;
};

class Device {
public:
    explicit Device(const ccad_config &config = small_config());
    ~Device();

    ccad_core *core() { return core_; }
    uint64_t read(uint64_t offset, unsigned size = 8)
    {
        return ccad_core_read(core_, offset, size);
    }
    /* With the big lock, as a CPU of the guest. */
    void write(uint64_t offset, uint64_t value, unsigned size = 4);
    void enable() { write(CCAD_REG_CTRL, CCAD_CTRL_ENABLE); }
    /* Stop the engines and wait until they have come back. */
    void quiesce();
    /* The state, while quiet. */
    std::vector<uint8_t> save();
    /* Save, and go on as another device, on the same host, with that state. */
    void migrate();
    void reset();
    uint64_t stat(uint32_t stat) { return ccad_core_stat(core_, stat); }
    ccad_context_info info(uint32_t context);

    /* A context, ring and records populated, enabled. */
    Queue queue(uint32_t number = 0, uint32_t of_pasid = pasid,
                uint32_t shift = 4);

    FakeHost host;

private:
    const ccad_config config_;
    ccad_core *core_;
};

/* A device with one context enabled, in most tests. */
class DeviceTest : public testing::Test {
protected:
    DeviceTest() { device.enable(); }
    void TearDown() override;

    Device device;
    FakeHost &host = device.host;
};

/* Virtual addresses of the tests, one for each purpose. */
inline constexpr uint64_t src_va = 0x10'0000'0000;
inline constexpr uint64_t dst_va = 0x20'0000'0000;

ccad_desc copy(uint64_t src, uint64_t dst, uint64_t len);
ccad_desc fill(uint64_t dst, uint64_t len, uint64_t pattern);
ccad_desc crc(uint64_t src, uint64_t len, uint64_t start = 0);
ccad_desc nop(uint32_t tag = 0);

/* Bytes at a virtual address, page by page. */
std::vector<uint8_t> load(FakeHost &host, uint64_t va, uint64_t len,
                          uint32_t of_pasid = pasid);
void store(FakeHost &host, uint64_t va, const std::vector<uint8_t> &bytes,
           uint32_t of_pasid = pasid);
std::vector<uint8_t> random_bytes(uint64_t len, uint32_t seed = 1);

} // namespace ccad::test
