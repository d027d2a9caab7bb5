/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * COMPRESS and DECOMPRESS, with zlib, piece by piece through windows.
 *
 * The state of zlib is no plain data, so that a command in flight can go on
 * where it stopped only in this process; to be saved it begins anew, which
 * gives the same since source and destination do not overlap.
 */
#include <zlib.h>

#include <algorithm>
#include <new>

#include "command.hpp"

namespace ccad {

namespace {

/* The most output of a step, which is done under the gate. */
constexpr uint64_t max_output = 16 * 1024;

struct Format {
    explicit Format(const ccad_desc &desc)
        : format(desc.arg2 % (1 << CCAD_FORMAT_LEVEL_SHIFT)),
          level(desc.arg2 >> CCAD_FORMAT_LEVEL_SHIFT)
    {
    }

    /* What zlib takes for the size of the window says the format, too. */
    int window_bits() const
    {
        switch (format) {
        case CCAD_FORMAT_GZIP:
            return MAX_WBITS + 16;
        case CCAD_FORMAT_RAW:
            return -MAX_WBITS;
        default:
            return MAX_WBITS;
        }
    }

    uint64_t format;
    uint64_t level;
};

/*
 * The most input of a step.  The levels above zlib's default look at up to 4096
 * earlier places for each byte: there are inputs of which they compress 200
 * KB/s, the others 6 MB/s.
 */
uint64_t max_input(const ccad_desc &desc)
{
    if (desc.opcode == CCAD_OP_DECOMPRESS) {
        return 4096;
    }
    return Format(desc).level > 6 ? 256 : 1024;
}

bool check(const ccad_desc &desc, uint64_t max_level)
{
    Format format(desc);

    return format.format <= CCAD_FORMAT_RAW && format.level <= max_level &&
           !wraps(desc.src, desc.len) && !wraps(desc.dst, desc.arg) &&
           !overlaps(desc.src, desc.len, desc.dst, desc.arg);
}

bool check_compress(const ccad_desc &desc)
{
    return check(desc, Z_BEST_COMPRESSION);
}

bool check_decompress(const ccad_desc &desc)
{
    return check(desc, 0);
}

} // namespace

class Codec {
public:
    explicit Codec(const ccad_desc &desc)
        : compresses_(desc.opcode == CCAD_OP_COMPRESS)
    {
        Format format(desc);
        int level = format.level ? static_cast<int>(format.level)
                                 : Z_DEFAULT_COMPRESSION;
        int error = compresses_
                        ? deflateInit2(&stream_, level, Z_DEFLATED,
                                       format.window_bits(), MAX_MEM_LEVEL - 1,
                                       Z_DEFAULT_STRATEGY)
                        : inflateInit2(&stream_, format.window_bits());
        if (error != Z_OK) {
            throw std::bad_alloc();
        }
    }
    ~Codec() { compresses_ ? deflateEnd(&stream_) : inflateEnd(&stream_); }
    Codec(const Codec &) = delete;
    Codec &operator=(const Codec &) = delete;

    /* What a call of code() did. */
    struct Coded {
        uint64_t consumed;
        uint64_t produced;
        int result; /* as of zlib */
    };

    /* Without input the end is meant. */
    Coded code(const uint8_t *in, uint64_t in_size, uint8_t *out,
               uint64_t out_size)
    {
        stream_.next_in = const_cast<uint8_t *>(in);
        stream_.avail_in = static_cast<uInt>(in_size);
        stream_.next_out = out;
        stream_.avail_out = static_cast<uInt>(out_size);
        int result = compresses_
                         ? deflate(&stream_, in_size ? Z_NO_FLUSH : Z_FINISH)
                         : inflate(&stream_, Z_NO_FLUSH);
        if (result == Z_MEM_ERROR) {
            throw std::bad_alloc();
        }
        return {in_size - stream_.avail_in, out_size - stream_.avail_out,
                result};
    }

private:
    z_stream stream_{};
    const bool compresses_;
};

void CodecDelete::operator()(Codec *codec) const
{
    delete codec;
}

namespace {

struct Input {
    const uint8_t *data;
    uint64_t size;
};

/* Code some of the input, or what zlib still holds; consumed says how much. */
Stepped code(Command &command, Operands &operands, const Input &input,
             uint64_t &consumed)
{
    const ccad_desc &desc = command.desc;
    uint64_t room = desc.arg - command.value;
    Codec::Coded coded;

    if (room) {
        uint64_t va = desc.dst + command.value;
        OperandWindow dst(operands, Operand::dst, va, room, true);
        if (!dst) {
            return Stepped::blocked;
        }
        coded = command.codec->code(input.data, input.size, dst->data(),
                                    std::min(dst->size(), max_output));
        if (coded.produced) {
            dst->use(coded.produced);
        }
        command.value += coded.produced;
    } else {
        /* The stream may end here all the same, with its check sum. */
        uint8_t excess;
        coded = command.codec->code(input.data, input.size, &excess,
                                    sizeof(excess));
        if (coded.produced) {
            consumed = coded.consumed;
            return fail(command, CCAD_COMP_NO_ROOM);
        }
    }
    consumed = coded.consumed;

    switch (coded.result) {
    case Z_OK:
        return Stepped::more;
    case Z_STREAM_END:
        return Stepped::ended;
    default:
        /* Z_BUF_ERROR: nothing comes out any more, the input was cut off. */
        return fail(command, CCAD_COMP_BAD_DATA);
    }
}

Stepped step(Command &command, Operands &operands)
{
    uint64_t consumed = 0;
    uint64_t left = command.left();
    Stepped stepped;

    if (!command.codec) {
        command.codec.reset(new Codec(command.desc));
    }
    if (!left) {
        return code(command, operands, {nullptr, 0}, consumed);
    }

    uint64_t va = command.desc.src + command.done;
    OperandWindow src(operands, Operand::src, va, left, false);
    if (!src) {
        return Stepped::blocked;
    }
    uint64_t size = std::min(src->size(), max_input(command.desc));
    stepped = code(command, operands, {src->data(), size}, consumed);
    if (consumed) {
        src->use(consumed);
        command.done += consumed;
    }
    return stepped;
}

} // namespace

const Opcode opcode_compress = {
    .check = check_compress,
    .step = step,
    .uses_arg2 = true,
};
const Opcode opcode_decompress = {
    .check = check_decompress,
    .step = step,
    .uses_arg2 = true,
};

} // namespace ccad
