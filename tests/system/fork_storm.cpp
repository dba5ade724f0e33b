// Threads are in calls on a handle all the time while another one forks, and each child destroys its copies: whatever was
// being changed at the fork, the child neither crashes nor hangs, and the parent goes on.
#include <atomic>
#include <thread>

#include "support/api.hpp"
#include "support/door.hpp"
#include "support/raw_broker.hpp"
#include "support/session_hand.hpp"
#include "support/valgrind.hpp"

using namespace rp::test;

namespace {

constexpr int forks = 1000;

// Threads that do one thing over and over until the storm is over.
class Busy {
  public:
    template <class Turn>
    void add(Turn turn) {
        threads_.emplace_back([this, turn]() mutable {
            for (std::uint64_t n = 0; !over_; ++n) {
                turn(n);
            }
        });
    }
    void end() {
        over_ = true;
        for (std::thread &thread : threads_) {
            thread.join();
        }
        threads_.clear();
    }
    ~Busy() { end(); }

  private:
    std::atomic<bool> over_{false};
    std::vector<std::thread> threads_;
};

// Not Child: its socketpairs would be all that most of the forks see.
template <class Destroy>
void storm(Busy &busy, Destroy destroy) {
    int unwell = 0;
    for (int i = 0; i < forks; ++i) {
        const pid_t pid = fork();
        if (pid == 0) {
            alarm(10);
            destroy(i);
            _exit(0);
        }
        int status = -1;
        REQUIRE(wait_for(pid, &status) == pid);
        unwell += status != 0 ? 1 : 0;
    }
    CHECK(unwell == 0);
    busy.end();
}

std::string name_of(std::uint64_t n) {
    return "service" + std::to_string(n);
}

Broker roomy_broker() {
    auto options = sized<rp_handoff_broker_options>();
    options.max_pending = 100000;
    return make_broker(options);
}

// Tokens come and go, and failures of ever new backends.
void work_on(const Broker &broker, std::uint64_t n, std::vector<rp_handoff_token> &mine) {
    const std::string name = name_of(n * 7 % 300);
    mine.push_back(issue(broker, name.c_str()));
    while (mine.size() > (n % 500 == 0 ? 20 : 500)) {
        rp_handoff_broker_revoke(broker.get(), &mine.back());
        mine.pop_back();
    }
    auto key = sized<rp_handoff_backend_key>();
    key.service_name = name.c_str();
    rp_handoff_broker_record(broker.get(), &key, RP_HANDOFF_REASON_PERMISSION_DENIED, nullptr, nullptr);
    rp_handoff_broker_note_accept(broker.get(), EMFILE);
    if (n % 3 == 0) {
        rp_handoff_broker_record(broker.get(), &key, RP_HANDOFF_REASON_NONE, nullptr, nullptr);
    }
}

// Hands over one connection after the other.
void offer_one(const Session &offering, bool waits) {
    ClientConnection client;
    auto submission = submission_of(client.fd.get());
    submission.timeout_ns = second / 5;
    if (waits) {
        auto outcome = sized<rp_handoff_outcome>();
        rp_handoff_session_execute(offering.get(), &submission, &outcome, nullptr);
    } else if (try_submit(offering, submission) == 1) {
        client.fd.release();
        rp_handoff_session_wait(offering.get(), second / 1000);
        while (take_event(offering).kind != 0) {
        }
    }
}

void adopt_all(const Session &receiving) {
    rp_handoff_session_wait(receiving.get(), second / 100);
    for (Event event = take_event(receiving); event.kind != 0; event = take_event(receiving)) {
        std::int32_t fd = -1;
        if (event.offer && rp_handoff_offer_accept(event.offer.get(), &fd) >= 0) {
            UniqueFd adopted(fd);
        }
    }
}

} // namespace

TEST_CASE("a child can destroy a broker on which threads of its parent are at work" *
          doctest::test_suite(not_under_valgrind)) {
    const Broker broker = roomy_broker();
    Busy busy;
    for (int i = 0; i < 3; ++i) {
        busy.add([&, mine = std::vector<rp_handoff_token>()](std::uint64_t n) mutable { work_on(broker, n, mine); });
    }
    storm(busy, [&](int) { rp_handoff_broker_destroy(broker.get()); });
    issue(broker);
}

TEST_CASE("a child can destroy a queue on which threads of its parent are at work" *
          doctest::test_suite(not_under_valgrind)) {
    auto options = sized<rp_handoff_queue_options>();
    options.capacity = 1000;
    options.ttl_ns = second / 300;
    const Queue queue = make_queue(options);
    Busy busy;
    for (std::uint64_t i = 0; i < 2; ++i) {
        busy.add([&, i](std::uint64_t n) {
            UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
            if (rp_handoff_queue_enqueue(queue.get(), fd.get(), n) == RP_HANDOFF_OK) {
                fd.release();
            }
            std::int32_t out = -1;
            if (n % 2 == i && rp_handoff_queue_dequeue(queue.get(), &out, nullptr) == 1) {
                fd.reset(out);
            }
        });
    }
    storm(busy, [&](int) { rp_handoff_queue_destroy(queue.get()); });
}

