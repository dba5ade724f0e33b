// The client's view. A route is a way from a client, which is this process, to a reply of the backend, and the processes
// behind it: a broker and a backend of its own, blocked while other routes are measured.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "process.hpp"
#include "sockets.hpp"

namespace rp::bench {

// What a client does from connect(2) to the first byte of the reply. Gives how long that took.
using Client = std::uint64_t (*)(const Address &front);

// A client that sends its first request at once, and reads: handed over, or told whom to ask instead.
std::uint64_t client_that_stays(const Address &front);
std::uint64_t client_that_is_redirected(const Address &front);

// What a server does with that request.
void reply(Fd connection);
// A broker that does not hand over: names the backend. Then it reads the request, so that its close(2) resets nothing.
void redirect(Fd connection, const Address &backend);

class Route {
  public:
    Route(std::string name, Family family, Client client);

    // Where its clients come; for its own processes to accept from.
    const Fd &listener() const noexcept { return listener_; }
    std::string path(const std::string &name) const { return directory_ / name; }

    // Starts a process that does `one_visit()` for ever, after `prepare()`, which gives it.
    template <class Prepare>
    void start(Prepare prepare) {
        processes_.push_back(std::make_unique<Process>([&] {
            auto one_visit = prepare();
            settle();
            for (;;) {
                one_visit();
                settle();
            }
        }));
        await_settled(1);
        pids_.push_back(processes_.back()->pid());
        meter_ = CpuMeter(pids_);
    }

    // One sample. Its processes have done all that they had to do when it returns.
    void visit();
    Side &side() noexcept { return side_; }

  private:
    void settle() const { send_all(settled_.b.get(), "", 1); }
    void await_settled(std::size_t processes) const;

    Directory directory_;
    Fd listener_;
    Address front_;
    Client client_;
    Side side_;
    Pair settled_;
    std::vector<std::unique_ptr<Process>> processes_;
    std::vector<pid_t> pids_{0};
    CpuMeter meter_{pids_};
};

// Samples all of them by turns, visit by visit.
void take_turns(const Settings &settings, const std::vector<Route *> &routes);

} // namespace rp::bench
