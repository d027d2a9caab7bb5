/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands whose memory says where they go. */
#include <algorithm>
#include <unordered_map>

#include "model.hpp"
#include "model_fold.hpp"

namespace ccad::fuzz {

namespace {

/* Elements or nodes: beyond these it is not followed. */
constexpr uint64_t most_followed = 512;

} // namespace

void Expectation::gather()
{
    const uint64_t index_size = desc_.arg2 & CCAD_GATHER_INDEX64 ? 8 : 4;
    const uint64_t shift = desc_.arg2 & CCAD_GATHER_ELEMENT_MASK;
    const uint64_t count = desc_.len / index_size;

    if (desc_.arg2 & ~uint64_t{CCAD_GATHER_ELEMENT_MASK |
                               CCAD_GATHER_INDEX64} ||
        shift > 6 || desc_.len % index_size || count > UINT64_MAX >> shift ||
        wraps(desc_.src, desc_.len) || wraps(desc_.dst, count << shift)) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }
    const uint64_t element = uint64_t{1} << shift;
    const uint64_t whole = count << shift;
    /* An empty range lies in none. */
    if (desc_.src < desc_.dst ? desc_.dst - desc_.src < desc_.len && whole
                              : desc_.src - desc_.dst < whole && desc_.len) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }

    std::vector<std::pair<uint64_t, uint64_t>> reads;
    auto follow = [&](uint64_t i) {
        uint64_t index_va = desc_.src + i * index_size;
        if (!access(index_va, index_size, false)) {
            return false;
        }
        if (!mapped_) {
            return true; /* who knows what is there */
        }
        uint64_t index = number(index_va, index_size);
        uint64_t va = desc_.arg + (index << shift);
        bool good = index <= UINT64_MAX >> shift && va >= desc_.arg &&
                    !wraps(va, element);
        if (good) {
            reads.push_back({va, element});
        }
        for (uint64_t j = 0; j < element; j++) {
            /* The destination comes first, then what is to go there. */
            uint64_t to = desc_.dst + i * element + j;
            if ((!j || to % page == 0) && !access(to, 1, true)) {
                return false;
            }
            if (!good) {
                return fail(CCAD_COMP_INVALID_FIELD, index_va);
            }
            if ((!j || (va + j) % page == 0) && !access(va + j, 1, false)) {
                return false;
            }
        }
        done_ += index_size;
        result_++;
        return true;
    };
    for (uint64_t i = 0; i < count && mapped_; i++) {
        if (i == most_followed) {
            known_ = false;
            return;
        }
        if (!follow(i)) {
            break;
        }
    }
    known_ = mapped_;
    if (!known_) {
        return;
    }
    /* What it writes must not be what it reads. */
    uint64_t bytes_written = result_ * element;
    content_ = distinct({{desc_.src, done_}}, desc_.dst, bytes_written);
    for (size_t i = 0; content_ && i < result_; i++) {
        content_ = distinct({reads[i]}, desc_.dst, bytes_written);
    }
    if (!content_) {
        known_ = status_ == CCAD_COMP_INVALID_FIELD && !done_;
        return;
    }
    for (size_t i = 0; i < result_; i++) {
        auto one = bytes(reads[i].first, element);
        written_.insert(written_.end(), one.begin(), one.end());
    }
}

void Expectation::list_walk()
{
    const uint64_t next = desc_.arg2 & UINT32_MAX;
    const uint64_t field = desc_.arg2 >> CCAD_LIST_FIELD_SHIFT;
    auto fold = Fold::of(desc_.arg);
    std::unordered_map<uint64_t, size_t> seen;

    if (!fold) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }
    for (uint64_t node = desc_.src;; done_++) {
        folds_.push_back(fold->result());
        result_ = fold->result();
        content_ = true;
        if (!node) {
            return;
        }
        /* First: after as many nodes as allowed it may be known already. */
        if (auto again = seen.find(node); again != seen.end()) {
            round_ = true;
            back_to_ = again->second;
            return;
        }
        if (done_ == desc_.len) {
            fail(CCAD_COMP_LIMIT, node);
            return;
        }
        if (done_ == most_followed) {
            known_ = false;
            return;
        }
        if (wraps(node, next + 8) || wraps(node, field + fold->element())) {
            fail(CCAD_COMP_INVALID_FIELD, node);
            return;
        }
        if (!access(node + next, 8, false)) {
            known_ = mapped_;
            return;
        }
        if (!access(node + field, fold->element(), false)) {
            known_ = mapped_;
            return;
        }
        if (!mapped_) {
            known_ = false;
            return;
        }
        seen.emplace(node, nodes_.size());
        nodes_.push_back(node);
        fold->add(bytes(node + field, fold->element()).data());
        node = number(node + next, 8);
    }
}

