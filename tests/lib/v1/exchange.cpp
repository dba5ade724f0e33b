// How the broker reads the backend's answer: the rules of the v1 wire, in their order.
#include "v1/exchange.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <sys/socket.h>

#include "support/fakes.hpp"
#include "support/hex.hpp"
#include "wire/exchange.hpp"

using namespace rp::handoff;
using rp::test::at;
using rp::test::bytes_of;
using rp::test::FakeTime;
using rp::test::token_of;

namespace {

constexpr std::uint64_t correlation_id = 77;

struct Reading {
    tl::expected<Instant, AckFailure> answer;
    Text detail;

    Cause cause() const { return answer ? Cause::none : answer.error().cause; }
};

// The reader at one end of a socket pair, the backend at the other. The deadline is 100; the clock stands at 50.
class Channel {
  public:
    Channel() {
        int ends[2] = {-1, -1};
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        broker.reset(ends[0]);
        backend.reset(ends[1]);
    }

    void write(ByteView bytes) {
        REQUIRE(send(backend.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    }

    Reading read(std::uint32_t max_frame = 4096) {
        const Token token = token_of(1);
        const Attempt attempt{-1, nullptr, broker.get(), {}, at(100), token, "service", 0, correlation_id};
        V1AckReader reader(max_frame, time);
        Reading reading{at(0), {}};
        reading.answer = reader.await(attempt, broker.get(), reading.detail);
        return reading;
    }

    Reading read_after(ByteView bytes) {
        write(bytes);
        return read();
    }

    FakeTime time{at(50)};
    UniqueFd broker;
    UniqueFd backend;
};

struct Answer {
    wire::Frame envelope;
    std::string payload;

    Answer(const Token &token, bool accepted, std::string_view detail, std::uint64_t id = correlation_id) {
        envelope.envelope_version = wire::envelope_v1;
        envelope.kind = wire::Kind::response;
        envelope.payload_protocol = wire::protocol_handoff;
        envelope.request_id = id;
        wire::append(payload, wire::HandoffAck{token.view(), accepted, detail, id});
    }

    std::string framed() const {
        wire::Frame frame = envelope;
        frame.payload = bytes_of(payload);
        std::string body;
        wire::append(body, frame);
        const wire::Header header = wire::encode_header(static_cast<std::uint32_t>(body.size()));
        return std::string(header.begin(), header.end()) + body;
    }
};

Reading read(const Answer &answer) {
    Channel channel;
    return channel.read_after(bytes_of(answer.framed()));
}

bool contains(const Text &text, std::string_view part) {
    return text.view().find(part) != std::string_view::npos;
}

} // namespace

TEST_CASE("an acceptance is observed at the instant after it was read") {
    Channel channel;
    const Reading reading = channel.read_after(bytes_of(Answer(token_of(1), true, "").framed()));
    REQUIRE(reading.answer);
    CHECK(*reading.answer == at(50));
    CHECK(reading.detail.empty());
}

TEST_CASE("what is behind the answer stays in the socket") {
    Channel channel;
    channel.write(bytes_of(Answer(token_of(1), true, "").framed() + "next"));
    CHECK(channel.read().answer);
    char rest[16];
    CHECK(recv(channel.broker.get(), rest, sizeof rest, MSG_DONTWAIT) == 4);
}

TEST_CASE("of an answer that is wrong throughout, the first that is wrong decides") {
    Answer answer(token_of(2), false, "no", 78); // token, acceptance and correlation id are wrong
    answer.envelope.request_id = 79;
    answer.envelope.kind = wire::Kind::event;
    const std::string good_payload = std::exchange(answer.payload, "\xff");

    Channel channel;
    CHECK(channel.read_after(bytes_of("\x02")).cause() != Cause::none);
    Reading reading = read(answer);
    CHECK(reading.cause() == Cause::ack_malformed);
    CHECK(contains(reading.detail, "kind is not RESPONSE"));
    answer.envelope.kind = wire::Kind::response;
    reading = read(answer);
    CHECK(reading.cause() == Cause::ack_malformed);
    CHECK(contains(reading.detail, "payload is not a valid message"));
    answer.payload = good_payload;
    reading = read(answer);
    CHECK(reading.cause() == Cause::ack_malformed);
    CHECK(contains(reading.detail, "request_id does not match"));
    answer.envelope.request_id = 78;
    reading = read(answer);
    CHECK(reading.cause() == Cause::ack_unrelated);
    CHECK(contains(reading.detail, "correlation id"));
    reading = read(Answer(token_of(2), false, "no"));
    CHECK(reading.cause() == Cause::ack_unrelated);
    CHECK(contains(reading.detail, "token"));
    reading = read(Answer(token_of(1), false, "no"));
    CHECK(reading.cause() == Cause::backend_refused);
    CHECK(read(Answer(token_of(1), true, "no")).answer);
}

TEST_CASE("a token of another length is another token") {
    for (const std::size_t length : {std::size_t{0}, std::size_t{15}, std::size_t{17}}) {
        CAPTURE(length);
        Answer answer(token_of(1), true, "");
        const rp::test::Bytes token(length, 1);
        answer.payload.clear();
        wire::append(answer.payload, wire::HandoffAck{rp::test::view(token), true, "", correlation_id});
        CHECK(read(answer).cause() == Cause::ack_unrelated);
    }
}

TEST_CASE("a refusal is told in the backend's words, cleaned") {
    const Reading reading = read(Answer(token_of(1), false, "too\nbusy \x1b[31m"));
    CHECK(reading.cause() == Cause::backend_refused);
    CHECK(reading.detail.view() == "backend refused the handoff: too?busy ?[31m");
}

TEST_CASE("a refusal without words is told in ours") {
    const Reading reading = read(Answer(token_of(1), false, ""));
    CHECK(reading.cause() == Cause::backend_refused);
    CHECK(reading.detail.view() == "backend refused the handoff: no reason given");
}

namespace {

// A clock that reads `late` from the read that follows the last byte on: the answer was there, but only just.
class LateTime final : public TimeSource {
  public:
    LateTime(int broker, Instant late) : broker_(broker), late_(late) {}

