#include "handoff/token_store.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>

#include "os/random.hpp"
#include "support/allocations.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::CountingRandom;
using rp::test::ns;
using rp::test::ScriptedRandom;
using rp::test::status_of;
using rp::test::token_of;

namespace {

TokenStore store_of(std::size_t max_pending, std::uint64_t ttl = 100, unsigned attempts = 16) {
    return TokenStore({max_pending, ns(ttl), attempts});
}

// The plain rule: a scan of everything, every time.
class Reference {
  public:
    Reference(std::size_t max_pending, Duration ttl) : max_pending_(max_pending), ttl_(ttl) {}

    std::size_t size() const { return pending_.size(); }

    Status add(const Token &token, Instant now, Status if_pending) {
        prune(now, nullptr);
        const bool known = pending_.count(token.bytes()) > 0;
        if (pending_.size() - (known && if_pending == Status::ok) >= max_pending_) {
            return Status::limit;
        }
        if (known && if_pending != Status::ok) {
            return if_pending;
        }
        pending_[token.bytes()] = after(now, ttl_);
        return Status::ok;
    }

    Status consume(const Token &expected, const Token &presented, Instant now) {
        prune(now, &expected);
        const auto found = pending_.find(expected.bytes());
        if (found == pending_.end()) {
            return Status::token_not_pending;
        }
        if (now >= found->second) {
            pending_.erase(found);
            return Status::token_expired;
        }
        if (presented != expected) {
            return Status::token_mismatch;
        }
        pending_.erase(found);
        return Status::ok;
    }

    bool revoke(const Token &token) { return pending_.erase(token.bytes()) > 0; }

    std::size_t prune(Instant now, const Token *but) {
        const std::size_t before = pending_.size();
        for (auto entry = pending_.begin(); entry != pending_.end();) {
            const bool kept = but != nullptr && entry->first == but->bytes();
            entry = now >= entry->second && !kept ? pending_.erase(entry) : std::next(entry);
        }
        return before - pending_.size();
    }

  private:
    std::size_t max_pending_;
    Duration ttl_;
    std::map<Token::Bytes, Instant> pending_;
};

} // namespace

TEST_CASE("a store without settings holds 1024 tokens for 30 seconds and tries 16 values") {
    const TokenStore store;
    CHECK(store.config().max_pending == 1024);
    CHECK(store.config().ttl == std::chrono::seconds(30));
    CHECK(store.config().collision_attempts == 16);
    CHECK(store.pending_len() == 0);
}

TEST_CASE("settings of zero are clamped to one token, one millisecond, one attempt") {
    const TokenStore store({0, Duration::zero(), 0});
    CHECK(store.config().max_pending == 1);
    CHECK(store.config().ttl == std::chrono::milliseconds(1));
    CHECK(store.config().collision_attempts == 1);
    const TokenStore smallest({1, ns(1), 1});
    CHECK(smallest.config().max_pending == 1);
    CHECK(smallest.config().ttl == ns(1));
    CHECK(smallest.config().collision_attempts == 1);
}

TEST_CASE("a token is consumed once") {
    TokenStore store;
    os::SystemRandom random;
    const Result<Token> token = store.issue(at(0), random);
    REQUIRE(token);
    CHECK(store.contains(*token));
    CHECK(store.consume_matching(*token, *token, at(0)) == Status::ok);
    CHECK_FALSE(store.contains(*token));
    CHECK(store.consume_matching(*token, *token, at(0)) == Status::token_not_pending);
}

TEST_CASE("a token is pending until its time to live is reached, not beyond") {
    for (const auto &row : {std::pair(0U, Status::ok), std::pair(1099U, Status::ok),
                            std::pair(1100U, Status::token_expired), std::pair(1101U, Status::token_expired)}) {
        const Instant now = at(row.first);
        CAPTURE(row.first);
        TokenStore store = store_of(4);
        ScriptedRandom random({1});
        REQUIRE(store.issue(at(1000), random));
        CHECK(store.consume_matching(token_of(1), token_of(1), now) == row.second);
        CHECK(store.pending_len() == 0);
        CHECK(store.consume_matching(token_of(1), token_of(1), now) == Status::token_not_pending);
    }
}

