// How many descriptors of a broker lie in the queues of its backends, over all its sessions.
//
// The kernel counts descriptors in flight per user, against the sender's RLIMIT_NOFILE, and goes on counting what lies in
// the queue of a receiver that does not read, also after the sender closed its end (unix(7); net/core/scm.c). So this
// keeps the sum over all sessions below a share of that limit, and what a session leaves behind stays counted.
//
// An answer proves nothing: a hostile backend sees slots and tickets in the shared page and can answer what it did not
// read. What frees room is an answer *and* evidence of the kernel's that the descriptor was taken: SIOCOUTQ of the
// session's socket tells how much memory the messages take that the peer has not read, and each of them takes some. So
// all but the last few were read, and a descriptor is taken with the first byte of its message. The kernel is asked at the
// bounds only; otherwise a handoff costs a few atomic additions.
//
// A *party* is who answers for a backend: the path of its socket, or its uid where the caller brings a connected one. What
// ended sessions of a party have left unread is taken off the allowance of each session that it opens later. So
// nobody gains room by ending a session unread and coming again, and sessions that were open before keep what they have.
//
// Safe for several threads. In a forked child only destructors may run: they close the child's copies and wait for nobody.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/lock_probe.hpp"
#include "base/message_memory.hpp"
#include "base/round_robin.hpp"
#include "base/unique_fd.hpp"

namespace rp::handoff {

class InFlight;

// Of one session, and used under its lock. Made by InFlight::open.
class InFlightAccount : public std::enable_shared_from_this<InFlightAccount> {
  public:
    InFlightAccount(InFlight &all, std::string_view path, std::uint32_t allowance);
    InFlightAccount(const InFlightAccount &) = delete;
    InFlightAccount &operator=(const InFlightAccount &) = delete;

    // One more handoff is queued. False at the broker's limit. No more is counted than the session may have in flight: what
    // is queued beyond that cannot leave before there is room.
    bool acquire() noexcept;
    // So many that were queued will not leave.
    void give_back(std::uint32_t count) noexcept;

    // Before the session sends its first descriptor. socket: stays open until leave. agreed: what both sides hold, at most
    // the allowance. False: ended sessions of the party have left too much unread; the session cannot open.
    bool join(std::uint32_t uid, int socket, std::uint32_t agreed) noexcept;

    // How many of `wanted` may leave now; 0 before join. If it is less than wanted: with offers unanswered, ask again when
    // answers come; with none, earlier sessions of the party are in the way, and nothing tells when they no longer are.
    std::uint32_t room(std::uint32_t wanted) noexcept;

    // A message with so many queued descriptors has left: all of it, or so many of its bytes at first. Also of one without
    // descriptors: otherwise, unread, it is taken for one that has some.
    void sent(std::uint32_t descriptors, std::uint64_t bytes) noexcept;
    // The same of descriptors that were not queued and that nobody answers: the ledger's. They are beside the allowance.
    void sent_unqueued(std::uint32_t descriptors, std::uint64_t bytes) noexcept;
    // So many offers were answered.
    void answered(std::uint32_t count) noexcept;

    // The session has ended, whether it has joined or not. What is queued is given back. What the peer did not read stays
    // counted until the kernel says that it is gone, and the socket is kept for asking. It has been shut down, and
    // what was in it received and closed: a peer that sent its own end would be kept alive by our queue, and what it did
    // not read with it. Always called before the last owner lets go, except in a forked child, where it is not called.
    void leave(UniqueFd socket) noexcept;

  private:
    friend InFlight;
    struct Party;

    // Sums over all messages with descriptors: in memory, at least, before and after this one, and in descriptors.
    struct Message {
        std::uint64_t before;
        std::uint64_t after;
        std::uint64_t descriptors;
    };

    // Two numbers that change together. held: descriptors that are queued, or sent and not settled. share: how many of
    // them are counted at most, and may be in flight; only the session changes it.
    struct Book {
        std::uint32_t held;
        std::uint32_t share;

        std::uint32_t counted() const noexcept { return held < share ? held : share; }
    };
    static Book unpacked(std::uint64_t book) noexcept;
    static constexpr std::uint64_t one_held = 1;
    static constexpr std::uint64_t one_share = std::uint64_t{1} << 32U;

    Message &at(std::uint64_t number) const noexcept { return messages_[number % (allowance_ + std::uint64_t{1})]; }
    std::uint32_t due_share(std::uint64_t settled) const noexcept;
    std::uint64_t unsettled() const noexcept;
    std::uint32_t own_room() const noexcept;
    void adjust_share() noexcept;
    void lower_share(std::uint32_t share) noexcept;
    void raise_share(std::uint32_t share) noexcept;
    void release(std::uint32_t count) noexcept;
    void settle() noexcept;
    void take_evidence(std::uint64_t end, std::uint64_t unread) noexcept;
    bool may_gain() const noexcept; // was answered what is not known to be taken: a question may free room
    bool has_news() const noexcept; // and was answered after the last question

