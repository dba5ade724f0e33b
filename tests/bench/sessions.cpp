#include "sessions.hpp"

namespace rp::bench {

Broker make_broker() {
    auto options = sized<rp_handoff_broker_options>();
    options.max_failed_attempts = UINT32_MAX; // those that fail are measured too
    rp_handoff_broker *broker = nullptr;
    must(rp_handoff_broker_create(&options, &broker, nullptr) == RP_HANDOFF_OK, "create a broker");
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
    must(rp_handoff_session_create_broker(broker, &options, &session, nullptr) == RP_HANDOFF_OK, "open a session");
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
    must(rp_handoff_session_create_backend(&options, &session, nullptr) == RP_HANDOFF_OK, "receive a session");
    fd.release();
    return Session(session);
}

rp_handoff_outcome attempt(rp_handoff_session *session, int fd) {
    auto submission = sized<rp_handoff_submission>();
    auto outcome = sized<rp_handoff_outcome>();
    submission.fd = fd;
    must(rp_handoff_session_execute(session, &submission, &outcome, nullptr) == RP_HANDOFF_OK, "execute");
    return outcome;
}

Pipeline::Pipeline(rp_handoff_session *session, int fd, Shape shape)
    : session_(session), fd_(fd), shape_(shape), items_(shape.per_message, sized<rp_handoff_submission>()) {}

void Pipeline::submit() {
    for (auto &item : items_) {
        item.fd = dup(fd_);
    }
    must(rp_handoff_session_submit(session_, items_.data(), shape_.per_message, nullptr, nullptr) ==
             static_cast<std::int32_t>(shape_.per_message),
         "submit");
}

void Pipeline::hand_over(std::uint32_t total) {
    auto event = sized<rp_handoff_event>();
    std::uint32_t submitted = 0;
    for (std::uint32_t done = 0; done < total;) {
        for (; submitted < total && submitted + shape_.per_message <= done + shape_.in_flight;
             submitted += shape_.per_message) {
            submit();
        }
        must(rp_handoff_session_wait(session_, RP_HANDOFF_FOREVER) == 1, "wait for outcomes");
        while (rp_handoff_session_next_event(session_, &event, nullptr) == 1) {
            must(event.kind == RP_HANDOFF_EVENT_OUTCOME && event.ownership == RP_HANDOFF_OWNER_BACKEND,
                 "a completed handoff");
            done++;
        }
    }
}

void execute(rp_handoff_session *session, int fd) {
    must(attempt(session, fd).result == RP_HANDOFF_COMPLETED, "a completed handoff");
}

} // namespace rp::bench
