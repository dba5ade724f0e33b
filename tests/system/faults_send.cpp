// Sending, when the kernel says no, not now, or not all of it: what left, and whose the connection is then.
#include <deque>

#include "support/arrived.hpp"
#include "support/hand_backend.hpp"
#include "support/interpose.hpp"

using namespace rp::test;

namespace {

// One result of a system call that sends: an errno, or so many of the bytes.
struct Step {
    int error = 0;
    std::size_t bytes = SIZE_MAX;
};
constexpr Step whole{};

constexpr Step fails(int error) {
    return Step{error, 0};
}
constexpr Step takes(std::size_t bytes) {
    return Step{0, bytes};
}

// How long the message of a scene is, and the counts at which it is cut: around the end of the token.
std::size_t total() {
    const rp_handoff_token token = token_of(1);
    return sizeof token.bytes + encoded(wire_offer(token, "scene", 1)).size();
}

std::vector<std::size_t> cuts() {
    return {1, 15, 16, 17, total() - 1};
}

// A handoff during which sendmsg, and then send for what is left, do as they are told. What they take really leaves.
class Sending : public Scene {
  public:
    Sending(std::deque<Step> of_message, std::deque<Step> of_rest = {})
        : of_message_(std::move(of_message)), of_rest_(std::move(of_rest)) {
        answer = [this](const ReceivedOffer &offer) { write_all(connection.b.get(), offer.accepted()); };
        time.meanwhile = [this] {
            if (left_ == total()) {
                act();
            }
        };
    }

    rp_handoff_outcome hand_over() {
        const Hooked<ssize_t(int, const msghdr *, int)> message(
            calls::sendmsg(), [this](int fd, const msghdr *asked, int how) { return on_sendmsg(fd, *asked, how); });
        const Hooked<ssize_t(int, const void *, std::size_t, int)> rest(
            calls::send(),
            [this](int fd, const void *data, std::size_t length, int how) { return on_send(fd, data, length, how); });
        return run();
    }

    Arrived arrived() const { return take_all(connection.b.get()); }

    std::uint64_t time_per_call = 0; // for a socket that never takes anything: the deadline comes nearer
    std::size_t steps_left() const { return of_message_.size() + of_rest_.size(); }

  private:
    static Step next(std::deque<Step> &steps) {
        const Step step = steps.empty() ? whole : steps.front();
        if (steps.size() > 1 || (!steps.empty() && step.error != EAGAIN)) {
            steps.pop_front(); // the last "not now" stays for ever
        }
        return step;
    }

    ssize_t on_sendmsg(int fd, const msghdr &asked, int how) {
        CHECK((how & (MSG_DONTWAIT | MSG_NOSIGNAL)) == (MSG_DONTWAIT | MSG_NOSIGNAL));
        CHECK(asked.msg_iovlen == 1);
        CHECK(asked.msg_controllen == CMSG_SPACE(sizeof(int)));
        const Step step = next(of_message_);
        if (step.error != 0) {
            return fails_with(step.error);
        }
        iovec part = asked.msg_iov[0];
        part.iov_len = std::min(part.iov_len, step.bytes);
        msghdr less = asked;
        less.msg_iov = &part;
        left_ += part.iov_len;
        return part.iov_len == 0 ? 0 : calls::sendmsg().real(fd, &less, how);
    }

    ssize_t on_send(int fd, const void *data, std::size_t length, int how) {
        CHECK((how & (MSG_DONTWAIT | MSG_NOSIGNAL)) == (MSG_DONTWAIT | MSG_NOSIGNAL));
        time.now += time_per_call;
        const Step step = next(of_rest_);
        if (step.error != 0) {
            return fails_with(step.error);
        }
        const std::size_t taken = std::min(length, step.bytes);
        left_ += taken;
        return taken == 0 ? 0 : calls::send().real(fd, data, taken, how);
    }

    std::deque<Step> of_message_;
    std::deque<Step> of_rest_;
    std::size_t left_ = 0;
};

void check_completed(Sending &sending) {
    CHECK(sending.hand_over().result == RP_HANDOFF_COMPLETED);
    CHECK(sending.steps_left() == 0);
    check_ended(sending.broker, sending.request, sending.flags);
}

void check_nothing_left(Sending &sending, std::int32_t cause, std::int32_t reason, int os_error) {
    const rp_handoff_outcome outcome = sending.hand_over();
    check_fallback(outcome, RP_HANDOFF_STAGE_SEND, reason, cause, RP_HANDOFF_OWNER_BROKER);
    CHECK(outcome.os_error == os_error);
    CHECK(outcome.may_have_reached_backend == 0);
    CHECK(sending.arrived().bytes == 0);
    check_ended(sending.broker, sending.request, sending.flags);
}

// `sent` bytes left before it broke off.
void check_cut(Sending &sending, std::size_t sent, int os_error) {
    CAPTURE(sent);
    CAPTURE(os_error);
    const rp_handoff_outcome outcome = sending.hand_over();
    check_fallback(outcome, RP_HANDOFF_STAGE_SEND, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT,
                   sent < 16 ? RP_HANDOFF_CAUSE_PARTIAL_SEND : RP_HANDOFF_CAUSE_OFFER_UNDELIVERED,
                   RP_HANDOFF_OWNER_AMBIGUOUS);
    CHECK(outcome.os_error == os_error);
    CHECK(outcome.may_have_reached_backend == 1);
    const Arrived arrived = sending.arrived();
    CHECK(arrived.bytes == sent);
    CHECK(arrived.descriptors == 1);
    check_ended(sending.broker, sending.request, sending.flags);
}

} // namespace

