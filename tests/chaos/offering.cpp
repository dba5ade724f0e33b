// How a broker offers: which backend, how many at a time, and with what.
#include "broker.hpp"

#include <algorithm>

namespace rp::chaos {

namespace {

std::uint64_t draw_timeout_ns(Random &random) {
    static const std::uint32_t milliseconds[] = {1, 2, 5, 20, 50, 100, 200};
    return random.one_of(milliseconds) * millisecond_ns;
}

Bytes make_metadata(std::uint32_t attempt, std::uint32_t life, Random &random) {
    const std::uint32_t filling =
        random.percent(95) ? random.below(32) : random.below(RP_HANDOFF_METADATA_MAX - sizeof(Tag));
    Bytes metadata;
    append(metadata, Tag{attempt, life, filling, ~attempt});
    append_numbered(metadata, attempt, 0, filling);
    return metadata;
}

Bytes make_prologue(std::uint32_t life, std::uint32_t serial, Random &random) {
    const std::uint32_t padding =
        random.percent(90) ? random.below(64) : random.below(RP_HANDOFF_PROLOGUE_MAX - sizeof(Record));
    Bytes prologue;
    append(prologue, Record{record_prologue, life, serial, padding, 0});
    prologue.resize(prologue.size() + padding);
    return prologue;
}

} // namespace

// Any that has a session, now and then also one that is not open yet.
Link *Broker::choose_link() {
    Link &drawn = links_[random_.below(static_cast<std::uint32_t>(links_.size()))];
    if (drawn.is_open() || (drawn.takes_submits() && random_.percent(10))) {
        return &drawn;
    }
    std::vector<Link *> open;
    for (Link &link : links_) {
        if (link.is_open()) {
            open.push_back(&link);
        }
    }
    return open.empty() ? nullptr : open[random_.below(static_cast<std::uint32_t>(open.size()))];
}

void Broker::offer_ready() {
    std::vector<std::uint32_t> serials;
    serials.swap(ready_);
    for (std::size_t at = 0; at < serials.size();) {
        Link *link = choose_link();
        const std::size_t count = std::min<std::size_t>(random_.between(1, 64), serials.size() - at);
        const std::size_t submitted = link != nullptr ? offer_batch(*link, &serials[at], count) : 0;
        at += submitted;
        if (submitted == 0) {
            add(self_.life().broker.refused_submits);
            come_back(serials[at++]);
        }
    }
}

// The bytes are the arrival's, which lives until the outcome: a fallback offers them again.
rp_handoff_submission Broker::prepare(std::uint32_t serial) {
    Arrival &arrival = arrivals_.at(serial);
    arrival.is_duplicated = random_.percent(20);
    arrival.metadata = make_metadata(arrival.attempt, self_.number, random_);
    if (arrival.wants_prologue) {
        arrival.prologue = make_prologue(self_.number, serial, random_);
    }
    rp_handoff_submission item{};
    item.struct_size = sizeof item;
    item.fd = arrival.fd;
    item.flags = arrival.is_duplicated ? std::uint32_t{RP_HANDOFF_SUBMIT_DUPLICATE} : 0u;
    item.metadata = arrival.metadata.data();
    item.metadata_length = static_cast<std::uint32_t>(arrival.metadata.size());
    item.early = arrival.early.data();
    item.early_length = static_cast<std::uint32_t>(arrival.early.size());
    item.prologue = arrival.prologue.data();
    item.prologue_length = static_cast<std::uint32_t>(arrival.prologue.size());
    item.timeout_ns = draw_timeout_ns(random_);
    item.user_data = serial;
    if (random_.percent(5) && rp_handoff_broker_issue(broker_, "chaos", 0, &item.token) == RP_HANDOFF_OK) {
        item.flags |= RP_HANDOFF_SUBMIT_TOKEN;
    }
    return item;
}

// How many of them are in flight then, from the first on.
std::size_t Broker::offer_batch(Link &link, const std::uint32_t *serials, std::size_t count) {
    std::vector<rp_handoff_submission> items;
    for (std::size_t i = 0; i < count; ++i) {
        items.push_back(prepare(serials[i]));
        self_.table.attempt(arrivals_.at(serials[i]).attempt).offered |= 1u << link.index();
    }
    std::vector<std::uint64_t> ids(count);
    const std::int32_t status =
        rp_handoff_session_submit(link.session(), items.data(), static_cast<std::uint32_t>(count), ids.data(), nullptr);
    if (status <= 0) {
        check_refused_submit(status);
    }
    const std::size_t submitted = status > 0 ? static_cast<std::size_t>(status) : 0;
    for (std::size_t i = 0; i < submitted; ++i) {
        Arrival &arrival = arrivals_.at(serials[i]);
        arrival.link = static_cast<int>(link.index());
        arrival.id = ids[i];
        if (random_.percent(1)) {
            rp_handoff_session_cancel(link.session(), arrival.id);
        }
    }
    for (std::size_t i = submitted; i < count; ++i) { // tokens of their own that were not used
        if ((items[i].flags & RP_HANDOFF_SUBMIT_TOKEN) != 0) {
            rp_handoff_broker_revoke(broker_, &items[i].token);
        }
    }
    link.count_submitted(static_cast<std::uint32_t>(submitted));
    add(self_.life().broker.submitted, submitted);
    return submitted;
}

// Back-pressure and an end in between are all that may keep a submit from happening.
void Broker::check_refused_submit(std::int32_t status) const {
    switch (status) {
    case RP_HANDOFF_ERR_LIMIT_SESSION:
    case RP_HANDOFF_ERR_LIMIT_DESCRIPTORS:
    case RP_HANDOFF_ERR_LIMIT_BYTES:
    case RP_HANDOFF_ERR_LIMIT:
    case RP_HANDOFF_ERR_CLOSED:
        return;
    default:
        self_.table.violation("a submit was refused: %s, errno %d", rp_handoff_strerror(status), errno);
    }
}

} // namespace rp::chaos
