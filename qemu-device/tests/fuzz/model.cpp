/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What commands have in common, and those that go through their operands. */
#include "model.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "model_fold.hpp"

namespace ccad::fuzz {

namespace {

constexpr std::array<uint32_t, 256> crc_table = [] {
    std::array<uint32_t, 256> table{};

    for (uint32_t i = 0; i < table.size(); i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        }
        table[i] = crc;
    }
    return table;
}();

uint32_t crc32c(uint32_t crc, const std::vector<uint8_t> &bytes)
{
    crc = ~crc;
    for (uint8_t byte : bytes) {
        crc = crc >> 8 ^ crc_table[(crc ^ byte) & 0xff];
    }
    return ~crc;
}

} // namespace

std::optional<uint8_t> control_opcode()
{
    static const char *control = std::getenv("CCAD_FUZZ_WRONG");

    if (!control) {
        return std::nullopt;
    }
    return static_cast<uint8_t>(std::atoi(control));
}

Expectation::Expectation(Machine &machine, uint32_t pasid, bool physical,
                         const ccad_desc &desc, const OnDemand &on_demand)
    : machine_(machine), pasid_(pasid), physical_(physical), desc_(desc),
      on_demand_(on_demand)
{
    if (desc.opcode > CCAD_OP_COPY_PAGES ||
        (desc.opcode == CCAD_OP_COPY_PAGES && !physical)) {
        fail(CCAD_COMP_INVALID_OPCODE, 0);
        return;
    }
    if (!plain()) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }
    switch (desc.opcode) {
    case CCAD_OP_NOP:
    case CCAD_OP_FENCE:
        break;
    case CCAD_OP_COPY:
        copy();
        break;
    case CCAD_OP_FILL:
        fill();
        break;
    case CCAD_OP_CRC32C:
        crc();
        break;
    case CCAD_OP_COMPARE:
        compare();
        break;
    case CCAD_OP_REDUCE:
        reduce();
        break;
    case CCAD_OP_FETCH_ADD:
    case CCAD_OP_COMPARE_SWAP:
        atomic();
        break;
    case CCAD_OP_GATHER:
        gather();
        break;
    case CCAD_OP_LIST_WALK:
        list_walk();
        break;
    case CCAD_OP_COMPRESS:
        compress();
        break;
    case CCAD_OP_DECOMPRESS:
        decompress();
        break;
    case CCAD_OP_COPY_PAGES:
        copy_pages();
        break;
    }
    if (own_) {
        known_ = false;
    }
}

/* Of what has to be zero for every opcode. */
bool Expectation::plain() const
{
    bool uses_arg2 = desc_.opcode == CCAD_OP_COMPARE_SWAP ||
                     desc_.opcode == CCAD_OP_GATHER ||
                     desc_.opcode == CCAD_OP_LIST_WALK ||
                     desc_.opcode == CCAD_OP_COMPRESS ||
                     desc_.opcode == CCAD_OP_DECOMPRESS;

    return !desc_.rsvd0 && !desc_.rsvd1 && (uses_arg2 || !desc_.arg2) &&
           !(desc_.flags &
             ~(CCAD_DESC_INTERRUPT | CCAD_DESC_NO_PAGE_REQUEST));
}

/* False, for the caller to hand on. */
bool Expectation::fail(uint8_t status, uint64_t addr)
{
    status_ = status;
    fault_addr_ = addr;
    return false;
}

std::optional<Leaf> Expectation::leaf(uint64_t va) const
{
    if (physical_) {
        return Leaf{va & ~(page - 1), page, true};
    }
    return machine_.walk(pasid_, va);
}

Expectation::Reach Expectation::reach(uint64_t va, uint64_t len, bool write)
{
    Reach reach{0, CCAD_COMP_SUCCESS};

    while (reach.bytes < len) {
        uint64_t at = va + reach.bytes;
        auto found = leaf(at);
        if (!found) {
            if ((desc_.flags & CCAD_DESC_NO_PAGE_REQUEST) ||
                !on_demand_(at & ~(page - 1))) {
                reach.status = CCAD_COMP_PAGE_FAULT;
                break;
            }
            mapped_ = false;
        } else if (write && !found->write) {
            reach.status = CCAD_COMP_PAGE_FAULT;
            break;
        } else if (!machine_.backed(found->pa + at % found->size)) {
            reach.status = CCAD_COMP_BUS_ERROR;
            break;
        } else {
            uint64_t pa = found->pa + at % found->size;
            own_ |= pa - Machine::ram_base <
                    2 * page * machine_.config().contexts;
        }
        reach.bytes += std::min(len - reach.bytes, page - at % page);
    }
    return reach;
}