TEST_CASE("a send that is interrupted is repeated, and the descriptor leaves once") {
    Sending sending({fails(EINTR), fails(EINTR), fails(EINTR)});
    check_completed(sending);
    CHECK(sending.arrived().descriptors == 0); // the backend has had the only one
}

TEST_CASE("a send that fails as a whole leaves the connection with the broker, for a reason that tells") {
    struct Row {
        int error;
        std::int32_t cause;
        std::int32_t reason;
    };
    const Row rows[] = {
        {EAGAIN, RP_HANDOFF_CAUSE_WOULD_BLOCK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {ENOBUFS, RP_HANDOFF_CAUSE_WOULD_BLOCK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {EPERM, RP_HANDOFF_CAUSE_PERMISSION_DENIED, RP_HANDOFF_REASON_PERMISSION_DENIED},
        {EACCES, RP_HANDOFF_CAUSE_PERMISSION_DENIED, RP_HANDOFF_REASON_PERMISSION_DENIED},
        {ECONNREFUSED, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {ECONNRESET, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {EPIPE, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {ENOTCONN, RP_HANDOFF_CAUSE_BACKEND_UNAVAILABLE, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {ETOOMANYREFS, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE, RP_HANDOFF_REASON_FD_PRESSURE_DISABLED},
        {EMFILE, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE, RP_HANDOFF_REASON_FD_PRESSURE_DISABLED},
        {ENFILE, RP_HANDOFF_CAUSE_DESCRIPTOR_PRESSURE, RP_HANDOFF_REASON_FD_PRESSURE_DISABLED},
        {ENOMEM, RP_HANDOFF_CAUSE_SEND_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {EMSGSIZE, RP_HANDOFF_CAUSE_SEND_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {EBADF, RP_HANDOFF_CAUSE_SEND_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {EINVAL, RP_HANDOFF_CAUSE_SEND_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {ENOTSOCK, RP_HANDOFF_CAUSE_SEND_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
        {4095, RP_HANDOFF_CAUSE_SEND_FAILED, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT},
    };
    for (const Row &row : rows) {
        CAPTURE(row.error);
        Sending sending({fails(row.error)});
        check_nothing_left(sending, row.cause, row.reason, row.error);
        Sending interrupted({fails(EINTR), fails(row.error)});
        check_nothing_left(interrupted, row.cause, row.reason, row.error);
    }
}

TEST_CASE("a send that takes nothing is not tried again and again") {
    Sending sending({takes(0)});
    check_nothing_left(sending, RP_HANDOFF_CAUSE_WOULD_BLOCK, RP_HANDOFF_REASON_BACKEND_ACK_TIMEOUT, EAGAIN);
}

TEST_CASE("a send that takes a part is finished without the descriptor") {
    for (const std::size_t sent : cuts()) {
        CAPTURE(sent);
        Sending at_once({takes(sent)}, {whole});
        check_completed(at_once);
        Sending in_pieces({takes(sent)}, {fails(EINTR), takes(1)});
        check_completed(in_pieces);
    }
}

TEST_CASE("a send that takes a part and then breaks off may have reached the backend") {
    for (const std::size_t sent : cuts()) {
        for (const int error : {EPIPE, ECONNRESET, ENOBUFS, EIO, EMFILE, EPERM}) {
            Sending sending({takes(sent)}, {fails(error)});
            check_cut(sending, sent, error);
        }
        Sending stuck({takes(sent)}, {takes(0)});
        check_cut(stuck, sent, 0);
    }
}

TEST_CASE("what counts of a send in pieces is all that left, to the byte") {
    struct Cut {
        std::size_t first;
        std::size_t then;
    };
    for (const Cut cut : {Cut{1, 13}, Cut{1, 14}, Cut{1, 15}, Cut{15, 1}, Cut{16, 1}}) {
        Sending sending({takes(cut.first)}, {takes(cut.then), fails(EPIPE)});
        check_cut(sending, cut.first + cut.then, EPIPE);
    }
}

TEST_CASE("a send that takes a part and then never anything more ends at the deadline") {
    for (const std::size_t sent : cuts()) {
        Sending sending({takes(sent)}, {fails(EAGAIN)});
        sending.time_per_call = second;
        check_cut(sending, sent, 0);
        CHECK(sending.time.now == sending.deadline);
    }
}

TEST_CASE("a send that takes a part goes on when there is room again") {
    Sending sending({takes(1)}, {fails(EAGAIN), takes(20), fails(EAGAIN), takes(1), whole});
    sending.time_per_call = second / 2;
    check_completed(sending);
}

TEST_CASE("a wait for room that fails ends the send") {
    Sending sending({takes(16)}, {fails(EAGAIN)});
    sending.time_per_call = 0;
    sending.broker = make_broker([&] {
        auto options = sending.time.in(sized<rp_handoff_broker_options>());
        options.wait = [](void *, std::int32_t, std::int32_t, std::uint64_t, std::int32_t *) {
            return std::int32_t{0};
        };
        return options;
    }());
    sending.request.token = issue(sending.broker, "scene");
    check_cut(sending, 16, 0);
}
