#include "v1/offer_receiver.hpp"

#include <algorithm>
#include <cerrno>

#include "os/descriptor.hpp"

namespace rp::handoff {

Status OfferReceiver::step(int connection) noexcept {
    for (;;) {
        std::size_t wanted = 0;
        std::uint8_t *const out = target(wanted);
        if (wanted == 0) {
            return Status::ok;
        }
        os::Received got = os::receive(connection, out, wanted);
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
        // Exactly one descriptor, and with the first byte: anywhere else it belongs to nothing.
        if (got.surplus || static_cast<bool>(got.fd) == started()) {
            return Status::descriptors;
        }
        if (got.fd) {
            fd_ = std::move(got.fd);
        }
        if (const Status status = accept_bytes(got.bytes); status != Status::ok) {
            return status;
        }
    }
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

void OfferReceiver::reset() noexcept {
    explicit_bzero(prefix_.data(), prefix_.size());
    body_.clear();
    fd_.reset();
    received_ = 0;
}

} // namespace rp::handoff
