// What of many tokens that expire at once can be seen from outside: nothing but that they take a while to be dropped.
#include <doctest/doctest.h>

#include <map>
#include <random>

#include "handoff/issued_tokens.hpp"
#include "support/allocations.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::CountingRandom;
using rp::test::expire_next;
using rp::test::ns;
using rp::test::status_of;

namespace {

constexpr std::size_t bound = PendingTokens::drops_per_call;

std::vector<Token> issue(TokenStore &store, std::size_t count, std::uint64_t now) {
    CountingRandom random;
    std::vector<Token> tokens;
    for (std::size_t i = 0; i < count; ++i) {
        const Result<Token> token = store.issue(at(now), random);
        REQUIRE(token);
        tokens.push_back(*token);
    }
    return tokens;
}

Token numbered(unsigned number) {
    Token::Bytes bytes{};
    bytes[0] = static_cast<std::uint8_t>(number);
    bytes[1] = static_cast<std::uint8_t>(number >> 8U);
    return Token(bytes);
}

// The plain rule for a clock that may run backwards: a scan of everything, every time.
class Reference {
  public:
    std::size_t size() const { return pending_.size(); }

    Status expect(const Token &token, Instant now, std::size_t max, Duration ttl) {
        prune(now);
        pending_.erase(token.bytes());
        if (pending_.size() >= max) {
            return Status::limit;
        }
        pending_[token.bytes()] = after(now, ttl);
        return Status::ok;
    }
    Status consume(const Token &token, Instant now) {
        const auto found = pending_.find(token.bytes());
        const Status status = found == pending_.end() ? Status::token_not_pending
                              : now >= found->second  ? Status::token_expired
                                                      : Status::ok;
        if (found != pending_.end()) {
            pending_.erase(found);
        }
        prune(now);
        return status;
    }
    bool revoke(const Token &token) { return pending_.erase(token.bytes()) > 0; }
    bool contains(const Token &token) const { return pending_.count(token.bytes()) > 0; }

  private:
    void prune(Instant now) {
        for (auto entry = pending_.begin(); entry != pending_.end();) {
            entry = now >= entry->second ? pending_.erase(entry) : std::next(entry);
        }
    }

    std::map<Token::Bytes, Instant> pending_;
};

} // namespace

TEST_CASE("a store whose tokens have all expired issues as many as it may hold, without a refusal") {
    constexpr std::size_t max = 10 * bound;
    TokenStore store({max, ns(100), 1});
    issue(store, max, 0);
    CountingRandom random;
    for (std::size_t i = 0; i < max; ++i) {
        CAPTURE(i);
        REQUIRE(store.issue(at(100), random)); // values that are held still, too
        REQUIRE(store.pending_len() <= max);
    }
    CHECK(store.pending_len() == max);
    CHECK(status_of(store.issue(at(199), random)) == Status::limit);
}

TEST_CASE("one call drops a bounded number of expired tokens") {
    for (const std::size_t count : {bound - 1, bound, bound + 1, 5 * bound}) {
        CAPTURE(count);
        const std::size_t left = count > bound ? count - bound : 0;
        for (int call = 0; call < 3; ++call) {
            TokenStore store({8 * bound, ns(100), 1});
            issue(store, count, 0);
            CountingRandom random;
            const Token other = numbered(0xFFFF);
            if (call == 0) {
                CHECK(store.issue(at(100), random));
            } else if (call == 1) {
                CHECK(store.expect(other, at(100)) == Status::ok);
            } else {
                CHECK(store.consume_matching(other, other, at(100)) == Status::token_not_pending);
            }
            CHECK(store.pending_len() == left + (call < 2 ? 1 : 0));
        }
    }
}

TEST_CASE("an expired token is expired for the first that asks, and not pending after any call that saw it expired") {
    TokenStore store({8 * bound, ns(100), 1});
    const std::vector<Token> tokens = issue(store, 4 * bound, 0);
    const Token &last = tokens.back();
    const Token &another = tokens[tokens.size() - 2];
    CHECK(store.consume_matching(last, last, at(100)) == Status::token_expired);
    CHECK(store.pending_len() == 3 * bound - 1); // the others are held still
    CHECK(store.consume_matching(another, another, at(100)) == Status::token_not_pending);
    CHECK(store.consume_matching(another, another, at(50)) == Status::token_not_pending); // the clock was set back
    CHECK_FALSE(store.contains(another));
    CHECK_FALSE(store.revoke(another));
    CHECK(store.has_expired(at(50)));
    CHECK(store.prune_expired(at(50)) == 3 * bound - 1 - 2 * bound);
    CHECK(store.pending_len() == 0);
}

