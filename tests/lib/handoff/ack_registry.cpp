#include "handoff/ack_registry.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "support/fakes.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::expire_next;
using rp::test::ns;
using rp::test::status_of;
using rp::test::token_of;

namespace {

// A store and a registry that know the tokens of 1 and 2, both since 1000.
struct Rooms {
    TokenStore store;
    AckRegistry acks{ns(100), 2};

    Rooms() {
        for (std::uint8_t byte = 1; byte <= 2; ++byte) {
            REQUIRE(store.expect(token_of(byte), at(1000)) == Status::ok);
            REQUIRE(acks.register_token(token_of(byte), "service", byte, at(1000)) == Status::ok);
        }
    }

    Status acknowledge(std::uint8_t byte, Instant observed) {
        return status_of(acks.acknowledge(store, token_of(byte), observed));
    }
};

} // namespace

TEST_CASE("a registry without settings waits five seconds for 1024 tokens") {
    AckRegistry acks;
    CHECK(acks.ack_deadline() == std::chrono::seconds(5));
    for (unsigned i = 0; i < 1024; ++i) {
        Token::Bytes bytes{};
        bytes[0] = static_cast<std::uint8_t>(i);
        bytes[1] = static_cast<std::uint8_t>(i >> 8U);
        REQUIRE(acks.register_token(Token(bytes), "", 0, at(0)) == Status::ok);
    }
    CHECK(acks.pending_len() == 1024);
    CHECK(acks.register_token(token_of(0xFF), "", 0, at(0)) == Status::limit);
}

TEST_CASE("a registry's settings of zero are clamped to one millisecond and one token") {
    AckRegistry acks(Duration::zero(), 0);
    CHECK(acks.ack_deadline() == std::chrono::milliseconds(1));
    CHECK(acks.register_token(token_of(1), "", 0, at(0)) == Status::ok);
    CHECK(acks.register_token(token_of(2), "", 0, at(0)) == Status::limit);
    CHECK(AckRegistry(ns(1), 1).ack_deadline() == ns(1));
}

TEST_CASE("a registered token has a backend, an unknown one has none") {
    Rooms rooms;
    CHECK(rooms.acks.pending_len() == 2);
    const auto backend = rooms.acks.pending_backend(token_of(2));
    REQUIRE(backend);
    CHECK(backend->service_name == "service");
    CHECK(backend->pid == 2);
    CHECK_FALSE(rooms.acks.pending_backend(token_of(3)));
}

TEST_CASE("an acknowledgement before the deadline completes and ends the token in both rooms") {
    Rooms rooms;
    const auto acknowledged = rooms.acks.acknowledge(rooms.store, token_of(1), at(1042));
    REQUIRE(acknowledged);
    CHECK(acknowledged->waited == ns(42));
    CHECK(acknowledged->service_name == "service");
    CHECK(acknowledged->pid == 1);
    CHECK(rooms.acks.pending_len() == 1);
    CHECK_FALSE(rooms.store.contains(token_of(1)));
    CHECK(rooms.store.contains(token_of(2)));
    CHECK(rooms.acknowledge(1, at(1042)) == Status::token_not_pending);
}

TEST_CASE("an acknowledgement is late at its deadline and in time one nanosecond before") {
    for (const auto &row :
         {std::pair(1099U, Status::ok), std::pair(1100U, Status::ack_overdue), std::pair(1101U, Status::ack_overdue)}) {
        const Instant observed = at(row.first);
        CAPTURE(row.first);
        Rooms rooms;
        CHECK(rooms.acknowledge(1, observed) == row.second);
        CHECK_FALSE(rooms.store.contains(token_of(1)));
        CHECK_FALSE(rooms.acks.pending_backend(token_of(1)));
        CHECK(rooms.acknowledge(1, observed) == Status::token_not_pending);
    }
}

TEST_CASE("an acknowledgement observed before its token was issued has waited for no time") {
    Rooms rooms;
    const auto acknowledged = rooms.acks.acknowledge(rooms.store, token_of(1), at(3));
    REQUIRE(acknowledged);
    CHECK(acknowledged->waited == Duration::zero());
}

