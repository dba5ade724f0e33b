// Arbitrary bytes as each of the messages. What decodes is encoded again and decodes to the same; and whether the
// fields can be skipped is what a plain recursive reader, written after prost's rules, says of them.
#include "wire/hello.hpp"

#include <algorithm>
#include <string>
#include <tuple>

#include "base/text.hpp"
#include "check.hpp"
#include "wire/field_reader.hpp"

using namespace rp::handoff;
using namespace rp::handoff::wire;

namespace {

bool equal(const Frame &a, const Frame &b) {
    return a.envelope_version == b.envelope_version && a.kind == b.kind && a.payload_protocol == b.payload_protocol &&
           a.payload == b.payload && a.request_id == b.request_id && a.payload_encoding == b.payload_encoding &&
           a.deadline_unix_ms == b.deadline_unix_ms && a.traceparent == b.traceparent && a.tracestate == b.tracestate;
}

bool equal(const HandoffOffer &a, const HandoffOffer &b) {
    return a.handle_value == b.handle_value && a.token == b.token && a.service_name == b.service_name &&
           a.correlation_id == b.correlation_id;
}

bool equal(const HandoffAck &a, const HandoffAck &b) {
    return a.token == b.token && a.accepted == b.accepted && a.error_detail == b.error_detail &&
           a.correlation_id == b.correlation_id;
}

bool equal(const Hello &a, const Hello &b) {
    const auto tied = [](const Hello &h) {
        return std::tie(h.client_min_protocol, h.client_max_protocol, h.service_name, h.wanted_version,
                        h.client_version, h.client_capabilities, h.auth_token, h.request_id, h.connection_id,
                        h.peer_pid, h.client_lib_name, h.client_lib_version, h.peer_attestation_nonce,
                        h.capability_token, h.client_keepalive_secs);
    };
    return tied(a) == tied(b);
}

bool equal(const Negotiated &a, const Negotiated &b) {
    const auto tied = [](const Negotiated &n) {
        return std::tie(n.negotiated_protocol, n.daemon_version, n.backend_pipe, n.warnings, n.server_capabilities,
                        n.keepalive_interval_secs, n.handle_passed_token, n.connection_id);
    };
    return tied(a) == tied(b);
}

bool equal(const Refused &a, const Refused &b) {
    const auto tied = [](const Refused &r) {
        return std::tie(r.reason, r.daemon_min_protocol, r.daemon_max_protocol, r.code, r.details, r.retry_after_ms);
    };
    return tied(a) == tied(b);
}

template <class Message>
bool equal(const std::optional<Message> &a, const std::optional<Message> &b) {
    return a.has_value() == b.has_value() && (!a || equal(*a, *b));
}

bool equal(const HelloReply &a, const HelloReply &b) {
    return equal(a.negotiated, b.negotiated) && equal(a.refused, b.refused);
}

bool has_good_texts(const Frame &frame) {
    return is_utf8(frame.traceparent) && is_utf8(frame.tracestate);
}
bool has_good_texts(const HandoffOffer &offer) {
    return is_utf8(offer.service_name);
}
bool has_good_texts(const HandoffAck &ack) {
    return is_utf8(ack.error_detail);
}

bool has_good_texts(const Hello &hello) {
    return is_utf8(hello.service_name) && is_utf8(hello.wanted_version) && is_utf8(hello.client_version) &&
           is_utf8(hello.request_id) && is_utf8(hello.client_lib_name) && is_utf8(hello.client_lib_version);
}
bool has_good_texts(const Negotiated &negotiated) {
    return is_utf8(negotiated.daemon_version) && is_utf8(negotiated.backend_pipe) &&
           std::all_of(negotiated.warnings.begin(), negotiated.warnings.end(), is_utf8);
}
bool has_good_texts(const Refused &refused) {
    return is_utf8(refused.reason) &&
           std::all_of(refused.details.begin(), refused.details.end(),
                       [](const auto &entry) { return is_utf8(entry.first) && is_utf8(entry.second); });
}
bool has_good_texts(const HelloReply &reply) {
    return !(reply.negotiated && reply.refused) && (!reply.negotiated || has_good_texts(*reply.negotiated)) &&
           (!reply.refused || has_good_texts(*reply.refused));
}

// prost's skip_field, by the book. Each of these takes what it reads from the front of `rest`.
class Reference {
  public:
    explicit Reference(ByteView message) : rest_(message) {}

