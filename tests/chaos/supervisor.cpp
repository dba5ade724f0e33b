// The processes of a run.
#include "supervisor.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <sys/socket.h>
#include <sys/wait.h>

#include "processes.hpp"

namespace rp::chaos {

namespace {

constexpr std::uint64_t patience_ns = 40'000 * millisecond_ns; // without progress

volatile std::sig_atomic_t interrupted = 0;

void on_interrupt(int) {
    interrupted = 1;
}

} // namespace

Supervisor::Supervisor(const Options &options, Table &table)
    : options_(options), table_(table), schedule_(options.seed, options.brokers, options.backends),
      action_(schedule_.next()), deadline_ns_(now_ns() + options.seconds * 1000 * millisecond_ns) {
    block_child_signal();
    std::signal(SIGINT, on_interrupt);
    std::signal(SIGTERM, on_interrupt);
    char name[] = "/tmp/rp_handoff.chaos.XXXXXX";
    directory_ = mkdtemp(name) != nullptr ? name : "";
    table.brokers = options.brokers;
    table.backends = options.backends;
    clients_.concurrency = options.concurrency;
    clients_.ports.resize(options.brokers);
    for (std::uint32_t i = 0; i < options.brokers; ++i) {
        listeners_.push_back(listen_on_loopback(clients_.ports[i], SOCK_NONBLOCK, 4096));
        slots_.push_back({Role::broker, i, 0, 0, 0, 0, 0});
    }
    for (std::uint32_t i = 0; i < options.backends; ++i) {
        slots_.push_back({Role::backend, i, 0, 0, 0, 0, 0});
    }
    slots_.push_back({Role::clients, 0, 0, 0, 0, 0, 0});
    for (Slot &slot : slots_) {
        start(slot);
    }
}

Supervisor::~Supervisor() {
    for (const Slot &slot : slots_) {
        if (slot.pid > 0) {
            kill(slot.pid, SIGKILL);
            waitpid(slot.pid, nullptr, 0);
        }
    }
    for (std::uint32_t i = 0; i < options_.backends; ++i) {
        unlink((directory_ + "/backend-" + std::to_string(i)).c_str());
    }
    rmdir(directory_.c_str());
}

Supervisor::Slot &Supervisor::slot(Role role, std::uint32_t index) {
    return *std::find_if(slots_.begin(), slots_.end(),
                         [&](const Slot &slot) { return slot.role == role && slot.index == index; });
}

void Supervisor::start(Slot &slot) {
    slot.life = table_.new_life(slot.role, slot.index);
    table_.life(slot.life).incarnation = ++slot.incarnation;
    slot.restart_ns = 0;
    slot.resume_ns = 0;
    slot.pid = start_process([this, &slot] { run_child(slot); });
}

void Supervisor::run_child(const Slot &slot) {
    std::signal(SIGINT, SIG_IGN); // of a terminal: the supervisor sees to it
    std::signal(SIGTERM, SIG_DFL);
    int listener = -1;
    if (slot.role == Role::broker) {
        listener = listeners_[slot.index].release();
    }
    listeners_.clear();
    const Self self{table_, slot.life, options_.seed, directory_, options_.with_prologues};
    self.life().pid = static_cast<std::uint32_t>(getpid());
    // A broker's listener goes with it.
    self.life().descriptors_at_start =
        static_cast<std::uint32_t>(test::open_descriptors().size()) - (listener >= 0 ? 1u : 0u);
    if (slot.role == Role::clients) {
        run_clients(self, clients_);
    } else if (slot.role == Role::broker) {
        run_broker(self, listener);
    } else {
        run_backend(self);
    }
    self.leave();
}

void Supervisor::stop(Slot &slot, std::uint64_t until_ns) {
    if (slot.pid > 0 && slot.resume_ns == 0) {
        kill(slot.pid, SIGSTOP);
        slot.resume_ns = until_ns;
    }
}

void Supervisor::resume(Slot &slot) {
    slot.resume_ns = 0;
    kill(slot.pid, SIGCONT);
}

void Supervisor::act(const Action &action) {
    Slot &target = slot(action.role, action.index);
    const std::uint64_t until = now_ns() + action.duration_ms * millisecond_ns;
    if (options_.prints_actions) {
        std::printf("%s\n", describe(action).c_str());
    }
    if (target.pid <= 0) {
        return; // it is dead already
    }
    if (action.what == Action::What::stop) {
        ++stops;
        stop(target, until);
        return;
    }
    ++kills;
    if (target.role == Role::broker) {
        ++table_.broker_ends[target.index];
    }
    table_.note_death(target.life);
    kill(target.pid, SIGKILL);
    target.restart_ns = until;
}

void Supervisor::disturb() {
    const std::uint64_t handed = table_.handed;
    if (handed >= action_at_ + action_.after || now_ns() >= action_latest_ns_) {
        act(action_);
        action_ = schedule_.next();
        action_at_ = handed;
        action_latest_ns_ = now_ns() + 200 * millisecond_ns;
    }
}

void Supervisor::on_status(Slot &slot, int status) {
    const std::uint64_t now = now_ns();
    if (WIFSTOPPED(status)) {
        if (slot.resume_ns == 0) { // by itself
            ++own_stops;
            slot.resume_ns = now + (1 + slot.life % 100) * millisecond_ns;
        }
        return;
    }
    const Life &life = table_.life(slot.life);
    const bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && life.fate == Fate::killed;
    const bool has_left = WIFEXITED(status) && WEXITSTATUS(status) == 0 && life.fate == Fate::finished &&
                          table_.phase == Phase::finishing;
    if (!was_killed && !has_left) {
        table_.violation("life %u, %s %u, ended with status %d", slot.life,
                         slot.role == Role::broker    ? "broker"
                         : slot.role == Role::backend ? "backend"
                                                      : "clients",
                         slot.index, status);
    }
    if (was_killed && slot.restart_ns == 0) {
        ++own_deaths;
        slot.restart_ns = now + (1 + slot.life % 20) * millisecond_ns;
    }
    slot.pid = 0;
    slot.resume_ns = 0;
}

void Supervisor::reap() {
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        const auto found =
            std::find_if(slots_.begin(), slots_.end(), [pid](const Slot &slot) { return slot.pid == pid; });
        if (found != slots_.end()) {
            on_status(*found, status);
        }
    }
}

