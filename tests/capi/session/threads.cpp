// One session in the hands of several threads: nobody sleeps through what another one's call brings, each handoff has
// its outcome once, and each offer goes to one thread.
#include <set>

#include "support/session_hand.hpp"
#include "support/session_threads.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t a_moment = 200'000'000;

// Runs in a thread of its own until joined, by the destructor at the latest.
class Thread {
  public:
    template <class Body>
    explicit Thread(Body body) : thread_(std::move(body)) {}
    Thread(Thread &&) = default;
    ~Thread() { join(); }
    void join() {
        if (thread_.joinable()) {
            thread_.join();
        }
    }

  private:
    std::thread thread_;
};

// Waits for an event of the session in a thread of its own.
class Waiting {
  public:
    explicit Waiting(const Session &session)
        : thread_([this, &session] {
              id_ = gettid();
              event_ = await_event(session);
          }) {
        while (id_ == 0) {
            std::this_thread::yield();
        }
        await_sleep(id_);
    }
    Event event() {
        thread_.join();
        return std::move(event_);
    }

  private:
    std::atomic<pid_t> id_{0};
    Event event_;
    Thread thread_;
};

// The next offer of a session that nobody waits in, because it was stopped.
Event offer_over(const Session &session) {
    for (;;) {
        process(session);
        if (Event event = take_event(session); event.kind != 0) {
            REQUIRE(event.kind == RP_HANDOFF_EVENT_OFFER);
            return event;
        }
    }
}

rp_handoff_submission short_lived(ClientConnection &client) {
    auto submission = submission_of(client.fd.release());
    submission.timeout_ns = a_moment;
    return submission;
}

// Accepts or refuses every other one, until the session is closed.
void serve(const Session &session, std::atomic<int> &accepted, std::atomic<int> &refused) {
    for (;;) {
        const Event event = await_event(session);
        if (event.kind == RP_HANDOFF_EVENT_CLOSED) {
            return;
        }
        if (event.kind == RP_HANDOFF_EVENT_OFFER && info_of(event.offer).correlation_id % 2 == 0) {
            CHECK(rp_handoff_offer_refuse(event.offer.get(), "even") == RP_HANDOFF_OK);
            ++refused;
        } else if (event.kind == RP_HANDOFF_EVENT_OFFER) {
            accept_offer(event.offer);
            ++accepted;
        }
    }
}

} // namespace

TEST_CASE("who waits for ever is woken at the deadline that another thread's submit has brought") {
    hand::Scene scene;
    Waiting waiting(scene.offering);
    ClientConnection client;
    submit(scene.offering, short_lived(client));
    CHECK(waiting.event().is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_ACK_TIMED_OUT));
}

TEST_CASE("who waits for ever before the session is open is woken at a submit's deadline too") {
    const Broker broker = make_broker();
    SocketPair pair;
    const Session offering = open_over(broker, std::move(pair.a));
    Waiting waiting(offering);
    ClientConnection client;
    submit(offering, short_lived(client));
    CHECK(waiting.event().is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_DEADLINE_BEFORE_SEND));
}

TEST_CASE("a loop that was told to sleep for ever is woken by the submit of another thread that brings a deadline") {
    hand::Scene scene;
    CHECK(timeout_of(scene.offering) == RP_HANDOFF_FOREVER);
    ClientConnection clients[2];
    Thread([&] { submit(scene.offering, short_lived(clients[0])); }).join();
    CHECK(is_readable(fd_of(scene.offering)));
    process(scene.offering);
    CHECK_FALSE(is_readable(fd_of(scene.offering)));
    CHECK(timeout_of(scene.offering) <= a_moment);
    submit(scene.offering, submission_of(clients[1].fd.release())); // later; and who submits himself needs no waking
    CHECK_FALSE(is_readable(fd_of(scene.offering)));
}

TEST_CASE("who waits in a backend for ever is woken when another thread's close has waited for its time") {
    auto options = sized<rp_handoff_session_options>();
    options.open_timeout_ns = a_moment;
    hand::BackendScene scene(options);
    Waiting waiting(scene.receiving);
    CHECK(rp_handoff_session_close(scene.receiving.get()) == RP_HANDOFF_OK);
    const Event event = waiting.event();
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == RP_HANDOFF_ERR_TIMED_OUT);
}

TEST_CASE("who waits in a broker for ever is woken when another thread's close has waited for its time") {
    Setup setup;
    setup.offering.open_timeout_ns = a_moment;
    hand::Scene scene(setup);
    Waiting waiting(scene.offering);
    CHECK(rp_handoff_session_close(scene.offering.get()) == RP_HANDOFF_OK);
    const Event event = waiting.event();
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == RP_HANDOFF_ERR_TIMED_OUT);
}