    InFlight &all_;
    const std::uint32_t allowance_;
    std::uint32_t agreed_ = 0; // not 0: has joined
    std::uint32_t beside_ = 0; // sent unqueued
    std::shared_ptr<Party> party_;
    std::unique_ptr<Message[]> messages_; // a ring of those that may be unread
    std::uint64_t memory_ = 0;            // what all of them took, at least
    std::atomic<std::uint64_t> first_{0}; // the messages' numbers: those before are read
    std::atomic<std::uint64_t> end_{0};
    std::atomic<std::uint64_t> book_;
    std::atomic<std::uint32_t> debt_{0}; // what the party had left before
    // Of descriptors. settled: answered, and known to be taken.
    std::atomic<std::uint64_t> sent_{0};
    std::atomic<std::uint64_t> answered_{0};
    std::atomic<std::uint64_t> taken_{0};
    std::atomic<std::uint64_t> settled_{0};
    // Under the mutex of all:
    std::uint64_t answered_when_asked_ = 0;
    std::uint64_t turn_ = 0; // of the party's joins and leaves
    int socket_ = -1;
    UniqueFd kept_socket_;
    std::shared_ptr<InFlightAccount> kept_; // itself, while it has ended with something unread
    Turns<InFlightAccount> in_all_;
    Turns<InFlightAccount> in_party_;
};

struct InFlightAccount::Party : std::enable_shared_from_this<Party> {
    Party(std::string_view its_path) : path(its_path) {}

    std::string path; // empty: it is a uid
    std::uint32_t uid = 0;
    std::uint64_t turns = 0;
    RoundRobin<InFlightAccount, &InFlightAccount::in_party_> living;
    RoundRobin<InFlightAccount, &InFlightAccount::in_party_> ended;
    Turns<Party> in_all;
};

class InFlight {
  public:
    using Account = InFlightAccount;

    // How much of the kernel's memory holds what was sent by this socket and is unread. 0 also if the other end is closed.
    using Unread = std::uint64_t (*)(int socket) noexcept;

    // How many ended sessions of a party may leave something unread: for each, a socket of ours is kept.
    static constexpr std::uint32_t ended_per_party = 64;

    // How many questions one call asks about sessions of which no answer has come since the last question.
    static constexpr std::size_t questions_at_once = 8;

    InFlight(std::uint64_t limit, Unread unread, const MessageMemory &memory = {}) noexcept
        : limit_(limit), unread_(unread), memory_(memory) {}
    InFlight(const InFlight &) = delete;
    InFlight &operator=(const InFlight &) = delete;
    ~InFlight();

    // For a session, before it takes handoffs. path: of the backend's socket; empty: the party is the uid that join
    // tells. allowance: the session's max_in_flight. Throws std::bad_alloc, and nothing else here does. This outlives its
    // accounts.
    std::shared_ptr<Account> open(std::string_view path, std::uint32_t allowance);

    bool can_be_freed() noexcept { return are_free(mutex_); } // in a forked child

    // What is counted. Never less than what lies in the queues; more by what was taken and not asked about yet.
    std::uint64_t count() const noexcept { return count_.load(std::memory_order_relaxed); }

  private:
    friend Account;
    using Party = Account::Party;
    class Dropped;

    bool take_one() noexcept;
    bool find_one() noexcept;
    void find_room(Account &account, std::uint32_t wanted) noexcept;
    std::shared_ptr<Party> same_as(const std::shared_ptr<Party> &like) noexcept;
    bool admit(Account &account, std::uint32_t uid, int socket, std::uint32_t agreed) noexcept;
    void take_over(Account &account, UniqueFd socket) noexcept;
    void ask(Account &account, Dropped &dropped) noexcept;
    static void relieve(const Account &ended, std::uint64_t gone) noexcept;
    void drop(Account &account, Dropped &dropped) noexcept;
    template <class Ring, class Enough>
    bool ask_around(Ring &ring, Enough enough, Dropped &dropped) noexcept;

    const std::uint64_t limit_;
    const Unread unread_;
    const MessageMemory memory_;
    std::atomic<std::uint64_t> count_{0};
    std::mutex mutex_; // of what follows, and of every question; taken at the bounds, and when sessions open and end
    RoundRobin<Account, &Account::in_all_> living_;
    RoundRobin<Account, &Account::in_all_> ended_;
    RoundRobin<Party, &Party::in_all> parties_;
};

} // namespace rp::handoff
