#include "handoff/in_flight.hpp"

#include <algorithm>
#include <utility>

namespace rp::handoff {

namespace {

constexpr auto relaxed = std::memory_order_relaxed;

// Of a number that one thread at a time adds to.
void add(std::atomic<std::uint64_t> &number, std::uint64_t count) noexcept {
    number.store(number.load(relaxed) + count, relaxed);
}

std::uint32_t rest(std::uint64_t most, std::uint64_t used) noexcept {
    return static_cast<std::uint32_t>(most > used ? std::min<std::uint64_t>(most - used, UINT32_MAX) : 0);
}

} // namespace

// Accounts of which nothing is unread any more. Their sockets are closed when this goes, after the mutex is free: close(2)
// may wait.
class InFlight::Dropped {
  public:
    Dropped() noexcept = default;
    Dropped(const Dropped &) = delete;
    Dropped &operator=(const Dropped &) = delete;
    ~Dropped() {
        while (first_ != nullptr) {
            const std::shared_ptr<Account> account = std::move(first_);
            first_ = std::move(account->kept_);
            account->kept_socket_.reset();
        }
    }

    void add(std::shared_ptr<Account> account) noexcept {
        account->kept_ = std::move(first_);
        first_ = std::move(account);
    }

  private:
    std::shared_ptr<Account> first_;
};

// ---- of one session -------------------------------------------------------------------------------------------------

InFlightAccount::InFlightAccount(InFlight &all, std::string_view path, std::uint32_t allowance)
    : all_(all), allowance_(allowance), party_(std::make_shared<Party>(path)), messages_(new Message[allowance + 1]) {}

// Others may settle meanwhile, but only the session adds. So what is below the allowance stays below it.
bool InFlightAccount::acquire() noexcept {
    for (std::uint64_t held = held_.load(relaxed); held >= allowance_;) {
        if (held_.compare_exchange_weak(held, held + 1, relaxed)) {
            return true;
        }
    }
    if (!all_.take_one() && !all_.find_one()) {
        return false;
    }
    held_.fetch_add(1, relaxed);
    return true;
}

void InFlightAccount::give_back(std::uint32_t count) noexcept {
    release(count);
}

// What is held beyond the allowance was not counted.
void InFlightAccount::release(std::uint64_t count) noexcept {
    const std::uint64_t held = held_.fetch_sub(count, relaxed);
    all_.count_.fetch_sub(std::min<std::uint64_t>(held, allowance_) - std::min<std::uint64_t>(held - count, allowance_),
                          relaxed);
}

bool InFlightAccount::join(std::uint32_t uid, int socket, std::uint32_t agreed) noexcept {
    return all_.admit(*this, uid, socket, std::min(agreed, allowance_));
}

std::uint32_t InFlightAccount::own_room() const noexcept {
    return rest(agreed_, sent_.load(relaxed) - settled_.load(relaxed));
}

std::uint32_t InFlightAccount::party_room() const noexcept {
    return rest(party_->allowance.load(relaxed), party_->out.load(relaxed));
}

std::uint32_t InFlightAccount::room(std::uint32_t wanted) noexcept {
    if (std::min(own_room(), party_room()) < wanted && agreed_ > 0) {
        settle();
        const std::uint32_t own = own_room();
        if ((own < wanted && may_gain()) || party_room() < std::min(own, wanted)) {
            all_.find_room(*this, wanted);
        }
    }
    return std::min({wanted, own_room(), party_room()});
}

void InFlightAccount::sent(std::uint32_t descriptors, std::uint64_t bytes) noexcept {
    const std::uint64_t number = end_.load(relaxed);
    const std::uint64_t before = memory_;
    memory_ += all_.memory_.at_least(bytes);
    add(sent_, descriptors);
    party_->out.fetch_add(descriptors, relaxed);
    const Message message{before, memory_, sent_.load(relaxed)};
    if (number - first_.load(std::memory_order_acquire) > allowance_) { // more than there may be: two count as one
        const std::lock_guard<std::mutex> lock(all_.mutex_);
        at(number - 1) = message;
        return;
    }
    at(number) = message;
    end_.store(number + 1, std::memory_order_release);
}

void InFlightAccount::sent_unqueued(std::uint32_t descriptors, std::uint64_t bytes) noexcept {
    const std::uint64_t held = held_.fetch_add(descriptors, relaxed);
    all_.count_.fetch_add(rest(allowance_, held) < descriptors ? rest(allowance_, held) : descriptors, relaxed);
    sent(descriptors, bytes);
    answered(descriptors);
}

void InFlightAccount::answered(std::uint32_t count) noexcept {
    add(answered_, count);
}

void InFlightAccount::leave(UniqueFd socket) noexcept {
    if (agreed_ > 0) {
        all_.take_over(*this, std::move(socket));
    } else {
        release(held_.load(relaxed));
    }
}

bool InFlightAccount::may_gain() const noexcept {
    return answered_.load(relaxed) > taken_.load(relaxed);
}

bool InFlightAccount::has_news() const noexcept {
    return may_gain() && answered_.load(relaxed) != answered_when_asked_;
}

// Several threads may do this at once; each difference is released by one of them.
void InFlightAccount::settle() noexcept {
    const std::uint64_t settled = std::min(answered_.load(relaxed), taken_.load(relaxed));
    std::uint64_t before = settled_.load(relaxed);
    while (before < settled) {
        if (settled_.compare_exchange_weak(before, settled, relaxed)) {
            party_->out.fetch_sub(settled - before, relaxed);
            release(settled - before);
            return;
        }
    }
}

// If the messages from one on were all unread, at least what they took would be. Where less is, that one was read, at
// least its first byte.
void InFlightAccount::take_evidence(std::uint64_t end, std::uint64_t unread) noexcept {
    std::uint64_t read = first_.load(relaxed); // all before this
    if (read == end) {
        return;
    }
    const std::uint64_t all = at(end - 1).after;
    for (std::uint64_t maybe_unread = end; read < maybe_unread;) {
        const std::uint64_t middle = read + (maybe_unread - read) / 2;
        (all - at(middle).before > unread ? read : maybe_unread) =
            all - at(middle).before > unread ? middle + 1 : middle;
    }
    if (read > first_.load(relaxed)) {
        taken_.store(at(read - 1).descriptors, relaxed);
        first_.store(read, std::memory_order_release);
    }
}

// ---- of all sessions ------------------------------------------------------------------------------------------------

// Nobody uses this any more; but in a forked child the mutex may be held by a thread that is not there, and then what it
// guards may be half changed.
InFlight::~InFlight() {
    Dropped dropped;
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    while (lock && !ended_.empty()) {
        Account &account = *ended_.next();
        ended_.remove(account);
        dropped.add(std::move(account.kept_));
    }
}

std::shared_ptr<InFlight::Account> InFlight::open(std::string_view path, std::uint32_t allowance) {
    return std::make_shared<Account>(*this, path, allowance);
}

bool InFlight::take_one() noexcept {
    for (std::uint64_t count = count_.load(relaxed); count < limit_;) {
        if (count_.compare_exchange_weak(count, count + 1, relaxed)) {
            return true;
        }
    }
    return false;
}

bool InFlight::find_one() noexcept {
    Dropped dropped;
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto enough = [this]() noexcept { return take_one(); };
    return ask_around(living_, enough, dropped) || ask_around(ended_, enough, dropped);
}

void InFlight::find_room(Account &account, std::uint32_t wanted) noexcept {
    Dropped dropped;
    const std::lock_guard<std::mutex> lock(mutex_);
    ask(account, dropped);
    const std::uint32_t useful = std::min(wanted, account.own_room());
    if (account.party_room() < useful) {
        ask_around(
            account.party_->accounts, [&]() noexcept { return account.party_room() >= useful; }, dropped);
    }
}

// First about those of which answers came since the last question: each question is paid for by an answer. Then about
// some of the others, and about others the next time.
template <class Ring, class Enough>
bool InFlight::ask_around(Ring &ring, Enough enough, Dropped &dropped) noexcept {
    for (std::size_t turns = ring.size(); turns > 0 && !ring.empty(); --turns) {
        Account &account = *ring.take_turn();
        account.settle();
        if (account.has_news()) {
            ask(account, dropped);
        }
        if (enough()) {
            return true;
        }
    }
    std::size_t questions = questions_at_once;
    for (std::size_t turns = ring.size(); turns > 0 && questions > 0 && !ring.empty(); --turns) {
        Account &account = *ring.take_turn();
        if (account.may_gain()) {
            --questions;
            ask(account, dropped);
            if (enough()) {
                return true;
            }
        }
    }
    return false;
}

// What left after the question must not be taken for read, so the messages are counted first.
void InFlight::ask(Account &account, Dropped &dropped) noexcept {
    if (account.may_gain()) {
        account.answered_when_asked_ = account.answered_.load(relaxed);
        const std::uint64_t end = account.end_.load(std::memory_order_acquire);
        account.take_evidence(end, account.socket_ >= 0 ? unread_(account.socket_) : 0);
    }
    account.settle();
    if (account.kept_ != nullptr && !account.may_gain()) {
        drop(account, dropped);
    }
}

void InFlight::drop(Account &account, Dropped &dropped) noexcept {
    Party &party = *account.party_;
    ended_.remove(account);
    party.accounts.remove(account);
    --party.ended;
    if (party.accounts.empty()) {
        parties_.remove(party);
    }
    dropped.add(std::move(account.kept_));
}

std::shared_ptr<InFlight::Party> InFlight::same_as(const std::shared_ptr<Party> &like) noexcept {
    for (std::size_t turns = parties_.size(); turns > 0; --turns) {
        Party &party = *parties_.take_turn();
        if (party.path == like->path && party.uid == like->uid) {
            return party.weak_from_this().lock();
        }
    }
    return like;
}

bool InFlight::admit(Account &account, std::uint32_t uid, int socket, std::uint32_t agreed) noexcept {
    Dropped dropped;
    std::shared_ptr<Party> unused; // freed when the mutex is free
    const std::lock_guard<std::mutex> lock(mutex_);
    account.party_->uid = account.party_->path.empty() ? uid : 0;
    std::shared_ptr<Party> party = same_as(account.party_);
    const auto is_let_in = [&]() noexcept { return party->ended < ended_per_party; };
    if (!is_let_in() && !ask_around(party->accounts, is_let_in, dropped)) {
        return false;
    }
    if (party->accounts.empty()) {
        parties_.add(*party);
    }
    unused = std::exchange(account.party_, std::move(party));
    account.agreed_ = agreed;
    account.socket_ = socket;
    account.party_->allowance.fetch_add(agreed, relaxed);
    account.party_->accounts.add(account);
    living_.add(account);
    return true;
}

void InFlight::take_over(Account &account, UniqueFd socket) noexcept {
    Dropped dropped;
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::uint64_t sent = account.sent_.load(relaxed);
    account.release(account.held_.load(relaxed) - (sent - account.settled_.load(relaxed)));
    account.answered_.store(sent, relaxed);
    account.socket_ = socket.get();
    account.kept_socket_ = std::move(socket);
    account.kept_ = account.weak_from_this().lock();
    account.party_->allowance.fetch_sub(account.agreed_, relaxed);
    ++account.party_->ended;
    living_.remove(account);
    ended_.add(account);
    ask(account, dropped);
}

} // namespace rp::handoff
