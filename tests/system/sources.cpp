// Clocks, waits and random sources of the caller's that fail: at whichever call, and in whichever way.
#include <unistd.h>

#include "support/hand_backend.hpp"
#include "support/misbehaviour.hpp"

using namespace rp::test;

namespace {

// A clock, a wait and a random source of which the n-th call misbehaves, the results filled in or not.
class Flaky {
  public:
    Flaky(int nth, Misbehaviour how, bool fills_in) : nth_(nth), how_(how), fills_in_(fills_in) {}

    template <class Options>
    Options in(Options options) {
        options.now = now;
        options.wait = wait;
        options.time_user_data = this;
        return options;
    }
    rp_handoff_broker_options random_in(rp_handoff_broker_options options) {
        options.random = fill;
        options.random_user_data = this;
        return options;
    }

    bool happened() const noexcept { return calls_ > nth_; }
    std::function<void()> meanwhile;

  private:
    template <class FillIn>
    std::int32_t call(FillIn fill_in) {
        const bool fails = calls_++ == nth_;
        if (!fails || fills_in_) {
            fill_in();
        }
        return answer_of(fails ? how_ : Misbehaviour::none);
    }

    static std::int32_t now(void *user_data, std::uint64_t *out) {
        auto *self = static_cast<Flaky *>(user_data);
        return self->call([&] { *out = self->now_; });
    }
    static std::int32_t wait(void *user_data, std::int32_t fd, std::int32_t events, std::uint64_t until,
                             std::int32_t *out) {
        auto *self = static_cast<Flaky *>(user_data);
        if (self->meanwhile) {
            self->meanwhile();
        }
        return self->call([&] {
            pollfd target{fd, static_cast<short>(events), 0};
            *out = poll(&target, 1, 0) > 0 ? 1 : 0;
            self->now_ = *out == 1 ? self->now_ : until;
        });
    }
    static std::int32_t fill(void *user_data, std::uint8_t *out, std::size_t length) {
        auto *self = static_cast<Flaky *>(user_data);
        return self->call([&] { std::memset(out, ++self->bytes_, length); });
    }

    int nth_;
    Misbehaviour how_;
    bool fills_in_;
    int calls_ = 0;
    std::uint64_t now_ = 1000 * second;
    std::uint8_t bytes_ = 0;
};

// A whole handoff on a time that fails once. Whoever is said to own the connection afterwards is the only one who does.
// Tells whether it failed at all.
bool hand_over_on(Flaky &time) {
    const Broker broker = make_broker(time.in(sized<rp_handoff_broker_options>()));
    const Backend backend = make_backend(time.in(sized<rp_handoff_backend_options>()));
    HandBroker joined(backend);
    const ClientConnection client;
    const Flags flags(client.fd.get());
    UniqueFd adopted;
    time.meanwhile = [&] {
        const Offer offer = take_offer(backend);
        std::int32_t fd = -1;
        if (offer != nullptr && rp_handoff_offer_accept(offer.get(), &fd) >= 0) {
            adopted.reset(fd);
        }
    };
    const rp_handoff_request request = request_over(joined.connection.get(), client.fd.get(), issue(broker));
    auto outcome = sized<rp_handoff_outcome>();
    const std::int32_t status = rp_handoff_broker_execute(broker.get(), &request, &outcome, nullptr);
    CHECK((status == RP_HANDOFF_OK || status == RP_HANDOFF_ERR_TOKEN_EXPIRED));
    if (status != RP_HANDOFF_OK || outcome.ownership == RP_HANDOFF_OWNER_BROKER) {
        CHECK_FALSE(adopted);
    }
    if (status == RP_HANDOFF_OK && outcome.ownership == RP_HANDOFF_OWNER_BACKEND) {
        CHECK(adopted);
    }
    const bool happened = time.happened();
    time.meanwhile = nullptr;
    check_ended(broker, request, flags);
    return happened;
}

void check_every_call(Misbehaviour how, bool fills_in) {
    CAPTURE(static_cast<int>(how));
    int nth = 0;
    for (bool happened = true; happened; ++nth) {
        CAPTURE(nth);
        Flaky time(nth, how, fills_in);
        happened = hand_over_on(time);
    }
    CHECK(nth > 10); // there are as many calls at least, or nothing was tried
}

// A clock that looks at both handles whenever it is asked.
struct Curious {
    rp_handoff_broker *broker = nullptr;
    rp_handoff_backend *backend = nullptr;
    int calls = 0;

    void look() {
        ++calls;
        auto of_broker = sized<rp_handoff_broker_statistics>();
        auto of_backend = sized<rp_handoff_backend_statistics>();
        if (broker != nullptr && backend != nullptr) {
            CHECK(rp_handoff_broker_get_statistics(broker, &of_broker) == RP_HANDOFF_OK);
            CHECK(rp_handoff_backend_get_statistics(backend, &of_backend) == RP_HANDOFF_OK);
        }
    }
    static std::int32_t now(void *self, std::uint64_t *out) {
        static_cast<Curious *>(self)->look();
        *out = 1000 * second;
        return RP_HANDOFF_CALLBACK_OK;
    }
    static std::int32_t wait(void *self, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *out) {
        static_cast<Curious *>(self)->look();
        *out = 1;
        return RP_HANDOFF_CALLBACK_OK;
    }
    static std::int32_t fill(void *self, std::uint8_t *out, std::size_t length) {
        auto *curious = static_cast<Curious *>(self);
        curious->look();
        std::memset(out, curious->calls, length);
        return RP_HANDOFF_CALLBACK_OK;
    }
};

} // namespace

