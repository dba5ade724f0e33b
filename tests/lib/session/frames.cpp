// The wire of a session, bytes to values and back: every bound at its number, one below and one above; cut at every
// byte; and garbage.
#include <doctest/doctest.h>

#include <memory>
#include <random>

#include "session/frames.hpp"
#include "support/fakes.hpp"
#include "support/hex.hpp"

using namespace rp::handoff;
using namespace rp::handoff::session;
using namespace rp::test;

namespace {

Bytes bytes_of_view(ByteView view) {
    return Bytes(view.begin(), view.end());
}

Bytes framed(const Hello &hello) {
    Bytes out(max_hello_frame);
    out.resize(encode_hello(out.data(), hello));
    return out;
}

ByteView body_of(const Bytes &frame) {
    return view(frame).substr(header_size);
}

// An item with its payloads behind it, as the sender's gather list puts it.
Bytes item_of(const Offer &offer) {
    Bytes out(Offer::fixed_size);
    REQUIRE(encode_offer(out.data(), offer) == Offer::fixed_size);
    for (const ByteView part : {offer.metadata, offer.early, offer.prologue}) {
        out.insert(out.end(), part.begin(), part.end());
    }
    return out;
}

Bytes item_of(const Answer &answer) {
    Bytes out(Answer::fixed_size + answer.text.size());
    REQUIRE(encode_answer(out.data(), answer) == out.size());
    return out;
}

Offer offer_with(const Bytes &metadata, const Bytes &early, const Bytes &prologue) {
    return {3,           Offer::ready_follows, 0x1122334455667788, 0x99AABBCCDDEEFF00, token_of(0xAB), view(metadata),
            view(early), view(prologue)};
}

void check_same(const Offer &a, const Offer &b) {
    CHECK(a.slot == b.slot);
    CHECK(a.flags == b.flags);
    CHECK(a.ticket == b.ticket);
    CHECK(a.correlation_id == b.correlation_id);
    CHECK(a.token == b.token);
    CHECK(a.metadata == b.metadata);
    CHECK(a.early == b.early);
    CHECK(a.prologue == b.prologue);
}

template <class Read>
Status status_of_item(const Bytes &bytes, Read read) {
    ByteView rest = view(bytes);
    const auto item = read(rest);
    if (item) {
        return Status::ok;
    }
    CHECK(rest.size() == bytes.size()); // nothing was taken
    return item.error();
}

void put(Bytes &bytes, std::size_t at, std::uint64_t value, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
        bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
    }
}

} // namespace

TEST_CASE("frames look as they are written down, byte by byte") {
    CHECK(framed({Hello::Role::broker, 1, 2, 256, 0x0807060504030201, "ab"}) ==
          unhex("72 01 0000 16000000  0100 0100 0200 0200 00010000 0102030405060708 6162"));
    Bytes ledger(ledger_frame_size);
    CHECK(encode_ledger(ledger.data(), 64) == ledger.size());
    CHECK(ledger == unhex("72 02 0000 04000000  40000000"));
    const Bytes metadata = {1};
    const Bytes early = {2, 3};
    const Bytes prologue = {4, 5, 6};
    CHECK(item_of(offer_with(metadata, early, prologue)) ==
          unhex("03000000 01000000 8877665544332211 00ffeeddccbbaa99 abababababababababababababababab"
                "01000000 02000000 03000000 00000000 01 0203 040506"));
    CHECK(item_of(Answer{5, Answer::Verdict::refused, 7, "no"}) == unhex("05000000 0200 0200 0700000000000000 6e6f"));
    Bytes header(header_size);
    CHECK(encode_header(header.data(), {FrameKind::offers, 252, 0x12345}) == header_size);
    CHECK(header == unhex("72 03 fc00 45230100"));
}

TEST_CASE("hellos come back as they were, with every length of name up to 255 bytes") {
    for (const std::size_t length : {0U, 1U, 254U, 255U}) {
        const std::string name(length, 's');
        for (const std::uint32_t in_flight : {1U, 4096U, UINT32_MAX}) {
            const Bytes frame = framed({Hello::Role::backend, 0, UINT16_MAX, in_flight, UINT64_MAX, name});
            const Result<Hello> hello = decode_hello(body_of(frame));
            REQUIRE(hello);
            CHECK(hello->role == Hello::Role::backend);
            CHECK(hello->min_version == 0);
            CHECK(hello->max_version == UINT16_MAX);
            CHECK(hello->max_in_flight == in_flight);
            CHECK(hello->capabilities == UINT64_MAX);
            CHECK(hello->service == name);
        }
    }
}

