// System calls of sessions in the hands of the test.
#pragma once

#include "support/interpose.hpp"
#include "support/session_hand.hpp"

namespace rp::test {

using SendMessage = ssize_t(int, const msghdr *, int);

// Sends so many of a message's bytes, in fact.
inline ssize_t send_part(int fd, const msghdr *message, int flags, std::size_t most) {
    std::vector<iovec> pieces;
    for (std::size_t i = 0; i < message->msg_iovlen && most > 0; ++i) {
        iovec piece = message->msg_iov[i];
        piece.iov_len = std::min(piece.iov_len, most);
        most -= piece.iov_len;
        pieces.push_back(piece);
    }
    msghdr part = *message;
    part.msg_iov = pieces.data();
    part.msg_iovlen = pieces.size();
    return calls::sendmsg().real(fd, &part, flags);
}

inline std::size_t descriptors_of(const msghdr *message) {
    const cmsghdr *const header = message->msg_controllen > 0 ? CMSG_FIRSTHDR(message) : nullptr;
    return header != nullptr ? (header->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
}

// Every message that carries descriptors fails with this errno.
class NoOffers {
  public:
    explicit NoOffers(int error, std::size_t at_least = 1)
        : hook_(calls::sendmsg(), [error, at_least](int fd, const msghdr *message, int flags) {
              return descriptors_of(message) >= at_least ? fails_with(error)
                                                         : calls::sendmsg().real(fd, message, flags);
          }) {}

  private:
    Hooked<SendMessage> hook_;
};

inline void check_hands_over(const Joined &joined) {
    ClientConnection client;
    submit(joined.offering, client);
    const UniqueFd adopted = accept_offer(joined.next_offer().offer);
    CHECK(joined.next_outcome().is_outcome(RP_HANDOFF_OWNER_BACKEND, RP_HANDOFF_CAUSE_NONE));
    CHECK(are_joined(client.client.get(), adopted.get()));
}

} // namespace rp::test
