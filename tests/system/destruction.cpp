// Handles end in any order, as collectors of other languages end them; and once one has ended, nothing that its maker gave
// it is called any more.
#include <algorithm>
#include <array>
#include <atomic>
#include <thread>

#include "support/door.hpp"
#include "support/raw_broker.hpp"
#include "support/session_hand.hpp"

using namespace rp::test;

namespace {

// Functions that another language frees when the handle that it gave them to is gone.
class Closures {
  public:
    bool freed = false;
    int late_calls = 0;
    std::uint64_t time = 1000 * second;
    std::function<void()> in_now;

    template <class Options>
    Options in(Options options) {
        options.now = now;
        options.wait = wait;
        options.time_user_data = this;
        return options;
    }
    rp_handoff_broker_options with_random(rp_handoff_broker_options options) {
        options.random = fill;
        options.random_user_data = this;
        return options;
    }
    rp_handoff_queue_options in(rp_handoff_queue_options options) {
        options.now = now;
        options.time_user_data = this;
        return options;
    }

  private:
    static Closures &called(void *user_data) {
        auto &self = *static_cast<Closures *>(user_data);
        self.late_calls += self.freed ? 1 : 0;
        return self;
    }
    static std::int32_t now(void *user_data, std::uint64_t *out_now) {
        Closures &self = called(user_data);
        if (self.in_now) {
            self.in_now();
        }
        *out_now = self.time;
        return RP_HANDOFF_CALLBACK_OK;
    }
    static std::int32_t wait(void *user_data, std::int32_t fd, std::int32_t events, std::uint64_t until,
                             std::int32_t *out_ready) {
        pollfd target{fd, static_cast<short>(events), 0};
        *out_ready = poll(&target, 1, 0) > 0 ? 1 : 0;
        Closures &self = called(user_data);
        self.time = *out_ready == 1 ? self.time : until;
        return RP_HANDOFF_CALLBACK_OK;
    }
    static std::int32_t fill(void *user_data, std::uint8_t *out, std::size_t length) {
        Closures &self = called(user_data);
        for (std::size_t i = 0; i < length; ++i) {
            out[i] = static_cast<std::uint8_t>(self.next_ >> (8 * (i % 8)));
        }
        ++self.next_;
        return RP_HANDOFF_CALLBACK_OK;
    }

    std::uint64_t next_ = 1;
};

enum Member : std::size_t { broker, door, offering, receiving, session_offer, backend, backend_offer, members };

// One of each, all of which have something to do with one another.
class Everything {
  public:
    explicit Everything(bool own_clocks)
        : own_clocks_(own_clocks), joined_(setup()), door_(make_front_door(joined_.broker)),
          backend_(make_backend(own_clocks ? of_backend_.in(sized<rp_handoff_backend_options>())
                                           : sized<rp_handoff_backend_options>())),
          queue_(make_queue(own_clocks ? of_queue_.in(sized<rp_handoff_queue_options>())
                                       : sized<rp_handoff_queue_options>())) {
        put_service();
        submit(joined_.offering, clients_[0]);
        session_offer_ = joined_.next_offer();
        submit(joined_.offering, clients_[1]); // not read yet
        peer_.emplace(backend_);
        peer_->offer(clients_[2].fd.get(), token_of(9));
        backend_offer_ = take_offer(backend_);
        REQUIRE(backend_offer_);
        CHECK(rp_handoff_queue_enqueue(queue_.get(), clients_[3].fd.release(), 0) == RP_HANDOFF_OK);
    }

    void end(std::size_t member) {
        switch (member) {
        case broker:
            joined_.broker.reset();
            of_broker_.freed = true;
            break;
        case door:
            door_.reset();
            queue_.reset();
            of_queue_.freed = true;
            break;
        case offering:
            joined_.offering.reset();
            break;
        case receiving:
            joined_.receiving.reset();
            of_receiving_.freed = true;
            break;
        case session_offer:
            session_offer_.offer.reset();
            break;
        case backend:
            backend_.reset();
            of_backend_.freed = true;
            break;
        default:
            backend_offer_.reset();
        }
    }

