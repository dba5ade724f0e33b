// What a message of offers is made of.
#include "session/offer_batch.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "support/fakes.hpp"

using namespace rp::handoff;
using namespace rp::handoff::session;
using namespace rp::test;

namespace {

struct Payload {
    std::size_t metadata = 0;
    std::size_t early = 0;
    std::size_t prologue = 0;
};

std::vector<std::uint8_t> bytes_of(std::size_t size, std::uint8_t first) {
    std::vector<std::uint8_t> bytes(size);
    for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<std::uint8_t>(first + i);
    }
    return bytes;
}

struct Scene {
    explicit Scene(std::uint32_t slots) : table(slots) {
        Result<Ledger> made = Ledger::create(slots);
        REQUIRE(made);
        ledger.emplace(std::move(*made));
    }

    Index queue(const Payload &payload = {}, bool ready_follows = false) {
        const Index i = table.prepare(payload.metadata + payload.early + payload.prologue);
        REQUIRE(i != no_index);
        SlotTable::Slot &slot = table[i];
        slot.metadata = static_cast<std::uint32_t>(payload.metadata);
        slot.early = static_cast<std::uint32_t>(payload.early);
        slot.prologue = static_cast<std::uint32_t>(payload.prologue);
        std::uint8_t *out = slot.payload.data();
        for (const auto &[size, first] :
             {std::pair(payload.metadata, 1), std::pair(payload.early, 2), std::pair(payload.prologue, 3)}) {
            const std::vector<std::uint8_t> bytes = bytes_of(size, static_cast<std::uint8_t>(first));
            out = std::copy(bytes.begin(), bytes.end(), out);
        }
        slot.fd = 1000 + static_cast<int>(i);
        slot.token = token_of(static_cast<std::uint8_t>(i + 1));
        slot.correlation_id = 7000 + i;
        slot.ready_follows = ready_follows;
        slot.deadline = at(100);
        table.queue(i);
        return i;
    }

    // As it leaves.
    std::vector<std::uint8_t> message() const {
        std::vector<std::uint8_t> all;
        for (std::size_t n = 0; n < batch.piece_count(); ++n) {
            const auto *const from = static_cast<const std::uint8_t *>(batch.pieces()[n].iov_base);
            all.insert(all.end(), from, from + batch.pieces()[n].iov_len);
        }
        return all;
    }
    void encode(std::size_t most, std::uint32_t flags = 0, bool more = false) {
        batch.encode(table, *ledger, most, flags, more);
    }

    SlotTable table;
    std::optional<Ledger> ledger;
    OfferBatch batch;
};

// The offers of a message, whose bytes it keeps.
struct Parsed {
    explicit Parsed(std::vector<std::uint8_t> message) : bytes(std::move(message)) {
        const Result<Header> header = decode_header(view(bytes), max_frame);
        REQUIRE(header);
        CHECK(header->kind == FrameKind::offers);
        CHECK(header->length == bytes.size() - header_size);
        ByteView rest = view(bytes).substr(header_size);
        for (std::uint16_t n = 0; n < header->count; ++n) {
            const Result<Offer> offer = next_offer(rest);
            REQUIRE(offer);
            offers.push_back(*offer);
        }
        CHECK(rest.empty());
    }
    std::vector<std::uint8_t> bytes;
    std::vector<Offer> offers;
};

bool holds(ByteView part, std::size_t size, std::uint8_t first) {
    const std::vector<std::uint8_t> expected = bytes_of(size, first);
    return part.size() == size && std::equal(part.begin(), part.end(), expected.begin());
}

} // namespace

TEST_CASE("a message has the offers of the queue in their order, with all that belongs to each") {
    Scene scene(8);
    const Payload payloads[] = {{}, {3, 0, 0}, {}, {0, 700, 0}, {5, 6, 7}, {}};
    for (const Payload &payload : payloads) {
        scene.queue(payload, payload.early > 0);
    }
    scene.encode(100);
    REQUIRE(scene.batch.count() == std::size(payloads));
    const Parsed parsed(scene.message());
    CHECK(parsed.bytes.size() == scene.batch.bytes());
    REQUIRE(parsed.offers.size() == std::size(payloads));
    for (Index i = 0; i < std::size(payloads); ++i) {
        CAPTURE(i);
        const Offer &offer = parsed.offers[i];
        CHECK(offer.slot == i);
        CHECK(offer.ticket == scene.table[i].ticket);
        CHECK(offer.correlation_id == 7000 + i);
        CHECK(offer.token == token_of(static_cast<std::uint8_t>(i + 1)));
        CHECK(offer.flags == (payloads[i].early > 0 ? std::uint32_t{Offer::ready_follows} : 0));
        CHECK(holds(offer.metadata, payloads[i].metadata, 1));
        CHECK(holds(offer.early, payloads[i].early, 2));
        CHECK(holds(offer.prologue, payloads[i].prologue, 3));
        CHECK(scene.batch.fds()[i] == 1000 + static_cast<int>(i));
        CHECK(scene.table[i].in_ledger);
        CHECK(scene.ledger->adopt(i, offer.ticket, offer.token) == Ledger::Adoption::adopted);
    }
}