TEST_CASE("an acknowledgement of an unregistered token leaves the store alone") {
    Rooms rooms;
    REQUIRE(rooms.store.expect(token_of(3), at(1000)) == Status::ok);
    CHECK(rooms.acknowledge(3, at(1001)) == Status::token_not_pending);
    CHECK(rooms.store.contains(token_of(3)));
    CHECK(rooms.store.pending_len() == 3);
}

TEST_CASE("an acknowledgement of a token that the store lost completes") {
    Rooms rooms;
    REQUIRE(rooms.store.revoke(token_of(1)));
    CHECK(rooms.acknowledge(1, at(1001)) == Status::ok);
}

TEST_CASE("a deadline that does not fit into time is due at once") {
    TokenStore store;
    AckRegistry acks(ns(100));
    REQUIRE(acks.register_token(token_of(1), "", 0, at(UINT64_MAX - 99)) == Status::ok);
    CHECK(acks.has_overdue(at(UINT64_MAX - 99)));
    CHECK(status_of(acks.acknowledge(store, token_of(1), at(UINT64_MAX - 99))) == Status::ack_overdue);
    REQUIRE(acks.register_token(token_of(1), "", 0, at(UINT64_MAX - 100)) == Status::ok);
    CHECK_FALSE(acks.has_overdue(at(UINT64_MAX - 1)));
    CHECK(status_of(acks.acknowledge(store, token_of(1), at(UINT64_MAX - 1))) == Status::ok);
}

TEST_CASE("registering a token again replaces its entry, also where there is no room for another") {
    Rooms rooms;
    CHECK(rooms.acks.register_token(token_of(3), "other", 3, at(1050)) == Status::limit);
    CHECK(rooms.acks.register_token(token_of(1), "other", 7, at(1050)) == Status::ok);
    CHECK(rooms.acks.pending_len() == 2);
    CHECK(rooms.acks.pending_backend(token_of(1))->service_name == "other");
    const auto acknowledged = rooms.acks.acknowledge(rooms.store, token_of(1), at(1149));
    REQUIRE(acknowledged);
    CHECK(acknowledged->waited == ns(99));
    CHECK(acknowledged->pid == 7);
}

TEST_CASE("a token that is registered again is nobody's to drive") {
    Rooms rooms;
    REQUIRE(rooms.acks.claim(token_of(1)));
    REQUIRE(rooms.acks.register_token(token_of(1), "", 0, at(1000)) == Status::ok);
    CHECK_FALSE(rooms.acks.is_claimed(token_of(1)));
}

TEST_CASE("a handoff is driven by one caller") {
    Rooms rooms;
    CHECK(status_of(rooms.acks.claim(token_of(3))) == Status::token_not_pending);
    CHECK_FALSE(rooms.acks.is_claimed(token_of(1)));
    const auto pending = rooms.acks.claim(token_of(1));
    REQUIRE(pending);
    CHECK(pending->backend.pid == 1);
    CHECK(pending->issued_at == at(1000));
    CHECK(pending->deadline == at(1100));
    CHECK(rooms.acks.is_claimed(token_of(1)));
    CHECK_FALSE(rooms.acks.is_claimed(token_of(2)));
    CHECK_FALSE(rooms.acks.is_claimed(token_of(3)));
    CHECK(status_of(rooms.acks.claim(token_of(1))) == Status::token_in_use);
    CHECK(rooms.acknowledge(1, at(1001)) == Status::ok);
    CHECK(status_of(rooms.acks.claim(token_of(1))) == Status::token_not_pending);
}

TEST_CASE("abandoning ends a token in both rooms and tells whether it was registered") {
    Rooms rooms;
    CHECK(rooms.acks.abandon(rooms.store, token_of(1)));
    CHECK_FALSE(rooms.store.contains(token_of(1)));
    CHECK(rooms.acknowledge(1, at(1001)) == Status::token_not_pending);
    CHECK_FALSE(rooms.acks.abandon(rooms.store, token_of(1)));
}

