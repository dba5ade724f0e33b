// Sessions, of both sides: what every handoff goes through. How they begin and end is in session_life.cpp.
#include "environment.hpp"
#include "handles.hpp"
#include "os/descriptor.hpp"
#include "os/endpoint.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

// The core's numbers are the public ones.
static_assert(static_cast<int>(session::Event::Kind::opened) == RP_HANDOFF_EVENT_OPENED);
static_assert(static_cast<int>(session::Event::Kind::outcome) == RP_HANDOFF_EVENT_OUTCOME);
static_assert(static_cast<int>(session::Event::Kind::offer) == RP_HANDOFF_EVENT_OFFER);
static_assert(static_cast<int>(session::Event::Kind::closing) == RP_HANDOFF_EVENT_CLOSING);
static_assert(static_cast<int>(session::Event::Kind::closed) == RP_HANDOFF_EVENT_CLOSED);
static_assert(session::max_metadata == RP_HANDOFF_METADATA_MAX);
static_assert(session::max_prologue == RP_HANDOFF_PROLOGUE_MAX);
static_assert(session::max_early == RP_HANDOFF_EARLY_BYTES_MAX);
static_assert(session::max_batch == RP_HANDOFF_BATCH_MAX);
static_assert(session::max_in_flight == RP_HANDOFF_IN_FLIGHT_MAX);

