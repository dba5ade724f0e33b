// Sessions as a whole, without the C API: several threads on one, and the moments between two steps.
#include <doctest/doctest.h>

#include <atomic>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>

#include "support/interpose.hpp"
#include "support/process.hpp"
#include "support/session_core.hpp"

using namespace rp::handoff;
using namespace rp::handoff::session;
using namespace rp::test;

namespace {

constexpr Duration ms(std::uint64_t count) {
    return std::chrono::milliseconds(count);
}

// A thread that waits for an event, and is asleep in that when this is made.
class Waiter {
  public:
    template <class Session>
    Waiter(Session &session, std::optional<Duration> timeout)
        : thread_([this, &session, timeout] {
              id_ = static_cast<pid_t>(gettid());
              const Result<bool> waited = session.wait(timeout);
              answer_ = waited ? static_cast<int>(*waited) : -1;
          }) {
        while (id_ == 0 || !sleeps()) {
            std::this_thread::yield();
        }
    }
    Waiter(const Waiter &) = delete;
    Waiter &operator=(const Waiter &) = delete;
    ~Waiter() { answer(); }

    // 1: there is an event. 0: none. -1: failed.
    int answer() {
        if (thread_.joinable()) {
            thread_.join();
        }
        return answer_;
    }

  private:
    bool sleeps() const {
        char line[256] = {};
        const UniqueFd file(open(("/proc/self/task/" + std::to_string(id_) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
        const ssize_t n = read(file.get(), line, sizeof line - 1);
        const char *const after_name = n > 0 ? std::strrchr(line, ')') : nullptr;
        return after_name == nullptr || after_name[2] == 'S'; // or it has ended
    }

    std::atomic<pid_t> id_{0};
    int answer_ = -2;
    std::thread thread_;
};

// While it lives: how often a read waited, and how often poll(2) was called.
struct Watched {
    std::atomic<int> waiting_reads{0};
    std::atomic<int> polls{0};

    Hooked<ssize_t(int, msghdr *, int)> message{calls::recvmsg(), [this](int fd, msghdr *to, int flags) {
                                                    waiting_reads += (flags & MSG_DONTWAIT) == 0 ? 1 : 0;
                                                    return calls::recvmsg().real(fd, to, flags);
                                                }};
    Hooked<ssize_t(int, void *, std::size_t, int)> bytes{calls::recv(),
                                                         [this](int fd, void *to, std::size_t length, int flags) {
                                                             waiting_reads += (flags & MSG_DONTWAIT) == 0 ? 1 : 0;
                                                             return calls::recv().real(fd, to, length, flags);
                                                         }};
    Hooked<int(pollfd *, nfds_t, const timespec *, const sigset_t *)> poll{
        calls::ppoll(), [this](pollfd *targets, nfds_t count, const timespec *timeout, const sigset_t *mask) {
            ++polls;
            return calls::ppoll().real(targets, count, timeout, mask);
        }};
};

// Stands still unless the test moves it.
class Clock final : public TimeSource {
  public:
    explicit Clock(Instant &now) : now_(now) {}
    Instant now() noexcept override { return now_; }
    Wait wait(int, short, Instant) noexcept override { return Wait::timed_out; }

  private:
    Instant &now_;
};

} // namespace

TEST_CASE("when a waiting thread's time is over, the next one hears of the answer") {
    Sessions sessions;
    sessions.submit();
    const Index offer = sessions.offer();
    Waiter first(*sessions.broker, ms(50));
    Waiter second(*sessions.broker, std::nullopt);
    CHECK(first.answer() == 0);
    REQUIRE_FALSE(take(*sessions.backend)); // so that the answer leaves at once
    CHECK(sessions.backend->accept(offer));
    sessions.backend->release(offer);
    CHECK(second.answer() == 1);
    CHECK(take(*sessions.broker)->report.outcome.completed);
}

TEST_CASE("a waiting thread learns of a deadline that another one brings") {
    Sessions sessions;
    Waiter waiter(*sessions.broker, std::nullopt);
    sessions.submit(ms(20));
    CHECK(waiter.answer() == 1);
    CHECK(take(*sessions.broker)->report.outcome.cause == Cause::ack_timed_out);
}

TEST_CASE("the end of a session wakes everybody who waits in it, from whatever side it comes") {
    for (const bool own : {true, false}) {
        CAPTURE(own);
        Sessions sessions;
        Waiter first(*sessions.backend, std::nullopt);
        Waiter second(*sessions.backend, std::nullopt);
        own ? sessions.backend->shutdown() : sessions.broker->shutdown();
        CHECK(first.answer() == 1); // closed
        CHECK(second.answer() == 1);
        CHECK(take(*sessions.backend)->kind == Kind::closed);
        CHECK(*sessions.backend->wait(std::nullopt) == false);
    }
}

TEST_CASE("many threads that wait, execute and process on the two ends of a session lose nothing") {
    constexpr int each = 40;
    Sessions sessions;
    std::atomic<int> adopted{0};
    std::atomic<bool> stop{false};
    const auto serve = [&] {
        while (!stop) {
            Event event;
            while (sessions.backend->next_event(event)) {
                if (event.kind == Kind::offer) {
                    adopted += sessions.backend->accept(event.offer) ? 1 : 0;
                    sessions.backend->release(event.offer);
                }
            }
            static_cast<void>(sessions.backend->wait(std::nullopt));
        }
    };
    std::vector<std::thread> servers;
    std::vector<std::thread> clients;
    for (int n = 0; n < 3; ++n) {
        servers.emplace_back(serve);
        clients.emplace_back([&, n] {
            for (int i = 0; i < each; ++i) {
                SocketPair client;
                Submission submission;
                submission.fd = client.a.get();
                submission.descriptor = Submission::Descriptor::borrowed;
                Explanation why;
                const Result<Broker::Report> report = sessions.broker->execute(submission, why);
                REQUIRE(report);
                CHECK(report->handoff.outcome.completed);
                if (n == 0) {
                    sessions.broker->process();
                }
            }
        });
    }
    for (std::thread &client : clients) {
        client.join();
    }
    stop = true;
    sessions.backend->stop();
    for (std::thread &server : servers) {
        server.join();
    }
    CHECK(adopted == 3 * each);
    CHECK(sessions.broker->statistics().completed == 3 * each);
}

TEST_CASE(
    "an answer that is given when all events were taken leaves at once, and so does one beside a thread that waits") {
    for (const bool beside : {false, true}) {
        CAPTURE(beside);
        Sessions sessions;
        sessions.submit();
        const Index offer = sessions.offer();
        std::optional<Waiter> waiter;
        if (beside) {
            waiter.emplace(*sessions.backend, std::nullopt);
        } else {
            REQUIRE_FALSE(take(*sessions.backend));
        }
        const UniqueFd adopted = std::move(sessions.backend->accept(offer)->fd);
        sessions.backend->release(offer);
        sessions.broker->process();
        const std::optional<Event> outcome = take(*sessions.broker);
        REQUIRE(outcome);
        CHECK(outcome->report.outcome.completed);
        sessions.backend->shutdown();
    }
}

TEST_CASE("an answer that is put off while events are taken leaves with the last of them, however a thread goes on") {
    for (const int how : {0, 1, 2}) {
        CAPTURE(how);
        Sessions sessions;
        sessions.submit();
        sessions.submit();
        const Index offer = sessions.offer();
        const UniqueFd adopted = std::move(sessions.backend->accept(offer)->fd); // one event is left
        CHECK(sessions.backend->next_deadline() == Instant());                   // who has a loop does not sleep
        if (how == 0) {
            sessions.backend->process();
        } else if (how == 1) {
            sessions.offer();
            CHECK_FALSE(take(*sessions.backend));
        } else {
            CHECK(*sessions.backend->wait(ms(0)));
        }
        sessions.broker->process();
        CHECK(take(*sessions.broker));
        sessions.backend->release(offer);
    }
}

TEST_CASE("a thread that is alone waits in a read, but not where its peer is not all that can have it do something") {
    if (!is_single_threaded()) {
        std::printf("a sanitizer has a thread here: skipped\n");
        return;
    }
    const Watched watched;
    {
        Sessions sessions;
        sessions.submit(); // answered by nobody
        CHECK_FALSE(*sessions.broker->wait(ms(100)));
        CHECK(watched.waiting_reads > 0);
    }
    Sessions sessions;
    const int before = watched.waiting_reads;
    const int room = 1;
    // Nothing more fits, and the offer has to wait for room.
    REQUIRE(setsockopt(sessions.broker->config().connection_fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
    fill_up(sessions.broker->config().connection_fd);
    sessions.submit();
    REQUIRE(sessions.broker->statistics().in_flight == 1);
    CHECK_FALSE(*sessions.broker->wait(ms(100)));
    CHECK(watched.waiting_reads == before);
}

TEST_CASE("in a process with other threads, or with a loop on the descriptor's word, nobody waits in a read") {
    Sessions sessions;
    std::thread([] {}).join(); // there was one
    const Watched watched;
    CHECK_FALSE(*sessions.broker->wait(ms(60)));
    CHECK(watched.waiting_reads == 0);
}

// Its holders have to be done with some of what they have before more is taken.
TEST_CASE("a stalled session that waits sleeps, and goes on when there is room again") {
    Config small;
    small.max_held = Config::least_held;
    Sessions sessions({}, small);
    Index offers[2];
    for (int n = 0; n < 3; ++n) {
        sessions.submit({}, max_early);
        if (n < 2) {
            offers[n] = sessions.offer();
            CHECK(sessions.backend->accept(offers[n]));
        }
    }
    CHECK_FALSE(take(*sessions.backend));
    {
        const Watched watched;
        CHECK_FALSE(*sessions.backend->wait(ms(100)));
        CHECK(watched.polls < 10); // what is left of the third one comes in pieces
    }
    Waiter waiter(*sessions.backend, std::nullopt);
    sessions.backend->release(offers[0]);
    CHECK(waiter.answer() == 1);
    CHECK(take(*sessions.backend)->kind == Kind::offer);
    sessions.backend->release(offers[1]);
}

TEST_CASE("what a broker had offered when it died is read and adopted: nobody else has those connections") {
    SocketPair pair;
    const int theirs = pair.a.get();
    const Child dying([&](const Wire &wire) {
        BrokerCore core;
        const auto session = open_broker(core, over(UniqueFd(theirs)));
        while (!session->peer()) {
            static_cast<void>(session->wait(std::nullopt));
        }
        for (int n = 0; n < 3; ++n) {
            SocketPair client;
            Submission submission;
            submission.fd = client.a.release();
            Explanation why;
            must(session->submit(submission, core.time.now(), why).has_value());
        }
        session->flush();
        wire.say('s');
        wire.hear();
    });
    pair.a.reset();
    const auto backend = open_backend(over(std::move(pair.b)));
    while (!backend->peer()) {
        static_cast<void>(backend->wait(std::nullopt));
    }
    REQUIRE(dying.hear() == 's');
    dying.signal(SIGKILL);
    pollfd ended{backend->peer()->watched(), POLLIN, 0};
    REQUIRE(poll(&ended, 1, 20'000) == 1);
    REQUIRE(take(*backend)->kind == Kind::opened);
    int adopted = 0;
    while (*backend->wait(std::nullopt)) {
        const std::optional<Event> event = take(*backend);
        if (event && event->kind == Kind::offer) {
            adopted += backend->accept(event->offer) ? 1 : 0;
            backend->release(event->offer);
        }
    }
    CHECK(adopted == 3);
    backend->shutdown();
}

// Once the word says refused, the connection is the broker's own, and a copy that is still open would be in its way.
TEST_CASE("the duplicate of a refused offer is closed before the ledger or the broker is told, by whatever way it is "
          "refused") {
    for (const int how : {0, 1, 2}) {
        CAPTURE(how);
        BeforeHand scene;
        SocketPair client;
        const std::uint32_t slot = scene.send_offer(client.a.get());
        scene.session->process();
        Index offer = no_index;
        if (how < 2) {
            offer = take(*scene.session)->offer;
            CHECK_FALSE(take(*scene.session));
        }
        struct stat of_client {};
        REQUIRE(fstat(client.a.get(), &of_client) == 0);
        int closes = 0;
        {
            const Hooked<int(int)> closing(calls::close(), [&](int fd) {
                struct stat info {};
                if (fstat(fd, &info) == 0 && info.st_ino == of_client.st_ino && fd != client.a.get()) {
                    ++closes;
                    CHECK(scene.is(slot, BeforeHand::pending));
                    CHECK_FALSE(is_readable(scene.answers.socket.get()));
                }
                return calls::close().real(fd);
            });
            if (how == 0) {
                CHECK(scene.session->refuse(offer, "no") == Status::ok);
            } else if (how == 1) {
                scene.session->release(offer);
            } else {
                scene.session->shutdown(); // nobody was given it
            }
        }
        CHECK(closes == 1);
        CHECK(scene.is(slot, BeforeHand::refused));
        CHECK(scene.answers.hear().is(FrameKind::answers));
        if (how == 0) {
            scene.session->release(offer);
        }
    }
}

TEST_CASE(
    "a backend that has said goodbye gives an offer that comes late its time, and counts anew when it has answered") {
    Instant now{std::chrono::hours(1)};
    BeforeHand scene({}, std::make_unique<Clock>(now));
    SocketPair client;
    scene.session->close();
    CHECK(scene.answers.hear().is(FrameKind::goodbye));
    now = after(now, ms(4'999));
    scene.send_offer(client.a.get());
    scene.session->process();
    const Index offer = take(*scene.session)->offer;
    now = after(now, ms(60'000));
    scene.session->process();
    CHECK_FALSE(take(*scene.session));
    CHECK(scene.session->refuse(offer, "late") == Status::ok);
    scene.session->release(offer);
    scene.session->process();
    CHECK(scene.session->next_deadline() == after(now, ms(5'000)));
    now = after(now, ms(5'000));
    scene.session->process();
    const std::optional<Event> end = take(*scene.session);
    REQUIRE((end && end->kind == Kind::closed));
    CHECK(end->end->status == Status::timed_out);
}

TEST_CASE("a backend that has said goodbye and is stalled gives its holders the time that they take") {
    Instant now{std::chrono::hours(1)};
    Config one;
    one.max_in_flight = 1;
    BeforeHand scene(one, std::make_unique<Clock>(now));
    SocketPair client;
    scene.send_offer(client.a.get());
    scene.session->process();
    const Index held = take(*scene.session)->offer;
    CHECK(scene.session->accept(held));
    scene.send_offer(client.a.get()); // for which there is no place
    scene.session->process();
    scene.session->close();
    now = after(now, ms(60'000));
    scene.session->process();
    CHECK_FALSE(take(*scene.session));
    scene.session->release(held);
    const std::optional<Event> second = take(*scene.session);
    REQUIRE((second && second->kind == Kind::offer));
    scene.session->release(second->offer);
}
