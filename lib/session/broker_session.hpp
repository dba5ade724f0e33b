// The broker's session: BrokerSide for any number of threads, and blocking calls on top.
#pragma once

#include <memory>

#include "session/broker_side.hpp"
#include "session/driver.hpp"

namespace rp::handoff::session {

class BrokerSession final : public Driver<BrokerSide> {
  public:
    // Takes config.connection_fd on success, if there is no path. The broker outlives the session.
    static Result<std::shared_ptr<BrokerSession>> open(Config config, Broker &broker, Explanation &why);
    BrokerSession(Config config, Broker &broker) : Driver(broker.time(), std::move(config), broker), broker_(broker) {}

    // The handoff's id. It begins now, and is sent with the next send_submitted or flush.
    Result<std::uint64_t> submit(const Submission &submission, Instant now, Explanation &why);
    void send_submitted() { flush(); }
    bool cancel(std::uint64_t id);
    // Waits for the outcome. busy, and whatever submit answers.
    Result<Broker::Report> execute(const Submission &submission, Explanation &why);

    // Which broker it belongs to.
    const Broker &broker() const noexcept { return broker_; }

    // For destroy: at once. Not in a forked child.
    void shutdown() noexcept;

  private:
    class Preparation;

    Broker &broker_;
};

} // namespace rp::handoff::session