TEST_CASE("a child can destroy a front door to which threads of its parent put services, and where they serve clients" *
          doctest::test_suite(not_under_valgrind)) {
    const Broker broker = roomy_broker();
    const FrontDoor door = make_front_door(broker);
    Busy busy;
    busy.add([&](std::uint64_t n) {
        auto service = sized<rp_handoff_front_door_service>();
        const std::string name = name_of(n * 13 % 200);
        service.name = name.c_str();
        service.backend_endpoint = "/nowhere";
        CHECK(rp_handoff_front_door_put_service(door.get(), &service, nullptr) == RP_HANDOFF_OK);
        rp_handoff_front_door_remove_service(door.get(), name_of(n % 200).c_str());
    });
    busy.add([&](std::uint64_t n) {
        const Guest guest(hello_of(name_of(n % 200)));
        serve(door, guest.brokers_end());
    });
    storm(busy, [&](int) {
        rp_handoff_front_door_destroy(door.get());
        rp_handoff_broker_destroy(broker.get());
    });
}

TEST_CASE("a child can destroy sessions, their offers and their broker, in each order, beside threads of its parent" *
          doctest::test_suite(not_under_valgrind)) {
    const Joined joined;
    ClientConnection client;
    submit(joined.offering, client);
    Event kept = joined.next_offer();
    Busy busy;
    busy.add([&](std::uint64_t) { adopt_all(joined.receiving); });
    busy.add([&](std::uint64_t) { offer_one(joined.offering, true); });
    busy.add([&](std::uint64_t) { offer_one(joined.offering, false); });
    storm(busy, [&](int order) {
        for (int i = 0; i < 4; ++i) {
            const int which = (i + order) % 4;
            rp_handoff_broker_destroy(which == 0 ? joined.broker.get() : nullptr);
            rp_handoff_session_destroy(which == 1 ? joined.offering.get() : nullptr);
            rp_handoff_session_destroy(which == 2 ? joined.receiving.get() : nullptr);
            rp_handoff_offer_destroy(which == 3 ? kept.offer.get() : nullptr);
        }
    });
    accept_offer(kept.offer, statistics(joined.offering).fallbacks == 0 ? RP_HANDOFF_OK : RP_HANDOFF_ERR_REVOKED);
}

TEST_CASE("a child can destroy a v1 backend, an offer of it and a broker beside threads that use them" *
          doctest::test_suite(not_under_valgrind)) {
    const Directory directory;
    auto options = sized<rp_handoff_backend_options>();
    options.token_ttl_ns = 3600 * second; // a storm may take long
    const Backend backend = make_backend(options);
    const std::string path = directory / "backend";
    REQUIRE(rp::test::listen_at(backend.get(), path.c_str()) == RP_HANDOFF_OK);
    RawBroker held(path);
    held.offer(token_of(1));
    const Offer offer = take_offer(backend);
    const Broker broker = make_broker();
    Busy busy;
    for (int i = 0; i < 2; ++i) {
        busy.add([&](std::uint64_t) {
            rp_handoff_offer *next = nullptr;
            if (rp_handoff_backend_next_offer(backend.get(), second / 100, &next) == RP_HANDOFF_OK) {
                accept_and_close(Offer(next));
            }
        });
        busy.add([&](std::uint64_t) {
            const ClientConnection client;
            execute(broker, request_to(path, client.fd.get(), issue(broker)));
        });
    }
    storm(busy, [&](int) {
        rp_handoff_offer_destroy(offer.get());
        rp_handoff_backend_destroy(backend.get());
        rp_handoff_broker_destroy(broker.get());
    });
    CHECK(exists(path));
    CHECK(accept_and_close(offer) == RP_HANDOFF_OK);
}

TEST_CASE("a child can destroy a listener at which threads of its parent accept" *
          doctest::test_suite(not_under_valgrind)) {
    const Directory directory;
    const std::string path = directory / "listener";
    const Listener listener = make_listener(path);
    Busy busy;
    busy.add([&](std::uint64_t) {
        std::int32_t fd = -1;
        if (rp_handoff_listener_accept(listener.get(), second / 100, &fd) == RP_HANDOFF_OK) {
            UniqueFd accepted(fd);
        }
    });
    busy.add([&](std::uint64_t) { dial(path); });
    storm(busy, [&](int) { rp_handoff_listener_destroy(listener.get()); });
    CHECK(exists(path));
}
