// The example failover_broker with three session_backends, and clients that notice nothing but latency when those are
// killed or stopped: a connection is closed only if the process that had adopted it was killed.
#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <set>

#include "support/process.hpp"
#include "support/sockets.hpp"

using namespace rp::test;

namespace {

constexpr std::size_t backend_count = 3;

// The processes of the example.
class Town {
  public:
    Town() {
        for (std::size_t i = 0; i < backend_count; ++i) {
            start(i);
        }
        broker_ = std::make_unique<Program>(
            std::vector<std::string>{FAILOVER_BROKER, socket_of(0), socket_of(1), socket_of(2)});
        const std::string line = broker_->read_line();
        REQUIRE(line.rfind("port ", 0) == 0);
        port = static_cast<std::uint16_t>(std::stoi(line.substr(5)));
    }

    void start(std::size_t index) {
        backends_[index] = std::make_unique<Program>(std::vector<std::string>{SESSION_BACKEND, socket_of(index)});
        REQUIRE(backends_[index]->read_line() == "ready");
        living.insert(pid(index));
    }
    void kill(std::size_t index) { // -9
        living.erase(pid(index));
        ++kills;
        backends_[index].reset();
    }
    void stop(std::size_t index) { backends_[index]->process().stop(); }
    std::string pid(std::size_t index) const { return std::to_string(backends_[index]->process().pid()); }

    std::uint16_t port = 0;
    std::set<std::string> living;
    unsigned kills = 0;

  private:
    std::string socket_of(std::size_t index) const { return directory_ / ("backend-" + std::to_string(index)); }

    Directory directory_;
    std::array<std::unique_ptr<Program>, backend_count> backends_;
    std::unique_ptr<Program> broker_;
};

// Clients at once, each of which says three lines and reads what comes back, over one connection.
class Load {
  public:
    Load(Town &town, std::size_t clients) : town_(town), clients_(clients) {
        for (Client &client : clients_) {
            connect(client);
        }
    }

    // Until so many more connections were served to the end.
    void serve(unsigned count) {
        for (const unsigned goal = served + count; served < goal;) {
            go_on();
        }
    }

    // Until every client was served so many times more.
    void serve_each(unsigned count) {
        for (Client &client : clients_) {
            client.served = 0;
        }
        while (std::any_of(clients_.begin(), clients_.end(),
                           [count](const Client &client) { return client.served < count; })) {
            go_on();
        }
    }

    unsigned served = 0;
    unsigned closed = 0;
    std::map<std::string, unsigned> served_by;

  private:
    struct Client {
        UniqueFd fd;
        std::string pid; // of whom it heard from
        std::string incoming;
        unsigned answers = 0;
        unsigned kills = 0;  // that had been when it connected
        unsigned served = 0; // its connections so far
    };

    // Who was served connects anew.
    void go_on() {
        std::vector<pollfd> fds;
        for (const Client &client : clients_) {
            fds.push_back({client.fd.get(), POLLIN, 0});
        }
        REQUIRE(poll(fds.data(), fds.size(), 30000) > 0);
        for (std::size_t i = 0; i < fds.size(); ++i) {
            if (fds[i].revents != 0) {
                read(clients_[i]);
            }
        }
    }

    void connect(Client &client) const {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(town_.port);
        const unsigned before = client.served;
        client = Client();
        client.served = before;
        client.kills = town_.kills;
        client.fd.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(::connect(client.fd.get(), as_sockaddr(address), sizeof address) == 0);
        say(client);
    }

    static std::string line(unsigned number) { return "line " + std::to_string(number) + "\n"; }

    // A connection that has just been closed takes it or says so; the next read tells.
    static void say(const Client &client) {
        const std::string text = line(client.answers);
        send(client.fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
    }

    void read(Client &client) {
        char buffer[256];
        const ssize_t n = recv(client.fd.get(), buffer, sizeof buffer, 0);
        if (n <= 0) {
            on_closed(client);
            return;
        }
        client.incoming.append(buffer, static_cast<std::size_t>(n));
        if (client.incoming.back() == '\n') {
            on_answer(client);
        }
    }

    void on_answer(Client &client) {
        const std::string pid = client.incoming.substr(0, client.incoming.find(' '));
        REQUIRE(client.incoming == pid + " " + line(client.answers));
        REQUIRE((client.pid.empty() || client.pid == pid)); // one process, and no other
        client.pid = pid;
        client.incoming.clear();
        if (++client.answers < 3) {
            say(client);
            return;
        }
        ++served;
        ++client.served;
        ++served_by[pid];
        connect(client);
    }

    // The process that had it was killed: the one that it heard from, or one that had not come to answer yet.
    void on_closed(Client &client) {
        if (client.pid.empty()) {
            REQUIRE(town_.kills > client.kills);
        } else {
            REQUIRE(town_.living.count(client.pid) == 0);
        }
        ++closed;
        connect(client);
    }

    Town &town_;
    std::vector<Client> clients_;
};

} // namespace

TEST_CASE(
    "any of three backends is killed with -9 and started again under load, and only its own clients see a close") {
    Town town;
    Load load(town, 40);
    load.serve(200);
    for (unsigned i = 0; i < 30; ++i) {
        town.kill(i % backend_count);
        load.serve(100);
        town.start(i % backend_count);
        load.serve(100);
    }
    CHECK(load.closed <= 30 * 40);
    load.served_by.clear();
    load.serve(500);
    CHECK(load.served_by.size() == backend_count); // they have all come back
}

TEST_CASE("while a backend is stopped, what was offered to it is served by another, and nothing is closed") {
    Town town;
    {
        Load all(town, 40);
        while (all.served_by.count(town.pid(0)) == 0) { // then its session is open
            all.serve(1);
        }
    }
    town.stop(0);
    Load load(town, 40);
    load.serve_each(5);
    CHECK(load.closed == 0);
    CHECK(load.served_by.count(town.pid(0)) == 0);
    town.kill(0);
    load.serve_each(5);
    CHECK(load.closed == 0);
}

TEST_CASE("while no backend is there clients wait, and the first that comes back serves them") {
    Town town;
    {
        Load load(town, 20);
        load.serve(100);
    }
    for (std::size_t i = 0; i < backend_count; ++i) {
        town.kill(i);
    }
    Load load(town, 20);
    town.start(1);
    load.serve(100);
    CHECK(load.closed == 0);
    CHECK(load.served_by.size() == 1);
    CHECK(load.served_by.count(town.pid(1)) == 1);
}