    // Whatever is left.
    void use() {
        for (const Session *session : {&joined_.offering, &joined_.receiving}) {
            if (*session) {
                process(*session);
                rp_handoff_session_wait(session->get(), 0);
                take_event(*session);
            }
        }
        if (joined_.offering) {
            ClientConnection client;
            auto submission = submission_of(client.fd.get());
            const std::int32_t status = try_submit(joined_.offering, submission);
            CHECK((status == 1 || status == RP_HANDOFF_ERR_CLOSED));
            if (status == 1) {
                client.fd.release();
            }
        }
        if (door_ && own_clocks_) {
            const Guest guest(hello_of());
            serve(door_, guest.brokers_end());
        }
    }

    void check_nothing_was_called_late() const {
        for (const Closures *closures : {&of_broker_, &of_receiving_, &of_backend_, &of_queue_}) {
            CHECK(closures->late_calls == 0);
        }
    }

  private:
    Setup setup() {
        Setup setup;
        setup.offering.max_in_flight = setup.receiving.max_in_flight = 16; // thousands of times
        if (own_clocks_) {
            setup.broker = of_broker_.with_random(of_broker_.in(setup.broker));
            setup.receiving = of_receiving_.in(setup.receiving);
        }
        return setup;
    }
    void put_service() {
        auto service = sized<rp_handoff_front_door_service>();
        service.name = "service";
        service.backend_endpoint = "/where/clients/reconnect";
        service.session = joined_.offering.get();
        REQUIRE(rp_handoff_front_door_put_service(door_.get(), &service, nullptr) == RP_HANDOFF_OK);
    }

    bool own_clocks_;
    Closures of_broker_;
    Closures of_receiving_;
    Closures of_backend_;
    Closures of_queue_;
    ClientConnection clients_[4];
    Joined joined_;
    FrontDoor door_;
    Backend backend_;
    Queue queue_;
    std::optional<HandBroker> peer_;
    Event session_offer_;
    Offer backend_offer_;
};

using Order = std::array<std::size_t, members>;

// Permutes the last ones of an order.
template <class Visit>
void in_all_orders(std::size_t count, Visit visit) {
    Order order{};
    for (std::size_t i = 0; i < members; ++i) {
        order[i] = members - 1 - i;
    }
    const auto from = order.end() - static_cast<std::ptrdiff_t>(count);
    std::sort(from, order.end());
    do {
        visit(order);
    } while (std::next_permutation(from, order.end()));
}

} // namespace

TEST_CASE("handles end in any order") {
    bool own_clocks = false;
    in_all_orders(members, [&own_clocks](const Order &order) {
        own_clocks = !own_clocks;
        Everything everything(own_clocks);
        for (const std::size_t member : order) {
            everything.end(member);
        }
        everything.check_nothing_was_called_late();
    });
}

TEST_CASE("handles that know each other end in any order, and what is left of them is used in between") {
    for (const bool own_clocks : {true, false}) {
        in_all_orders(session_offer + 1, [own_clocks](const Order &order) {
            Everything everything(own_clocks);
            for (const std::size_t member : order) {
                everything.end(member);
                everything.use();
            }
            everything.check_nothing_was_called_late();
        });
    }
}

TEST_CASE(
    "a session whose broker is gone, with the clock that it gave, settles what it has, ends, and begins nothing") {
    Closures closures;
    Setup setup;
    setup.broker = closures.in(setup.broker);
    Joined joined(setup);
    ClientConnection adopted;
    ClientConnection waiting;
    submit(joined.offering, adopted);
    submit(joined.offering, waiting);
    const Event event = joined.next_offer();
    const UniqueFd fd = accept_offer(event.offer);
    joined.broker.reset();
    closures.freed = true;
    process(joined.offering);
    for (const std::int32_t owner : {RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_OWNER_BROKER}) {
        CHECK(await_event(joined.offering, RP_HANDOFF_EVENT_OUTCOME).ownership == owner);
    }
    CHECK(await_event(joined.offering, RP_HANDOFF_EVENT_CLOSED).status == RP_HANDOFF_ERR_CLOSED);
    CHECK(try_submit(joined.offering, submission_of(waiting.client.get())) == RP_HANDOFF_ERR_CLOSED);
    CHECK(closures.late_calls == 0);
}

