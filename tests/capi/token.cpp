// Tokens by themselves.
#include "support/capi.hpp"

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

TEST_CASE("a generated token needs a place") {
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
