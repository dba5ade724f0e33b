// Everything that can happen to a session, in random order, over sockets that take and give random parts: each handoff
// has one outcome, it is what the backend's call said, no connection has two owners or none, and nothing is left.
#include <map>
#include <random>

#include "support/interpose.hpp"
#include "support/session_hand.hpp"

using namespace rp::test;

namespace {

enum class Fate { unknown, accepted, refused, lost };

// One handoff, as both sides saw it.
struct Handoff {
    ClientConnection client; // the broker's end is in the session's hands
    Fate fate = Fate::unknown;
    int outcomes = 0;
    std::int32_t owner = 0;
    UniqueFd brokers;  // as given back
    UniqueFd backends; // as accepted
};

// Makes sends and receives take a part, or nothing for now.
class Caprice {
  public:
    explicit Caprice(std::mt19937 &random)
        : random_(random), sends_(calls::sendmsg(), [this](int fd, const msghdr *message,
                                                           int flags) { return send(fd, message, flags); }),
          bytes_(calls::recv(), [this](int fd, void *data, std::size_t length, int flags) -> ssize_t {
              return is_off()  ? calls::recv().real(fd, data, length, flags)
                     : luck(5) ? fails_with(luck(2) ? EAGAIN : EINTR)
                               : calls::recv().real(fd, data, std::min<std::size_t>(length, part()), flags);
          }) {}

    bool off = false; // so that what is left gets through

  private:
    bool is_off() const { return off; }
    bool luck(unsigned one_in) { return random_() % one_in == 0; }
    std::size_t part() { return luck(3) ? 1 + random_() % 8 : 1 + random_() % 4096; }

    ssize_t send(int fd, const msghdr *message, int flags) {
        if (is_off() || luck(3)) {
            return calls::sendmsg().real(fd, message, flags);
        }
        if (luck(4)) {
            return fails_with(luck(3) ? EINTR : luck(2) ? ENOBUFS : EAGAIN);
        }
        std::vector<iovec> pieces(message->msg_iov, message->msg_iov + message->msg_iovlen);
        std::size_t left = part();
        for (iovec &piece : pieces) {
            piece.iov_len = std::min(piece.iov_len, left);
            left -= piece.iov_len;
        }
        msghdr some = *message;
        some.msg_iov = pieces.data();
        return calls::sendmsg().real(fd, &some, flags);
    }

    std::mt19937 &random_;
    Hooked<ssize_t(int, const msghdr *, int)> sends_;
    Hooked<ssize_t(int, void *, std::size_t, int)> bytes_;
};

Setup small(std::mt19937 &random) {
    Setup setup;
    setup.offering.max_in_flight = 1 + static_cast<std::uint32_t>(random() % 12);
    setup.receiving.max_in_flight = 1 + static_cast<std::uint32_t>(random() % 12);
    setup.offering.max_queued_bytes = 3000;
    setup.offering.open_timeout_ns = setup.receiving.open_timeout_ns = 3600 * second; // nobody is late for the close
    return setup;
}

class Soak {
  public:
    explicit Soak(unsigned seed) : random_(seed), joined_(small(random_)), caprice_(random_) {}

    void run(int steps) {
        for (int i = 0; i < steps; ++i) {
            step();
        }
        if (random_() % 2 == 0) { // and then goes on for a while
            rp_handoff_session_close(random_() % 2 == 0 ? joined_.offering.get() : joined_.receiving.get());
            for (int i = 0; i < steps / 4; ++i) {
                step();
            }
        }
        finish();
    }

  private:
    void step() {
        switch (random_() % 14) {
        case 0:
        case 1:
        case 2:
            submit_some(1 + random_() % 3);
            break;
        case 3:
            cancel_one();
            break;
        case 4:
            joined_.time.now += random_() % (second / 5);
            break;
        case 5:
        case 6:
            process(joined_.offering);
            break;
        case 7:
        case 8:
            process(joined_.receiving);
            break;
        case 9:
        case 10:
            take_offers(1 + random_() % 3);
            break;
        case 11:
        case 12:
            answer_one();
            break;
        default:
            take_outcomes(1 + random_() % 3);
        }
    }

    void submit_some(std::size_t count) {
        std::vector<Handoff> fresh(count);
        std::vector<rp_handoff_submission> items;
        for (Handoff &handoff : fresh) {
            auto submission = submission_of(handoff.client.fd.get());
            submission.early = payload_.data();
            submission.early_length = random_() % 3 == 0 ? 0 : static_cast<std::uint32_t>(random_() % 600);
            submission.timeout_ns = random_() % 2 == 0 ? 0 : random_() % (3 * second);
            items.push_back(submission);
        }
        std::vector<std::uint64_t> ids(count);
        const std::int32_t submitted = rp_handoff_session_submit(
            joined_.offering.get(), items.data(), static_cast<std::uint32_t>(count), ids.data(), nullptr);
        REQUIRE((submitted > 0 || submitted == RP_HANDOFF_ERR_LIMIT_SESSION ||
                 submitted == RP_HANDOFF_ERR_LIMIT_BYTES || submitted == RP_HANDOFF_ERR_CLOSED));
        for (std::int32_t i = 0; i < submitted; ++i) {
            fresh[static_cast<std::size_t>(i)].client.fd.release();
            REQUIRE(handoffs_.emplace(ids[static_cast<std::size_t>(i)], std::move(fresh[static_cast<std::size_t>(i)]))
                        .second); // an id of its own
        }
    }

