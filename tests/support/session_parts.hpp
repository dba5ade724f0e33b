// The parts of a session by themselves: frames made by hand, and a peer that says and hears them, without the C API.
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

#include "os/descriptor.hpp"
#include "session/frames.hpp"
#include "session/ledger.hpp"
#include "support/socket_pair.hpp"

namespace rp::test::parts {

using Message = std::vector<std::uint8_t>;

inline handoff::session::Hello hello_of(handoff::session::Hello::Role role, std::uint32_t in_flight = 8) {
    return {role, handoff::session::version, handoff::session::version, in_flight, 0, {}};
}
inline Message framed(const handoff::session::Hello &hello) {
    Message message(handoff::session::max_hello_frame);
    message.resize(handoff::session::encode_hello(message.data(), hello));
    return message;
}
inline Message framed(handoff::session::FrameKind kind, std::uint16_t count = 0, const Message &body = {}) {
    Message message(handoff::session::header_size);
    handoff::session::encode_header(message.data(), {kind, count, static_cast<std::uint32_t>(body.size())});
    message.insert(message.end(), body.begin(), body.end());
    return message;
}
inline Message goodbye() {
    return framed(handoff::session::FrameKind::goodbye);
}
inline Message ledger_of(std::uint32_t slots) {
    Message message(handoff::session::ledger_frame_size);
    handoff::session::encode_ledger(message.data(), slots);
    return message;
}

// One end of a session, of a peer that does nothing by itself. It is never blocked.
struct Hand {
    explicit Hand(UniqueFd fd) : socket(std::move(fd)) {}

    void say(const Message &message, const std::vector<int> &fds = {}) const {
        const iovec piece{const_cast<std::uint8_t *>(message.data()), message.size()};
        REQUIRE(handoff::os::send_many(socket.get(), fds.data(), fds.size(), &piece, 1).bytes == message.size());
    }

    struct Heard {
        int kind = 0; // 0: nothing; -1: the end
        Message body;
        std::vector<UniqueFd> fds;
        bool is(handoff::session::FrameKind expected) const { return kind == static_cast<int>(expected); }
        // The sentence of a rejection.
        std::string sentence() const {
            const auto rejection = handoff::session::decode_rejection({body.data(), body.size()});
            REQUIRE(rejection);
            return std::string(rejection->text);
        }
    };
    // The next frame, which has come as a whole.
    Heard hear() const {
        Heard heard;
        handoff::os::Ancillary beside;
        std::array<std::uint8_t, handoff::session::header_size> header{};
        const handoff::os::Moved moved =
            handoff::os::receive_message(socket.get(), header.data(), header.size(), false, beside);
        if (moved.os_error != 0 || moved.end) {
            heard.kind = moved.end || moved.os_error == ECONNRESET ? -1 : 0;
            return heard;
        }
        while (!beside.descriptors.empty()) {
            heard.fds.push_back(beside.descriptors.take());
        }
        const auto decoded =
            handoff::session::decode_header({header.data(), header.size()}, handoff::session::max_frame);
        REQUIRE(decoded);
        heard.kind = static_cast<int>(decoded->kind);
        heard.body.resize(decoded->length);
        if (!heard.body.empty()) {
            REQUIRE(recv(socket.get(), heard.body.data(), heard.body.size(), MSG_WAITALL) ==
                    static_cast<ssize_t>(heard.body.size()));
        }
        return heard;
    }
    // What lies there, whatever it is.
    void empty() const {
        std::array<char, 4096> junk;
        while (recv(socket.get(), junk.data(), junk.size(), MSG_DONTWAIT) > 0) {
        }
    }

    UniqueFd socket;
};

} // namespace rp::test::parts
