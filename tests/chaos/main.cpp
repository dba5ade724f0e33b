// Chaos: real processes hand over real TCP connections while they are killed, stopped, refused and starved, and afterwards
// every connection has to have been served by exactly one of them.
//
// Arguments: --seed N (of the clock if not given; printed), --handoffs N (connections that backends have to serve),
// --rounds N (with a rest after each), --seconds N (for all), --brokers N, --backends N, --concurrency N (of clients),
// --prologues (a part of the offers carries one), --schedule N (prints what N actions the seed stands for, and ends),
// --actions (prints them as they happen). The last line is "N passed, N failed".
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <rp_handoff.h>

#include "checks.hpp"
#include "supervisor.hpp"

using namespace rp::chaos;

namespace {

struct Arguments : Options {
    std::uint32_t schedule = 0;
};

[[noreturn]] void usage(const char *what) {
    std::fprintf(stderr, "chaos: what is %s?\n", what);
    std::exit(2);
}

Arguments parse(int argc, char **argv) {
    Arguments options;
    options.seed = now_ns() % 1'000'000'000;
    const struct {
        const char *name;
        std::uint32_t *value;
    } numbers[] = {{"--handoffs", &options.handoffs}, {"--rounds", &options.rounds},
                   {"--seconds", &options.seconds},   {"--brokers", &options.brokers},
                   {"--backends", &options.backends}, {"--concurrency", &options.concurrency},
                   {"--schedule", &options.schedule}};
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--prologues") == 0) {
            options.with_prologues = true;
            continue;
        }
        if (std::strcmp(argv[i], "--actions") == 0) {
            options.prints_actions = true;
            continue;
        }
        const std::uint64_t value = i + 1 < argc ? std::strtoull(argv[i + 1], nullptr, 10) : 0;
        bool is_known = std::strcmp(argv[i], "--seed") == 0;
        if (is_known) {
            options.seed = value;
        }
        for (const auto &number : numbers) {
            if (std::strcmp(argv[i], number.name) == 0 && value != 0 && value < 100'000'000) {
                *number.value = static_cast<std::uint32_t>(value);
                is_known = true;
            }
        }
        if (!is_known) {
            usage(argv[i]);
        }
        ++i;
    }
    return options;
}

void print_schedule(const Arguments &options) {
    Schedule schedule(options.seed, options.brokers, options.backends);
    for (std::uint32_t i = 0; i < options.schedule; ++i) {
        std::printf("%s\n", describe(schedule.next()).c_str());
    }
}

const char *name_of_cause(std::uint32_t cause) {
    static const char *const names[] = {"-",
                                        "unsupported",
                                        "permission",
                                        "peer rejected",
                                        "peer unknown",
                                        "unavailable",
                                        "would block",
                                        "descriptors",
                                        "send failed",
                                        "partial send",
                                        "undelivered",
                                        "due before sent",
                                        "timed out",
                                        "read failed",
                                        "backend closed",
                                        "malformed",
                                        "unrelated",
                                        "refused",
                                        "overdue",
                                        "revoked",
                                        "callback",
                                        "no memory",
                                        "policy",
                                        "duplicate",
                                        "offer failed",
                                        "integrity",
                                        "session lost",
                                        "cancelled",
                                        "backend out of descriptors"};
    return cause < sizeof names / sizeof names[0] ? names[cause] : "?";
}

void print_totals(Table &table, const Supervisor &supervisor, const Tally &tally) {
    std::uint64_t submitted = 0, to_backend = 0, to_broker = 0, dropped = 0, refused_submits = 0, sessions = 0;
    std::uint64_t causes[32] = {};
    for (std::uint32_t number = 1; number <= table.last_life; ++number) {
        const BrokerCounts &counts = table.life(number).broker;
        submitted += counts.submitted;
        to_backend += counts.to_backend;
        to_broker += counts.to_broker;
        dropped += counts.dropped;
        refused_submits += counts.refused_submits;
        sessions += counts.sessions;
        for (std::uint32_t i = 0; i < 32; ++i) {
            causes[i] += counts.causes[i];
        }
    }
    std::printf("processes: %u; killed %u by the schedule, %u by themselves; stopped %u and %u times; %u held\n",
                table.last_life.load(), supervisor.kills, supervisor.own_deaths, supervisor.stops, supervisor.own_stops,
                supervisor.holds);
    std::printf("handoffs: %" PRIu64 " submitted over %" PRIu64 " sessions; %" PRIu64 " BACKEND, %" PRIu64
                " BROKER, %" PRIu64 " dropped with their session; %" PRIu64 " submits refused\n",
                submitted, sessions, to_backend, to_broker, dropped, refused_submits);
    std::printf("fallbacks:");
    for (std::uint32_t i = 0; i < 32; ++i) {
        if (causes[i] != 0) {
            std::printf(" %s %" PRIu64, name_of_cause(i), causes[i]);
        }
    }
    std::printf("\nattempts: %u; served by backends %u, by brokers %u; closed: ended by brokers %u, backend died %u, "
                "broker died %u, session dropped %u\n",
                tally.attempts, tally.handed, tally.served_here, tally.ended, tally.owner_died, tally.broker_died,
                tally.dropped);
    std::printf("prologue window: %u clients saw neither a prologue nor an answer, but the end\n", tally.windows);
}

} // namespace

int main(int argc, char **argv) {
    const Arguments options = parse(argc, argv);
    if (options.schedule != 0) {
        print_schedule(options);
        return 0;
    }
    std::printf("seed %" PRIu64 "\n", options.seed);
    Table &table = Table::make(options.handoffs * 4 + 100'000, options.handoffs / 10 + 10'000);
    const std::uint64_t begin_ns = now_ns();
    Tally tally;
    {
        Supervisor supervisor(options, table);
        bool goes_on = true;
        for (std::uint32_t round = 1; goes_on && round <= options.rounds; ++round) {
            goes_on = supervisor.run_round(std::uint64_t{options.handoffs} * round / options.rounds);
            if (goes_on) {
                check_descriptors(table, supervisor.lives());
                check_attempts(table, tally);
            }
        }
        if (goes_on) {
            supervisor.finish();
        }
        check_attempts(table, tally);
        check_counters(table, tally);
        print_totals(table, supervisor, tally);
    }
    const double seconds = static_cast<double>(now_ns() - begin_ns) / 1e9;
    std::printf("%u connections handed over in %.1f s: %.0f per second\n", tally.handed, seconds,
                tally.handed / seconds);
    table.print_violations(stdout);
    const bool passed = table.violations == 0;
    std::printf("%d passed, %d failed\n", passed ? 1 : 0, passed ? 0 : 1);
    return passed ? 0 : 1;
}
