// Signals, cancelled threads, and silence: what a process that uses the library may have going on beside it.
#include <atomic>
#include <csignal>
#include <ctime>
#include <pthread.h>
#include <thread>

#include "support/api.hpp"
#include "support/hand_backend.hpp"
#include "support/process.hpp"
#include "support/raw_broker.hpp"
#include "support/server.hpp"

using namespace rp::test;

namespace {

constexpr int storm_signal = SIGUSR1; // SIGALRM is the watchdog's
constexpr int storm_strength = 20;

// What the handler does after so many interruptions. Only async-signal-safe calls.
void (*relief)(int fd) = [](int) {};
int relief_fd = -1;
volatile std::sig_atomic_t interruptions = 0;

void on_storm(int) {
    const int saved = errno;
    interruptions = interruptions + 1;
    if (interruptions == storm_strength) {
        relief(relief_fd);
    }
    errno = saved;
}

// Interrupts this process all the time, and lets no system call go on by itself.
class Storm {
  public:
    Storm(void (*then)(int fd), int fd) {
        relief = then;
        relief_fd = fd;
        interruptions = 0;
        struct sigaction action {};
        action.sa_handler = on_storm;
        must(sigaction(storm_signal, &action, nullptr) == 0);
        sigevent event{};
        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = storm_signal;
        must(timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0);
        const itimerspec often{{0, 200'000}, {0, 200'000}};
        must(timer_settime(timer_, 0, &often, nullptr) == 0);
    }
    Storm() : Storm([](int) {}, -1) {}
    Storm(const Storm &) = delete;
    Storm &operator=(const Storm &) = delete;
    ~Storm() { timer_delete(timer_); }

    static bool has_passed() { return interruptions >= storm_strength; }

  private:
    timer_t timer_{};
};

void say_so(int fd) {
    const char word = 'x';
    const ssize_t n = write(fd, &word, 1);
    static_cast<void>(n);
}

volatile std::sig_atomic_t accepted_by_handler = -1;

void accept_one(int fd) {
    accepted_by_handler = accept(fd, nullptr, nullptr);
}

void drain(int fd) {
    char buffer[4096];
    while (recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0) {
    }
}

// Runs `body` in a thread that was cancelled before, and checks that it got to its end nevertheless.
template <class Body>
void run_cancelled(Body body) {
    struct Work {
        Body &body;
        std::atomic<bool> cancelled{false};
        std::atomic<bool> finished{false};
    } work{body};
    pthread_t thread{};
    REQUIRE(pthread_create(
                &thread, nullptr,
                [](void *argument) -> void * {
                    auto &own = *static_cast<Work *>(argument);
                    while (!own.cancelled) {
                    }
                    own.body();
                    own.finished = true;
                    pthread_testcancel();
                    return nullptr;
                },
                &work) == 0);
    REQUIRE(pthread_cancel(thread) == 0);
    work.cancelled = true;
    void *result = nullptr;
    REQUIRE(pthread_join(thread, &result) == 0);
    CHECK(work.finished);
    CHECK(result == PTHREAD_CANCELED);
}

// What is written to standard output and standard error while it lives.
class Overheard {
  public:
    Overheard() {
        std::fflush(nullptr);
        for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
            REQUIRE(dup2(pair_.b.get(), fd) == fd);
        }
    }
    Overheard(const Overheard &) = delete;
    Overheard &operator=(const Overheard &) = delete;
    ~Overheard() { restore(); }

    bool restore() {
        std::fflush(nullptr);
        dup2(out_.get(), STDOUT_FILENO);
        dup2(error_.get(), STDERR_FILENO);
        return is_readable(pair_.a.get());
    }

  private:
    SocketPair pair_;
    UniqueFd out_{fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)};
    UniqueFd error_{fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)};
};

} // namespace