TEST_CASE("a store takes as many tokens as its limit and asks for no random value beyond it") {
    TokenStore store = store_of(3);
    ScriptedRandom random({1, 2, 3, 4});
    for (int i = 0; i < 3; ++i) {
        CHECK(store.issue(at(0), random));
    }
    CHECK(store.pending_len() == 3);
    CHECK(status_of(store.issue(at(0), random)) == Status::limit);
    CHECK(random.calls() == 3);
    CHECK(store.pending_len() == 3);
    CHECK(store.revoke(token_of(2)));
    CHECK(store.issue(at(0), random));
    CHECK(store.contains(token_of(4)));
}

TEST_CASE("issue drops what has expired before it looks at the limit") {
    TokenStore store = store_of(1);
    ScriptedRandom random({1, 2});
    REQUIRE(store.issue(at(0), random));
    CHECK(status_of(store.issue(at(99), random)) == Status::limit);
    CHECK(store.issue(at(100), random));
    CHECK_FALSE(store.contains(token_of(1)));
    CHECK(store.pending_len() == 1);
}

TEST_CASE("a token that expired does not collide with its successor") {
    TokenStore store = store_of(4, 100, 1);
    ScriptedRandom random({1, 1, 1});
    REQUIRE(store.issue(at(0), random));
    CHECK(status_of(store.issue(at(99), random)) == Status::token_collision);
    CHECK(store.issue(at(100), random));
}

TEST_CASE("a random value that is pending already is followed by another") {
    TokenStore store = store_of(4, 100, 3);
    ScriptedRandom random({1, 1, 1, 2});
    REQUIRE(store.issue(at(0), random));
    const Result<Token> token = store.issue(at(0), random);
    REQUIRE(token);
    CHECK(*token == token_of(2));
    CHECK(random.calls() == 4);
}

TEST_CASE("after as many collisions as are allowed there is no token") {
    TokenStore store = store_of(4, 100, 3);
    ScriptedRandom random({1, 1, 1, 1, 2});
    REQUIRE(store.issue(at(0), random));
    CHECK(status_of(store.issue(at(0), random)) == Status::token_collision);
    CHECK(random.calls() == 4);
    CHECK(store.pending_len() == 1);
}

TEST_CASE("a source of random values that fails ends issue at once and leaves nothing") {
    TokenStore store = store_of(4, 100, 3);
    ScriptedRandom random({1, 1});
    REQUIRE(store.issue(at(0), random));
    CHECK(status_of(store.issue(at(0), random)) == Status::random); // one collision, then the failure
    CHECK(random.calls() == 3);
    CHECK(store.pending_len() == 1);
}

TEST_CASE("the token of zeros is as good as any other") {
    TokenStore store;
    ScriptedRandom random({0});
    REQUIRE(store.issue(at(0), random));
    CHECK(store.pending_len() == 1);
    CHECK(store.consume_matching(token_of(1), token_of(0), at(0)) == Status::token_not_pending);
    CHECK(store.consume_matching(token_of(0), token_of(0), at(0)) == Status::ok);
}

TEST_CASE("a value that was consumed or revoked may come again") {
    TokenStore store;
    ScriptedRandom random({1, 1, 1});
    REQUIRE(store.issue(at(0), random));
    REQUIRE(store.consume_matching(token_of(1), token_of(1), at(0)) == Status::ok);
    REQUIRE(store.issue(at(0), random));
    REQUIRE(store.revoke(token_of(1)));
    REQUIRE(store.issue(at(0), random));
    CHECK(store.consume_matching(token_of(1), token_of(1), at(0)) == Status::ok);
}

TEST_CASE("a token whose expiry does not fit into time is due at once") {
    TokenStore store = store_of(4);
    ScriptedRandom random({1, 2, 3});
    const Instant now = at(UINT64_MAX - 99);
    REQUIRE(store.issue(now, random));
    CHECK(store.consume_matching(token_of(1), token_of(1), now) == Status::token_expired);
    const Instant just_fits = at(UINT64_MAX - 100);
    REQUIRE(store.issue(just_fits, random));
    CHECK(store.consume_matching(token_of(2), token_of(2), at(UINT64_MAX - 1)) == Status::ok);
    REQUIRE(store.issue(just_fits, random));
    CHECK(store.consume_matching(token_of(3), token_of(3), end_of_time) == Status::token_expired);
}

