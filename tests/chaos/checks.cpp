// The checks of a run.
//
// Of one attempt there is at most one owner, since the word for it is written once and whoever finds it written says so.
// Whom the client saw, whom the broker was told, and who says that it adopted have to be the same, except for what a
// process that was killed could not write down any more; and each close that a client saw needs somebody who may have
// caused it.
#include "checks.hpp"

#include <algorithm>

namespace rp::chaos {

namespace {

bool was_killed(Table &table, std::uint32_t life) {
    return life != 0 && table.life(life).fate == Fate::killed;
}

bool is_backend(Table &table, std::uint32_t life) {
    return life != 0 && table.life(life).role == Role::backend;
}

// What must hold however the attempt ended.
void check_owner(Table &table, std::uint32_t number, const Attempt &attempt) {
    const std::uint32_t owner = attempt.owner;
    const std::uint32_t verdict = attempt.verdict;
    if (verdict != 0 && owner != verdict && (owner != 0 || !was_killed(table, verdict))) {
        table.violation("attempt %u: the broker was told that it is life %u's, but %u has it", number, verdict, owner);
    }
    if (verdict == 0 && is_backend(table, owner) && !was_killed(table, attempt.broker) && attempt.is_dropped == 0) {
        table.violation("attempt %u: life %u has it, and the broker was not told", number, owner);
    }
    if (attempt.served_by != 0 && attempt.served_by != owner) {
        table.violation("attempt %u: life %u answered, and %u has it", number, attempt.served_by.load(), owner);
    }
    if (attempt.served_by != 0 && attempt.is_ended != 0) {
        table.violation("attempt %u: life %u ended what %u answered", number, owner, attempt.served_by.load());
    }
}

// Who closed it: counts, or finds nobody.
void tally_close(Table &table, std::uint32_t number, const Attempt &attempt, Tally &tally) {
    const std::uint32_t owner = attempt.owner;
    const std::uint32_t taker = owner != 0 ? owner : attempt.verdict.load();
    const auto had_died = [&](std::uint32_t life) {
        return was_killed(table, life) && table.life(life).death <= attempt.end_after;
    };
    if (attempt.is_ended != 0) {
        ++tally.ended;
    } else if (is_backend(table, taker) && had_died(taker)) {
        ++tally.owner_died;
        const bool is_window =
            owner == 0 && attempt.wants_prologue != 0 && attempt.end == End::unanswered && attempt.verdict != 0;
        tally.windows += is_window ? 1 : 0;
    } else if (owner == 0 && attempt.is_dropped != 0) {
        ++tally.dropped;
    } else if ((owner == 0 || owner == attempt.broker) && (attempt.broker == 0 || had_died(attempt.broker))) {
        ++tally.broker_died;
    } else {
        table.violation("attempt %u was closed, and nobody did it: accepted by %u, verdict %u, owner %u", number,
                        attempt.broker.load(), attempt.verdict.load(), owner);
    }
}

} // namespace

void check_attempts(Table &table, Tally &tally) {
    for (std::uint32_t number = tally.attempts + 1; number <= table.last_attempt; ++number) {
        const Attempt &attempt = table.attempt(number);
        check_owner(table, number, attempt);
        tally.verdicts += attempt.verdict != 0 ? 1 : 0;
        tally.adoptions += is_backend(table, attempt.owner) ? 1 : 0;
        if (attempt.end == End::open) {
            table.violation(
                "attempt %u is left hanging: accepted by %u, offered to backends 0x%x, verdict %u, owner %u", number,
                attempt.broker.load(), attempt.offered.load(), attempt.verdict.load(), attempt.owner.load());
        } else if (attempt.end == End::served) {
            ++(is_backend(table, attempt.owner) ? tally.handed : tally.served_here);
        } else {
            tally_close(table, number, attempt, tally);
        }
    }
    tally.attempts = table.last_attempt;
}

void check_counters(Table &table, const Tally &tally) {
    std::uint64_t to_backend = 0;
    std::uint64_t adopted = 0;
    std::uint32_t killed = 0;
    for (std::uint32_t number = 1; number <= table.last_life; ++number) {
        const Life &life = table.life(number);
        const BrokerCounts &broker = life.broker;
        const BackendCounts &backend = life.backend;
        const bool is_killed = life.fate == Fate::killed;
        const std::uint64_t outcomes = broker.to_backend + broker.to_broker + broker.dropped;
        const std::uint64_t answers = backend.adopted + backend.refused + backend.revoked;
        to_backend += broker.to_backend;
        adopted += backend.adopted;
        killed += is_killed ? 1 : 0;
        if (is_killed ? broker.submitted < outcomes : broker.submitted != outcomes) {
            table.violation("life %u submitted %llu and saw %llu outcomes", number,
                            static_cast<unsigned long long>(broker.submitted),
                            static_cast<unsigned long long>(outcomes));
        }
        if (is_killed ? backend.offers < answers : backend.offers != answers) {
            table.violation("life %u got %llu offers and answered %llu", number,
                            static_cast<unsigned long long>(backend.offers), static_cast<unsigned long long>(answers));
        }
    }
    // Each process counts beside what it writes of the attempt; one that is killed may have done only the first.
    const auto agrees = [killed](std::uint64_t a, std::uint64_t b) { return (a > b ? a - b : b - a) <= killed; };
    if (!agrees(to_backend, tally.verdicts) || !agrees(adopted, tally.adoptions) || table.finished != table.started ||
        table.finished != tally.handed + tally.served_here || table.handed != tally.handed) {
        table.violation("totals: %llu outcomes BACKEND of %u attempts, %llu adopted of %u, %llu served of %llu begun",
                        static_cast<unsigned long long>(to_backend), tally.verdicts,
                        static_cast<unsigned long long>(adopted), tally.adoptions,
                        static_cast<unsigned long long>(table.finished),
                        static_cast<unsigned long long>(table.started));
    }
}

void check_descriptors(Table &table, const std::vector<std::uint32_t> &lives) {
    // Who is short of descriptors may have got no pidfd of its peer.
    const auto used = [&table](std::uint32_t number) {
        const Life &life = table.life(number);
        return life.descriptors - life.descriptors_idle - life.pidfds;
    };
    for (const Role role : {Role::clients, Role::broker, Role::backend}) {
        std::uint32_t per_session = UINT32_MAX;
        for (const std::uint32_t number : lives) {
            const Life &life = table.life(number);
            if (life.role == role && life.sessions_open != 0) {
                per_session = std::min(per_session, used(number) / life.sessions_open);
            }
        }
        for (const std::uint32_t number : lives) {
            const Life &life = table.life(number);
            const std::uint32_t due = life.sessions_open * per_session;
            // Of a session that ended with offers in the other end's queue a broker keeps the socket until they are gone,
            // and looks for that when the next one ends.
            const std::uint32_t most = role == Role::broker ? due + table.backends : due;
            if (life.role == role && (life.clients_open != 0 || life.pidfds > life.sessions_open ||
                                      used(number) < due || used(number) > most)) {
                table.violation(
                    "life %u at rest: %u connections of clients, %u sessions, %u descriptors for them where "
                    "%u are due: %s",
                    number, life.clients_open.load(), life.sessions_open.load(), used(number), due, life.description);
            }
        }
    }
}

} // namespace rp::chaos
