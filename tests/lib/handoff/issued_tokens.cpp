#include "handoff/issued_tokens.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "os/random.hpp"
#include "support/allocations.hpp"
#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::CountingRandom;
using rp::test::expire_next;
using rp::test::ns;
using rp::test::ScriptedRandom;
using rp::test::status_of;
using rp::test::token_of;

namespace {

// Two tokens at most, alive for 1000, to be acknowledged within 100.
struct Issuer {
    IssuedTokens tokens{{2, ns(1000), 1}, ns(100)};
    CountingRandom random;

    Token issue(std::uint64_t now) {
        const Result<Token> token = tokens.issue("service", 7, at(now), random);
        REQUIRE(token);
        return *token;
    }

    void check_counts(std::size_t count) const {
        CHECK(tokens.counts().tokens == count);
        CHECK(tokens.counts().acks == count);
    }
};

void run_threads(int count, const std::function<void(int)> &body) {
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) {
        threads.emplace_back(body, i);
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
}

// Does something of the test's while it is asked, as a callback of the caller's may.
class CallingRandom final : public RandomSource {
  public:
    explicit CallingRandom(std::function<void()> call) : call_(std::move(call)) {}

    bool fill(std::uint8_t *out, std::size_t length) noexcept override {
        call_();
        return random_.fill(out, length);
    }

  private:
    std::function<void()> call_;
    os::SystemRandom random_;
};

} // namespace

TEST_CASE("an issued token is pending and registered, with its deadline from now") {
    Issuer issuer;
    const Token token = issuer.issue(500);
    issuer.check_counts(1);
    const auto pending = issuer.tokens.claim(token, at(501));
    REQUIRE(pending);
    CHECK(pending->backend.service_name == "service");
    CHECK(pending->backend.pid == 7);
    CHECK(pending->issued_at == at(500));
    CHECK(pending->deadline == at(600));
}

TEST_CASE("a token is not issued beyond the limit, and nothing is left behind") {
    Issuer issuer;
    issuer.issue(0);
    issuer.issue(0);
    CHECK(status_of(issuer.tokens.issue("service", 7, at(0), issuer.random)) == Status::limit);
    issuer.check_counts(2);
}

TEST_CASE("a token is not issued without random bytes, and nothing is left behind") {
    Issuer issuer;
    ScriptedRandom empty({});
    CHECK(status_of(issuer.tokens.issue("service", 7, at(0), empty)) == Status::random);
    issuer.check_counts(0);
}

TEST_CASE("a token is not issued twice, and the first stays as it was") {
    Issuer issuer;
    ScriptedRandom same({1, 1});
    REQUIRE(issuer.tokens.issue("first", 1, at(0), same));
    CHECK(status_of(issuer.tokens.issue("second", 2, at(0), same)) == Status::token_collision);
    issuer.check_counts(1);
    CHECK(issuer.tokens.claim(token_of(1), at(0))->backend.service_name == "first");
}

TEST_CASE("tokens that nobody used make room when they expire, without a sweep") {
    Issuer issuer;
    issuer.issue(0);
    issuer.issue(0);
    CHECK(status_of(issuer.tokens.issue("service", 7, at(999), issuer.random)) == Status::limit);
    for (int i = 0; i < 10; ++i) {
        const std::uint64_t now = 1000 + 1000 * static_cast<std::uint64_t>(i);
        const Token token = issuer.issue(now);
        issuer.issue(now);
        issuer.check_counts(2);
        CHECK(issuer.tokens.claim(token, at(now + 1)));
        CHECK(issuer.tokens.confirm(token, at(now + 1)));
    }
}

TEST_CASE("a source of random bytes may use the tokens while it is asked for one") {
    Issuer issuer;
    CallingRandom random([&issuer] { issuer.tokens.abandon(issuer.issue(0)); });
    CHECK(issuer.tokens.issue("service", 7, at(0), random));
    issuer.check_counts(1);
}

TEST_CASE("the limit holds where its last place is taken while a source of random bytes is asked") {
    Issuer issuer;
    issuer.issue(0);
    CallingRandom random([&issuer] { issuer.issue(0); });
    CHECK(status_of(issuer.tokens.issue("service", 7, at(0), random)) == Status::limit);
    issuer.check_counts(2);
}

