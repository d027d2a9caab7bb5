/* SPDX-License-Identifier: GPL-2.0-or-later */
/* COMPRESS and DECOMPRESS, against zlib in one piece. */
#include <zlib.h>

#include <random>

#include "commands.hpp"
#include "zlib_reference.hpp"

namespace ccad::test {

namespace {

constexpr uint64_t formats[] = {CCAD_FORMAT_ZLIB, CCAD_FORMAT_GZIP,
                                CCAD_FORMAT_RAW};

/* Something like text: compressible, but not to nothing. */
std::vector<uint8_t> text(uint64_t len, uint32_t seed = 1)
{
    static const char *const words[] = {"coherent ", "device ", "memory ",
                                        "page ",     "fault ",  "node "};
    std::mt19937 random(seed);
    std::vector<uint8_t> bytes;

    while (bytes.size() < len) {
        const char *word = words[random() % std::size(words)];
        bytes.insert(bytes.end(), word, word + std::strlen(word));
        bytes.push_back(static_cast<uint8_t>(random() % 64));
    }
    bytes.resize(len);
    return bytes;
}

class Compress : public DeviceTest {
protected:
    static constexpr uint64_t room = 512 * 1024;

    void prepare(const std::vector<uint8_t> &input, uint64_t offset = 0)
    {
        host.populate(pasid, src_va, offset + input.size() + 1);
        host.populate(pasid, dst_va, room + page, true);
        store(host, src_va + offset, input);
    }

