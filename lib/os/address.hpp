// A path as the address of a Unix socket.
#pragma once

#include <cstddef>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>

namespace rp::handoff::os {

struct Address {
    sockaddr_un un{};
    socklen_t length = 0;
    const sockaddr *get() const noexcept { return reinterpret_cast<const sockaddr *>(&un); }
};

// The caller has checked the path.
inline Address to_address(const char *path) noexcept {
    Address address;
    address.un.sun_family = AF_UNIX;
    const std::size_t length = std::strlen(path);
    std::memcpy(address.un.sun_path, path, length);
    address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length + 1);
    return address;
}

} // namespace rp::handoff::os