void Supervisor::care() {
    reap();
    const std::uint64_t now = now_ns();
    for (Slot &slot : slots_) {
        if (slot.pid > 0 && slot.resume_ns != 0 && slot.resume_ns <= now && &slot != held_) {
            resume(slot);
        }
        if (slot.pid == 0 && slot.restart_ns != 0 && slot.restart_ns <= now) {
            start(slot);
        }
    }
}

bool Supervisor::wait_until(const char *what, const std::function<bool()> &condition, bool disturbs) {
    std::uint64_t finished = table_.finished;
    std::uint64_t impatient_ns = now_ns() + patience_ns;
    while (!condition()) {
        care();
        if (disturbs) {
            disturb();
        }
        wait_for_child(millisecond_ns / 2);
        const std::uint64_t now = now_ns();
        if (finished != table_.finished) {
            finished = table_.finished;
            impatient_ns = now + patience_ns;
        }
        if (now >= impatient_ns || now >= deadline_ns_ || interrupted != 0 || table_.violations > 50) {
            table_.violation("%s: %s", interrupted != 0 ? "interrupted" : "it took too long", what);
            return false;
        }
    }
    return true;
}

// Stops a backend that runs, for longer than its own time.
Supervisor::Slot *Supervisor::hold_one() {
    Slot &drawn = slot(Role::backend, schedule_.next_held());
    if (drawn.pid <= 0 || drawn.restart_ns != 0) {
        return nullptr;
    }
    held_ = &drawn;
    stop(drawn, now_ns());
    table_.held_backend = drawn.index + 1;
    ++holds;
    return held_;
}

bool Supervisor::have_reported(bool backends) const {
    return std::all_of(slots_.begin(), slots_.end(), [&](const Slot &slot) {
        return (slot.role == Role::backend) != backends ||
               (slot.pid > 0 && table_.life(slot.life).quiet_round == table_.round);
    });
}

std::vector<std::uint32_t> Supervisor::lives() const {
    std::vector<std::uint32_t> lives;
    for (const Slot &slot : slots_) {
        if (slot.pid > 0) {
            lives.push_back(slot.life);
        }
    }
    return lives;
}

bool Supervisor::run_round(std::uint64_t handed) {
    table_.phase = Phase::running;
    if (!wait_until(
            "handing over", [&] { return table_.handed >= handed; }, true)) {
        return false;
    }
    table_.hanging = UINT32_MAX;
    table_.open = UINT32_MAX;
    hold_one();
    table_.phase = Phase::draining;
    if (!wait_until("clients wait for nobody but a stopped backend", [this] { return table_.hanging == 0; })) {
        return false;
    }
    table_.held_backend = 0;
    held_ = nullptr; // continued by care()
    if (!wait_until("the last clients are served", [this] { return table_.open == 0; })) {
        return false;
    }
    ++table_.round;
    table_.phase = Phase::settling;
    if (!wait_until("brokers are at rest", [this] { return have_reported(false); })) {
        return false;
    }
    table_.phase = Phase::quiet;
    return wait_until("backends are at rest", [this] { return have_reported(true); });
}

bool Supervisor::finish() {
    table_.phase = Phase::finishing;
    return wait_until("every process leaves", [this] {
        return std::all_of(slots_.begin(), slots_.end(), [](const Slot &slot) { return slot.pid == 0; });
    });
}

} // namespace rp::chaos