namespace {

constexpr std::uint32_t submit_flags = RP_HANDOFF_SUBMIT_DUPLICATE | RP_HANDOFF_SUBMIT_TOKEN |
                                       RP_HANDOFF_SUBMIT_READY_FOLLOWS | RP_HANDOFF_SUBMIT_ANY_DESCRIPTOR;

// A part of a submission: whether it is there, and within its limit.
Status check_part(const std::uint8_t *bytes, std::size_t length, std::size_t most, std::string_view name,
                  Explanation &why) noexcept {
    if (bytes == nullptr && length > 0) {
        return why.about(Status::invalid_argument, name, "is NULL, though its length is not 0");
    }
    return check_at_most(length, most, name, why);
}

Status check(const rp_handoff_submission &s, std::size_t max_queued, Explanation &why) noexcept {
    if ((s.flags & ~submit_flags) != 0) {
        return why.about(Status::invalid_argument, "flags", "has a flag that means nothing here");
    }
    const Zero zero = (s.flags & RP_HANDOFF_SUBMIT_ANY_DESCRIPTOR) != 0 ? Zero::is_allowed : Zero::is_forgotten;
    const Status valid =
        first_failure({check_descriptor(s.fd, zero, "fd", why),
                       check_part(s.metadata, s.metadata_length, session::max_metadata, "metadata", why),
                       check_part(s.early, s.early_length, session::max_early, "early", why),
                       check_part(s.prologue, s.prologue_length, session::max_prologue, "prologue", why)});
    if (valid != Status::ok) {
        return valid;
    }
    return s.metadata_length + s.early_length + s.prologue_length <= max_queued
               ? Status::ok
               : why.about(Status::invalid_argument, "max_queued_bytes",
                           "of the session is less than this submission's metadata, early bytes and prologue, which so "
                           "could never be queued");
}

// name: what the caller calls it. The token, if there is one, is kept in `token`, and nowhere else.
Result<session::Submission> to_submission(const rp_handoff_submission *item, std::string_view name,
                                          std::size_t max_queued, Token &token, Explanation &why) {
    rp_handoff_submission s{};
    const WipedAtEnd wiped(s.token);
    const Status readable = read_struct(item, s, name, why);
    if (const Status status = readable == Status::ok ? check(s, max_queued, why) : readable; status != Status::ok) {
        return Failure(status);
    }
    session::Submission submission;
    submission.fd = s.fd;
    submission.descriptor = (s.flags & RP_HANDOFF_SUBMIT_DUPLICATE) != 0 ? session::Submission::Descriptor::duplicated
                                                                         : session::Submission::Descriptor::taken;
    submission.ready_follows = (s.flags & RP_HANDOFF_SUBMIT_READY_FOLLOWS) != 0;
    submission.metadata = ByteView(s.metadata, s.metadata_length);
    submission.early = ByteView(s.early, s.early_length);
    submission.prologue = ByteView(s.prologue, s.prologue_length);
    if ((s.flags & RP_HANDOFF_SUBMIT_TOKEN) != 0) {
        token = to_token(s.token);
        submission.token = &token;
    }
    submission.timeout = limited(s.timeout_ns, Duration());
    submission.correlation_id = s.correlation_id;
    submission.user_data = s.user_data;
    return submission;
}

Status submit_one(rp_handoff_session &session, const rp_handoff_submission &item, Instant now, std::uint64_t *out_id,
                  Explanation &why) {
    Token token;
    const auto submission = to_submission(&item, "items", session.offering->config().max_queued, token, why);
    const Result<std::uint64_t> id =
        submission ? session.offering->submit(*submission, now, why) : Failure(submission.error());
    if (id && out_id != nullptr) {
        *out_id = *id;
    }
    return id ? Status::ok : id.error();
}

// The distance between items is the size that the first one says.
Status check_items(const rp_handoff_submission *items, std::size_t length, Explanation &why) noexcept {
    if (items == nullptr || length == 0 || length > INT32_MAX) {
        return why.about(Status::invalid_argument, "items", "are none, or too many");
    }
    if (length > 1 && items->struct_size % alignof(rp_handoff_submission) != 0) {
        return why.about(Status::struct_size, "struct_size", "of items is no multiple of 8: they would be misaligned");
    }
    return Status::ok;
}

// A call of the broker's on a session of the backend's is one on a handle of another kind.
Status check_offering(const rp_handoff_session &session, Explanation &why) noexcept {
    return session.offering != nullptr
               ? Status::ok
               : why.about(Status::wrong_handle, "session", "is a backend's, and only a broker's hands over");
}

rp_handoff_event to_event(session::Event &event, rp_handoff_session &session) noexcept {
    rp_handoff_event out{};
    out.kind = static_cast<std::int32_t>(event.kind);
    out.fd = event.fd.release();
    out.id = event.id;
    out.user_data = event.user_data;
    if (event.kind == session::Event::Kind::closed) {
        out.status = code(event.end->status);
        out.os_error = event.end->os_error;
        out.text = event.end->c_text.data();
        out.text_length = event.end->text.view().size();
    } else if (event.kind == session::Event::Kind::outcome) {
        out.ownership = static_cast<std::int32_t>(event.report.outcome.ownership);
    } else if (event.kind == session::Event::Kind::offer) {
        rp_handoff_offer &offer = session.received->offers[event.offer];
        offer.base.kind = Kind::offer;
        offer.base.owner = session.base.owner;
        offer.session = session.received;
        offer.place = event.offer;
        out.offer = &offer;
    }
    return out;
}

} // namespace

int32_t rp_handoff_session_close(rp_handoff_session *session) {
    return guarded_with(session, [&] {
        session->any([](auto &s) { s.close(); });
        return Status::ok;
    });
}

int32_t rp_handoff_session_get_fd(rp_handoff_session *session) {
    return guarded_with(session, [&]() -> std::int32_t {
        const Result<int> fd = session->any([](auto &s) { return s.fd(); });
        return fd ? *fd : code(fd.error());
    });
}

int32_t rp_handoff_session_get_timeout(rp_handoff_session *session, uint64_t *out_timeout_ns) {
    return guarded_with(session, [&] {
        if (out_timeout_ns == nullptr) {
            return Status::invalid_argument;
        }
        const Instant deadline = session->any([](auto &s) { return s.next_deadline(); });
        *out_timeout_ns = deadline == end_of_time
                              ? RP_HANDOFF_FOREVER
                              : elapsed(session->any([](auto &s) { return s.now(); }), deadline).count();
        return Status::ok;
    });
}

int32_t rp_handoff_session_process(rp_handoff_session *session) {
    return guarded_with(session, [&] {
        session->any([](auto &s) { s.process(); });
        return Status::ok;
    });
}

