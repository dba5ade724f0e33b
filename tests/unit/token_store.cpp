#include <doctest/doctest.h>

#include "token_store.hpp"

using namespace rp::handoff;

TEST_CASE("a token is consumed once") {
    TokenStore store;
    SystemRandom random;
    const Instant now{};
    const Result<Token> token = store.issue(now, random);
    REQUIRE(token);
    CHECK(store.consume_matching(*token, *token, now) == Status::ok);
    CHECK(store.consume_matching(*token, *token, now) == Status::token_not_pending);
}
