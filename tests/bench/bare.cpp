#include <cstring>
#include <sys/ioctl.h>

#include "bare.hpp"
#include "sessions.hpp"

namespace rp::bench {

namespace {

constexpr std::size_t most_control_bytes = CMSG_SPACE(RP_HANDOFF_BATCH_MAX * sizeof(int));

// In all Unix sockets of this process, which are those of the session.
std::size_t unread_bytes() {
    constexpr int beyond_last = 64;
    std::size_t total = 0;
    for (int fd = 0; fd < beyond_last; fd++) {
        int domain = 0;
        int unread = 0;
        socklen_t length = sizeof domain;
        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX &&
            ioctl(fd, FIONREAD, &unread) == 0) {
            total += static_cast<std::size_t>(unread);
        }
    }
    return total;
}

// Both ends of a session in one process, by turns, until each has seen that it is open.
void open_both(rp_handoff_session *broker, rp_handoff_session *backend) {
    auto event = sized<rp_handoff_event>();
    int open = 0;
    for (int turn = 0; turn < 100 && open < 2; turn++) {
        for (rp_handoff_session *session : {broker, backend}) {
            must(rp_handoff_session_process(session) == RP_HANDOFF_OK, "process a session");
            open += rp_handoff_session_next_event(session, &event, nullptr);
        }
    }
    must(open == 2, "both ends of a session");
}

void submit(rp_handoff_session *session, std::uint32_t count, int fd) {
    std::vector<rp_handoff_submission> items(count, sized<rp_handoff_submission>());
    for (auto &item : items) {
        item.fd = fd;
        item.flags = RP_HANDOFF_SUBMIT_DUPLICATE;
    }
    must(rp_handoff_session_submit(session, items.data(), count, nullptr, nullptr) == static_cast<std::int32_t>(count),
         "submit");
}

Session session_of(rp_handoff_broker *broker, Fd fd) {
    rp_handoff_session *session = nullptr;
    auto options = sized<rp_handoff_session_options>();
    options.connection_fd = fd.get();
    must(rp_handoff_session_create_broker(broker, &options, &session, nullptr) == RP_HANDOFF_OK, "open a session");
    fd.release();
    return Session(session);
}

} // namespace

MessageSizes message_sizes(std::uint32_t count) {
    Pair pair;
    const Connection connection;
    const Broker broker = make_broker();
    const Session sender = session_of(broker.get(), std::move(pair.a));
    const Session receiver = backend_session(std::move(pair.b));
    open_both(sender.get(), receiver.get());
    submit(sender.get(), count, connection.server.get());
    const std::size_t offers = unread_bytes();
    serve_offers(receiver.get(), count, [](Fd) {});
    return {offers, unread_bytes()};
}

void send_descriptors(int socket, const int *fds, std::size_t count, const std::vector<char> &bytes) {
    alignas(cmsghdr) char control[most_control_bytes];
    iovec part{const_cast<char *>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    must(sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()), "sendmsg");
}

void take_descriptors(int socket, std::size_t count, std::vector<char> &bytes) {
    alignas(cmsghdr) char control[most_control_bytes];
    iovec part{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    must(received > 0, "recvmsg");
    const cmsghdr *header = CMSG_FIRSTHDR(&message);
    must(header != nullptr && header->cmsg_len == CMSG_LEN(count * sizeof(int)), "descriptors of a message");
    const auto length = static_cast<std::size_t>(received);
    if (length < bytes.size()) { // a long message comes in pieces, the descriptors with the first
        receive_all(socket, bytes.data() + length, bytes.size() - length);
    }
    for (std::size_t i = 0; i < count; i++) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
        close(fd);
    }
}

} // namespace rp::bench
