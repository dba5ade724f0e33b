// Serves the connections that this process owns: reads numbered bytes and answers with records.
#pragma once

#include <unordered_map>

#include "loop.hpp"
#include "process.hpp"
#include "stream.hpp"

namespace rp::chaos {

struct Slice {
    const std::uint8_t *data;
    std::size_t size;
};

class Server {
  public:
    Server(const Self &self, Loop &loop) : self_(self), loop_(loop) {}

    // From now on this process is the owner of the attempt: serves `fd`, of which `early` is read already. `unwritten` has
    // to be written first.
    void adopt(UniqueFd fd, std::uint32_t attempt, Slice early, Slice unwritten);

    // For handing over what is being served already: a connection between two pieces of its client's bytes.
    struct Released {
        UniqueFd fd;
        std::uint32_t attempt = 0;
        Numbers numbers;
    };
    // One of them; its descriptor is -1 if none is in this state.
    Released release();
    // The other side of it: `from` is the life that had it, or this one again.
    void go_on_with(Released released, std::uint32_t from);

    void handle(std::uint32_t serial, std::uint32_t events);
    std::size_t size() const noexcept { return connections_.size(); }

    // Ends what is owned without having served it.
    void end(UniqueFd fd, std::uint32_t attempt);

  private:
    struct Connection {
        UniqueFd fd;
        std::uint32_t attempt = 0;
        Numbers numbers;
        Bytes outgoing;
        bool is_full = false; // watched until it takes more
    };

    bool claim(std::uint32_t attempt, std::uint32_t from = 0);
    std::uint32_t add(UniqueFd fd, std::uint32_t attempt);
    void take(std::uint32_t serial, Connection &connection, Slice bytes);
    bool read(std::uint32_t serial, Connection &connection); // false: the client has ended it
    void write(std::uint32_t serial, Connection &connection);
    void close(std::uint32_t serial, Connection &connection);

    const Self &self_;
    Loop &loop_;
    std::unordered_map<std::uint32_t, Connection> connections_;
    std::uint32_t last_serial_ = 0;
};

} // namespace rp::chaos
