// Descriptors that are really short: none left to open, or very many in one message.
#pragma once

#include <sys/resource.h>

#include "support/descriptors.hpp"
#include "support/sockets.hpp"

namespace rp::test {

// One message, with `count` duplicates of a descriptor.
inline void send_message(int connection, const Bytes &bytes, int fd, std::size_t count) {
    std::vector<char> control(CMSG_SPACE(count * sizeof fd));
    iovec part{const_cast<std::uint8_t *>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (count > 0) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof fd);
        const std::vector<int> fds(count, fd);
        std::memcpy(CMSG_DATA(header), fds.data(), count * sizeof fd);
    }
    REQUIRE(sendmsg(connection, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
}

// The lowest numbers are taken, and no more are to be had, while this lives.
class NoMoreDescriptors {
  public:
    NoMoreDescriptors() {
        REQUIRE(getrlimit(RLIMIT_NOFILE, &before_) == 0);
        rlimit none = before_;
        none.rlim_cur = static_cast<rlim_t>(open_descriptors().rbegin()->first) + 1;
        for (int fd = 0; (fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0;) {
            gaps_.emplace_back(fd);
            if (static_cast<rlim_t>(fd) + 1 >= none.rlim_cur) {
                break;
            }
        }
        none.rlim_cur = std::max(none.rlim_cur, static_cast<rlim_t>(gaps_.back().get()) + 1);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
        REQUIRE(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) == -1);
    }
    NoMoreDescriptors(const NoMoreDescriptors &) = delete;
    NoMoreDescriptors &operator=(const NoMoreDescriptors &) = delete;
    ~NoMoreDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

  private:
    rlimit before_{};
    std::vector<UniqueFd> gaps_;
};

} // namespace rp::test
