#include "session/farewell.hpp"

#include <array>
#include <cerrno>
#include <sys/socket.h>

namespace rp::handoff::session {

void Farewell::send(Link &outgoing) noexcept {
    if (outgoing.has_unsent()) {
        obstacle_ = EAGAIN;
        return; // later
    }
    std::array<std::uint8_t, header_size> frame{};
    encode_header(frame.data(), {FrameKind::goodbye, 0, 0});
    const int error = outgoing.send({frame.data(), frame.size()}).os_error;
    sent_ = error != EAGAIN && error != ENOBUFS; // or there is nobody to say it to
    obstacle_ = sent_ ? 0 : error;
}

Farewell::Step Farewell::advance(bool done, Link &outgoing, Link &link, Instant now) noexcept {
    if (!ours_ && !(theirs_ && ends_first_)) {
        return Step::none;
    }
    if (!sent_ && (ours_ || done)) {
        send(outgoing);
    }
    if (!done) {
        until_ = end_of_time;
        return Step::none;
    }
    if (until_ == end_of_time) {
        until_ = after(now, patience_);
    }
    if (ends_first_ && !half_closed_ && sent_ && !link.has_unsent()) {
        half_closed_ = true;
        ::shutdown(link.socket(), SHUT_WR);
    }
    return is_due(until_, now) ? Step::late : Step::none;
}

} // namespace rp::handoff::session