    void cancel_one() {
        if (!handoffs_.empty()) {
            auto any = handoffs_.begin();
            std::advance(any, random_() % handoffs_.size());
            const std::int32_t cancelled = rp_handoff_session_cancel(joined_.offering.get(), any->first);
            REQUIRE((cancelled == 0 || cancelled == 1));
        }
    }

    void take_offers(std::size_t most) {
        for (std::size_t i = 0; i < most; ++i) {
            Event event = take_event(joined_.receiving);
            if (event.kind == RP_HANDOFF_EVENT_OFFER) {
                offers_.push_back(std::move(event.offer));
            } else if (event.kind != 0) {
                note_end(event);
            }
        }
    }

    // By close, if at all.
    void note_end(const Event &event) {
        REQUIRE((event.kind == RP_HANDOFF_EVENT_CLOSING || event.kind == RP_HANDOFF_EVENT_CLOSED));
        REQUIRE(event.status == RP_HANDOFF_OK);
        ended_ += event.kind == RP_HANDOFF_EVENT_CLOSED ? 1 : 0;
    }

    // The client that hears it says which handoff it is.
    Handoff &handoff_of(int fd) {
        char byte = 0;
        REQUIRE(send(fd, "x", 1, MSG_NOSIGNAL) == 1);
        for (auto &[id, handoff] : handoffs_) {
            if (calls::recv().real(handoff.client.client.get(), &byte, 1, MSG_DONTWAIT) == 1) {
                return handoff;
            }
        }
        FAIL("a connection that nobody handed over");
        throw 0;
    }

    void answer_one() {
        if (offers_.empty()) {
            return;
        }
        const std::size_t i = random_() % offers_.size();
        if (random_() % 3 == 0) {
            offers_[i].reset(); // answered or not
            offers_.erase(offers_.begin() + static_cast<std::ptrdiff_t>(i));
            return;
        }
        std::int32_t fd = -1;
        const std::int32_t status =
            random_() % 3 == 0 ? rp_handoff_offer_refuse(offers_[i].get(), std::string(random_() % 300, 'n').c_str())
                               : rp_handoff_offer_accept(offers_[i].get(), &fd);
        REQUIRE((status >= 0 || status == RP_HANDOFF_ERR_REVOKED || status == RP_HANDOFF_ERR_ANSWERED));
        if (fd >= 0) {
            UniqueFd adopted(fd);
            Handoff &handoff = handoff_of(fd);
            REQUIRE(handoff.fate == Fate::unknown);
            handoff.fate = Fate::accepted;
            handoff.backends = std::move(adopted);
        }
    }

    void take_outcomes(std::size_t most) {
        for (std::size_t i = 0; i < most; ++i) {
            Event event = take_event(joined_.offering);
            if (event.kind == 0) {
                return;
            }
            if (event.kind != RP_HANDOFF_EVENT_OUTCOME) {
                note_end(event);
                continue;
            }
            Handoff &handoff = handoffs_.at(event.id);
            ++handoff.outcomes;
            handoff.owner = event.ownership;
            handoff.brokers = std::move(event.fd);
        }
    }

    // Whatever was begun comes to its end.
    void finish() {
        caprice_.off = true;
        offers_.clear();
        joined_.time.now += 10 * second;
        process(joined_.offering);
        for (int i = 0; i < 3; ++i) {
            joined_.turn();
            for (Event event = take_event(joined_.receiving); event.kind != 0; event = take_event(joined_.receiving)) {
                if (event.kind != RP_HANDOFF_EVENT_OFFER) {
                    note_end(event);
                }
            }
        }
        take_outcomes(SIZE_MAX);
        check();
        REQUIRE(rp_handoff_session_close(joined_.offering.get()) == RP_HANDOFF_OK);
        joined_.turn();
        take_outcomes(SIZE_MAX);
        take_offers(1);
        REQUIRE(ended_ == 2);
    }

    void check() {
        for (const auto &[id, handoff] : handoffs_) {
            REQUIRE(handoff.outcomes == 1);
            REQUIRE((handoff.owner == RP_HANDOFF_OWNER_BACKEND) == (handoff.fate == Fate::accepted));
            REQUIRE(static_cast<bool>(handoff.brokers) == (handoff.owner == RP_HANDOFF_OWNER_BROKER));
            const int owner = handoff.brokers ? handoff.brokers.get() : handoff.backends.get();
            REQUIRE(are_joined(owner, handoff.client.client.get()));
        }
        const auto counts = statistics(joined_.offering);
        REQUIRE(counts.in_flight == 0);
        REQUIRE(counts.submitted == handoffs_.size());
        REQUIRE(counts.completed + counts.fallbacks == counts.submitted);
        const auto of_backend = statistics(joined_.receiving);
        REQUIRE(of_backend.in_flight == 0);
        REQUIRE(of_backend.accepted == counts.completed);
        REQUIRE(of_backend.offers == of_backend.accepted + of_backend.refused + of_backend.lost);
        REQUIRE(statistics(joined_.broker).pending_tokens == 0);
    }

    const Bytes payload_ = Bytes(600, 'p');
    std::mt19937 random_;
    Timed joined_;
    Caprice caprice_;
    std::map<std::uint64_t, Handoff> handoffs_;
    std::vector<Offer> offers_;
    int ended_ = 0; // of the two sides
};

} // namespace

TEST_CASE("whatever happens in whatever order, each handoff has one outcome and each connection one owner") {
    for (unsigned seed = 1; seed <= 200; ++seed) {
        CAPTURE(seed);
        Soak(seed).run(300);
    }
}
