// Tokens by themselves.
#include "support/capi.hpp"

#include <algorithm>

using namespace rp::test;

TEST_CASE("generated tokens differ from each other and are not zero") {
    rp_handoff_token a{};
    rp_handoff_token b{};
    REQUIRE(rp_handoff_token_generate(&a) == RP_HANDOFF_OK);
    REQUIRE(rp_handoff_token_generate(&b) == RP_HANDOFF_OK);
    const rp_handoff_token zero{};
    CHECK(rp_handoff_token_equal(&a, &b) == 0);
    CHECK(rp_handoff_token_equal(&a, &zero) == 0);
}

TEST_CASE("a token is made of exactly sixteen bytes") {
    std::uint8_t bytes[18];
    for (std::uint8_t i = 0; i < sizeof bytes; ++i) {
        bytes[i] = i;
    }
    for (std::size_t length = 0; length <= sizeof bytes; ++length) {
        Out<rp_handoff_token> token;
        const std::int32_t status = rp_handoff_token_from_bytes(bytes, length, token.get());
        if (length == RP_HANDOFF_TOKEN_SIZE) {
            CHECK(status == RP_HANDOFF_OK);
            CHECK(std::equal(bytes, bytes + length, token.value.bytes));
        } else {
            CHECK(status == (length == 0 ? RP_HANDOFF_ERR_TOKEN_MISSING : RP_HANDOFF_ERR_TOKEN_LENGTH));
            CHECK(token.untouched());
        }
    }
}

TEST_CASE("no bytes are a missing token, also without a pointer") {
    Out<rp_handoff_token> token;
    CHECK(rp_handoff_token_from_bytes(nullptr, 0, token.get()) == RP_HANDOFF_ERR_TOKEN_MISSING);
    CHECK(rp_handoff_token_from_bytes(nullptr, 16, token.get()) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_token_from_bytes(nullptr, 1, token.get()) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(token.untouched());
    const std::uint8_t bytes[16] = {};
    CHECK(rp_handoff_token_from_bytes(bytes, sizeof bytes, nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_token_generate(nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
}

TEST_CASE("tokens are equal if every bit is") {
    const rp_handoff_token a = token_of(0x5C);
    rp_handoff_token b = token_of(0x5C);
    CHECK(rp_handoff_token_equal(&a, &b) == 1);
    CHECK(rp_handoff_token_equal(&a, &a) == 1);
    for (std::size_t bit = 0; bit < 8 * sizeof b.bytes; ++bit) {
        std::uint8_t &byte = b.bytes[bit / 8];
        byte = static_cast<std::uint8_t>(byte ^ (1U << (bit % 8)));
        CHECK(rp_handoff_token_equal(&a, &b) == 0);
        byte = static_cast<std::uint8_t>(byte ^ (1U << (bit % 8)));
    }
}

TEST_CASE("nothing equals a missing token, not even another missing one") {
    const rp_handoff_token token{};
    CHECK(rp_handoff_token_equal(&token, nullptr) == 0);
    CHECK(rp_handoff_token_equal(nullptr, &token) == 0);
    CHECK(rp_handoff_token_equal(nullptr, nullptr) == 0);
}

TEST_CASE("a wiped token is zero, and only it") {
    rp_handoff_token tokens[3] = {token_of(1), token_of(2), token_of(3)};
    rp_handoff_token_wipe(&tokens[1]);
    const rp_handoff_token expected[3] = {token_of(1), token_of(0), token_of(3)};
    for (int i = 0; i < 3; ++i) {
        CHECK(rp_handoff_token_equal(&tokens[i], &expected[i]) == 1);
    }
    rp_handoff_token_wipe(nullptr);
}