TEST_CASE("a clock or a wait that fails, at whichever call, never gives a connection two owners") {
    for (const Misbehaviour misbehaviour : all_misbehaviours) {
        check_every_call(misbehaviour, true);
        check_every_call(misbehaviour, false);
    }
}

TEST_CASE("a clock or a wait that says it succeeded and fills nothing in has failed") {
    check_every_call(Misbehaviour::none, false);
}

TEST_CASE("a clock that stands still does not keep a handoff from ending") {
    auto options = sized<rp_handoff_broker_options>();
    options.now = [](void *, std::uint64_t *now) {
        *now = 1000 * second;
        return std::int32_t{RP_HANDOFF_CALLBACK_OK};
    };
    options.wait = [](void *, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *ready) {
        *ready = 0;
        return std::int32_t{RP_HANDOFF_CALLBACK_OK};
    };
    const Broker broker = make_broker(options);
    const SocketPair connection;
    const ClientConnection client;
    const rp_handoff_request request = request_over(connection.a.get(), client.fd.get(), issue(broker));
    CHECK(execute(broker, request).cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
}

TEST_CASE("a wait that answers neither yes nor no has failed") {
    for (const std::int32_t ready : {2, -1}) {
        Scene scene;
        auto options = scene.time.in(sized<rp_handoff_broker_options>());
        static std::int32_t answer = 0;
        answer = ready;
        options.wait = [](void *, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *out) {
            *out = answer;
            return std::int32_t{RP_HANDOFF_CALLBACK_OK};
        };
        scene.broker = make_broker(options);
        scene.request.token = issue(scene.broker);
        CHECK(scene.run().cause == RP_HANDOFF_CAUSE_ACK_TIMED_OUT);
    }
}

TEST_CASE("a random source that fails leaves no token behind") {
    for (const Misbehaviour misbehaviour : all_misbehaviours) {
        CAPTURE(static_cast<int>(misbehaviour));
        Flaky random(0, misbehaviour, true);
        const Broker broker = make_broker(random.random_in(sized<rp_handoff_broker_options>()));
        Out<rp_handoff_token> token;
        CHECK(rp_handoff_broker_issue(broker.get(), "service", 0, token.get()) == RP_HANDOFF_ERR_RANDOM);
        CHECK(token.untouched());
        CHECK(statistics(broker).pending_tokens == 0);
        CHECK(statistics(broker).pending_acks == 0);
        CHECK(rp_handoff_broker_issue(broker.get(), "service", 0, token.get()) == RP_HANDOFF_OK);
    }
}

TEST_CASE("a random source that repeats itself collides with what is pending, and only with that") {
    FakeRandom random;
    random.step = 0;
    const Broker broker = make_broker(random.in(sized<rp_handoff_broker_options>()));
    const rp_handoff_token first = issue(broker);
    Out<rp_handoff_token> second_token;
    CHECK(rp_handoff_broker_issue(broker.get(), "service", 0, second_token.get()) == RP_HANDOFF_ERR_TOKEN_COLLISION);
    CHECK(second_token.untouched());
    CHECK(random.calls == 1 + 16);
    CHECK(rp_handoff_broker_revoke(broker.get(), &first) == 1);
    CHECK(rp_handoff_broker_issue(broker.get(), "service", 0, second_token.get()) == RP_HANDOFF_OK);
}

TEST_CASE("no lock is held while a clock, a wait or a random source runs, and each may call back") {
    alarm(10); // a lock that is held would hang this for ever
    Curious curious;
    auto broker_options = sized<rp_handoff_broker_options>();
    auto backend_options = sized<rp_handoff_backend_options>();
    broker_options.now = backend_options.now = Curious::now;
    broker_options.wait = backend_options.wait = Curious::wait;
    broker_options.random = Curious::fill;
    broker_options.time_user_data = backend_options.time_user_data = broker_options.random_user_data = &curious;
    const Broker broker = make_broker(broker_options);
    const Backend backend = make_backend(backend_options);
    curious.broker = broker.get();
    curious.backend = backend.get();

    const rp_handoff_token token = issue(broker);
    HandBroker joined(backend);
    const ClientConnection client;
    joined.offer(client.fd.get(), token_of(1));
    Offer offer = take_offer(backend);
    std::int32_t fd = -1;
    CHECK(rp_handoff_offer_accept(offer.get(), &fd) == RP_HANDOFF_OK);
    close(fd);
    CHECK(rp_handoff_backend_expect(backend.get(), &token) == RP_HANDOFF_OK);
    CHECK(rp_handoff_backend_consume(backend.get(), &token, token.bytes, 16) == RP_HANDOFF_OK);
    std::uint64_t timeout = 0;
    CHECK(rp_handoff_backend_get_timeout(backend.get(), &timeout) == RP_HANDOFF_OK);
    CHECK(rp_handoff_broker_next_overdue(broker.get(), nullptr) == 0);
    CHECK(rp_handoff_broker_revoke(broker.get(), &token) == 1);
    CHECK(curious.calls > 8);
}
