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
    return static_cast<std::uint32_t>(most > used ? most - used : 0);
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

InFlightAccount::Book InFlightAccount::unpacked(std::uint64_t book) noexcept {
    return {static_cast<std::uint32_t>(book), static_cast<std::uint32_t>(book / one_share)};
}

// ---- of one session -------------------------------------------------------------------------------------------------

InFlightAccount::InFlightAccount(InFlight &all, std::string_view path, std::uint32_t allowance)
    : all_(all), allowance_(allowance), party_(std::make_shared<Party>(path)), messages_(new Message[allowance + 1]),
      book_(allowance * one_share) {}

// Others may settle meanwhile, but only the session adds. So what is below the share stays below it.
bool InFlightAccount::acquire() noexcept {
    adjust_share();
    for (std::uint64_t book = book_.load(relaxed); unpacked(book).held >= unpacked(book).share;) {
        if (book_.compare_exchange_weak(book, book + one_held, relaxed)) {
            return true;
        }
    }
    if (!all_.take_one() && !all_.find_one()) {
        return false;
    }
    book_.fetch_add(one_held, relaxed);
    return true;
}

void InFlightAccount::give_back(std::uint32_t count) noexcept {
    release(count);
}

void InFlightAccount::release(std::uint32_t count) noexcept {
    const Book before = unpacked(book_.fetch_sub(count * one_held, relaxed));
    const Book now{before.held - count, before.share};
    all_.count_.fetch_sub(before.counted() - now.counted(), relaxed);
}

// What was sent beside the offers was sent before them.
std::uint32_t InFlightAccount::due_share(std::uint64_t settled) const noexcept {
    const std::uint32_t window = agreed_ == 0 ? allowance_ : rest(agreed_, debt_.load(relaxed));
    return window + rest(beside_, settled);
}

void InFlightAccount::adjust_share() noexcept {
    const std::uint32_t share = unpacked(book_.load(relaxed)).share;
    if (const std::uint32_t due = due_share(settled_.load(relaxed)); due < share) {
        lower_share(due);
    } else if (due > share) {
        raise_share(due);
    }
}

void InFlightAccount::lower_share(std::uint32_t share) noexcept {
    std::uint64_t book = book_.load(relaxed);
    while (!book_.compare_exchange_weak(book, share * one_share + unpacked(book).held, relaxed)) {
    }
    all_.count_.fetch_sub(unpacked(book).counted() - Book{unpacked(book).held, share}.counted(), relaxed);
}

// What is held beyond the share begins to be counted, one by one, as far as the limit allows; if others settle meanwhile,
// less has to be.
void InFlightAccount::raise_share(std::uint32_t share) noexcept {
    for (std::uint64_t book = book_.load(relaxed); unpacked(book).share < share; book = book_.load(relaxed)) {
        const std::uint32_t held = unpacked(book).held;
        if (held <= unpacked(book).share) {
            book_.compare_exchange_weak(book, share * one_share + held, relaxed);
        } else if (!all_.take_one()) {
            return;
        } else if (const Book before = unpacked(book_.fetch_add(one_share, relaxed)); before.held <= before.share) {
            all_.count_.fetch_sub(1, relaxed);
        }
    }
}

bool InFlightAccount::join(std::uint32_t uid, int socket, std::uint32_t agreed) noexcept {
    if (!all_.admit(*this, uid, socket, std::min(agreed, allowance_))) {
        return false;
    }
    adjust_share();
    return true;
}

std::uint64_t InFlightAccount::unsettled() const noexcept {
    return sent_.load(relaxed) - settled_.load(relaxed);
}

std::uint32_t InFlightAccount::own_room() const noexcept {
    const std::uint64_t settled = settled_.load(relaxed);
    return rest(std::min(unpacked(book_.load(relaxed)).share, due_share(settled)), sent_.load(relaxed) - settled);
}

