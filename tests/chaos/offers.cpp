// What a backend does with an offer.
#include "backend.hpp"
#include "window.hpp"

#include <algorithm>
#include <cstring>

namespace rp::chaos {

// The attempt, 0 if what came beside the connection is not what some broker sent.
std::uint32_t Backend::read_tag(const rp_handoff_offer_info &info) const {
    Tag tag{};
    if (info.metadata_length >= sizeof tag) {
        std::memcpy(&tag, info.metadata, sizeof tag);
    }
    if (tag.check != ~tag.attempt || info.metadata_length != sizeof tag + tag.filling ||
        self_.table.life(tag.broker).pid != info.peer_pid) {
        return 0;
    }
    for (std::uint32_t i = 0; i < tag.filling; ++i) {
        if (info.metadata[sizeof tag + i] != numbered_byte(tag.attempt, i)) {
            return 0;
        }
    }
    return tag.attempt;
}

void Backend::on_offer(std::uint32_t number, Session &session, rp_handoff_offer *offer) {
    add(self_.life().backend.offers);
    ++session.offers;
    rp_handoff_offer_info info{};
    info.struct_size = sizeof info;
    rp_handoff_offer_get_info(offer, &info);
    const std::uint32_t attempt = read_tag(info);
    if (attempt == 0) {
        self_.table.violation("an offer came to life %u in a state in which no broker sent it", self_.number);
    }
    if (random_.one_in(character_.dies_before)) {
        self_.die();
    }
    if (random_.one_in(character_.stops_before)) {
        self_.stop();
    }
    if (random_.one_in(character_.refuses)) {
        refuse(&session, offer);
    } else if (random_.one_in(character_.is_late)) {
        late_.push_back({offer, attempt, number, now_ns() + random_.between(1, 300) * millisecond_ns});
    } else {
        adopt(number, offer, attempt);
    }
}

void Backend::refuse(Session *session, rp_handoff_offer *offer) {
    if (rp_handoff_offer_refuse(offer, "not in the mood") < RP_HANDOFF_OK) {
        self_.table.violation("an offer cannot be refused");
    }
    add(self_.life().backend.refused);
    if (session != nullptr) {
        ++session->refused;
    }
    rp_handoff_offer_destroy(offer);
}

void Backend::adopt(std::uint32_t number, rp_handoff_offer *offer, std::uint32_t attempt) {
    std::int32_t fd = -1;
    arm_window(random_.one_in(character_.dies_within) ? &self_ : nullptr);
    const std::int32_t status = rp_handoff_offer_accept(offer, &fd);
    arm_window(nullptr);
    Session *session = find(number);
    BackendCounts &counts = self_.life().backend;
    if (status >= RP_HANDOFF_OK) {
        if (random_.one_in(character_.dies_after)) {
            self_.die();
        }
        add(counts.adopted);
        add(counts.undelivered, status == RP_HANDOFF_ACK_UNDELIVERED ? 1 : 0);
        serve(offer, UniqueFd(fd), attempt);
        if (session != nullptr) {
            ++session->adopted;
            misbehave(*session);
        }
    } else if (status == RP_HANDOFF_ERR_REVOKED) {
        add(counts.revoked);
        if (session != nullptr) {
            ++session->revoked;
        }
    } else {
        self_.table.violation("attempt %u cannot be adopted: %s", attempt, rp_handoff_strerror(status));
    }
    rp_handoff_offer_destroy(offer);
}

void Backend::serve(const rp_handoff_offer *offer, UniqueFd fd, std::uint32_t attempt) {
    rp_handoff_offer_info info{};
    info.struct_size = sizeof info;
    rp_handoff_offer_get_info(offer, &info);
    server_.adopt(std::move(fd), attempt, {info.early, info.early_length}, {info.unwritten, info.unwritten_length});
}

// It has adopted, and its answer has not left.
void Backend::misbehave(Session &session) {
    if (random_.one_in(character_.stops_after)) {
        self_.stop();
    }
    if (session.is_lost) { // an offer that was answered late, when the session is gone
        return;
    }
    if (random_.one_in(character_.withholds)) {
        if (session.paused_until_ns == 0) {
            pause(session, random_.between(1, 200) * millisecond_ns);
        }
    } else if (random_.one_in(character_.drops)) {
        session.is_lost = true;
    } else if (random_.one_in(character_.closes)) {
        rp_handoff_session_close(session.handle);
    }
}

void Backend::answer_late() {
    const std::uint64_t now = now_ns();
    std::vector<Late> due;
    const auto first_due =
        std::partition(late_.begin(), late_.end(), [now](const Late &late) { return late.due_ns > now; });
    due.assign(first_due, late_.end());
    late_.erase(first_due, late_.end());
    for (const Late &late : due) {
        add(self_.life().backend.late);
        if (random_.percent(80)) {
            adopt(late.session, late.offer, late.attempt);
        } else {
            refuse(find(late.session), late.offer);
        }
    }
    for (auto &[number, session] : sessions_) { // their answers leave
        if (!due.empty() && session.paused_until_ns == 0 && !session.is_lost) {
            take_events(number, session);
        }
    }
}

void Backend::check_counters(const Session &session) const {
    rp_handoff_session_statistics counts{};
    counts.struct_size = sizeof counts;
    rp_handoff_session_get_statistics(session.handle, &counts);
    if (counts.accepted != session.adopted || counts.offers < session.offers ||
        counts.offers != counts.accepted + counts.refused + counts.lost + counts.in_flight) {
        self_.table.violation(
            "session counters: %llu offers, %llu accepted, %llu refused, %llu lost, %u in flight; %llu "
            "offers were seen and %llu adopted",
            static_cast<unsigned long long>(counts.offers), static_cast<unsigned long long>(counts.accepted),
            static_cast<unsigned long long>(counts.refused), static_cast<unsigned long long>(counts.lost),
            counts.in_flight, static_cast<unsigned long long>(session.offers),
            static_cast<unsigned long long>(session.adopted));
    }
}

} // namespace rp::chaos
