// The clients of a drain: each has one connection for the whole time, and all send in turn, a few hundred at once.
#include "drain.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <vector>

#include "stream.hpp"

namespace rp::chaos {

namespace {

constexpr std::uint32_t piece = 16; // bytes
constexpr std::uint32_t pieces_at_once = 256;

class DrainClients {
  public:
    DrainClients(const Self &self, std::uint16_t port, std::uint32_t count) : self_(self), clients_(count) {
        for (std::uint32_t i = 0; i < count; ++i) {
            connect(i, port);
        }
    }

    void run() {
        while (self_.table.phase != Phase::finishing || outstanding_ != 0) {
            while (outstanding_ < pieces_at_once && self_.table.phase != Phase::finishing) {
                send_next();
            }
            loop_.wait(now_ns() + 10 * millisecond_ns, [this](Key key, std::uint32_t) { read(key.number); });
        }
    }

  private:
    struct Client {
        UniqueFd fd;
        std::uint32_t attempt = 0;
        std::uint32_t sent = 0;
        std::uint32_t answered = 0;
        std::uint32_t first_life = 0;
        std::uint32_t life = 0;
    };

    void connect(std::uint32_t index, std::uint16_t port) {
        Client &client = clients_[index];
        client.attempt = self_.table.new_attempt();
        client.fd.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(port);
        if (::connect(client.fd.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) != 0) {
            self_.table.violation("client %u cannot connect: errno %d", index, errno);
            std::exit(1);
        }
        Bytes bytes;
        append(bytes, Opening{client.attempt, unlimited, 0, ~client.attempt});
        send(client, bytes);
        loop_.watch(client.fd.get(), {Kind::connection, index});
    }

    void send(const Client &client, const Bytes &bytes) const {
        if (::send(client.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) {
            self_.table.violation("attempt %u cannot send: errno %d", client.attempt, errno);
        }
    }

    void send_next() {
        Client &client = clients_[next_];
        next_ = (next_ + 1) % static_cast<std::uint32_t>(clients_.size());
        outstanding_ += client.answered == client.sent ? 1u : 0u; // otherwise it has one, which just grows
        Bytes bytes;
        append_numbered(bytes, client.attempt, client.sent, piece);
        client.sent += piece;
        send(client, bytes);
    }

    void read(std::uint32_t index) {
        Client &client = clients_[index];
        Record record{};
        const ssize_t n = recv(client.fd.get(), &record, sizeof record, MSG_WAITALL);
        if (n != sizeof record) {
            self_.table.violation("attempt %u was closed at byte %u, by life %u", client.attempt, client.answered,
                                  client.life);
            std::exit(1);
        }
        on_record(client, record);
        outstanding_ -= client.answered == client.sent ? 1u : 0u;
    }

    void on_record(Client &client, const Record &record) {
        Table &table = self_.table;
        if (record.kind != record_answer || record.received <= client.answered || record.received > client.sent) {
            table.violation("attempt %u: byte %llu was answered after %u of %u", client.attempt,
                            static_cast<unsigned long long>(record.received), client.answered, client.sent);
        }
        client.answered = static_cast<std::uint32_t>(record.received);
        if (record.life == client.life) {
            return;
        }
        if (client.life == 0) {
            client.first_life = record.life;
            add(table.started);
        } else if (client.life == client.first_life && record.life != client.first_life) {
            add(table.handed);
        } else {
            table.violation("attempt %u: life %u answered after life %u", client.attempt, record.life, client.life);
        }
        client.life = record.life;
    }

    const Self &self_;
    Loop loop_;
    std::vector<Client> clients_;
    std::uint32_t next_ = 0;
    std::uint32_t outstanding_ = 0; // clients with something unanswered
};

} // namespace

void run_drain_clients(const Self &self, std::uint16_t port, std::uint32_t count) {
    DrainClients(self, port, count).run();
}

} // namespace rp::chaos
