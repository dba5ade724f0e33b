// Why a call failed, as its rp_handoff_error tells.
#include "support/exchange.hpp"
#include "support/process.hpp"
#include "support/session.hpp"

#include <string>
#include <sys/stat.h>

using namespace rp::test;

namespace {

// What a failing call must tell: a member, and a sentence of some length.
template <class Call>
void check_told(Call call, std::int32_t status, const std::string &member) {
    CAPTURE(member);
    OutStruct<rp_handoff_error> error;
    CHECK(call(error.get()) == status);
    CHECK(error.value.status == status);
    CHECK(std::string(error.value.member) == member);
    const std::string text = error.value.text;
    CHECK(text.find(' ') != std::string::npos);
    CHECK_MESSAGE(text.find("is ") != 0, text); // a sentence, not what is left of one
    CHECK_MESSAGE(text.find("has ") != 0, text);
    CHECK(call(nullptr) == status);
}

template <class Change>
void check_broker(Change change, const std::string &member) {
    check_told(
        [&](rp_handoff_error *error) {
            auto options = sized<rp_handoff_broker_options>();
            change(options);
            Out<rp_handoff_broker *> out;
            const std::int32_t status = rp_handoff_broker_create(&options, out.get(), error);
            CHECK(out.untouched());
            return status;
        },
        RP_HANDOFF_ERR_INVALID_ARGUMENT, member);
}

template <class Change>
void check_backend_session(Change change, const std::string &member) {
    check_told(
        [&](rp_handoff_error *error) {
            auto options = sized<rp_handoff_session_options>();
            options.socket_path = "/nowhere/socket";
            change(options);
            Out<rp_handoff_session *> out;
            return rp_handoff_session_create_backend(&options, out.get(), error);
        },
        RP_HANDOFF_ERR_INVALID_ARGUMENT, member);
}

template <class Change>
void check_submission(Change change, const std::string &member) {
    const Joined joined;
    const ClientConnection client;
    auto submission = submission_of(client.fd.get());
    change(submission);
    check_told(
        [&](rp_handoff_error *error) {
            return rp_handoff_session_submit(joined.offering.get(), &submission, 1, nullptr, error);
        },
        RP_HANDOFF_ERR_INVALID_ARGUMENT, member);
    check_told(
        [&](rp_handoff_error *error) {
            auto outcome = sized<rp_handoff_outcome>();
            return rp_handoff_session_execute(joined.offering.get(), &submission, &outcome, error);
        },
        RP_HANDOFF_ERR_INVALID_ARGUMENT, member);
}

} // namespace

TEST_CASE("a setting of a broker that makes no sense is named") {
    check_broker([](auto &o) { o.peer_flags = 1U << 30; }, "peer_flags");
    check_broker([](auto &o) { o.peer_uids_length = 65; }, "peer_uids");
    check_broker([](auto &o) { o.peer_uids_length = 1; }, "peer_uids");
    check_broker([](auto &o) { o.max_pending = 16777217; }, "max_pending");
    check_broker([](auto &o) { o.max_backends = 1048577; }, "max_backends");
    check_broker([](auto &o) { o.max_frame_bytes = 16777217; }, "max_frame_bytes");
    check_broker([](auto &o) { o.in_flight_percent = 101; }, "in_flight_percent");
    check_broker([](auto &o) { o.ack_deadline_ns = 30 * second; }, "ack_deadline_ns");
    check_broker([](auto &o) { o.now = [](void *, std::uint64_t *) { return 0; }; }, "wait");
}

TEST_CASE("a setting of a session that makes no sense is named") {
    check_backend_session([](auto &o) { o.socket_path = nullptr; }, "socket_path");
    check_backend_session([](auto &o) { o.socket_path = nullptr, o.connection_fd = -1; }, "socket_path");
    check_backend_session([](auto &o) { o.socket_path = nullptr, o.connection_fd = 1 << 20; }, "connection_fd");
    check_backend_session([](auto &o) { o.peer_flags = RP_HANDOFF_PEER_MATCH_PID; }, "peer_flags");
    check_backend_session([](auto &o) { o.service_name = "\xFF"; }, "service_name");
    check_backend_session([](auto &o) { o.max_in_flight = RP_HANDOFF_IN_FLIGHT_MAX + 1; }, "max_in_flight");
}

