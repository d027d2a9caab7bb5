/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The translation cache by itself. */
#include "atc.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace ccad::test {

namespace {

Translation at(uint64_t va, uint64_t pa, uint64_t len = page_size,
               bool write = true)
{
    return {va, va + (len - 1), pa, true, write};
}

bool put(Atc &atc, uint32_t pasid, const Translation &entry)
{
    return atc.insert(atc.generation(), pasid, entry);
}

TEST(Atc, FindsWhatWasPutIn)
{
    Atc atc(64, 4);

    EXPECT_FALSE(atc.lookup(1, 0x5000, false));
    EXPECT_TRUE(put(atc, 1, at(0x5000, 0x99000)));
    auto found = atc.lookup(1, 0x5fff, false);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->pa, 0x99000);
    EXPECT_FALSE(atc.lookup(1, 0x4fff, false));
    EXPECT_FALSE(atc.lookup(1, 0x6000, false));
}

TEST(Atc, KeepsPasidsApart)
{
    Atc atc(64, 4);

    put(atc, 1, at(0x5000, 0x1000));
    put(atc, 2, at(0x5000, 0x2000));
    EXPECT_EQ(atc.lookup(1, 0x5000, true)->pa, 0x1000);
    EXPECT_EQ(atc.lookup(2, 0x5000, true)->pa, 0x2000);
    EXPECT_FALSE(atc.lookup(3, 0x5000, true));
}

TEST(Atc, ReadOnlyIsNoHitForAWrite)
{
    Atc atc(64, 4);

    put(atc, 1, at(0x5000, 0x1000, page_size, false));
    EXPECT_TRUE(atc.lookup(1, 0x5000, false));
    EXPECT_FALSE(atc.lookup(1, 0x5000, true));
    put(atc, 1, at(0x5000, 0x3000));
    EXPECT_EQ(atc.lookup(1, 0x5000, true)->pa, 0x3000);
    EXPECT_EQ(atc.lookup(1, 0x5000, false)->pa, 0x3000)
        << "the old one is replaced, not kept beside";
}

TEST(Atc, HoldsEverySizeAtOnce)
{
    Atc atc(16, 2);

    for (unsigned shift = 12; shift < 64; shift++) {
        Atc one(16, 2);
        uint64_t size = uint64_t{1} << shift;
        uint64_t va = shift < 63 ? size : 0;
        ASSERT_TRUE(put(one, 1, at(va, 0, size))) << shift;
        EXPECT_TRUE(one.lookup(1, va, true)) << shift;
        EXPECT_TRUE(one.lookup(1, va + (size - 1), true)) << shift;
        EXPECT_FALSE(one.lookup(1, va + size, true)) << shift;
    }
    put(atc, 1, at(0x40000000, 0x1'0000'0000, 1 << 30));
    put(atc, 1, at(0x200000, 0x2'0000'0000, 2 << 20));
    put(atc, 1, at(0x5000, 0x3'0000'0000));
    EXPECT_EQ(atc.lookup(1, 0x4abcd000, true)->pa, 0x1'0000'0000);
    EXPECT_EQ(atc.lookup(1, 0x212345, true)->pa, 0x2'0000'0000);
    EXPECT_EQ(atc.lookup(1, 0x5000, true)->pa, 0x3'0000'0000);
}

TEST(Atc, DropsTheLeastRecentlyUsedOfTheSet)
{
    Atc atc(4, 2);
    /* Of one set: four pages apart. */
    constexpr uint64_t a = 0x0000, b = 0x4000, c = 0x8000;

    put(atc, 0, at(a, 1 << 12));
    put(atc, 0, at(b, 2 << 12));
    atc.lookup(0, a, true);
    put(atc, 0, at(c, 3 << 12));
    EXPECT_TRUE(atc.lookup(0, a, true));
    EXPECT_FALSE(atc.lookup(0, b, true));
    EXPECT_TRUE(atc.lookup(0, c, true));
    put(atc, 0, at(0x1000, 4 << 12));
    EXPECT_TRUE(atc.lookup(0, a, true)) << "another set does not matter";
}

TEST(Atc, HoldsNoMoreThanItsCapacity)
{
    Atc atc(8, 4);
    unsigned hits = 0;

    for (uint64_t i = 0; i < 64; i++) {
        put(atc, 0, at(i * page_size, 0));
    }
    for (uint64_t i = 0; i < 64; i++) {
        hits += atc.lookup(0, i * page_size, false).has_value();
    }
    EXPECT_EQ(hits, atc.capacity());
    EXPECT_EQ(atc.capacity(), 32);
}

TEST(Atc, InvalidatesByPageAndPasid)
{
    Atc atc(64, 4);
    put(atc, 1, at(0x4000, 0));
    put(atc, 1, at(0x5000, 0));
    put(atc, 1, at(0x6000, 0));
    put(atc, 2, at(0x5000, 0));

    atc.invalidate(1, false, 0x5000, 0x5fff);

    EXPECT_FALSE(atc.lookup(1, 0x5000, false));
    EXPECT_TRUE(atc.lookup(1, 0x4000, false));
    EXPECT_TRUE(atc.lookup(1, 0x6000, false));
    EXPECT_TRUE(atc.lookup(2, 0x5000, false));
}

TEST(Atc, GlobalInvalidationIsForEveryPasid)
{
    Atc atc(64, 4);
    put(atc, 1, at(0x5000, 0));
    put(atc, 2, at(0x5000, 0));
    put(atc, 2, at(0x8000, 0));

    atc.invalidate(7, true, 0x5000, 0x5fff);

    EXPECT_FALSE(atc.lookup(1, 0x5000, false));
    EXPECT_FALSE(atc.lookup(2, 0x5000, false));
    EXPECT_TRUE(atc.lookup(2, 0x8000, false));
}

