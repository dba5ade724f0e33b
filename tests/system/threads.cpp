// A backend with several threads: each offer goes to one of them, and there is always one that watches the time.
#include <atomic>
#include <csignal>
#include <mutex>
#include <set>
#include <thread>

#include "support/api.hpp"
#include "support/raw_broker.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t io_timeout = 5 * second;

// A wait that lets the test act once in place of another thread, and remembers what the backend asked for.
class Interlude {
  public:
    Interlude(FakeTime &time, std::function<void()> act) : act_(std::move(act)) {
        time.meanwhile = [this] {
            if (act_) {
                std::exchange(act_, nullptr)();
            }
        };
    }

  private:
    std::function<void()> act_;
};

std::atomic<rp_handoff_backend *> to_stop{nullptr};

std::int32_t wait_for_offer(const Backend &backend, std::uint64_t timeout) {
    rp_handoff_offer *offer = nullptr;
    const std::int32_t status = rp_handoff_backend_next_offer(backend.get(), timeout, &offer);
    rp_handoff_offer_destroy(offer);
    return status;
}

// Each of these takes offers until it is stopped, and adopts them.
class Crew {
  public:
    Crew(const Backend &backend, int size) {
        for (int i = 0; i < size; ++i) {
            threads_.emplace_back([this, &backend] { work(backend); });
        }
    }
    void join() {
        for (std::thread &thread : threads_) {
            thread.join();
        }
    }

    std::multiset<std::uint64_t> seen() const { return seen_; }
    int ended() const { return ended_; }

  private:
    void work(const Backend &backend) {
        rp_handoff_offer *offer = nullptr;
        while (rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK) {
            const Offer owned(offer);
            CHECK(accept_and_close(owned) == RP_HANDOFF_OK);
            const std::uint64_t id = info_of(owned).correlation_id;
            const std::lock_guard<std::mutex> lock(mutex_);
            seen_.insert(id);
        }
        ++ended_;
    }

    std::mutex mutex_;
    std::multiset<std::uint64_t> seen_;
    std::atomic<int> ended_{0};
    std::vector<std::thread> threads_;
};

// Hands `count` connections over, with these correlation ids.
void hand_over(const std::string &path, std::uint64_t first_id, std::uint64_t count) {
    const Broker broker = make_broker();
    const ClientConnection client;
    for (std::uint64_t id = first_id; id < first_id + count; ++id) {
        rp_handoff_request request = request_to(path, client.fd.get(), issue(broker));
        request.correlation_id = id;
        CHECK(execute(broker, request).result == RP_HANDOFF_COMPLETED);
    }
}

} // namespace

TEST_CASE("of four threads that wait for offers each offer goes to one, and a signal handler can stop them all") {
    const Directory directory;
    const std::string path = directory / "backend";
    const Backend backend = make_backend();
    REQUIRE(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    to_stop = backend.get();
    std::signal(SIGUSR1, [](int) { rp_handoff_backend_stop(to_stop); });
    Crew crew(backend, 4);
    std::thread other([&] { hand_over(path, 1000, 100); });
    hand_over(path, 2000, 100);
    other.join();
    std::raise(SIGUSR1);
    crew.join();
    CHECK(crew.ended() == 4);
    CHECK(crew.seen().size() == 200);
    const std::multiset<std::uint64_t> seen = crew.seen();
    CHECK(std::set<std::uint64_t>(seen.begin(), seen.end()).size() == 200);
    CHECK(wait_for_offer(backend, RP_HANDOFF_FOREVER) == RP_HANDOFF_ERR_CLOSED);
    CHECK(statistics(backend).accepted == 200);
}

TEST_CASE("a backend that was stopped stays stopped, also with offers at hand") {
    Listening backend;
    RawBroker broker(backend.path);
    broker.offer(token_of(1));
    CHECK(rp_handoff_backend_stop(backend.backend.get()) == RP_HANDOFF_OK);
    CHECK(rp_handoff_backend_stop(backend.backend.get()) == RP_HANDOFF_OK);
    CHECK(wait_for_offer(backend.backend, 0) == RP_HANDOFF_ERR_CLOSED);
    CHECK(wait_for_offer(backend.backend, RP_HANDOFF_FOREVER) == RP_HANDOFF_ERR_CLOSED);
}

TEST_CASE("next_offer waits for its timeout and no longer, to the nanosecond") {
    Listening backend;
    for (const std::uint64_t timeout : {std::uint64_t{0}, std::uint64_t{1}, 7 * second}) {
        const std::uint64_t start = backend.time.now;
        CHECK(wait_for_offer(backend.backend, timeout) == RP_HANDOFF_ERR_TIMED_OUT);
        CHECK(backend.time.now == start + timeout);
    }
    const std::uint64_t start = backend.time.now;
    CHECK(wait_for_offer(backend.backend, UINT64_MAX - 1) ==
          RP_HANDOFF_ERR_TIMED_OUT); // does not fit: as long as can be
    CHECK(backend.time.now - start > 99 * (365 * 24 * 3600 * second));
}

TEST_CASE("a thread that waits is woken when an answer of another thread begins a broker's time") {
    Listening backend(with_max_connections(1));
    RawBroker silent(backend.path);
    silent.offer(token_of(1));
    const Offer offer = take_offer(backend.backend);
    RawBroker next(backend.path);
    next.offer(token_of(2));
    const Interlude answering(backend.time, [&] { CHECK(accept_and_close(offer) == RP_HANDOFF_OK); });
    const std::uint64_t start = backend.time.now;
    CHECK(wait_for_offer(backend.backend, 100 * second) == RP_HANDOFF_OK); // the first broker is dropped for it
    CHECK(backend.time.now == start + io_timeout);
}

TEST_CASE("a thread that leaves hands the watch over a broker's time to one that stays") {
    Listening backend(with_max_connections(1));
    std::optional<RawBroker> silent;
    std::optional<RawBroker> next;
    const Interlude coming(backend.time, [&] {
        silent.emplace(backend.path);
        CHECK(wait_for_offer(backend.backend, 0) == RP_HANDOFF_ERR_TIMED_OUT); // this thread has accepted it, and goes
        next.emplace(backend.path);
        next->offer(token_of(1));
    });
    const std::uint64_t start = backend.time.now;
    CHECK(wait_for_offer(backend.backend, 100 * second) == RP_HANDOFF_OK);
    CHECK(backend.time.now == start + io_timeout);
}

TEST_CASE("a thread that leaves with an offer wakes another for the one behind it") {
    Listening backend;
    RawBroker first(backend.path);
    RawBroker behind(backend.path);
    const Interlude coming(backend.time, [&] {
        first.offer(token_of(1));
        behind.offer(token_of(2));
        CHECK(accept_and_close(take_offer(backend.backend)) == RP_HANDOFF_OK);
        CHECK(statistics(backend.backend).unanswered == 1); // read already, so that no socket tells of it
    });
    CHECK(wait_for_offer(backend.backend, second) == RP_HANDOFF_OK);
}