TEST_CASE("a hello that is cut, takes nothing, or has a name too long or not in UTF-8, is none; a longer one is") {
    Bytes body = bytes_of_view(body_of(framed({Hello::Role::broker, 1, 1, 8, 0, "name"})));
    for (std::size_t length = 0; length < body.size(); ++length) {
        CHECK(status_of(decode_hello(view(body).substr(0, length))) == Status::protocol);
    }
    Bytes longer = body;
    longer.resize(1000, 0xFF);
    CHECK(decode_hello(view(longer))->service == "name");
    Bytes long_name = body;
    long_name.resize(20 + 256, 'n');
    put(long_name, 6, 256, 2);
    CHECK(status_of(decode_hello(view(long_name))) == Status::protocol);
    put(long_name, 6, 255, 2);
    CHECK(status_of(decode_hello(view(long_name))) == Status::ok);
    Bytes nothing = body;
    put(nothing, 8, 0, 4);
    CHECK(status_of(decode_hello(view(nothing))) == Status::protocol);
    body.back() = 0xFF;
    CHECK(status_of(decode_hello(view(body))) == Status::protocol);
}

TEST_CASE("a ledger has 1 to 4096 slots") {
    for (const std::uint32_t slots : {1U, 4095U, 4096U}) {
        Bytes frame(ledger_frame_size);
        encode_ledger(frame.data(), slots);
        CHECK(*decode_ledger(body_of(frame)) == slots);
    }
    for (const std::uint32_t slots : {0U, 4097U, UINT32_MAX}) {
        Bytes frame(ledger_frame_size);
        encode_ledger(frame.data(), slots);
        CHECK(status_of(decode_ledger(body_of(frame))) == Status::protocol);
    }
    for (std::size_t length = 0; length < 4; ++length) {
        CHECK(status_of(decode_ledger(view(Bytes(length, 1)))) == Status::protocol);
    }
}

TEST_CASE("offers come back as they were, up to the bounds of their payloads") {
    for (const std::size_t metadata : {std::size_t{0}, std::size_t{1}, max_metadata - 1, max_metadata}) {
        for (const std::size_t early : {std::size_t{0}, std::size_t{1}, max_early - 1, max_early}) {
            for (const std::size_t prologue : {std::size_t{0}, max_prologue - 1, max_prologue}) {
                const Bytes parts[] = {Bytes(metadata, 'm'), Bytes(early, 'e'), Bytes(prologue, 'p')};
                const Offer offer = offer_with(parts[0], parts[1], parts[2]);
                Bytes item = item_of(offer);
                CHECK(offer.size() == item.size());
                CHECK(header_size + item.size() <= max_frame);
                item.push_back('+');
                ByteView rest = view(item);
                const Result<Offer> read = next_offer(rest);
                REQUIRE(read);
                check_same(*read, offer);
                CHECK(rest == view(Bytes{'+'}));
            }
        }
    }
}

TEST_CASE("an offer whose payload is beyond a bound by one is none, though all its bytes are there") {
    const std::size_t bounds[] = {max_metadata, max_early, max_prologue};
    for (std::size_t part = 0; part < 3; ++part) {
        Bytes item = item_of(offer_with({}, {}, {}));
        item.resize(Offer::fixed_size + bounds[part] + 1);
        put(item, 40 + 4 * part, bounds[part] + 1, 4);
        CHECK(status_of_item(item, next_offer) == Status::protocol);
        put(item, 40 + 4 * part, UINT32_MAX, 4);
        CHECK(status_of_item(item, next_offer) == Status::protocol);
        put(item, 40 + 4 * part, bounds[part], 4);
        CHECK(status_of_item(item, next_offer) == Status::ok);
    }
}

