// Who is told that a session has something to do, however many threads call: its descriptor is readable or its timeout is
// 0 whenever process would do something or next_event would give something, and otherwise nothing wakes anybody. These are
// the rules of tests/model/doorbell, one by one.
#include "support/session_threads.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t a_second = 1'000'000'000;

std::uint64_t submit_for(const Session &session, ClientConnection &client, std::uint64_t timeout_ns) {
    auto submission = submission_of(client.fd.release());
    submission.timeout_ns = timeout_ns;
    return submit(session, submission);
}

bool is_ready(const Session &session) {
    return is_readable(fd_of(session));
}

// Whether a loop that asks now would not sleep.
bool tells(const Session &session) {
    return timeout_of(session) == 0 || is_ready(session);
}

// The loop of the broker's side is about to sleep, having been told that it may for ever.
struct Asleep : Joined {
    Asleep() {
        fd_of(offering);
        REQUIRE(timeout_of(offering) == RP_HANDOFF_FOREVER);
        REQUIRE_FALSE(is_ready(offering));
    }
};

// A handoff is in flight, its loop has been told of the deadline, and its answer is there to be read.
struct Answered : Joined {
    Answered() {
        fd_of(offering);
        submit(offering, client);
        adopted = accept_offer(next_offer().offer);
        process(offering);
        REQUIRE(timeout_of(offering) > 0);
        REQUIRE(take_event(receiving).kind == 0); // the answer leaves
    }

    ClientConnection client;
    UniqueFd adopted;
};

} // namespace

TEST_CASE("a loop that sleeps is woken by the deadline that another thread brings, also if that one processes") {
    for (const bool processes : {false, true}) {
        CAPTURE(processes);
        const Asleep joined;
        ClientConnection client;
        in_another_thread([&] {
            submit_for(joined.offering, client, a_second);
            if (processes) {
                process(joined.offering);
            }
        });
        CHECK(is_ready(joined.offering));
        process(joined.offering);
        CHECK(timeout_of(joined.offering) <= a_second);
        CHECK_FALSE(is_ready(joined.offering));
    }
}

TEST_CASE("a loop is woken by the deadline that its own thread brings after it asked") {
    const Asleep joined;
    ClientConnection client;
    submit_for(joined.offering, client, a_second);
    CHECK(is_ready(joined.offering));
}

TEST_CASE("a loop that has processed is not woken by what its own thread submits before it asks again") {
    const Asleep joined;
    process(joined.offering);
    ClientConnection client;
    submit_for(joined.offering, client, a_second);
    CHECK_FALSE(is_ready(joined.offering));
    CHECK(timeout_of(joined.offering) <= a_second);
    CHECK_FALSE(is_ready(joined.offering));
}

TEST_CASE("a loop that takes one event a turn is told of each that is left, and of none when none is") {
    const Asleep joined;
    ClientConnection clients[3];
    for (ClientConnection &client : clients) {
        const std::uint64_t id = submit(joined.offering, client);
        CHECK(rp_handoff_session_cancel(joined.offering.get(), id) == 1);
    }
    for (int left = 3; left > 0; --left) {
        CAPTURE(left);
        CHECK(tells(joined.offering));
        process(joined.offering);
        CHECK(tells(joined.offering));
        CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_OUTCOME);
    }
    process(joined.offering);
    CHECK(take_event(joined.offering).kind == 0);
    CHECK_FALSE(tells(joined.offering));
}

TEST_CASE("a loop that sleeps is woken for the event that another thread's process leaves") {
    const Answered joined;
    in_another_thread([&] { process(joined.offering); });
    CHECK(is_ready(joined.offering));
    process(joined.offering);
    CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_OUTCOME);
}

TEST_CASE("a loop that sleeps is not woken for what another thread has done and taken") {
    const Answered joined;
    in_another_thread([&] {
        process(joined.offering);
        CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_OUTCOME);
        CHECK(take_event(joined.offering).kind == 0);
    });
    CHECK_FALSE(is_ready(joined.offering));
}

TEST_CASE("of the events that a loop is woken for another thread may take some, and the rest wakes it still") {
    const Asleep joined;
    ClientConnection clients[2];
    in_another_thread([&] {
        for (ClientConnection &client : clients) {
            const std::uint64_t id = submit(joined.offering, client);
            CHECK(rp_handoff_session_cancel(joined.offering.get(), id) == 1);
        }
        CHECK(is_ready(joined.offering));
        process(joined.offering);
        CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_OUTCOME);
    });
    CHECK(is_ready(joined.offering));
    in_another_thread([&] { CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_OUTCOME); });
    CHECK_FALSE(is_ready(joined.offering));
}

TEST_CASE("an answer that another thread gives while a loop takes its events one by one leaves") {
    Joined joined;
    fd_of(joined.receiving);
    ClientConnection clients[2];
    submit(joined.offering, clients[0]);
    submit(joined.offering, clients[1]);
    turn({&joined.receiving});
    const Event first = take_event(joined.receiving);
    const Event second = take_event(joined.receiving); // the last, but nobody has been told so
    REQUIRE(second.kind == RP_HANDOFF_EVENT_OFFER);
    REQUIRE_FALSE(is_ready(joined.receiving));
    timeout_of(joined.receiving);
    in_another_thread([&] { accept_offer(first.offer); });
    if (is_ready(joined.receiving)) { // or it has left already
        process(joined.receiving);
    }
    process(joined.offering);
    CHECK(take_event(joined.offering).ownership == RP_HANDOFF_OWNER_BACKEND);
    accept_offer(second.offer);
}

TEST_CASE("who waits while a loop was told to sleep for ever sleeps, and wakes at the deadline") {
    const Asleep joined;
    ClientConnection client;
    submit_for(joined.offering, client, 300'000'000);
    Waiter waiter(joined.offering, RP_HANDOFF_FOREVER);
    CHECK(waiter.answer() == 1);
    CHECK(waiter.used() < 30'000'000);
    CHECK(is_ready(joined.offering)); // the event is there for the loop, too
}

TEST_CASE("a raised bell for a loop that does not come does not keep who waits awake") {
    const Asleep joined;
    ClientConnection clients[2];
    const std::uint64_t id = submit(joined.offering, clients[0]);
    submit_for(joined.offering, clients[1], 300'000'000);
    CHECK(is_ready(joined.offering)); // and stays so
    auto outcome = sized<rp_handoff_outcome>();
    ClientConnection third;
    auto submission = submission_of(third.fd.get());
    submission.timeout_ns = 200'000'000;
    const std::uint64_t before = processor_time();
    CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, &outcome, nullptr) == RP_HANDOFF_OK);
    CHECK(processor_time() - before < 30'000'000);
    CHECK(rp_handoff_session_cancel(joined.offering.get(), id) == 1);
}

TEST_CASE("who waits goes on hearing when another one that waited has left, whichever of them was the lookout") {
    for (const bool first_leaves : {true, false}) {
        CAPTURE(first_leaves);
        Joined joined;
        ClientConnection client;
        submit(joined.offering, client);
        const Event offered = joined.next_offer();
        const std::uint64_t a_while = 50'000'000;
        Waiter first(joined.offering, first_leaves ? a_while : RP_HANDOFF_FOREVER);
        Waiter second(joined.offering, first_leaves ? RP_HANDOFF_FOREVER : a_while);
        CHECK((first_leaves ? first : second).answer() == 0);
        accept_offer(offered.offer);
        CHECK(take_event(joined.receiving).kind == 0);
        CHECK((first_leaves ? second : first).answer() == 1);
    }
}
