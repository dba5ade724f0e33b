#include "session/link.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/time.h>

namespace rp::handoff::session {

namespace {

constexpr Duration shortest_timeout = std::chrono::microseconds(1);
constexpr Duration longest_timeout = std::chrono::seconds(1); // then who reads sees what other threads have changed

Duration power_of_two_within(Duration left) noexcept {
    const Duration bounded = std::clamp(left, shortest_timeout, longest_timeout);
    const int zeros = __builtin_clzll(bounded.count());
    return Duration(std::uint64_t{1} << (63 - zeros));
}

} // namespace

Link::Link(std::size_t receive_capacity, std::size_t send_capacity)
    : capacity_(receive_capacity), received_(new std::uint8_t[receive_capacity]) {
    unsent_.reserve(send_capacity);
}

// Tokens may be among what was left in the middle.
Link::~Link() {
    explicit_bzero(received_.get(), end_);
    drop_unsent();
}

// ---- receiving ------------------------------------------------------------------------------------------------------

void Link::set_timeout(Duration left) noexcept {
    const Duration wanted = power_of_two_within(left);
    if (wanted == timeout_) {
        return;
    }
    const std::uint64_t us = (wanted.count() + 999) / 1000; // a remainder of a microsecond is not worth a poll(2)
    const timeval tv{static_cast<time_t>(us / 1'000'000), static_cast<suseconds_t>(us % 1'000'000)};
    if (setsockopt(socket(), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0) {
        timeout_ = wanted;
    }
}

// How much to read, and where to: up to the end of a frame that has begun, or else as much as there is room for.
std::size_t Link::wanted(std::size_t &from) noexcept {
    const std::size_t have = end_ - begin_;
    if (have == 0) {
        begin_ = end_ = 0;
    }
    std::size_t whole = capacity_;
    if (have > 0) {
        const Result<Header> header = decode_header({received_.get() + begin_, have}, capacity_);
        whole = header ? header_size + header->length : header_size;
        if (have >= whole) {
            return 0; // there is a frame already, or what cannot be one
        }
        if (begin_ + whole > capacity_) {
            std::memmove(received_.get(), received_.get() + begin_, have);
            explicit_bzero(received_.get() + have, end_ - have); // where it was, a token may be
            begin_ = 0;
            end_ = have;
        }
    }
    from = end_;
    return whole - have;
}

Link::Read Link::read(bool wait, bool with_control) noexcept {
    std::size_t from = 0;
    const std::size_t length = wanted(from);
    std::uint8_t *const to = received_.get() + from;
    const bool at_frame = from == begin_;
    if (length == 0) {
        return {Got::failed, Status::protocol, 0};
    }
    os::Moved moved;
    if (!with_control) {
        moved = os::receive_bytes(socket(), to, length, wait);
    } else if (at_frame) {
        if (!beside_.descriptors.empty()) {
            return {Got::failed, Status::protocol, 0}; // nobody asked for them
        }
        beside_.clear();
        moved = os::receive_message(socket(), to, length, wait, beside_);
    } else {
        os::Ancillary unexpected;
        moved = os::receive_message(socket(), to, length, wait, unexpected);
        if (!unexpected.descriptors.empty() || unexpected.truncated) {
            return {Got::failed, Status::protocol, 0};
        }
    }
    if (moved.os_error == EAGAIN || moved.os_error == EINTR) {
        return {Got::nothing, Status::ok, 0};
    }
    if (moved.end || moved.os_error == ECONNRESET) {
        return {Got::end, Status::ok, 0}; // a peer that goes without having read everything makes a reset of it
    }
    if (moved.os_error != 0) {
        return {Got::failed, Status::system, moved.os_error};
    }
    if (at_frame) {
        read_began_ = from;
    }
    control_ = at_frame && with_control;
    end_ += moved.bytes;
    return {Got::bytes, Status::ok, 0};
}

Result<Link::Frame> Link::frame() const noexcept {
    const ByteView have(received_.get() + begin_, end_ - begin_);
    if (have.empty()) {
        return Failure(Status::frame_incomplete);
    }
    const Result<Header> header = decode_header(have, capacity_);
    if (!header) {
        return Failure(header.error());
    }
    if (have.size() < header_size + header->length) {
        return Failure(Status::frame_incomplete);
    }
    return Frame{*header, have.substr(header_size, header->length), control_ && begin_ >= read_began_};
}

void Link::drop_frame() noexcept {
    const Result<Frame> first = frame();
    if (first) {
        const std::size_t size = header_size + first->body.size();
        explicit_bzero(received_.get() + begin_, size); // tokens are among it
        begin_ += size;
    }
}

// ---- sending --------------------------------------------------------------------------------------------------------

os::Sent Link::send(const int *fds, std::size_t count, const iovec *pieces, std::size_t piece_count) noexcept {
    const os::Sent sent = os::send_many(socket(), fds, count, pieces, piece_count);
    if (sent.os_error == 0) {
        ++messages_sent_;
        keep_rest(pieces, piece_count, sent.bytes);
    }
    return sent;
}

os::Sent Link::send(ByteView bytes) noexcept {
    const iovec piece{const_cast<std::uint8_t *>(bytes.data()), bytes.size()}; // sendmsg(2) does not write to it
    return send(nullptr, 0, &piece, 1);
}

void Link::keep_rest(const iovec *pieces, std::size_t piece_count, std::size_t sent) noexcept {
    for (std::size_t i = 0; i < piece_count; ++i) {
        const auto *const bytes = static_cast<const std::uint8_t *>(pieces[i].iov_base);
        const std::size_t gone = std::min(sent, pieces[i].iov_len);
        unsent_.insert(unsent_.end(), bytes + gone, bytes + pieces[i].iov_len); // within what was reserved
        sent -= gone;
    }
}

int Link::flush() noexcept {
    while (has_unsent()) {
        const iovec piece{unsent_.data() + sent_, unsent_.size() - sent_};
        const os::Sent sent = os::send_many(socket(), nullptr, 0, &piece, 1);
        if (sent.os_error != 0) {
            return sent.os_error;
        }
        ++messages_sent_;
        sent_ += sent.bytes;
    }
    drop_unsent();
    return 0;
}

void Link::drop_unsent() noexcept {
    if (!unsent_.empty()) {
        explicit_bzero(unsent_.data(), unsent_.size());
        unsent_.clear();
        sent_ = 0;
    }
}

} // namespace rp::handoff::session
