#include "session/broker_session.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>

namespace rp::handoff::session {

namespace {

bool is_socket(int fd) noexcept {
    int type = 0;
    socklen_t length = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
}

Status check(const Submission &submission, std::size_t max_queued, Explanation &why) noexcept {
    constexpr Status invalid = Status::invalid_argument;
    if (submission.fd < 0) {
        return why.because(invalid, "fd", "a descriptor is not negative");
    }
    if (submission.metadata.size() > max_metadata) {
        return why.because(invalid, "metadata_length", "metadata is longer than RP_HANDOFF_METADATA_MAX");
    }
    if (submission.early.size() > max_early) {
        return why.because(invalid, "early_length", "early bytes are longer than RP_HANDOFF_EARLY_BYTES_MAX");
    }
    if (submission.prologue.size() > max_prologue) {
        return why.because(invalid, "prologue_length", "the prologue is longer than RP_HANDOFF_PROLOGUE_MAX");
    }
    if (submission.payload_size() > max_queued) {
        return why.because(
            invalid, "metadata_length",
            "metadata, early bytes and prologue together are longer than the session's max_queued_bytes");
    }
    if (!submission.prologue.empty() && !is_socket(submission.fd)) {
        return why.because(invalid, "prologue", "only a socket can have a prologue");
    }
    return Status::ok;
}

} // namespace

Result<std::shared_ptr<BrokerSession>> BrokerSession::open(Config config, Broker &broker, Explanation &why) {
    auto session = std::make_shared<BrokerSession>(std::move(config), broker);
    const Status status = session->side_.channel().begin(broker.time().now(), why);
    if (status != Status::ok) {
        return Failure(status);
    }
    return session;
}

Result<Index> BrokerSession::begin_handoff(const Submission &submission, Instant now, Lock &lock, Explanation &why) {
    if (const Status status = check(submission, config().max_queued, why); status != Status::ok) {
        return Failure(status);
    }
    // Without the lock: the random source may be a callback.
    Result<Broker::Lease> lease = broker_.lease(config().service, config().peer_pid, submission.token, now);
    if (!lease) {
        return Failure(lease.error());
    }
    const bool duplicates = submission.descriptor == Submission::Descriptor::duplicated;
    UniqueFd duplicate(duplicates ? fcntl(submission.fd, F_DUPFD_CLOEXEC, 0) : -1);
    if (duplicates && !duplicate) {
        why.because(Status::system, "fd", "the descriptor could not be duplicated", errno);
        broker_.give_back(*lease);
        return Failure(Status::system);
    }
    lock.lock();
    const Result<Index> index = side_.place(submission, *lease, duplicates ? duplicate.get() : submission.fd);
    if (!index) {
        lock.unlock();
        broker_.give_back(*lease);
        return index;
    }
    duplicate.release();
    return index;
}

Result<std::uint64_t> BrokerSession::submit(const Submission &submission, Instant now, Explanation &why) {
    Lock lock(mutex_, std::defer_lock); // no turn: nothing leaves before send_submitted
    const Result<Index> index = begin_handoff(submission, now, lock, why);
    if (!index) {
        return Failure(index.error());
    }
    // Who has no loop and no other thread is going to wait in a read.
    side_.ask_answers_here(is_single_threaded() && !doorbell_.has_loop() && side_.backend_is_elsewhere());
    return side_.id_of(*index);
}

Result<Broker::Report> BrokerSession::execute(const Submission &submission, Explanation &why) {
    const Instant now = time_.now();
    Lock lock(mutex_, std::defer_lock);
    const Result<Index> index = begin_handoff(submission, now, lock, why);
    if (!index) {
        return Failure(index.error());
    }
    Turn turn(*this, std::move(lock));
    OutcomeWaiter waiter;
    side_.set_waiter(*index, waiter);
    side_.ask_answers_here(side_.backend_is_elsewhere());
    const Result<bool> waited = wait_for(turn, {&waiter.done}, now, end_of_time);
    if (!waiter.done) { // stopped, or the wait failed: what became of it is known all the same
        side_.cancel(*index, now);
    }
    static_cast<void>(waited);
    return waiter.report;
}

bool BrokerSession::cancel(std::uint64_t id) {
    const Instant now = time_.now();
    const Turn turn(*this);
    const bool cancelled = side_.cancel(id, now);
    side_.advance(now);
    return cancelled;
}

void BrokerSession::shutdown() noexcept {
    const Instant now = time_.now();
    const Turn turn(*this);
    side_.shut_down(now);
}

} // namespace rp::handoff::session
