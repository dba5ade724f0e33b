// Tokens end with their handoff: afterwards there is none in the memory of either side, nor in what is told to anybody.
#include <cstdio>
#include <cstring>

#include "support/session_hand.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;

namespace {

constexpr std::uint8_t secret = 0x5E;
constexpr std::size_t token_size = 16;
constexpr std::size_t largest = 64 << 20; // a sanitizer maps more than anybody could look through

// How often sixteen such bytes in a row lie in this piece of memory.
std::size_t count_in(int memory, std::uint64_t from, std::uint64_t to) {
    static Bytes piece(1 << 16);
    std::size_t found = 0;
    std::size_t run = 0;
    while (from < to) {
        const std::size_t wanted = std::min<std::size_t>(piece.size(), to - from);
        const ssize_t n = pread(memory, piece.data(), wanted, static_cast<off_t>(from));
        if (n <= 0) {
            break;
        }
        for (ssize_t i = 0; i < n; ++i) {
            run = piece[static_cast<std::size_t>(i)] == secret ? run + 1 : 0;
            found += run == token_size ? 1 : 0;
        }
        from += static_cast<std::uint64_t>(n);
    }
    std::fill(piece.begin(), piece.end(), std::uint8_t{0});
    return found;
}

// TSan's run-time library saves registers on the stack at every turn, whatever is in them.
#ifdef __SANITIZE_THREAD__
constexpr bool stack_is_clean = false;
#else
constexpr bool stack_is_clean = true;
#endif

std::size_t tokens_in_memory() {
    const UniqueFd memory(open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
    REQUIRE(memory);
    std::FILE *const maps = std::fopen("/proc/self/maps", "re");
    REQUIRE(maps != nullptr);
    std::size_t found = 0;
    char line[512];
    while (std::fgets(line, sizeof line, maps) != nullptr) {
        unsigned long from = 0;
        unsigned long to = 0;
        char mode[8] = {};
        if (std::sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && mode[0] == 'r' && mode[1] == 'w' &&
            to - from <= largest && (stack_is_clean || std::strstr(line, "[stack]") == nullptr)) {
            found += count_in(memory.get(), from, to);
        }
    }
    std::fclose(maps);
    return found;
}

// What lay on the stack below is there no more; on the real one, which a sanitizer would not use for this.
__attribute__((noinline, no_sanitize("address"))) void clear_stack() {
    volatile char below[1 << 16];
    for (volatile char &byte : below) {
        byte = 0;
    }
}

// All of whose tokens are the secret.
struct Secretive {
    Secretive() {
        random.next = secret;
        random.step = 0;
        Setup setup;
        setup.broker = random.in(setup.broker);
        joined = std::make_unique<Joined>(setup);
    }

    FakeRandom random;
    std::unique_ptr<Joined> joined;
};

__attribute__((noinline)) void check_gone() {
    tokens_in_memory(); // binds the functions that it calls; the dynamic linker saves registers on the stack for that
    clear_stack();
    CHECK(tokens_in_memory() == 0);
}

// Hands over so that it ends in this way.
__attribute__((noinline)) void hand_over(const Joined &joined, int how) {
    ClientConnection client;
    const std::uint64_t id = submit(joined.offering, client);
    if (how == 0) {
        CHECK(rp_handoff_session_cancel(joined.offering.get(), id) == 1);
    }
    const Event offered = joined.next_offer();
    if (how == 0) {
        accept_offer(offered.offer, RP_HANDOFF_ERR_REVOKED);
    } else if (how == 1) {
        accept_offer(offered.offer);
    } else {
        CHECK(rp_handoff_offer_refuse(offered.offer.get(), "no") == RP_HANDOFF_OK);
    }
    CHECK(take_event(joined.receiving).kind == 0);
    turn({&joined.offering});
    CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_OUTCOME);
}

// Another process, so that this one's memory has of the token only what the library keeps: sends a whole offer and, in the
// same message, the head of the longest frame that there can be, for which the receiver has to make room, up to the end
// of its token. Sends the next byte when it is told to.
Child cut_offers(const hand::BackendScene &scene, const hand::Offer &whole, const ClientConnection &client) {
    return Child([&](const Wire &wire) {
        constexpr std::size_t longest = 80 * 1024;
        hand::Offer secretive;
        std::fill(std::begin(secretive.token.bytes), std::end(secretive.token.bytes), secret);
        const Bytes item = secretive.item();
        Bytes bytes = hand::frame(hand::offers, 1, whole.item());
        const Bytes cut = hand::frame(hand::offers, 1, Bytes(longest - hand::header_size));
        bytes.insert(bytes.end(), cut.begin(), cut.begin() + hand::header_size);
        bytes.insert(bytes.end(), item.begin(), item.end());
        scene.say(bytes, {client.fd.get()});
        wire.say('s');
        must(wire.hear() == 'n');
        scene.say(Bytes(1));
        wire.say('s');
        wire.hear();
    });
}

} // namespace

TEST_CASE("a token that is in use is found in memory, so that one which is not found is not there" *
          doctest::test_suite(not_under_valgrind)) {
    const Secretive side;
    ClientConnection client;
    submit(side.joined->offering, client);
    CHECK(tokens_in_memory() > 0);
}

TEST_CASE("of a handoff that was revoked, adopted or refused no token is left in memory" *
          doctest::test_suite(not_under_valgrind)) {
    for (const int how : {0, 1, 2}) {
        CAPTURE(how);
        const Secretive side;
        hand_over(*side.joined, how);
        check_gone();
    }
}

TEST_CASE("of a session that ended in the middle no token is left in memory" *
          doctest::test_suite(not_under_valgrind)) {
    {
        const Secretive side;
        ClientConnection client;
        submit(side.joined->offering, client);
        process(side.joined->receiving);
    }
    check_gone();
}

TEST_CASE("of an offer that was cut, and moved in the memory where it is received, no token is left" *
          doctest::test_suite(not_under_valgrind)) {
    {
        hand::BackendScene scene;
        ClientConnection client;
        hand::Offer whole;
        whole.ticket = 1;
        whole.metadata = Bytes(400); // so that what is moved does not overlap with where it was
        scene.put(whole);
        Child broker = cut_offers(scene, whole, client);
        scene.close();
        REQUIRE(broker.hear() == 's');
        const Event offered = scene.next_event();
        REQUIRE(offered.kind == RP_HANDOFF_EVENT_OFFER);
        CHECK(tokens_in_memory() > 0);
        broker.say('n');
        REQUIRE(broker.hear() == 's');
        process(scene.receiving);
        CHECK(tokens_in_memory() == 1);
        broker.say('e');
        REQUIRE(broker.wait() == 0);
        process(scene.receiving);
    }
    check_gone();
}

TEST_CASE("no detail that is told has anything of a token") {
    const Secretive side;
    ClientConnection client;
    submit(side.joined->offering, client);
    CHECK(rp_handoff_offer_refuse(side.joined->next_offer().offer.get(), "no") == RP_HANDOFF_OK);
    const Event event = side.joined->next_outcome();
    CHECK(std::string(event.outcome.detail).find(std::string(4, static_cast<char>(secret))) == std::string::npos);
}