/*
 * It goes round, which is found out within three times the nodes there are, if
 * it is allowed as many.
 */
void Expectation::check_cycle(const ccad_completion &record) const
{
    const size_t nodes = nodes_.size();
    const size_t lap = nodes - back_to_;
    auto wrapped = [&](uint64_t n) {
        return n < nodes ? n : back_to_ + (n - back_to_) % lap;
    };

    if (record.status == CCAD_COMP_LIMIT) {
        if (desc_.len >= 3 * nodes || record.bytes_done != desc_.len) {
            broken("a list that goes round is not found out", nodes,
                   record.bytes_done);
        }
    } else if (record.status != CCAD_COMP_CYCLE || record.bytes_done < nodes ||
               record.bytes_done > 3 * nodes ||
               record.bytes_done > desc_.len) {
        broken("a list that goes round ends otherwise", record.status,
               record.bytes_done);
    }
    if (record.fault_addr != nodes_[wrapped(record.bytes_done)]) {
        broken("a list ends at another node", record.fault_addr);
    }

    auto fold = Fold::of(desc_.arg);
    const uint64_t field = desc_.arg2 >> CCAD_LIST_FIELD_SHIFT;
    for (uint64_t i = 0; i < record.bytes_done; i++) {
        fold->add(bytes(nodes_[wrapped(i)] + field, fold->element()).data());
    }
    if (record.result != fold->result()) {
        broken("another result than expected", record.result, fold->result());
    }
}

void Expectation::copy_pages()
{
    if (desc_.arg < 12 || desc_.arg > 30 ||
        desc_.src % sizeof(ccad_page_copy) ||
        desc_.len % sizeof(ccad_page_copy) || wraps(desc_.src, desc_.len)) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }

    const uint64_t size = uint64_t{1} << desc_.arg;
    /* Pages as they are by then: a page copied may be read again. */
    auto frame = [this](uint64_t pa) {
        return std::find_if(frames_.begin(), frames_.end(),
                            [pa](auto &f) { return f.first == pa; });
    };
    auto read = [&](uint64_t pa, uint64_t len) {
        auto found = frame(pa & ~(page - 1));
        if (found == frames_.end()) {
            return bytes(pa, len);
        }
        auto from = found->second.begin() +
                    static_cast<ptrdiff_t>(pa % page);
        return std::vector<uint8_t>(from, from + static_cast<ptrdiff_t>(len));
    };

    content_ = true;
    for (; done_ < desc_.len; done_ += sizeof(ccad_page_copy), result_++) {
        uint64_t entry_va = desc_.src + done_;
        ccad_page_copy entry;

        if (result_ == 8) {
            known_ = false;
            return;
        }
        if (!access(entry_va, sizeof(entry), false)) {
            return;
        }
        auto raw = read(entry_va, sizeof(entry));
        std::copy(raw.begin(), raw.end(), reinterpret_cast<uint8_t *>(&entry));
        if (entry.src % size || entry.dst % size) {
            fail(CCAD_COMP_INVALID_FIELD, entry_va);
            return;
        }
        for (uint64_t at = 0; at < size; at += page) {
            if (!access(entry.src + at, 1, false) ||
                !access(entry.dst + at, 1, true)) {
                return;
            }
            auto data = read(entry.src + at, page);
            auto found = frame(entry.dst + at);
            if (found == frames_.end()) {
                frames_.push_back({entry.dst + at, data});
            } else {
                found->second = data;
            }
        }
    }
}

} // namespace ccad::fuzz
