#include "wire/framing.hpp"

#include <doctest/doctest.h>

#include "support/fakes.hpp"
#include "support/hex.hpp"

using namespace rp::handoff;
using namespace rp::handoff::wire;
using rp::test::Bytes;
using rp::test::status_of;
using rp::test::unhex;

namespace {

Result<std::uint32_t> header_of(std::string_view hex, std::uint32_t cap = max_body) {
    return decode_header(rp::test::view(unhex(hex)), cap);
}

} // namespace

TEST_CASE("a header is the byte 1 and the length of the body, its low byte first") {
    CHECK(rp::test::hex(encode_header(0)) == "0100000000");
    CHECK(rp::test::hex(encode_header(1)) == "0101000000");
    CHECK(rp::test::hex(encode_header(0x00123456)) == "0156341200");
    CHECK(rp::test::hex(encode_header(max_body)) == "0100000001");
}

TEST_CASE("every length that was encoded is decoded") {
    for (const std::uint32_t length :
         {0U, 1U, 127U, 128U, 255U, 256U, 65535U, 65536U, 0x123456U, max_body - 1, max_body}) {
        CAPTURE(length);
        const Header header = encode_header(length);
        const auto decoded = decode_header({header.data(), header.size()});
        REQUIRE(decoded);
        CHECK(*decoded == length);
    }
}

TEST_CASE("a header is incomplete until its fifth byte is there") {
    CHECK(status_of(decode_header({})) == Status::frame_incomplete);
    CHECK(status_of(header_of("01")) == Status::frame_incomplete);
    CHECK(status_of(header_of("01 ff ff ff")) == Status::frame_incomplete);
    CHECK(status_of(header_of("01 07 00 00 00")) == Status::ok);
}

TEST_CASE("bytes behind the header are not looked at") {
    CHECK(*header_of("01 07 00 00 00 ff ff ff ff") == 7);
}

TEST_CASE("another framing version is told from its byte alone") {
    for (const std::string_view header : {"00", "02", "ff", "00 07 00 00 00", "02 ff ff ff ff"}) {
        CAPTURE(header);
        CHECK(status_of(header_of(header)) == Status::frame_version);
    }
}

TEST_CASE("a body may be as long as the cap and not one byte longer") {
    CHECK(*header_of("01 00 00 00 01") == max_body);
    CHECK(status_of(header_of("01 01 00 00 01")) == Status::frame_too_large);
    CHECK(status_of(header_of("01 ff ff ff ff")) == Status::frame_too_large);
    CHECK(*header_of("01 3f 00 00 00", 64) == 63);
    CHECK(*header_of("01 40 00 00 00", 64) == 64);
    CHECK(status_of(header_of("01 41 00 00 00", 64)) == Status::frame_too_large);
    CHECK(*header_of("01 00 00 00 00", 0) == 0);
    CHECK(status_of(header_of("01 01 00 00 00", 0)) == Status::frame_too_large);
}
