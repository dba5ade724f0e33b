#include "wire/field_reader.hpp"

#include <doctest/doctest.h>

#include <string>

#include "support/fakes.hpp"
#include "support/hex.hpp"

using namespace rp::handoff;
using rp::handoff::wire::FieldReader;
using rp::test::Bytes;
using rp::test::unhex;

namespace {

// Whether all fields can be skipped, unknown as they are.
bool skips(const Bytes &message) {
    FieldReader reader(rp::test::view(message));
    while (reader.next()) {
        reader.skip();
    }
    return !reader.failed();
}

bool skips(std::string_view hex) {
    return skips(unhex(hex));
}

struct Number {
    std::uint64_t value;
    bool failed;
};

// The varint of a message with one field: tag 1, then these bytes.
Number number(std::string_view hex) {
    const Bytes message = unhex("08" + std::string(hex));
    FieldReader reader(rp::test::view(message));
    REQUIRE(reader.next());
    const std::uint64_t value = reader.varint();
    return {value, reader.failed()};
}

bool fails(std::string_view hex) {
    return number(hex).failed;
}

// So many groups of tag 1 in each other, with `inside` in the innermost.
std::string groups(std::size_t depth, const std::string &inside = "") {
    std::string open;
    std::string close;
    for (std::size_t i = 0; i < depth; ++i) {
        open += "0b";
        close += "0c";
    }
    return open + inside + close;
}

} // namespace

TEST_CASE("an empty message has no fields and nothing wrong") {
    FieldReader reader({});
    CHECK_FALSE(reader.next());
    CHECK_FALSE(reader.failed());
    CHECK_FALSE(reader.next());
}

TEST_CASE("fields come in the order in which they were written") {
    const Bytes message = unhex("08 07 12 03 61 62 63 18 01");
    FieldReader reader(rp::test::view(message));
    REQUIRE(reader.next());
    CHECK(reader.tag() == 1);
    CHECK(reader.varint() == 7);
    REQUIRE(reader.next());
    CHECK(reader.tag() == 2);
    CHECK(reader.text() == "abc");
    REQUIRE(reader.next());
    CHECK(reader.tag() == 3);
    CHECK(reader.boolean());
    CHECK_FALSE(reader.next());
    CHECK_FALSE(reader.failed());
}

TEST_CASE("a varint has one to ten bytes, minimal or not") {
    CHECK(number("00").value == 0);
    CHECK(number("7f").value == 127);
    CHECK(number("8001").value == 128);
    CHECK(number("ac02").value == 300);
    CHECK(number("ffffffff0f").value == UINT32_MAX);
    CHECK(number("ffffffffffffffffff01").value == UINT64_MAX);
    CHECK(number("80808080808080808001").value == 1ULL << 63U);
    CHECK(number("8000").value == 0);
    CHECK(number("80808080808080808000").value == 0);
    CHECK_FALSE(fails("80808080808080808000"));
    CHECK_FALSE(fails("ffffffffffffffffff01"));
}

TEST_CASE("a varint that overflows 64 bits in its tenth byte is malformed") {
    CHECK(fails("ffffffffffffffffff02"));
    CHECK(fails("80808080808080808002"));
    CHECK(fails("8080808080808080807f"));
}

TEST_CASE("a varint of more than ten bytes is malformed") {
    CHECK(fails("8080808080808080808000"));
    CHECK(fails("8080808080808080808100"));
    CHECK(fails("ffffffffffffffffffff01"));
}

TEST_CASE("a varint that ends in the middle is malformed") {
    CHECK(fails(""));
    CHECK(fails("80"));
    CHECK(fails("ffffffffffffffffff"));
}

