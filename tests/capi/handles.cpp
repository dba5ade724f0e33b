// What every call that takes a handle does with none and with one of another kind. The names in the table are held against
// the header by header.py, so that no call is forgotten.
#include "support/api.hpp"
#include "support/process.hpp"
#include "support/sockets.hpp"

#include <cerrno>

using namespace rp::test;

namespace {

Listener make_listener(const Directory &directory) {
    rp_handoff_listener *made = nullptr;
    REQUIRE(rp::test::create_listener((directory / "listener").c_str(), &made) == RP_HANDOFF_OK);
    return Listener(made);
}

enum class Kind { broker, backend, offer, queue, front_door, session, listener };
constexpr Kind all_kinds[] = {Kind::broker,     Kind::backend, Kind::offer,   Kind::queue,
                              Kind::front_door, Kind::session, Kind::listener};

// Calls with a handle that is not of the right kind, and otherwise all right.
struct Call {
    const char *name;
    Kind kind;
    std::int32_t (*with)(void *handle);
};

rp_handoff_broker *broker(void *handle) {
    return static_cast<rp_handoff_broker *>(handle);
}
rp_handoff_backend *backend(void *handle) {
    return static_cast<rp_handoff_backend *>(handle);
}
rp_handoff_offer *offer(void *handle) {
    return static_cast<rp_handoff_offer *>(handle);
}
rp_handoff_queue *queue(void *handle) {
    return static_cast<rp_handoff_queue *>(handle);
}
rp_handoff_front_door *front_door(void *handle) {
    return static_cast<rp_handoff_front_door *>(handle);
}
rp_handoff_session *session(void *handle) {
    return static_cast<rp_handoff_session *>(handle);
}
rp_handoff_listener *listener(void *handle) {
    return static_cast<rp_handoff_listener *>(handle);
}

const rp_handoff_token some_token = token_of(9);
const rp_handoff_backend_key some_key = sized<rp_handoff_backend_key>();

rp_handoff_subject some_subject() {
    auto subject = sized<rp_handoff_subject>();
    subject.backend = &some_key;
    return subject;
}

rp_handoff_front_door_service some_service() {
    auto service = sized<rp_handoff_front_door_service>();
    service.name = "service";
    service.backend_endpoint = "/nowhere/socket";
    return service;
}

const rp_handoff_submission some_submission = sized<rp_handoff_submission>();

const Call calls[] = {
    {"rp_handoff_session_create_broker", Kind::broker,
     [](void *handle) {
         Out<rp_handoff_session *> out;
         auto options = sized<rp_handoff_session_options>();
         options.socket_path = "/nowhere/socket";
         const std::int32_t status = rp_handoff_session_create_broker(broker(handle), &options, out.get(), nullptr);
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_session_close", Kind::session, [](void *handle) { return rp_handoff_session_close(session(handle)); }},
    {"rp_handoff_session_get_fd", Kind::session,
     [](void *handle) { return rp_handoff_session_get_fd(session(handle)); }},
    {"rp_handoff_session_get_timeout", Kind::session,
     [](void *handle) {
         Out<std::uint64_t> out;
         const std::int32_t status = rp_handoff_session_get_timeout(session(handle), out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_session_process", Kind::session,
     [](void *handle) { return rp_handoff_session_process(session(handle)); }},
    {"rp_handoff_session_wait", Kind::session,
     [](void *handle) { return rp_handoff_session_wait(session(handle), 0); }},
    {"rp_handoff_session_next_event", Kind::session,
     [](void *handle) {
         OutStruct<rp_handoff_event> out;
         const std::int32_t status = rp_handoff_session_next_event(session(handle), out.get(), nullptr);
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_session_flush", Kind::session, [](void *handle) { return rp_handoff_session_flush(session(handle)); }},
    {"rp_handoff_session_submit", Kind::session,
     [](void *handle) { return rp_handoff_session_submit(session(handle), &some_submission, 1, nullptr, nullptr); }},
    {"rp_handoff_session_cancel", Kind::session,
     [](void *handle) { return rp_handoff_session_cancel(session(handle), 1); }},
    {"rp_handoff_session_stop", Kind::session, [](void *handle) { return rp_handoff_session_stop(session(handle)); }},
    {"rp_handoff_session_execute", Kind::session,
     [](void *handle) {
         OutStruct<rp_handoff_outcome> out;
         const std::int32_t status = rp_handoff_session_execute(session(handle), &some_submission, out.get(), nullptr);
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_session_get_peer", Kind::session,
     [](void *handle) {
         OutStruct<rp_handoff_session_peer> out;
         const std::int32_t status = rp_handoff_session_get_peer(session(handle), out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_session_get_statistics", Kind::session,
     [](void *handle) {
         OutStruct<rp_handoff_session_statistics> out;
         const std::int32_t status = rp_handoff_session_get_statistics(session(handle), out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_listener_get_fd", Kind::listener,
     [](void *handle) { return rp_handoff_listener_get_fd(listener(handle)); }},
    {"rp_handoff_listener_accept", Kind::listener,
     [](void *handle) {
         Out<std::int32_t> out;
         const std::int32_t status = rp_handoff_listener_accept(listener(handle), 0, out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_broker_issue", Kind::broker,
     [](void *handle) {
         Out<rp_handoff_token> out;
         const std::int32_t status = rp_handoff_broker_issue(broker(handle), "service", 0, out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_broker_execute", Kind::broker,
     [](void *handle) {
         OutStruct<rp_handoff_outcome> out;
         const rp_handoff_request request = request_to_nowhere(some_token);
         const std::int32_t status = rp_handoff_broker_execute(broker(handle), &request, out.get(), nullptr);
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_broker_acknowledge", Kind::broker,
     [](void *handle) {
         Out<std::uint64_t> out;
         const std::int32_t status = rp_handoff_broker_acknowledge(broker(handle), &some_token, 0, out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_broker_revoke", Kind::broker,
     [](void *handle) { return rp_handoff_broker_revoke(broker(handle), &some_token); }},
    {"rp_handoff_broker_next_overdue", Kind::broker,
     [](void *handle) {
         OutStruct<rp_handoff_overdue> out;
         const std::int32_t status = rp_handoff_broker_next_overdue(broker(handle), out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_broker_get_statistics", Kind::broker,
     [](void *handle) {
         OutStruct<rp_handoff_broker_statistics> out;
         const std::int32_t status = rp_handoff_broker_get_statistics(broker(handle), out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_broker_execute_value", Kind::broker,
     [](void *handle) {
         OutStruct<rp_handoff_outcome> out;
         Out<std::uint64_t> leaked;
         auto request = sized<rp_handoff_value_request>();
         request.token = some_token;
         const std::int32_t status =
             rp_handoff_broker_execute_value(broker(handle), &request, out.get(), leaked.get(), nullptr);
         CHECK(out.untouched());
         CHECK(leaked.untouched());
         return status;
     }},
    {"rp_handoff_broker_should_attempt", Kind::broker,
     [](void *handle) {
         OutStruct<rp_handoff_decision> out;
         const rp_handoff_subject subject = some_subject();
         const std::int32_t status = rp_handoff_broker_should_attempt(broker(handle), &subject, out.get(), nullptr);
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_broker_record", Kind::broker,
     [](void *handle) {
         OutStruct<rp_handoff_decision> out;
         const std::int32_t status = rp_handoff_broker_record(broker(handle), &some_key,
                                                              RP_HANDOFF_REASON_PERMISSION_DENIED, out.get(), nullptr);
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_broker_get_failure_count", Kind::broker,
     [](void *handle) {
         Out<std::uint32_t> out;
         const std::int32_t status = rp_handoff_broker_get_failure_count(broker(handle), &some_key, out.get(), nullptr);
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_broker_note_accept", Kind::broker,
     [](void *handle) { return rp_handoff_broker_note_accept(broker(handle), EMFILE); }},
    {"rp_handoff_front_door_create", Kind::broker,
     [](void *handle) {
         Out<rp_handoff_front_door *> out;
         const std::int32_t status = rp_handoff_front_door_create(broker(handle), nullptr, out.get(), nullptr);
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_front_door_put_service", Kind::front_door,
     [](void *handle) {
         const rp_handoff_front_door_service service = some_service();
         return rp_handoff_front_door_put_service(front_door(handle), &service, nullptr);
     }},
    {"rp_handoff_front_door_remove_service", Kind::front_door,
     [](void *handle) { return rp_handoff_front_door_remove_service(front_door(handle), "service"); }},
    {"rp_handoff_front_door_serve", Kind::front_door,
     [](void *handle) {
         OutStruct<rp_handoff_front_door_visit> visit;
         OutStruct<rp_handoff_outcome> outcome;
         const std::int32_t status = rp_handoff_front_door_serve(front_door(handle), 0, visit.get(), outcome.get());
         CHECK(visit.untouched());
         CHECK(outcome.untouched());
         return status;
     }},
    {"rp_handoff_queue_enqueue", Kind::queue,
     [](void *handle) { return rp_handoff_queue_enqueue(queue(handle), 0, 1); }},
    {"rp_handoff_queue_dequeue", Kind::queue,
     [](void *handle) {
         Out<std::int32_t> fd;
         Out<std::uint64_t> user_data;
         const std::int32_t status = rp_handoff_queue_dequeue(queue(handle), fd.get(), user_data.get());
         CHECK(fd.untouched());
         CHECK(user_data.untouched());
         return status;
     }},
    {"rp_handoff_queue_expire", Kind::queue,
     [](void *handle) {
         Out<std::uint32_t> out;
         const std::int32_t status = rp_handoff_queue_expire(queue(handle), out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_queue_get_length", Kind::queue,
     [](void *handle) {
         Out<std::uint32_t> out;
         const std::int32_t status = rp_handoff_queue_get_length(queue(handle), out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_backend_add_listener", Kind::backend,
     [](void *handle) {
         const Directory directory;
         return rp_handoff_backend_add_listener(backend(handle), make_listener(directory).get());
     }},
    {"rp_handoff_listener_stop", Kind::listener,
     [](void *handle) { return rp_handoff_listener_stop(listener(handle)); }},
    {"rp_handoff_backend_add_connection", Kind::backend,
     [](void *handle) { return rp_handoff_backend_add_connection(backend(handle), 0, RP_HANDOFF_TRUST_CALLER); }},
    {"rp_handoff_backend_expect", Kind::backend,
     [](void *handle) { return rp_handoff_backend_expect(backend(handle), &some_token); }},
    {"rp_handoff_backend_revoke", Kind::backend,
     [](void *handle) { return rp_handoff_backend_revoke(backend(handle), &some_token); }},
    {"rp_handoff_backend_consume", Kind::backend,
     [](void *handle) {
         return rp_handoff_backend_consume(backend(handle), &some_token, some_token.bytes, sizeof some_token.bytes);
     }},
    {"rp_handoff_backend_next_offer", Kind::backend,
     [](void *handle) {
         Out<rp_handoff_offer *> out;
         const std::int32_t status = rp_handoff_backend_next_offer(backend(handle), 0, out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_backend_get_fd", Kind::backend,
     [](void *handle) { return rp_handoff_backend_get_fd(backend(handle)); }},
    {"rp_handoff_backend_get_timeout", Kind::backend,
     [](void *handle) {
         Out<std::uint64_t> out;
         const std::int32_t status = rp_handoff_backend_get_timeout(backend(handle), out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_backend_stop", Kind::backend, [](void *handle) { return rp_handoff_backend_stop(backend(handle)); }},
    {"rp_handoff_backend_get_statistics", Kind::backend,
     [](void *handle) {
         OutStruct<rp_handoff_backend_statistics> out;
         const std::int32_t status = rp_handoff_backend_get_statistics(backend(handle), out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_offer_get_info", Kind::offer,
     [](void *handle) {
         OutStruct<rp_handoff_offer_info> out;
         const std::int32_t status = rp_handoff_offer_get_info(offer(handle), out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_offer_accept", Kind::offer,
     [](void *handle) {
         Out<std::int32_t> out;
         const std::int32_t status = rp_handoff_offer_accept(offer(handle), out.get());
         CHECK(out.untouched());
         return status;
     }},
    {"rp_handoff_offer_refuse", Kind::offer, [](void *handle) { return rp_handoff_offer_refuse(offer(handle), "no"); }},
};

// One live handle of each kind.
// A session whose peer never says a word.
Session silent_session(const Broker &broker, SocketPair &pair) {
    auto options = sized<rp_handoff_session_options>();
    options.connection_fd = pair.a.get();
    rp_handoff_session *made = nullptr;
    REQUIRE(rp_handoff_session_create_broker(broker.get(), &options, &made, nullptr) == RP_HANDOFF_OK);
    pair.a.release();
    return Session(made);
}

struct AllKinds {
    Broker broker = make_broker();
    Backend backend = make_backend();
    HandBroker peer{backend};
    ClientConnection client;
    Offer offer;
    Queue queue = make_queue();
    FrontDoor front_door = make_front_door(broker);
    SocketPair pair;
    Session session = silent_session(broker, pair);
    Directory directory;
    Listener listener = make_listener(directory);

    AllKinds() {
        peer.offer(client.fd.get(), some_token);
        offer = take_offer(backend);
        REQUIRE(offer);
    }

    void *of(Kind kind) const {
        void *const handles[] = {broker.get(),     backend.get(), offer.get(),   queue.get(),
                                 front_door.get(), session.get(), listener.get()};
        return handles[static_cast<int>(kind)];
    }
};

} // namespace

TEST_CASE("no call works without a handle") {
    for (const Call &call : calls) {
        CAPTURE(call.name);
        CHECK(call.with(nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    }
}

TEST_CASE("every call reports a live handle of another kind") {
    const AllKinds handles;
    for (const Call &call : calls) {
        CAPTURE(call.name);
        for (const Kind kind : all_kinds) {
            if (kind != call.kind) {
                CHECK(call.with(handles.of(kind)) == RP_HANDOFF_ERR_WRONG_HANDLE);
            }
        }
    }
    // None of the calls did anything to the handle that it was given by mistake.
    std::int32_t fd = -1;
    CHECK(rp_handoff_offer_accept(handles.offer.get(), &fd) == RP_HANDOFF_OK);
    CHECK(handles.client.is_served_by(UniqueFd(fd).get()));
    CHECK_FALSE(take_offer(handles.backend));
    issue(handles.broker);
    std::uint32_t length = 1;
    CHECK(rp_handoff_queue_get_length(handles.queue.get(), &length) == RP_HANDOFF_OK);
    CHECK(length == 0);
    CHECK(rp_handoff_front_door_remove_service(handles.front_door.get(), "service") == 0);
}

TEST_CASE("no call but destroy works on a handle that a forked child inherited, nor in a grandchild") {
    const AllKinds handles;
    const auto check_all = [&handles] {
        for (const Call &call : calls) {
            must(call.with(handles.of(call.kind)) == RP_HANDOFF_ERR_FORKED);
            must(call.with(nullptr) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
        }
    };
    Child child([&](const Wire &) {
        check_all();
        Child grandchild([&](const Wire &) { check_all(); });
        must(grandchild.wait() == 0);
    });
    CHECK(child.wait() == 0);
    std::int32_t fd = -1;
    CHECK(rp_handoff_offer_accept(handles.offer.get(), &fd) == RP_HANDOFF_OK);
    CHECK(handles.client.is_served_by(UniqueFd(fd).get()));
}

TEST_CASE("destroying nothing is allowed") {
    rp_handoff_broker_destroy(nullptr);
    rp_handoff_backend_destroy(nullptr);
    rp_handoff_offer_destroy(nullptr);
    rp_handoff_queue_destroy(nullptr);
    rp_handoff_front_door_destroy(nullptr);
    rp_handoff_session_destroy(nullptr);
    rp_handoff_listener_destroy(nullptr);
}

TEST_CASE("destroying a handle of another kind does nothing to it") {
    const AllKinds handles;
    for (const Kind kind : all_kinds) {
        void *const handle = handles.of(kind);
        rp_handoff_broker_destroy(kind != Kind::broker ? broker(handle) : nullptr);
        rp_handoff_backend_destroy(kind != Kind::backend ? backend(handle) : nullptr);
        rp_handoff_offer_destroy(kind != Kind::offer ? offer(handle) : nullptr);
        rp_handoff_queue_destroy(kind != Kind::queue ? queue(handle) : nullptr);
        rp_handoff_front_door_destroy(kind != Kind::front_door ? front_door(handle) : nullptr);
        rp_handoff_session_destroy(kind != Kind::session ? session(handle) : nullptr);
        rp_handoff_listener_destroy(kind != Kind::listener ? listener(handle) : nullptr);
    }
    std::uint32_t length = 1;
    CHECK(rp_handoff_queue_get_length(handles.queue.get(), &length) == RP_HANDOFF_OK);
    CHECK(rp_handoff_front_door_remove_service(handles.front_door.get(), "service") == 0);
    CHECK(info_of(handles.offer).correlation_id == 7);
    CHECK(statistics(handles.backend).unanswered == 1);
    CHECK(statistics(handles.broker).issued == 0);
    CHECK(rp_handoff_session_wait(handles.session.get(), 0) == 0);
    Out<std::int32_t> fd;
    CHECK(rp_handoff_listener_accept(handles.listener.get(), 0, fd.get()) == RP_HANDOFF_ERR_TIMED_OUT);
}
