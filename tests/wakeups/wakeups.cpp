// Many threads at random on one session beside a loop that takes k events a turn: no wake-up is missing, or a round would
// not end, and none comes without a cause, or the loop's turns would be more than what others did.
//
// What the threads do is drawn from the seed that a failure says; how they meet is not.
#include <mutex>
#include <random>
#include <set>

#include "support/session_threads.hpp"

using namespace rp::test;

namespace {

constexpr int handoffs = 300;
constexpr std::uint64_t far = 20'000'000'000; // or as far as the broker allows: longer than the round takes

struct Round {
    explicit Round(int taken_at_once) : events_a_turn(taken_at_once) {}

    bool over() const { return taken == handoffs; }
    void note(const Event &event) {
        const std::lock_guard<std::mutex> lock(mutex);
        REQUIRE(event.kind == RP_HANDOFF_EVENT_OUTCOME);
        REQUIRE(ids.insert(event.id).second); // one outcome each
        ++taken;
    }
    // Whether there was one.
    bool take() {
        const Event event = take_event(joined.offering);
        if (event.kind != 0) {
            note(event);
        }
        return event.kind != 0;
    }

    Joined joined;
    ClientConnection client;
    const int events_a_turn;
    std::atomic<int> submitted{0};
    std::atomic<int> taken{0};
    std::atomic<int> calls{0}; // of others than the loop
    std::mutex mutex;
    std::set<std::uint64_t> ids;
};

int milliseconds_of(std::uint64_t timeout) {
    return timeout == RP_HANDOFF_FOREVER ? -1 : static_cast<int>(timeout / 1'000'000 + 1);
}

// Its turns for which there was no reason that it could see. The last thing that wakes it is the round's end.
int loop(Round &round, int end) {
    const Session &session = round.joined.offering;
    int without_cause = 0;
    std::uint64_t told = timeout_of(session);
    while (!round.over()) {
        pollfd fds[] = {{fd_of(session), POLLIN, 0}, {end, POLLIN, 0}};
        const std::uint64_t before = statistics(session).messages_received;
        const int ready = poll(fds, 2, told == 0 ? 0 : milliseconds_of(told));
        REQUIRE(ready >= 0);
        process(session);
        bool found = ready == 0 || fds[1].revents != 0 || statistics(session).messages_received != before;
        for (int i = 0; i < round.events_a_turn && round.take(); ++i) {
            found = true;
        }
        const std::uint64_t now_told = timeout_of(session);
        without_cause += found || (now_told == RP_HANDOFF_FOREVER) != (told == RP_HANDOFF_FOREVER) ? 0 : 1;
        told = now_told;
    }
    return without_cause;
}

void submit_one(Round &round, std::mt19937 &random) {
    if (round.submitted.fetch_add(1) >= handoffs) {
        return;
    }
    auto submission = submission_of(round.client.fd.get());
    submission.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
    submission.timeout_ns = random() % 4 == 0 ? 20'000'000 : far;
    Out<std::uint64_t> id;
    while (try_submit(round.joined.offering, submission, id.get()) != 1) {
        std::this_thread::yield(); // no room: the others make some
    }
}

// Submits, processes and takes events as it comes.
void call_at_random(Round &round, unsigned seed) {
    std::mt19937 random(seed);
    while (round.submitted < handoffs) {
        ++round.calls;
        switch (random() % 6) {
        case 0:
            process(round.joined.offering);
            break;
        case 1:
            round.take();
            break;
        default:
            submit_one(round, random);
        }
        for (unsigned pause = random() % 512; pause > 256; --pause) { // at times the others fall asleep
            std::this_thread::yield();
        }
    }
}

void wait_at_random(Round &round, unsigned seed) {
    std::mt19937 random(seed);
    while (!round.over()) {
        ++round.calls;
        if (rp_handoff_session_wait(round.joined.offering.get(), random() % 10'000'000) == 1) {
            round.take();
        }
    }
}

// The backend: refuses or accepts what it is offered.
void serve(Round &round, unsigned seed) {
    std::mt19937 random(seed);
    const Session &session = round.joined.receiving;
    while (!round.over()) {
        if (rp_handoff_session_wait(session.get(), 5'000'000) != 1) {
            continue;
        }
        Event event = take_event(session);
        if (event.kind != RP_HANDOFF_EVENT_OFFER) {
            continue;
        }
        std::int32_t fd = -1;
        if (random() % 2 == 0) {
            rp_handoff_offer_refuse(event.offer.get(), "no");
        } else if (rp_handoff_offer_accept(event.offer.get(), &fd) == RP_HANDOFF_OK) {
            close(fd);
        }
        rp_handoff_session_flush(session.get());
    }
}

void check_round(int events_a_turn, int waiters, unsigned seed) {
    Round round(events_a_turn);
    int end[2];
    REQUIRE(pipe2(end, O_CLOEXEC) == 0);
    const UniqueFd reader(end[0]);
    UniqueFd writer(end[1]);
    int without_cause = 0;
    std::vector<std::thread> threads;
    threads.emplace_back([&] { without_cause = loop(round, reader.get()); });
    threads.emplace_back([&] { serve(round, seed); });
    for (unsigned i = 0; i < 2; ++i) {
        threads.emplace_back([&, i] { call_at_random(round, seed + i + 1); });
    }
    for (int i = 0; i < waiters; ++i) {
        threads.emplace_back([&, i] { wait_at_random(round, seed + 100 + static_cast<unsigned>(i)); });
    }
    while (!round.over()) {
        std::this_thread::yield();
    }
    writer.reset();
    for (std::thread &thread : threads) {
        thread.join();
    }
    CHECK(round.ids.size() == handoffs);
    CHECK(without_cause <= round.calls);
}

} // namespace

TEST_CASE("with any threads beside it a loop is woken for every event, and for nothing else") {
    const unsigned seed = std::random_device()();
    CAPTURE(seed);
    for (const int events_a_turn : {1, 2, 1000}) {
        for (const int waiters : {0, 2}) {
            CAPTURE(events_a_turn);
            CAPTURE(waiters);
            check_round(events_a_turn, waiters, seed);
        }
    }
}