TEST_CASE("a number is truncated to 32 bits, and an enumerator may be negative") {
    const auto u32 = [](std::string_view hex) {
        const Bytes message = unhex(hex);
        FieldReader reader(rp::test::view(message));
        REQUIRE(reader.next());
        const std::uint32_t value = reader.u32();
        CHECK_FALSE(reader.failed());
        return value;
    };
    const auto enumeration = [&u32](std::string_view hex) { return static_cast<std::int32_t>(u32(hex)); };
    CHECK(u32("08 ffffffff0f") == UINT32_MAX);
    CHECK(u32("08 8080808010") == 0);
    CHECK(u32("08 8180808010") == 1);
    CHECK(u32("08 ffffffffffffffffff01") == UINT32_MAX);
    CHECK(enumeration("08 ffffffffffffffffff01") == -1);
    const Bytes message = unhex("08 8080808078 08 feffffffffffffffff01");
    FieldReader reader(rp::test::view(message));
    REQUIRE(reader.next());
    CHECK(reader.enumeration() == INT32_MIN);
    REQUIRE(reader.next());
    CHECK(reader.enumeration() == -2);
}

TEST_CASE("a boolean is whether the varint is not zero, all 64 bits of it") {
    for (const auto &row : {std::pair("00", false), std::pair("01", true), std::pair("02", true),
                            std::pair("8080808010", true), std::pair("80808080808080808001", true)}) {
        CAPTURE(row.first);
        const Bytes message = unhex("08" + std::string(row.first));
        FieldReader reader(rp::test::view(message));
        REQUIRE(reader.next());
        CHECK(reader.boolean() == row.second);
        CHECK_FALSE(reader.failed());
    }
}

TEST_CASE("a length may reach to the end of the message and not beyond") {
    CHECK(skips("0a 00"));
    CHECK(skips("0a 02 ff ff"));
    CHECK_FALSE(skips("0a 03 ff ff"));
    CHECK_FALSE(skips("0a 01"));
    CHECK_FALSE(skips("0a"));
    CHECK_FALSE(skips("0a ffffffff0f 00"));
    CHECK_FALSE(skips("0a ffffffffffffffffff01 00"));
    CHECK_FALSE(skips("0a ffffffffffffffffff02 00"));
}

TEST_CASE("a fixed number has four or eight bytes") {
    CHECK(skips("0d 00000000"));
    CHECK_FALSE(skips("0d 000000"));
    CHECK(skips("09 0000000000000000"));
    CHECK_FALSE(skips("09 00000000000000"));
    CHECK_FALSE(skips("0d"));
    CHECK_FALSE(skips("09"));
}

TEST_CASE("a tag is at least 1 and its key at most 2^32-1") {
    CHECK_FALSE(skips("00 00"));
    CHECK_FALSE(skips("07 00"));
    CHECK_FALSE(skips("02 00"));
    CHECK(skips("08 00"));
    CHECK(skips("f8ffffff0f 00"));       // 2^32-8: tag 2^29-1, varint
    CHECK_FALSE(skips("8080808010 00")); // 2^32
    CHECK_FALSE(skips("88808080808080808001 00"));
    CHECK_FALSE(skips("ffffffffffffffffff02 00"));
    CHECK(skips("c0a309 00")); // 19000, which protobuf keeps for itself
    CHECK(skips("f8e109 00")); // 19999
    CHECK(skips("8800 00"));   // a key that is not minimal
}

TEST_CASE("the greatest tag is read whole") {
    const Bytes message = unhex("f8ffffff0f 2a");
    FieldReader reader(rp::test::view(message));
    REQUIRE(reader.next());
    CHECK(reader.tag() == (1U << 29U) - 1);
    CHECK(reader.varint() == 42);
}

TEST_CASE("wire types 6 and 7 do not exist") {
    CHECK_FALSE(skips("0e 00"));
    CHECK_FALSE(skips("0f 00"));
    CHECK_FALSE(skips("0b 0e 0c"));
    CHECK_FALSE(skips("0b 0f 0c"));
    for (const std::string_view hex : {"0e 00", "0f 00"}) {
        const Bytes message = unhex(hex);
        FieldReader reader(rp::test::view(message));
        CHECK_FALSE(reader.next());
        CHECK(reader.failed());
    }
}

TEST_CASE("a group is skipped with all that is in it") {
    CHECK(skips("0b 0c"));
    CHECK(skips("0b 10 07 1a 01 ff 25 00000000 29 0000000000000000 0c"));
    CHECK(skips("0b 13 1b 1c 14 0c 08 01"));
    CHECK(skips("0b 08 01 0c")); // a field of the group's own number
}

