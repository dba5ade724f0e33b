#include "session/broker_session.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

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

// What a handoff takes before the session is locked: the random source may be a callback, and dup(2) a system call.
class BrokerSession::Preparation {
  public:
    static Result<Preparation> of(const Submission &submission, BrokerSession &session, Instant now, Explanation &why) {
        if (const Status status = check(submission, session.config().max_queued, why); status != Status::ok) {
            return Failure(status);
        }
        const Config &config = session.config();
        const Result<Broker::Lease> lease =
            session.broker_.lease(config.service, config.peer_pid, submission.token, now);
        if (!lease) {
            return Failure(lease.error());
        }
        Preparation made(session.broker_, *lease);
        if (submission.descriptor == Submission::Descriptor::duplicated) {
            made.duplicate_.reset(fcntl(submission.fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
            if (!made.duplicate_) {
                return Failure(why.because(Status::system, "fd", "the descriptor could not be duplicated", errno));
            }
        }
        return made;
    }
    Preparation(Preparation &&other) noexcept
        : broker_(std::exchange(other.broker_, nullptr)), lease_(other.lease_),
          duplicate_(std::move(other.duplicate_)) {}
    Preparation &operator=(Preparation &&) = delete;
    // Not locked.
    ~Preparation() {
        if (broker_ != nullptr) {
            broker_->give_back(lease_);
        }
    }

    // Locked.
    Result<Index> place(const Submission &submission, BrokerSide &side) {
        const Result<Index> index = side.place(submission, lease_, duplicate_ ? duplicate_.get() : submission.fd);
        if (index) {
            broker_ = nullptr;
            duplicate_.release();
        }
        return index;
    }

  private:
    Preparation(Broker &broker, const Broker::Lease &lease) noexcept : broker_(&broker), lease_(lease) {}

    Broker *broker_;
    Broker::Lease lease_;
    UniqueFd duplicate_;
};

Result<std::uint64_t> BrokerSession::submit(const Submission &submission, Instant now, Explanation &why) {
    Result<Preparation> prepared = Preparation::of(submission, *this, now, why);
    if (!prepared) {
        return Failure(prepared.error());
    }
    const Lock lock(mutex_); // no turn: nothing leaves before send_submitted
    const Result<Index> index = prepared->place(submission, side_);
    if (!index) {
        return Failure(index.error());
    }
    // Who has no loop and no other thread is going to wait in a read.
    side_.ask_answers_here(is_single_threaded() && !doorbell_.has_loop() && side_.backend_is_elsewhere());
    return side_.id_of(*index);
}

Result<Broker::Report> BrokerSession::execute(const Submission &submission, Explanation &why) {
    const Instant now = time_.now();
    Result<Preparation> prepared = Preparation::of(submission, *this, now, why);
    if (!prepared) {
        return Failure(prepared.error());
    }
    Turn turn(*this);
    if (const Status status = doorbell_.prepare_to_wait(); status != Status::ok) {
        return Failure(status); // before anything left
    }
    const Result<Index> index = prepared->place(submission, side_);
    if (!index) {
        return Failure(index.error());
    }
    OutcomeWaiter waiter;
    side_.set_waiter(*index, waiter);
    side_.ask_answers_here(side_.backend_is_elsewhere());
    const Result<bool> waited = wait_for(turn, {&waiter.done}, now, end_of_time);
    const int os_error = !waited && waited.error() == Status::system ? errno : 0;
    if (!waiter.done) { // what became of it is known all the same
        side_.cancel(*index, now, os_error, os_error == 0 ? "cancelled" : "the wait for the answer failed");
    }
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
