// What a front door says of a visit, and counts, where no handoff is attempted.
#include <doctest/doctest.h>

#include <sys/socket.h>
#include <unistd.h>

#include "door/front_door.hpp"
#include "os/random.hpp"
#include "support/fakes.hpp"
#include "wire/exchange.hpp"

using namespace rp::handoff;
using rp::test::at;

namespace {

using Visit = FrontDoor::Visit;

struct Source final : RandomSource {
    bool fails = false;
    bool fill(std::uint8_t *out, std::size_t length) noexcept override { return !fails && counting.fill(out, length); }
    rp::test::CountingRandom counting;
};

// A door without backends, and a clock that the test turns.
class House {
  public:
    House()
        : broker_(std::make_shared<Broker>(
              Broker::Config{}, time, random, [](int) noexcept { return std::uint64_t{0}; }, MessageMemory{})),
          door(broker_, {}) {
        service.name = "service";
        service.backend_endpoint = "/where/clients/reconnect";
        service.handoff_endpoint = "/nowhere/backend";
        service.clients = PeerPolicy(true, false, {});
    }

    Visit visit(std::uint64_t capabilities = wire::capability_handle_passing) {
        door.put_service(service);
        int ends[2];
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        const UniqueFd client(ends[0]);
        const UniqueFd own(ends[1]);
        const std::string bytes = hello(capabilities);
        REQUIRE(write(client.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
        return door.serve(own.get());
    }

    std::uint64_t unattempted(Reason reason) const {
        return door.statistics().unattempted[static_cast<std::size_t>(reason)];
    }

  private:
    static std::string hello(std::uint64_t capabilities) {
        wire::Hello hello;
        hello.client_min_protocol = hello.client_max_protocol = wire::negotiated_protocol;
        hello.service_name = "service";
        hello.client_capabilities = capabilities;
        std::string payload;
        wire::append(payload, hello);
        wire::Frame frame;
        frame.envelope_version = wire::envelope_v1;
        frame.payload = wire::as_bytes(payload);
        frame.request_id = 1;
        return wire::framed(frame);
    }

  public:
    rp::test::FakeTime time{at(1'000'000'000)};
    Source random;

  private:
    std::shared_ptr<Broker> broker_;

  public:
    Service service;
    FrontDoor door;
};

void check_unattempted(House &house, const Visit &visit, Reason reason, std::string_view words) {
    CHECK(visit.result == Visit::Result::reconnect);
    CHECK(visit.unattempted == reason);
    CHECK_FALSE(visit.handoff.has_value());
    CHECK(visit.status == Status::ok);
    CHECK(visit.detail.view().find(words) != std::string_view::npos);
    CHECK(house.unattempted(reason) == 1);
}

} // namespace

TEST_CASE("a visit of a client that cannot keep a connection says so, and is counted") {
    House house;
    check_unattempted(house, house.visit(0), Reason::client_unsupported, "client");
}

TEST_CASE(
    "a visit to a service without handoffs says so, and is counted, whether they are disabled or nobody takes them") {
    House disabled;
    disabled.service.handoff_enabled = false;
    check_unattempted(disabled, disabled.visit(), Reason::service_policy_disabled, "switched off");
    House nobody;
    nobody.service.handoff_endpoint.clear();
    check_unattempted(nobody, nobody.visit(), Reason::service_policy_disabled, "nobody takes them");
}

TEST_CASE("a visit to a backend from an earlier broker says so, and is counted") {
    House house;
    house.service.adopted_backend = true;
    check_unattempted(house, house.visit(), Reason::adopted_backend, "earlier broker");
}

TEST_CASE("a visit to a backend that failed too often says so, and when to try again, and is counted") {
    House house;
    for (int i = 0; i < 8; ++i) {
        const Visit visit = house.visit();
        CHECK(visit.handoff.has_value()); // nobody is there
        CHECK(visit.unattempted == Reason::none);
    }
    const Visit limited = house.visit();
    check_unattempted(house, limited, Reason::failed_attempt_rate_limited, "failed too often; again in ");
    REQUIRE(limited.retry_after.has_value());
    CHECK(limited.retry_after->count() > 0);
}

TEST_CASE("a visit for which no token can be had says so, with the status, and is counted") {
    House house;
    house.random.fails = true;
    const Visit visit = house.visit();
    CHECK(visit.result == Visit::Result::reconnect);
    CHECK(visit.unattempted == Reason::none);
    CHECK(visit.status == Status::random);
    CHECK(visit.detail.view().find("no token") != std::string_view::npos);
    CHECK(house.door.statistics().failed_tokens == 1);
}

TEST_CASE("each visit is counted once, by how it ended") {
    House house;
    house.visit(0);
    house.service.clients = PeerPolicy(false, false, {geteuid() + 1});
    const Visit refused = house.visit();
    CHECK(refused.result == Visit::Result::refused);
    CHECK(refused.detail.view().find("is not allowed (allowed: ") != std::string_view::npos);
    CHECK(house.door.serve(-1).result == Visit::Result::dropped);
    const FrontDoor::Statistics counted = house.door.statistics();
    CHECK(counted.visits[static_cast<std::size_t>(Visit::Result::dropped)] == 1);
    CHECK(counted.visits[static_cast<std::size_t>(Visit::Result::refused)] == 1);
    CHECK(counted.visits[static_cast<std::size_t>(Visit::Result::reconnect)] == 1);
    CHECK(counted.visits[static_cast<std::size_t>(Visit::Result::handed_off)] == 0);
}

TEST_CASE("what the policy objects to is told in words of its own, to whoever calls execute too") {
    std::vector<std::string> told;
    for (const Reason reason :
         {Reason::client_unsupported, Reason::service_policy_disabled, Reason::fd_pressure_disabled,
          Reason::adopted_backend, Reason::failed_attempt_rate_limited}) {
        const Text text = describe(Decision{reason, std::nullopt});
        CHECK(text.view().substr(0, 15) == "not attempted: ");
        CHECK(std::find(told.begin(), told.end(), text.view()) == told.end());
        told.emplace_back(text.view());
    }
    CHECK(
        describe(Decision{Reason::failed_attempt_rate_limited, rp::test::ns(1'500'001)}).view().find("again in 2 ms") !=
        std::string_view::npos);
}
