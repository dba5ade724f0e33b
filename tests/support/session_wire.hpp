// The wire of a session spoken by hand, from either end, so that it can also be spoken wrongly. What it looks like is
// written down here a second time.
#pragma once

#include "support/process.hpp"
#include "support/session.hpp"

namespace rp::test::hand {

enum Kind : std::uint8_t { hello = 1, ledger = 2, offers = 3, answers = 4, goodbye = 5, reject = 6 };
enum Verdict : std::uint16_t { adopted = 1, refused = 2, lost = 3, no_descriptor = 4 };
constexpr std::uint16_t as_broker = 1;
constexpr std::uint16_t as_backend = 2;
constexpr std::uint32_t answer_here = 4;
constexpr std::size_t header_size = 8;

class Writer {
  public:
    template <class Integer>
    Writer &number(Integer value) {
        for (std::size_t i = 0; i < sizeof value; ++i) {
            bytes_.push_back(static_cast<std::uint8_t>(static_cast<std::uint64_t>(value) >> (8 * i)));
        }
        return *this;
    }
    Writer &bytes(const Bytes &more) {
        bytes_.insert(bytes_.end(), more.begin(), more.end());
        return *this;
    }
    Writer &text(std::string_view more) {
        bytes_.insert(bytes_.end(), more.begin(), more.end());
        return *this;
    }
    Bytes done() const { return bytes_; }

  private:
    Bytes bytes_;
};

class Reader {
  public:
    explicit Reader(Bytes bytes) : bytes_(std::move(bytes)) {}

    template <class Integer>
    Integer number() {
        std::uint64_t value = 0;
        const Bytes taken = take(sizeof(Integer));
        for (std::size_t i = 0; i < sizeof(Integer); ++i) {
            value |= std::uint64_t{taken[i]} << (8 * i);
        }
        return static_cast<Integer>(value);
    }
    Bytes take(std::size_t length) {
        REQUIRE(length <= bytes_.size() - at_);
        const auto from = bytes_.begin() + static_cast<std::ptrdiff_t>(at_);
        at_ += length;
        return Bytes(from, from + static_cast<std::ptrdiff_t>(length));
    }
    std::size_t left() const { return bytes_.size() - at_; }

  private:
    Bytes bytes_;
    std::size_t at_ = 0;
};

inline Bytes frame(std::uint8_t kind, std::uint16_t count, const Bytes &body) {
    return Writer()
        .number(std::uint8_t{'r'})
        .number(kind)
        .number(count)
        .number(static_cast<std::uint32_t>(body.size()))
        .bytes(body)
        .done();
}

struct Hello {
    std::uint16_t role = as_backend;
    std::uint16_t min_version = 2;
    std::uint16_t max_version = 2;
    std::uint32_t max_in_flight = 256;
    std::uint64_t capabilities = 0;
    std::string service;
    Bytes more; // what a later version may append

    Bytes body() const {
        return Writer()
            .number(role)
            .number(min_version)
            .number(max_version)
            .number(static_cast<std::uint16_t>(service.size()))
            .number(max_in_flight)
            .number(capabilities)
            .text(service)
            .bytes(more)
            .done();
    }
    Bytes framed() const { return frame(hello, 0, body()); }
};

struct Offer {
    std::uint32_t slot = 0;
    std::uint32_t flags = 0;
    std::uint64_t ticket = 0;
    std::uint64_t correlation_id = 0;
    rp_handoff_token token{};
    Bytes metadata;
    Bytes early;
    Bytes prologue;
    UniqueFd fd; // as received

    Bytes item() const {
        return Writer()
            .number(slot)
            .number(flags)
            .number(ticket)
            .number(correlation_id)
            .bytes(Bytes(token.bytes, token.bytes + sizeof token.bytes))
            .number(static_cast<std::uint32_t>(metadata.size()))
            .number(static_cast<std::uint32_t>(early.size()))
            .number(static_cast<std::uint32_t>(prologue.size()))
            .number(std::uint32_t{0})
            .bytes(metadata)
            .bytes(early)
            .bytes(prologue)
            .done();
    }
};

struct Answer {
    std::uint32_t slot = 0;
    std::uint64_t ticket = 0;
    std::uint16_t verdict = adopted;
    std::string text;

    Bytes item() const {
        return Writer()
            .number(slot)
            .number(verdict)
            .number(static_cast<std::uint16_t>(text.size()))
            .number(ticket)
            .text(text)
            .done();
    }
    Bytes framed() const { return frame(answers, 1, item()); }
    bool operator==(const Answer &other) const {
        return slot == other.slot && ticket == other.ticket && verdict == other.verdict && text == other.text;
    }
};

inline Bytes framed(const std::vector<Answer> &items) {
    Writer body;
    for (const Answer &item : items) {
        body.bytes(item.item());
    }
    return frame(answers, static_cast<std::uint16_t>(items.size()), body.done());
}

// One message with these descriptors on its first byte. False: the kernel refuses them (SO_PASSRIGHTS of the receiver).
inline bool try_send_with(int connection, const Bytes &bytes, const std::vector<int> &fds) {
    std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
    iovec part{const_cast<std::uint8_t *>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
        std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
    }
    const ssize_t sent = sendmsg(connection, &message, MSG_NOSIGNAL);
    REQUIRE((sent == static_cast<ssize_t>(bytes.size()) || (sent < 0 && errno == EPERM)));
    return sent > 0;
}
inline void send_with(int connection, const Bytes &bytes, const std::vector<int> &fds) {
    REQUIRE(try_send_with(connection, bytes, fds));
}

struct Received {
    std::uint8_t kind = 0;
    std::uint16_t count = 0;
    Bytes body;
    std::vector<UniqueFd> fds;
};

inline void take_descriptors(msghdr &message, std::vector<UniqueFd> &fds) {
    for (cmsghdr *header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
        const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; header->cmsg_type == SCM_RIGHTS && i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            fds.emplace_back(fd);
        }
    }
}

// So many bytes, with the descriptors that came on the way. Waits; fewer only at the end of file.
inline Bytes receive(int connection, std::size_t length, std::vector<UniqueFd> &fds) {
    Bytes bytes(length);
    std::size_t have = 0;
    while (have < length) {
        iovec part{bytes.data() + have, length - have};
        alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int)) + 64];
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        const ssize_t n = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
        if (n <= 0) {
            break;
        }
        take_descriptors(message, fds);
        have += static_cast<std::size_t>(n);
    }
    bytes.resize(have);
    return bytes;
}

// The next whole frame; kind 0 at the end of file. Waits.
inline Received receive_frame(int connection) {
    Received received;
    const Bytes header = receive(connection, header_size, received.fds);
    if (header.size() < header_size) {
        return received;
    }
    Reader reader(header);
    REQUIRE(reader.number<std::uint8_t>() == 'r');
    received.kind = reader.number<std::uint8_t>();
    received.count = reader.number<std::uint16_t>();
    const auto length = reader.number<std::uint32_t>();
    received.body = receive(connection, length, received.fds);
    REQUIRE(received.body.size() == length);
    return received;
}

} // namespace rp::test::hand
