// Drain: 10,000 live connections go from one process to another, and their clients go on sending meanwhile. Afterwards the
// other one serves them all, no byte is lost, and none came out of order.
//
// Argument: the number of connections. Prints the time it took, and ends with "N passed, N failed".
#include "drain.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <vector>

#include "processes.hpp"

using namespace rp::chaos;

namespace {

// The old server, the new one and the clients have one descriptor for each, and a few of their own.
bool raise_descriptor_limit(rlim_t wanted) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_max = std::max(limit.rlim_max, wanted);
    limit.rlim_cur = wanted;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

// The three processes. None outlives this.
class Processes {
  public:
    explicit Processes(Table &table) : table_(table) {}
    Processes(const Processes &) = delete;
    Processes &operator=(const Processes &) = delete;
    ~Processes() {
        for (const pid_t pid : pids_) {
            kill(pid, SIGKILL);
            waitpid(pid, nullptr, 0);
        }
    }

    void start(Role role, const std::function<void(const Self &)> &body) {
        const Self self{table_, table_.new_life(role, 0), 0, "", false};
        pids_.push_back(start_process([&] {
            body(self);
            self.life().fate = Fate::finished;
        }));
    }

    // False after a minute, or when something is amiss.
    bool wait_until(const char *what, const std::function<bool()> &condition) {
        const std::uint64_t deadline_ns = now_ns() + 60'000 * millisecond_ns;
        while (!condition()) {
            wait_for_child(2 * millisecond_ns);
            int status = 0;
            const pid_t ended = waitpid(-1, &status, WNOHANG);
            if (ended > 0) {
                pids_.erase(std::find(pids_.begin(), pids_.end(), ended));
            }
            if ((ended > 0 && status != 0) || table_.violations != 0 || now_ns() > deadline_ns) {
                table_.violation("did not get there: %s; status %d", what, status);
                return false;
            }
        }
        return true;
    }

    bool wait_for_all() {
        return wait_until("every process has left", [this] { return pids_.empty(); });
    }

  private:
    Table &table_;
    std::vector<pid_t> pids_;
};

void run(Table &table, std::uint32_t count) {
    block_child_signal();
    std::uint16_t port = 0;
    UniqueFd listener = listen_on_loopback(port, 0, 1024);
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        std::perror("drain: socketpair");
        std::exit(2);
    }
    UniqueFd old_end(ends[0]);
    UniqueFd new_end(ends[1]);
    Processes processes(table);
    processes.start(Role::backend, [&](const Self &self) {
        listener.reset();
        old_end.reset();
        run_new_server(self, std::move(new_end));
    });
    new_end.reset();
    processes.start(Role::broker,
                    [&](const Self &self) { run_old_server(self, std::move(listener), std::move(old_end)); });
    listener.reset();
    old_end.reset();
    processes.start(Role::clients, [&](const Self &self) { run_drain_clients(self, port, count); });
    if (!processes.wait_until("all clients are served", [&] { return table.started == count; })) {
        return;
    }
    table.phase = Phase::draining;
    if (!processes.wait_until("all clients are served by the new server", [&] { return table.handed == count; })) {
        return;
    }
    table.phase = Phase::finishing;
    processes.wait_for_all();
}

} // namespace

int main(int argc, char **argv) {
    const auto count = static_cast<std::uint32_t>(argc > 1 ? std::atoi(argv[1]) : 10'000);
    if (!raise_descriptor_limit(count + 200)) {
        std::printf("skipped: needs a limit of %u descriptors\n", count + 200);
        return 77;
    }
    Table &table = Table::make(count + 2, 8);
    run(table, count);
    std::uint64_t back = 0;
    for (std::uint32_t life = 1; life <= table.last_life; ++life) {
        back += table.life(life).broker.to_broker;
    }
    const double seconds = static_cast<double>(table.measured_ns) / 1e9;
    std::printf("%llu of %u connections drained in %.3f s: %.0f handoffs per second; %llu offers came back first\n",
                static_cast<unsigned long long>(table.handed), count, seconds, count / seconds,
                static_cast<unsigned long long>(back));
    table.print_violations(stdout);
    const bool passed = table.violations == 0;
    std::printf("%d passed, %d failed\n", passed ? 1 : 0, passed ? 0 : 1);
    return passed ? 0 : 1;
}