/* All of it, or where and how it fails. */
bool Expectation::access(uint64_t va, uint64_t len, bool write)
{
    Reach all = reach(va, len, write);

    return all.bytes == len || fail(all.status, va + all.bytes);
}

/* No page of va is one of the others, nor there twice: order would show. */
bool Expectation::distinct(
    std::initializer_list<std::pair<uint64_t, uint64_t>> reads, uint64_t va,
    uint64_t len) const
{
    auto frames = [&](uint64_t from, uint64_t bytes) {
        std::vector<uint64_t> all;
        /* The last page may end with the address space. */
        uint64_t n = bytes ? (from % page + bytes + page - 1) / page : 0;
        for (uint64_t at = from & ~(page - 1); n; n--, at += page) {
            auto found = leaf(at);
            all.push_back(found->pa + at % found->size);
        }
        return all;
    };
    auto ours = frames(va, len);

    std::sort(ours.begin(), ours.end());
    if (std::adjacent_find(ours.begin(), ours.end()) != ours.end()) {
        return false;
    }
    for (auto [from, bytes] : reads) {
        for (uint64_t frame : frames(from, bytes)) {
            if (std::binary_search(ours.begin(), ours.end(), frame)) {
                return false;
            }
        }
    }
    return true;
}

std::vector<uint8_t> Expectation::bytes(uint64_t va, uint64_t len) const
{
    std::vector<uint8_t> bytes(len);

    for (uint64_t i = 0; i < len;) {
        uint64_t n = std::min(len - i, page - (va + i) % page);
        auto found = leaf(va + i);
        machine_.peek(found->pa + (va + i) % found->size, &bytes[i], n);
        i += n;
    }
    return bytes;
}

uint64_t Expectation::number(uint64_t va, uint64_t len) const
{
    uint64_t value = 0;

    for (uint64_t i = 0; i < len;) {
        uint64_t n = std::min(len - i, page - (va + i) % page);
        auto found = leaf(va + i);
        machine_.peek(found->pa + (va + i) % found->size,
                      reinterpret_cast<uint8_t *>(&value) + i, n);
        i += n;
    }
    return value;
}

/* Operands of len bytes, done up to where the first one ends. */
void Expectation::linear(bool has_src, bool has_dst, bool writes)
{
    Reach src{desc_.len, CCAD_COMP_SUCCESS};
    Reach dst = src;

    if (has_src) {
        src = reach(desc_.src, desc_.len, false);
    }
    if (has_dst) {
        dst = reach(desc_.dst, desc_.len, writes);
    }
    bool of_src = src.bytes <= dst.bytes;
    done_ = std::min(src.bytes, dst.bytes);
    if (done_ != desc_.len) {
        fail(of_src ? src.status : dst.status,
             (of_src ? desc_.src : desc_.dst) + done_);
    }
    content_ = mapped_ && done_ <= most_content;
}

void Expectation::copy()
{
    if (wraps(desc_.src, desc_.len) || wraps(desc_.dst, desc_.len) ||
        std::max(desc_.src, desc_.dst) - std::min(desc_.src, desc_.dst) <
            desc_.len) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }
    linear(true, true, true);
    content_ = content_ && distinct({{desc_.src, done_}}, desc_.dst, done_);
    if (content_) {
        written_ = bytes(desc_.src, done_);
    }
}

void Expectation::fill()
{
    if (wraps(desc_.dst, desc_.len)) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }
    linear(false, true, true);
    content_ = content_ && distinct({}, desc_.dst, done_);
    if (content_) {
        written_.resize(done_);
        for (uint64_t i = 0; i < done_; i++) {
            written_[i] = static_cast<uint8_t>(desc_.arg >> (i % 8 * 8));
        }
    }
}

void Expectation::crc()
{
    if (wraps(desc_.src, desc_.len) || desc_.arg > UINT32_MAX) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }
    linear(true, false, false);
    if (content_) {
        result_ = crc32c(static_cast<uint32_t>(desc_.arg),
                         bytes(desc_.src, done_));
    }
}

