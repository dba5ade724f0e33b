// Peers of a session that do nothing by themselves: a backend, or a broker, before a session of the library's.
#pragma once

#include <atomic>
#include <sys/mman.h>

#include "support/session_wire.hpp"

namespace rp::test::hand {

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

// A backend that does nothing by itself. From the ledger on it hears on the connection and speaks aside, but answers where
// the broker wanted the answers to its last offers.
class Backend {
  public:
    explicit Backend(UniqueFd fd) noexcept : connection(std::move(fd)) {}

    int output() const { return aside ? aside.get() : connection.get(); }
    void say(const Bytes &bytes) const { write_all(output(), bytes); }
    Received hear() const { return receive_frame(connection.get()); }
    void close() {
        connection.reset();
        aside.reset();
    }

    void hear_hello() const { REQUIRE(hear().kind == hello); }
    void hear_ledger() {
        Received received = hear();
        REQUIRE(received.kind == ledger);
        REQUIRE(received.fds.size() == 2);
        slots = Reader(received.body).number<std::uint32_t>();
        file = std::move(received.fds[0]);
        aside = std::move(received.fds[1]);
        page = Page(file.get(), slots);
    }
    std::vector<Offer> hear_offers() {
        std::vector<Offer> all = offers_of(hear());
        answers_here = (all.at(0).flags & answer_here) != 0;
        return all;
    }
    Offer hear_offer() {
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
        write_all(answers_here ? connection.get() : aside.get(),
                  Answer{offer.slot, offer.ticket, verdict, text}.framed());
    }

    UniqueFd connection;
    UniqueFd file;
    UniqueFd aside;
    bool answers_here = false;
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

    // send_buffer: of the socket aside, on which the backend speaks, if not 0.
    explicit BackendScene(const rp_handoff_session_options &options = sized<rp_handoff_session_options>(),
                          int send_buffer = 0)
        : BackendScene(options, SocketPair()) {
        open(send_buffer);
    }

    void turn() const { test::turn({&receiving}); }
    Event next_event() const {
        turn();
        return take_event(receiving);
    }
    void say(const Bytes &bytes, const std::vector<int> &fds = {}) const { send_with(connection.get(), bytes, fds); }
    Received hear() const { return receive_frame(aside ? aside.get() : connection.get()); }
    void close() {
        connection.reset();
        aside.reset();
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

    std::vector<Answer> hear_answers(bool here = false) const {
        const Received received = receive_frame(here ? connection.get() : aside.get());
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
    bool has_answers() const { return is_readable(aside.get()); }

    UniqueFd connection; // the broker's end
    UniqueFd aside;
    Session receiving;
    UniqueFd file = memory(slots * Page::words_per_slot * sizeof(Page::Word));
    Page page{file.get(), slots};

  private:
    BackendScene(const rp_handoff_session_options &options, SocketPair pair)
        : connection(std::move(pair.a)), receiving(receive_over(std::move(pair.b), options)) {}

    void open(int send_buffer) {
        Hello own;
        own.role = as_broker;
        say(own.framed());
        turn();
        REQUIRE(hear().kind == hello);
        SocketPair pair;
        REQUIRE((send_buffer == 0 ||
                 setsockopt(pair.b.get(), SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer) == 0));
        say(frame(ledger, 0, Writer().number(slots).done()), {file.get(), pair.b.get()});
        aside = std::move(pair.a);
        REQUIRE(next_event().kind == RP_HANDOFF_EVENT_OPENED);
    }

    std::uint64_t tickets_ = 0;
};

} // namespace rp::test::hand
