// Times the in-process stores: what it costs to issue a token, register its acknowledgement and acknowledge it while a
// given number of other tokens is pending, to expire what is overdue, and what a pending handoff takes of memory.
//
// Of a round, the token that ends is the newest (a backend that answers at once), the oldest (answers in the order of
// offers, with everything in between pending), or any (no order: a miss of the caches for each thing that is looked
// at). The longest single calls are given in wall time and in the thread's CPU time; the first includes what the
// machine did meanwhile.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <ctime>
#include <malloc.h>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "allocations.hpp"
#include "handoff/issued_tokens.hpp"
#include "os/random.hpp"
#include "rp_handoff.h"

namespace {

using namespace rp::handoff;

constexpr std::uint64_t hour_ns = 3'600'000'000'000;
constexpr std::uint32_t pid = 4711;
constexpr const char *service = "service";

std::uint64_t nanoseconds(clockid_t clock) {
    timespec ts{};
    clock_gettime(clock, &ts);
    return static_cast<std::uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(ts.tv_nsec);
}

void must(bool succeeded) {
    if (!succeeded) {
        throw std::runtime_error("a store refused what it should take");
    }
}

// What malloc(3) has given away, rounding and its own bookkeeping included.
std::size_t heap_bytes() {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

double per(std::size_t amount, std::size_t count) {
    return static_cast<double>(amount) / static_cast<double>(count);
}

// A clock that stands still unless it is told to move.
struct StillClock {
    std::uint64_t now_ns = hour_ns;

    static std::int32_t now(void *self, std::uint64_t *out_now_ns) {
        *out_now_ns = static_cast<StillClock *>(self)->now_ns;
        return RP_HANDOFF_CALLBACK_OK;
    }
    static std::int32_t wait(void *, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *) { return 0; }
};

// A broker handle that takes so many tokens, on the system's clock or on the given one.
class Handle {
  public:
    explicit Handle(std::size_t max_pending, StillClock *clock = nullptr) {
        rp_handoff_broker_options options{};
        options.struct_size = sizeof options;
        options.max_pending = static_cast<std::uint32_t>(max_pending);
        options.token_ttl_ns = 2 * hour_ns; // nothing expires while the system's clock runs
        options.ack_deadline_ns = hour_ns;
        if (clock != nullptr) {
            options.now = StillClock::now;
            options.wait = StillClock::wait;
            options.time_user_data = clock;
        }
        must(rp_handoff_broker_create(&options, &broker_, nullptr) == RP_HANDOFF_OK);
    }
    Handle(const Handle &) = delete;
    Handle &operator=(const Handle &) = delete;
    ~Handle() { rp_handoff_broker_destroy(broker_); }

    using Token = rp_handoff_token;

    Token issue() {
        Token token;
        must(rp_handoff_broker_issue(broker_, service, pid, &token) == RP_HANDOFF_OK);
        return token;
    }

    void acknowledge(const Token &token) {
        std::uint64_t waited_ns = 0;
        must(rp_handoff_broker_acknowledge(broker_, &token, nanoseconds(CLOCK_MONOTONIC), &waited_ns) == RP_HANDOFF_OK);
        benchmark::DoNotOptimize(waited_ns);
    }

    // One; whether there was one.
    bool sweep() {
        const std::int32_t found = rp_handoff_broker_next_overdue(broker_, nullptr);
        must(found >= 0);
        return found == 1;
    }

  private:
    rp_handoff_broker *broker_ = nullptr;
};

// The same, of the core alone.
class Core {
  public:
    explicit Core(std::size_t max_pending) : tokens_({max_pending, Duration(2 * hour_ns), 16}, Duration(hour_ns)) {}

    using Token = rp::handoff::Token;

    Token issue() {
        const Result<Token> token = tokens_.issue(service, pid, time_.now(), random_);
        must(token.has_value());
        return *token;
    }

    void acknowledge(const Token &token) {
        const Result<Duration> waited = tokens_.acknowledge(token, time_.now());
        must(waited.has_value());
    }

  private:
    SystemTime time_;
    os::PooledRandom random_;
    IssuedTokens tokens_;
};

template <class Stores>
std::vector<typename Stores::Token> fill(Stores &stores, std::size_t count) {
    std::vector<typename Stores::Token> tokens;
    tokens.reserve(count + 1);
    for (std::size_t i = 0; i < count; ++i) {
        tokens.push_back(stores.issue());
    }
    return tokens;
}

// ---- rounds ---------------------------------------------------------------------------------------------------------

enum class Ends { newest, oldest, any };

template <class Stores, Ends ends>
void round_trip(benchmark::State &state) {
    const auto pending = static_cast<std::size_t>(state.range(0));
    Stores stores(pending + 1);
    auto tokens = fill(stores, pending);
    std::minstd_rand dice(1);
    std::size_t next = 0;
    const auto one = [&] {
        typename Stores::Token token = stores.issue();
        if (ends != Ends::newest && pending > 0) {
            next = (ends == Ends::oldest ? next + 1 : dice()) % pending;
            std::swap(token, tokens[next]);
        }
        stores.acknowledge(token);
    };
    for (int warm_up = 0; warm_up < 10'000; ++warm_up) {
        one();
    }
    const std::size_t before = rp::bench::allocations();
    for (auto _ : state) {
        one();
    }
    state.counters["allocations_per_round"] =
        per(rp::bench::allocations() - before, static_cast<std::size_t>(state.iterations()));
}

void amounts(benchmark::internal::Benchmark *benchmark) {
    benchmark->ArgName("pending")->Iterations(1'000'000);
    for (const std::int64_t pending : {0, 1'000, 10'000, 20'000, 100'000, 1'000'000}) {
        benchmark->Arg(pending);
    }
}

BENCHMARK_TEMPLATE(round_trip, Handle, Ends::newest)->Name("stores/round/newest")->Apply(amounts);
BENCHMARK_TEMPLATE(round_trip, Handle, Ends::oldest)->Name("stores/round/oldest")->Apply(amounts);
BENCHMARK_TEMPLATE(round_trip, Handle, Ends::any)->Name("stores/round/any")->Apply(amounts);
BENCHMARK_TEMPLATE(round_trip, Core, Ends::newest)->Name("stores/round_of_core/newest")->Apply(amounts);

std::unique_ptr<Handle> shared;

void several_threads(benchmark::State &state) {
    for (auto _ : state) {
        shared->acknowledge(shared->issue());
    }
    state.SetItemsProcessed(state.iterations());
}

BENCHMARK(several_threads)
    ->Name("stores/rounds_on_one_handle")
    ->Setup([](const benchmark::State &) {
        shared = std::make_unique<Handle>(2'000);
        fill(*shared, 1'000);
    })
    ->Teardown([](const benchmark::State &) { shared.reset(); })
    ->Threads(1)
    ->Threads(2)
    ->Threads(4)
    ->UseRealTime();

// ---- single calls ---------------------------------------------------------------------------------------------------

class Longest {
  public:
    template <class Call>
    auto time(Call call) {
        const std::uint64_t wall = nanoseconds(CLOCK_MONOTONIC);
        const std::uint64_t cpu = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
        auto result = call();
        cpu_ns_ = std::max(cpu_ns_, nanoseconds(CLOCK_THREAD_CPUTIME_ID) - cpu);
        wall_ns_ = std::max(wall_ns_, nanoseconds(CLOCK_MONOTONIC) - wall);
        ++calls_;
        return result;
    }

    void report(benchmark::State &state) const {
        state.counters["calls"] = static_cast<double>(calls_);
        state.counters["longest_call_us"] = per(wall_ns_, 1000);
        state.counters["longest_call_cpu_us"] = per(cpu_ns_, 1000);
    }

  private:
    std::uint64_t wall_ns_ = 0;
    std::uint64_t cpu_ns_ = 0;
    std::size_t calls_ = 0;
};

// From nothing: what growing costs, and what a pending handoff takes of memory once it is there.
void growth(benchmark::State &state) {
    const auto count = static_cast<std::size_t>(state.range(0));
    for (auto _ : state) {
        const std::size_t before = heap_bytes();
        Handle handle(count);
        Longest longest;
        for (std::size_t i = 0; i < count; ++i) {
            longest.time([&] { return handle.issue(); });
        }
        longest.report(state);
        state.counters["bytes_per_pending"] = per(heap_bytes() - before, count);
    }
}

void sweep(benchmark::State &state) {
    const auto count = static_cast<std::size_t>(state.range(0));
    StillClock clock;
    Handle handle(count, &clock);
    for (auto _ : state) {
        state.PauseTiming();
        fill(handle, count);
        clock.now_ns += hour_ns;
        state.ResumeTiming();
        Longest longest;
        while (longest.time([&] { return handle.sweep(); })) {
        }
        longest.report(state);
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}

// Everything pending has expired when the next token is issued, and the ones after it.
void issue_over_expired(benchmark::State &state) {
    const auto count = static_cast<std::size_t>(state.range(0));
    StillClock clock;
    Handle handle(count, &clock);
    fill(handle, count);
    clock.now_ns += 2 * hour_ns;
    Longest longest;
    for (auto _ : state) {
        longest.time([&] { return handle.issue(); });
    }
    longest.report(state);
}

void sizes(benchmark::internal::Benchmark *benchmark) {
    benchmark->ArgName("pending")->Iterations(1)->Unit(benchmark::kMillisecond);
    benchmark->Arg(10'000)->Arg(100'000)->Arg(1'000'000);
}

BENCHMARK(growth)->Name("stores/growth")->Apply(sizes);
BENCHMARK(sweep)->Name("stores/sweep")->Apply(sizes);
BENCHMARK(issue_over_expired)->Name("stores/issue_over_expired")->ArgName("pending")->Arg(1'000'000)->Iterations(1'000);

} // namespace

BENCHMARK_MAIN();