TEST_CASE("wherever memory runs out while a token is issued, nothing is left behind") {
    Issuer issuer;
    const std::string long_name(200, 'n');
    std::size_t failures = 0;
    for (bool issued = false; !issued;) {
        const rp::test::FailAllocation fail(failures);
        try {
            issued = issuer.tokens.issue(long_name, 7, at(0), issuer.random).has_value();
        } catch (const std::bad_alloc &) {
            ++failures;
            issuer.check_counts(0);
        }
        REQUIRE(failures < 20);
    }
    CHECK(failures >= 3); // the name, the token, its registration
    issuer.check_counts(1);
}

TEST_CASE("a token is claimed by one") {
    Issuer issuer;
    const Token token = issuer.issue(0);
    CHECK(issuer.tokens.claim(token, at(0)));
    CHECK(status_of(issuer.tokens.claim(token, at(0))) == Status::token_in_use);
    CHECK(status_of(issuer.tokens.claim(token_of(9), at(0))) == Status::token_not_pending);
}

TEST_CASE("a token that lived its time can not be claimed and is gone from both rooms") {
    Issuer issuer;
    const Token token = issuer.issue(0);
    const Token other = issuer.issue(1);
    CHECK(issuer.tokens.claim(other, at(999)));
    CHECK(status_of(issuer.tokens.claim(token, at(1000))) == Status::token_expired);
    issuer.check_counts(1);
    CHECK(status_of(issuer.tokens.claim(token, at(1000))) == Status::token_not_pending);
}

TEST_CASE("a token past its deadline that has time to live can be claimed, for the handoff to end it") {
    Issuer issuer;
    const Token token = issuer.issue(0);
    CHECK(issuer.tokens.claim(token, at(100)));
}

TEST_CASE("confirming ends a claimed token and tells how long it waited") {
    Issuer issuer;
    const Token token = issuer.issue(500);
    REQUIRE(issuer.tokens.claim(token, at(500)));
    const auto waited = issuer.tokens.confirm(token, at(599));
    REQUIRE(waited);
    CHECK(*waited == ns(99));
    issuer.check_counts(0);
    CHECK(status_of(issuer.tokens.claim(token, at(599))) == Status::token_not_pending);
}

TEST_CASE("confirming at the deadline ends a claimed token as overdue") {
    for (const std::uint64_t observed : {600U, 601U}) {
        Issuer issuer;
        const Token token = issuer.issue(500);
        REQUIRE(issuer.tokens.claim(token, at(500)));
        const auto waited = issuer.tokens.confirm(token, at(observed));
        REQUIRE_FALSE(waited);
        CHECK(waited.error() == Cause::ack_overdue);
        issuer.check_counts(0);
    }
}

TEST_CASE("confirming a token that was abandoned meanwhile counts for nothing") {
    Issuer issuer;
    const Token token = issuer.issue(0);
    REQUIRE(issuer.tokens.claim(token, at(0)));
    CHECK(issuer.tokens.abandon(token));
    CHECK_FALSE(issuer.tokens.abandon(token));
    const auto waited = issuer.tokens.confirm(token, at(1));
    REQUIRE_FALSE(waited);
    CHECK(waited.error() == Cause::revoked);
}

TEST_CASE("acknowledging ends a token that nobody drives") {
    Issuer issuer;
    const Token token = issuer.issue(0);
    const Result<Duration> waited = issuer.tokens.acknowledge(token, at(99));
    REQUIRE(waited);
    CHECK(*waited == ns(99));
    issuer.check_counts(0);
    CHECK(status_of(issuer.tokens.acknowledge(token, at(99))) == Status::token_not_pending);
}

TEST_CASE("acknowledging at the deadline ends the token as overdue") {
    Issuer issuer;
    const Token token = issuer.issue(0);
    CHECK(status_of(issuer.tokens.acknowledge(token, at(100))) == Status::ack_overdue);
    issuer.check_counts(0);
}

