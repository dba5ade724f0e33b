// Shared by the messages' own files: a writer that leaves defaults out, and a loop over a message's fields.
#pragma once

#include <protozero/basic_pbf_writer.hpp>
#include <string_view>

#include "wire/field_reader.hpp"

namespace rp::handoff::wire {

template <class Buffer>
class Writer {
  public:
    explicit Writer(Buffer &out) : pbf_(out) {}

    void number(std::uint32_t tag, std::uint64_t value) {
        if (value != 0) {
            pbf_.add_uint64(tag, value);
        }
    }
    // Negative enumerators are sign-extended to ten bytes, as protobuf wants it.
    void enumeration(std::uint32_t tag, std::int32_t value) {
        number(tag, static_cast<std::uint64_t>(std::int64_t{value}));
    }
    void text(std::uint32_t tag, std::string_view value) {
        if (!value.empty()) {
            element(tag, value);
        }
    }
    void bytes(std::uint32_t tag, ByteView value) {
        text(tag, {reinterpret_cast<const char *>(value.data()), value.size()});
    }
    // Of a repeated field, or an embedded message: written also when empty.
    void element(std::uint32_t tag, std::string_view value) { pbf_.add_string(tag, value.data(), value.size()); }

  private:
    protozero::basic_pbf_writer<Buffer> pbf_;
};

// field(message, reader) consumes one field. False if anything was malformed. depth: see FieldReader.
template <class Message, class Field>
bool merge_fields(Message &message, ByteView bytes, Field field, std::size_t depth = 0) {
    FieldReader reader(bytes, depth);
    while (reader.next()) {
        field(message, reader);
    }
    return !reader.failed();
}

} // namespace rp::handoff::wire