    Queue queue = device.queue();
};

TEST_F(Compress, GivesWhatZlibUnderstands)
{
    for (uint64_t format : formats) {
        for (const auto &input :
             {std::vector<uint8_t>{}, text(1), text(100), text(300'000),
              random_bytes(70'000), std::vector<uint8_t>(400'000)}) {
            prepare(input, 77);
            auto record =
                queue.run(compress(src_va + 77, input.size(), dst_va + 33,
                                   room, format));
            EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
            EXPECT_EQ(record.bytes_done, input.size());
            EXPECT_EQ(record.bytes_local, record.result) << "the output";
            auto output = load(host, dst_va + 33, record.result);
            EXPECT_EQ(reference_decompress(output, format), input);
        }
    }
}

TEST_F(Compress, LevelsDiffer)
{
    auto input = text(200'000);
    prepare(input);

    uint64_t by_level[10];
    for (uint64_t level = 0; level <= 9; level++) {
        auto record = queue.run(
            compress(src_va, input.size(), dst_va, room, CCAD_FORMAT_RAW,
                     level));
        ASSERT_EQ(record.status, CCAD_COMP_SUCCESS);
        by_level[level] = record.result;
        auto output = load(host, dst_va, record.result);
        EXPECT_EQ(reference_decompress(output, CCAD_FORMAT_RAW), input);
    }
    EXPECT_GT(by_level[1], by_level[9]);
    EXPECT_EQ(by_level[0], by_level[6]) << "the default";
}

TEST_F(Compress, EndsWhenTheRoomDoes)
{
    auto input = text(100'000);
    prepare(input);
    ccad_desc desc = compress(src_va, input.size(), dst_va, room);
    uint64_t size = queue.run(desc).result;
    store(host, dst_va, std::vector<uint8_t>(room, 0xee));

    desc.arg = size;
    EXPECT_EQ(queue.run(desc).status, CCAD_COMP_SUCCESS) << "fits exactly";
    for (uint64_t less : {uint64_t{1}, uint64_t{4}, size / 2, size}) {
        store(host, dst_va, std::vector<uint8_t>(room, 0xee));
        desc.arg = size - less;
        auto record = queue.run(desc);
        EXPECT_EQ(record.status, CCAD_COMP_NO_ROOM);
        EXPECT_EQ(record.result, size - less);
        EXPECT_EQ(record.fault_addr, 0);
        EXPECT_EQ(load(host, dst_va + size - less, page),
                  std::vector<uint8_t>(page, 0xee));
    }
}

TEST_F(Compress, DecompressesWhatZlibGives)
{
    for (uint64_t format : formats) {
        for (const auto &plain :
             {std::vector<uint8_t>{}, text(1), text(300'000),
              random_bytes(70'000), std::vector<uint8_t>(400'000)}) {
            auto input = reference_compress(plain, format);
            prepare(input, 4090);
            auto record =
                queue.run(decompress(src_va + 4090, input.size(), dst_va + 1,
                                     plain.size(), format));
            EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
            EXPECT_EQ(record.bytes_done, input.size());
            EXPECT_EQ(record.result, plain.size());
            EXPECT_EQ(load(host, dst_va + 1, plain.size()), plain);
        }
    }
}

TEST_F(Compress, ThroughShortMappings)
{
    auto plain = text(20'000);
    auto input = reference_compress(plain, CCAD_FORMAT_GZIP);
    prepare(input, 5);
    host.map_limit = 67;

    auto record = queue.run(decompress(src_va + 5, input.size(), dst_va,
                                       room, CCAD_FORMAT_GZIP));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(load(host, dst_va, plain.size()), plain);

    host.map_limit = UINT64_MAX;
    prepare(plain, 5);
    host.map_limit = 67;
    record = queue.run(compress(src_va + 5, plain.size(), dst_va, room));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(reference_decompress(load(host, dst_va, record.result),
                                   CCAD_FORMAT_ZLIB),
              plain);
}

/* What follows the stream is the next one's, and not touched. */
TEST_F(Compress, DecompressesOneStream)
{
    auto first = reference_compress(text(5000, 1), CCAD_FORMAT_GZIP);
    auto second = reference_compress(text(6000, 2), CCAD_FORMAT_GZIP);
    auto both = first;
    both.insert(both.end(), second.begin(), second.end());
    prepare(both);

    auto record = queue.run(
        decompress(src_va, both.size(), dst_va, room, CCAD_FORMAT_GZIP));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(record.bytes_done, first.size());
    EXPECT_EQ(record.result, 5000);
    record = queue.run(decompress(src_va + first.size(), second.size(),
                                  dst_va, room, CCAD_FORMAT_GZIP));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    EXPECT_EQ(load(host, dst_va, 6000), text(6000, 2));
}

TEST_F(Compress, DecompressionEndsWhenTheRoomDoes)
{
    auto plain = text(100'000);
    for (uint64_t format : formats) {
        auto input = reference_compress(plain, format);
        prepare(input);
        for (uint64_t size : {0, 1, 4096, 99'999}) {
            store(host, dst_va, std::vector<uint8_t>(room, 0xee));
            auto record = queue.run(
                decompress(src_va, input.size(), dst_va, size, format));
            EXPECT_EQ(record.status, CCAD_COMP_NO_ROOM);
            EXPECT_EQ(record.result, size);
            EXPECT_EQ(load(host, dst_va + size, page),
                      std::vector<uint8_t>(page, 0xee));
        }
    }
}

TEST_F(Compress, BadData)
{
    auto plain = text(50'000);
    for (uint64_t format : formats) {
        auto good = reference_compress(plain, format);
        auto run = [&](const std::vector<uint8_t> &input) {
            prepare(input);
            auto record = queue.run(
                decompress(src_va, input.size(), dst_va, room, format));
            EXPECT_LE(record.bytes_done, input.size());
            EXPECT_EQ(record.fault_addr, 0);
            return record.status;
        };

        EXPECT_EQ(run({}), CCAD_COMP_BAD_DATA) << "no stream";
        for (size_t len : {size_t{1}, good.size() / 2, good.size() - 1}) {
            std::vector<uint8_t> cut(good.begin(),
                                     good.begin() +
                                         static_cast<ptrdiff_t>(len));
            EXPECT_EQ(run(cut), CCAD_COMP_BAD_DATA) << "cut off at " << len;
        }
        if (format != CCAD_FORMAT_RAW) {
            auto damaged = good;
            damaged[damaged.size() - 3] ^= 1;
            EXPECT_EQ(run(damaged), CCAD_COMP_BAD_DATA) << "check sum";
            damaged = good;
            damaged[0] ^= 1;
            EXPECT_EQ(run(damaged), CCAD_COMP_BAD_DATA) << "header";
        }
        EXPECT_EQ(run(std::vector<uint8_t>(100, 0xff)), CCAD_COMP_BAD_DATA);
        EXPECT_EQ(run(good), CCAD_COMP_SUCCESS) << "and after that";
    }
    /* zlib's header asks for a dictionary, which nobody has. */
    prepare({0x78, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8});
    EXPECT_EQ(queue.run(decompress(src_va, 10, dst_va, room)).status,
              CCAD_COMP_BAD_DATA);
}

TEST_F(Compress, AnyInputEnds)
{
    for (uint32_t seed = 0; seed < 300; seed++) {
        auto input = seed % 2 ? random_bytes(2000, seed)
                              : reference_compress(text(5000, seed),
                                                   formats[seed % 3]);
        if (seed % 2 == 0) {
            input[seed % input.size()] ^= static_cast<uint8_t>(1 + seed);
        }
        prepare(input);
        auto record = queue.run(decompress(src_va, input.size(), dst_va, 9000,
                                           formats[seed % 3]));
        EXPECT_TRUE(record.status == CCAD_COMP_SUCCESS ||
                    record.status == CCAD_COMP_BAD_DATA ||
                    record.status == CCAD_COMP_NO_ROOM);
        EXPECT_LE(record.result, 9000);
    }
}

TEST_F(Compress, BadFields)
{
    constexpr uint64_t top = UINT64_MAX;
    prepare(text(page));

    for (ccad_desc desc :
         {compress(src_va, 100, dst_va, room, CCAD_FORMAT_RAW + 1),
          compress(src_va, 100, dst_va, room, CCAD_FORMAT_ZLIB, 10),
          compress(src_va, 100, dst_va, room, CCAD_FORMAT_ZLIB, 1 << 20),
          compress(src_va, 100, src_va + 99, room),
          compress(src_va, 100, src_va - 99, 100),
          compress(top - 98, 100, dst_va, room),
          compress(src_va, 100, dst_va, top),
          decompress(src_va, 100, dst_va, room, 255),
          decompress(src_va, 100, dst_va, room,
                     CCAD_FORMAT_ZLIB | 1 << CCAD_FORMAT_LEVEL_SHIFT),
          decompress(src_va, 100, src_va + 99, room),
          decompress(src_va, 100, top - 98, 100)}) {
        auto record = queue.run(desc);
        EXPECT_EQ(record.status, CCAD_COMP_INVALID_FIELD);
        EXPECT_EQ(record.translations, 0);
    }
    EXPECT_EQ(queue.run(compress(src_va, 100, src_va + 100, 200)).status,
              CCAD_COMP_SUCCESS);
}

TEST_F(Compress, FaultsExactly)
{
    auto input = random_bytes(5 * page);
    prepare(input, 100);
    host.release(pasid, src_va + 2 * page);
    auto record = queue.run(without_page_requests(
        compress(src_va + 100, input.size(), dst_va, room)));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_READ);
    EXPECT_EQ(record.fault_addr, src_va + 2 * page);
    EXPECT_EQ(record.bytes_done, 2 * page - 100);

    prepare(input, 100);
    host.release(pasid, dst_va + page);
    record = queue.run(without_page_requests(
        compress(src_va + 100, input.size(), dst_va + 10, room)));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_WRITE);
    EXPECT_EQ(record.fault_addr, dst_va + page);
    EXPECT_EQ(record.result, page - 10);

    auto packed = reference_compress(text(3 * page), CCAD_FORMAT_ZLIB);
    host.populate(pasid, dst_va, room);
    prepare(packed);
    host.release(pasid, dst_va + 2 * page);
    record = queue.run(without_page_requests(
        decompress(src_va, packed.size(), dst_va + 10, room)));
    EXPECT_EQ(record.status, CCAD_COMP_PAGE_FAULT);
    EXPECT_EQ(record.access, CCAD_ACCESS_WRITE);
    EXPECT_EQ(record.fault_addr, dst_va + 2 * page);
    EXPECT_EQ(record.result, 2 * page - 10);
}

TEST_F(Compress, PagesOfTheOutputAreRequested)
{
    auto input = random_bytes(300'000);
    host.populate(pasid, src_va, input.size());
    store(host, src_va, input);
    host.add_region(pasid, {dst_va, room});

    auto record = queue.run(compress(src_va, input.size(), dst_va, room));
    EXPECT_EQ(record.status, CCAD_COMP_SUCCESS);
    uint64_t pages = (record.result + page - 1) / page;
    EXPECT_GE(record.page_requests, pages);
    EXPECT_LT(record.page_requests,
              pages + small_config().page_request_group)
        << "a group may reach into the room that is left";
    EXPECT_EQ(reference_decompress(load(host, dst_va, record.result),
                                   CCAD_FORMAT_ZLIB),
              input);
}

} // namespace

} // namespace ccad::test
