// The wire of a session spoken by hand, from either end, so that it can also be spoken wrongly. What it looks like is
// written down here a second time.
#pragma once

#include <atomic>
#include <optional>
#include <sys/mman.h>

#include "../e2e/process.hpp"
#include "session.hpp"

namespace rp::test::hand {

enum Kind : std::uint8_t { hello = 1, ledger = 2, offers = 3, answers = 4, goodbye = 5 };
enum Verdict : std::uint16_t { adopted = 1, refused = 2, lost = 3, no_descriptor = 4 };
constexpr std::uint16_t as_broker = 1;
constexpr std::uint16_t as_backend = 2;
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
    std::uint16_t min_version = 1;
    std::uint16_t max_version = 1;
    std::uint32_t max_in_flight = 256;
    std::string service;
    Bytes more; // what a later version may append

    Bytes body() const {
        return Writer()
            .number(role)
            .number(min_version)
            .number(max_version)
            .number(static_cast<std::uint16_t>(service.size()))
            .number(max_in_flight)
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

// One message with these descriptors on its first byte.
inline void send_with(int connection, const Bytes &bytes, const std::vector<int> &fds) {
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
    REQUIRE(sendmsg(connection, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
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

// The ledger as whoever has its descriptor sees it.
class Page {
  public:
    using Word = std::atomic<std::uint64_t>;
    static constexpr std::uint64_t pending = 1;
    static constexpr std::uint64_t adopted = 2;
    static constexpr std::uint64_t refused = 3;
    static constexpr std::uint64_t revoked = 4;
    static constexpr std::size_t words_per_slot = 8;

    Page() = default;
    Page(int fd, std::uint32_t slots) : size_(slots * words_per_slot * sizeof(Word)) {
        void *const address = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        REQUIRE(address != MAP_FAILED);
        words_ = static_cast<Word *>(address);
    }
    Page(Page &&other) noexcept : size_(std::exchange(other.size_, 0)), words_(std::exchange(other.words_, nullptr)) {}
    Page &operator=(Page &&other) noexcept {
        std::swap(size_, other.size_);
        std::swap(words_, other.words_);
        return *this;
    }
    ~Page() {
        if (words_ != nullptr) {
            munmap(words_, size_);
        }
    }

    std::size_t words() const { return size_ / sizeof(Word); }
    Word &word(std::size_t i) const { return words_[i]; }
    Word &of_slot(std::uint32_t slot) const { return words_[slot * words_per_slot]; }
    static std::uint64_t word_of(std::uint64_t ticket, std::uint64_t state) { return ticket << 3U | state; }
    void put(const Offer &offer, std::uint64_t state) const { of_slot(offer.slot) = word_of(offer.ticket, state); }
    void put_token(const Offer &offer) const {
        std::memcpy(static_cast<void *>(words_ + offer.slot * words_per_slot + 1), offer.token.bytes, 16);
    }
    // As an honest backend does it.
    bool adopt(const Offer &offer) const {
        std::uint64_t expected = word_of(offer.ticket, pending);
        return of_slot(offer.slot).compare_exchange_strong(expected, word_of(offer.ticket, adopted));
    }

  private:
    std::size_t size_ = 0;
    Word *words_ = nullptr;
};

// A backend that does nothing by itself. From the ledger on it hears on the connection and speaks on another socket.
class Backend {
  public:
    explicit Backend(UniqueFd fd) noexcept : connection(std::move(fd)) {}

    int output() const { return answers ? answers.get() : connection.get(); }
    void say(const Bytes &bytes) const { write_all(output(), bytes); }
    Received hear() const { return receive_frame(connection.get()); }
    void close() {
        connection.reset();
        answers.reset();
    }

    void hear_hello() const { REQUIRE(hear().kind == hello); }
    void hear_ledger() {
        Received received = hear();
        REQUIRE(received.kind == ledger);
        REQUIRE(received.fds.size() == 2);
        slots = Reader(received.body).number<std::uint32_t>();
        file = std::move(received.fds[0]);
        answers = std::move(received.fds[1]);
        page = Page(file.get(), slots);
    }
    std::vector<Offer> hear_offers() const { return offers_of(hear()); }
    Offer hear_offer() const {
        std::vector<Offer> all = hear_offers();
        REQUIRE(all.size() == 1);
        return std::move(all[0]);
    }
    static std::vector<Offer> offers_of(Received received) {
        REQUIRE(received.kind == offers);
        REQUIRE(received.fds.size() == received.count);
        Reader reader(received.body);
        std::vector<Offer> all(received.count);
        for (std::size_t i = 0; i < all.size(); ++i) {
            read_offer(reader, all[i]);
            all[i].fd = std::move(received.fds[i]);
        }
        REQUIRE(reader.left() == 0);
        return all;
    }
    void answer(const Offer &offer, std::uint16_t verdict, const std::string &text = "") const {
        say(Answer{offer.slot, offer.ticket, verdict, text}.framed());
    }

    UniqueFd connection;
    UniqueFd file;
    UniqueFd answers;
    std::uint32_t slots = 0;
    Page page;

  private:
    static void read_offer(Reader &reader, Offer &offer) {
        offer.slot = reader.number<std::uint32_t>();
        offer.flags = reader.number<std::uint32_t>();
        offer.ticket = reader.number<std::uint64_t>();
        offer.correlation_id = reader.number<std::uint64_t>();
        const Bytes token = reader.take(sizeof offer.token.bytes);
        std::memcpy(offer.token.bytes, token.data(), token.size());
        const auto metadata = reader.number<std::uint32_t>();
        const auto early = reader.number<std::uint32_t>();
        const auto prologue = reader.number<std::uint32_t>();
        CHECK(reader.number<std::uint32_t>() == 0);
        offer.metadata = reader.take(metadata);
        offer.early = reader.take(early);
        offer.prologue = reader.take(prologue);
    }
};

// A broker's session of the library's before a backend that does nothing by itself.
class Scene {
  public:
    explicit Scene(const Setup &setup = {}, const Hello &hello = {}) : Scene(setup, SocketPair(), hello) {}

    // Lets the broker's side read what is there.
    void turn() const { test::turn({&offering}); }
    Event next_event() const {
        turn();
        return take_event(offering);
    }

    Broker broker;
    Session offering;
    Backend backend;

  private:
    Scene(const Setup &setup, SocketPair pair, const Hello &hello)
        : broker(make_broker(setup.broker)), offering(open_over(broker, std::move(pair.a), setup.offering)),
          backend(std::move(pair.b)) {
        backend.hear_hello();
        backend.say(hello.framed());
        REQUIRE(next_event().kind == RP_HANDOFF_EVENT_OPENED);
        backend.hear_ledger();
    }
};

// Shared memory as a broker makes it, or not quite so.
inline UniqueFd memory(std::size_t size, int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) {
    UniqueFd fd(memfd_create("by hand", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(fd);
    REQUIRE(ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
    REQUIRE((seals == 0 || fcntl(fd.get(), F_ADD_SEALS, seals) == 0));
    return fd;
}

// A backend's session of the library's before a broker that does nothing by itself.
class BackendScene {
  public:
    static constexpr std::uint32_t slots = 64;

    explicit BackendScene(const rp_handoff_session_options &options = sized<rp_handoff_session_options>())
        : BackendScene(options, SocketPair()) {
        open();
    }

    void turn() const { test::turn({&receiving}); }
    Event next_event() const {
        turn();
        return take_event(receiving);
    }
    void say(const Bytes &bytes, const std::vector<int> &fds = {}) const { send_with(connection.get(), bytes, fds); }
    Received hear() const { return receive_frame(replies ? replies.get() : connection.get()); }
    void close() {
        connection.reset();
        replies.reset();
    }

    // Its word in the ledger, and it.
    void put(const Offer &offer) const {
        page.put_token(offer);
        page.put(offer, Page::pending);
    }
    // A new one with another ticket, in the ledger already.
    Offer make_offer(std::uint32_t slot = 0) {
        Offer offer;
        offer.slot = slot;
        offer.ticket = ++tickets_;
        offer.correlation_id = offer.ticket;
        offer.token = token_of(static_cast<std::uint8_t>(offer.ticket));
        put(offer);
        return offer;
    }
    void send_offer(const Offer &offer, int fd) const { say(frame(offers, 1, offer.item()), {fd}); }

    std::vector<Answer> hear_answers() const {
        const Received received = hear();
        REQUIRE(received.kind == answers);
        Reader reader(received.body);
        std::vector<Answer> all(received.count);
        for (Answer &answer : all) {
            answer.slot = reader.number<std::uint32_t>();
            answer.verdict = reader.number<std::uint16_t>();
            const auto length = reader.number<std::uint16_t>();
            answer.ticket = reader.number<std::uint64_t>();
            const Bytes text = reader.take(length);
            answer.text.assign(text.begin(), text.end());
        }
        REQUIRE(reader.left() == 0);
        return all;
    }
    bool has_answers() const { return is_readable(replies.get()); }

    UniqueFd connection; // the broker's end
    UniqueFd replies;    // its end of what the backend speaks on
    Session receiving;
    UniqueFd file = memory(slots * Page::words_per_slot * sizeof(Page::Word));
    Page page{file.get(), slots};

  private:
    BackendScene(const rp_handoff_session_options &options, SocketPair pair)
        : connection(std::move(pair.a)), receiving(receive_over(std::move(pair.b), options)) {}

    void open() {
        Hello own;
        own.role = as_broker;
        say(own.framed());
        turn();
        REQUIRE(hear().kind == hello);
        SocketPair pair;
        say(frame(ledger, 0, Writer().number(slots).done()), {file.get(), pair.b.get()});
        replies = std::move(pair.a);
        REQUIRE(next_event().kind == RP_HANDOFF_EVENT_OPENED);
    }

    std::uint64_t tickets_ = 0;
};

} // namespace rp::test::hand