TEST_CASE("abandoning an unregistered token revokes it all the same") {
    Rooms rooms;
    REQUIRE(rooms.store.expect(token_of(3), at(1000)) == Status::ok);
    CHECK_FALSE(rooms.acks.abandon(rooms.store, token_of(3)));
    CHECK_FALSE(rooms.store.contains(token_of(3)));
}

TEST_CASE("abandoning ends a token that somebody drives") {
    Rooms rooms;
    REQUIRE(rooms.acks.claim(token_of(1)));
    CHECK(rooms.acks.abandon(rooms.store, token_of(1)));
    CHECK_FALSE(rooms.acks.is_claimed(token_of(1)));
}

TEST_CASE("an entry is overdue at its deadline, not before") {
    Rooms rooms;
    CHECK_FALSE(rooms.acks.has_overdue(at(1099)));
    CHECK_FALSE(expire_next(rooms.acks, rooms.store, at(1099)));
    CHECK(rooms.acks.has_overdue(at(1100)));
    CHECK(expire_next(rooms.acks, rooms.store, at(1100)));
}

TEST_CASE("what is overdue leaves one by one, oldest first, and its token is revoked") {
    TokenStore store;
    AckRegistry acks(ns(100));
    for (std::uint8_t byte = 1; byte <= 3; ++byte) {
        REQUIRE(store.expect(token_of(byte), at(byte)) == Status::ok);
        REQUIRE(acks.register_token(token_of(byte), "service", byte, at(byte)) == Status::ok);
    }
    for (std::uint8_t byte = 1; byte <= 2; ++byte) {
        const auto overdue = expire_next(acks, store, at(102));
        REQUIRE(overdue);
        CHECK(overdue->token == token_of(byte));
        CHECK(overdue->backend.service_name == "service");
        CHECK(overdue->backend.pid == byte);
        CHECK_FALSE(store.contains(token_of(byte)));
        CHECK(status_of(acks.acknowledge(store, token_of(byte), at(50))) == Status::token_not_pending);
    }
    CHECK_FALSE(expire_next(acks, store, at(102)));
    CHECK(acks.pending_len() == 1);
    CHECK(store.contains(token_of(3)));
}

TEST_CASE("what somebody drives is not overdue, however late") {
    Rooms rooms;
    REQUIRE(rooms.acks.claim(token_of(1)));
    CHECK(rooms.acks.has_overdue(at(5000)));
    const auto overdue = expire_next(rooms.acks, rooms.store, at(5000));
    REQUIRE(overdue);
    CHECK(overdue->token == token_of(2));
    CHECK_FALSE(rooms.acks.has_overdue(at(5000)));
    CHECK_FALSE(expire_next(rooms.acks, rooms.store, at(5000)));
    CHECK(rooms.acks.pending_len() == 1);
    CHECK(rooms.store.contains(token_of(1)));
}

TEST_CASE("as many as are wanted leave, oldest first, past any that somebody drives") {
    for (const std::size_t max : {0U, 1U, 4U, 5U, 6U}) {
        CAPTURE(max);
        TokenStore store;
        AckRegistry acks(ns(100));
        for (std::uint8_t byte = 1; byte <= 10; ++byte) {
            REQUIRE(acks.register_token(token_of(byte), "service", byte, at(byte)) == Status::ok);
            if (byte % 2 == 1) {
                REQUIRE(acks.claim(token_of(byte)));
            }
        }
        std::vector<std::uint32_t> ended;
        const std::size_t count =
            acks.expire(store, at(110), max, [&](const AckRegistry::Overdue &o) { ended.push_back(o.backend.pid); });
        CHECK(count == std::min<std::size_t>(max, 5));
        const std::vector<std::uint32_t> all{2, 4, 6, 8, 10};
        CHECK(ended == std::vector<std::uint32_t>(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count)));
        CHECK(acks.pending_len() == 10 - count);
        CHECK(acks.has_overdue(at(110)) == (count < 5));
    }
}
