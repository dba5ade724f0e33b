#include "sessions.hpp"

namespace rp::bench {

Broker make_broker() {
    rp_handoff_broker *broker = nullptr;
    must(rp_handoff_broker_create(nullptr, &broker) == RP_HANDOFF_OK, "create a broker");
    return Broker(broker);
}

namespace {

rp_handoff_session_options over(const Fd &fd) {
    auto options = sized<rp_handoff_session_options>();
    options.connection_fd = fd.get();
    return options;
}

} // namespace

Session broker_session(rp_handoff_broker *broker, Fd fd) {
    rp_handoff_session *session = nullptr;
    const rp_handoff_session_options options = over(fd);
    must(rp_handoff_session_open(broker, &options, &session) == RP_HANDOFF_OK, "open a session");
    fd.release();
    Session owner(session);
    auto event = sized<rp_handoff_event>();
    must(rp_handoff_session_wait(session, RP_HANDOFF_FOREVER) == 1 &&
             rp_handoff_session_next_event(session, &event, nullptr) == 1 && event.kind == RP_HANDOFF_EVENT_OPENED,
         "the hellos of a session");
    return owner;
}

Session backend_session(Fd fd) {
    rp_handoff_session *session = nullptr;
    const rp_handoff_session_options options = over(fd);
    must(rp_handoff_session_receive(&options, &session) == RP_HANDOFF_OK, "receive a session");
    fd.release();
    return Session(session);
}

rp_handoff_outcome attempt(rp_handoff_session *session, int fd) {
    auto submission = sized<rp_handoff_submission>();
    auto outcome = sized<rp_handoff_outcome>();
    submission.fd = fd;
    must(rp_handoff_session_execute(session, &submission, &outcome) == RP_HANDOFF_OK, "execute");
    return outcome;
}

void execute(rp_handoff_session *session, int fd) {
    must(attempt(session, fd).result == RP_HANDOFF_COMPLETED, "a completed handoff");
}

} // namespace rp::bench
