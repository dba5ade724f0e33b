// Arguments that no call can do anything with: nothing happens then, and results are left alone.
#include "support/api.hpp"
#include "support/exchange.hpp"

#include <string>

using namespace rp::test;

namespace {

constexpr std::int32_t invalid = RP_HANDOFF_ERR_INVALID_ARGUMENT;

const rp_handoff_token some_token = token_of(1);

template <class Change>
std::int32_t broker_status(Change change) {
    auto options = sized<rp_handoff_broker_options>();
    change(options);
    Out<rp_handoff_broker *> out;
    const std::int32_t status = rp_handoff_broker_create(&options, out.get(), nullptr);
    CHECK(out.untouched() == (status != RP_HANDOFF_OK));
    rp_handoff_broker_destroy(status == RP_HANDOFF_OK ? out.value : nullptr);
    return status;
}

template <class Change>
std::int32_t backend_status(Change change) {
    auto options = sized<rp_handoff_backend_options>();
    change(options);
    Out<rp_handoff_backend *> out;
    const std::int32_t status = rp_handoff_backend_create(&options, out.get(), nullptr);
    CHECK(out.untouched() == (status != RP_HANDOFF_OK));
    rp_handoff_backend_destroy(status == RP_HANDOFF_OK ? out.value : nullptr);
    return status;
}

using BrokerOptions = rp_handoff_broker_options;
using BackendOptions = rp_handoff_backend_options;

std::int32_t some_now(void *, std::uint64_t *) {
    return 0;
}
std::int32_t some_wait(void *, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *) {
    return 0;
}
std::int32_t some_transport(void *, const rp_handoff_attempt *, rp_handoff_transport_result *) {
    FAIL("called");
    return 0;
}

const char *const not_utf8[] = {
    "\xFF",             // never in UTF-8
    "caf\xE9",          // Latin-1
    "\x80",             // a continuation of nothing
    "\xC3",             // cut
    "\xC0\x80",         // an overlong NUL
    "\xED\xA0\x80",     // half of a surrogate pair
    "\xF4\x90\x80\x80", // beyond the last code point
};

} // namespace

TEST_CASE("a broker needs a place for its handle") {
    CHECK(rp_handoff_broker_create(nullptr, nullptr, nullptr) == invalid);
    CHECK(rp_handoff_backend_create(nullptr, nullptr, nullptr) == invalid);
}

TEST_CASE("unknown peer flags are refused") {
    const std::uint32_t known = RP_HANDOFF_PEER_ANY_UID | RP_HANDOFF_PEER_MATCH_PID;
    CHECK(broker_status([](BrokerOptions &o) { o.peer_flags = known; }) == RP_HANDOFF_OK);
    for (unsigned bit = 0; bit < 32; ++bit) {
        const std::uint32_t flag = 1U << bit;
        CHECK(broker_status([flag](BrokerOptions &o) { o.peer_flags = flag; }) ==
              ((flag & known) != 0 ? RP_HANDOFF_OK : invalid));
        CHECK(backend_status([flag](BackendOptions &o) { o.peer_flags = flag; }) ==
              (flag == RP_HANDOFF_PEER_ANY_UID ? RP_HANDOFF_OK : invalid));
    }
}

TEST_CASE("user ids need a list, and a list without a count is not looked at") {
    CHECK(broker_status([](BrokerOptions &o) { o.peer_uids_length = 1; }) == invalid);
    CHECK(backend_status([](BackendOptions &o) { o.peer_uids_length = 1; }) == invalid);
    auto *const nowhere = reinterpret_cast<const std::uint32_t *>(8);
    CHECK(broker_status([nowhere](BrokerOptions &o) { o.peer_uids = nowhere; }) == RP_HANDOFF_OK);
    CHECK(backend_status([nowhere](BackendOptions &o) { o.peer_uids = nowhere; }) == RP_HANDOFF_OK);
}

TEST_CASE("now and wait come together or not at all") {
    CHECK(broker_status([](BrokerOptions &o) { o.now = some_now; }) == invalid);
    CHECK(broker_status([](BrokerOptions &o) { o.wait = some_wait; }) == invalid);
    CHECK(backend_status([](BackendOptions &o) { o.now = some_now; }) == invalid);
    CHECK(backend_status([](BackendOptions &o) { o.wait = some_wait; }) == invalid);
}

