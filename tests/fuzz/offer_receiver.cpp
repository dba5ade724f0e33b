// An offer receiver at one end of a socket pair; at the other a broker that cuts its bytes anywhere and attaches any
// number of descriptors to any piece. The input is its script: a byte whose bit 0 chooses the cap, then pieces of
//
//   one byte: bits 0-1 choose 0, 1, 2 or 40 descriptors; bit 2: the receiver looks after this piece
//   one byte: how many bytes follow; the bytes
//
// What the receiver has to answer is told from the bytes sent so far. No descriptor may stay open.
#include "v1/offer_receiver.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/socket.h>
#include <sys/stat.h>
#include <vector>

#include "check.hpp"
#include "support/descriptors.hpp"
#include "wire/recognise.hpp"

using namespace rp::handoff;

namespace {

constexpr std::size_t most_descriptors = 40;

struct Piece {
    std::size_t start; // of its bytes in the stream
    std::size_t descriptors;
};

class Broker {
  public:
    explicit Broker(UniqueFd socket) : socket_(std::move(socket)), passed_(open("/dev/null", O_RDONLY | O_CLOEXEC)) {
        CHECK(passed_);
    }

    const std::vector<std::uint8_t> &stream() const { return stream_; }

    bool send(ByteView bytes, std::size_t descriptors) {
        alignas(cmsghdr) std::uint8_t control[CMSG_SPACE(sizeof(int) * most_descriptors)] = {};
        iovec part{const_cast<std::uint8_t *>(bytes.data()), bytes.size()};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        if (descriptors > 0) {
            attach(message, control, descriptors);
        }
        if (sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) {
            return false; // full
        }
        pieces_.push_back({stream_.size(), descriptors});
        stream_.insert(stream_.end(), bytes.begin(), bytes.end());
        return true;
    }

    void close() { socket_.reset(); }

    // How many descriptors ride on the bytes from start to end.
    std::size_t descriptors(std::size_t start, std::size_t end) const {
        std::size_t count = 0;
        for (const Piece &piece : pieces_) {
            count += piece.start >= start && piece.start < end ? piece.descriptors : 0;
        }
        return count;
    }

    bool has_one_at(std::size_t start) const {
        return std::any_of(pieces_.begin(), pieces_.end(),
                           [start](const Piece &piece) { return piece.start == start && piece.descriptors == 1; });
    }

    bool is_passed(int fd) const {
        struct stat a {};
        struct stat b {};
        return fstat(fd, &a) == 0 && fstat(passed_.get(), &b) == 0 && a.st_rdev == b.st_rdev && a.st_ino == b.st_ino;
    }

  private:
    void attach(msghdr &message, std::uint8_t *control, std::size_t descriptors) const {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors);
        cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * descriptors);
        const std::vector<int> fds(descriptors, passed_.get());
        std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * descriptors);
    }

    UniqueFd socket_;
    UniqueFd passed_;
    std::vector<std::uint8_t> stream_;
    std::vector<Piece> pieces_;
};

// What the bytes alone say of the offer that begins at `offer`.
Status expected_of(ByteView offer, std::uint32_t cap, std::size_t &length) {
    constexpr std::size_t prefix = Token::size + wire::header_size;
    if (offer.size() > Token::size && offer[Token::size] != 1) {
        return Status::frame_version;
    }
    if (offer.size() < prefix) {
        return Status::frame_incomplete;
    }
    std::uint32_t body = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        body |= std::uint32_t{offer[Token::size + 1 + i]} << (8 * i);
    }
    if (body > cap) {
        return Status::frame_too_large;
    }
    length = prefix + body;
    return offer.size() < length ? Status::frame_incomplete : Status::ok;
}

class Session {
  public:
    Session(Broker &broker, UniqueFd socket, std::uint32_t cap)
        : broker_(broker), socket_(std::move(socket)), cap_(cap), receiver_(cap) {}

    // Takes all offers that are there. False once the connection is of no further use.
    bool look() {
        for (;;) {
            os::Ancillary unasked;
            const Status status = receiver_.step(socket_.get(), unasked);
            if (status == Status::ok) {
                check_offer();
                continue;
            }
            check_failure(status);
            return status == Status::frame_incomplete;
        }
    }

    void look_at_end() {
        const bool complete = start_ == broker_.stream().size();
        os::Ancillary unasked;
        const Status status = receiver_.step(socket_.get(), unasked);
        CHECK(status == (complete ? Status::closed : Status::unexpected_eof));
    }

  private:
    ByteView rest() const { return ByteView(broker_.stream().data(), broker_.stream().size()).substr(start_); }

    void check_offer() {
        std::size_t length = 0;
        const ByteView offer = rest();
        CHECK(expected_of(offer, cap_, length) == Status::ok);
        CHECK(broker_.descriptors(start_, start_ + length) == 1);
        CHECK(receiver_.sideband().view() == offer.substr(0, Token::size));
        CHECK(receiver_.body() ==
              offer.substr(Token::size + wire::header_size, length - Token::size - wire::header_size));
        {
            const UniqueFd fd = receiver_.take_fd();
            CHECK(fd);
            CHECK(fcntl(fd.get(), F_GETFD) == FD_CLOEXEC);
            CHECK(broker_.is_passed(fd.get()));
        }
        receiver_.reset();
        CHECK(!receiver_.started());
        start_ += length;
    }

    void check_failure(Status status) {
        std::size_t length = SIZE_MAX - start_;
        const Status expected = expected_of(rest(), cap_, length);
        const std::size_t end = start_ + std::min(length, rest().size());
        const bool one_at_start = broker_.has_one_at(start_) && broker_.descriptors(start_, end) == 1;
        // A cut header is found before what may come behind it.
        if (one_at_start || rest().empty()) {
            CHECK(status == expected);
        } else {
            CHECK(status == Status::descriptors || status == expected ||
                  (status == Status::protocol && wire::is_session_hello(rest())));
        }
    }

    Broker &broker_;
    UniqueFd socket_;
    std::uint32_t cap_;
    OfferReceiver receiver_;
    std::size_t start_ = 0; // of the offer that is being received, in the broker's stream
};

void run(ByteView script) {
    int ends[2] = {-1, -1};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    Broker broker{UniqueFd(ends[0])};
    Session session(broker, UniqueFd(ends[1]), (script[0] & 1U) != 0 ? 32 : 65536);
    script.remove_prefix(1);
    while (script.size() > 2) {
        const std::uint8_t control = script[0];
        const ByteView bytes = script.substr(2, script[1]);
        script.remove_prefix(2 + bytes.size());
        const std::size_t counts[] = {0, 1, 2, most_descriptors};
        if (!bytes.empty() && !broker.send(bytes, counts[control & 3U])) {
            break;
        }
        if ((control & 4U) != 0 && !session.look()) {
            return;
        }
    }
    if (session.look()) {
        broker.close();
        session.look_at_end();
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    const auto before = rp::test::open_descriptors();
    run({data, size});
    CHECK(rp::test::open_descriptors() == before);
    return 0;
}
