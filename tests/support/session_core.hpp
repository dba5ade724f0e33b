// Sessions without the C API: a broker's and a backend's over a pair of sockets, and each alone before a hand.
#pragma once

#include <memory>
#include <optional>
#include <sys/mman.h>

#include "os/message_memory.hpp"
#include "os/random.hpp"
#include "session/backend_session.hpp"
#include "session/broker_session.hpp"
#include "support/session_parts.hpp"

namespace rp::test {

using handoff::session::BackendSession;
using handoff::session::BrokerSession;
using handoff::session::Config;
using handoff::session::Event;
using handoff::session::Submission;
using Kind = Event::Kind;

inline Config over(UniqueFd fd, Config config = {}) {
    config.connection_fd = fd.release();
    return config;
}

struct BrokerCore {
    BrokerCore() = default;
    handoff::SystemTime time;
    handoff::os::SystemRandom random;
    handoff::Broker broker{handoff::Broker::Config{}, time, random, handoff::os::unread_memory,
                           handoff::os::measure_message_memory()};
};

inline std::shared_ptr<BrokerSession> open_broker(BrokerCore &core, Config config) {
    handoff::Explanation why;
    auto session = BrokerSession::open(std::move(config), core.broker, why);
    REQUIRE(session);
    return *session;
}
inline std::shared_ptr<BackendSession>
open_backend(Config config, std::unique_ptr<handoff::TimeSource> time = std::make_unique<handoff::SystemTime>()) {
    handoff::Explanation why;
    auto session = BackendSession::open(std::move(config), std::move(time), why);
    REQUIRE(session);
    return *session;
}

// The next event without waiting; nothing: there is none.
template <class Session>
std::optional<Event> take(Session &session) {
    Event event;
    return session.next_event(event) ? std::optional<Event>(std::move(event)) : std::nullopt;
}

// Two sessions that are open. What they have is shut down with this.
class Sessions {
  public:
    explicit Sessions(const Config &of_broker = {}, const Config &of_backend = {})
        : Sessions(SocketPair(), of_broker, of_backend) {
        backend->process();
        broker->process();
        backend->process();
        REQUIRE(take(*broker)->kind == Kind::opened);
        REQUIRE(take(*backend)->kind == Kind::opened);
    }
    Sessions(const Sessions &) = delete;
    Sessions &operator=(const Sessions &) = delete;
    ~Sessions() {
        backend->shutdown();
        broker->shutdown();
    }

    // A handoff of a connection that nobody is at the other end of.
    std::uint64_t submit(handoff::Duration timeout = {}, std::size_t early = 0) {
        SocketPair client;
        const std::vector<std::uint8_t> bytes(early, 'e');
        Submission submission;
        submission.fd = client.a.release();
        submission.timeout = timeout;
        submission.early = {bytes.data(), bytes.size()};
        handoff::Explanation why;
        const auto id = broker->submit(submission, core.time.now(), why);
        REQUIRE(id);
        broker->flush();
        return *id;
    }
    // The number of the next offer, which has come, if in pieces.
    handoff::Index offer() {
        Event event;
        while (!backend->next_event(event)) {
            backend->process();
        }
        REQUIRE(event.kind == Kind::offer);
        return event.offer;
    }

    BrokerCore core;
    std::shared_ptr<BrokerSession> broker;
    std::shared_ptr<BackendSession> backend;

  private:
    Sessions(SocketPair pair, const Config &of_broker, const Config &of_backend)
        : broker(open_broker(core, over(std::move(pair.a), of_broker))),
          backend(open_backend(over(std::move(pair.b), of_backend))) {}
};

// A backend's session before a broker that does nothing by itself, whose ledger can be looked into.
class BeforeHand {
  public:
    static constexpr std::uint32_t slots = 64;
    static constexpr std::uint64_t pending = 1;
    static constexpr std::uint64_t refused = 3;

    explicit BeforeHand(const Config &config = {},
                        std::unique_ptr<handoff::TimeSource> time = std::make_unique<handoff::SystemTime>())
        : BeforeHand(SocketPair(), config, std::move(time)) {
        hand.say(parts::framed(parts::hello_of(handoff::session::Hello::Role::broker, slots)));
        session->process();
        REQUIRE(hand.hear().is(handoff::session::FrameKind::hello));
        SocketPair pair;
        hand.say(parts::ledger_of(slots), {ledger.file(), pair.b.get()});
        answers.socket = std::move(pair.a);
        session->process();
        REQUIRE(take(*session)->kind == Kind::opened);
    }
    BeforeHand(const BeforeHand &) = delete;
    BeforeHand &operator=(const BeforeHand &) = delete;
    ~BeforeHand() {
        session->shutdown();
        munmap(const_cast<std::uint64_t *>(words_), slots * slot_size);
    }

    // One that is in the ledger, in a slot and with a ticket of its own.
    std::uint32_t send_offer(int fd) {
        handoff::session::Offer offer{};
        offer.slot = next_++;
        offer.ticket = ticket_of(offer.slot);
        offer.token = handoff::Token();
        ledger.offer(offer.slot, offer.ticket, offer.token);
        parts::Message item(handoff::session::Offer::fixed_size);
        handoff::session::encode_offer(item.data(), offer);
        hand.say(parts::framed(handoff::session::FrameKind::offers, 1, item), {fd});
        return offer.slot;
    }
    static std::uint64_t ticket_of(std::uint32_t slot) { return slot + 1000; }
    bool is(std::uint32_t slot, std::uint64_t state) const {
        return words_[slot * slot_size / sizeof(std::uint64_t)] == (ticket_of(slot) << 3U | state);
    }

    handoff::Ledger ledger{std::move(*handoff::Ledger::create(slots))};
    std::shared_ptr<BackendSession> session;
    parts::Hand hand;
    parts::Hand answers{UniqueFd()};

  private:
    static constexpr std::size_t slot_size = 64;

    BeforeHand(SocketPair pair, const Config &config, std::unique_ptr<handoff::TimeSource> time)
        : session(open_backend(over(std::move(pair.a), config), std::move(time))), hand(std::move(pair.b)) {
        void *const address = mmap(nullptr, slots * slot_size, PROT_READ, MAP_SHARED, ledger.file(), 0);
        REQUIRE(address != MAP_FAILED);
        words_ = static_cast<const volatile std::uint64_t *>(address);
    }

    const volatile std::uint64_t *words_ = nullptr;
    std::uint32_t next_ = 0;
};

} // namespace rp::test
