// Answers on their way, at each of the bounds.
#include "session/answer_box.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "support/allocations.hpp"

using namespace rp::handoff;
using namespace rp::handoff::session;

namespace {

using Verdict = Answer::Verdict;
constexpr std::size_t room_of_frame = max_answers_frame - header_size;
constexpr std::size_t all_texts = std::size_t{16} * 1024;

struct Item {
    std::uint32_t slot;
    Verdict verdict;
    std::uint64_t ticket;
    std::string text;
};
std::vector<Item> items_of(const AnswerBox::Some &some) {
    std::vector<Item> items;
    ByteView rest = some.bytes;
    while (!rest.empty()) {
        const Result<Answer> answer = next_answer(rest);
        REQUIRE(answer);
        items.push_back({answer->slot, answer->verdict, answer->ticket, std::string(answer->text)});
    }
    CHECK(items.size() == some.count);
    return items;
}
std::vector<Item> all_of(AnswerBox &box) {
    std::vector<Item> all;
    while (!box.empty()) {
        const AnswerBox::Some some = box.first();
        REQUIRE(some.count > 0);
        CHECK(some.bytes.size() <= room_of_frame);
        for (Item &item : items_of(some)) {
            all.push_back(std::move(item));
        }
        box.drop(some);
    }
    return all;
}

} // namespace

TEST_CASE("answers leave in the order in which they were given, with all that they say") {
    AnswerBox box(4);
    CHECK(box.empty());
    CHECK(box.add(3, 77, Verdict::refused, "no room"));
    CHECK(box.add(0, 78, Verdict::adopted, {}));
    CHECK_FALSE(box.empty());
    const std::vector<Item> all = all_of(box);
    REQUIRE(all.size() == 2);
    CHECK((all[0].slot == 3 && all[0].ticket == 77 && all[0].verdict == Verdict::refused && all[0].text == "no room"));
    CHECK((all[1].slot == 0 && all[1].ticket == 78 && all[1].verdict == Verdict::adopted && all[1].text.empty()));
    CHECK(box.empty());
}

TEST_CASE("a frame takes as many answers as fit exactly, and one byte more makes it two frames") {
    constexpr std::size_t plain = room_of_frame / Answer::fixed_size - 1; // beside a last one with a text
    static_assert(room_of_frame % Answer::fixed_size > 0);
    for (const int more : {-1, 0, 1}) {
        CAPTURE(more);
        AnswerBox box(2000);
        for (std::size_t i = 0; i < plain; ++i) {
            REQUIRE(box.add(static_cast<std::uint32_t>(i), i + 1, Verdict::adopted, {}));
        }
        const std::size_t left = room_of_frame - (plain + 1) * Answer::fixed_size;
        const std::string text(left + static_cast<std::size_t>(more + 1) - 1, 'x');
        REQUIRE(box.add(9, 9, Verdict::refused, text));
        CHECK(box.first().count == (more > 0 ? plain : plain + 1));
        const std::vector<Item> all = all_of(box);
        REQUIRE(all.size() == plain + 1);
        CHECK(all.back().text == text);
    }
}

TEST_CASE("what was dropped leaves the rest in place, and what comes later follows it") {
    AnswerBox box(3000);
    std::uint64_t ticket = 0;
    for (int i = 0; i < 1500; ++i) {
        REQUIRE(box.add(0, ++ticket, Verdict::adopted, {}));
    }
    box.drop(box.first());
    for (int i = 0; i < 1500; ++i) {
        REQUIRE(box.add(0, ++ticket, Verdict::adopted, {}));
    }
    std::uint64_t expected = room_of_frame / Answer::fixed_size;
    for (const Item &item : all_of(box)) {
        CHECK(item.ticket == ++expected);
    }
    CHECK(expected == 3000);
}

TEST_CASE("a text is cut at its longest, and at a character's boundary") {
    AnswerBox box(4);
    for (const std::size_t length : {max_refusal - 1, max_refusal, max_refusal + 1}) {
        CHECK(box.add(0, 1, Verdict::refused, std::string(length, 'x')));
    }
    CHECK(box.add(0, 1, Verdict::refused, std::string(max_refusal - 1, 'x') + "\xc3\xa4"));
    const std::vector<Item> all = all_of(box);
    CHECK(all[0].text.size() == max_refusal - 1);
    CHECK(all[1].text.size() == max_refusal);
    CHECK(all[2].text.size() == max_refusal);
    CHECK(all[3].text.size() == max_refusal - 1);
}

TEST_CASE("texts of all answers together have a bound, up to the byte, and beyond it they give way") {
    for (const int more : {-1, 0, 1}) {
        CAPTURE(more);
        AnswerBox box(200);
        std::size_t texts = 0;
        while (all_texts - texts > max_refusal) {
            REQUIRE(box.add(0, 1, Verdict::refused, std::string(max_refusal, 'x')));
            texts += max_refusal;
        }
        const std::size_t last = all_texts - texts + static_cast<std::size_t>(more + 1) - 1;
        CHECK(box.add(0, 2, Verdict::refused, std::string(last, 'y')));
        CHECK(all_of(box).back().text.size() == (more > 0 ? 0 : last));
    }
}

TEST_CASE("once texts were dropped there is room for others") {
    AnswerBox box(200);
    for (int i = 0; i < 100; ++i) {
        REQUIRE(box.add(0, 1, Verdict::refused, std::string(max_refusal, 'x')));
    }
    all_of(box);
    CHECK(box.add(0, 2, Verdict::refused, "y"));
    CHECK(all_of(box).back().text == "y");
}

TEST_CASE("every offer finds room for its answer, with whatever texts, and nothing is allocated for it") {
    constexpr std::uint32_t offers = 300;
    AnswerBox box(offers);
    std::size_t taken = 0;
    const std::size_t before = rp::test::allocations();
    while (taken < offers && box.add(0, taken + 1, Verdict::refused, "a reason of more than a few words for each")) {
        ++taken;
    }
    CHECK(rp::test::allocations() == before);
    CHECK(all_of(box).size() == offers);
}

// A broker that reads no answers may offer on and on.
TEST_CASE("there is an end to the answers that accumulate, and before it texts give way rather than memory grows") {
    for (const std::uint32_t offers : {1U, 4U, 1000U}) {
        for (const bool refused_first : {false, true}) {
            CAPTURE(offers);
            CAPTURE(refused_first);
            AnswerBox box(offers);
            const std::string text(max_refusal, 'x');
            std::size_t taken = 0;
            const std::size_t before = rp::test::allocations();
            // Short answers first leave no room for the texts of those that come last.
            while (taken < 20'000 &&
                   box.add(0, 1, Verdict::refused,
                           refused_first || taken % 64 == 63 ? std::string_view(text) : std::string_view())) {
                ++taken;
            }
            const std::size_t allocated = rp::test::allocations() - before;
            CHECK(allocated == 0);
            CHECK(taken >= offers);
            CHECK(taken < 20'000);
            CHECK(all_of(box).size() == taken);
        }
    }
}

TEST_CASE("a box that was cleared is as a new one") {
    AnswerBox box(2);
    CHECK(box.add(0, 1, Verdict::refused, "x"));
    box.clear();
    CHECK(box.empty());
    CHECK(box.first().count == 0);
    CHECK(box.add(0, 2, Verdict::adopted, {}));
    CHECK(all_of(box).size() == 1);
}
