// Offers, from the wire to their one answer.
#include "support/exchange.hpp"

#include "support/descriptors.hpp"

using namespace rp::test;

namespace {

const rp_handoff_token token = token_of(1);
const rp_handoff_token other = token_of(2);

// A backend with one broker that speaks by hand.
struct Offering {
    explicit Offering(rp_handoff_backend_options options = sized<rp_handoff_backend_options>())
        : backend(make_backend(time.in(options))), peer(backend) {}

    Offer offered(const rp_handoff_token &with = token) const {
        peer.offer(client.fd.get(), with);
        return take_offer(backend);
    }

    FakeTime time;
    Backend backend;
    HandBroker peer;
    ClientConnection client;
};

std::int32_t accept_status(const Offer &offer) {
    Out<std::int32_t> fd;
    const std::int32_t status = rp_handoff_offer_accept(offer.get(), fd.get());
    CHECK(fd.untouched() == (status < 0));
    if (status >= 0) {
        close(fd.value);
    }
    return status;
}

void check_refused(const std::optional<HandBroker::Answer> &answer, const std::string &detail) {
    REQUIRE(answer);
    CHECK_FALSE(answer->accepted);
    CHECK(answer->correlation_id == 7);
    CHECK(answer->detail == detail);
    CHECK(rp_handoff_token_equal(&answer->token, &token) == 1);
}

} // namespace

TEST_CASE("an offer says what the broker wrote and whom the kernel saw") {
    const Offering offering;
    const std::string name = "caf\xC3\xA9";
    offering.peer.offer(offering.client.fd.get(), token, name, UINT64_MAX);
    const Offer offer = take_offer(offering.backend);
    REQUIRE(offer);
    const rp_handoff_offer_info info = info_of(offer);
    CHECK(std::string(info.service_name) == name);
    CHECK(info.service_name_length == name.size());
    CHECK(info.correlation_id == UINT64_MAX);
    CHECK(info.peer_pid == static_cast<std::uint32_t>(getpid()));
    CHECK(info.peer_uid == geteuid());
    CHECK(info.received_ns == offering.time.now);
    CHECK(rp_handoff_token_equal(&info.token, &token) == 1);
}

TEST_CASE("accept gives the descriptor and tells the broker, once") {
    const Offering offering;
    const Offer offer = offering.offered();
    REQUIRE(offer);
    std::int32_t fd = -1;
    REQUIRE(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_OK);
    const UniqueFd adopted(fd);
    CHECK(offering.client.is_served_by(fd));
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    const auto answer = offering.peer.answer();
    REQUIRE(answer);
    CHECK(answer->accepted);
    CHECK(answer->correlation_id == 7);
    CHECK(answer->detail == "");
    CHECK(rp_handoff_token_equal(&answer->token, &token) == 1);

    CHECK(accept_status(offer) == RP_HANDOFF_ERR_ANSWERED);
    CHECK(rp_handoff_offer_refuse(offer.get(), "late") == RP_HANDOFF_ERR_ANSWERED);
    CHECK_FALSE(offering.peer.answer());
    CHECK(info_of(offer).correlation_id == 7); // until destroy
    CHECK(statistics(offering.backend).accepted == 1);
    CHECK(statistics(offering.backend).refused == 0);
    CHECK(statistics(offering.backend).unanswered == 0);
}

TEST_CASE("destroying an accepted offer leaves its descriptor open") {
    const Offering offering;
    Offer offer = offering.offered();
    REQUIRE(offer);
    std::int32_t fd = -1;
    REQUIRE(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_OK);
    const UniqueFd adopted(fd);
    REQUIRE(offering.peer.answer());
    offer.reset();
    CHECK(offering.client.is_served_by(fd));
    CHECK_FALSE(offering.peer.answer());
}

TEST_CASE("refuse closes the descriptor and tells the broker why, once") {
    Offering offering;
    const Offer offer = offering.offered();
    REQUIRE(offer);
    offering.client.fd.reset();
    CHECK_FALSE(is_at_end(offering.client.client.get()));
    REQUIRE(rp_handoff_offer_refuse(offer.get(), "no room") == RP_HANDOFF_OK);
    CHECK(is_at_end(offering.client.client.get()));
    check_refused(offering.peer.answer(), "no room");
    CHECK(rp_handoff_offer_refuse(offer.get(), "no room") == RP_HANDOFF_ERR_ANSWERED);
    CHECK(accept_status(offer) == RP_HANDOFF_ERR_ANSWERED);
    CHECK_FALSE(offering.peer.answer());
    CHECK(statistics(offering.backend).refused == 1);
    CHECK(statistics(offering.backend).accepted == 0);
}

