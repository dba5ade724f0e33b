// Reading the Hello: under one absolute deadline, within its bounds.
#include "support/door.hpp"

using namespace rp::test;

namespace {

rp_handoff_front_door_options with_timeout(std::uint64_t ns) {
    auto options = sized<rp_handoff_front_door_options>();
    options.hello_timeout_ns = ns;
    return options;
}

// Writes its bytes one at a time, each when the broker waits and a second later than the one before.
class Trickler {
  public:
    Trickler(House &house, const Guest &guest, Bytes bytes) : bytes_(std::move(bytes)) {
        house.time.meanwhile = [this, &house, &guest] {
            if (sent < bytes_.size()) {
                house.time.now += second;
                write_all(guest.pair.a.get(), {bytes_[sent++]});
            } else {
                house.act();
            }
        };
    }

    std::size_t sent = 0;

  private:
    Bytes bytes_;
};

Bytes frame_of(std::int32_t kind, std::uint32_t protocol, std::uint32_t version = 1,
               std::int32_t encoding = RP_HANDOFF_ENCODING_NONE) {
    auto frame = sized<rp_handoff_wire_frame>();
    frame.envelope_version = version;
    frame.kind = kind;
    frame.payload_protocol = protocol;
    frame.payload_encoding = encoding;
    frame.request_id = 1;
    return encoded(frame);
}

} // namespace

TEST_CASE("a Hello that trickles in byte by byte within its deadline is served") {
    const Bytes bytes = encoded(hello_of());
    House house({sized<rp_handoff_broker_options>()}, with_timeout((bytes.size() + 1) * second));
    const Guest guest;
    const Trickler trickler(house, guest, bytes);
    CHECK(house.serve(guest).visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    CHECK(trickler.sent == bytes.size());
}

TEST_CASE("a client that trickles cannot stretch the deadline, which is an instant") {
    const Bytes bytes = encoded(hello_of());
    for (const std::size_t limit : {std::size_t{1}, std::size_t{3}, std::size_t{10}, bytes.size() - 1}) {
        CAPTURE(limit);
        House house({sized<rp_handoff_broker_options>()}, with_timeout(limit * second));
        const std::uint64_t start = house.time.now;
        const Guest guest;
        const Trickler trickler(house, guest, bytes);
        check_dropped(house.serve(guest), RP_HANDOFF_ERR_TIMED_OUT);
        CHECK(trickler.sent == limit); // the last of which came at the deadline, and was not read
        CHECK(house.time.now == start + limit * second);
        CHECK(guest.received().empty());
    }
}

TEST_CASE("a Hello whose last byte comes one nanosecond before the deadline is served, and at the deadline it is not") {
    for (const std::uint64_t early : {1U, 0U}) {
        House house({sized<rp_handoff_broker_options>()}, with_timeout(100 * second));
        const Bytes bytes = encoded(hello_of());
        const Guest guest(Bytes(bytes.begin(), bytes.end() - 1));
        bool sent = false;
        house.time.meanwhile = [&] {
            if (!sent) {
                sent = true;
                house.time.now += 100 * second - early;
                write_all(guest.pair.a.get(), {bytes.back()});
            } else {
                house.act();
            }
        };
        CHECK(house.serve(guest).visit.result ==
              (early == 1 ? RP_HANDOFF_FRONT_DOOR_HANDED_OFF : RP_HANDOFF_FRONT_DOOR_DROPPED));
    }
}

TEST_CASE("a silent client is dropped at the deadline, which is thirty seconds by default") {
    House house;
    const std::uint64_t start = house.time.now;
    Guest guest;
    check_dropped(house.serve(guest), RP_HANDOFF_ERR_TIMED_OUT);
    CHECK(house.time.now == start + 30 * second);
    guest.check_only_end_of_file();
}

TEST_CASE("a client that goes before its Hello is complete is dropped") {
    const Bytes bytes = encoded(hello_of());
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        CAPTURE(length);
        const House house;
        Guest guest(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)));
        REQUIRE(shutdown(guest.pair.a.get(), SHUT_WR) == 0);
        check_dropped(house.serve(guest), length == 0 ? RP_HANDOFF_ERR_CLOSED : RP_HANDOFF_ERR_UNEXPECTED_EOF);
        guest.check_only_end_of_file();
    }
}

