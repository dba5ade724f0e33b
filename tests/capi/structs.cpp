// Structs that say their own size: what a call makes of one from an older or a newer header, or of garbage.
#include "support/exchange.hpp"

#include <new>
#include <sys/mman.h>

#include "support/sizes.hpp"

using namespace rp::test;

namespace {

const rp_handoff_token token = token_of(3);

} // namespace

TEST_CASE("broker options may be of another size") {
    check_input(sized<rp_handoff_broker_options>(), [](const rp_handoff_broker_options *options) {
        Out<rp_handoff_broker *> out;
        const std::int32_t status = rp_handoff_broker_create(options, out.get(), nullptr);
        CHECK(out.untouched() == (status != RP_HANDOFF_OK));
        rp_handoff_broker_destroy(status == RP_HANDOFF_OK ? out.value : nullptr);
        return status;
    });
}

TEST_CASE("backend options may be of another size") {
    check_input(sized<rp_handoff_backend_options>(), [](const rp_handoff_backend_options *options) {
        Out<rp_handoff_backend *> out;
        const std::int32_t status = rp_handoff_backend_create(options, out.get(), nullptr);
        CHECK(out.untouched() == (status != RP_HANDOFF_OK));
        rp_handoff_backend_destroy(status == RP_HANDOFF_OK ? out.value : nullptr);
        return status;
    });
}

TEST_CASE("no options are all defaults") {
    rp_handoff_broker *broker = nullptr;
    rp_handoff_backend *backend = nullptr;
    REQUIRE(rp_handoff_broker_create(nullptr, &broker, nullptr) == RP_HANDOFF_OK);
    REQUIRE(rp_handoff_backend_create(nullptr, &backend, nullptr) == RP_HANDOFF_OK);
    const Broker broker_owner(broker);
    const Backend backend_owner(backend);
    issue(broker_owner);
}

TEST_CASE("a request may be of another size, and one that is refused leaves its token pending") {
    Exchange exchange;
    check_input(request_over(exchange.connection.get(), exchange.client.fd.get(), token),
                [&exchange](const rp_handoff_request *in) {
                    Newer<rp_handoff_request> request;
                    std::memcpy(&request, in, sizeof request);
                    request.known.token = issue(exchange.broker);
                    OutStruct<rp_handoff_outcome> out;
                    const std::int32_t status =
                        rp_handoff_broker_execute(exchange.broker.get(), &request.known, out.get(), nullptr);
                    CHECK(out.untouched() == (status != RP_HANDOFF_OK));
                    CHECK(rp_handoff_broker_revoke(exchange.broker.get(), &request.known.token) ==
                          (status == RP_HANDOFF_OK ? 0 : 1));
                    return status;
                });
}

TEST_CASE("what the policy is asked and told may be of another size") {
    const Broker broker = make_broker();
    const auto key = sized<rp_handoff_backend_key>();
    auto subject = sized<rp_handoff_subject>();
    subject.backend = &key;
    check_input(key, [&broker](const rp_handoff_backend_key *in) {
        return rp_handoff_broker_record(broker.get(), in, RP_HANDOFF_REASON_NONE, nullptr, nullptr);
    });
    check_input(subject, [&broker](const rp_handoff_subject *in) {
        auto decision = sized<rp_handoff_decision>();
        return rp_handoff_broker_should_attempt(broker.get(), in, &decision, nullptr);
    });
    check_result<rp_handoff_decision>([&](rp_handoff_decision *out) {
        return rp_handoff_broker_should_attempt(broker.get(), &subject, out, nullptr);
    });
}

TEST_CASE("a value request may be of another size, and one that is refused leaves its token pending") {
    const Broker broker = make_broker();
    check_input(sized<rp_handoff_value_request>(), [&broker](const rp_handoff_value_request *in) {
        Newer<rp_handoff_value_request> request;
        std::memcpy(&request, in, sizeof request);
        request.known.token = issue(broker);
        auto outcome = sized<rp_handoff_outcome>();
        const std::int32_t status =
            rp_handoff_broker_execute_value(broker.get(), &request.known, &outcome, nullptr, nullptr);
        CHECK(rp_handoff_broker_revoke(broker.get(), &request.known.token) == (status == RP_HANDOFF_OK ? 0 : 1));
        return status;
    });
}