TEST_CASE("a part of a submission that makes no sense is named") {
    static const std::uint8_t byte = 0;
    check_submission([](auto &s) { s.flags = 1U << 31; }, "flags");
    check_submission([](auto &s) { s.fd = -1; }, "fd");
    check_submission([](auto &s) { s.metadata_length = 1; }, "metadata");
    check_submission([](auto &s) { s.metadata = &byte, s.metadata_length = RP_HANDOFF_METADATA_MAX + 1; }, "metadata");
    check_submission([](auto &s) { s.early = &byte, s.early_length = RP_HANDOFF_EARLY_BYTES_MAX + 1; }, "early");
    check_submission([](auto &s) { s.prologue = &byte, s.prologue_length = SIZE_MAX; }, "prologue");
}

TEST_CASE("a prologue for what is no socket is named") {
    static const std::uint8_t byte = 0;
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const UniqueFd read_end(ends[0]);
    const UniqueFd write_end(ends[1]);
    check_submission([&](auto &s) { s.fd = ends[0], s.prologue = &byte, s.prologue_length = 1; }, "prologue");
}

TEST_CASE("what could never be queued is refused at once, and what could is told to wait") {
    Setup setup;
    setup.offering.max_queued_bytes = 100;
    const Joined joined(setup);
    const ClientConnection client;
    const Bytes bytes(101);
    auto submission = submission_of(client.fd.get());
    submission.early = bytes.data();
    submission.early_length = bytes.size();
    check_told(
        [&](rp_handoff_error *error) {
            return rp_handoff_session_submit(joined.offering.get(), &submission, 1, nullptr, error);
        },
        RP_HANDOFF_ERR_INVALID_ARGUMENT, "max_queued_bytes");
}

TEST_CASE("descriptor 0 is a member that was forgotten, unless a flag says that it is meant") {
    const UniqueFd kept(dup(0));
    check_submission([](auto &s) { s.fd = 0; }, "fd");
    const Broker broker = make_broker();
    auto request = sized<rp_handoff_request>(); // without fd
    request.socket_path = "/nowhere/socket";
    request.token = issue(broker);
    check_told(
        [&](rp_handoff_error *error) {
            auto outcome = sized<rp_handoff_outcome>();
            return rp_handoff_broker_execute(broker.get(), &request, &outcome, error);
        },
        RP_HANDOFF_ERR_INVALID_ARGUMENT, "fd");
    request.flags = RP_HANDOFF_REQUEST_ANY_DESCRIPTOR;
    auto outcome = sized<rp_handoff_outcome>();
    CHECK(rp_handoff_broker_execute(broker.get(), &request, &outcome, nullptr) == RP_HANDOFF_OK);

    const Joined joined;
    auto submission = submission_of(0);
    submission.flags = RP_HANDOFF_SUBMIT_ANY_DESCRIPTOR | RP_HANDOFF_SUBMIT_DUPLICATE;
    CHECK(rp_handoff_session_submit(joined.offering.get(), &submission, 1, nullptr, nullptr) == 1);
}

TEST_CASE("a listener's setting that makes no sense is named, and one that fails says why") {
    const auto check_listener = [](const rp_handoff_listener_options &options, std::int32_t status,
                                   const std::string &member) {
        check_told(
            [&](rp_handoff_error *error) {
                Out<rp_handoff_listener *> out;
                const std::int32_t answered = rp_handoff_listener_create(&options, out.get(), error);
                CHECK(out.untouched());
                return answered;
            },
            status, member);
    };
    const SocketPair pair;
    auto options = sized<rp_handoff_listener_options>();
    check_listener(options, RP_HANDOFF_ERR_INVALID_ARGUMENT, "path");
    options.fd = pair.a.get();
    check_listener(options, RP_HANDOFF_ERR_INVALID_ARGUMENT, "trust");
    options.trust = RP_HANDOFF_TRUST_CALLER;
    check_listener(options, RP_HANDOFF_ERR_INVALID_ARGUMENT, "fd"); // it does not listen
    options.path = "/nowhere/socket";
    check_listener(options, RP_HANDOFF_ERR_INVALID_ARGUMENT, "fd"); // both
    options.fd = -1;
    options.path = "@abstract";
    check_listener(options, RP_HANDOFF_ERR_PATH_INVALID, "path");
    const Directory directory;
    REQUIRE(chmod((directory / ".").c_str(), 0755) == 0);
    const std::string path = directory / "socket";
    options.path = path.c_str();
    check_listener(options, RP_HANDOFF_ERR_PATH_UNSAFE, "path");
    CHECK(is_open(pair.a.get()));
}

