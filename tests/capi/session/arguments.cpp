// What the calls of sessions answer to arguments that are not what they should be, and what they leave alone then.
#include "support/session_hand.hpp"
#include "support/sizes.hpp"

using namespace rp::test;

namespace {

// options -> the status of both ways to make a session, which must be the same.
std::int32_t status_with(const rp_handoff_session_options &valid, const Broker &broker) {
    SocketPair pair;
    auto options = valid;
    options.connection_fd = pair.a.get();
    Out<rp_handoff_session *> out;
    const std::int32_t status = rp_handoff_session_create_broker(broker.get(), &options, out.get(), nullptr);
    CHECK(out.untouched() == (status != RP_HANDOFF_OK));
    const Session offering(status == RP_HANDOFF_OK ? out.value : nullptr);
    Out<rp_handoff_session *> other;
    options.connection_fd = pair.b.get();
    CHECK(rp_handoff_session_create_backend(&options, other.get(), nullptr) == status);
    CHECK(other.untouched() == (status != RP_HANDOFF_OK));
    const Session receiving(status == RP_HANDOFF_OK ? other.value : nullptr);
    if (status == RP_HANDOFF_OK) {
        pair.a.release();
        pair.b.release();
    }
    return status;
}

} // namespace

TEST_CASE("session options may be of another size") {
    const Broker broker = make_broker();
    std::vector<SocketPair> pairs(200); // of which each call that succeeds takes one end
    std::size_t next = 0;
    for (const bool receives : {false, true}) {
        check_input(sized<rp_handoff_session_options>(), [&](const rp_handoff_session_options *in) {
            Newer<rp_handoff_session_options> options;
            std::memcpy(&options, in, std::min(sizeof options, std::max<std::size_t>(in->struct_size, sizeof *in)));
            SocketPair &pair = pairs.at(next++);
            options.known.connection_fd = pair.a.get();
            Out<rp_handoff_session *> out;
            const std::int32_t status =
                receives ? rp_handoff_session_create_backend(&options.known, out.get(), nullptr)
                         : rp_handoff_session_create_broker(broker.get(), &options.known, out.get(), nullptr);
            CHECK(out.untouched() == (status != RP_HANDOFF_OK));
            CHECK(is_open(pair.a.get()));
            if (status == RP_HANDOFF_OK) {
                pair.a.release();
                rp_handoff_session_destroy(out.value);
            }
            return status;
        });
    }
}