TEST_CASE("what a front door is given may be of another size, and what it tells fits into any that is large enough") {
    const Broker broker = make_broker();
    const FrontDoor door = make_front_door(broker);
    check_input(sized<rp_handoff_front_door_options>(), [&broker](const rp_handoff_front_door_options *options) {
        rp_handoff_front_door *made = nullptr;
        const std::int32_t status = rp_handoff_front_door_create(broker.get(), options, &made, nullptr);
        rp_handoff_front_door_destroy(made);
        return status;
    });
    auto service = sized<rp_handoff_front_door_service>();
    service.name = "service";
    service.backend_endpoint = "/nowhere/socket";
    check_input(service, [&door](const rp_handoff_front_door_service *in) {
        return rp_handoff_front_door_put_service(door.get(), in, nullptr);
    });
    SocketPair gone;
    gone.b.reset();
    check_result<rp_handoff_front_door_visit>([&](rp_handoff_front_door_visit *out) {
        return rp_handoff_front_door_serve(door.get(), gone.a.get(), out, nullptr);
    });
}

TEST_CASE("what a client asks may be of another size") {
    auto request = sized<rp_handoff_client_request>();
    request.broker_path = "/nowhere/socket";
    request.service_name = "service";
    check_input(
        request,
        [](const rp_handoff_client_request *in) {
            OutStruct<rp_handoff_client_connection> out;
            const std::int32_t status = rp_handoff_client_connect(in, out.get(), nullptr);
            CHECK(out.untouched());
            return status;
        },
        RP_HANDOFF_ERR_UNAVAILABLE);
    OutStruct<rp_handoff_client_connection> out;
    out.value.struct_size = sizeof out.value - 1;
    CHECK(rp_handoff_client_connect(&request, out.get(), nullptr) == RP_HANDOFF_ERR_STRUCT_SIZE);
}

TEST_CASE("messages to be encoded may be of another size") {
    Out<std::size_t> length;
    const auto check = [&length](std::int32_t status) {
        CHECK(length.untouched() == (status != RP_HANDOFF_OK));
        length = {};
        return status;
    };
    check_input(wire_offer(token, "service", 1), [&](const rp_handoff_wire_offer *offer) {
        return check(rp_handoff_wire_encode_offer(offer, nullptr, 0, length.get()));
    });
    check_input(wire_ack(token, true, 1), [&](const rp_handoff_wire_ack *ack) {
        return check(rp_handoff_wire_encode_ack(ack, RP_HANDOFF_KIND_EVENT, nullptr, 0, length.get()));
    });
    check_input(sized<rp_handoff_wire_frame>(), [&](const rp_handoff_wire_frame *frame) {
        return check(rp_handoff_wire_encode_frame(frame, nullptr, 0, length.get()));
    });
    check_input(sized<rp_handoff_wire_hello>(), [&](const rp_handoff_wire_hello *hello) {
        return check(rp_handoff_wire_encode_hello(hello, 1, nullptr, 0, length.get()));
    });
    auto reply = sized<rp_handoff_wire_reply>();
    reply.choice = RP_HANDOFF_REPLY_NEGOTIATED;
    check_input(reply, [&](const rp_handoff_wire_reply *in) {
        return check(rp_handoff_wire_encode_reply(in, 1, nullptr, 0, length.get()));
    });
}

TEST_CASE("what the library knows of the platform fits into a struct of any size that is large enough") {
    check_result<rp_handoff_platform>([](rp_handoff_platform *out) { return rp_handoff_get_platform(out); });
}

TEST_CASE("statistics fit into a struct of any size that is large enough") {
    const Broker broker = make_broker();
    const Backend backend = make_backend();
    check_result<rp_handoff_broker_statistics>(
        [&](rp_handoff_broker_statistics *out) { return rp_handoff_broker_get_statistics(broker.get(), out); });
    check_result<rp_handoff_backend_statistics>(
        [&](rp_handoff_backend_statistics *out) { return rp_handoff_backend_get_statistics(backend.get(), out); });
}

