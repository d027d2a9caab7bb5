/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device.hpp"

#include <cstring>
#include <random>
#include <thread>

namespace ccad::test {

namespace {

constexpr uint64_t rings_va = 0x7f00'0000'0000;
constexpr uint64_t context_va = 0x1000'0000;

template <typename Record>
constexpr size_t words = sizeof(Record) / sizeof(uint64_t);

} // namespace

bool eventually(const std::function<bool()> &condition)
{
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(120);

    for (unsigned round = 0; !condition(); round++) {
        if (std::chrono::steady_clock::now() > end) {
            return false;
        }
        if (round < 100) {
            std::this_thread::yield();
        } else {
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
    }
    return true;
}

void Barrier::pass()
{
    std::unique_lock lock(mutex_);

    waiting_++;
    changed_.wait(lock, [this] { return open_; });
    waiting_--;
}

bool Barrier::reached()
{
    return eventually([this] {
        std::lock_guard lock(mutex_);
        return waiting_ > 0;
    });
}

void Barrier::open()
{
    {
        std::lock_guard lock(mutex_);
        open_ = true;
    }
    changed_.notify_all();
}

void Barrier::close()
{
    std::lock_guard lock(mutex_);

    open_ = false;
}

Device::Device(const ccad_config &config) : config_(config)
{
    ccad_host_ops ops = host.ops();

    core_ = ccad_core_new(&config, &ops, &host);
    host.attach(core_);
}

Device::~Device()
{
    host.stop_serving();
    ccad_core_delete(core_);
}

void Device::write(uint64_t offset, uint64_t value, unsigned size)
{
    std::lock_guard lock(host.big_lock());
    ccad_core_write(core_, offset, value, size);
}

void Device::quiesce()
{
    write(CCAD_REG_CTRL, 0);
    ccad_core_quiesce(core_);
}

std::vector<uint8_t> Device::save()
{
    size_t size;
    uint8_t *state = ccad_core_save(core_, &size);

    if (!state) {
        ADD_FAILURE() << "it is not quiet";
        return {};
    }
    std::vector<uint8_t> bytes(state, state + size);
    free(state);
    return bytes;
}

void Device::migrate()
{
    bool running = read(CCAD_REG_CTRL, 4) & CCAD_CTRL_ENABLE;
    ccad_host_ops ops = host.ops();
    ccad_core *old = core_;

    quiesce();
    {
        std::lock_guard lock(host.big_lock());
        std::vector<uint8_t> state = save();
        ops.set_timer(&host, UINT64_MAX); /* that of the other machine */
        core_ = ccad_core_new(&config_, &ops, &host);
        EXPECT_STREQ(ccad_core_load(core_, state.data(), state.size()),
                     nullptr);
        host.attach(core_);
    }
    ccad_core_delete(old);
    if (running) {
        enable();
    }
}

ccad_context_info Device::info(uint32_t context)
{
    ccad_context_info info;

    ccad_core_context_info(core_, context, &info);
    return info;
}

void Device::reset()
{
    std::lock_guard lock(host.big_lock());
    ccad_core_reset(core_);
}

Queue Device::queue(uint32_t number, uint32_t of_pasid, uint32_t shift)
{
    Queue queue(*this, number, of_pasid, shift);

    queue.enable();
    return queue;
}

Queue::Queue(Device &device, uint32_t number, uint32_t pasid, uint32_t shift)
    : device_(device), number_(number), pasid_(pasid), shift_(shift),
      ring_(rings_va + number * context_va),
      records_(ring_ + context_va / 2)
{
    device_.host.populate(pasid, ring_, ring_bytes());
    device_.host.populate(pasid, records_, records * sizeof(ccad_completion));
}

uint32_t Queue::reg(uint32_t offset)
{
    return static_cast<uint32_t>(device_.read(CCAD_CTX(number_) + offset, 4));
}

void Queue::reg(uint32_t offset, uint64_t value, unsigned size)
{
    device_.write(CCAD_CTX(number_) + offset, value, size);
}

uint32_t Queue::db(uint32_t offset)
{
    return static_cast<uint32_t>(
        device_.read(CCAD_DOORBELL(number_) + offset, 4));
}

void Queue::db(uint32_t offset, uint32_t value)
{
    device_.write(CCAD_DOORBELL(number_) + offset, value);
}

uint64_t Queue::stat(uint32_t stat)
{
    return device_.read(CCAD_DOORBELL(number_) + CCAD_DB_STATS + stat);
}

void Queue::enable()
{
    reg(CCAD_CTX_PASID, pasid_);
    reg(CCAD_CTX_VECTOR, 1 + number_);
    reg(CCAD_CTX_RING, ring_, 8);
    reg(CCAD_CTX_RING_SHIFT, shift_);
    reg(CCAD_CTX_CTRL, CCAD_CTX_CTRL_ENABLE);
    tail_ = 0;
}

uint64_t Queue::record_address(uint32_t index) const
{
    return records_ + index % records * sizeof(ccad_completion);
}

uint32_t Queue::push(ccad_desc desc, bool with_record)
{
    uint32_t index = next_record_++;

    if (with_record && !desc.completion) {
        auto *word = reinterpret_cast<uint64_t *>(
            device_.host.ptr(pasid_, record_address(index)));
        for (size_t i = 0; i < words<ccad_completion>; i++) {
            __atomic_store_n(&word[i], 0, __ATOMIC_RELAXED);
        }
        desc.completion = record_address(index);
    }

    uint64_t entry = tail_++ & ((uint32_t{1} << shift_) - 1);
    auto *slot = reinterpret_cast<uint64_t *>(
        device_.host.ptr(pasid_, ring_ + entry * sizeof(desc)));
    uint64_t value[words<ccad_desc>];
    std::memcpy(value, &desc, sizeof(desc));
    for (size_t i = 0; i < words<ccad_desc>; i++) {
        __atomic_store_n(&slot[i], value[i], __ATOMIC_RELAXED);
    }
    return index;
}

ccad_completion Queue::record(uint32_t index)
{
    auto *from = reinterpret_cast<uint64_t *>(
        device_.host.ptr(pasid_, record_address(index)));
    uint64_t value[words<ccad_completion>];
    ccad_completion record;

    value[0] = __atomic_load_n(&from[0], __ATOMIC_ACQUIRE);
    for (size_t i = 1; i < words<ccad_completion>; i++) {
        value[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
    std::memcpy(&record, value, sizeof(record));
    return record;
}

ccad_completion Queue::wait(uint32_t index)
{
    EXPECT_TRUE(eventually([&] { return record(index).status != 0; }))
        << "command " << index << " does not end; status "
        << db(CCAD_DB_STATUS);
    return record(index);
}

void DeviceTest::TearDown()
{
    /* Engines may call what tests have hooked in, which goes before they do. */
    device.quiesce();
    EXPECT_THAT(host.violations(), testing::IsEmpty());
}

ccad_desc copy(uint64_t src, uint64_t dst, uint64_t len)
{
    ccad_desc desc{};

    desc.opcode = CCAD_OP_COPY;
    desc.src = src;
    desc.dst = dst;
    desc.len = len;
    return desc;
}

ccad_desc fill(uint64_t dst, uint64_t len, uint64_t pattern)
{
    ccad_desc desc{};

    desc.opcode = CCAD_OP_FILL;
    desc.dst = dst;
    desc.len = len;
    desc.arg = pattern;
    return desc;
}

ccad_desc crc(uint64_t src, uint64_t len, uint64_t start)
{
    ccad_desc desc{};

    desc.opcode = CCAD_OP_CRC32C;
    desc.src = src;
    desc.len = len;
    desc.arg = start;
    return desc;
}

ccad_desc nop(uint32_t tag)
{
    ccad_desc desc{};

    desc.opcode = CCAD_OP_NOP;
    desc.tag = tag;
    return desc;
}

std::vector<uint8_t> load(FakeHost &host, uint64_t va, uint64_t len,
                          uint32_t of_pasid)
{
    std::vector<uint8_t> bytes(len);

    for (uint64_t done = 0; done < len;) {
        uint64_t n = std::min(len - done, page - (va + done) % page);
        std::memcpy(&bytes[done], host.ptr(of_pasid, va + done), n);
        done += n;
    }
    return bytes;
}

void store(FakeHost &host, uint64_t va, const std::vector<uint8_t> &bytes,
           uint32_t of_pasid)
{
    for (uint64_t done = 0; done < bytes.size();) {
        uint64_t n = std::min(bytes.size() - done, page - (va + done) % page);
        std::memcpy(host.ptr(of_pasid, va + done), &bytes[done], n);
        done += n;
    }
}

std::vector<uint8_t> random_bytes(uint64_t len, uint32_t seed)
{
    std::mt19937 random(seed);
    std::vector<uint8_t> bytes(len);

    for (auto &byte : bytes) {
        byte = static_cast<uint8_t>(random());
    }
    return bytes;
}

} // namespace ccad::test
