/* SPDX-License-Identifier: GPL-2.0-or-later */
/* COMPRESS and DECOMPRESS: what comes out is what went in, with zlib at once. */
#include <zlib.h>

#include "model.hpp"

namespace ccad::fuzz {

namespace {

int window_bits(uint64_t arg2)
{
    switch (arg2 & 0xff) {
    case CCAD_FORMAT_GZIP:
        return MAX_WBITS + 16;
    case CCAD_FORMAT_RAW:
        return -MAX_WBITS;
    default:
        return MAX_WBITS;
    }
}

struct Inflated {
    int result; /* as of zlib: the end, or what kept it from there */
    uint64_t consumed;
    std::vector<uint8_t> output;
};

Inflated inflate_all(const std::vector<uint8_t> &input, uint64_t arg2,
                     uint64_t room)
{
    z_stream stream{};
    std::vector<uint8_t> output(room);
    uint8_t nothing = 0;

    inflateInit2(&stream, window_bits(arg2));
    stream.next_in = const_cast<uint8_t *>(input.empty() ? &nothing
                                                         : input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = output.data();
    stream.avail_out = static_cast<uInt>(room);
    int result = inflate(&stream, Z_FINISH);
    output.resize(stream.total_out);
    uint64_t consumed = stream.total_in;
    inflateEnd(&stream);
    return {result, consumed, output};
}

bool good_fields(const ccad_desc &desc, uint64_t max_level)
{
    if ((desc.arg2 & 0xff) > CCAD_FORMAT_RAW ||
        desc.arg2 >> CCAD_FORMAT_LEVEL_SHIFT > max_level ||
        wraps(desc.src, desc.len) || wraps(desc.dst, desc.arg)) {
        return false;
    }
    return desc.src < desc.dst
               ? desc.dst - desc.src >= desc.len || !desc.arg
               : desc.src - desc.dst >= desc.arg || !desc.len;
}

} // namespace

/* Where it stops early depends on what zlib holds back: then nothing is said. */
void Expectation::compress()
{
    if (!good_fields(desc_, 9)) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }
    known_ = desc_.len && desc_.len <= most_content &&
             desc_.arg <= 2 * most_content &&
             access(desc_.src, desc_.len, false) &&
             access(desc_.dst, desc_.arg, true) && mapped_ &&
             distinct({{desc_.src, desc_.len}}, desc_.dst, desc_.arg);
    if (known_) {
        content_ = true;
        input_ = bytes(desc_.src, desc_.len);
    }
}

void Expectation::check_compressed(const ccad_completion &record) const
{
    if (record.status == CCAD_COMP_NO_ROOM) {
        /* More than stored blocks, header and check sum ever take. */
        if (desc_.arg >= desc_.len + desc_.len / 1000 + 64) {
            broken("no room where there was enough", desc_.len, desc_.arg);
        }
        return;
    }
    if (record.status != CCAD_COMP_SUCCESS || record.fault_addr ||
        record.bytes_done != desc_.len || record.result > desc_.arg) {
        broken("a compression does not end as expected", record.status,
               record.bytes_done);
    }
    auto back = inflate_all(bytes(desc_.dst, record.result), desc_.arg2,
                            desc_.len + 1);
    if (back.result != Z_STREAM_END || back.consumed != record.result ||
        back.output != input_) {
        broken("what was compressed does not come back", record.result);
    }
}

void Expectation::decompress()
{
    if (!good_fields(desc_, 0)) {
        fail(CCAD_COMP_INVALID_FIELD, 0);
        return;
    }
    known_ = desc_.len <= most_content && desc_.arg <= 2 * most_content &&
             access(desc_.src, desc_.len, false) &&
             access(desc_.dst, desc_.arg, true) && mapped_ &&
             distinct({{desc_.src, desc_.len}}, desc_.dst, desc_.arg);
    if (!known_) {
        return;
    }
    /* One byte more than there is room for: whether it would be written. */
    auto all = inflate_all(bytes(desc_.src, desc_.len), desc_.arg2,
                           desc_.arg + 1);
    if (all.result == Z_STREAM_END && all.output.size() <= desc_.arg) {
        fail(CCAD_COMP_SUCCESS, 0);
        done_ = all.consumed;
        content_ = true;
        result_ = all.output.size();
        written_ = all.output;
    } else {
        fails_as_ = all.output.size() > desc_.arg ? CCAD_COMP_NO_ROOM
                                                  : CCAD_COMP_BAD_DATA;
    }
}

} // namespace ccad::fuzz