std::uint32_t InFlightAccount::room(std::uint32_t wanted) noexcept {
    if (agreed_ == 0) {
        return 0;
    }
    adjust_share();
    if (own_room() < wanted) {
        settle();
        if (own_room() < wanted && (may_gain() || debt_.load(relaxed) > 0)) {
            all_.find_room(*this, wanted);
            adjust_share();
        }
    }
    return std::min(wanted, own_room());
}

void InFlightAccount::sent(std::uint32_t descriptors, std::uint64_t bytes) noexcept {
    const std::uint64_t number = end_.load(relaxed);
    const std::uint64_t before = memory_;
    memory_ += all_.memory_.at_least(bytes);
    add(sent_, descriptors);
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
    beside_ += descriptors;
    book_.fetch_add(descriptors * (one_held + one_share), relaxed);
    all_.count_.fetch_add(descriptors, relaxed);
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
        release(unpacked(book_.load(relaxed)).held);
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
            release(static_cast<std::uint32_t>(settled - before));
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
    const auto enough = [&]() noexcept {
        return rest(account.due_share(account.settled_.load(relaxed)), account.unsettled()) >= wanted;
    };
    if (!enough()) {
        ask_around(account.party_->ended, enough, dropped);
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
    const std::uint64_t before = account.settled_.load(relaxed);
    if (account.may_gain()) {
        account.answered_when_asked_ = account.answered_.load(relaxed);
        const std::uint64_t end = account.end_.load(std::memory_order_acquire);
        account.take_evidence(end, account.socket_ >= 0 ? unread_(account.socket_) : 0);
    }
    account.settle();
    if (account.kept_ != nullptr) {
        relieve(account, account.settled_.load(relaxed) - before);
        if (!account.may_gain()) {
            drop(account, dropped);
        }
    }
}

// Those who joined later owe so much less.
void InFlight::relieve(const Account &ended, std::uint64_t gone) noexcept {
    auto &living = ended.party_->living;
    for (std::size_t turns = gone > 0 ? living.size() : 0; turns > 0; --turns) {
        Account &account = *living.take_turn();
        if (account.turn_ > ended.turn_) {
            account.debt_.fetch_sub(static_cast<std::uint32_t>(gone), relaxed);
        }
    }
}

void InFlight::drop(Account &account, Dropped &dropped) noexcept {
    Party &party = *account.party_;
    ended_.remove(account);
    party.ended.remove(account);
    if (party.living.empty() && party.ended.empty()) {
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
    const auto is_let_in = [&]() noexcept { return party->ended.size() < ended_per_party; };
    if (!is_let_in() && !ask_around(party->ended, is_let_in, dropped)) {
        return false;
    }
    if (party->living.empty() && party->ended.empty()) {
        parties_.add(*party);
    }
    std::uint64_t debt = 0;
    for (std::size_t turns = party->ended.size(); turns > 0; --turns) {
        debt += party->ended.take_turn()->unsettled();
    }
    account.debt_.store(static_cast<std::uint32_t>(debt), relaxed);
    account.turn_ = ++party->turns;
    account.agreed_ = agreed;
    account.socket_ = socket;
    party->living.add(account);
    living_.add(account);
    unused = std::exchange(account.party_, std::move(party));
    return true;
}

void InFlight::take_over(Account &account, UniqueFd socket) noexcept {
    Dropped dropped;
    const std::lock_guard<std::mutex> lock(mutex_);
    Party &party = *account.party_;
    account.settle();
    account.release(Account::unpacked(account.book_.load(relaxed)).held -
                    static_cast<std::uint32_t>(account.unsettled()));
    account.answered_.store(account.sent_.load(relaxed), relaxed);
    account.socket_ = socket.get();
    account.kept_socket_ = std::move(socket);
    account.kept_ = account.weak_from_this().lock();
    account.turn_ = ++party.turns;
    living_.remove(account);
    party.living.remove(account);
    ended_.add(account);
    party.ended.add(account);
    ask(account, dropped);
}

} // namespace rp::handoff