TEST_CASE("a Hello of 64 KiB is served, and one byte more is refused before it is read") {
    const House house;
    const Bytes hello = encoded(hello_of());
    const Guest longest(padded_to(hello, 65536));
    CHECK(house.serve(longest).visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    const Guest too_long(padded_to(hello, 65537));
    check_dropped(house.serve(too_long), RP_HANDOFF_ERR_FRAME_TOO_LARGE);
    CHECK(too_long.received().empty());
    CHECK(is_readable(too_long.brokers_end())); // its body is still there
}

TEST_CASE("the bound of a Hello can be lowered, and is at most 64 KiB") {
    auto options = sized<rp_handoff_front_door_options>();
    const Bytes hello = encoded(hello_of());
    options.max_hello_bytes = static_cast<std::uint32_t>(hello.size() - RP_HANDOFF_FRAME_HEADER_SIZE);
    const House exact(sized<rp_handoff_broker_options>(), options);
    CHECK(exact.serve(Guest(hello)).visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    --options.max_hello_bytes;
    const House lower(sized<rp_handoff_broker_options>(), options);
    check_dropped(lower.serve(Guest(hello)), RP_HANDOFF_ERR_FRAME_TOO_LARGE);

    rp_handoff_front_door *door = nullptr;
    options.max_hello_bytes = 65537;
    CHECK(rp_handoff_front_door_create(lower.broker.get(), &options, &door, nullptr) ==
          RP_HANDOFF_ERR_INVALID_ARGUMENT);
}

TEST_CASE("what does not speak the framing is dropped at its first byte") {
    const House house;
    const Guest guest(Bytes{'G', 'E', 'T', ' '});
    check_dropped(house.serve(guest), RP_HANDOFF_ERR_FRAME_VERSION);
    CHECK(guest.received().empty());
}

TEST_CASE("a frame or a Hello that is malformed is dropped without an answer") {
    const House house;
    const Guest bad_frame(Bytes{1, 1, 0, 0, 0, 0x07});
    check_dropped(house.serve(bad_frame), RP_HANDOFF_ERR_FRAME_MALFORMED);
    CHECK(bad_frame.received().empty());

    auto frame = sized<rp_handoff_wire_frame>();
    frame.envelope_version = 1;
    const std::uint8_t wrong_type[] = {0x18, 0x01}; // service_name as a varint
    frame.payload = wrong_type;
    frame.payload_length = sizeof wrong_type;
    const Guest bad_hello(encoded(frame));
    check_dropped(house.serve(bad_hello), RP_HANDOFF_ERR_FRAME_MALFORMED);
    CHECK(bad_hello.received().empty());
}

TEST_CASE("a frame that is no Hello is refused with its own number, and says why") {
    struct Case {
        Bytes bytes;
        const char *detail;
    };
    const Case cases[] = {
        {frame_of(RP_HANDOFF_KIND_REQUEST, RP_HANDOFF_PROTOCOL_HANDOFF), "payload_protocol"},
        {frame_of(RP_HANDOFF_KIND_RESPONSE, RP_HANDOFF_PROTOCOL_CONTROL), "kind is not REQUEST"},
        {frame_of(17, RP_HANDOFF_PROTOCOL_CONTROL), "kind is not REQUEST"},
        {frame_of(RP_HANDOFF_KIND_REQUEST, RP_HANDOFF_PROTOCOL_CONTROL, 2), "envelope_version is not v1"},
        {frame_of(RP_HANDOFF_KIND_REQUEST, RP_HANDOFF_PROTOCOL_CONTROL, 1, RP_HANDOFF_ENCODING_ZSTD),
         "payload is compressed"},
    };
    for (const Case &c : cases) {
        const House house;
        const Guest guest(c.bytes);
        const Visit visit = house.serve(guest);
        CHECK(contains(visit.visit.detail, c.detail));
        check_refused(guest, visit, RP_HANDOFF_REFUSED_UNSPECIFIED);
    }
}

TEST_CASE("what follows the Hello is left for whoever gets the connection") {
    House house;
    Bytes bytes = encoded(hello_of());
    bytes.insert(bytes.end(), {'h', 'i'});
    const Guest guest(bytes);
    CHECK(house.serve(guest).visit.result == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
    CHECK(read_available(house.adopted.get()) == Bytes{'h', 'i'});
}

TEST_CASE("a reply that the client does not read is given up at the Hello's deadline, and its token ends") {
    const House house;
    const Guest guest(hello_of());
    const int least = 1;
    REQUIRE(setsockopt(guest.brokers_end(), SOL_SOCKET, SO_SNDBUF, &least, sizeof least) == 0);
    while (send(guest.brokers_end(), "x", 1, MSG_DONTWAIT) == 1) {
    }
    check_dropped(house.serve(guest), RP_HANDOFF_ERR_TIMED_OUT);
    house.check_nothing_pending();
    CHECK(house.time.now == FakeTime().now + 30 * second);
}

TEST_CASE("a client that is gone when the reply is written is dropped, and its token ends") {
    const House house;
    Guest guest(hello_of());
    guest.pair.a.reset();
    check_dropped(house.serve(guest), RP_HANDOFF_ERR_SYSTEM);
    house.check_nothing_pending();
}

TEST_CASE("what is no socket has no client") {
    const House house;
    const UniqueFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
    check_dropped(serve(house.door, file.get()), RP_HANDOFF_ERR_PEER_REJECTED);
}
