// The caller's transport and waiter, as the core wants them.
#pragma once

#include "boundary.hpp"
#include "handoff/blocking.hpp"

namespace rp::handoff::capi {

class CallbackTransport final : public Transport {
  public:
    CallbackTransport(rp_handoff_transport_fn call, void *user_data) noexcept : call_(call), user_data_(user_data) {}
    Handoff::Action send(const Attempt &attempt, Handoff &handoff, Text &detail) noexcept override;
    int connection() const noexcept override { return -1; }

  private:
    rp_handoff_transport_fn call_;
    void *user_data_;
};

class CallbackWaiter final : public AckWaiter {
  public:
    CallbackWaiter(rp_handoff_await_ack_fn call, void *user_data) noexcept : call_(call), user_data_(user_data) {}
    tl::expected<Instant, AckFailure> await(const Attempt &attempt, int connection, Text &detail) noexcept override;

  private:
    rp_handoff_await_ack_fn call_;
    void *user_data_;
};

} // namespace rp::handoff::capi
