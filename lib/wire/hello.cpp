#include "wire/hello.hpp"

#include <protozero/buffer_string.hpp>
#include <utility>

#include "base/wiped_string.hpp"
#include "wire/codec.hpp"

namespace rp::handoff::wire {

namespace {

void merge_hello_field(Hello &hello, FieldReader &field) {
    switch (field.tag()) {
    case 1:
        hello.client_min_protocol = field.u32();
        break;
    case 2:
        hello.client_max_protocol = field.u32();
        break;
    case 3:
        hello.service_name = field.text();
        break;
    case 4:
        hello.wanted_version = field.text();
        break;
    case 5:
        hello.client_version = field.text();
        break;
    case 6:
        hello.client_capabilities = field.varint();
        break;
    case 7:
        hello.auth_token = field.bytes();
        break;
    case 8:
        hello.request_id = field.text();
        break;
    case 9:
        hello.connection_id = field.varint();
        break;
    case 10:
        hello.peer_pid = field.u32();
        break;
    case 11:
        hello.client_lib_name = field.text();
        break;
    case 12:
        hello.client_lib_version = field.text();
        break;
    case 13:
        hello.peer_attestation_nonce = field.bytes();
        break;
    case 14:
        hello.capability_token = field.bytes();
        break;
    case 15:
        hello.client_keepalive_secs = field.varint();
        break;
    default:
        field.skip();
    }
}

void merge_negotiated_field(Negotiated &negotiated, FieldReader &field) {
    switch (field.tag()) {
    case 1:
        negotiated.negotiated_protocol = field.u32();
        break;
    case 2:
        negotiated.daemon_version = field.text();
        break;
    case 3:
        negotiated.backend_pipe = field.text();
        break;
    case 4:
        negotiated.warnings.push_back(field.text());
        break;
    case 5:
        negotiated.server_capabilities = field.varint();
        break;
    case 6:
        negotiated.keepalive_interval_secs = field.varint();
        break;
    case 7:
        negotiated.handle_passed_token = field.bytes();
        break;
    case 8:
        negotiated.connection_id = field.varint();
        break;
    default:
        field.skip();
    }
}

// A map's entry is a message of its own; of equal keys the last one counts.
bool merge_detail(Refused &refused, FieldReader &reader) {
    std::pair<std::string_view, std::string_view> entry;
    const auto merge = [](auto &pair, FieldReader &field) {
        switch (field.tag()) {
        case 1:
            pair.first = field.text();
            break;
        case 2:
            pair.second = field.text();
            break;
        default:
            field.skip();
        }
    };
    const bool valid = merge_fields(entry, reader.bytes(), merge, reader.depth() + 1);
    refused.details[entry.first] = entry.second;
    return valid;
}

void merge_refused_field(Refused &refused, FieldReader &field) {
    switch (field.tag()) {
    case 1:
        refused.reason = field.text();
        break;
    case 2:
        refused.daemon_min_protocol = field.u32();
        break;
    case 3:
        refused.daemon_max_protocol = field.u32();
        break;
    case 4:
        refused.code = static_cast<RefusalCode>(field.enumeration());
        break;
    case 5:
        if (!merge_detail(refused, field)) {
            field.reject();
        }
        break;
    case 6:
        refused.retry_after_ms = field.varint();
        break;
    default:
        field.skip();
    }
}

// An embedded message that comes again is merged into the first, and the other choice of a oneof replaces it.
template <class Message, class Other, class Field>
void merge_choice(std::optional<Message> &chosen, std::optional<Other> &other, FieldReader &reader, Field field) {
    other.reset();
    if (!chosen) {
        chosen.emplace();
    }
    if (!merge_fields(*chosen, reader.bytes(), field, reader.depth() + 1)) {
        reader.reject();
    }
}

template <class Message, class Field>
Result<Message> decode(ByteView payload, Field field) {
    Message message;
    if (!merge_fields(message, payload, field)) {
        return Failure(Status::frame_malformed);
    }
    return message;
}

constexpr std::size_t numbers_and_keys = 96; // more than those of any message here take up

std::size_t room_for(const Negotiated &negotiated) noexcept {
    std::size_t room = numbers_and_keys + negotiated.daemon_version.size() + negotiated.backend_pipe.size() +
                       negotiated.handle_passed_token.size();
    for (const std::string_view warning : negotiated.warnings) {
        room += warning.size() + 10;
    }
    return room;
}
std::size_t room_for(const Refused &refused) noexcept {
    return numbers_and_keys + refused.reason.size(); // there is no token in it
}

template <class Message>
WipedString encoded(const Message &message) {
    WipedString out(room_for(message));
    append(out.text(), message);
    return out;
}

} // namespace

void append(std::string &out, const Hello &hello) {
    Writer<std::string> w(out);
    w.number(1, hello.client_min_protocol);
    w.number(2, hello.client_max_protocol);
    w.text(3, hello.service_name);
    w.text(4, hello.wanted_version);
    w.text(5, hello.client_version);
    w.number(6, hello.client_capabilities);
    w.bytes(7, hello.auth_token);
    w.text(8, hello.request_id);
    w.number(9, hello.connection_id);
    w.number(10, hello.peer_pid);
    w.text(11, hello.client_lib_name);
    w.text(12, hello.client_lib_version);
    w.bytes(13, hello.peer_attestation_nonce);
    w.bytes(14, hello.capability_token);
    w.number(15, hello.client_keepalive_secs);
}

void append(std::string &out, const Negotiated &negotiated) {
    Writer<std::string> w(out);
    w.number(1, negotiated.negotiated_protocol);
    w.text(2, negotiated.daemon_version);
    w.text(3, negotiated.backend_pipe);
    for (const std::string_view warning : negotiated.warnings) {
        w.element(4, warning);
    }
    w.number(5, negotiated.server_capabilities);
    w.number(6, negotiated.keepalive_interval_secs);
    w.bytes(7, negotiated.handle_passed_token);
    w.number(8, negotiated.connection_id);
}

void append(std::string &out, const Refused &refused) {
    Writer<std::string> w(out);
    w.text(1, refused.reason);
    w.number(2, refused.daemon_min_protocol);
    w.number(3, refused.daemon_max_protocol);
    w.enumeration(4, static_cast<std::int32_t>(refused.code));
    for (const auto &[key, value] : refused.details) {
        std::string entry;
        Writer<std::string> e(entry);
        e.text(1, key);
        e.text(2, value);
        w.element(5, entry);
    }
    w.number(6, refused.retry_after_ms);
}

std::size_t room_for(const HelloReply &reply) noexcept {
    return numbers_and_keys + (reply.negotiated ? room_for(*reply.negotiated) : 0) +
           (reply.refused ? room_for(*reply.refused) : 0);
}

void append(std::string &out, const HelloReply &reply) {
    Writer<std::string> w(out);
    if (reply.negotiated) {
        w.element(1, encoded(*reply.negotiated).text());
    } else if (reply.refused) {
        w.element(2, encoded(*reply.refused).text());
    }
}

Result<Hello> decode_hello(ByteView payload) {
    return decode<Hello>(payload, merge_hello_field);
}

Result<Negotiated> decode_negotiated(ByteView payload) {
    return decode<Negotiated>(payload, merge_negotiated_field);
}

Result<Refused> decode_refused(ByteView payload) {
    return decode<Refused>(payload, merge_refused_field);
}

Result<HelloReply> decode_hello_reply(ByteView payload) {
    return decode<HelloReply>(payload, [](HelloReply &reply, FieldReader &field) {
        switch (field.tag()) {
        case 1:
            merge_choice(reply.negotiated, reply.refused, field, merge_negotiated_field);
            break;
        case 2:
            merge_choice(reply.refused, reply.negotiated, field, merge_refused_field);
            break;
        default:
            field.skip();
        }
    });
}

} // namespace rp::handoff::wire
