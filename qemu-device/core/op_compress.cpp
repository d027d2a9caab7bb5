/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * COMPRESS and DECOMPRESS, with zlib, piece by piece through windows.
 *
 * The state of zlib is no plain data, and is not saved.  A command that was
 * loaded makes it anew before it goes on: it reads again what it had read, and
 * drops what it had written, whose CRC says whether it is the same.
 */
#include <isa-l/crc.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <new>
#include <vector>

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

    /* Since the stream began; the sum is of the output. */
    uint64_t consumed() const { return consumed_; }
    uint64_t produced() const { return produced_; }
    uint32_t sum() const { return sum_; }

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
        uint64_t held = std::min<uint64_t>(held_.size(), out_size);
        Coded coded{0, 0, held_.size() > held || !ended_ ? Z_OK : Z_STREAM_END};

        std::copy_n(held_.begin(), held, out);
        held_.erase(held_.begin(), held_.begin() + static_cast<long>(held));
        if (held < out_size && !ended_) {
            coded = run(in, in_size, out + held, out_size - held, !in_size);
        }
        coded.produced += held;
        count(out, coded);
        return coded;
    }

    /*
     * The same for what had been coded before, of whose output so much is left;
     * what comes out beyond that is held for code().  False if it gets nowhere.
     */
    bool repeat(const uint8_t *in, uint64_t in_size, uint64_t left, bool end)
    {
        std::array<uint8_t, max_output> out;
        uint64_t room = out.size();

        if (!compresses_) {
            /* It stops where it did: as soon as it needs room or input. */
            room = std::min(room, left);
        }
        Coded coded = run(in, in_size, out.data(), room, end);
        ended_ = coded.result == Z_STREAM_END;
        bool moved = coded.consumed || coded.produced;
        uint64_t before = std::min(coded.produced, left);
        held_.insert(held_.end(), out.data() + before,
                     out.data() + coded.produced);
        count(out.data(), {coded.consumed, before, coded.result});
        return moved && (coded.result == Z_OK || (ended_ && compresses_));
    }

private:
    Coded run(const uint8_t *in, uint64_t in_size, uint8_t *out,
              uint64_t out_size, bool end)
    {
        stream_.next_in = const_cast<uint8_t *>(in);
        stream_.avail_in = static_cast<uInt>(in_size);
        stream_.next_out = out;
        stream_.avail_out = static_cast<uInt>(out_size);
        int result = compresses_
                         ? deflate(&stream_, end ? Z_FINISH : Z_NO_FLUSH)
                         : inflate(&stream_, Z_NO_FLUSH);
        if (result == Z_MEM_ERROR) {
            throw std::bad_alloc();
        }
        return {in_size - stream_.avail_in, out_size - stream_.avail_out,
                result};
    }

    void count(const uint8_t *out, const Coded &coded)
    {
        consumed_ += coded.consumed;
        produced_ += coded.produced;
        sum_ = crc32_iscsi(const_cast<uint8_t *>(out),
                           static_cast<int>(coded.produced), sum_);
    }

    z_stream stream_{};
    const bool compresses_;
    bool ended_ = false;
    std::vector<uint8_t> held_; /* output that comes before any other */
    uint64_t consumed_ = 0;
    uint64_t produced_ = 0;
    uint32_t sum_ = 0;
};

void CodecDelete::operator()(Codec *codec) const
{
    delete codec;
}

namespace {

bool behind(const Command &command)
{
    return command.codec->consumed() != command.done ||
           command.codec->produced() != command.value;
}

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
        command.progress.sum = command.codec->sum();
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

/* Bring the codec to where the command is. */
Stepped catch_up(Command &command, Operands &operands)
{
    const ccad_desc &desc = command.desc;
    Codec &codec = *command.codec;
    uint64_t consumed = codec.consumed();
    uint64_t left = command.done - consumed;
    uint64_t output = command.value - codec.produced();
    bool good;

    if (left) {
        OperandWindow src(operands, Operand::again, desc.src + consumed,
                          desc.len - consumed, false);
        if (!src) {
            return Stepped::blocked;
        }
        uint64_t size = std::min({src->size(), max_input(desc), left});
        good = codec.repeat(src->data(), size, output, false);
        if (codec.consumed() != consumed) {
            src->use(codec.consumed() - consumed);
        }
    } else {
        good = codec.repeat(nullptr, 0, output, !command.left());
    }
    if (behind(command) ? good : codec.sum() == command.progress.sum) {
        return Stepped::more;
    }
    return fail(command, CCAD_COMP_BAD_DATA);
}

Stepped step(Command &command, Operands &operands)
{
    uint64_t consumed = 0;
    uint64_t left = command.left();
    Stepped stepped;

    if (!command.codec) {
        command.codec.reset(new Codec(command.desc));
    }
    if (behind(command)) {
        return catch_up(command, operands);
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
