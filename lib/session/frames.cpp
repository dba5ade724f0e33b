#include "session/frames.hpp"

#include <algorithm>
#include <cstring>
#include <endian.h>

#include "base/text.hpp"

namespace rp::handoff::session {

namespace {

constexpr std::uint8_t magic = 'r';

// An integer as it stands on the wire, least significant byte first, and back.
std::uint8_t little_endian(std::uint8_t value) noexcept {
    return value;
}
std::uint16_t little_endian(std::uint16_t value) noexcept {
    return htole16(value);
}
std::uint32_t little_endian(std::uint32_t value) noexcept {
    return htole32(value);
}
std::uint64_t little_endian(std::uint64_t value) noexcept {
    return htole64(value);
}

// Appends integers and bytes.
class Writer {
  public:
    explicit Writer(std::uint8_t *out) noexcept : begin_(out), out_(out) {}

    template <class Integer>
    Writer &number(Integer value) noexcept {
        const Integer wire = little_endian(value);
        std::memcpy(out_, &wire, sizeof wire);
        out_ += sizeof wire;
        return *this;
    }
    Writer &bytes(ByteView view) noexcept {
        out_ = std::copy(view.begin(), view.end(), out_);
        return *this;
    }
    Writer &text(std::string_view view) noexcept {
        out_ = std::copy(view.begin(), view.end(), out_);
        return *this;
    }
    std::size_t written() const noexcept { return static_cast<std::size_t>(out_ - begin_); }

  private:
    std::uint8_t *begin_;
    std::uint8_t *out_;
};

// Takes them off again. After the end it gives zeros and nothing, and has failed.
class Reader {
  public:
    explicit Reader(ByteView in) noexcept : in_(in) {}

    template <class Integer>
    Integer number() noexcept {
        Integer wire = 0;
        const ByteView view = bytes(sizeof wire);
        if (!view.empty()) {
            std::memcpy(&wire, view.data(), sizeof wire);
        }
        return little_endian(wire);
    }
    ByteView bytes(std::size_t length) noexcept {
        failed_ = failed_ || length > in_.size();
        const ByteView taken = failed_ ? ByteView() : in_.substr(0, length);
        in_.remove_prefix(taken.size());
        return taken;
    }
    std::string_view text(std::size_t length) noexcept {
        const ByteView taken = bytes(length);
        return {reinterpret_cast<const char *>(taken.data()), taken.size()};
    }
    bool failed() const noexcept { return failed_; }
    ByteView rest() const noexcept { return in_; }