void Expectation::compare()
{
    if (wraps(desc_.src, desc_.len) || wraps(desc_.dst, desc_.len)) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }
    linear(true, true, false);
    /* A difference would end it early. */
    known_ = content_;
    if (!content_) {
        return;
    }
    auto ours = bytes(desc_.src, done_);
    auto theirs = bytes(desc_.dst, done_);
    auto differ = std::mismatch(ours.begin(), ours.end(), theirs.begin());
    result_ = static_cast<uint64_t>(differ.first - ours.begin());
    if (result_ < done_) {
        done_ = result_;
        fail(CCAD_COMP_SUCCESS, 0);
    }
}

void Expectation::reduce()
{
    auto fold = Fold::of(desc_.arg);

    if (!fold || desc_.len % fold->element() ||
        wraps(desc_.src, desc_.len)) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }
    linear(true, false, false);
    if (content_) {
        auto data = bytes(desc_.src, done_);
        for (uint64_t i = 0; i + fold->element() <= done_;
             i += fold->element()) {
            fold->add(&data[i]);
        }
        result_ = fold->result();
    }
}

void Expectation::atomic()
{
    bool swap = desc_.opcode == CCAD_OP_COMPARE_SWAP;
    uint64_t most = desc_.len == 4 ? UINT32_MAX : UINT64_MAX;

    if ((desc_.len != 4 && desc_.len != 8) || desc_.dst % desc_.len ||
        desc_.arg > most || desc_.arg2 > most) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }
    if (!access(desc_.dst, desc_.len, true)) {
        return;
    }
    done_ = desc_.len;
    content_ = mapped_;
    if (content_) {
        result_ = number(desc_.dst, desc_.len);
        uint64_t value = !swap                  ? result_ + desc_.arg
                         : result_ == desc_.arg ? desc_.arg2
                                                : result_;
        written_.resize(desc_.len);
        std::memcpy(written_.data(), &value, desc_.len);
    }
}

/* As a device would that gets it wrong. */
void Expectation::spoil(ccad_completion &record) const
{
    uint64_t at = desc_.dst;
    uint8_t byte = 0;

    if (written_.empty() && input_.empty() && frames_.empty()) {
        record.result ^= 1;
        return;
    }
    uint64_t pa = frames_.empty() ? leaf(at)->pa + at % leaf(at)->size
                                  : frames_.front().first;
    machine_.peek(pa, &byte, 1);
    byte ^= 0x10;
    machine_.poke(pa, &byte, 1);
}

void Expectation::check(ccad_completion record) const
{
    if (!known_) {
        return;
    }
    if (content_ && control_opcode() == desc_.opcode &&
        record.status == CCAD_COMP_SUCCESS) {
        spoil(record);
    }
    if (round_) {
        check_cycle(record);
        return;
    }
    if (!input_.empty()) {
        check_compressed(record);
        return;
    }
    if (fails_as_) {
        if (record.status != fails_as_) {
            broken("a damaged stream ends otherwise", record.status,
                   fails_as_);
        }
        return;
    }
    if (record.status != status_ || record.bytes_done != done_ ||
        record.fault_addr != fault_addr_) {
        std::fprintf(stderr,
                     "opcode %u, flags %#x, src %#llx, dst %#llx, len %#llx, "
                     "arg %#llx, arg2 %#llx: status %u, bytes_done %#llx, "
                     "fault_addr %#llx, not %u, %#llx, %#llx\n",
                     desc_.opcode, desc_.flags, desc_.src, desc_.dst,
                     desc_.len, desc_.arg, desc_.arg2, record.status,
                     record.bytes_done, record.fault_addr, status_,
                     static_cast<unsigned long long>(done_),
                     static_cast<unsigned long long>(fault_addr_));
        broken("a command does not end as expected", status_, done_);
    }
    if (!content_) {
        return;
    }
    if (bytes(desc_.dst, written_.size()) != written_) {
        broken("memory is not what the command makes it", desc_.dst, done_);
    }
    for (auto &[pa, data] : frames_) {
        std::vector<uint8_t> now(page);
        machine_.peek(pa, now.data(), page);
        if (now != data) {
            broken("a page is not what the command makes it", pa);
        }
    }
    if (record.result != result_) {
        broken("another result than expected", record.result, result_);
    }
}

} // namespace ccad::fuzz
