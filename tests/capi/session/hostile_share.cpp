// Hostile backends that try to take the broker's whole share of descriptors in flight: an honest session keeps its part.
#include <memory>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <vector>

#include "support/session_hand.hpp"

using namespace rp::test;

namespace {

constexpr std::uint32_t window = 8;

// Room for two sessions of a broker.
Setup narrow() {
    const rlimit limit{200, 200};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    Setup setup;
    setup.broker.in_flight_percent = 12; // 24: two windows, and what opening takes
    setup.offering.max_in_flight = window;
    return setup;
}

// A session of a broker's, and its backend, which does what the test says.
class Hostile {
  public:
    explicit Hostile(const Broker &broker, const Setup &setup) : Hostile(broker, setup, SocketPair()) {}

    // Handoffs of a client's connection, as many as are taken.
    std::uint32_t submit(std::uint32_t count, std::uint64_t timeout_ns = 0) const {
        const ClientConnection client;
        auto submission = submission_of(client.fd.get());
        submission.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
        submission.timeout_ns = timeout_ns;
        std::uint32_t taken = 0;
        while (taken < count && try_submit(offering, submission) == 1) {
            ++taken;
        }
        return taken;
    }
    void drop_events() const {
        while (take_event(offering).kind != 0) {
        }
    }
    // Refuses what it sees in the ledger, whether it was read or not; how many.
    std::uint32_t answer_unread() const {
        std::uint32_t count = 0;
        for (std::uint32_t slot = 0; slot < backend.slots; ++slot) {
            const std::uint64_t word = backend.page.of_slot(slot);
            if ((word & 7U) == hand::Page::pending) {
                hand::Offer offer;
                offer.slot = slot;
                offer.ticket = word >> 3U;
                backend.page.put(offer, hand::Page::refused);
                backend.answer(offer, hand::refused);
                ++count;
            }
        }
        turn({&offering});
        return count;
    }
    // How many descriptors wait at it.
    std::uint32_t unread() {
        std::uint32_t count = 0;
        int bytes = 0;
        while (ioctl(backend.connection.get(), FIONREAD, &bytes) == 0 && bytes > 0) {
            count += static_cast<std::uint32_t>(hand::receive_frame(backend.connection.get()).fds.size());
        }
        return count;
    }

    Session offering;
    hand::Backend backend;

  private:
    Hostile(const Broker &broker, const Setup &setup, SocketPair pair)
        : offering(open_over(broker, std::move(pair.a), setup.offering)), backend(std::move(pair.b)) {
        backend.hear_hello();
        backend.say(hand::Hello{}.framed());
        turn({&offering});
        REQUIRE(take_event(offering).kind == RP_HANDOFF_EVENT_OPENED);
        backend.hear_ledger();
    }
};

// A whole window at once, adopted by an honest backend.
void hand_over_a_window(const Joined &honest) {
    std::vector<ClientConnection> clients(window);
    for (ClientConnection &client : clients) {
        submit(honest.offering, client);
    }
    for (std::uint32_t i = 0; i < window; ++i) {
        const Event offer = honest.next_offer();
        accept_offer(offer.offer);
    }
    for (std::uint32_t i = 0; i < window; ++i) {
        REQUIRE(honest.next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
    }
}

} // namespace

TEST_CASE("a backend that answers what it did not read gets one window, and an honest one keeps its own") {
    const Setup setup = narrow();
    const Joined honest(setup);
    Hostile hostile(honest.broker, setup);
    std::uint32_t answered = 0;
    for (int round = 0; round < 10; ++round) {
        hostile.submit(window);
        answered += hostile.answer_unread();
        hostile.drop_events();
        hand_over_a_window(honest);
    }
    CHECK(answered <= window + 2);
    CHECK(hostile.unread() == answered);
}

TEST_CASE("what a backend answered before it read it leaves room when it is read") {
    const Setup setup = narrow();
    const Broker broker = make_broker(setup.broker);
    Hostile hostile(broker, setup);
    while (hostile.submit(1) == 1 && hostile.answer_unread() > 0) {
        hostile.drop_events();
    }
    const std::uint32_t unread = hostile.unread();
    CHECK(unread > 0);
    process(hostile.offering); // as anything that is submitted or happens does
    CHECK(hostile.submit(window) > 0);
    CHECK(hostile.answer_unread() > 0);
}

TEST_CASE("a backend that ends its sessions unread and comes again gets no more, and an honest one keeps its own") {
    const Setup setup = narrow();
    const Joined honest(setup);
    std::vector<std::unique_ptr<Hostile>> ended; // which keep their ends
    for (int session = 0; session < 10; ++session) {
        auto &hostile = ended.emplace_back(std::make_unique<Hostile>(honest.broker, setup));
        hostile->submit(3);
        hostile->offering.reset();
        hand_over_a_window(honest);
    }
    std::uint32_t unread = 0;
    for (const std::unique_ptr<Hostile> &hostile : ended) {
        unread += hostile->unread();
    }
    CHECK(unread == window);
}

TEST_CASE("a session that ends while it waits for room that others take has nothing left that wakes a loop") {
    const Setup setup = narrow();
    const Broker broker = make_broker(setup.broker);
    Hostile before(broker, setup);
    CHECK(before.submit(window) == window);
    before.offering.reset(); // unread
    Hostile after(broker, setup);
    CHECK(after.submit(1) == 1);
    const std::uint64_t pause = timeout_of(after.offering);
    CHECK(pause > 0);
    CHECK(pause < second); // it will look again
    after.backend.connection.reset();
    after.backend.aside.reset();
    turn({&after.offering});
    Event last;
    for (Event event = take_event(after.offering); event.kind != 0; event = take_event(after.offering)) {
        last = std::move(event);
    }
    CHECK(last.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(timeout_of(after.offering) == RP_HANDOFF_FOREVER);
    CHECK_FALSE(is_readable(fd_of(after.offering)));
}
