#include "session/backend_session.hpp"

#include <unistd.h>

namespace rp::handoff::session {

Result<std::shared_ptr<BackendSession>> BackendSession::open(Config config, std::unique_ptr<TimeSource> time,
                                                             Explanation &why) {
    auto session = std::make_shared<BackendSession>(std::move(config), std::move(time));
    const Status status = session->side_.channel().begin(session->time_.now(), why);
    if (status != Status::ok) {
        return Failure(status);
    }
    return session;
}

BackendSession::Info BackendSession::info(Index i) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    return side_.info(i);
}

// Whoever takes events sends the answers when he took the last; an answer that comes at another time leaves at once, and so
// does one beside a thread that waits, which would have to wake for it.
void BackendSession::send_unless(bool answers_wait) {
    if (!answers_wait) {
        flush();
    }
}

Result<BackendSession::Accepted> BackendSession::accept(Index i) noexcept {
    Result<Accepted> accepted = Failure(Status::answered);
    bool answers_wait = false;
    {
        const Turn turn(*this);
        Result<UniqueFd> fd = side_.accept(i);
        accepted = fd ? Result<Accepted>(Accepted{std::move(*fd), side_.channel().is_open()}) : Failure(fd.error());
        answers_wait = may_answers_wait();
    }
    send_unless(answers_wait);
    return accepted;
}

// The duplicate goes first, and nothing is locked while it does.
Status BackendSession::refuse(Index i, std::string_view text) noexcept {
    {
        Result<UniqueFd> duplicate = Failure(Status::answered);
        {
            const Turn turn(*this);
            duplicate = side_.begin_refusal(i);
        }
        if (!duplicate) {
            return duplicate.error();
        }
    }
    Status status = Status::ok;
    bool answers_wait = false;
    {
        const Turn turn(*this);
        side_.finish_refusal(i, text);
        status = side_.channel().is_open() ? Status::ok : Status::ack_undelivered;
        answers_wait = may_answers_wait();
    }
    send_unless(answers_wait);
    return status;
}

void BackendSession::release(Index i) noexcept {
    if (in_forked_child()) { // neither ledger nor socket is the child's
        const Lock lock(mutex_, std::try_to_lock);
        if (lock.owns_lock()) {
            side_.forget(i);
        }
        return;
    }
    bool stalled = false;
    for (bool given = true; given;) {
        {
            const Turn turn(*this);
            given = side_.is_given(i);
            if (!given) {
                side_.release(i);
                stalled = side_.channel().is_stalled();
            }
        }
        if (given) {
            refuse(i, "the backend dropped the offer");
        }
    }
    if (stalled) { // there may be room again
        flush();
    }
}

void BackendSession::shutdown() noexcept {
    const Instant now = time_.now();
    {
        const Turn turn(*this);
        side_.refuse_waiting();
    }
    const Turn turn(*this);
    side_.shut_down(now);
}

} // namespace rp::handoff::session
