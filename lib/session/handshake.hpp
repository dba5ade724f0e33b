// How a session begins, once its socket is connected: who is at the other end, what both sides want, and the ledger.
//
// The broker sends its hello first, and asked the kernel to identify senders before; so what the backend answers is
// identified. The backend asked for that before it answered, so the broker's next frame, which brings the ledger, is
// identified too. Neither believes who the other is by anything that was sent before. A side that does not want the
// other one says why, in a frame of its own, and ends the session.
//
// Both sides in one room: each call is of one side, as its comment says. No policy of its own, no waiting.
#pragma once

#include <optional>

#include "base/explanation.hpp"
#include "session/ledger.hpp"
#include "session/link.hpp"
#include "session/types.hpp"

namespace rp::handoff::session {

class Handshake {
  public:
    enum class Step { waiting, open, failed };

    // slots: the most handoffs that this side wants in flight.
    Handshake(const Config &config, std::uint32_t slots, Link &link, Link &answer_link) noexcept
        : config_(config), slots_(slots), link_(link), answer_link_(answer_link) {}

    // Either side: before the other one can send.
    void expect_identified_senders() noexcept;
    // Either side, of a path that was dialled: who listens there. ok, peer_rejected.
    Status check_listener(Explanation &why) noexcept;

    // Broker: begins to speak. closed, system.
    Status send_hello(Explanation &why) noexcept;
    // Each takes one frame, from the first on. failed: `why` says it.
    Step broker_takes(const Link::Frame &frame, Peer &peer, std::optional<Ledger> &ledger, Explanation &why) noexcept;
    Step backend_takes(const Link::Frame &frame, Peer &peer, std::optional<Ledger> &ledger, Explanation &why) noexcept;

    // Tells the other side, as far as the socket takes it.
    void reject(Status status, std::string_view text) noexcept;
    // Broker, once it is open and the backend is gone: whether the backend rejected it. It learns who the broker is by the
    // ledger's frame, so that its rejection comes where the broker does not listen any more.
    bool was_rejected_late(Explanation &why) noexcept;
    // What it means that the other side closed the connection, or sent what is no frame, before the session was open.
    void explain_silence(Explanation &why) const noexcept;
    void explain_noise(Explanation &why) const noexcept;

  private:
    Status authenticate(Peer &peer, Explanation &why) noexcept;
    Status check_hello(const Hello &hello, Hello::Role role, Explanation &why) noexcept;
    Status take_rejection(const Link::Frame &frame, Explanation &why) noexcept;
    Status on_hello_of_backend(const Link::Frame &frame, Peer &peer, std::optional<Ledger> &ledger,
                               Explanation &why) noexcept;
    Status on_hello_of_broker(const Link::Frame &frame, Peer &peer, Explanation &why) noexcept;
    Status on_ledger(const Link::Frame &frame, Peer &peer, std::optional<Ledger> &ledger, Explanation &why) noexcept;
    Step failed(Status status, const Explanation &why) noexcept;

    const Config &config_;
    const std::uint32_t slots_;
    Link &link_;
    Link &answer_link_;
    bool greeted_ = false; // the other side's hello is in
    std::uint32_t their_in_flight_ = 0;
};

} // namespace rp::handoff::session
