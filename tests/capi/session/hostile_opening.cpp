// A broker that opens a session as it should not: with another hello, another ledger, or other descriptors. The backend
// ends the session before it has mapped or kept any of it.
#include <sys/mman.h>

#include "support/descriptors.hpp"
#include "support/session_hand.hpp"

using namespace rp::test;

namespace {

constexpr std::uint32_t slots = hand::BackendScene::slots;
constexpr int all_seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;

void check_broken_off(const Session &receiving, std::int32_t status = RP_HANDOFF_ERR_PROTOCOL) {
    turn({&receiving});
    const Event event = take_event(receiving);
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == status);
    CHECK(take_event(receiving).kind == 0);
}

// A backend's session that has not heard anything yet.
struct Fresh {
    SocketPair pair; // a: the broker's end
    Session receiving = receive_over(std::move(pair.b));

    void say(const Bytes &bytes, const std::vector<int> &fds = {}) const { hand::send_with(pair.a.get(), bytes, fds); }
    void say_hello() const {
        say(hello_of_broker().framed());
        turn({&receiving});
        REQUIRE(hand::receive_frame(pair.a.get()).kind == hand::hello);
    }
    void say_ledger(const Bytes &frame, const UniqueFd &file) const {
        const SocketPair aside;
        say(frame, {file.get(), aside.b.get()});
    }
    static hand::Hello hello_of_broker() {
        hand::Hello own;
        own.role = hand::as_broker;
        return own;
    }
};

Bytes ledger_frame(std::uint32_t count) {
    return hand::frame(hand::ledger, 0, hand::Writer().number(count).done());
}

// A ledger that comes as this descriptor is refused with the session, and not kept.
void check_refused_as_ledger(const UniqueFd &file, std::int32_t status = RP_HANDOFF_ERR_PROTOCOL) {
    const Fresh fresh;
    fresh.say_hello();
    const std::size_t before = open_descriptors().size();
    fresh.say_ledger(ledger_frame(slots), file);
    check_broken_off(fresh.receiving, status);
    CHECK(open_descriptors().size() <= before);
}

} // namespace

TEST_CASE("a hello that is none, or of no common version, or by the wrong side, is the end") {
    hand::Hello backend = Fresh::hello_of_broker();
    backend.role = hand::as_backend;
    hand::Hello nobody = backend;
    nobody.role = 3;
    hand::Hello later = Fresh::hello_of_broker();
    later.min_version = 3;
    later.max_version = 9;
    hand::Hello earlier = Fresh::hello_of_broker();
    earlier.min_version = earlier.max_version = 1;
    hand::Hello nothing = Fresh::hello_of_broker();
    nothing.max_in_flight = 0;
    hand::Hello long_name = Fresh::hello_of_broker();
    long_name.service = std::string(256, 's');
    hand::Hello not_utf8 = Fresh::hello_of_broker();
    not_utf8.service = "\xFF";
    Bytes cut = Fresh::hello_of_broker().body();
    cut.pop_back();
    for (const Bytes &bytes :
         {backend.framed(), nobody.framed(), later.framed(), earlier.framed(), nothing.framed(), long_name.framed(),
          not_utf8.framed(), hand::frame(hand::hello, 0, cut), hand::frame(hand::hello, 0, {}), ledger_frame(slots),
          hand::frame(hand::goodbye, 0, {}), hand::frame(hand::offers, 1, hand::Offer().item()), Bytes{'x'}}) {
        const Fresh fresh;
        fresh.say(bytes);
        check_broken_off(fresh.receiving);
        CHECK(hand::receive_frame(fresh.pair.a.get()).kind == hand::reject); // and not a word more
        CHECK(hand::receive_frame(fresh.pair.a.get()).kind == 0);
    }
}

TEST_CASE("a hello of a later version that still speaks this one, with more to say, is good") {
    const Fresh fresh;
    hand::Hello hello = Fresh::hello_of_broker();
    hello.min_version = 1;
    hello.max_version = 7;
    hello.service = std::string(255, 's');
    hello.more = Bytes(1000, 7);
    fresh.say(hello.framed());
    turn({&fresh.receiving});
    CHECK(hand::receive_frame(fresh.pair.a.get()).kind == hand::hello);
    const UniqueFd file = hand::memory(slots * 64);
    fresh.say_ledger(ledger_frame(slots), file);
    turn({&fresh.receiving});
    CHECK(take_event(fresh.receiving).kind == RP_HANDOFF_EVENT_OPENED);
    auto peer = sized<rp_handoff_session_peer>();
    CHECK(rp_handoff_session_get_peer(fresh.receiving.get(), &peer) == RP_HANDOFF_OK);
    CHECK(std::string(peer.service_name) == hello.service);
}

