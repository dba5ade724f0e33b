// Which protocol a peer speaks, by its first bytes: those that both protocols of this library really send.
#include "wire/recognise.hpp"

#include <doctest/doctest.h>
#include <vector>

#include "session/frames.hpp"
#include "support/fakes.hpp"
#include "wire/exchange.hpp"

using namespace rp::handoff;
using namespace rp::test;
using wire::Protocol;

namespace {

std::vector<std::uint8_t> hello(std::string_view service) {
    std::vector<std::uint8_t> bytes(session::max_hello_frame);
    bytes.resize(session::encode_hello(bytes.data(), {session::Hello::Role::broker, 1, 1, 4096, 0, service}));
    return bytes;
}

} // namespace

TEST_CASE("a session's hello is recognised by its header, whatever it says") {
    for (const std::string &service : {std::string(), std::string("service"), std::string(255, 's')}) {
        const std::vector<std::uint8_t> bytes = hello(service);
        for (std::size_t length = 0; length <= bytes.size(); ++length) {
            CHECK(wire::recognise_request({bytes.data(), length}) ==
                  (length < session::header_size ? Protocol::undecided : Protocol::session));
            CHECK(wire::recognise_answer({bytes.data(), length}) ==
                  (length == 0 ? Protocol::undecided : Protocol::session));
        }
    }
}

TEST_CASE("an offer of v1 is recognised behind its token, whatever that is") {
    for (const std::uint8_t byte : {std::uint8_t{0}, std::uint8_t{1}, std::uint8_t{'r'}, std::uint8_t{255}}) {
        const Token token = token_of(byte);
        const wire::OfferMessage message = wire::encode_offer_message(token.view(), "service", 7);
        for (std::size_t length = 0; length <= message.size; ++length) {
            CHECK(wire::recognise_request({message.data.data(), length}) ==
                  (length <= wire::token_size ? Protocol::undecided : Protocol::v1));
        }
    }
}

TEST_CASE("a token that begins as a hello does is taken for one only if it is one in all eight bytes") {
    const std::vector<std::uint8_t> bytes = hello("");
    for (std::size_t i = 0; i < session::header_size; ++i) {
        std::vector<std::uint8_t> other(bytes.begin(), bytes.begin() + session::header_size);
        other.resize(wire::token_size, 0x55);
        other.push_back(wire::framing_version);
        other[i] ^= 0x80U;
        if (i != 4) { // the length may be another
            CHECK(wire::recognise_request({other.data(), other.size()}) == Protocol::v1);
        }
    }
}

TEST_CASE("an acknowledgement of v1 is recognised by its first byte, and what is neither is neither") {
    const Token token = token_of(1);
    const wire::AckMessage ack = wire::encode_ack_frame({token.view(), false, "no", 7}, wire::Kind::response);
    CHECK(wire::recognise_answer({ack.data.data(), 1}) == Protocol::v1);
    CHECK(wire::recognise_answer(ack.view()) == Protocol::v1);
    const std::vector<std::uint8_t> neither(20, 'x');
    CHECK(wire::recognise_answer({neither.data(), neither.size()}) == Protocol::unknown);
    CHECK(wire::recognise_request({neither.data(), neither.size()}) == Protocol::unknown);
}
