#include "v1/backend.hpp"

#include <algorithm>
#include <poll.h>

#include "os/descriptor.hpp"
#include "v1/backend_tokens.hpp"

namespace rp::handoff {

namespace {

using State = Connection::State;

} // namespace

Result<std::shared_ptr<Backend>> Backend::create(Config config, std::unique_ptr<TimeSource> time) {
    if (!os::supported) {
        return Failure(Status::unsupported);
    }
    Result<os::Poller> poller = os::Poller::create(true);
    if (!poller) {
        return Failure(poller.error());
    }
    return std::make_shared<Backend>(std::move(config), std::move(time), std::move(*poller));
}

Backend::Backend(Config config, std::unique_ptr<TimeSource> time, os::Poller poller)
    : config_(std::move(config)), time_(std::move(time)), poller_(std::move(poller)), tokens_(config_.tokens) {}

// ---- tokens ---------------------------------------------------------------------------------------------------------

Status Backend::expect(const Token &token) {
    const Instant now = time_->now(); // never with the lock held: it may be a callback
    const Lock lock(mutex_);
    return tokens_.expect(token, now);
}

bool Backend::revoke(const Token &token) noexcept {
    const Lock lock(mutex_);
    return tokens_.revoke(token);
}

Status Backend::consume(const Token &expected, ByteView presented) noexcept {
    const Instant now = time_->now();
    const Lock lock(mutex_);
    return accept_token(tokens_, expected, presented, now);
}

Status Backend::consume(const Token &token) noexcept {
    return consume(token, token.view());
}

// Whether the offer may be shown to the caller. Consumes nothing: that is for accept to do. The expected token is the
// one that came beside the descriptor, and what the offer presents has to be that.
Status Backend::admit(const Token &sideband, ByteView presented, Instant now) {
    const Result<Token> token = Token::parse(presented);
    if (!token) {
        return token.error();
    }
    const bool was_known = tokens_.contains(sideband);
    tokens_.expire(now);
    const bool known = tokens_.contains(sideband);
    if (config_.token_policy == TokenPolicy::expected) {
        if (!known) {
            return was_known ? Status::token_expired : Status::token_not_pending;
        }
        return *token == sideband ? Status::ok : Status::token_mismatch;
    }
    if (*token != sideband) {
        return Status::token_mismatch;
    }
    used_.expire(now);
    if (known || used_.find(sideband)) {
        return Status::token_not_pending; // a replay
    }
    remember(sideband, now);
    return tokens_.expect(sideband, now);
}

void Backend::remember(const Token &token, Instant now) {
    if (used_.size() >= tokens_.config().max_pending) {
        used_.erase(used_.first());
    }
    used_.insert(token, after(now, tokens_.config().ttl), {});
}

// ---- the engine -----------------------------------------------------------------------------------------------------

Result<std::unique_ptr<Offer>> Backend::next_offer(std::optional<Duration> timeout) {
    Instant now = time_->now();
    const Instant until = timeout ? after(now, *timeout) : end_of_time;
    Lock lock(mutex_);
    const Departure departure{*this};
    for (;;) {
        if (stopped_) {
            return Failure(Status::closed);
        }
        advance(now);
        if (std::unique_ptr<Offer> offer = take_ready()) {
            return offer;
        }
        if (is_due(until, now)) {
            return Failure(Status::timed_out);
        }
        asleep_until_ = nearest_deadline();
        const Instant wake_at = std::min(until, asleep_until_);
        ++waiters_;
        lock.unlock();
        const Wait waited = time_->wait(poller_.fd(), POLLIN, wake_at);
        now = time_->now();
        if (waited == Wait::timed_out) {
            now = std::max(now, wake_at); // also with a clock that stands still
        }
        lock.lock();
        --waiters_;
    }
}

// Whoever leaves, with what result ever, hands the watch over the nearest deadline to one who stays.
Backend::Departure::~Departure() {
    if (backend.waiters_ > 0) {
        backend.poller_.nudge();
    } else {
        backend.asleep_until_ = {};
    }
}

void Backend::advance(Instant now) {
    expire(now);
    enable_listeners(now);
    const os::Poller::Ready ready = poller_.ready();
    for (std::size_t i = 0; i < ready.count; ++i) {
        const os::Poller::Id id = ready.ids[i];
        if (id == os::Poller::nudge_id) {
            poller_.take_nudge();
        } else if (const auto listener = listeners_.find(id); listener != listeners_.end()) {
            accept_from(listener->second, now);
        } else if (Connection *connection = connections_.find(id); connection != nullptr) {
            receive(*connection, now);
        }
    }
    enable_listeners(now);
}

void Backend::receive(Connection &connection, Instant now) {
    const Status status = connection.receiver.step(connection.fd.get());
    if (status == Status::frame_incomplete) {
        if (connection.state == State::resting && connection.receiver.started()) {
            connections_.move(connection, State::receiving, after(now, config_.io_timeout));
        }
        return;
    }
    const auto offer = status == Status::ok ? wire::open_offer(connection.receiver.body())
                                            : tl::unexpected(wire::FrameError{status, {}});
    if (!offer) {
        rejected_offers_ += status == Status::closed ? 0 : 1;
        drop(connection);
        return;
    }
    connection.offer = *offer;
    connection.received_at = now;
    // Without memory to remember the token the offer is lost: its broker sees the end of the connection.
    struct Guard {
        Backend &backend;
        Connection *connection;
        ~Guard() {
            if (connection != nullptr) {
                backend.drop(*connection);
            }
        }
    } guard{*this, &connection};
    const Status admitted = admit(connection.receiver.sideband(), offer->token, now);
    guard.connection = nullptr;
    if (admitted != Status::ok) {
        reject(connection, admitted, now);
        return;
    }
    poller_.remove(connection.fd.get());
    connections_.move(connection, State::ready);
}

// Answers by itself, without waiting: a socket that cannot take an answer is not worth keeping.
void Backend::reject(Connection &connection, Status reason, Instant now) noexcept {
    ++rejected_tokens_;
    connection.receiver.take_fd().reset();
    const Text text = rejection_text(reason, connection.offer.token.size());
    const wire::AckMessage ack = wire::encode_ack_frame(
        {connection.offer.token, false, text.view(), connection.offer.correlation_id}, wire::Kind::response);
    if (os::send(connection.fd.get(), -1, ack.view()).bytes != ack.size) {
        ++answers_undelivered_;
        drop(connection);
        return;
    }
    poller_.remove(connection.fd.get());
    rest(connection, now);
}

// Ready for the next offer. One that the caller did not give us has so much time for it.
void Backend::rest(Connection &connection, Instant now) noexcept {
    connection.receiver.reset();
    if (connection.lasting) {
        connections_.move(connection, State::resting);
    } else {
        connections_.move(connection, State::receiving, after(now, config_.io_timeout));
    }
    if (!poller_.add(connection.fd.get(), connection.id)) {
        drop(connection);
    }
}

void Backend::drop(Connection &connection) noexcept {
    poller_.remove(connection.fd.get());
    connections_.remove(connection);
}

void Backend::expire(Instant now) noexcept {
    for (Connection *first = connections_.first_receiving(); first != nullptr && is_due(first->deadline, now);
         first = connections_.first_receiving()) {
        rejected_offers_ += first->receiver.started() ? 1 : 0;
        drop(*first);
    }
}

Instant Backend::nearest_deadline() noexcept {
    const Connection *first = connections_.first_receiving();
    const Instant deadline = first != nullptr ? first->deadline : end_of_time;
    return listening_ || connections_.size() >= config_.max_connections ? deadline
                                                                        : std::min(deadline, accept_again_at_);
}

Instant Backend::next_deadline() noexcept {
    const Lock lock(mutex_);
    asleep_until_ = nearest_deadline();
    return asleep_until_;
}

std::unique_ptr<Offer> Backend::take_ready() {
    Connection *connection = connections_.first_ready();
    if (connection == nullptr) {
        return nullptr;
    }
    Offer::Info info{std::string(connection->offer.service_name), connection->offer.correlation_id, connection->peer,
                     connection->received_at, connection->receiver.sideband()};
    auto offer = std::make_unique<Offer>(shared_from_this(), *connection, std::move(info));
    connections_.move(*connection, State::offered);
    return offer;
}

// ---- the end --------------------------------------------------------------------------------------------------------

void Backend::stop() noexcept {
    stopped_ = true;
    poller_.stop();
}

void Backend::shutdown() noexcept {
    const Lock lock(mutex_);
    shut_ = true;
    stopped_ = true;
    while (Connection *connection = connections_.first_ready()) {
        connection->receiver.take_fd().reset();
        const wire::AckMessage ack = wire::encode_ack_frame(
            {connection->offer.token, false, "the backend is shutting down", connection->offer.correlation_id},
            wire::Kind::response);
        os::send(connection->fd.get(), -1, ack.view());
        ++refused_;
        connections_.remove(*connection);
    }
    while (Connection *connection = connections_.first_receiving()) {
        connections_.remove(*connection);
    }
    while (Connection *connection = connections_.first_resting()) {
        connections_.remove(*connection);
    }
    listeners_.clear();
    endpoint_.reset();
}

Backend::Statistics Backend::statistics() noexcept {
    const Lock lock(mutex_);
    const std::size_t unanswered = connections_.unanswered();
    return {connections_.size() - unanswered,
            unanswered,
            accepted_,
            refused_,
            rejected_peers_,
            rejected_tokens_,
            rejected_offers_,
            answers_undelivered_};
}

} // namespace rp::handoff