TEST_CASE("acknowledging a token that somebody drives is refused and changes nothing") {
    Issuer issuer;
    const Token token = issuer.issue(0);
    REQUIRE(issuer.tokens.claim(token, at(0)));
    CHECK(status_of(issuer.tokens.acknowledge(token, at(1))) == Status::token_in_use);
    CHECK(issuer.tokens.confirm(token, at(2)));
}

TEST_CASE("what is overdue and driven by nobody leaves both rooms") {
    Issuer issuer;
    const Token driven = issuer.issue(0);
    const Token idle = issuer.issue(1);
    REQUIRE(issuer.tokens.claim(driven, at(1)));
    CHECK_FALSE(expire_next(issuer.tokens, at(100)));
    const auto overdue = expire_next(issuer.tokens, at(101));
    REQUIRE(overdue);
    CHECK(overdue->token == idle);
    CHECK(overdue->backend.pid == 7);
    CHECK_FALSE(expire_next(issuer.tokens, at(101)));
    issuer.check_counts(1);
}

TEST_CASE("pruning drops a bounded number of expired tokens and tells whether there is more to do") {
    Issuer issuer;
    issuer.issue(0);
    issuer.issue(0);
    CHECK_FALSE(issuer.tokens.prune(at(99), 8));
    CHECK(issuer.tokens.prune(at(100), 8)); // overdue, though not expired
    CHECK(issuer.tokens.counts().tokens == 2);
    CHECK(issuer.tokens.prune(at(1000), 1));
    CHECK(issuer.tokens.counts().tokens == 1);
    CHECK(issuer.tokens.prune(at(1000), 1));
    CHECK(issuer.tokens.counts().tokens == 0);
    while (expire_next(issuer.tokens, at(1000))) {
    }
    CHECK_FALSE(issuer.tokens.prune(at(1000), 1));
}

TEST_CASE("several threads issue and end their tokens side by side") {
    IssuedTokens tokens({64, ns(1000), 1}, ns(100));
    std::atomic<int> ended{0};
    run_threads(4, [&](int thread) {
        for (int i = 0; i < 500; ++i) {
            os::SystemRandom random;
            const Result<Token> token = tokens.issue("service", 7, at(0), random);
            if (!token || !tokens.claim(*token, at(1))) {
                continue;
            }
            const bool confirms = (i + thread) % 2 == 0;
            ended += confirms ? tokens.confirm(*token, at(2)).has_value() : tokens.abandon(*token);
        }
    });
    CHECK(ended == 4 * 500);
    CHECK(tokens.counts().tokens == 0);
    CHECK(tokens.counts().acks == 0);
}

TEST_CASE("of several threads that want the same token, one gets it") {
    for (int round = 0; round < 50; ++round) {
        IssuedTokens tokens({8, ns(1000), 1}, ns(100));
        CountingRandom random;
        const Result<Token> token = tokens.issue("service", 7, at(0), random);
        REQUIRE(token);
        std::atomic<int> claimed{0};
        std::atomic<int> in_use{0};
        run_threads(4, [&](int) {
            const auto pending = tokens.claim(*token, at(1));
            ++(pending ? claimed : in_use);
            if (!pending && pending.error() != Status::token_in_use) {
                in_use += 100;
            }
        });
        REQUIRE(claimed == 1);
        REQUIRE(in_use == 3);
    }
}

TEST_CASE("a token that several threads end at once ends once") {
    for (int round = 0; round < 50; ++round) {
        IssuedTokens tokens({8, ns(1000), 1}, ns(100));
        CountingRandom random;
        const Result<Token> token = tokens.issue("service", 7, at(0), random);
        REQUIRE(token);
        std::atomic<int> ended{0};
        run_threads(4, [&](int thread) {
            switch (thread) {
            case 0:
                ended += tokens.acknowledge(*token, at(1)).has_value();
                break;
            case 1:
                ended += tokens.abandon(*token);
                break;
            case 2:
                ended += expire_next(tokens, at(100)).has_value();
                break;
            default:
                ended += tokens.acknowledge(*token, at(100)) == tl::unexpected(Status::ack_overdue);
            }
        });
        REQUIRE(ended == 1);
        REQUIRE(tokens.counts().tokens == 0);
        REQUIRE(tokens.counts().acks == 0);
    }
}