TEST_CASE("who waits is woken by the end that another thread's submit finds, whoever looks first") {
    for (int i = 0; i < 20; ++i) {
        hand::Scene scene;
        Waiting waiting(scene.offering);
        scene.backend.connection.reset(); // and the socket aside stays open
        ClientConnection client;
        submit(scene.offering, client);
        process(scene.offering);
        const std::int32_t kind = waiting.event().kind;
        CHECK((kind == RP_HANDOFF_EVENT_OUTCOME || kind == RP_HANDOFF_EVENT_CLOSED));
    }
}

TEST_CASE("who waits is woken by the event of another thread's call, also while a third one reads") {
    hand::Scene scene;
    ClientConnection clients[2];
    Thread reader([&] { // in a read of its own, for the default deadline
        const auto submission = submission_of(clients[0].fd.get());
        auto outcome = sized<rp_handoff_outcome>();
        CHECK(rp_handoff_session_execute(scene.offering.get(), &submission, &outcome, nullptr) == RP_HANDOFF_OK);
        CHECK(outcome.ownership == RP_HANDOFF_OWNER_BACKEND);
    });
    const hand::Offer executed = scene.backend.hear_offer();
    Waiting waiting(scene.offering);
    const std::uint64_t id = submit(scene.offering, clients[1]);
    CHECK(rp_handoff_session_cancel(scene.offering.get(), id) == 1);
    CHECK(waiting.event().is_outcome(RP_HANDOFF_OWNER_BROKER, RP_HANDOFF_CAUSE_CANCELLED));
    CHECK(scene.backend.page.adopt(executed));
    scene.backend.answer(executed, hand::adopted);
}

TEST_CASE("who waits in a backend does not keep the answers of another thread back") {
    Joined joined;
    ClientConnection client;
    submit(joined.offering, client);
    const Event offered = joined.next_offer();
    Waiting waiting(joined.receiving);
    accept_offer(offered.offer);
    CHECK(await_event(joined.offering).ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(rp_handoff_session_close(joined.offering.get()) == RP_HANDOFF_OK);
    CHECK(waiting.event().kind == RP_HANDOFF_EVENT_CLOSED);
}

TEST_CASE("many threads execute on one session, others serve, and each has the outcome of its own") {
    Joined joined;
    std::atomic<int> accepted{0};
    std::atomic<int> refused{0};
    std::atomic<int> completed{0};
    std::atomic<int> fallbacks{0};
    constexpr int threads = 6;
    constexpr int each = 50;
    Thread server([&] { serve(joined.receiving, accepted, refused); });
    {
        std::vector<Thread> executing;
        for (int t = 0; t < threads; ++t) {
            executing.emplace_back([&, t] {
                for (int i = 0; i < each; ++i) {
                    const ClientConnection client;
                    auto submission = submission_of(client.fd.get());
                    submission.correlation_id = static_cast<std::uint64_t>(1 + t * each + i);
                    auto outcome = sized<rp_handoff_outcome>();
                    CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, &outcome, nullptr) ==
                          RP_HANDOFF_OK);
                    CHECK(outcome.correlation_id == submission.correlation_id);
                    const bool even = submission.correlation_id % 2 == 0;
                    CHECK(outcome.ownership == (even ? RP_HANDOFF_OWNER_BROKER : RP_HANDOFF_OWNER_BACKEND));
                    ++(outcome.ownership == RP_HANDOFF_OWNER_BACKEND ? completed : fallbacks);
                    statistics(joined.offering);
                }
            });
        }
    }
    CHECK(rp_handoff_session_close(joined.offering.get()) == RP_HANDOFF_OK);
    CHECK(await_event(joined.offering).kind == RP_HANDOFF_EVENT_CLOSED);
    server.join();
    CHECK(accepted == threads * each / 2);
    CHECK(refused == accepted);
    CHECK(completed == accepted);
    CHECK(fallbacks == refused);
    CHECK(statistics(joined.broker).pending_tokens == 0);
}

TEST_CASE("threads submit while others take the events, and every id has one outcome") {
    Setup setup;
    setup.offering.max_in_flight = 512;
    Joined joined(setup);
    std::atomic<int> accepted{0};
    std::atomic<int> refused{0};
    constexpr std::size_t submitters = 3;
    constexpr std::size_t each = 100;
    std::multiset<std::uint64_t> submitted[submitters];
    std::multiset<std::uint64_t> ended[2];
    std::atomic<std::size_t> outcomes{0};
    std::vector<Thread> servers;
    servers.emplace_back([&] { serve(joined.receiving, accepted, refused); });
    {
        std::vector<Thread> threads;
        for (auto &ids : submitted) {
            threads.emplace_back([&] {
                for (std::size_t i = 0; i < each; ++i) {
                    ClientConnection client;
                    ids.insert(submit(joined.offering, client));
                }
            });
        }
        for (auto &ids : ended) {
            threads.emplace_back([&] {
                while (outcomes < submitters * each) {
                    const Event event = take_event(joined.offering);
                    if (event.kind == RP_HANDOFF_EVENT_OUTCOME) {
                        ids.insert(event.id);
                        ++outcomes;
                    } else {
                        rp_handoff_session_wait(joined.offering.get(), 1'000'000);
                    }
                }
            });
        }
    }
    CHECK(rp_handoff_session_close(joined.offering.get()) == RP_HANDOFF_OK);
    CHECK(await_event(joined.offering).kind == RP_HANDOFF_EVENT_CLOSED);
    std::multiset<std::uint64_t> all = ended[0];
    all.insert(ended[1].begin(), ended[1].end());
    std::multiset<std::uint64_t> expected;
    for (const auto &ids : submitted) {
        expected.insert(ids.begin(), ids.end());
    }
    CHECK(all == expected);
    CHECK(std::set<std::uint64_t>(all.begin(), all.end()).size() == submitters * each);
}