TEST_CASE("no more than wanted is in a message, and what is not in it is not in the ledger") {
    Scene scene(4);
    for (int n = 0; n < 3; ++n) {
        scene.queue();
    }
    for (const std::size_t most : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{4}}) {
        CAPTURE(most);
        scene.encode(most);
        CHECK(scene.batch.count() == std::min<std::size_t>(most, 3));
        CHECK(Parsed(scene.message()).offers.size() == scene.batch.count());
        if (most < 3) {
            CHECK_FALSE(scene.table[2].in_ledger);
            CHECK(scene.ledger->adopt(2, scene.table[2].ticket, scene.table[2].token) == Ledger::Adoption::lost);
        }
        scene.batch.wipe();
    }
}

TEST_CASE("flags are of all offers, and `more` only of the first") {
    Scene scene(4);
    scene.queue();
    scene.queue({}, true);
    scene.encode(2, Offer::answer_here, true);
    const Parsed parsed(scene.message());
    CHECK(parsed.offers[0].flags == (Offer::answer_here | Offer::more));
    CHECK(parsed.offers[1].flags == (Offer::answer_here | Offer::ready_follows));
    scene.batch.wipe();
    scene.encode(2, 0, false);
    CHECK(Parsed(scene.message()).offers[0].flags == 0);
}

TEST_CASE("a frame is filled up to its last byte, and an offer that would go beyond it is in the next") {
    constexpr std::size_t first = Offer::fixed_size + max_early + max_metadata;
    constexpr std::size_t left = max_frame - header_size - first - Offer::fixed_size;
    for (const int more : {-1, 0, 1}) {
        CAPTURE(more);
        Scene scene(4);
        scene.queue({max_metadata, max_early, 0});
        scene.queue({0, left + static_cast<std::size_t>(more + 1) - 1, 0});
        scene.queue();
        scene.encode(3);
        CHECK(scene.batch.count() == (more > 0 ? 1 : 2));
        CHECK(scene.batch.bytes() ==
              max_frame - (more > 0 ? left + Offer::fixed_size : static_cast<std::size_t>(-more)));
        CHECK(Parsed(scene.message()).bytes.size() == scene.batch.bytes());
        CHECK(scene.table[1].in_ledger == (more <= 0));
    }
}

TEST_CASE("the longest offer that there can be fits into a frame, and the most offers that one message may carry") {
    Scene one(1);
    one.queue({max_metadata, max_early, max_prologue});
    one.encode(1);
    CHECK(one.batch.count() == 1);
    CHECK(Parsed(one.message()).offers.size() == 1);

    Scene many(max_batch + 1);
    for (std::size_t n = 0; n <= max_batch; ++n) {
        many.queue({n % 3, 0, 0});
    }
    many.encode(max_batch);
    CHECK(many.batch.count() == max_batch);
    CHECK(Parsed(many.message()).offers.size() == max_batch);
}

TEST_CASE("no token is left in a batch that was wiped") {
    Scene scene(2);
    scene.queue();
    scene.queue();
    scene.encode(2);
    const auto *const fixed = static_cast<const std::uint8_t *>(scene.batch.pieces()[0].iov_base);
    const std::vector<std::uint8_t> token(sizeof(Token::Bytes), 2); // of the second
    const std::size_t size = scene.batch.bytes();
    REQUIRE(std::search(fixed, fixed + size, token.begin(), token.end()) != fixed + size);
    scene.batch.wipe();
    CHECK(std::all_of(fixed, fixed + size, [](std::uint8_t byte) { return byte == 0; }));
    CHECK(scene.batch.count() == 0);
}