TEST_CASE("a group ends with the end of its own number") {
    CHECK_FALSE(skips("0b 14"));
    CHECK_FALSE(skips("0b 13 0c 14"));
    CHECK_FALSE(skips("0b"));
    CHECK_FALSE(skips("0b 13 14"));
    CHECK_FALSE(skips("0b 1a 05 00 0c"));
    CHECK_FALSE(skips("0b 00 0c"));
}

TEST_CASE("an end of a group that nobody began is malformed") {
    CHECK_FALSE(skips("0c"));
    CHECK_FALSE(skips("08 01 0c"));
    CHECK_FALSE(skips("0b 0c 0c"));
    const Bytes message = unhex("0c");
    FieldReader reader(rp::test::view(message));
    CHECK_FALSE(reader.next());
    CHECK(reader.failed());
}

TEST_CASE("groups may be nested a hundred deep, the last of them empty, and not a hundred and one") {
    CHECK(skips(groups(99)));
    CHECK(skips(groups(99, "10 01")));
    CHECK(skips(groups(100)));
    CHECK_FALSE(skips(groups(100, "10 01")));
    CHECK_FALSE(skips(groups(101)));
    CHECK_FALSE(skips(groups(100000)));
}

TEST_CASE("the depth of groups is counted anew for each field") {
    CHECK(skips(groups(100) + groups(100) + "0801"));
    CHECK(skips(groups(99, groups(1) + groups(1))));
    CHECK_FALSE(skips(groups(99, groups(1) + groups(2))));
}

TEST_CASE("a field read as another type than its own is malformed") {
    for (const std::string_view hex : {"09 0000000000000000", "0a 00", "0b 0c", "0d 00000000"}) {
        CAPTURE(hex);
        const Bytes message = unhex(hex);
        FieldReader reader(rp::test::view(message));
        REQUIRE(reader.next());
        CHECK(reader.varint() == 0);
        CHECK(reader.failed());
        CHECK_FALSE(reader.next());
    }
    for (const std::string_view hex : {"08 00", "09 0000000000000000", "0b 0c", "0d 00000000"}) {
        CAPTURE(hex);
        const Bytes message = unhex(hex);
        FieldReader reader(rp::test::view(message));
        REQUIRE(reader.next());
        CHECK(reader.bytes().empty());
        CHECK(reader.failed());
        CHECK_FALSE(reader.next());
    }
}

TEST_CASE("text has to be UTF-8, bytes have not") {
    for (const std::string_view hex : {"0a 01 80", "0a 03 eda080", "0a 02 c080", "0a 02 c3 28", "0a 04 f4908080"}) {
        CAPTURE(hex);
        const Bytes message = unhex(hex);
        FieldReader as_text(rp::test::view(message));
        REQUIRE(as_text.next());
        CHECK(as_text.text().empty());
        CHECK(as_text.failed());
        FieldReader as_bytes(rp::test::view(message));
        REQUIRE(as_bytes.next());
        CHECK(as_bytes.bytes().size() == message[1]);
        CHECK_FALSE(as_bytes.failed());
    }
    const Bytes message = unhex("0a 03 efbfbf");
    FieldReader reader(rp::test::view(message));
    REQUIRE(reader.next());
    CHECK(reader.text() == "\xef\xbf\xbf");
}

TEST_CASE("after something malformed there are no more fields, whatever follows") {
    const Bytes message = unhex("0a 01 80 10 01");
    FieldReader reader(rp::test::view(message));
    REQUIRE(reader.next());
    reader.text();
    CHECK(reader.failed());
    CHECK_FALSE(reader.next());
    CHECK(reader.failed());
}

TEST_CASE("what the caller finds malformed is malformed") {
    const Bytes message = unhex("08 01 10 01");
    FieldReader reader(rp::test::view(message));
    REQUIRE(reader.next());
    reader.varint();
    reader.reject();
    CHECK(reader.failed());
    CHECK_FALSE(reader.next());
}