TEST_CASE("a session on the system's clock outlives its broker's handle, and its front door serves through it") {
    Joined joined;
    joined.broker.reset();
    for (int i = 0; i < 3; ++i) {
        ClientConnection client;
        submit(joined.offering, client);
        const UniqueFd adopted = accept_offer(joined.next_offer().offer);
        CHECK(are_joined(adopted.get(), client.client.get()));
        CHECK(joined.next_outcome().is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
    }
}

TEST_CASE("a front door whose broker is gone, with the clock that it gave, serves nobody and says why") {
    Closures closures;
    Broker broker = make_broker(closures.in(sized<rp_handoff_broker_options>()));
    const FrontDoor door = make_front_door(broker);
    broker.reset();
    closures.freed = true;
    const Guest guest(hello_of());
    check_dropped(serve(door, guest.brokers_end()), RP_HANDOFF_ERR_CLOSED);
    CHECK(closures.late_calls == 0);
}

TEST_CASE("offers outlive their backend and the clock that it was given, and can still be accepted") {
    Closures of_backend;
    Backend backend = make_backend(of_backend.in(sized<rp_handoff_backend_options>()));
    const HandBroker peer(backend);
    const ClientConnection client;
    peer.offer(client.fd.get(), token_of(9));
    const Offer offer = take_offer(backend);
    REQUIRE(offer);
    backend.reset();
    of_backend.freed = true;
    std::int32_t fd = -1;
    CHECK(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_OK);
    CHECK(client.is_served_by(UniqueFd(fd).get()));
    CHECK(peer.answer()->accepted);
    CHECK(of_backend.late_calls == 0);

    Closures of_receiving;
    Setup setup;
    setup.receiving = of_receiving.in(setup.receiving);
    Joined joined(setup);
    ClientConnection other;
    submit(joined.offering, other);
    const Event event = joined.next_offer();
    joined.receiving.reset();
    of_receiving.freed = true;
    Out<std::int32_t> out;
    CHECK(rp_handoff_offer_accept(event.offer.get(), out.get()) >= 0);
    CHECK(are_joined(UniqueFd(out.value).get(), other.client.get()));
    CHECK(of_receiving.late_calls == 0);
}

TEST_CASE("the end of a broker waits for another thread that is in its clock, and none goes there afterwards") {
    for (int round = 0; round < 20; ++round) {
        Closures closures;
        std::atomic<bool> inside{false};
        std::atomic<bool> ending{false};
        std::atomic<bool> left{false};
        Setup setup;
        setup.broker = closures.in(setup.broker);
        Joined joined(setup);
        closures.in_now = [&] {
            inside = true;
            while (!ending) {
                std::this_thread::yield();
            }
            poll(nullptr, 0, 5); // long enough for an end that does not wait
            left = true;
        };
        std::thread user([&] { process(joined.offering); });
        while (!inside) {
            std::this_thread::yield();
        }
        ending = true;
        joined.broker.reset();
        CHECK(left);
        closures.freed = true;
        user.join();
        CHECK(closures.late_calls == 0);
    }
}

TEST_CASE("a broker's clock may end the broker for which a session asks it") {
    Closures closures;
    Setup setup;
    setup.broker = closures.in(setup.broker);
    Joined joined(setup);
    closures.in_now = [&] { joined.broker.reset(); };
    process(joined.offering);
    closures.freed = true;
    process(joined.offering);
    CHECK(take_event(joined.offering).kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(closures.late_calls == 0);
}