TEST_CASE("offers that one thread takes are answered and ended by others") {
    Setup setup;
    setup.receiving.max_in_flight = 4; // so that places are waited for
    Joined joined(setup);
    constexpr int count = 200;
    Thread submitter([&] {
        for (int i = 0; i < count; ++i) {
            ClientConnection client;
            submit(joined.offering, client);
        }
        CHECK(rp_handoff_session_close(joined.offering.get()) == RP_HANDOFF_OK);
        int completed = 0;
        for (Event event = await_event(joined.offering); event.kind != RP_HANDOFF_EVENT_CLOSED;
             event = await_event(joined.offering)) {
            completed += event.ownership == RP_HANDOFF_OWNER_BACKEND ? 1 : 0;
        }
        CHECK(completed == count);
    });
    std::vector<Thread> workers;
    for (Event event = await_event(joined.receiving); event.kind != RP_HANDOFF_EVENT_CLOSED;
         event = await_event(joined.receiving)) {
        workers.emplace_back([offer = std::move(event.offer)] { accept_offer(offer); });
        if (workers.size() >= 8) {
            workers.clear();
        }
    }
}

TEST_CASE("a session is closed while others wait in it, and all of them see that") {
    Joined joined;
    std::vector<Thread> threads;
    std::atomic<int> ended{0};
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
            while (rp_handoff_session_wait(joined.receiving.get(), RP_HANDOFF_FOREVER) == 1) {
                take_event(joined.receiving);
            }
            ++ended;
        });
    }
    CHECK(rp_handoff_session_close(joined.receiving.get()) == RP_HANDOFF_OK);
    CHECK(await_event(joined.offering).kind == RP_HANDOFF_EVENT_CLOSING);
    CHECK(await_event(joined.offering).kind == RP_HANDOFF_EVENT_CLOSED);
    threads.clear();
    CHECK(ended == 3);
}

TEST_CASE("stop ends every wait under way and to come, and an execute as cancel does") {
    Joined joined;
    Waiter idle(joined.receiving, RP_HANDOFF_FOREVER);
    CHECK(rp_handoff_session_stop(joined.receiving.get()) == RP_HANDOFF_OK);
    CHECK(idle.answer() == RP_HANDOFF_ERR_CLOSED);
    CHECK(rp_handoff_session_wait(joined.receiving.get(), RP_HANDOFF_FOREVER) == RP_HANDOFF_ERR_CLOSED);

    const ClientConnection client;
    const auto submission = submission_of(client.fd.get());
    auto outcome = sized<rp_handoff_outcome>();
    std::atomic<pid_t> id{0};
    Thread executing([&] {
        id = gettid();
        CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, &outcome, nullptr) == RP_HANDOFF_OK);
    });
    const Event event = offer_over(joined.receiving);
    await_sleep(id);
    CHECK(rp_handoff_session_stop(joined.offering.get()) == RP_HANDOFF_OK);
    executing.join();
    CHECK(outcome.cause == RP_HANDOFF_CAUSE_CANCELLED);
    CHECK(outcome.ownership == RP_HANDOFF_OWNER_BROKER);
    CHECK(accept_offer(event.offer, RP_HANDOFF_ERR_REVOKED).get() < 0);
}

TEST_CASE("an execute after stop hands nothing over") {
    const Joined joined;
    CHECK(rp_handoff_session_stop(joined.offering.get()) == RP_HANDOFF_OK);
    const ClientConnection client;
    const auto submission = submission_of(client.fd.get());
    auto outcome = sized<rp_handoff_outcome>();
    CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, &outcome, nullptr) == RP_HANDOFF_ERR_CLOSED);
    CHECK(outcome.result == 0);
    joined.turn();
    CHECK(take_event(joined.receiving).kind == 0);
    CHECK(take_event(joined.offering).kind == 0);
    CHECK(statistics(joined.offering).fallbacks == 0);
}