    bool skips_all() {
        while (!rest_.empty()) {
            if (!skip_field(100)) {
                return false;
            }
        }
        return true;
    }

  private:
    bool varint(std::uint64_t &value) {
        value = 0;
        for (unsigned i = 0; i < 10 && i < rest_.size(); ++i) {
            const std::uint8_t byte = rest_[i];
            if (i == 9 && byte > 1) {
                return false;
            }
            value |= static_cast<std::uint64_t>(byte & 0x7FU) << (7 * i);
            if (byte < 0x80) {
                rest_.remove_prefix(i + 1);
                return true;
            }
        }
        return false;
    }

    bool key(std::uint64_t &tag, unsigned &type) {
        std::uint64_t key = 0;
        if (!varint(key) || key > UINT32_MAX) {
            return false;
        }
        tag = key >> 3U;
        type = static_cast<unsigned>(key & 7U);
        return tag > 0 && type < 6;
    }

    bool drop(std::uint64_t length) {
        if (length > rest_.size()) {
            return false;
        }
        rest_.remove_prefix(static_cast<std::size_t>(length));
        return true;
    }

    bool skip_field(int depth) {
        std::uint64_t tag = 0;
        unsigned type = 0;
        return key(tag, type) && skip_value(tag, type, depth);
    }

    bool skip_value(std::uint64_t tag, unsigned type, int depth) {
        std::uint64_t value = 0;
        if (depth == 0) {
            return false;
        }
        switch (type) {
        case 0:
            return varint(value);
        case 1:
            return drop(8);
        case 2:
            return varint(value) && drop(value);
        case 3:
            return skip_group(tag, depth);
        case 5:
            return drop(4);
        default:
            return false;
        }
    }

    bool skip_group(std::uint64_t group, int depth) {
        std::uint64_t tag = 0;
        unsigned type = 0;
        while (key(tag, type)) {
            if (type == 4) {
                return tag == group;
            }
            if (!skip_value(tag, type, depth - 1)) {
                return false;
            }
        }
        return false;
    }

    ByteView rest_;
};

bool skips_all(ByteView message) {
    FieldReader reader(message);
    while (reader.next()) {
        reader.skip();
    }
    CHECK(!reader.next());
    return !reader.failed();
}

ByteView as_view(const std::string &bytes) {
    return {reinterpret_cast<const std::uint8_t *>(bytes.data()), bytes.size()};
}

template <class Decode>
void check(ByteView bytes, Decode decode, bool is_well_formed) {
    const auto message = decode(bytes);
    if (!message) {
        CHECK(message.error() == Status::frame_malformed);
        return;
    }
    CHECK(is_well_formed);
    CHECK(has_good_texts(*message));
    std::string encoded;
    append(encoded, *message);
    const auto again = decode(as_view(encoded));
    CHECK(again);
    CHECK(equal(*again, *message));
    std::string twice;
    append(twice, *again);
    CHECK(twice == encoded);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    const ByteView bytes(data, size);
    const bool is_well_formed = Reference(bytes).skips_all();
    CHECK(skips_all(bytes) == is_well_formed);
    check(bytes, decode_frame, is_well_formed);
    check(bytes, decode_offer, is_well_formed);
    check(bytes, decode_ack, is_well_formed);
    check(bytes, decode_hello, is_well_formed);
    check(bytes, decode_negotiated, is_well_formed);
    check(bytes, decode_refused, is_well_formed);
    check(bytes, decode_hello_reply, is_well_formed);
    return 0;
}
