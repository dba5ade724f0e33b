#include "v1/offer_receiver.hpp"

#include <algorithm>
#include <cerrno>

#include "wire/recognise.hpp"

namespace rp::handoff {

Status OfferReceiver::step(int connection, os::Ancillary &unasked) noexcept {
    for (;;) {
        std::size_t wanted = 0;
        std::uint8_t *const out = target(wanted);
        if (wanted == 0) {
            return Status::ok;
        }
        const os::Moved got = os::receive_message(connection, out, wanted, false, unasked);
        if (got.os_error == EAGAIN) {
            return Status::frame_incomplete;
        }
        // A broker that goes without having read its last answer makes a reset of the end.
        if (got.end || got.os_error == ECONNRESET) {
            return started() ? Status::unexpected_eof : Status::closed;
        }
        if (got.os_error != 0) {
            errno = got.os_error;
            return Status::system;
        }
        // A hello comes without a descriptor, so no token that begins by chance as one does is taken for it.
        if (!started() && unasked.descriptors.empty() &&
            wire::recognise_request({out, got.bytes}) == wire::Protocol::session) {
            return Status::protocol;
        }
        if (const Status status = accept_beside(unasked); status != Status::ok) {
            return status;
        }
        if (const Status status = accept_bytes(got.bytes); status != Status::ok) {
            return status;
        }
    }
}

// Exactly one descriptor, and with the first byte: anywhere else it belongs to nothing. One that was lost on the way in is
// known to have been there.
Status OfferReceiver::accept_beside(os::Ancillary &beside) noexcept {
    const bool lost = beside.truncation != os::Truncation::none;
    const std::size_t came = beside.descriptors.size() + (lost ? 1 : 0);
    if (came != (started() ? 0U : 1U)) {
        return Status::descriptors;
    }
    if (came == 1) {
        lost_ = beside.truncation;
        fd_ = beside.descriptors.take();
    }
    beside.clear();
    return Status::ok;
}

std::uint8_t *OfferReceiver::target(std::size_t &wanted) noexcept {
    if (received_ < prefix_size) {
        wanted = prefix_size - received_;
        return prefix_.data() + received_;
    }
    const std::size_t of_body = received_ - prefix_size;
    wanted = body_.size() - of_body;
    return body_.data() + of_body;
}

Status OfferReceiver::accept_bytes(std::size_t count) noexcept {
    const bool had_header = received_ >= prefix_size;
    received_ += count;
    if (had_header || received_ <= Token::size) {
        return Status::ok;
    }
    const Result<std::uint32_t> length =
        wire::decode_header({prefix_.data() + Token::size, std::min(received_, prefix_size) - Token::size}, max_frame_);
    if (!length) {
        return length.error() == Status::frame_incomplete ? Status::ok : length.error();
    }
    return body_.allocate(*length) ? Status::ok : Status::no_memory;
}

Token OfferReceiver::sideband() const noexcept {
    Token::Bytes bytes{};
    std::copy_n(prefix_.begin(), bytes.size(), bytes.begin());
    Token token(bytes);
    explicit_bzero(bytes.data(), bytes.size());
    return token;
}

void OfferReceiver::wipe() noexcept {
    explicit_bzero(prefix_.data(), prefix_.size());
    body_.clear();
}

void OfferReceiver::reset() noexcept {
    wipe();
    lost_ = os::Truncation::none;
    received_ = 0;
}

} // namespace rp::handoff