TEST_CASE("an offer that is cut at any byte is none") {
    const Bytes parts[] = {Bytes(5, 'm'), Bytes(6, 'e'), Bytes(7, 'p')};
    const Bytes item = item_of(offer_with(parts[0], parts[1], parts[2]));
    for (std::size_t length = 0; length < item.size(); ++length) {
        CHECK(status_of_item(Bytes(item.begin(), item.begin() + static_cast<std::ptrdiff_t>(length)), next_offer) ==
              Status::protocol);
    }
}

TEST_CASE("answers come back as they were, also with a verdict that has no name, up to a text of 255 bytes") {
    for (const std::size_t length : {0U, 1U, 254U, 255U}) {
        for (const int verdict : {0, 1, 4, 5, 65535}) {
            const std::string text(length, 't');
            const Answer answer{UINT32_MAX, static_cast<Answer::Verdict>(verdict), UINT64_MAX, text};
            const Bytes item = item_of(answer);
            ByteView rest = view(item);
            const Result<Answer> read = next_answer(rest);
            REQUIRE(read);
            CHECK(read->slot == answer.slot);
            CHECK(read->verdict == answer.verdict);
            CHECK(read->ticket == answer.ticket);
            CHECK(read->text == text);
            CHECK(rest.empty());
        }
    }
}

TEST_CASE("an answer that is cut at any byte, or whose text is too long, is none") {
    const Bytes item = item_of(Answer{1, Answer::Verdict::refused, 2, "text"});
    for (std::size_t length = 0; length < item.size(); ++length) {
        CHECK(status_of_item(Bytes(item.begin(), item.begin() + static_cast<std::ptrdiff_t>(length)), next_answer) ==
              Status::protocol);
    }
    Bytes long_text = item;
    long_text.resize(Answer::fixed_size + 256, 't');
    put(long_text, 6, 256, 2);
    CHECK(status_of_item(long_text, next_answer) == Status::protocol);
    put(long_text, 6, 255, 2);
    CHECK(status_of_item(long_text, next_answer) == Status::ok);
}

TEST_CASE("a header is complete with eight bytes, begins with the right one, and stays within the cap of the reader") {
    for (const std::size_t cap : {max_frame, max_answers_frame}) {
        Bytes header(header_size);
        encode_header(header.data(), {FrameKind::offers, 9, static_cast<std::uint32_t>(cap - header_size)});
        for (std::size_t length = 0; length < header_size; ++length) {
            CHECK(status_of(decode_header(view(header).substr(0, length), cap)) == Status::frame_incomplete);
        }
        const Result<Header> read = decode_header(view(header), cap);
        REQUIRE(read);
        CHECK(read->kind == FrameKind::offers);
        CHECK(read->count == 9);
        CHECK(read->length == cap - header_size);
        for (const std::uint64_t length : {std::uint64_t{cap - header_size + 1}, std::uint64_t{UINT32_MAX}}) {
            put(header, 4, length, 4);
            CHECK(status_of(decode_header(view(header), cap)) == Status::protocol);
        }
    }
    for (unsigned first = 0; first < 256; ++first) {
        const Bytes byte = {static_cast<std::uint8_t>(first)};
        CHECK(status_of(decode_header(view(byte), max_frame)) ==
              (first == 'r' ? Status::frame_incomplete : Status::protocol));
    }
}

TEST_CASE("garbage of every length is read without a look beyond its end") {
    std::mt19937 random(1);
    for (std::size_t length = 0; length < 400; ++length) {
        const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[length]); // so that a sanitizer sees its end
        for (int round = 0; round < 20; ++round) {
            for (std::size_t i = 0; i < length; ++i) {
                exact[i] = static_cast<std::uint8_t>(round % 2 == 0 ? random() : random() % 3);
            }
            const ByteView bytes(exact.get(), length);
            static_cast<void>(decode_header(bytes, max_frame));
            static_cast<void>(decode_hello(bytes));
            static_cast<void>(decode_ledger(bytes));
            std::size_t items = 0;
            for (ByteView rest = bytes; next_offer(rest); ++items) {
            }
            for (ByteView rest = bytes; next_answer(rest); ++items) {
            }
            CHECK(items <= 2 * length / Answer::fixed_size);
        }
    }
}
