/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace ccad::fuzz {

namespace {

/* More would be slow under the sanitizers, and tells no more. */
constexpr uint64_t most_content = 3 * page;

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

bool wraps(uint64_t va, uint64_t len)
{
    return len && va + (len - 1) < va;
}

} // namespace

Expectation::Expectation(Machine &machine, uint32_t pasid,
                         const ccad_desc &desc, const OnDemand &on_demand)
    : machine_(machine), pasid_(pasid), desc_(desc), on_demand_(on_demand)
{
    known_ = desc.opcode == CCAD_OP_COPY || desc.opcode == CCAD_OP_FILL ||
             desc.opcode == CCAD_OP_CRC32C || desc.opcode == CCAD_OP_COMPARE;
    if (!known_) {
        return;
    }
    if (valid()) {
        expect();
    } else {
        status_ = CCAD_COMP_INVALID_FIELD;
    }
}

bool Expectation::valid() const
{
    if (desc_.rsvd0 || desc_.rsvd1 || desc_.arg2 ||
        (desc_.flags & ~(CCAD_DESC_INTERRUPT | CCAD_DESC_NO_PAGE_REQUEST))) {
        return false;
    }
    bool src = desc_.opcode != CCAD_OP_FILL;
    bool dst = desc_.opcode != CCAD_OP_CRC32C;
    if ((src && wraps(desc_.src, desc_.len)) ||
        (dst && wraps(desc_.dst, desc_.len))) {
        return false;
    }
    if (desc_.opcode == CCAD_OP_COPY &&
        std::max(desc_.src, desc_.dst) - std::min(desc_.src, desc_.dst) <
            desc_.len) {
        return false;
    }
    return dst || desc_.arg <= UINT32_MAX;
}

Expectation::Reach Expectation::reach(uint64_t va, uint64_t len,
                                      bool write) const
{
    Reach reach{0, CCAD_COMP_SUCCESS, true};

    while (reach.bytes < len) {
        uint64_t at = va + reach.bytes;
        auto leaf = machine_.walk(pasid_, at);
        if (!leaf) {
            if ((desc_.flags & CCAD_DESC_NO_PAGE_REQUEST) ||
                !on_demand_(at & ~(page - 1))) {
                reach.status = CCAD_COMP_PAGE_FAULT;
                break;
            }
            reach.mapped = false;
        } else if (write && !leaf->write) {
            reach.status = CCAD_COMP_PAGE_FAULT;
            break;
        } else if (!machine_.backed(leaf->pa + at % leaf->size)) {
            reach.status = CCAD_COMP_BUS_ERROR;
            break;
        }
        reach.bytes += std::min(len - reach.bytes, page - at % page);
    }
    return reach;
}

void Expectation::expect()
{
    Reach src{desc_.len, CCAD_COMP_SUCCESS, true};
    Reach dst = src;

    if (desc_.opcode != CCAD_OP_FILL) {
        src = reach(desc_.src, desc_.len, false);
    }
    if (desc_.opcode != CCAD_OP_CRC32C) {
        dst = reach(desc_.dst, desc_.len, desc_.opcode != CCAD_OP_COMPARE);
    }
    bool of_src = src.bytes <= dst.bytes;
    done_ = std::min(src.bytes, dst.bytes);
    status_ = of_src ? src.status : dst.status;
    if (done_ == desc_.len) {
        status_ = CCAD_COMP_SUCCESS;
    } else {
        fault_addr_ = (of_src ? desc_.src : desc_.dst) + done_;
    }

    if (!src.mapped || !dst.mapped || done_ > most_content ||
        shares_frames()) {
        /* A difference would end a comparison early. */
        known_ = desc_.opcode != CCAD_OP_COMPARE;
        return;
    }
    content_ = true;
    switch (desc_.opcode) {
    case CCAD_OP_COPY:
        written_ = bytes(desc_.src, done_);
        break;
    case CCAD_OP_COMPARE: {
        auto ours = bytes(desc_.src, done_);
        auto theirs = bytes(desc_.dst, done_);
        auto differ =
            std::mismatch(ours.begin(), ours.end(), theirs.begin());
        result_ = static_cast<uint64_t>(differ.first - ours.begin());
        if (result_ < done_) {
            done_ = result_;
            status_ = CCAD_COMP_SUCCESS;
            fault_addr_ = 0;
        }
        break;
    }
    case CCAD_OP_FILL:
        for (uint64_t i = 0; i < done_; i++) {
            written_.push_back(
                static_cast<uint8_t>(desc_.arg >> (i % 8 * 8)));
        }
        break;
    case CCAD_OP_CRC32C:
        result_ = done_ ? crc32c(static_cast<uint32_t>(desc_.arg),
                                 bytes(desc_.src, done_))
                        : static_cast<uint32_t>(desc_.arg);
        break;
    }
}

/* Two pages of the operands in one frame: the order of bytes would show. */
bool Expectation::shares_frames() const
{
    std::vector<uint64_t> seen;
    auto add = [&](uint64_t va) {
        /* The last page may end with the address space. */
        uint64_t n = (va % page + done_ + page - 1) / page;
        for (uint64_t at = va & ~(page - 1); done_ && n; n--, at += page) {
            auto leaf = machine_.walk(pasid_, at);
            seen.push_back(leaf->pa + at % leaf->size);
        }
    };

    if (desc_.opcode == CCAD_OP_CRC32C || desc_.opcode == CCAD_OP_COMPARE) {
        return false;
    }
    if (desc_.opcode == CCAD_OP_COPY) {
        add(desc_.src);
    }
    add(desc_.dst);
    std::sort(seen.begin(), seen.end());
    return std::adjacent_find(seen.begin(), seen.end()) != seen.end();
}

std::vector<uint8_t> Expectation::bytes(uint64_t va, uint64_t len) const
{
    std::vector<uint8_t> bytes(len);

    for (uint64_t i = 0; i < len;) {
        uint64_t n = std::min(len - i, page - (va + i) % page);
        auto leaf = machine_.walk(pasid_, va + i);
        machine_.peek(leaf->pa + (va + i) % leaf->size, &bytes[i], n);
        i += n;
    }
    return bytes;
}

void Expectation::check(const ccad_completion &record) const
{
    if (!known_) {
        return;
    }
    if (record.status != status_ || record.bytes_done != done_ ||
        record.fault_addr != fault_addr_) {
        std::fprintf(stderr,
                     "opcode %u, flags %#x, src %#llx, dst %#llx, len %#llx: "
                     "status %u, bytes_done %#llx, fault_addr %#llx\n",
                     desc_.opcode, desc_.flags, desc_.src, desc_.dst,
                     desc_.len, record.status, record.bytes_done,
                     record.fault_addr);
        broken("a command does not end as expected", status_, done_);
    }
    if (!content_) {
        return;
    }
    if (bytes(desc_.dst, written_.size()) != written_) {
        broken("memory is not what the command makes it", desc_.dst, done_);
    }
    if ((desc_.opcode == CCAD_OP_CRC32C ||
         desc_.opcode == CCAD_OP_COMPARE) && record.result != result_) {
        broken("another result than expected", record.result, result_);
    }
}

} // namespace ccad::fuzz
