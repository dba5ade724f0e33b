// Tokens of the v1 wire end with their handoff: whichever way it goes, none is left in the memory of broker and backend.
#include "support/memory_scan.hpp"
#include "support/sockets.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;

namespace {

void wipe(Bytes &bytes) {
    explicit_bzero(bytes.data(), bytes.size());
}

// What a test has in its own hands it wipes itself. Sends the first `length` bytes of an offer of the secret token.
__attribute__((noinline)) void send_offer(int connection, std::size_t length = SIZE_MAX) {
    rp_handoff_token token = token_of(secret);
    Bytes frame = encoded(wire_offer(token, "service", 7));
    Bytes message(sizeof token.bytes + frame.size());
    std::copy(std::begin(token.bytes), std::end(token.bytes), message.begin());
    std::copy(frame.begin(), frame.end(), message.begin() + sizeof token.bytes);
    wipe(frame);
    explicit_bzero(&token, sizeof token);
    const ClientConnection client;
    std::size_t sent = 0;
    REQUIRE(rp_handoff_wire_send(connection, client.fd.get(), message.data(), std::min(length, message.size()),
                                 &sent) == RP_HANDOFF_OK);
    wipe(message);
}

// A backend with a connection to it. A dropped one is closed on both ends.
struct Offered {
    explicit Offered(std::size_t length = SIZE_MAX) {
        SocketPair pair;
        REQUIRE(rp_handoff_backend_add_connection(backend.get(), pair.b.release(), RP_HANDOFF_TRUST_CALLER) ==
                RP_HANDOFF_OK);
        connection = std::move(pair.a);
        send_offer(connection.get(), length);
    }

    // An answer repeats the token.
    void drop_answer() const {
        Bytes answer = read_available(connection.get());
        wipe(answer);
    }

    FakeTime time;
    Backend backend = make_backend(time.in(sized<rp_handoff_backend_options>()));
    UniqueFd connection;
};

__attribute__((noinline)) void check_gone() {
    tokens_in_memory(); // binds the functions that it calls; the dynamic linker saves registers on the stack for that
    clear_stack();
    CHECK(tokens_in_memory() == 0);
}

enum class Way { accepted, refused, forgotten, expired, replayed, not_taken };

__attribute__((noinline)) void go(Way way) {
    Offered offered;
    Offer offer = way == Way::not_taken ? nullptr : take_offer(offered.backend);
    std::int32_t fd = -1;
    switch (way) {
    case Way::accepted:
    case Way::replayed:
        CHECK(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_OK);
        UniqueFd(fd).reset();
        break;
    case Way::refused:
        CHECK(rp_handoff_offer_refuse(offer.get(), "no") == RP_HANDOFF_OK);
        break;
    case Way::expired:
        offered.time.now += 3600 * second;
        CHECK(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_ERR_TOKEN_EXPIRED);
        break;
    default:
        break;
    }
    offer.reset();
    offered.drop_answer();
    if (way == Way::replayed) {
        send_offer(offered.connection.get());
        CHECK(take_offer(offered.backend) == nullptr);
        offered.drop_answer();
    }
    offered.backend.reset();
    offered.drop_answer();
}

__attribute__((noinline)) void execute_secretly(bool accepted) {
    FakeRandom random;
    random.next = secret;
    random.step = 0;
    FakeTime time;
    const Broker broker = make_broker(random.in(time.in(sized<rp_handoff_broker_options>())));
    const Backend backend = make_backend();
    SocketPair pair;
    REQUIRE(rp_handoff_backend_add_connection(backend.get(), pair.b.release(), RP_HANDOFF_TRUST_CALLER) ==
            RP_HANDOFF_OK);
    time.meanwhile = [&] {
        const Offer offer = take_offer(backend);
        std::int32_t fd = -1;
        if (offer && accepted) {
            CHECK(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_OK);
            UniqueFd(fd).reset();
        }
    };
    const ClientConnection client;
    rp_handoff_token token = issue(broker);
    rp_handoff_request request = request_over(pair.a.get(), client.fd.get(), token);
    explicit_bzero(&token, sizeof token);
    CHECK(execute(broker, request).result == (accepted ? RP_HANDOFF_COMPLETED : RP_HANDOFF_FALLBACK));
    explicit_bzero(&request, sizeof request);
}

} // namespace

TEST_CASE("a token of v1 that waits to be taken is found in memory, so that one which is not found is not there" *
          doctest::test_suite(not_under_valgrind)) {
    const Offered offered;
    const Offer offer = take_offer(offered.backend);
    CHECK(tokens_in_memory() > 0);
}

TEST_CASE("of an offer that was accepted, refused, forgotten, late, repeated or never taken no token is left" *
          doctest::test_suite(not_under_valgrind) * doctest::skip(frames_are_kept)) {
    for (const Way way : {Way::accepted, Way::refused, Way::forgotten, Way::expired, Way::replayed, Way::not_taken}) {
        CAPTURE(static_cast<int>(way));
        go(way);
        check_gone();
    }
}

TEST_CASE("of an offer that was cut anywhere no token is left, once its time is over or its broker gone" *
          doctest::test_suite(not_under_valgrind) * doctest::skip(frames_are_kept)) {
    for (const std::size_t length : {16U, 17U, 20U, 21U, 22U, 40U}) {
        for (const bool broker_goes : {true, false}) {
            CAPTURE(length);
            Offered offered(length);
            CHECK(take_offer(offered.backend) == nullptr);
            if (broker_goes) {
                offered.connection.reset();
            } else {
                offered.time.now += 6 * second;
            }
            CHECK(take_offer(offered.backend) == nullptr);
            check_gone();
        }
    }
}

TEST_CASE("of a handoff by a broker and a backend of the library's no token is left" *
          doctest::test_suite(not_under_valgrind) * doctest::skip(frames_are_kept)) {
    for (const bool accepted : {true, false}) {
        CAPTURE(accepted);
        execute_secretly(accepted);
        check_gone();
    }
}