TEST_CASE("an error's own size is checked before anything is done, and an error is untouched by success") {
    OutStruct<rp_handoff_error> error;
    rp_handoff_broker *broker = nullptr;
    CHECK(rp_handoff_broker_create(nullptr, &broker, error.get()) == RP_HANDOFF_OK);
    CHECK(error.untouched());
    const Broker owner(broker);
    for (const std::uint32_t size : {0U, 4U, static_cast<std::uint32_t>(sizeof error.value) - 1, 4097U}) {
        Out<rp_handoff_broker *> out;
        error.value.struct_size = size;
        CHECK(rp_handoff_broker_create(nullptr, out.get(), error.get()) == RP_HANDOFF_ERR_STRUCT_SIZE);
        CHECK(out.untouched());
    }
}

TEST_CASE("a handle that is none is told, too") {
    auto request = sized<rp_handoff_request>();
    const Backend backend = make_backend();
    auto outcome = sized<rp_handoff_outcome>();
    check_told([&](rp_handoff_error *e) { return rp_handoff_broker_execute(nullptr, &request, &outcome, e); },
               RP_HANDOFF_ERR_INVALID_ARGUMENT, "broker");
    auto *const other = reinterpret_cast<rp_handoff_broker *>(backend.get());
    check_told([&](rp_handoff_error *e) { return rp_handoff_broker_execute(other, &request, &outcome, e); },
               RP_HANDOFF_ERR_WRONG_HANDLE, "broker");
}

TEST_CASE("names are the constants', in lower case, and unknown for any other number") {
    using Name = const char *(*)(std::int32_t);
    const auto is = [](Name name, std::int32_t number, const char *expected) {
        CHECK(std::string(name(number)) == expected);
    };
    is(rp_handoff_status_name, RP_HANDOFF_OK, "ok");
    is(rp_handoff_status_name, RP_HANDOFF_ERR_FORKED, "forked");
    is(rp_handoff_cause_name, RP_HANDOFF_CAUSE_BACKEND_DESCRIPTORS, "backend_descriptors");
    is(rp_handoff_cause_name, RP_HANDOFF_CAUSE_PEER_UNKNOWN, "peer_unknown");
    is(rp_handoff_reason_name, RP_HANDOFF_REASON_ADOPTED_BACKEND, "adopted_backend");
    is(rp_handoff_stage_name, RP_HANDOFF_STAGE_NONE, "none");
    is(rp_handoff_stage_name, RP_HANDOFF_STAGE_DELIVER, "deliver");
    is(rp_handoff_owner_name, RP_HANDOFF_OWNER_AMBIGUOUS, "ambiguous");
    is(rp_handoff_event_name, RP_HANDOFF_EVENT_CLOSED, "closed");
    for (const Name name : {rp_handoff_status_name, rp_handoff_cause_name, rp_handoff_reason_name,
                            rp_handoff_stage_name, rp_handoff_owner_name, rp_handoff_event_name}) {
        for (const std::int32_t number : {-1000, 1000, INT32_MIN, INT32_MAX}) {
            is(name, number, "unknown");
        }
    }
    is(rp_handoff_owner_name, 0, "unknown");
    is(rp_handoff_event_name, 0, "unknown");
}

TEST_CASE("a limit that was passed is told with the limit") {
    OutStruct<rp_handoff_error> error;
    auto options = sized<rp_handoff_broker_options>();
    options.in_flight_percent = 101;
    Out<rp_handoff_broker *> out;
    CHECK(rp_handoff_broker_create(&options, out.get(), error.get()) == RP_HANDOFF_ERR_INVALID_ARGUMENT);
    CHECK(std::string(error.value.text) == "in_flight_percent is above its limit, which is 100");
}

TEST_CASE("a handle that will not do is named by its parameter, and why") {
    const Broker broker = make_broker();
    const Joined joined;
    const auto record = [](rp_handoff_broker *handle) {
        return [handle](rp_handoff_error *error) {
            auto key = sized<rp_handoff_backend_key>();
            return rp_handoff_broker_record(handle, &key, RP_HANDOFF_REASON_NONE, nullptr, error);
        };
    };
    check_told(record(nullptr), RP_HANDOFF_ERR_INVALID_ARGUMENT, "broker");
    auto *const other = reinterpret_cast<rp_handoff_broker *>(joined.offering.get());
    check_told(record(other), RP_HANDOFF_ERR_WRONG_HANDLE, "broker");
    Child child([&](const Wire &) {
        auto error = sized<rp_handoff_error>();
        must(record(broker.get())(&error) == RP_HANDOFF_ERR_FORKED);
        must(std::string(error.text) == "broker was inherited by fork(2): a child may only destroy it");
    });
    CHECK(child.wait() == 0);
}