TEST_CASE("a token issued before the clock was set back lives until the clock has caught up") {
    TokenStore store = store_of(4);
    ScriptedRandom random({1, 2});
    REQUIRE(store.issue(at(1000), random));
    REQUIRE(store.issue(at(10), random)); // earlier than the one before
    CHECK(store.consume_matching(token_of(2), token_of(2), at(110)) == Status::token_expired);
    CHECK(store.consume_matching(token_of(1), token_of(1), at(110)) == Status::ok);
}

TEST_CASE("a mismatch consumes neither token, and the right one can follow") {
    TokenStore store;
    ScriptedRandom random({1, 2});
    REQUIRE(store.issue(at(0), random));
    REQUIRE(store.issue(at(0), random));
    CHECK(store.consume_matching(token_of(1), token_of(2), at(0)) == Status::token_mismatch);
    CHECK(store.consume_matching(token_of(1), token_of(9), at(0)) == Status::token_mismatch);
    CHECK(store.pending_len() == 2);
    CHECK(store.consume_matching(token_of(1), token_of(1), at(0)) == Status::ok);
    CHECK(store.consume_matching(token_of(2), token_of(2), at(0)) == Status::ok);
}

TEST_CASE("not pending comes before expired, and expired before mismatch") {
    TokenStore store = store_of(4);
    ScriptedRandom random({1, 2});
    REQUIRE(store.issue(at(0), random));
    CHECK(store.consume_matching(token_of(9), token_of(8), at(100)) == Status::token_not_pending);
    CHECK(store.consume_matching(token_of(9), token_of(9), at(0)) == Status::token_not_pending);
    REQUIRE(store.issue(at(0), random));
    CHECK(store.consume_matching(token_of(2), token_of(8), at(100)) == Status::token_expired);
    CHECK(store.consume_matching(token_of(2), token_of(2), at(100)) == Status::token_not_pending);
}

TEST_CASE("consume drops what has expired, except the token that it is asked for, whatever it answers") {
    struct Row {
        std::uint8_t expected;
        std::uint8_t presented;
        Status answer;
    };
    for (const Row &row : {Row{4, 4, Status::ok}, Row{4, 9, Status::token_mismatch},
                           Row{9, 9, Status::token_not_pending}, Row{2, 2, Status::token_expired}}) {
        CAPTURE(row.expected);
        TokenStore store = store_of(8);
        ScriptedRandom random({1, 2, 3, 4});
        for (int i = 0; i < 3; ++i) {
            REQUIRE(store.issue(at(0), random));
        }
        REQUIRE(store.issue(at(1), random));
        CHECK(store.consume_matching(token_of(row.expected), token_of(row.presented), at(100)) == row.answer);
        CHECK(store.pending_len() == (row.answer == Status::ok ? 0 : 1));
    }
}

TEST_CASE("a token is revoked once") {
    TokenStore store;
    ScriptedRandom random({1});
    REQUIRE(store.issue(at(0), random));
    CHECK_FALSE(store.revoke(token_of(2)));
    CHECK(store.revoke(token_of(1)));
    CHECK_FALSE(store.revoke(token_of(1)));
    CHECK(store.consume_matching(token_of(1), token_of(1), at(0)) == Status::token_not_pending);
}

TEST_CASE("an expired token that was not dropped yet counts, and can still be revoked") {
    TokenStore store = store_of(4);
    ScriptedRandom random({1});
    REQUIRE(store.issue(at(0), random));
    CHECK(store.has_expired(at(100)));
    CHECK(store.pending_len() == 1);
    CHECK(store.contains(token_of(1)));
    CHECK(store.revoke(token_of(1)));
}

TEST_CASE("pruning removes what has expired and tells how many") {
    TokenStore store = store_of(8);
    CountingRandom random;
    for (std::uint64_t i = 0; i < 5; ++i) {
        REQUIRE(store.issue(at(i), random));
    }
    CHECK_FALSE(store.has_expired(at(99)));
    CHECK(store.prune_expired(at(99)) == 0);
    CHECK(store.has_expired(at(100)));
    CHECK(store.prune_expired(at(102)) == 3);
    CHECK(store.pending_len() == 2);
    CHECK(store.prune_expired(at(102)) == 0);
    CHECK(store.prune_expired(end_of_time) == 2);
    CHECK(store.prune_expired(end_of_time) == 0);
}