TEST(Atc, OnePageOfAHugeEntryInvalidatesItWhole)
{
    Atc atc(64, 4);
    put(atc, 1, at(0x200000, 0, 2 << 20));

    atc.invalidate(1, false, 0x3ff000, 0x3fffff);

    EXPECT_FALSE(atc.lookup(1, 0x200000, false));
}

TEST(Atc, EverythingCanBeInvalidated)
{
    Atc atc(64, 4);
    put(atc, 1, at(0, 0));
    put(atc, 1, at(UINT64_MAX - (page_size - 1), 0));

    atc.invalidate(1, false, 0, UINT64_MAX);

    EXPECT_FALSE(atc.lookup(1, 0, false));
    EXPECT_FALSE(atc.lookup(1, UINT64_MAX, false));
}

TEST(Atc, TakesNoAnswerOlderThanAnInvalidationOfItsPages)
{
    Atc atc(64, 4);
    uint64_t asked = atc.generation();

    atc.invalidate(1, false, 0x200000, 0x200fff);

    EXPECT_FALSE(atc.insert(asked, 1, at(0x200000, 0)));
    EXPECT_FALSE(atc.insert(asked, 1, at(0x200000, 0, 2 << 20)));
    EXPECT_FALSE(atc.lookup(1, 0x200000, false));
    EXPECT_TRUE(atc.insert(asked, 1, at(0x201000, 0))) << "another page";
    EXPECT_TRUE(atc.insert(asked, 2, at(0x200000, 0))) << "another PASID";
    EXPECT_TRUE(put(atc, 1, at(0x200000, 0))) << "asked for since";
}

TEST(Atc, TakesNoAnswerOlderThanAGlobalInvalidation)
{
    Atc atc(64, 4);
    uint64_t asked = atc.generation();

    atc.invalidate(0, true, 0, UINT64_MAX);

    EXPECT_FALSE(atc.insert(asked, 1, at(0x5000, 0)));
}

/* Too many invalidations to remember: better stale than wrong. */
TEST(Atc, AnAnswerOlderThanTheLogIsStale)
{
    Atc atc(64, 4);
    uint64_t asked = atc.generation();

    for (int i = 0; i < 64; i++) {
        atc.invalidate(2, false, 0, page_size - 1);
    }
    EXPECT_TRUE(atc.fresh(asked, 1, 0x5000, 0x5fff));
    atc.invalidate(2, false, 0, page_size - 1);
    EXPECT_FALSE(atc.fresh(asked, 1, 0x5000, 0x5fff));
    EXPECT_FALSE(atc.insert(asked, 1, at(0x5000, 0)));
}

TEST(Atc, AnswersThatMakeNoSenseAreNone)
{
    auto good = ccad_translation{0x5000, 0x1000, page_size, true, false};
    EXPECT_TRUE(Translation::from(good));

    auto absent = good;
    absent.read = false;
    EXPECT_FALSE(Translation::from(absent));
    auto small = good;
    small.len = 2048;
    EXPECT_FALSE(Translation::from(small));
    auto odd = good;
    odd.len = 3 * page_size;
    EXPECT_FALSE(Translation::from(odd));
    auto empty = good;
    empty.len = 0;
    EXPECT_FALSE(Translation::from(empty));
    auto crooked = good;
    crooked.len = 2 * page_size;
    EXPECT_FALSE(Translation::from(crooked)) << "va not aligned to len";
    crooked.va = 0x6000;
    EXPECT_FALSE(Translation::from(crooked)) << "pa not aligned to len";
}

/* Against a list of everything ever put in: a hit must be in the list. */
TEST(Atc, AgreesWithAModel)
{
    struct Known {
        uint32_t pasid;
        Translation entry;
    };
    std::mt19937_64 random(7);
    Atc atc(8, 2);
    std::vector<Known> model;
    unsigned hits = 0;

    for (uint64_t step = 1; step < 20000; step++) {
        uint32_t pasid = random() % 3;
        unsigned shift = random() % 4 ? 12 : 14 + random() % 3;
        uint64_t size = uint64_t{1} << shift;
        uint64_t va = (random() % 64 * page_size) & ~(size - 1);

        switch (random() % 8) {
        case 0:
        case 1: {
            Translation entry = at(va, step << 20, size, random() % 2);
            std::erase_if(model, [&](const Known &k) {
                return k.pasid == pasid && k.entry.first == entry.first &&
                       k.entry.last == entry.last;
            });
            model.push_back({pasid, entry});
            ASSERT_TRUE(put(atc, pasid, entry));
            break;
        }
        case 2: {
            bool global = random() % 4 == 0;
            uint64_t last =
                random() % 8 ? va + size - 1 : uint64_t{UINT64_MAX};
            std::erase_if(model, [&](const Known &k) {
                return (global || k.pasid == pasid) && k.entry.first <= last &&
                       va <= k.entry.last;
            });
            atc.invalidate(pasid, global, va, last);
            break;
        }
        default: {
            bool write = random() % 2;
            auto found = atc.lookup(pasid, va, write);
            if (!found) {
                break;
            }
            hits++;
            auto same = [&](const Known &k) {
                return k.pasid == pasid && k.entry.pa == found->pa &&
                       k.entry.first == found->first &&
                       k.entry.last == found->last && k.entry.covers(va) &&
                       k.entry.allows(write);
            };
            ASSERT_TRUE(std::any_of(model.begin(), model.end(), same))
                << "step " << step;
        }
        }
    }
    EXPECT_GT(hits, 500u);
}

} // namespace

} // namespace ccad::test