TEST_CASE("a refusal needs no words, and has at most 1024 bytes of them") {
    Offering offering;
    const auto detail_for = [&](const char *text) {
        static std::uint8_t next = 10;
        const Offer offer = offering.offered(token_of(next++));
        REQUIRE(rp_handoff_offer_refuse(offer.get(), text) == RP_HANDOFF_OK);
        const auto answer = offering.peer.answer();
        REQUIRE(answer);
        return answer->detail;
    };
    CHECK(detail_for(nullptr) == "");
    CHECK(detail_for("") == "");
    for (const std::size_t length : {1023U, 1024U}) {
        CHECK(detail_for(std::string(length, 'x').c_str()) == std::string(length, 'x'));
    }
    CHECK(detail_for(std::string(1025, 'x').c_str()) == std::string(1024, 'x'));
    CHECK(detail_for((std::string(1023, 'x') + "\xC3\xA9").c_str()) == std::string(1023, 'x'));
    CHECK(detail_for("good\xFF"
                     "bad") == "good");
}

TEST_CASE("destroying an offer without an answer refuses it") {
    Offering offering;
    Offer offer = offering.offered();
    REQUIRE(offer);
    offering.client.fd.reset();
    offer.reset();
    CHECK(is_at_end(offering.client.client.get()));
    const auto answer = offering.peer.answer();
    REQUIRE(answer);
    CHECK_FALSE(answer->accepted);
    CHECK(statistics(offering.backend).refused == 1);
}

TEST_CASE("a connection that was accepted is the backend's, whether the broker could be told or not") {
    Offering offering;
    const Offer offer = offering.offered();
    REQUIRE(offer);
    offering.peer.connection.reset();
    std::int32_t fd = -1;
    REQUIRE(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_ACK_UNDELIVERED);
    CHECK(offering.client.is_served_by(UniqueFd(fd).get()));
    CHECK(statistics(offering.backend).accepted == 1);
    CHECK(statistics(offering.backend).answers_undelivered == 1);
    CHECK(statistics(offering.backend).connections == 0);
}

TEST_CASE("a refusal that nobody hears is one all the same") {
    Offering offering;
    const Offer offer = offering.offered();
    REQUIRE(offer);
    offering.peer.connection.reset();
    offering.client.fd.reset();
    CHECK(rp_handoff_offer_refuse(offer.get(), "no") == RP_HANDOFF_ACK_UNDELIVERED);
    CHECK(is_at_end(offering.client.client.get()));
    CHECK(statistics(offering.backend).refused == 1);
    CHECK(statistics(offering.backend).answers_undelivered == 1);
}

TEST_CASE("an offer can be answered after its backend is gone") {
    Offering offering;
    const Offer offer = offering.offered();
    REQUIRE(offer);
    offering.backend.reset();
    CHECK(std::string(info_of(offer).service_name) == "service");
    std::int32_t fd = -1;
    CHECK(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_OK);
    CHECK(offering.client.is_served_by(UniqueFd(fd).get()));
    const auto answer = offering.peer.answer();
    REQUIRE(answer);
    CHECK(answer->accepted);
    CHECK(is_at_end(offering.peer.connection.get()));
}

TEST_CASE("a connection carries many offers, one after the other") {
    const Offering offering;
    for (std::uint8_t i = 1; i <= 5; ++i) {
        const Offer offer = offering.offered(token_of(i));
        REQUIRE(offer);
        CHECK(accept_status(offer) == RP_HANDOFF_OK);
        REQUIRE(offering.peer.answer());
    }
    CHECK(statistics(offering.backend).accepted == 5);
    CHECK(statistics(offering.backend).connections == 1);
}

TEST_CASE("a token that was used before is refused by itself") {
    const Offering offering;
    CHECK(accept_status(offering.offered()) == RP_HANDOFF_OK);
    REQUIRE(offering.peer.answer());
    CHECK_FALSE(offering.offered());
    check_refused(offering.peer.answer(), "handoff token is not pending");
    CHECK(statistics(offering.backend).rejected_tokens == 1);
    CHECK(offering.offered(other)); // the connection is still good
}

