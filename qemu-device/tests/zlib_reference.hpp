/* SPDX-License-Identifier: GPL-2.0-or-later */
/* zlib in one piece, to compare with. */
#pragma once

#include <zlib.h>

#include <stdexcept>
#include <vector>

#include "ccad_hw.h"

namespace ccad::test {

inline int reference_window_bits(uint64_t format)
{
    return format == CCAD_FORMAT_GZIP  ? MAX_WBITS + 16
           : format == CCAD_FORMAT_RAW ? -MAX_WBITS
                                       : MAX_WBITS;
}

inline std::vector<uint8_t> reference_compress(std::vector<uint8_t> input,
                                               uint64_t format)
{
    z_stream stream{};
    deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
                 reference_window_bits(format), 8, Z_DEFAULT_STRATEGY);
    std::vector<uint8_t> output(
        deflateBound(&stream, static_cast<uLong>(input.size())));
    stream.next_in = input.data();
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = output.data();
    stream.avail_out = static_cast<uInt>(output.size());
    int result = deflate(&stream, Z_FINISH);
    output.resize(stream.total_out);
    deflateEnd(&stream);
    if (result != Z_STREAM_END) {
        throw std::runtime_error("zlib does not compress");
    }
    return output;
}

/* Of one stream that fills input. */
inline std::vector<uint8_t> reference_decompress(std::vector<uint8_t> input,
                                                 uint64_t format)
{
    z_stream stream{};
    inflateInit2(&stream, reference_window_bits(format));
    std::vector<uint8_t> output(1024 * 1024);
    stream.next_in = input.data();
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = output.data();
    stream.avail_out = static_cast<uInt>(output.size());
    int result = inflate(&stream, Z_FINISH);
    output.resize(stream.total_out);
    inflateEnd(&stream);
    if (result != Z_STREAM_END || stream.avail_in) {
        throw std::runtime_error("not a stream that zlib understands");
    }
    return output;
}

} // namespace ccad::test
