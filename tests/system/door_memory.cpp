// Every allocation fails once: then a visit or a connection comes about all the same, or the call says ERR_NO_MEMORY, and
// neither a token nor a descriptor is left.
#include "support/allocations.hpp"
#include "support/api.hpp"
#include "support/descriptors.hpp"
#include "support/server.hpp"
#include "support/town.hpp"

using namespace rp::test;

namespace {

const std::string long_text(200, 'x'); // too long for any text to live without memory of its own

void check_answer(const Answer &answer) {
    CHECK((answer.status == RP_HANDOFF_OK || answer.status == RP_HANDOFF_ERR_NO_MEMORY));
    CHECK((answer.status == RP_HANDOFF_OK || answer.happened));
}

rp_handoff_front_door_service service_at(const char *path) {
    auto service = sized<rp_handoff_front_door_service>();
    service.name = long_text.c_str();
    service.version = long_text.c_str();
    service.backend_endpoint = long_text.c_str();
    service.handoff_endpoint = path;
    return service;
}

} // namespace

TEST_CASE("a front door without memory is not made, and a service without memory does not replace the one before") {
    const Broker broker = make_broker();
    for_every_allocation(1, [&](std::size_t nth) {
        Out<rp_handoff_front_door *> out;
        const Answer answer = without_memory(
            nth, [&] { return rp_handoff_front_door_create(broker.get(), nullptr, out.get(), nullptr); });
        CHECK(answer.status == (answer.happened ? RP_HANDOFF_ERR_NO_MEMORY : RP_HANDOFF_OK));
        CHECK(out.untouched() == answer.happened);
        rp_handoff_front_door_destroy(answer.happened ? nullptr : out.value);
        return answer.happened;
    });

    const FrontDoor door = make_front_door(broker, sized<rp_handoff_front_door_options>());
    auto service = service_at("/backend");
    const char *const versions[] = {long_text.c_str(), "1"};
    const std::uint32_t uids[] = {geteuid(), 1};
    service.allowed_versions = versions;
    service.allowed_versions_length = 2;
    service.client_uids = uids;
    service.client_uids_length = 2;
    bool known = false;
    for_every_allocation(5, [&](std::size_t nth) {
        const Answer answer =
            without_memory(nth, [&] { return rp_handoff_front_door_put_service(door.get(), &service, nullptr); });
        CHECK(answer.status == (answer.happened ? RP_HANDOFF_ERR_NO_MEMORY : RP_HANDOFF_OK));
        known = known || !answer.happened;
        const Guest guest(hello_of(long_text));
        CHECK(serve(door, guest.brokers_end()).visit.code ==
              (known ? RP_HANDOFF_REFUSED_VERSION_BLOCKED : RP_HANDOFF_REFUSED_SERVICE_UNKNOWN));
        return answer.happened;
    });
}

TEST_CASE(
    "a visit without memory leaves no token pending, and its client sees a reply with no ready frame, or the end") {
    const Server server;
    const Directory directory;
    const std::string path = directory / "backend";
    REQUIRE(rp::test::listen_at(server.backend.get(), path.c_str()) == RP_HANDOFF_OK);
    int served = 0;
    for_every_allocation(8, [&](std::size_t nth) {
        CAPTURE(nth);
        const Broker broker = make_broker();
        const FrontDoor door = make_front_door(broker, sized<rp_handoff_front_door_options>());
        const auto service = service_at(path.c_str());
        REQUIRE(rp_handoff_front_door_put_service(door.get(), &service, nullptr) == RP_HANDOFF_OK);
        const Guest guest(padded_to(encoded(hello_of(long_text)), 4000)); // too long to be read without memory
        OutStruct<rp_handoff_front_door_visit> visit;
        OutStruct<rp_handoff_outcome> outcome;
        const Answer answer = without_memory(nth, [&] {
            return rp_handoff_front_door_serve(door.get(), guest.brokers_end(), visit.get(), outcome.get());
        });
        check_answer(answer);
        CHECK(visit.untouched() == (answer.status != RP_HANDOFF_OK));
        CHECK(statistics(broker).pending_tokens == 0);
        CHECK(statistics(broker).pending_acks == 0);
        const Bytes received = guest.received();
        if (!received.empty()) {
            const Reply reply(received);
            const bool handed_off =
                answer.status == RP_HANDOFF_OK && visit.value.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF;
            CHECK(reply.rest.empty() == !handed_off);
            served += handed_off ? 1 : 0;
        }
        return answer.happened;
    });
    CHECK(served >= 1);
}

TEST_CASE("a refusal without memory is no memory, and nothing else") {
    for_every_allocation(2, [&](std::size_t nth) {
        const Broker broker = make_broker();
        const FrontDoor door = make_front_door(broker, sized<rp_handoff_front_door_options>());
        const Guest guest(hello_of());
        auto visit = sized<rp_handoff_front_door_visit>();
        const Answer answer = without_memory(
            nth, [&] { return rp_handoff_front_door_serve(door.get(), guest.brokers_end(), &visit, nullptr); });
        check_answer(answer);
        return answer.happened;
    });
}

TEST_CASE("a client without memory has no connection, and leaves no descriptor") {
    const Town town;
    const BackendProcess backend(town.handoff, town.reconnect);
    const BrokerProcess broker(town.door, town.handoff, town.reconnect);
    const auto before = open_descriptors();
    for (const bool adopt : {true, false}) {
        auto request = town.request();
        request.adopt = adopt ? 1 : 0;
        request.own_version = long_text.c_str();
        int connected = 0;
        for_every_allocation(3, [&](std::size_t nth) {
            CAPTURE(nth);
            OutStruct<rp_handoff_client_connection> out;
            const Answer answer =
                without_memory(nth, [&] { return rp_handoff_client_connect(&request, out.get(), nullptr); });
            check_answer(answer);
            CHECK(out.untouched() == (answer.status != RP_HANDOFF_OK));
            if (answer.status == RP_HANDOFF_OK) {
                const UniqueFd fd(out.value.fd);
                ++connected;
            }
            CHECK(open_descriptors() == before);
            return answer.happened;
        });
        CHECK(connected >= 1);
    }
}
