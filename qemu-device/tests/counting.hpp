/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Access counters as a driver uses them. */
#pragma once

#include <cstring>

#include "counter_table.hpp"
#include "device.hpp"

namespace ccad {

inline bool operator==(const AccessCount &a, const AccessCount &b)
{
    return a.read_local == b.read_local && a.read_system == b.read_system &&
           a.write_local == b.write_local && a.write_system == b.write_system;
}

inline AccessCount operator+(const AccessCount &a, const AccessCount &b)
{
    return {a.read_local + b.read_local, a.read_system + b.read_system,
            a.write_local + b.write_local, a.write_system + b.write_system};
}

inline std::ostream &operator<<(std::ostream &out, const AccessCount &count)
{
    return out << "read " << count.read_local << " local "
               << count.read_system << " system, written "
               << count.write_local << " local " << count.write_system
               << " system";
}

} // namespace ccad

namespace ccad::test {

inline constexpr uint64_t line = 64;

/* Lines that [va, va + len) touches. */
constexpr uint64_t lines_of(uint64_t va, uint64_t len)
{
    return len ? (va + len - 1) / line - va / line + 1 : 0;
}

class CounterDriver {
public:
    explicit CounterDriver(Device &device)
        : device_(device), ring_(device.host.alloc(ring_bytes))
    {
    }

    struct Setup {
        uint32_t granule_shift = 12;
        uint32_t threshold = 0;
        uint32_t batch = 1;
        uint32_t ring_shift = 6;
        uint32_t vector = 3;
    };
    void program(const Setup &setup)
    {
        device_.write(CCAD_REG_CNT_GRANULE_SHIFT, setup.granule_shift);
        device_.write(CCAD_REG_CNT_THRESHOLD, setup.threshold);
        device_.write(CCAD_REG_CNT_BATCH, setup.batch);
        device_.write(CCAD_REG_CNT_VECTOR, setup.vector);
        device_.write(CCAD_REG_CNT_RING, ring_, 8);
        device_.write(CCAD_REG_CNT_RING_SHIFT, setup.ring_shift);
    }
    void start() { device_.write(CCAD_REG_CNT_CTRL, CCAD_CNT_ENABLE); }
    void start(const Setup &setup)
    {
        program(setup);
        start();
        ASSERT_EQ(reg(CCAD_REG_CNT_CTRL), CCAD_CNT_ENABLE);
    }
    void stop() { device_.write(CCAD_REG_CNT_CTRL, 0); }

    uint32_t reg(uint32_t offset)
    {
        return static_cast<uint32_t>(device_.read(offset, 4));
    }
    void command(uint32_t command, uint64_t va = 0, uint32_t of = pasid)
    {
        device_.write(CCAD_REG_CNT_PASID, of);
        device_.write(CCAD_REG_CNT_VA, va, 8);
        device_.write(CCAD_REG_CNT_CMD, command);
    }
    AccessCount read(uint64_t va, uint32_t of = pasid, bool clear = false)
    {
        command(clear ? CCAD_CNT_CMD_READ_CLEAR : CCAD_CNT_CMD_READ, va, of);
        return {device_.read(CCAD_REG_CNT_READ_LOCAL),
                device_.read(CCAD_REG_CNT_READ_SYSTEM),
                device_.read(CCAD_REG_CNT_WRITE_LOCAL),
                device_.read(CCAD_REG_CNT_WRITE_SYSTEM)};
    }
    AccessCount sum(uint64_t va, uint64_t len, uint64_t granule,
                    uint32_t of = pasid)
    {
        AccessCount sum;

        for (uint64_t at = va & ~(granule - 1); at < va + len; at += granule) {
            sum = sum + read(at, of);
        }
        return sum;
    }
    uint64_t lost() { return device_.read(CCAD_REG_CNT_LOST); }

    /* The notifications not read yet; reading them frees their room. */
    std::vector<ccad_counter_record> take()
    {
        std::vector<ccad_counter_record> records;
        uint32_t head = reg(CCAD_REG_CNT_HEAD);
        uint32_t mask = (1u << reg(CCAD_REG_CNT_RING_SHIFT)) - 1;

        for (uint32_t at = reg(CCAD_REG_CNT_TAIL); at != head; at++) {
            records.push_back(slot(at & mask));
        }
        device_.write(CCAD_REG_CNT_TAIL, head);
        return records;
    }
    ccad_counter_record slot(uint32_t index)
    {
        ccad_counter_record record;

        std::memcpy(&record, device_.host.at(ring_) + index * sizeof(record),
                    sizeof(record));
        return record;
    }
    uint64_t ring() const { return ring_; }

private:
    static constexpr uint64_t ring_bytes = 16 * page;

    Device &device_;
    uint64_t ring_;
};

class CountersTest : public DeviceTest {
protected:
    CountersTest()
    {
        host.populate(pasid, src_va, 64 * page);
        host.populate(pasid, dst_va, 64 * page, true);
    }

    CounterDriver counters{device};
    Queue queue = device.queue(0, pasid, 8);
};

} // namespace ccad::test