TEST_CASE("the acknowledgement's deadline is shorter than the token's life") {
    const auto with = [](std::uint64_t ack_deadline, std::uint64_t ttl) {
        return broker_status([=](BrokerOptions &o) {
            o.ack_deadline_ns = ack_deadline;
            o.token_ttl_ns = ttl;
        });
    };
    CHECK(with(1, 2) == RP_HANDOFF_OK);
    CHECK(with(2, 2) == invalid);
    CHECK(with(3, 2) == invalid);
    CHECK(with(UINT64_MAX - 1, UINT64_MAX) == invalid); // both are the longest
    CHECK(with(RP_HANDOFF_FOREVER, RP_HANDOFF_FOREVER) == RP_HANDOFF_OK);
    CHECK(with(RP_HANDOFF_FOREVER, 2) == RP_HANDOFF_OK);
    // Also against the default of the other: 5 s and 30 s.
    CHECK(with(0, 5 * second + 1) == RP_HANDOFF_OK);
    CHECK(with(0, 5 * second) == invalid);
    CHECK(with(30 * second - 1, 0) == RP_HANDOFF_OK);
    CHECK(with(30 * second, 0) == invalid);
}

TEST_CASE("unknown token policies are refused") {
    for (const std::int32_t policy : {-1, 2, INT32_MAX, INT32_MIN}) {
        CHECK(backend_status([policy](BackendOptions &o) { o.token_policy = policy; }) == invalid);
    }
    CHECK(backend_status([](BackendOptions &o) { o.token_policy = RP_HANDOFF_TOKENS_EXPECTED; }) == RP_HANDOFF_OK);
}

TEST_CASE("issue needs a name in UTF-8 and a place for the token") {
    const Broker broker = make_broker();
    Out<rp_handoff_token> token;
    CHECK(rp_handoff_broker_issue(broker.get(), nullptr, 0, token.get()) == invalid);
    CHECK(rp_handoff_broker_issue(broker.get(), "service", 0, nullptr) == invalid);
    for (const char *name : not_utf8) {
        CHECK(rp_handoff_broker_issue(broker.get(), name, 0, token.get()) == invalid);
    }
    CHECK(token.untouched());
    CHECK(statistics(broker).pending_tokens == 0);
    CHECK(statistics(broker).issued == 0);
}