TEST_CASE("handoffs between two processes that are interrupted all the time complete") {
    const Directory directory;
    const std::string path = directory / "backend";
    Child backend([&](const Wire &wire) {
        const Backend own = make_backend();
        must(rp::test::listen_at(own.get(), path.c_str()) == RP_HANDOFF_OK);
        wire.say('r');
        const Storm storm;
        for (std::string name; name != "last";) {
            rp_handoff_offer *offer = nullptr;
            must(rp_handoff_backend_next_offer(own.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK);
            const Offer owned(offer);
            name = info_of(owned).service_name;
            must(accept_and_close(owned) == RP_HANDOFF_OK);
        }
        must(Storm::has_passed());
    });
    REQUIRE(backend.hear() == 'r');
    const Broker broker = make_broker();
    const ClientConnection client;
    const Storm storm;
    for (int i = 0; i < 200 || interruptions < 3 * storm_strength; ++i) {
        CHECK(execute(broker, request_to(path, client.fd.get(), issue(broker))).result == RP_HANDOFF_COMPLETED);
    }
    CHECK(execute(broker, request_to(path, client.fd.get(), issue(broker, "last"))).result == RP_HANDOFF_COMPLETED);
    CHECK(backend.wait() == 0);
}

TEST_CASE("an execute that waits for its answer goes on waiting when it is interrupted") {
    Scene scene;
    scene.broker = make_broker(); // in real time
    scene.request.token = issue(scene.broker);
    SocketPair signal;
    sigset_t storms{};
    sigaddset(&storms, storm_signal);
    REQUIRE(pthread_sigmask(SIG_BLOCK, &storms, nullptr) == 0); // for the other thread
    std::thread backend([&] {
        const ReceivedOffer offer = receive_offer(scene.connection.b.get());
        char word = 0;
        CHECK(read(signal.b.get(), &word, 1) == 1);
        scene.send(offer.accepted());
    });
    REQUIRE(pthread_sigmask(SIG_UNBLOCK, &storms, nullptr) == 0);
    const Storm storm(say_so, signal.a.get());
    CHECK(scene.run().result == RP_HANDOFF_COMPLETED);
    CHECK(Storm::has_passed());
    backend.join();
}

TEST_CASE("a dial that waits for a place in the backlog goes on waiting when it is interrupted") {
    const Directory directory;
    const std::string path = directory / "backend";
    const UniqueFd listener = listener_at(path, 0);
    const UniqueFd in_the_way = dial(path);
    auto options = sized<rp_handoff_broker_options>();
    options.ack_deadline_ns = 200'000'000;
    const Broker broker = make_broker(options);
    const ClientConnection client;
    {
        const Storm storm(accept_one, listener.get());
        const rp_handoff_outcome outcome = execute(broker, request_to(path, client.fd.get(), issue(broker)));
        CHECK(outcome.stage == RP_HANDOFF_STAGE_AWAIT_ACK); // nobody answers, but it was dialled
        CHECK(outcome.cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    }
    UniqueFd(accepted_by_handler).reset();
}

TEST_CASE("a backend that waits for an offer goes on waiting when it is interrupted") {
    const Directory directory;
    const std::string path = directory / "backend";
    Child broker([&](const Wire &wire) {
        must(wire.hear() == 'x');
        const Broker own = make_broker();
        const ClientConnection client;
        must(execute(own, request_to(path, client.fd.get(), issue(own))).result == RP_HANDOFF_COMPLETED);
    });
    const Backend backend = make_backend();
    REQUIRE(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    const Storm storm(say_so, broker.wire());
    rp_handoff_offer *offer = nullptr;
    CHECK(rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK);
    CHECK(Storm::has_passed());
    CHECK(accept_and_close(Offer(offer)) == RP_HANDOFF_OK);
    CHECK(broker.wait() == 0);
}

TEST_CASE("an answer that waits for room goes on waiting when it is interrupted") {
    const Backend backend = make_backend();
    SocketPair pair;
    const UniqueFd same(dup(pair.b.get()));
    REQUIRE(rp_handoff_backend_add_connection(backend.get(), pair.b.release(), RP_HANDOFF_TRUST_CALLER) ==
            RP_HANDOFF_OK);
    const ClientConnection client;
    const Bytes message = RawBroker::message(token_of(1));
    std::size_t sent = 0;
    REQUIRE(rp_handoff_wire_send(pair.a.get(), client.fd.get(), message.data(), message.size(), &sent) ==
            RP_HANDOFF_OK);
    const Offer offer = take_offer(backend);
    fill_up(same);
    const Storm storm(drain, pair.a.get());
    CHECK(accept_and_close(offer) == RP_HANDOFF_OK);
    CHECK(Storm::has_passed());
}

TEST_CASE("a thread that is cancelled in an execute ends after it, with the outcome in its hands") {
    const Directory directory;
    const std::string path = directory / "backend";
    Server server;
    REQUIRE(rp::test::listen_at(server.backend.get(), path.c_str()) == RP_HANDOFF_OK);
    const Broker broker = make_broker();
    const ClientConnection client;
    const rp_handoff_request request = request_to(path, client.fd.get(), issue(broker));
    auto outcome = sized<rp_handoff_outcome>();
    run_cancelled([&] { rp_handoff_broker_execute(broker.get(), &request, &outcome, nullptr); });
    CHECK(outcome.result == RP_HANDOFF_COMPLETED);
}

TEST_CASE("a thread that is cancelled while its execute waits ends after it") {
    Scene scene;
    scene.broker = make_broker();
    scene.request.token = issue(scene.broker);
    auto outcome = sized<rp_handoff_outcome>();
    std::atomic<bool> returned{false};
    std::thread waiting([&] {
        rp_handoff_broker_execute(scene.broker.get(), &scene.request, &outcome, nullptr);
        returned = true;
        int old = 0;
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old); // std::thread does not like to be cancelled
        CHECK(old == PTHREAD_CANCEL_ENABLE);
    });
    const ReceivedOffer offer = receive_offer(scene.connection.b.get()); // so it is in there
    REQUIRE(pthread_cancel(waiting.native_handle()) == 0);
    CHECK_FALSE(returned);
    scene.send(offer.accepted());
    waiting.join();
    CHECK(outcome.result == RP_HANDOFF_COMPLETED);
}

TEST_CASE("a thread that was cancelled can still use every call of a backend") {
    const Directory directory;
    Backend backend = make_backend();
    std::optional<RawBroker> brokers[2];
    std::int32_t statuses[7] = {-1, -1, -1, -1, -1, -1, -1};
    run_cancelled([&] {
        const std::string path = directory / "backend";
        statuses[0] = rp::test::listen_at(backend.get(), path.c_str());
    });
    for (std::uint8_t i = 0; i < 2; ++i) {
        brokers[i].emplace(directory / "backend");
        brokers[i]->offer(token_of(i));
    }
    run_cancelled([&] {
        rp_handoff_offer *offers[2] = {};
        std::int32_t fd = -1;
        statuses[1] = rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offers[0]);
        statuses[2] = rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offers[1]);
        statuses[3] = rp_handoff_offer_accept(offers[0], &fd);
        statuses[4] = rp_handoff_offer_refuse(offers[1], "no");
        UniqueFd adopted(fd);
        rp_handoff_offer_destroy(offers[0]);
        rp_handoff_offer_destroy(offers[1]);
        adopted.release();
        statuses[5] = rp_handoff_backend_stop(backend.get());
        rp_handoff_backend_destroy(backend.release());
        statuses[6] = fd;
    });
    for (int i = 0; i < 6; ++i) {
        CAPTURE(i);
        CHECK(statuses[i] == RP_HANDOFF_OK);
    }
    UniqueFd adopted(statuses[6]);
    CHECK(brokers[0]->answer() == acceptance(token_of(0)));
    CHECK(brokers[1]->answer() == refusal(token_of(1), "no"));
}