    Instant now() noexcept override {
        char byte = 0;
        return recv(broker_, &byte, 1, MSG_DONTWAIT | MSG_PEEK) > 0 ? at(50) : late_;
    }
    Wait wait(int, short, Instant) noexcept override { return Wait::timed_out; }

  private:
    int broker_;
    Instant late_;
};

Cause read_late(const Answer &answer, Instant late) {
    Channel channel;
    channel.write(bytes_of(answer.framed()));
    LateTime time(channel.broker.get(), late);
    const Token token = token_of(1);
    const Attempt attempt{-1, nullptr, channel.broker.get(), {}, at(100), token, "service", 0, correlation_id};
    V1AckReader reader(4096, time);
    Text detail;
    const auto answered = reader.await(attempt, channel.broker.get(), detail);
    if (!answered && answered.error().cause == Cause::ack_timed_out) {
        CHECK(contains(detail, "timed out"));
    }
    return answered ? Cause::none : answered.error().cause;
}

} // namespace

TEST_CASE("an acceptance whose last byte was read at the deadline is late, one nanosecond before it is not") {
    CHECK(read_late(Answer(token_of(1), true, ""), at(99)) == Cause::none);
    CHECK(read_late(Answer(token_of(1), true, ""), at(100)) == Cause::ack_timed_out);
    CHECK(read_late(Answer(token_of(1), true, ""), at(101)) == Cause::ack_timed_out);
}

TEST_CASE("a refusal is a refusal even if it was read late, and a stranger's answer is a stranger's") {
    CHECK(read_late(Answer(token_of(1), false, "no"), at(200)) == Cause::backend_refused);
    CHECK(read_late(Answer(token_of(2), true, ""), at(200)) == Cause::ack_unrelated);
}

TEST_CASE("an answer that is there already is not read once the deadline has passed") {
    Channel channel;
    channel.write(bytes_of(Answer(token_of(1), true, "").framed()));
    channel.time.set(at(100));
    const Reading reading = channel.read();
    CHECK(reading.cause() == Cause::ack_timed_out);
    CHECK(contains(reading.detail, "timed out"));
}

TEST_CASE("an answer that does not come, or not whole, has timed out at the deadline") {
    const std::string whole = Answer(token_of(1), true, "").framed();
    for (const std::size_t length :
         {std::size_t{0}, std::size_t{1}, std::size_t{4}, std::size_t{5}, whole.size() - 1}) {
        CAPTURE(length);
        Channel channel;
        channel.write(bytes_of(whole).substr(0, length));
        const Reading reading = channel.read();
        CHECK(reading.cause() == Cause::ack_timed_out);
        CHECK(contains(reading.detail, "timed out"));
        CHECK(contains(reading.detail, length == 0 ? "framing" : length < 5 ? "length" : "body"));
        CHECK(channel.time.now() == at(100));
    }
}

TEST_CASE("a backend that closes instead of answering is told by the part that is missing") {
    const std::string whole = Answer(token_of(1), true, "").framed();
    for (const std::size_t length :
         {std::size_t{0}, std::size_t{1}, std::size_t{4}, std::size_t{5}, whole.size() - 1}) {
        CAPTURE(length);
        Channel channel;
        channel.write(bytes_of(whole).substr(0, length));
        channel.backend.reset();
        const Reading reading = channel.read();
        CHECK(reading.cause() == Cause::backend_closed);
        CHECK(contains(reading.detail, length == 0 ? "framing" : length < 5 ? "length" : "body"));
    }
}

TEST_CASE("a backend that closes with bytes unread has closed, too") {
    Channel channel;
    REQUIRE(send(channel.broker.get(), "offer", 5, 0) == 5);
    channel.backend.reset(); // a reset for the broker
    const Reading reading = channel.read();
    CHECK(reading.cause() == Cause::backend_closed);
    CHECK(reading.answer.error().os_error == ECONNRESET);
}

TEST_CASE("an answer may be as long as the cap and not one byte longer") {
    Answer answer(token_of(1), true, "");
    answer.envelope.traceparent = std::string_view("01234567890123456789");
    const std::string framed = answer.framed();
    const auto body = static_cast<std::uint32_t>(framed.size() - wire::header_size);
    for (const std::uint32_t cap : {body + 1, body, body - 1}) {
        Channel channel;
        channel.write(bytes_of(framed));
        CHECK(channel.read(cap).cause() == (cap < body ? Cause::ack_malformed : Cause::none));
    }
}

TEST_CASE("an answer in another framing is malformed") {
    Channel channel;
    CHECK(channel.read_after(bytes_of("\x02xxxx")).cause() == Cause::ack_malformed);
}

TEST_CASE("an empty answer is malformed: an envelope of version 0") {
    Channel channel;
    const Reading reading = channel.read_after(bytes_of(std::string_view("\x01\0\0\0\0", 5)));
    CHECK(reading.cause() == Cause::ack_malformed);
    CHECK(contains(reading.detail, "envelope_version is not v1"));
}
