#include "base/text.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <random>
#include <string>

using namespace rp::handoff;

namespace {

bool has_control(std::string_view utf8) {
    for (std::size_t i = 0; i < utf8.size(); ++i) {
        const auto byte = static_cast<unsigned char>(utf8[i]);
        const bool c1 = byte == 0xC2 && i + 1 < utf8.size() && static_cast<unsigned char>(utf8[i + 1]) < 0xA0;
        if (byte < 0x20 || byte == 0x7F || c1) {
            return true;
        }
    }
    return false;
}

std::string clean(std::string_view s) {
    return std::string(Text(s).view());
}

} // namespace

TEST_CASE("a text is what was appended to it") {
    Text text;
    CHECK(text.empty());
    CHECK(text.view().empty());
    text += "length ";
    text += 17;
    text += "";
    text += " g\u00fcltig \u20ac \U0001F600";
    CHECK_FALSE(text.empty());
    CHECK(text.view() == "length 17 g\u00fcltig \u20ac \U0001F600");
}

TEST_CASE("every integer can be appended") {
    Text text;
    text += std::numeric_limits<std::int64_t>::min();
    text += " ";
    text += std::numeric_limits<std::int64_t>::max();
    text += " ";
    text += 0;
    CHECK(text.view() == "-9223372036854775808 9223372036854775807 0");
}

TEST_CASE("a text holds 255 bytes and is cut there") {
    CHECK(Text(std::string(254, 'x')).view() == std::string(254, 'x'));
    CHECK(Text(std::string(255, 'x')).view() == std::string(255, 'x'));
    CHECK(Text(std::string(256, 'x')).view() == std::string(255, 'x'));
    CHECK(Text(std::string(100000, 'x')).view() == std::string(255, 'x'));
    Text text(std::string(254, 'x'));
    text += 17;
    CHECK(text.view() == std::string(254, 'x') + "1");
    text += "y";
    CHECK(text.view() == std::string(254, 'x') + "1");
}

TEST_CASE("a character that does not fit as a whole is left out") {
    for (const std::string character : {"\u00e9", "\u20ac", "\U0001F600"}) {
        CAPTURE(character);
        const std::size_t room = 255 - character.size();
        CHECK(clean(std::string(room, 'x') + character) == std::string(room, 'x') + character);
        CHECK(clean(std::string(room + 1, 'x') + character) == std::string(room + 1, 'x'));
        CHECK(clean(std::string(254, 'x') + character + "y") == std::string(254, 'x'));
    }
}

TEST_CASE("each control character becomes one question mark") {
    CHECK(clean("a\nb\rc\td\x1b[31m\x7f") == "a?b?c?d?[31m?");
    CHECK(clean(std::string_view("a\0b", 3)) == "a?b");
    CHECK(clean("a\u0080b\u009fc") == "a?b?c");
    CHECK(clean("\u00a0~ ") == "\u00a0~ ");
}

TEST_CASE("each byte that is not UTF-8 becomes one question mark") {
    CHECK(clean("a\xff\xfe"
                "b") == "a??b");
    CHECK(clean("\x80") == "?");
    CHECK(clean("\xe2\x82") == "??");
    CHECK(clean("\xe2\x82"
                "x") == "??x");
    CHECK(clean("\xc0\xaf") == "??");
    CHECK(clean("\xed\xa0\x80") == "???");
    CHECK(clean("\xf4\x90\x80\x80") == "????");
}

TEST_CASE("whatever bytes are appended, a text is valid UTF-8 without control characters") {
    const unsigned seed = 20240611;
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 5000; ++round) {
        Text text;
        for (unsigned part = random() % 4; part > 0; --part) {
            std::string bytes(random() % 120, ' ');
            for (char &c : bytes) {
                c = static_cast<char>(random() % 3 == 0 ? 0xC0 + random() % 0x38 : random());
            }
            text += bytes;
        }
        REQUIRE(text.view().size() <= Text::capacity);
        REQUIRE(is_utf8(text.view()));
        REQUIRE_FALSE(has_control(text.view()));
    }
}

TEST_CASE("UTF-8 is told as Rust tells it: no surrogates, nothing overlong, nothing beyond U+10FFFF") {
    for (const std::string_view valid :
         {std::string_view(""), std::string_view("\0", 1), std::string_view("\x7f"), std::string_view("\xc2\x80"),
          std::string_view("\xdf\xbf"), std::string_view("\xe0\xa0\x80"), std::string_view("\xed\x9f\xbf"),
          std::string_view("\xee\x80\x80"), std::string_view("\xef\xbf\xbe"), std::string_view("\xef\xbf\xbf"),
          std::string_view("\xef\xb7\x90"), std::string_view("\xf0\x90\x80\x80"),
          std::string_view("\xf4\x8f\xbf\xbf")}) {
        CAPTURE(valid);
        CHECK(is_utf8(valid));
    }
    for (const std::string_view invalid :
         {std::string_view("\x80"), std::string_view("\xbf"), std::string_view("\xc0\x80"),
          std::string_view("\xc1\xbf"), std::string_view("\xc2"), std::string_view("\xe0\x9f\xbf"),
          std::string_view("\xe2\x82"), std::string_view("\xed\xa0\x80"), std::string_view("\xed\xbf\xbf"),
          std::string_view("\xf0\x8f\xbf\xbf"), std::string_view("\xf4\x90\x80\x80"),
          std::string_view("\xf5\x80\x80\x80"), std::string_view("\xf8\x88\x80\x80\x80"), std::string_view("\xff"),
          std::string_view("a\xc2z")}) {
        CAPTURE(invalid);
        CHECK_FALSE(is_utf8(invalid));
    }
}

TEST_CASE("a prefix of UTF-8 ends at the boundary of a character") {
    CHECK(utf8_prefix("abc", 4) == "abc");
    CHECK(utf8_prefix("abc", 3) == "abc");
    CHECK(utf8_prefix("abc", 2) == "ab");
    CHECK(utf8_prefix("abc", 0).empty());
    CHECK(utf8_prefix("", 7).empty());
    CHECK(utf8_prefix("a\u20ac", 4) == "a\u20ac");
    CHECK(utf8_prefix("a\u20ac", 3) == "a");
    CHECK(utf8_prefix("a\u20ac", 2) == "a");
    CHECK(utf8_prefix("a\U0001F600b", 5) == "a\U0001F600");
    CHECK(utf8_prefix("a\U0001F600b", 4) == "a");
    CHECK(utf8_prefix("a\xffz", 3) == "a");
}
