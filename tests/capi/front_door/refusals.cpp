// Whom the front door refuses, and with which number if there are several reasons.
#include "support/door.hpp"
#include "support/process.hpp"

using namespace rp::test;

namespace {

// The reasons of a refusal, the one first that is reported first.
enum : unsigned {
    wrong_pid = 1U << 0U,
    no_version = 1U << 1U,
    too_many = 1U << 2U,
    pressure = 1U << 3U,
    unknown_service = 1U << 4U,
    foreign_user = 1U << 5U,
    blocked_version = 1U << 6U,
    all_reasons = (1U << 7U) - 1
};

std::int32_t first_code(unsigned reasons) {
    const std::int32_t codes[] = {RP_HANDOFF_REFUSED_PEER_REJECTED,   RP_HANDOFF_REFUSED_VERSION_UNSUPPORTED,
                                  RP_HANDOFF_REFUSED_RATE_LIMITED,    RP_HANDOFF_REFUSED_FD_PRESSURE,
                                  RP_HANDOFF_REFUSED_SERVICE_UNKNOWN, RP_HANDOFF_REFUSED_PEER_REJECTED,
                                  RP_HANDOFF_REFUSED_VERSION_BLOCKED};
    std::size_t first = 0;
    while ((reasons >> first & 1U) == 0) {
        ++first;
    }
    return codes[first];
}

const char *const allowed[] = {"1.0", "1.1"};
const std::uint32_t somebody_else[] = {4'000'000'000};

rp_handoff_front_door_options one_hello(std::uint64_t window_ns = 0) {
    auto options = sized<rp_handoff_front_door_options>();
    options.max_hellos = 1;
    options.hello_window_ns = window_ns;
    return options;
}

rp_handoff_front_door_options max_hellos(std::uint32_t max) {
    auto options = one_hello();
    options.max_hellos = max;
    return options;
}

// A client process that dials, says its Hello and tells the number of its refusal, 'n' for none.
class ClientProcess {
  public:
    explicit ClientProcess(const std::string &path)
        : child_([path](const Wire &wire) {
              while (wire.hear() == 'g') {
                  const UniqueFd fd = dial(path);
                  write_all(fd.get(), encoded(hello_of()));
                  wait_for_input(fd.get());
                  const Reply answer(read_available(fd.get()));
                  const bool refused = answer.reply.choice == RP_HANDOFF_REPLY_REFUSED;
                  wire.say(refused ? static_cast<char>('0' + answer.reply.code) : 'n');
              }
          }) {}

    char visit(const House &house, const UniqueFd &listener) const {
        child_.say('g');
        const UniqueFd fd = accept_from(listener);
        wait_for_input(fd.get());
        serve(house.door, fd.get());
        return child_.hear();
    }

  private:
    Child child_;
};

} // namespace

TEST_CASE("of several reasons to refuse the first is told, in a fixed order") {
    for (unsigned reasons = 1; reasons <= all_reasons; ++reasons) {
        CAPTURE(reasons);
        House house(sized<rp_handoff_broker_options>(), one_hello());
        if ((reasons & foreign_user) != 0) {
            house.service.client_uids = somebody_else;
            house.service.client_uids_length = 1;
        }
        house.service.allowed_versions = allowed;
        house.service.allowed_versions_length = 2;
        house.put();
        if ((reasons & too_many) != 0) {
            house.serve(Guest(hello_of("nothing")));
        }
        if ((reasons & pressure) != 0) {
            REQUIRE(rp_handoff_broker_note_accept(house.broker.get(), EMFILE) == 1);
        }
        auto hello = hello_of((reasons & unknown_service) != 0 ? "nothing" : "service");
        SET_PAIR(hello, wanted_version, (reasons & blocked_version) != 0 ? "1.2" : "1.1");
        hello.peer_pid += (reasons & wrong_pid) != 0 ? 1 : 0;
        hello.client_min_protocol = hello.client_max_protocol = (reasons & no_version) != 0 ? 2 : 1;
        const Guest guest(hello);
        const Visit visit = house.serve(guest);
        check_refused(guest, visit, first_code(reasons));
        CHECK(visit.visit.connection_id == 0);
        CHECK(statistics(house.broker).issued == 0);
        CHECK(statistics(house.broker).fd_pressure_refusals ==
              (first_code(reasons) == RP_HANDOFF_REFUSED_FD_PRESSURE ? 1 : 0));
    }
}

TEST_CASE("a claimed pid has to be the client's, unless it is not claimed") {
    const House house;
    const auto result_of = [&house](std::uint32_t pid) {
        auto hello = hello_of();
        hello.peer_pid = pid;
        return house.serve(Guest(hello)).visit.result;
    };
    const auto own = static_cast<std::uint32_t>(getpid());
    CHECK(result_of(own) == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    CHECK(result_of(0) == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    CHECK(result_of(own + 1) == RP_HANDOFF_FRONT_DOOR_REFUSED);
    CHECK(result_of(1) == RP_HANDOFF_FRONT_DOOR_REFUSED);
    CHECK(result_of(UINT32_MAX) == RP_HANDOFF_FRONT_DOOR_REFUSED);
}

TEST_CASE("version 1 has to be in the client's range") {
    const House house;
    struct Case {
        std::uint32_t min;
        std::uint32_t max;
        bool served;
    };
    for (const Case &c : {Case{1, 1, true}, Case{0, 1, true}, Case{1, 2, true}, Case{0, UINT32_MAX, true},
                          Case{0, 0, false}, Case{2, 2, false}, Case{2, 1, false}, Case{1, 0, false}}) {
        CAPTURE(c.min);
        CAPTURE(c.max);
        auto hello = hello_of();
        hello.client_min_protocol = c.min;
        hello.client_max_protocol = c.max;
        const Guest guest(hello);
        const Visit visit = house.serve(guest);
        CHECK(visit.visit.result == (c.served ? RP_HANDOFF_FRONT_DOOR_HANDED_OFF : RP_HANDOFF_FRONT_DOOR_REFUSED));
        CHECK(visit.visit.code == (c.served ? 0 : RP_HANDOFF_REFUSED_VERSION_UNSUPPORTED));
    }
}

TEST_CASE("a wanted version has to be allowed, letter by letter, unless all are") {
    House house;
    const auto code_of = [&house](const char *version) {
        auto hello = hello_of();
        SET_PAIR(hello, wanted_version, version);
        return house.serve(Guest(hello)).visit.code;
    };
    CHECK(code_of("anything") == 0);
    house.service.allowed_versions = allowed;
    house.service.allowed_versions_length = 2;
    house.put();
    CHECK(code_of("1.0") == 0);
    CHECK(code_of("1.1") == 0);
    for (const char *version : {"", "1", "1.", "1.00", " 1.0", "anything"}) {
        CHECK(code_of(version) == RP_HANDOFF_REFUSED_VERSION_BLOCKED);
    }
}

TEST_CASE("who may visit is the service's to say, and its own user by default") {
    House house;
    const auto code = [&house] { return house.serve(Guest(hello_of())).visit.code; };
    CHECK(code() == 0);
    const std::uint32_t uids[] = {4'000'000'000, geteuid()};
    house.service.client_uids = uids;
    for (std::uint32_t count = 1; count <= 2; ++count) {
        house.service.client_uids_length = count;
        house.put();
        CHECK(code() == (count == 2 ? 0 : RP_HANDOFF_REFUSED_PEER_REJECTED));
    }
    house.service.client_uids_length = 1;
    house.service.client_peer_flags = RP_HANDOFF_PEER_ANY_UID;
    house.put();
    CHECK(code() == 0);
}

TEST_CASE("as many Hellos as the limit says are served in a window, and more are told when to come again") {
    House house(sized<rp_handoff_broker_options>(), max_hellos(3));
    house.service.handoff_disabled = 1; // so that no time passes
    house.put();
    const std::uint64_t start = house.time.now;
    for (int i = 0; i < 3; ++i) {
        house.time.now = start + static_cast<std::uint64_t>(i) * 100'000'000;
        CHECK(house.serve(Guest(hello_of())).visit.result == RP_HANDOFF_FRONT_DOOR_RECONNECT);
    }
    const auto retry_after_ms = [&house](std::uint64_t at) {
        house.time.now = at;
        const Guest guest(hello_of());
        const Visit visit = house.serve(guest);
        CHECK(visit.visit.code == RP_HANDOFF_REFUSED_RATE_LIMITED);
        return guest.reply().reply.retry_after_ms;
    };
    CHECK(retry_after_ms(start + 200'000'000) == 800);
    CHECK(retry_after_ms(start + 200'000'001) == 800); // rounded up
    CHECK(retry_after_ms(start + second - 1) == 1);
    house.time.now = start + second; // a second by default
    CHECK(house.serve(Guest(hello_of())).visit.result == RP_HANDOFF_FRONT_DOOR_RECONNECT);
}

TEST_CASE("a thousand Hellos in a second are allowed by default") {
    House house;
    house.service.handoff_disabled = 1;
    house.put();
    for (int i = 1; i <= 1001; ++i) {
        const std::int32_t code = house.serve(Guest(hello_of())).visit.code;
        REQUIRE(code == (i <= 1000 ? 0 : RP_HANDOFF_REFUSED_RATE_LIMITED));
    }
}

TEST_CASE("the limit of Hellos is each client process's own") {
    House house(sized<rp_handoff_broker_options>(), one_hello(10 * second));
    house.service.handoff_disabled = 1;
    house.put();
    const std::string path = house.directory / "door";
    const UniqueFd listener = listener_at(path);
    const ClientProcess first(path);
    const ClientProcess second_client(path);
    CHECK(first.visit(house, listener) == 'n');
    CHECK(second_client.visit(house, listener) == 'n');
    CHECK(first.visit(house, listener) == '4');
    CHECK(second_client.visit(house, listener) == '4');
    house.time.now += 10 * second - 1;
    CHECK(first.visit(house, listener) == '4');
    house.time.now += 1;
    CHECK(first.visit(house, listener) == 'n');
    CHECK(second_client.visit(house, listener) == 'n');
    CHECK(first.visit(house, listener) == '4');
}

TEST_CASE("a process that claims another's pid is refused, also if that process exists") {
    House house;
    const std::string path = house.directory / "door";
    const UniqueFd listener = listener_at(path);
    const Child child([&path](const Wire &wire) {
        const UniqueFd fd = dial(path);
        auto hello = hello_of();
        hello.peer_pid = static_cast<std::uint32_t>(getppid());
        write_all(fd.get(), encoded(hello));
        wire.hear();
    });
    const UniqueFd fd = accept_from(listener);
    wait_for_input(fd.get());
    CHECK(serve(house.door, fd.get()).visit.code == RP_HANDOFF_REFUSED_PEER_REJECTED);
}

TEST_CASE("in a time of descriptor pressure every service is refused, with the time after which to try again") {
    auto options = sized<rp_handoff_front_door_options>();
    for (const std::uint64_t retry_ns : {std::uint64_t{0}, std::uint64_t{2'500'000'001}}) {
        options.pressure_retry_ns = retry_ns;
        House house(sized<rp_handoff_broker_options>(), options);
        REQUIRE(rp_handoff_broker_note_accept(house.broker.get(), EMFILE) == 1);
        const Guest guest(hello_of());
        const Visit visit = house.serve(guest);
        const Reply answer = guest.reply();
        CHECK(visit.visit.code == RP_HANDOFF_REFUSED_FD_PRESSURE);
        CHECK(answer.reply.retry_after_ms == (retry_ns == 0 ? 1000 : 2501)); // rounded up
        CHECK(statistics(house.broker).fd_pressure_refusals == 1);
        for (int i = 0; i < 3; ++i) {
            rp_handoff_broker_note_accept(house.broker.get(), 0);
        }
        CHECK(house.serve(Guest(hello_of())).visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
        CHECK(statistics(house.broker).fd_pressure_refusals == 1);
    }
}

TEST_CASE("a refusal that cannot be delivered is a visit that was dropped") {
    const House house;
    Guest guest(hello_of("nothing"));
    guest.pair.a.reset();
    check_dropped(house.serve(guest), RP_HANDOFF_ERR_SYSTEM);
}

TEST_CASE("a refusal repeats the id of the request") {
    const House house;
    const Guest guest(encoded(hello_of("nothing"), 0xFFFF'FFFF'FFFF'FFFF));
    house.serve(guest);
    CHECK(guest.reply().request_id == 0xFFFF'FFFF'FFFF'FFFF);
}
