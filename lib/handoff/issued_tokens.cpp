#include "handoff/issued_tokens.hpp"

namespace rp::handoff {

using Lock = std::lock_guard<AdaptiveMutex>;

namespace {

// The source may be a callback of the caller's, which may call back: it is asked with the lock given up for so long.
class UnlockedRandom final : public RandomSource {
  public:
    UnlockedRandom(RandomSource &random, AdaptiveMutex &mutex) noexcept : random_(random), mutex_(mutex) {}

    bool fill(std::uint8_t *out, std::size_t length) noexcept override {
        mutex_.unlock();
        const bool filled = random_.fill(out, length);
        mutex_.lock();
        return filled;
    }

  private:
    RandomSource &random_;
    AdaptiveMutex &mutex_;
};

} // namespace

Result<Token> IssuedTokens::issue(std::string_view service_name, std::uint32_t backend_pid, Instant now,
                                  RandomSource &random, bool claimed) {
    const Lock lock(mutex_);
    UnlockedRandom unlocked(random, mutex_);
    Result<Token> token = store_.issue(now, unlocked);
    if (!token) {
        return token;
    }
    // Whatever happens between the two, an exception included, no token is left without its registration.
    struct Undo {
        TokenStore &store;
        const Token *token;
        ~Undo() {
            if (token != nullptr) {
                store.revoke(*token);
            }
        }
    } undo{store_, &*token};
    // The store had room because tokens expired there: their registrations must not be what fills the registry.
    if (acks_.pending_len() >= store_.config().max_pending) {
        acks_.expire(store_, now, 1, [](const AckRegistry::Overdue &) {});
    }
    if (const Status status = acks_.register_token(*token, service_name, backend_pid, now, claimed);
        status != Status::ok) {
        return Failure(status);
    }
    undo.token = nullptr;
    return token;
}

Result<AckRegistry::Pending> IssuedTokens::claim(const Token &token, Instant now) {
    const Lock lock(mutex_);
    const bool was_pending = store_.contains(token);
    store_.expire(now);
    if (!store_.contains(token)) {
        acks_.abandon(store_, token);
        return Failure(was_pending ? Status::token_expired : Status::token_not_pending);
    }
    return acks_.claim(token);
}

void IssuedTokens::unclaim(const Token &token) noexcept {
    const Lock lock(mutex_);
    acks_.unclaim(token);
}

tl::expected<Duration, Cause> IssuedTokens::confirm(const Token &token, Instant observed) noexcept {
    const Lock lock(mutex_);
    const Result<AckRegistry::Acknowledged> acknowledged = acks_.acknowledge(store_, token, observed);
    if (acknowledged) {
        return acknowledged->waited;
    }
    store_.revoke(token);
    return tl::unexpected(acknowledged.error() == Status::ack_overdue ? Cause::ack_overdue : Cause::revoked);
}

Result<Duration> IssuedTokens::acknowledge(const Token &token, Instant observed) noexcept {
    const Lock lock(mutex_);
    if (acks_.is_claimed(token)) {
        return Failure(Status::token_in_use);
    }
    return acks_.acknowledge(store_, token, observed).map([](const AckRegistry::Acknowledged &a) { return a.waited; });
}

bool IssuedTokens::abandon(const Token &token) noexcept {
    const Lock lock(mutex_);
    return acks_.abandon(store_, token);
}

bool IssuedTokens::prune(Instant now, std::size_t max) noexcept {
    const Lock lock(mutex_);
    store_.prune_expired(now, max);
    return store_.has_expired(now) || acks_.has_overdue(now);
}

IssuedTokens::Counts IssuedTokens::counts() const noexcept {
    const Lock lock(mutex_);
    return {store_.pending_len(), acks_.pending_len()};
}

} // namespace rp::handoff