TEST_CASE("execute refuses a request that makes no sense, and the token stays pending") {
    const Broker broker = make_broker();
    const SocketPair connection;
    const ClientConnection client;
    const rp_handoff_token token = issue(broker);
    const auto status_of = [&](auto change) {
        rp_handoff_request request = request_over(connection.a.get(), client.fd.get(), token);
        change(request);
        OutStruct<rp_handoff_outcome> out;
        const std::int32_t status = rp_handoff_broker_execute(broker.get(), &request, out.get(), nullptr);
        CHECK(out.untouched());
        return status;
    };
    using Request = rp_handoff_request;
    CHECK(status_of([](Request &r) { r.fd = -1; }) == invalid);
    CHECK(status_of([](Request &r) { r.fd = INT32_MIN; }) == invalid);
    CHECK(status_of([](Request &r) { r.connection_fd = -1; }) == invalid);
    CHECK(status_of([](Request &r) { r.connection_fd = INT32_MIN; }) == invalid);
    CHECK(status_of([](Request &r) { r.connection_fd = 1 << 20; }) == invalid);
    const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    const UniqueFd unconnected(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const SocketPair packets(SOCK_SEQPACKET);
    for (const int fd : {null.get(), unconnected.get(), packets.a.get()}) {
        CHECK(status_of([fd](Request &r) { r.connection_fd = fd; }) == invalid);
    }
    for (const std::int32_t trust : {0, 3, -1, INT32_MAX, INT32_MIN}) {
        CHECK(status_of([trust](Request &r) { r.connection_trust = trust; }) == invalid);
    }
    CHECK(status_of([](Request &r) { r.transport = some_transport; }) == invalid);
    CHECK(status_of([](Request &r) { r.socket_path = ""; }) == RP_HANDOFF_ERR_PATH_INVALID);
    CHECK(status_of([](Request &r) { r.socket_path = "@abstract"; }) == RP_HANDOFF_ERR_PATH_INVALID);
    const std::string too_long = "/" + std::string(107, 'x'); // sun_path has 108 bytes, one of them for the NUL
    CHECK(status_of([&](Request &r) { r.socket_path = too_long.c_str(); }) == RP_HANDOFF_ERR_PATH_INVALID);

    const rp_handoff_request request = request_over(connection.a.get(), client.fd.get(), token);
    OutStruct<rp_handoff_outcome> out;
    CHECK(rp_handoff_broker_execute(broker.get(), nullptr, out.get(), nullptr) == invalid);
    CHECK(out.untouched());
    CHECK(rp_handoff_broker_execute(broker.get(), &request, nullptr, nullptr) == invalid);

    CHECK(read_available(connection.b.get()).empty());
    CHECK(rp_handoff_broker_revoke(broker.get(), &token) == 1);
    CHECK(statistics(broker).fallbacks == 0);
}

TEST_CASE("acknowledge and revoke need a token") {
    const Broker broker = make_broker();
    Out<std::uint64_t> waited;
    CHECK(rp_handoff_broker_acknowledge(broker.get(), nullptr, 0, waited.get()) == invalid);
    CHECK(waited.untouched());
    CHECK(rp_handoff_broker_revoke(broker.get(), nullptr) == invalid);
}

TEST_CASE("results need a place") {
    const Broker broker = make_broker();
    const Backend backend = make_backend();
    CHECK(rp_handoff_get_platform(nullptr) == invalid);
    CHECK(rp_handoff_broker_get_statistics(broker.get(), nullptr) == invalid);
    CHECK(rp_handoff_backend_get_statistics(backend.get(), nullptr) == invalid);
    CHECK(rp_handoff_backend_next_offer(backend.get(), 0, nullptr) == invalid);
    CHECK(rp_handoff_backend_get_timeout(backend.get(), nullptr) == invalid);
}

TEST_CASE("a backend needs a path, a token, a descriptor of the right kind and a word on trust") {
    const Backend backend = make_backend();
    const SocketPair pair;
    const rp_handoff_token token = token_of(1);
    CHECK(rp::test::listen_at(backend.get(), nullptr) == invalid);
    CHECK(rp_handoff_backend_expect(backend.get(), nullptr) == invalid);
    CHECK(rp_handoff_backend_revoke(backend.get(), nullptr) == invalid);
    CHECK(rp_handoff_backend_consume(backend.get(), nullptr, token.bytes, sizeof token.bytes) == invalid);
    CHECK(rp_handoff_backend_consume(backend.get(), &token, nullptr, 1) == invalid);
    for (const std::int32_t fd : {-1, INT32_MIN, 1 << 20}) {
        CHECK(rp::test::listen_on(backend.get(), fd, RP_HANDOFF_TRUST_CALLER) == invalid);
        CHECK(rp_handoff_backend_add_connection(backend.get(), fd, RP_HANDOFF_TRUST_CALLER) == invalid);
    }
    for (const std::int32_t trust : {0, 3, -1, INT32_MAX, INT32_MIN}) {
        CHECK(rp::test::listen_on(backend.get(), pair.a.get(), trust) == invalid);
        CHECK(rp_handoff_backend_add_connection(backend.get(), pair.a.get(), trust) == invalid);
    }
    CHECK(is_open(pair.a.get())); // still ours
    CHECK(statistics(backend).connections == 0);
}

TEST_CASE("an offer that was not told where to put the descriptor is still to be answered") {
    const Backend backend = make_backend();
    const HandBroker peer(backend);
    const ClientConnection client;
    peer.offer(client.fd.get(), token_of(1));
    const Offer offer = take_offer(backend);
    REQUIRE(offer);
    CHECK(rp_handoff_offer_get_info(offer.get(), nullptr) == invalid);
    CHECK(rp_handoff_offer_accept(offer.get(), nullptr) == invalid);
    CHECK_FALSE(peer.answer());
    std::int32_t fd = -1;
    CHECK(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_OK);
    CHECK(client.is_served_by(UniqueFd(fd).get()));
}

TEST_CASE("what is to be encoded needs a pointer wherever there is a length") {
    Out<std::size_t> length;
    const auto text = [](auto &pointer, auto &size) {
        pointer = nullptr;
        size = 1;
    };
    for (int member = 0; member < 3; ++member) {
        auto frame = sized<rp_handoff_wire_frame>();
        member == 0   ? text(frame.payload, frame.payload_length)
        : member == 1 ? text(frame.traceparent, frame.traceparent_length)
                      : text(frame.tracestate, frame.tracestate_length);
        CHECK(rp_handoff_wire_encode_frame(&frame, nullptr, 0, length.get()) == invalid);
    }
    for (int member = 0; member < 2; ++member) {
        auto offer = sized<rp_handoff_wire_offer>();
        auto ack = sized<rp_handoff_wire_ack>();
        member == 0 ? text(offer.token, offer.token_length) : text(offer.service_name, offer.service_name_length);
        member == 0 ? text(ack.token, ack.token_length) : text(ack.error_detail, ack.error_detail_length);
        CHECK(rp_handoff_wire_encode_offer(&offer, nullptr, 0, length.get()) == invalid);
        CHECK(rp_handoff_wire_encode_ack(&ack, RP_HANDOFF_KIND_EVENT, nullptr, 0, length.get()) == invalid);
    }
    CHECK(rp_handoff_wire_encode_frame(nullptr, nullptr, 0, length.get()) == invalid);
    CHECK(rp_handoff_wire_encode_offer(nullptr, nullptr, 0, length.get()) == invalid);
    CHECK(rp_handoff_wire_encode_ack(nullptr, RP_HANDOFF_KIND_EVENT, nullptr, 0, length.get()) == invalid);
    CHECK(length.untouched());
    const auto frame = sized<rp_handoff_wire_frame>();
    const auto offer = sized<rp_handoff_wire_offer>();
    const auto ack = sized<rp_handoff_wire_ack>();
    CHECK(rp_handoff_wire_encode_frame(&frame, nullptr, 0, nullptr) == invalid);
    CHECK(rp_handoff_wire_encode_offer(&offer, nullptr, 0, nullptr) == invalid);
    CHECK(rp_handoff_wire_encode_ack(&ack, RP_HANDOFF_KIND_EVENT, nullptr, 0, nullptr) == invalid);
}

TEST_CASE("what is to be encoded needs UTF-8 wherever there is a text") {
    Out<std::size_t> length;
    for (const std::string text : not_utf8) {
        auto frame = sized<rp_handoff_wire_frame>();
        frame.traceparent = text.data();
        frame.traceparent_length = text.size();
        CHECK(rp_handoff_wire_encode_frame(&frame, nullptr, 0, length.get()) == invalid);
        std::swap(frame.tracestate, frame.traceparent);
        std::swap(frame.tracestate_length, frame.traceparent_length);
        CHECK(rp_handoff_wire_encode_frame(&frame, nullptr, 0, length.get()) == invalid);
        const auto offer = wire_offer(some_token, text, 1);
        CHECK(rp_handoff_wire_encode_offer(&offer, nullptr, 0, length.get()) == invalid);
        const auto ack = wire_ack(some_token, false, 1, text);
        CHECK(rp_handoff_wire_encode_ack(&ack, RP_HANDOFF_KIND_EVENT, nullptr, 0, length.get()) == invalid);
    }
    CHECK(length.untouched());
}

TEST_CASE("an acknowledgement is a response or an event, and accepted is a flag") {
    Out<std::size_t> length;
    OutStruct<rp_handoff_wire_ack> decoded;
    auto ack = wire_ack(some_token, true, 1);
    const Bytes bytes = encoded(ack);
    for (const std::int32_t kind : {RP_HANDOFF_KIND_REQUEST + 0, RP_HANDOFF_KIND_CANCEL + 0, -1, 4, INT32_MIN}) {
        CHECK(rp_handoff_wire_encode_ack(&ack, kind, nullptr, 0, length.get()) == invalid);
        CHECK(rp_handoff_wire_decode_ack(bytes.data(), bytes.size(), kind, decoded.get(), length.get()) == invalid);
    }
    CHECK(length.untouched());
    CHECK(decoded.untouched());
    for (const std::int32_t accepted : {-1, 2, INT32_MIN}) {
        ack.accepted = accepted;
        CHECK(encoded(ack) == bytes);
    }
}

TEST_CASE("a buffer that is not there has no capacity") {
    Out<std::size_t> length;
    const auto frame = sized<rp_handoff_wire_frame>();
    const auto offer = sized<rp_handoff_wire_offer>();
    const auto ack = sized<rp_handoff_wire_ack>();
    CHECK(rp_handoff_wire_encode_frame(&frame, nullptr, 100, length.get()) == invalid);
    CHECK(rp_handoff_wire_encode_offer(&offer, nullptr, 100, length.get()) == invalid);
    CHECK(rp_handoff_wire_encode_ack(&ack, RP_HANDOFF_KIND_EVENT, nullptr, 100, length.get()) == invalid);
    CHECK(length.untouched());
}

TEST_CASE("what is to be decoded needs a pointer and a place for the results") {
    const Bytes bytes = encoded(wire_offer(token_of(1), "service", 1));
    OutStruct<rp_handoff_wire_frame> frame;
    OutStruct<rp_handoff_wire_offer> offer;
    OutStruct<rp_handoff_wire_ack> ack;
    Out<std::size_t> consumed;
    const auto decode = [&](const std::uint8_t *data, auto *f, auto *o, auto *a, std::size_t *used) {
        CHECK(rp_handoff_wire_decode_frame(data, bytes.size(), f, used) == invalid);
        CHECK(rp_handoff_wire_decode_offer(data, bytes.size(), o, used) == invalid);
        CHECK(rp_handoff_wire_decode_ack(data, bytes.size(), RP_HANDOFF_KIND_RESPONSE, a, used) == invalid);
    };
    decode(nullptr, frame.get(), offer.get(), ack.get(), consumed.get());
    decode(bytes.data(), frame.get(), offer.get(), ack.get(), nullptr);
    CHECK(rp_handoff_wire_decode_frame(bytes.data(), bytes.size(), nullptr, consumed.get()) == invalid);
    CHECK(rp_handoff_wire_decode_offer(bytes.data(), bytes.size(), nullptr, consumed.get()) == invalid);
    CHECK(rp_handoff_wire_decode_ack(bytes.data(), bytes.size(), RP_HANDOFF_KIND_RESPONSE, nullptr, consumed.get()) ==
          invalid);
    CHECK(frame.untouched());
    CHECK(offer.untouched());
    CHECK(ack.untouched());
    CHECK(consumed.untouched());
}

TEST_CASE("sending and receiving by hand need descriptors, bytes and a place for the result") {
    const SocketPair pair;
    const int a = pair.a.get();
    std::uint8_t byte = 1;
    Out<std::size_t> sent;
    CHECK(rp_handoff_wire_send(-1, a, &byte, 1, sent.get()) == invalid);
    CHECK(rp_handoff_wire_send(a, -1, &byte, 1, sent.get()) == invalid);
    CHECK(rp_handoff_wire_send(a, INT32_MIN, &byte, 1, sent.get()) == invalid);
    CHECK(rp_handoff_wire_send(a, a, nullptr, 1, sent.get()) == invalid);
    CHECK(rp_handoff_wire_send(a, a, &byte, 0, sent.get()) == invalid);
    CHECK(rp_handoff_wire_send(a, a, &byte, 1, nullptr) == invalid);
    CHECK(sent.untouched());
    CHECK(read_available(pair.b.get()).empty());
    Out<std::int32_t> fd;
    CHECK(rp_handoff_wire_receive(-1, &byte, 1, 0, fd.get()) == invalid);
    CHECK(rp_handoff_wire_receive(a, nullptr, 1, 0, fd.get()) == invalid);
    CHECK(rp_handoff_wire_receive(a, &byte, 0, 0, fd.get()) == invalid);
    CHECK(rp_handoff_wire_receive(a, &byte, 1, 0, nullptr) == invalid);
    CHECK(fd.untouched());
    CHECK(byte == 1);
}