TEST_CASE("offers without a ledger, descriptors beside the hello, and other than two for a ledger are the end") {
    const UniqueFd file = hand::memory(slots * 64);
    const SocketPair aside;
    for (int how = 0; how < 6; ++how) {
        CAPTURE(how);
        const Fresh fresh;
        ClientConnection client;
        if (how == 0) {
            fresh.say(Fresh::hello_of_broker().framed(), {client.fd.get()});
            turn({&fresh.receiving});
            fresh.say_ledger(ledger_frame(slots), file);
        } else {
            fresh.say_hello();
        }
        if (how == 1) {
            fresh.say(hand::frame(hand::offers, 1, hand::Offer().item()), {client.fd.get()});
        } else if (how == 2) {
            fresh.say(ledger_frame(slots), {file.get(), aside.b.get(), client.fd.get()});
        } else if (how == 3) {
            fresh.say(ledger_frame(slots), {file.get()});
        } else if (how == 4) {
            fresh.say(ledger_frame(slots));
        } else if (how == 5) {
            fresh.say(Fresh::hello_of_broker().framed());
        }
        client.fd.reset();
        check_broken_off(fresh.receiving);
        CHECK(is_at_end(client.client.get()));
    }
}

TEST_CASE("what comes as the socket aside and is no connected stream socket of the Unix kind is refused") {
    const UniqueFd file = hand::memory(slots * 64);
    const Directory directory;
    const UniqueFd not_connected(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const UniqueFd listening = listener_at(directory / "listening");
    const SocketPair packets(SOCK_SEQPACKET);
    const Front front(ClientKind::tcp);
    const UniqueFd tcp = front.connect();
    const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int fd : {not_connected.get(), listening.get(), packets.a.get(), tcp.get(), null.get(), file.get()}) {
        const Fresh fresh;
        fresh.say_hello();
        fresh.say(ledger_frame(slots), {file.get(), fd});
        check_broken_off(fresh.receiving);
    }
}

TEST_CASE("a ledger of no slots, of too many, or of another size than it says, is the end") {
    const UniqueFd file = hand::memory(slots * 64);
    for (const std::uint32_t count : {0U, 1U, slots - 1, slots + 1, 4097U, UINT32_MAX, (1U << 26U) + slots}) {
        CAPTURE(count);
        const Fresh fresh;
        fresh.say_hello();
        fresh.say_ledger(ledger_frame(count), file);
        check_broken_off(fresh.receiving);
    }
}

TEST_CASE("a ledger that could still be resized, or is no memory of this kind, is refused before it is mapped") {
    for (const int seals : {0, F_SEAL_GROW | F_SEAL_SEAL, F_SEAL_SHRINK | F_SEAL_SEAL, F_SEAL_GROW | F_SEAL_SHRINK}) {
        check_refused_as_ledger(hand::memory(slots * 64, seals));
    }
    const Directory directory;
    UniqueFd file(open((directory / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(ftruncate(file.get(), slots * 64) == 0);
    check_refused_as_ledger(file);
    SocketPair pair;
    check_refused_as_ledger(pair.a);
    check_refused_as_ledger(UniqueFd(open("/dev/zero", O_RDWR | O_CLOEXEC)));
    check_refused_as_ledger(UniqueFd(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const UniqueFd write_end(ends[1]);
    check_refused_as_ledger(UniqueFd(ends[0]));
    if (UniqueFd shared(open("/dev/shm/rp_handoff_test", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)); shared) {
        unlink("/dev/shm/rp_handoff_test");
        REQUIRE(ftruncate(shared.get(), slots * 64) == 0);
        check_refused_as_ledger(shared);
    }
}

TEST_CASE("a ledger that cannot be written to, or of huge pages, is refused") {
    check_refused_as_ledger(hand::memory(slots * 64, all_seals | F_SEAL_WRITE), RP_HANDOFF_ERR_SYSTEM);
    const UniqueFd writable = hand::memory(slots * 64);
    const std::string path = "/proc/self/fd/" + std::to_string(writable.get());
    check_refused_as_ledger(UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC)), RP_HANDOFF_ERR_SYSTEM);

    UniqueFd huge(memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB));
    constexpr std::uint32_t enough = 4096 * 8; // two megabytes
    if (huge && ftruncate(huge.get(), enough * 64) == 0 && fcntl(huge.get(), F_ADD_SEALS, all_seals) == 0) {
        check_refused_as_ledger(huge); // of another size, too, since there may be 4096 slots at most
    }
}