TEST_CASE("an outcome fits into a struct of any size that is large enough, and is refused before anything is sent") {
    Exchange exchange;
    check_result<rp_handoff_outcome>([&](rp_handoff_outcome *out) {
        const rp_handoff_request request = exchange.request(issue(exchange.broker));
        const std::int32_t status = rp_handoff_broker_execute(exchange.broker.get(), &request, out, nullptr);
        CHECK(static_cast<bool>(exchange.adopted) == (status == RP_HANDOFF_OK));
        exchange.adopted.reset();
        return status;
    });
}

TEST_CASE("what is known of an offer fits into a struct of any size that is large enough") {
    const Backend backend = make_backend();
    const HandBroker peer(backend);
    const ClientConnection client;
    peer.offer(client.fd.get(), token);
    const Offer offer = take_offer(backend);
    REQUIRE(offer);
    check_result<rp_handoff_offer_info>(
        [&](rp_handoff_offer_info *out) { return rp_handoff_offer_get_info(offer.get(), out); });
}

TEST_CASE("decoded messages fit into a struct of any size that is large enough") {
    const Bytes offer = encoded(wire_offer(token, "service", 1));
    const Bytes ack = encoded(wire_ack(token, true, 1));
    std::size_t consumed = 0;
    check_result<rp_handoff_wire_offer>([&](rp_handoff_wire_offer *out) {
        return rp_handoff_wire_decode_offer(offer.data(), offer.size(), out, &consumed);
    });
    check_result<rp_handoff_wire_frame>([&](rp_handoff_wire_frame *out) {
        return rp_handoff_wire_decode_frame(offer.data(), offer.size(), out, &consumed);
    });
    check_result<rp_handoff_wire_ack>([&](rp_handoff_wire_ack *out) {
        return rp_handoff_wire_decode_ack(ack.data(), ack.size(), RP_HANDOFF_KIND_RESPONSE, out, &consumed);
    });
}

TEST_CASE("a size that no struct has is refused without a look at what lies there") {
    constexpr std::size_t page = 4096;
    auto *const memory = static_cast<std::uint8_t *>(
        mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(memory != MAP_FAILED);
    REQUIRE(mprotect(memory + page, page, PROT_NONE) == 0);
    auto *const options = new (memory + page - sizeof(rp_handoff_broker_options)) rp_handoff_broker_options{};
    rp_handoff_broker *broker = nullptr;
    for (const std::uint32_t size : {std::uint32_t{page} + 1, std::uint32_t{0x10000}, UINT32_MAX}) {
        options->struct_size = size;
        CHECK(rp_handoff_broker_create(options, &broker, nullptr) == RP_HANDOFF_ERR_STRUCT_SIZE);
    }
    std::memset(memory, 0, page);
    auto *const long_options = new (memory) rp_handoff_broker_options{};
    long_options->struct_size = page;
    CHECK(rp_handoff_broker_create(long_options, &broker, nullptr) == RP_HANDOFF_OK);
    const Broker owner(broker);
    munmap(memory, 2 * page);
}

TEST_CASE("a reserved member that is not zero is a setting which this library does not know") {
    auto options = sized<rp_handoff_broker_options>();
    options.reserved = 1;
    Out<rp_handoff_broker *> broker;
    CHECK(rp_handoff_broker_create(&options, broker.get(), nullptr) == RP_HANDOFF_ERR_UNSUPPORTED);
    CHECK(broker.untouched());

    Out<std::size_t> length;
    auto frame = sized<rp_handoff_wire_frame>();
    frame.reserved = 1;
    CHECK(rp_handoff_wire_encode_frame(&frame, nullptr, 0, length.get()) == RP_HANDOFF_ERR_UNSUPPORTED);
    auto offer = wire_offer(token, "service", 1);
    offer.reserved = 1;
    CHECK(rp_handoff_wire_encode_offer(&offer, nullptr, 0, length.get()) == RP_HANDOFF_ERR_UNSUPPORTED);
    CHECK(length.untouched());
}