int32_t rp_handoff_session_wait(rp_handoff_session *session, uint64_t timeout_ns) {
    return guarded_with(session, [&]() -> std::int32_t {
        const Result<bool> waited = session->any([&](auto &s) { return s.wait(timeout(timeout_ns)); });
        return waited ? static_cast<std::int32_t>(*waited) : code(waited.error());
    });
}

int32_t rp_handoff_session_next_event(rp_handoff_session *session, rp_handoff_event *out_event,
                                      rp_handoff_outcome *out_outcome) {
    return guarded_with(session, [&]() -> std::int32_t {
        const Status given = first_failure({check_result_struct(out_event), check_optional_struct(out_outcome)});
        if (given != Status::ok) {
            return code(given);
        }
        session::Event event;
        if (!session->any([&](auto &s) { return s.next_event(event); })) {
            return 0;
        }
        if (event.kind == session::Event::Kind::outcome && out_outcome != nullptr) {
            write_struct(out_outcome, to_outcome({event.report, event.correlation, event.elapsed}));
        }
        write_struct(out_event, to_event(event, *session));
        return 1;
    });
}

int32_t rp_handoff_session_flush(rp_handoff_session *session) {
    return guarded_with(session, [&] {
        session->any([](auto &s) { s.flush(); });
        return Status::ok;
    });
}

int32_t rp_handoff_session_submit(rp_handoff_session *session, const rp_handoff_submission *items, size_t items_length,
                                  uint64_t *out_ids, rp_handoff_error *out_error) {
    return explained_with(session, "session", out_error, [&](Explanation &why) -> std::int32_t {
        const Status given = first_failure({check_offering(*session, why), check_items(items, items_length, why)});
        if (given != Status::ok) {
            return code(given);
        }
        const std::size_t stride = items->struct_size;
        const Instant now = session->offering->now(); // of all of them
        std::size_t submitted = 0;
        std::int32_t status = RP_HANDOFF_OK;
        while (submitted < items_length && status == RP_HANDOFF_OK) {
            const auto &item = *reinterpret_cast<const rp_handoff_submission *>(
                reinterpret_cast<const unsigned char *>(items) + submitted * stride);
            // Each by itself: what went before is not undone by an exception.
            status = walled([&] {
                return item.struct_size == stride
                           ? submit_one(*session, item, now, out_ids != nullptr ? out_ids + submitted : nullptr, why)
                           : why.about(Status::struct_size, "struct_size", "of the items is not the same");
            });
            submitted += status == RP_HANDOFF_OK ? 1 : 0;
        }
        if (submitted == 0) {
            return status;
        }
        if (status != RP_HANDOFF_OK && out_error != nullptr) {
            tell(out_error, status, why, errno);
        }
        session->offering->send_submitted();
        return static_cast<std::int32_t>(submitted);
    });
}

int32_t rp_handoff_session_cancel(rp_handoff_session *session, uint64_t id) {
    return guarded_with(session, [&]() -> std::int32_t {
        if (session->offering == nullptr) {
            return RP_HANDOFF_ERR_WRONG_HANDLE;
        }
        return session->offering->cancel(id) ? 1 : 0;
    });
}

int32_t rp_handoff_session_execute(rp_handoff_session *session, const rp_handoff_submission *submission,
                                   rp_handoff_outcome *out_outcome, rp_handoff_error *out_error) {
    return explained_with(session, "session", out_error, [&](Explanation &why) {
        const Status given =
            first_failure({check_offering(*session, why), check_result_struct(out_outcome, "out_outcome", why)});
        if (given != Status::ok) {
            return given;
        }
        Token token;
        Result<session::Submission> to_execute =
            to_submission(submission, "submission", session->offering->config().max_queued, token, why);
        if (!to_execute) {
            return to_execute.error();
        }
        to_execute->descriptor = session::Submission::Descriptor::borrowed;
        const Result<Broker::Report> report = session->offering->execute(*to_execute, why);
        if (report) {
            write_struct(out_outcome, to_outcome(*report));
        }
        return report ? Status::ok : report.error();
    });
}