TEST_CASE("no broken connection raises SIGPIPE") {
    std::signal(SIGPIPE, SIG_DFL); // which would end this process
    SocketPair gone;
    gone.b.reset();
    const ClientConnection client;
    const Broker broker = make_broker();
    CHECK(execute(broker, request_over(gone.a.get(), client.fd.get(), issue(broker))).os_error == EPIPE);
    Listening backend;
    for (std::uint8_t i = 0; i < 3; ++i) {
        RawBroker leaving(backend.path);
        leaving.offer(token_of(i / 2)); // the third is a replay, to which the backend itself answers
    }
    Offer first = take_offer(backend.backend);
    CHECK(accept_and_close(first) == RP_HANDOFF_ACK_UNDELIVERED);
    CHECK(rp_handoff_offer_refuse(take_offer(backend.backend).get(), "no") == RP_HANDOFF_ACK_UNDELIVERED);
    CHECK(take_offer(backend.backend) == nullptr);
    CHECK(statistics(backend.backend).answers_undelivered == 3);
    const Bytes byte = {1};
    std::size_t sent = 0;
    CHECK(rp_handoff_wire_send(gone.a.get(), client.fd.get(), byte.data(), 1, &sent) == RP_HANDOFF_ERR_SYSTEM);
    CHECK(errno == EPIPE);
}

TEST_CASE("the library says nothing on standard output and standard error, whatever happens") {
    Overheard overheard;
    {
        Scene refused;
        refused.answer = [&](const ReceivedOffer &offer) { refused.send(offer.refused("no")); };
        refused.run();
        Scene garbled;
        garbled.answer = [&](const ReceivedOffer &) { garbled.send({9, 9, 9, 9, 9}); };
        garbled.run();
        Listening backend;
        RawBroker good(backend.path);
        good.offer(token_of(1));
        RawBroker replay(backend.path);
        replay.offer(token_of(1));
        RawBroker junk(backend.path);
        junk.send({1, 2, 3});
        accept_and_close(take_offer(backend.backend));
        take_offer(backend.backend);
        rp::test::listen_at(backend.backend.get(), "/nowhere/at/all");
        rp_handoff_broker_issue(garbled.broker.get(), "\xff", 0, nullptr);
        rp_handoff_broker_destroy(reinterpret_cast<rp_handoff_broker *>(backend.backend.get()));
    }
    CHECK_FALSE(overheard.restore());
}
