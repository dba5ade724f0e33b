// What all processes of a run write down in memory that they share: it survives those that are killed.
//
// Of each attempt (one TCP connection of a client's) every process notes its own part when it happens; the checks hold the
// parts against each other when all is quiet. A life is one process from its start to its end; lives are numbered from 1,
// for process ids come back.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <string>
#include <sys/types.h>

namespace rp::chaos {

using Word = std::atomic<std::uint32_t>;
using Count = std::atomic<std::uint64_t>;

enum class Role : std::uint32_t { none, clients, broker, backend };

enum class Fate : std::uint32_t {
    running,
    killed,   // by signal 9, its own or the schedule's
    finished, // left orderly, with everything closed
};

// What a client saw of an attempt in the end.
enum class End : std::uint32_t {
    open,
    served,     // all its bytes were answered
    closed,     // end of file or reset after the first answer
    unanswered, // the same before any byte
};

struct Attempt {
    Word broker;   // the life that accepted it
    Word offered;  // one bit for each backend (by index) that it was ever offered to
    Word verdict;  // the life for which an outcome said BACKEND
    Word owner;    // the life that took it as its own, to serve it or to end it; written once
    Word is_ended; // 1: the owner is a broker that ended it without serving it
    Word wants_prologue;
    Word is_dropped; // 1: its broker destroyed the session at once, with this in flight
    Word served_by;  // the life that answered the client
    std::atomic<End> end;
    Word end_after; // so many deaths had been when the client saw it closed
};

// Of the lives of brokers.
struct BrokerCounts {
    Count submitted;
    Count to_backend; // events that said BACKEND
    Count to_broker;  // events that said BROKER
    Count dropped;    // in flight when their session was destroyed at once
    Count served;     // by the broker itself
    Count ended;      // by the broker
    Count sessions;
    Count refused_submits;
    Count causes[32]; // of fallbacks; index: RP_HANDOFF_CAUSE_
};

// Of the lives of backends.
struct BackendCounts {
    Count offers;
    Count adopted;
    Count undelivered; // of the adopted: the broker was gone
    Count refused;
    Count revoked;
    Count sessions;
    Count late; // answered long after the offer came
};

struct Life {
    std::atomic<Role> role;
    Word index;
    Word incarnation; // among those of its role and index
    Word pid;
    std::atomic<Fate> fate;
    Word death;       // its number among all deaths, from 1; 0: not killed
    Word quiet_round; // the last one for which it reported the next ones
    Word descriptors_at_start;
    Word descriptors_idle; // when it was ready, without a session
    Word descriptors;
    Word sessions_open;
    Word pidfds;           // of peers; included in descriptors
    Word clients_open;     // TCP connections, also those that are at their end
    char description[600]; // of what is open, for those who look for a leak
    BrokerCounts broker;
    BackendCounts backend;
};

enum class Phase : std::uint32_t {
    running,
    draining, // clients begin nothing new
    settling, // clients and brokers report when they have nothing in hand, and nothing unanswered
    quiet,    // backends do, now that nothing is on its way to them
    finishing // and leave
};

class Table {
  public:
    // Shared with every process forked later. Exits if there is no memory for it.
    static Table &make(std::uint32_t attempts, std::uint32_t lives);

    std::atomic<Phase> phase;
    Word round;
    Word held_backend; // 1 + its index: stopped for the whole of a drain
    Word last_life;
    Word deaths;
    Word last_attempt;
    Word brokers; // how many there are
    Word backends;
    Count started;       // connections that clients have begun
    Count finished;      // and seen served
    Count handed;        // of those, by a backend
    Word open;           // attempts, at the moment
    Word hanging;        // of those, the ones that cannot be laid to a stopped process; while draining
    Count measured_ns;   // of a drain
    Word broker_ends[8]; // how many lives of each broker have ended, by index
    Word violations;

    Attempt &attempt(std::uint32_t number) noexcept { return attempts_[number]; }
    Life &life(std::uint32_t number) noexcept { return lives_[number]; }
    std::uint32_t attempts() const noexcept { return attempt_limit_; }
    std::uint32_t lives() const noexcept { return life_limit_; }

    // The number of a new life, or of a new attempt; exits at the limit, which the options of a run leave out of reach.
    std::uint32_t new_life(Role role, std::uint32_t index);
    std::uint32_t new_attempt();

    // The living process that the kernel calls so, or 0.
    std::uint32_t life_of(std::uint32_t pid, Role role) noexcept;

    // To be noted before it is killed: whoever sees what comes of that finds it here.
    void note_death(std::uint32_t life);

    // Something is not as it must be. The first ones are printed when the run ends.
    void violation(const char *format, ...) __attribute__((format(printf, 2, 3)));
    void print_violations(std::FILE *to) const;

  private:
    Attempt *attempts_;
    Life *lives_;
    std::uint32_t attempt_limit_;
    std::uint32_t life_limit_;
    static constexpr std::uint32_t texts_kept = 20;
    char texts_[texts_kept][800];
};

inline void add(Count &count, std::uint64_t n = 1) noexcept {
    count.fetch_add(n, std::memory_order_relaxed);
}

} // namespace rp::chaos
