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

namespace {

void submit(rp_handoff_session *session, std::vector<rp_handoff_submission> &items, int fd) {
    for (auto &item : items) {
        item.fd = dup(fd);
    }
    const auto count = static_cast<std::uint32_t>(items.size());
    must(rp_handoff_session_submit(session, items.data(), sizeof items[0], count, nullptr) ==
             static_cast<std::int32_t>(count),
         "submit");
}

} // namespace

void hand_over(rp_handoff_session *session, int fd, Shape shape, std::uint32_t total) {
    std::vector<rp_handoff_submission> items(shape.per_message, sized<rp_handoff_submission>());
    auto event = sized<rp_handoff_event>();
    std::uint32_t submitted = 0;
    for (std::uint32_t done = 0; done < total;) {
        for (; submitted < total && submitted + shape.per_message <= done + shape.in_flight;
             submitted += shape.per_message) {
            submit(session, items, fd);
        }
        must(rp_handoff_session_wait(session, RP_HANDOFF_FOREVER) == 1, "wait for outcomes");
        while (rp_handoff_session_next_event(session, &event, nullptr) == 1) {
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
