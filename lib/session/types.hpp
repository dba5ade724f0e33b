// What a session is made of, told and asked: plain values.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/clock.hpp"
#include "base/peer_credentials.hpp"
#include "base/status.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "handoff/blocking.hpp"
#include "handoff/peer_policy.hpp"

namespace rp::handoff::session {

enum class PidfdState : std::int32_t { none = 0, held = 1, unsupported = 2, unavailable = 3, reaped = 4 };

struct Config {
    PeerPolicy peers;
    std::uint32_t peer_pid = 0; // 0: any
    bool require_pidfd = false;
    std::string path; // to dial; empty: connection_fd
    int connection_fd = -1;
    std::uint32_t max_in_flight = 256;
    std::string service;
    Duration open_timeout = std::chrono::seconds(5);
    std::size_t max_queued = std::size_t{1024} * 1024;    // broker: payload that was not sent yet
    std::size_t max_held = std::size_t{16} * 1024 * 1024; // backend: payload of offers that are not released
    static constexpr std::size_t least_held = std::size_t{128} * 1024; // so that one frame always fits
};

struct Peer {
    PeerCredentials credentials;
    PidfdState pidfd_state = PidfdState::none;
    UniqueFd pidfd;
    UniqueFd liveness;               // where there is none: readable when whoever has that pid ended
    std::uint32_t max_in_flight = 0; // 0: the session is not open yet
    std::string service;

    int watched() const noexcept { return pidfd ? pidfd.get() : liveness.get(); }
};

// Why a session is over.
struct End {
    Status status = Status::ok;
    int os_error = 0;
    Text text;                                     // a sentence; empty after an orderly end
    std::array<char, Text::capacity + 1> c_text{}; // the same, ended by a NUL
};

struct Event {
    enum class Kind : std::int32_t { opened = 1, outcome = 2, offer = 3, closing = 4, closed = 5 };
    Kind kind = Kind::closed;
    const End *end = nullptr;      // closed: as long as the session lives
    std::uint64_t id = 0;          // outcome
    std::uint64_t user_data = 0;   // outcome
    UniqueFd fd;                   // outcome: given back
    HandoffReport report;          // outcome
    std::uint64_t correlation = 0; // outcome
    Duration elapsed{};            // outcome
    std::uint32_t offer = 0;       // offer: its number
};

struct Statistics {
    std::uint32_t in_flight = 0;
    std::uint64_t submitted = 0;
    std::uint64_t completed = 0;
    std::uint64_t fallbacks = 0;
    std::uint64_t offers = 0;
    std::uint64_t accepted = 0;
    std::uint64_t refused = 0;
    std::uint64_t lost = 0;
    std::uint64_t messages_sent = 0;
    std::uint64_t messages_received = 0;
};

} // namespace rp::handoff::session
