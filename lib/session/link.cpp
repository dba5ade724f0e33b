#include "session/link.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/time.h>

namespace rp::handoff::session {

Link::Link(std::size_t receive_capacity, std::size_t send_capacity, Discards &strays)
    : strays_(strays), capacity_(receive_capacity), received_(new std::uint8_t[receive_capacity]) {
    unsent_.reserve(send_capacity);
}

// Tokens may be among what was left in the middle.
Link::~Link() {
    explicit_bzero(received_.get(), end_);
    drop_unsent();
    drop_beside(Discards::Kind::stray);
}

// ---- receiving ------------------------------------------------------------------------------------------------------

void Link::set_patience(Duration patience) noexcept {
    const std::uint64_t us = patience.count() / 1000;
    const timeval tv{static_cast<time_t>(us / 1'000'000), static_cast<suseconds_t>(us % 1'000'000)};
    setsockopt(socket(), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
}

void Link::drop_beside(Discards::Kind kind) noexcept {
    while (!beside_.descriptors.empty()) {
        strays_.add(beside_.descriptors.take(), kind);
    }
    beside_.clear();
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
            explicit_bzero(received_.get() + have, end_ - have); // tokens may be in what moved
            begin_ = 0;
            end_ = have;
        }
    }
    from = end_;
    return whole - have;
}

// Descriptors come with the first read of a frame, or not at all.
os::Moved Link::receive(std::uint8_t *to, std::size_t length, bool wait, bool at_frame, bool &unasked) noexcept {
    if (plain_) {
        return os::receive_bytes(socket(), to, length, wait);
    }
    if (at_frame) {
        unasked = !beside_.descriptors.empty(); // of the frame before, which had no use for them
        drop_beside(Discards::Kind::stray);
        return os::receive_message(socket(), to, length, wait, beside_);
    }
    os::Ancillary late;
    const os::Moved moved = os::receive_message(socket(), to, length, wait, late);
    unasked = !late.descriptors.empty() || late.truncation != os::Truncation::none;
    while (!late.descriptors.empty()) {
        strays_.add(late.descriptors.take(), Discards::Kind::stray);
    }
    return moved;
}

Link::Read Link::read(bool wait) noexcept {
    std::size_t from = 0;
    const std::size_t length = wanted(from);
    const bool at_frame = from == begin_;
    if (length == 0) {
        return {Got::failed, Status::protocol, 0};
    }
    bool unasked = false;
    const os::Moved moved = receive(received_.get() + from, length, wait, at_frame, unasked);
    if (unasked) {
        return {Got::failed, Status::protocol, 0};
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
    read_began_ = from;
    began_frame_ = at_frame;
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
    return Frame{*header, have.substr(header_size, header->length), began_frame_ && begin_ >= read_began_};
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