TEST_CASE("a session needs options, a place for its handle, and a broker's also a broker") {
    const Broker broker = make_broker();
    Out<rp_handoff_session *> out;
    CHECK(rp_handoff_session_create_broker(broker.get(), nullptr, out.get(), nullptr) ==
          RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_session_create_backend(nullptr, out.get(), nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(out.untouched());
    SocketPair pair;
    auto options = sized<rp_handoff_session_options>();
    options.connection_fd = pair.a.get();
    CHECK(rp_handoff_session_create_broker(nullptr, &options, out.get(), nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_session_create_broker(broker.get(), &options, nullptr, nullptr) ==
          RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_session_create_backend(&options, nullptr, nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(is_open(pair.a.get()));
}

TEST_CASE("options that mean nothing are refused by both ways to make a session") {
    const Broker broker = make_broker();
    const std::uint32_t uids[65] = {};
    auto options = sized<rp_handoff_session_options>();
    CHECK(status_with(options, broker) == RP_HANDOFF_OK);
    const auto check_refused = [&](auto change) {
        auto changed = options;
        change(changed);
        CHECK(status_with(changed, broker) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    };
    check_refused([](auto &o) { o.peer_flags = RP_HANDOFF_PEER_MATCH_PID; }); // peer_pid says it
    check_refused([](auto &o) { o.peer_flags = 1U << 31; });
    check_refused([](auto &o) { o.peer_uids_length = 1; });
    check_refused([&](auto &o) { o.peer_uids = uids, o.peer_uids_length = 65; });
    check_refused([](auto &o) { o.max_in_flight = RP_HANDOFF_IN_FLIGHT_MAX + 1; });
    check_refused([](auto &o) { o.service_name = "\xFF"; });
    const std::string name(256, 'n');
    check_refused([&](auto &o) { o.service_name = name.c_str(); });
    options.service_name = name.c_str() + 1;
    options.max_in_flight = RP_HANDOFF_IN_FLIGHT_MAX;
    options.peer_flags = RP_HANDOFF_PEER_ANY_UID;
    CHECK(status_with(options, broker) == RP_HANDOFF_OK);
}

TEST_CASE("a clock is the backend's to give, whole, and a broker's session has its broker's") {
    const Broker broker = make_broker();
    FakeTime time;
    SocketPair pair;
    Session session;
    auto options = time.in(sized<rp_handoff_session_options>());
    CHECK(try_open(broker, pair.a, options, session) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    options.now = nullptr;
    CHECK(try_open(broker, pair.a, options, session) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(try_receive(pair.a, options, session) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    options = time.in(sized<rp_handoff_session_options>());
    options.wait = nullptr;
    CHECK(try_receive(pair.a, options, session) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(try_receive(pair.a, time.in(options), session) == RP_HANDOFF_OK);
}

TEST_CASE("the calls of a broker's side are not those of a backend's session") {
    const Joined joined;
    const ClientConnection client;
    const auto submission = submission_of(client.fd.get());
    Out<std::uint64_t> id;
    CHECK(rp_handoff_session_submit(joined.receiving.get(), &submission, 1, id.get(), nullptr) ==
          RP_HANDOFF_ERR_WRONG_HANDLE);
    CHECK(rp_handoff_session_cancel(joined.receiving.get(), 1) == RP_HANDOFF_ERR_WRONG_HANDLE);
    OutStruct<rp_handoff_outcome> outcome;
    CHECK(rp_handoff_session_execute(joined.receiving.get(), &submission, outcome.get(), nullptr) ==
          RP_HANDOFF_ERR_WRONG_HANDLE);
    CHECK(id.untouched());
    CHECK(outcome.untouched());
    CHECK(is_open(client.fd.get()));
}

TEST_CASE("a submission may be of another size, and one that is refused leaves its descriptor alone") {
    Setup setup;
    setup.offering.max_in_flight = 64;
    const hand::Scene scene(setup);
    const ClientConnection client;
    check_input(
        submission_of(client.fd.get()),
        [&](const rp_handoff_submission *in) {
            Newer<rp_handoff_submission> submission;
            std::memcpy(&submission, in,
                        std::min(sizeof submission, std::max<std::size_t>(in->struct_size, sizeof *in)));
            submission.known.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
            Out<std::uint64_t> id;
            const std::int32_t status =
                rp_handoff_session_submit(scene.offering.get(), &submission.known, 1, id.get(), nullptr);
            CHECK(id.untouched() == (status != 1));
            return status;
        },
        1);
    CHECK(is_open(client.fd.get()));
}

TEST_CASE("items lie as far apart as the size that they say, and all say the same") {
    const Joined joined;
    ClientConnection clients[3];
    Newer<rp_handoff_submission> items[3]{};
    for (std::uint32_t i = 0; i < 3; ++i) {
        items[i].known = submission_of(clients[i].fd.get(), i);
        items[i].known.struct_size = sizeof items[i];
    }
    const auto submit = [&](std::size_t length, rp_handoff_error *error = nullptr) {
        return rp_handoff_session_submit(joined.offering.get(), &items[0].known, length, nullptr, error);
    };
    const auto with_size = [&](std::uint32_t size) {
        items[0].known.struct_size = size;
        const std::int32_t status = submit(3);
        items[0].known.struct_size = sizeof items[0];
        return status;
    };
    CHECK(submit(0) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(submit(std::size_t{INT32_MAX} + 1) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(rp_handoff_session_submit(joined.offering.get(), nullptr, 1, nullptr, nullptr) ==
          RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(with_size(0) == RP_HANDOFF_ERR_STRUCT_SIZE);
    CHECK(with_size(sizeof(rp_handoff_submission) - 8) == RP_HANDOFF_ERR_STRUCT_SIZE);
    for (std::uint32_t off = 1; off < 8; ++off) { // the second one would be misaligned
        CHECK(with_size(sizeof items[0] - off) == RP_HANDOFF_ERR_STRUCT_SIZE);
    }
    items[2].known.struct_size = sizeof items[2] - 8;
    auto error = sized<rp_handoff_error>();
    CHECK(submit(3, &error) == 2); // and why not the third
    CHECK(error.status == RP_HANDOFF_ERR_STRUCT_SIZE);
    CHECK(std::string(error.member) == "struct_size");
    items[2].known.struct_size = sizeof items[2];
    CHECK(rp_handoff_session_submit(joined.offering.get(), &items[2].known, 1, nullptr, nullptr) == 1);
    for (ClientConnection &client : clients) {
        client.fd.release();
        const UniqueFd adopted = accept_offer(joined.next_offer().offer);
        CHECK(are_joined(adopted.get(), client.client.get()));
    }
}

TEST_CASE("a wrong item among many ends what is submitted, and is told when it is the first") {
    const Joined joined;
    ClientConnection clients[3];
    std::vector<rp_handoff_submission> items;
    for (const ClientConnection &client : clients) {
        items.push_back(submission_of(client.fd.get()));
    }
    items[1].flags = 1U << 31;
    std::uint64_t ids[3] = {9, 9, 9};
    CHECK(rp_handoff_session_submit(joined.offering.get(), items.data(), 3, ids, nullptr) == 1);
    CHECK(ids[1] == 9);
    clients[0].fd.release();
    CHECK(rp_handoff_session_submit(joined.offering.get(), items.data() + 1, 2, ids, nullptr) ==
          RP_HANDOFF_ERR_INVALID_ARGUMENT);
    items[1] = submission_of(-1);
    CHECK(rp_handoff_session_submit(joined.offering.get(), items.data() + 1, 2, ids, nullptr) ==
          RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(statistics(joined.broker).pending_tokens == 1);
}

TEST_CASE("tokens that were not issued, or have expired, or are in use, are refused") {
    WithTime clock;
    Joined joined(clock.in({}));
    const ClientConnection client;
    auto submission = submission_of(client.fd.get());
    submission.flags = RP_HANDOFF_SUBMIT_TOKEN | RP_HANDOFF_SUBMIT_DUPLICATE;
    submission.token = token_of(7);
    CHECK(try_submit(joined.offering, submission) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    submission.token = issue(joined.broker);
    submit(joined.offering, submission);
    CHECK(try_submit(joined.offering, submission) == RP_HANDOFF_ERR_TOKEN_IN_USE);
    accept_offer(joined.next_offer().offer);
    CHECK(joined.next_outcome().ownership == RP_HANDOFF_OWNER_BACKEND);
    CHECK(try_submit(joined.offering, submission) == RP_HANDOFF_ERR_TOKEN_NOT_PENDING);
    submission.token = issue(joined.broker);
    clock.time.now += 30 * second;
    CHECK(try_submit(joined.offering, submission) == RP_HANDOFF_ERR_TOKEN_EXPIRED);
}

TEST_CASE("a random source that fails, and one that repeats itself, are told") {
    FakeRandom random;
    Setup setup;
    setup.broker = random.in(setup.broker);
    const Joined joined(setup);
    const ClientConnection client;
    random.step = 0;
    auto submission = submission_of(client.fd.get());
    submission.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
    submit(joined.offering, submission);
    CHECK(try_submit(joined.offering, submission) == RP_HANDOFF_ERR_TOKEN_COLLISION);
    random.answer = 0;
    CHECK(try_submit(joined.offering, submission) == RP_HANDOFF_ERR_RANDOM);
}

TEST_CASE("what a session tells fits into structs of any size that is large enough") {
    const Joined joined;
    check_result<rp_handoff_session_peer>(
        [&](rp_handoff_session_peer *out) { return rp_handoff_session_get_peer(joined.receiving.get(), out); });
    check_result<rp_handoff_session_statistics>([&](rp_handoff_session_statistics *out) {
        return rp_handoff_session_get_statistics(joined.receiving.get(), out);
    });
    check_result<rp_handoff_event>([&](rp_handoff_event *out) {
        const ClientConnection client;
        auto submission = submission_of(client.fd.get());
        submission.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
        REQUIRE(rp_handoff_session_cancel(joined.offering.get(), submit(joined.offering, submission)) == 1);
        const std::int32_t given = rp_handoff_session_next_event(joined.offering.get(), out, nullptr);
        while (take_event(joined.offering).kind != 0) { // of a call that was refused
        }
        return given == 1 ? std::int32_t{RP_HANDOFF_OK} : given;
    });
    check_result<rp_handoff_outcome>([&](rp_handoff_outcome *out) {
        const ClientConnection client;
        auto submission = submission_of(client.fd.get());
        submission.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
        REQUIRE(rp_handoff_session_cancel(joined.offering.get(), submit(joined.offering, submission)) == 1);
        auto event = sized<rp_handoff_event>();
        const std::int32_t given = rp_handoff_session_next_event(joined.offering.get(), &event, out);
        while (take_event(joined.offering).kind != 0) {
        }
        return given == 1 ? std::int32_t{RP_HANDOFF_OK} : given;
    });
}

TEST_CASE(
    "next_event needs an event to fill in, leaves it alone if there is none, and touches no outcome but an outcome's") {
    const Joined joined;
    CHECK(rp_handoff_session_next_event(joined.offering.get(), nullptr, nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    OutStruct<rp_handoff_event> event;
    OutStruct<rp_handoff_outcome> outcome;
    CHECK(rp_handoff_session_next_event(joined.offering.get(), event.get(), outcome.get()) == 0);
    CHECK(event.untouched());
    REQUIRE(rp_handoff_session_close(joined.receiving.get()) == RP_HANDOFF_OK);
    joined.turn();
    CHECK(rp_handoff_session_next_event(joined.offering.get(), event.get(), outcome.get()) == 1);
    CHECK(event.value.kind == RP_HANDOFF_EVENT_CLOSING);
    CHECK(event.value.fd == -1);
    CHECK(event.value.offer == nullptr);
    CHECK(outcome.untouched());
}

TEST_CASE("execute and timeout need a place for their results") {
    const Joined joined;
    const ClientConnection client;
    const auto submission = submission_of(client.fd.get());
    CHECK(rp_handoff_session_execute(joined.offering.get(), &submission, nullptr, nullptr) ==
          RP_HANDOFF_ERR_INVALID_ARGUMENT);
    OutStruct<rp_handoff_outcome> outcome;
    CHECK(rp_handoff_session_execute(joined.offering.get(), nullptr, outcome.get(), nullptr) ==
          RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(outcome.untouched());
    CHECK(rp_handoff_session_get_timeout(joined.offering.get(), nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
}

TEST_CASE("the answers of sessions have words of their own") {
    const std::int32_t statuses[] = {RP_HANDOFF_ERR_UNAVAILABLE,       RP_HANDOFF_ERR_LIMIT_SESSION,
                                     RP_HANDOFF_ERR_LIMIT_DESCRIPTORS, RP_HANDOFF_ERR_LIMIT_BYTES,
                                     RP_HANDOFF_ERR_ANSWERED,          RP_HANDOFF_ERR_REVOKED,
                                     RP_HANDOFF_ERR_PROTOCOL};
    const std::string unknown = rp_handoff_strerror(-9999);
    for (const std::int32_t status : statuses) {
        CHECK(std::string(rp_handoff_strerror(status)) != unknown);
        for (const std::int32_t other : statuses) {
            CHECK((status == other || std::string(rp_handoff_strerror(status)) != rp_handoff_strerror(other)));
        }
    }
}