TEST_CASE("pruning can be bounded, and takes the oldest first") {
    TokenStore store = store_of(8);
    ScriptedRandom random({1, 2, 3});
    for (std::uint64_t i = 0; i < 3; ++i) {
        REQUIRE(store.issue(at(i), random));
    }
    CHECK(store.prune_expired(at(500), 0) == 0);
    CHECK(store.prune_expired(at(500), 2) == 2);
    CHECK(store.contains(token_of(3)));
    CHECK(store.has_expired(at(500)));
    CHECK(store.prune_expired(at(500), 2) == 1);
    CHECK_FALSE(store.has_expired(at(500)));
}

TEST_CASE("an announced token is pending, and starts anew when it is announced again") {
    TokenStore store = store_of(2);
    CHECK(store.expect(token_of(1), at(0)) == Status::ok);
    CHECK(store.expect(token_of(1), at(60)) == Status::ok);
    CHECK(store.pending_len() == 1);
    CHECK(store.consume_matching(token_of(1), token_of(1), at(159)) == Status::ok);
    CHECK(store.expect(token_of(1), at(0)) == Status::ok);
    CHECK(store.consume_matching(token_of(1), token_of(1), at(100)) == Status::token_expired);
}

TEST_CASE("a full store takes no new announcement, but one that it has already, or in place of an expired one") {
    TokenStore store = store_of(2);
    REQUIRE(store.expect(token_of(1), at(0)) == Status::ok);
    REQUIRE(store.expect(token_of(2), at(50)) == Status::ok);
    CHECK(store.expect(token_of(3), at(99)) == Status::limit);
    CHECK(store.expect(token_of(2), at(99)) == Status::ok);
    CHECK(store.contains(token_of(1)));
    CHECK(store.expect(token_of(3), at(100)) == Status::ok);
    CHECK_FALSE(store.contains(token_of(1)));
}

TEST_CASE("a token for which there is no memory is not pending") {
    TokenStore store;
    CountingRandom random;
    const rp::test::FailAllocation fail(0);
    CHECK_THROWS_AS(static_cast<void>(store.issue(at(0), random)), std::bad_alloc);
    CHECK(store.pending_len() == 0);
}

TEST_CASE("a store does what a plain scan does, with a clock that runs backwards at times") {
    const unsigned seed = 30;
    CAPTURE(seed);
    std::mt19937 dice(seed);
    TokenStore store = store_of(40, 500, 1);
    Reference reference(40, ns(500));
    std::uint64_t now = 10000;
    std::map<Status, int> seen;
    for (int step = 0; step < 20000; ++step) {
        CAPTURE(step);
        now = dice() % 64 == 0 ? now - std::min<std::uint64_t>(now, dice() % 2000) : now + dice() % 20;
        const auto a = static_cast<std::uint8_t>(dice() % 64);
        const auto b = dice() % 3 == 0 ? static_cast<std::uint8_t>(dice() % 64) : a;
        switch (dice() % 8) {
        case 0:
        case 1:
        case 2: {
            ScriptedRandom random({a});
            const Status status = status_of(store.issue(at(now), random));
            ++seen[status];
            REQUIRE(status == reference.add(token_of(a), at(now), Status::token_collision));
            break;
        }
        case 3:
            REQUIRE(store.expect(token_of(a), at(now)) == reference.add(token_of(a), at(now), Status::ok));
            break;
        case 4:
        case 5: {
            const Status status = store.consume_matching(token_of(a), token_of(b), at(now));
            ++seen[status];
            REQUIRE(status == reference.consume(token_of(a), token_of(b), at(now)));
            break;
        }
        case 6:
            REQUIRE(store.revoke(token_of(a)) == reference.revoke(token_of(a)));
            break;
        default:
            REQUIRE(store.prune_expired(at(now)) == reference.prune(at(now), nullptr));
        }
        REQUIRE(store.pending_len() == reference.size());
    }
    for (const Status status : {Status::ok, Status::limit, Status::token_collision, Status::token_expired,
                                Status::token_mismatch, Status::token_not_pending}) {
        CAPTURE(status);
        CHECK(seen[status] > 10); // every answer was met
    }
}