TEST_CASE("an offer has to present the token that came beside the descriptor") {
    Offering offering;
    const auto presented = [&](const Bytes &bytes) {
        auto wire = wire_offer(token, "service", 7);
        wire.token = bytes.data();
        wire.token_length = bytes.size();
        offering.peer.offer(offering.client.fd.get(), other, encoded(wire));
        CHECK_FALSE(take_offer(offering.backend));
        std::size_t consumed = 0;
        const Bytes answer = read_available(offering.peer.connection.get());
        auto ack = sized<rp_handoff_wire_ack>();
        REQUIRE(rp_handoff_wire_decode_ack(answer.data(), answer.size(), RP_HANDOFF_KIND_RESPONSE, &ack, &consumed) ==
                RP_HANDOFF_OK);
        CHECK(ack.accepted == 0);
        CHECK(Bytes(ack.token, ack.token + ack.token_length) == bytes); // echoed as it came
        return std::string(ack.error_detail, ack.error_detail_length);
    };
    CHECK(presented(Bytes(16, 1)) == "handoff token mismatch");
    CHECK(presented({}) == "handoff token is missing");
    CHECK(presented(Bytes(15, 2)) == "handoff token length was 15 bytes; expected 16");
    CHECK(presented(Bytes(17, 2)) == "handoff token length was 17 bytes; expected 16");
    CHECK(statistics(offering.backend).rejected_tokens == 4);
    offering.client.fd.reset();
    CHECK(is_at_end(offering.client.client.get())); // none of the descriptors was kept
}

TEST_CASE("a backend that expects tokens takes no others, and each once") {
    auto options = sized<rp_handoff_backend_options>();
    options.token_policy = RP_HANDOFF_TOKENS_EXPECTED;
    const Offering offering(options);
    CHECK_FALSE(offering.offered());
    check_refused(offering.peer.answer(), "handoff token is not pending");
    REQUIRE(rp_handoff_backend_expect(offering.backend.get(), &token) == RP_HANDOFF_OK);
    const Offer offer = offering.offered();
    REQUIRE(offer);
    CHECK(accept_status(offer) == RP_HANDOFF_OK);
    REQUIRE(offering.peer.answer());
    CHECK_FALSE(offering.offered());
    check_refused(offering.peer.answer(), "handoff token is not pending");
}

TEST_CASE("an offer whose token was revoked meanwhile cannot be accepted") {
    Offering offering;
    const Offer offer = offering.offered();
    REQUIRE(offer);
    CHECK(rp_handoff_backend_revoke(offering.backend.get(), &token) == 1);
    offering.client.fd.reset();
    CHECK(accept_status(offer) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    CHECK(is_at_end(offering.client.client.get()));
    check_refused(offering.peer.answer(), "handoff token is not pending");
    CHECK(accept_status(offer) == RP_HANDOFF_ERR_ANSWERED);
    CHECK(statistics(offering.backend).rejected_tokens == 1);
    CHECK(statistics(offering.backend).accepted == 0);
}

TEST_CASE("what is not an offer ends its connection, and no descriptor stays") {
    const Descriptors before = open_descriptors();
    {
        const Backend backend = make_backend();
        ClientConnection client;
        std::uint64_t rejected = 0;
        const auto check_dropped = [&](const Bytes &frame) {
            const HandBroker peer(backend);
            peer.offer(client.fd.get(), token, frame);
            CHECK_FALSE(take_offer(backend));
            CHECK_FALSE(peer.answer());
            CHECK(is_at_end(peer.connection.get()));
            CHECK(statistics(backend).rejected_offers == ++rejected);
            CHECK(statistics(backend).connections == 0);
        };
        check_dropped({2, 0, 0, 0, 0});
        check_dropped({1, 0, 0, 0, 0});
        check_dropped({1, 2, 0, 0, 0, 0xFF, 0xFF});
        check_dropped({1, 0xFF, 0xFF, 0xFF, 0xFF});
        check_dropped(encoded(wire_ack(token, true, 7)));
        client.fd.reset();
        CHECK(is_at_end(client.client.get()));
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("while as many offers as there may be connections are unanswered, no further ones are read") {
    auto options = sized<rp_handoff_backend_options>();
    options.max_connections = 1;
    const Offering offering(options);
    const Offer first = offering.offered();
    REQUIRE(first);
    CHECK(statistics(offering.backend).unanswered == 1);
    CHECK(statistics(offering.backend).connections == 0);
    const SocketPair pair;
    CHECK(rp_handoff_backend_add_connection(offering.backend.get(), pair.a.get(), RP_HANDOFF_TRUST_CALLER) ==
          RP_HANDOFF_ERR_LIMIT);
    CHECK(is_open(pair.a.get()));
    CHECK_FALSE(offering.offered(other)); // on the same connection, behind the first
    CHECK(accept_status(first) == RP_HANDOFF_OK);
    REQUIRE(offering.peer.answer());
    const Offer second_one = take_offer(offering.backend);
    REQUIRE(second_one);
    CHECK(info_of(second_one).token.bytes[0] == other.bytes[0]);
}

TEST_CASE("a broker that goes away with an answer unread has ended its connection, and offered nothing malformed") {
    Offering offering;
    CHECK(accept_status(offering.offered()) == RP_HANDOFF_OK);
    offering.peer.connection.reset();
    CHECK_FALSE(take_offer(offering.backend));
    CHECK(statistics(offering.backend).connections == 0);
    CHECK(statistics(offering.backend).rejected_offers == 0);
}
