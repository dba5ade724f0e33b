#include "v1/backend_tokens.hpp"

#include <doctest/doctest.h>

#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::ns;
using rp::test::token_of;

namespace {

// Knows the token of 1 until 99, and that of 2 until 50.
TokenStore two_tokens() {
    TokenStore store({8, ns(50), 1});
    REQUIRE(store.expect(token_of(2), at(0)) == Status::ok);
    REQUIRE(store.expect(token_of(1), at(49)) == Status::ok);
    REQUIRE(store.pending_len() == 2);
    return store;
}

} // namespace

TEST_CASE("the expected token is accepted once") {
    TokenStore store = two_tokens();
    CHECK(accept_token(store, token_of(1), token_of(1).view(), at(49)) == Status::ok);
    CHECK(accept_token(store, token_of(1), token_of(1).view(), at(49)) == Status::token_not_pending);
    CHECK(store.pending_len() == 1);
}

TEST_CASE("a token that is missing or has another length is rejected without touching the store") {
    TokenStore store = two_tokens();
    const std::vector<std::uint8_t> bytes(17, 1);
    CHECK(accept_token(store, token_of(1), {}, at(1000)) == Status::token_missing);
    for (const std::size_t length : {1U, 15U, 17U}) {
        CAPTURE(length);
        CHECK(accept_token(store, token_of(1), {bytes.data(), length}, at(1000)) == Status::token_length);
    }
    CHECK(store.pending_len() == 2); // not even pruned
    CHECK(accept_token(store, token_of(1), {bytes.data(), 16}, at(98)) == Status::ok);
}

TEST_CASE("another token is rejected and the expected one can still be presented") {
    TokenStore store = two_tokens();
    CHECK(accept_token(store, token_of(1), token_of(2).view(), at(49)) == Status::token_mismatch);
    CHECK(accept_token(store, token_of(1), token_of(9).view(), at(49)) == Status::token_mismatch);
    CHECK(accept_token(store, token_of(1), token_of(1).view(), at(49)) == Status::ok);
    CHECK(accept_token(store, token_of(2), token_of(2).view(), at(49)) == Status::ok);
}

TEST_CASE("an expired token is rejected and gone") {
    TokenStore store = two_tokens();
    CHECK(accept_token(store, token_of(1), token_of(1).view(), at(99)) == Status::token_expired);
    CHECK(accept_token(store, token_of(1), token_of(1).view(), at(99)) == Status::token_not_pending);
    CHECK(store.pending_len() == 0);
}

TEST_CASE("a refusal is told in the words that peers compare") {
    CHECK(rejection_text(Status::token_missing, 0).view() == "handoff token is missing");
    CHECK(rejection_text(Status::token_length, 15).view() == "handoff token length was 15 bytes; expected 16");
    CHECK(rejection_text(Status::token_length, 17).view() == "handoff token length was 17 bytes; expected 16");
    CHECK(rejection_text(Status::token_length, 16777216).view() ==
          "handoff token length was 16777216 bytes; expected 16");
    CHECK(rejection_text(Status::token_mismatch, 16).view() == "handoff token mismatch");
    CHECK(rejection_text(Status::token_expired, 16).view() == "handoff token expired");
    CHECK(rejection_text(Status::token_not_pending, 16).view() == "handoff token is not pending");
}

TEST_CASE("a refusal for any other reason is told in some words") {
    for (const Status status : {Status::limit, Status::random, Status::token_collision, Status::no_memory}) {
        CHECK_FALSE(rejection_text(status, 16).empty());
    }
}
