// All clients, in one process: many TCP connections that send numbered bytes and watch who answers.
//
// A connection is wanted until it was served: when the client sees it closed before, it makes another attempt.
#pragma once

#include <netinet/in.h>
#include <unordered_map>
#include <vector>

#include "loop.hpp"
#include "process.hpp"
#include "stream.hpp"

namespace rp::chaos {

struct ClientOptions {
    std::uint32_t concurrency;
    std::vector<std::uint16_t> ports; // of the brokers
};

class Clients {
  public:
    Clients(const Self &self, const ClientOptions &options) : self_(self), options_(options), random_(self.random()) {}

    void run();

  private:
    struct Connection {
        UniqueFd fd;
        std::uint32_t attempt = 0;
        std::uint32_t broker = 0;      // its index
        std::uint32_t broker_ends = 0; // when the attempt began
        std::uint32_t length = 0;      // numbered bytes to send
        std::uint32_t sent = 0;        // or put into outgoing
        std::uint32_t answered = 0;
        std::uint32_t serial = 0;       // of the server's
        std::uint32_t padding_left = 0; // of a prologue that is being read
        bool wants_prologue = false;
        bool has_prologue = false;
        bool is_full = false;
        std::uint64_t hold_until_ns = 0; // served; kept open for a while
        Bytes outgoing;
        Bytes incoming;
    };

    void begin(); // one attempt
    void open(Connection &connection);
    void send_piece(Connection &connection);
    void write(Connection &connection);
    void handle(std::uint32_t attempt, std::uint32_t events);
    bool read(Connection &connection); // false: closed
    void parse(Connection &connection);
    void on_record(Connection &connection, const Record &record);
    void on_prologue(Connection &connection, const Record &record);
    void on_served(Connection &connection);
    void on_closed(Connection &connection);
    void end(Connection &connection);
    void end_held();
    bool may_wait(const Connection &connection) const;
    void count_open();
    void keep_going();

    const Self &self_;
    const ClientOptions &options_;
    Random random_;
    Loop loop_;
    std::unordered_map<std::uint32_t, Connection> connections_; // by attempt
    std::vector<std::uint32_t> held_;
    std::uint32_t unserved_ = 0; // connections that are wanted
    std::uint32_t again_ = 0;    // of those, the ones that need another attempt
};

} // namespace rp::chaos
