/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How memory is mapped for accesses: how often, and when it is given back. */
#include <string>
#include <tuple>

#include "device.hpp"
#include "mapping.hpp"

namespace ccad::test {

namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/* (what, address, bytes used, write) */
using Event = std::tuple<std::string, uint64_t, uint64_t, bool>;

class MappingTest : public testing::Test {
protected:
    /* Offset in memory_ of what is reached, or -1. */
    int64_t reach(uint64_t pa, uint64_t len, uint64_t ahead, bool write)
    {
        got = len;
        uint8_t *at = mapping.reach(host_, pa, &got, ahead, write);
        return at ? at - memory_ : -1;
    }
    void close() { mapping.close(host_); }
    std::vector<Event> events() { return std::exchange(events_, {}); }

    Mapping mapping;
    uint64_t got = 0;

private:
    static constexpr uint64_t size = 4096; /* addresses are offsets */

    static ccad_host_ops ops()
    {
        ccad_host_ops ops{};
        ops.map = [](void *opaque, uint64_t pa, uint64_t *len,
                     bool write) -> void * {
            auto self = static_cast<MappingTest *>(opaque);
            self->events_.emplace_back("map", pa, 0, write);
            *len = pa < size ? std::min(*len, size - pa) : 0;
            /* An address of its own, but nothing there, at the end. */
            return pa <= size ? self->memory_ + pa : nullptr;
        };
        ops.unmap = [](void *opaque, void *ptr, uint64_t len, bool write) {
            auto self = static_cast<MappingTest *>(opaque);
            self->events_.emplace_back(
                "unmap", static_cast<uint8_t *>(ptr) - self->memory_, len,
                write);
        };
        return ops;
    }

    uint8_t memory_[size];
    std::vector<Event> events_;
    Injection injection_{{}};
    Host host_{ops(), this, injection_};
};

TEST_F(MappingTest, ServesWhatLiesInIt)
{
    EXPECT_EQ(reach(100, 10, 1000, false), 100);
    EXPECT_EQ(reach(1000, 100, 3000, false), 1000);
    EXPECT_EQ(got, 100);
    EXPECT_EQ(reach(100, 10, 10, false), 100);
    EXPECT_THAT(events(), ElementsAre(Event{"map", 100, 0, false}));
    close();
    EXPECT_THAT(events(), ElementsAre(Event{"unmap", 100, 0, false}));
    close();
    EXPECT_THAT(events(), IsEmpty());
}

/* The end of one must not make an access shorter. */
TEST_F(MappingTest, IsMadeAnewForWhatEndsBehindIt)
{
    reach(100, 10, 100, false);
    EXPECT_EQ(reach(150, 51, 51, false), 150);
    EXPECT_EQ(got, 51);
    EXPECT_EQ(reach(90, 5, 100, false), 90);
    EXPECT_EQ(reach(4000, 200, 500, false), 4000);
    EXPECT_EQ(got, 96) << "all there is";
    EXPECT_THAT(events(),
                ElementsAre(Event{"map", 100, 0, false},
                            Event{"unmap", 100, 0, false},
                            Event{"map", 150, 0, false},
                            Event{"unmap", 150, 0, false},
                            Event{"map", 90, 0, false},
                            Event{"unmap", 90, 0, false},
                            Event{"map", 4000, 0, false}));
    close();
}

TEST_F(MappingTest, SaysHowMuchIsWritten)
{
    reach(0, 100, 1000, true);
    mapping.use(0, 60);
    reach(60, 40, 1000, true);
    mapping.use(60, 40);
    reach(20, 30, 1000, true);
    mapping.use(20, 30);
    EXPECT_TRUE(mapping.written());
    /* A gap is not written. */
    reach(101, 40, 500, true);
    mapping.use(101, 40);
    EXPECT_THAT(events(), ElementsAre(Event{"map", 0, 0, true},
                                      Event{"unmap", 0, 100, true},
                                      Event{"map", 101, 0, true}));
    /* Nor is what is read. */
    reach(101, 40, 500, false);
    EXPECT_FALSE(mapping.written());
    mapping.use(101, 40);
    reach(0, 100, 1000, true);
    close();
    EXPECT_FALSE(mapping.written());
    EXPECT_THAT(events(), ElementsAre(Event{"unmap", 101, 40, true},
                                      Event{"map", 101, 0, false},
                                      Event{"unmap", 101, 40, false},
                                      Event{"map", 0, 0, true},
                                      Event{"unmap", 0, 0, true}));
}

TEST_F(MappingTest, OfNothing)
{
    EXPECT_EQ(reach(5000, 10, 10, true), -1);
    EXPECT_EQ(reach(4096, 10, 10, true), -1);
    close();
    EXPECT_THAT(events(), ElementsAre(Event{"map", 5000, 0, true},
                                      Event{"map", 4096, 0, true},
                                      Event{"unmap", 4096, 0, true}));
}

/* The same through the device, with one engine. */
class CommandMappings : public DeviceTest {
protected:
    CommandMappings()
    {
        host.populate(pasid, dst_va, huge, true, true, huge);
        dst_ = host.walk(pasid, dst_va)->pa;
    }
    /* What is done to the destination and to records meanwhile. */
    std::vector<Event> events_of(const ccad_desc &desc)
    {
        /* What came before may be given back after its record. */
        device.quiesce();
        std::vector<Event> events;
        uint32_t index = queue.push(desc);
        uint64_t record = host.walk(pasid, queue.record_address(index))->pa +
                          queue.record_address(index) % page;
        auto note = [&](const char *what, uint64_t pa, uint64_t used,
                        bool write) {
            if (write && pa >= dst_ && pa < dst_ + huge) {
                events.emplace_back(what, pa - dst_, used, write);
            } else if (write && pa == record) {
                events.emplace_back(std::string("record ") + what, 0, used,
                                    write);
            }
        };
        host.on_map = [&](uint64_t pa, bool write) {
            note("map", pa, 0, write);
        };
        host.on_unmap = [&](uint64_t pa, uint64_t used, bool write) {
            note("unmap", pa, used, write);
        };
        device.enable();
        queue.ring_doorbell();
        EXPECT_EQ(queue.wait(index).status, CCAD_COMP_SUCCESS);
        device.quiesce();
        host.on_map = nullptr;
        host.on_unmap = nullptr;
        return events;
    }

    Queue queue = device.queue();

private:
    uint64_t dst_;
};

/* Translations are there: nobody makes the engine leave its gate. */
TEST_F(CommandMappings, OneForACommandGivenBackBeforeItsRecord)
{
    ASSERT_EQ(queue.run(fill(dst_va, huge, 0)).status, CCAD_COMP_SUCCESS);
    constexpr uint64_t len = huge / 4 - 100; /* less than a time slice */
    EXPECT_THAT(events_of(fill(dst_va + 1, len, 7)),
                ElementsAre(Event{"map", 1, 0, true},
                            Event{"unmap", 1, len, true},
                            Event{"record map", 0, 0, true},
                            Event{"record unmap", 0, 64, true}));
    EXPECT_THAT(load(host, dst_va, 2), ElementsAre(0, 7));
}

} // namespace

} // namespace ccad::test