TEST_CASE("a claim of a token among many that have expired says so once") {
    IssuedTokens tokens({4 * bound, ns(1000), 1}, ns(100));
    CountingRandom random;
    std::vector<Token> issued;
    for (std::size_t i = 0; i < 4 * bound; ++i) {
        issued.push_back(*tokens.issue("service", 7, at(0), random));
    }
    CHECK(status_of(tokens.claim(issued.back(), at(1000))) == Status::token_expired);
    CHECK(status_of(tokens.claim(issued.back(), at(1000))) == Status::token_not_pending);
    const Token &another = issued[issued.size() - 2];
    CHECK(status_of(tokens.claim(another, at(999))) == Status::token_not_pending);
    CHECK(tokens.issue("service", 7, at(1000), random));
}

TEST_CASE("a full table whose tokens have expired unused issues on, without a sweep") {
    constexpr std::size_t max = 5 * bound;
    IssuedTokens tokens({max, ns(1000), 1}, ns(100));
    CountingRandom random;
    for (std::uint64_t now = 0; now < 5000; now += 1000) {
        for (std::size_t i = 0; i < max; ++i) {
            REQUIRE(tokens.issue("service", 7, at(now), random));
        }
        CHECK(tokens.counts().tokens == max);
        CHECK(tokens.counts().acks == max);
        CHECK(status_of(tokens.issue("service", 7, at(now + 999), random)) == Status::limit);
    }
}

TEST_CASE("issuing and acknowledging again and again allocates nothing, however long the names, and nothing pending") {
    for (const std::size_t pending : {0U, 1U, 1000U}) {
        CAPTURE(pending);
        IssuedTokens tokens({2000, ns(1000), 16}, ns(100));
        CountingRandom random;
        const std::string names[] = {std::string(255, 'a'), std::string(200, 'b'), "c"};
        for (std::size_t i = 0; i < pending; ++i) {
            REQUIRE(tokens.issue("pending", 7, at(0), random));
        }
        const auto round = [&] {
            for (const std::string &name : names) {
                const Result<Token> token = tokens.issue(name, 7, at(0), random);
                REQUIRE(token);
                REQUIRE(tokens.acknowledge(*token, at(1)));
            }
        };
        round();
        const std::size_t before = rp::test::allocations();
        for (int i = 0; i < 100; ++i) {
            round();
        }
        CHECK(rp::test::allocations() == before);
    }
}

TEST_CASE("claiming, confirming, abandoning and expiring allocate nothing") {
    IssuedTokens tokens({2000, ns(1000), 16}, ns(100));
    CountingRandom random;
    std::vector<Token> issued;
    for (int i = 0; i < 100; ++i) {
        issued.push_back(*tokens.issue(std::string(255, 'n'), 7, at(0), random));
    }
    const std::size_t before = rp::test::allocations();
    CHECK(tokens.claim(issued[0], at(1))->backend.service_name.view().size() == 255);
    CHECK(tokens.confirm(issued[0], at(1)));
    CHECK(tokens.abandon(issued[1]));
    CHECK(expire_next(tokens, at(100))->backend.service_name.view().size() == 255);
    CHECK(rp::test::allocations() == before);
}

TEST_CASE("many tokens that expire in crowds do what a plain scan does, with a clock set back at times") {
    constexpr std::size_t max = 300;
    const unsigned seed = 31;
    CAPTURE(seed);
    std::mt19937 dice(seed);
    TokenStore store({max, ns(500), 1});
    Reference reference;
    std::uint64_t now = 10000;
    Token recent;
    std::map<Status, int> seen;
    int lagging = 0;
    for (int step = 0; step < 60000; ++step) {
        CAPTURE(step);
        const bool jumps = dice() % 600 == 0;
        if (jumps) {
            now = dice() % 3 == 0 ? now - std::min<std::uint64_t>(now, dice() % 1000) : now + dice() % 1000;
        }
        // The first after a jump is most often for a token that was pending.
        const Token token = jumps ? recent : numbered(static_cast<unsigned>(dice() % 1000));
        const auto roll = jumps ? 5 : dice() % 8;
        if (roll < 5) {
            const Status status = store.expect(token, at(now));
            ++seen[status];
            recent = token;
            REQUIRE(status == reference.expect(token, at(now), max, ns(500)));
        } else if (roll < 7) {
            const Status status = store.consume_matching(token, token, at(now));
            ++seen[status];
            REQUIRE(status == reference.consume(token, at(now)));
        } else {
            REQUIRE(store.revoke(token) == reference.revoke(token));
        }
        REQUIRE(store.contains(token) == reference.contains(token));
        REQUIRE(store.pending_len() >= reference.size());
        REQUIRE(store.pending_len() <= max);
        lagging += store.pending_len() > reference.size();
    }
    CHECK(lagging > 100); // or nothing was put off
    for (const Status status : {Status::ok, Status::limit, Status::token_expired, Status::token_not_pending}) {
        CAPTURE(status);
        CHECK(seen[status] > 10); // every answer was met
    }
}