  private:
    ByteView in_;
    bool failed_ = false;
};

Token token_of(ByteView bytes) noexcept {
    const Result<Token> token = Token::parse(bytes);
    return token ? *token : Token();
}

} // namespace

Result<Header> decode_header(ByteView bytes, std::size_t cap) noexcept {
    if (!bytes.empty() && bytes[0] != magic) {
        return Failure(Status::protocol);
    }
    if (bytes.size() < header_size) {
        return Failure(Status::frame_incomplete);
    }
    Reader reader(bytes.substr(1));
    Header header{};
    header.kind = static_cast<FrameKind>(reader.number<std::uint8_t>());
    header.count = reader.number<std::uint16_t>();
    header.length = reader.number<std::uint32_t>();
    if (header.length > cap - header_size) {
        return Failure(Status::protocol);
    }
    return header;
}

std::size_t encode_header(std::uint8_t *out, const Header &header) noexcept {
    return Writer(out)
        .number(magic)
        .number(static_cast<std::uint8_t>(header.kind))
        .number(header.count)
        .number(header.length)
        .written();
}

std::size_t encode_hello(std::uint8_t *out, const Hello &hello) noexcept {
    const std::size_t length = Writer(out + header_size)
                                   .number(static_cast<std::uint16_t>(hello.role))
                                   .number(hello.min_version)
                                   .number(hello.max_version)
                                   .number(static_cast<std::uint16_t>(hello.service.size()))
                                   .number(hello.max_in_flight)
                                   .number(hello.capabilities)
                                   .text(hello.service)
                                   .written();
    return length + encode_header(out, {FrameKind::hello, 0, static_cast<std::uint32_t>(length)});
}

std::size_t encode_ledger(std::uint8_t *out, std::uint32_t slots) noexcept {
    const std::size_t length = Writer(out + header_size).number(slots).written();
    return length + encode_header(out, {FrameKind::ledger, 0, static_cast<std::uint32_t>(length)});
}

std::size_t encode_rejection(std::uint8_t *out, const Rejection &rejection) noexcept {
    const std::string_view text = utf8_prefix(rejection.text, max_reason);
    const std::size_t length = Writer(out + header_size)
                                   .number(static_cast<std::uint32_t>(rejection.status))
                                   .number(static_cast<std::uint16_t>(text.size()))
                                   .text(text)
                                   .written();
    return length + encode_header(out, {FrameKind::reject, 0, static_cast<std::uint32_t>(length)});
}

std::size_t encode_offer(std::uint8_t *out, const Offer &offer) noexcept {
    return Writer(out)
        .number(offer.slot)
        .number(offer.flags)
        .number(offer.ticket)
        .number(offer.correlation_id)
        .bytes(offer.token.view())
        .number(static_cast<std::uint32_t>(offer.metadata.size()))
        .number(static_cast<std::uint32_t>(offer.early.size()))
        .number(static_cast<std::uint32_t>(offer.prologue.size()))
        .number(std::uint32_t{0})
        .written();
}

std::size_t encode_answer(std::uint8_t *out, const Answer &answer) noexcept {
    return Writer(out)
        .number(answer.slot)
        .number(static_cast<std::uint16_t>(answer.verdict))
        .number(static_cast<std::uint16_t>(answer.text.size()))
        .number(answer.ticket)
        .text(answer.text)
        .written();
}

Result<Hello> decode_hello(ByteView body) noexcept {
    Reader reader(body);
    Hello hello{};
    hello.role = static_cast<Hello::Role>(reader.number<std::uint16_t>());
    hello.min_version = reader.number<std::uint16_t>();
    hello.max_version = reader.number<std::uint16_t>();
    const auto length = reader.number<std::uint16_t>();
    hello.max_in_flight = reader.number<std::uint32_t>();
    hello.capabilities = reader.number<std::uint64_t>();
    hello.service = reader.text(length);
    if (reader.failed() || length > max_service || hello.max_in_flight == 0 || !is_utf8(hello.service)) {
        return Failure(Status::protocol);
    }
    return hello;
}

Result<std::uint32_t> decode_ledger(ByteView body) noexcept {
    Reader reader(body);
    const auto slots = reader.number<std::uint32_t>();
    if (reader.failed() || slots == 0 || slots > max_in_flight) {
        return Failure(Status::protocol);
    }
    return slots;
}

Result<Rejection> decode_rejection(ByteView body) noexcept {
    Reader reader(body);
    Rejection rejection{};
    rejection.status = static_cast<Status>(reader.number<std::uint32_t>());
    const auto length = reader.number<std::uint16_t>();
    rejection.text = reader.text(length);
    if (reader.failed() || length > max_reason) {
        return Failure(Status::protocol);
    }
    return rejection;
}

Result<Offer> next_offer(ByteView &rest) noexcept {
    Reader reader(rest);
    Offer offer{};
    offer.slot = reader.number<std::uint32_t>();
    offer.flags = reader.number<std::uint32_t>();
    offer.ticket = reader.number<std::uint64_t>();
    offer.correlation_id = reader.number<std::uint64_t>();
    offer.token = token_of(reader.bytes(Token::size));
    const auto metadata = reader.number<std::uint32_t>();
    const auto early = reader.number<std::uint32_t>();
    const auto prologue = reader.number<std::uint32_t>();
    reader.number<std::uint32_t>();
    if (metadata > max_metadata || early > max_early || prologue > max_prologue) {
        return Failure(Status::protocol);
    }
    offer.metadata = reader.bytes(metadata);
    offer.early = reader.bytes(early);
    offer.prologue = reader.bytes(prologue);
    if (reader.failed()) {
        return Failure(Status::protocol);
    }
    rest = reader.rest();
    return offer;
}

Result<Answer> next_answer(ByteView &rest) noexcept {
    Reader reader(rest);
    Answer answer{};
    answer.slot = reader.number<std::uint32_t>();
    answer.verdict = static_cast<Answer::Verdict>(reader.number<std::uint16_t>());
    const auto length = reader.number<std::uint16_t>();
    answer.ticket = reader.number<std::uint64_t>();
    answer.text = reader.text(length);
    if (reader.failed() || length > max_refusal) {
        return Failure(Status::protocol);
    }
    rest = reader.rest();
    return answer;
}

} // namespace rp::handoff::session
