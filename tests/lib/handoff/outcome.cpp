#include "handoff/outcome.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <set>
#include <string>

using namespace rp::handoff;

namespace {

constexpr Cause all_causes[] = {Cause::none,
                                Cause::unsupported_platform,
                                Cause::permission_denied,
                                Cause::peer_rejected,
                                Cause::peer_unknown,
                                Cause::backend_unavailable,
                                Cause::would_block,
                                Cause::descriptor_pressure,
                                Cause::send_failed,
                                Cause::partial_send,
                                Cause::offer_undelivered,
                                Cause::deadline_before_send,
                                Cause::ack_timed_out,
                                Cause::ack_read_failed,
                                Cause::backend_closed,
                                Cause::ack_malformed,
                                Cause::ack_unrelated,
                                Cause::backend_refused,
                                Cause::ack_overdue,
                                Cause::revoked,
                                Cause::callback_failed,
                                Cause::no_memory};

std::string described(const TransportError &error) {
    return std::string(error.describe().view());
}

} // namespace

TEST_CASE("connect: each errno has the cause of its row") {
    for (const int denied : {EACCES, EPERM}) {
        CHECK(cause_of_connect(denied) == Cause::permission_denied);
    }
    CHECK(cause_of_connect(EAGAIN) == Cause::would_block);
    for (const int pressure : {EMFILE, ENFILE}) {
        CHECK(cause_of_connect(pressure) == Cause::descriptor_pressure);
    }
    for (const int other : {ENOENT, ECONNREFUSED, ENAMETOOLONG, EINVAL, ENOTSOCK, ENOTDIR, ELOOP, EPROTOTYPE, ENOMEM,
                            ECONNRESET, ETIMEDOUT, ENOBUFS}) {
        CAPTURE(other);
        CHECK(cause_of_connect(other) == Cause::backend_unavailable);
    }
}

TEST_CASE("sendmsg: each errno has the cause of its row") {
    for (const int denied : {EACCES, EPERM}) {
        CHECK(cause_of_send(denied) == Cause::permission_denied);
    }
    for (const int full : {EAGAIN, EWOULDBLOCK, ENOBUFS}) {
        CHECK(cause_of_send(full) == Cause::would_block);
    }
    for (const int gone : {ECONNREFUSED, ECONNRESET, EPIPE, ENOTCONN}) {
        CHECK(cause_of_send(gone) == Cause::backend_unavailable);
    }
    for (const int pressure : {ETOOMANYREFS, EMFILE, ENFILE}) {
        CHECK(cause_of_send(pressure) == Cause::descriptor_pressure);
    }
    for (const int other : {EBADF, EINVAL, ENOTSOCK, ENOMEM, EMSGSIZE, EINTR, EOPNOTSUPP, EFAULT, EIO, 0}) {
        CAPTURE(other);
        CHECK(cause_of_send(other) == Cause::send_failed);
    }
}

TEST_CASE("a short send ended within the token, or after it") {
    CHECK(cause_of_short_send(1) == Cause::partial_send);
    CHECK(cause_of_short_send(15) == Cause::partial_send);
    CHECK(cause_of_short_send(16) == Cause::offer_undelivered);
    CHECK(cause_of_short_send(17) == Cause::offer_undelivered);
}

TEST_CASE("each cause of a transport counts and is named as in its row") {
    struct Row {
        Cause cause;
        FailureClass failure;
        Reason reason;
    };
    const Row rows[] = {
        {Cause::unsupported_platform, FailureClass::none, Reason::service_policy_disabled},
        {Cause::permission_denied, FailureClass::permission_denied, Reason::permission_denied},
        {Cause::peer_rejected, FailureClass::permission_denied, Reason::permission_denied},
        {Cause::peer_unknown, FailureClass::permission_denied, Reason::permission_denied},
        {Cause::backend_unavailable, FailureClass::backend_ack_timeout, Reason::backend_ack_timeout},
        {Cause::would_block, FailureClass::backend_ack_timeout, Reason::backend_ack_timeout},
        {Cause::descriptor_pressure, FailureClass::none, Reason::fd_pressure_disabled},
        {Cause::send_failed, FailureClass::backend_ack_timeout, Reason::backend_ack_timeout},
        {Cause::partial_send, FailureClass::backend_ack_timeout, Reason::backend_ack_timeout},
        {Cause::offer_undelivered, FailureClass::backend_ack_timeout, Reason::backend_ack_timeout},
        {Cause::deadline_before_send, FailureClass::backend_ack_timeout, Reason::backend_ack_timeout},
    };
    for (const Row &row : rows) {
        CAPTURE(row.cause);
        CHECK(failure_class(row.cause) == row.failure);
        CHECK(reason_of(row.cause) == row.reason);
    }
}

TEST_CASE("whatever kept the acknowledgement away, the backend never proved adoption") {
    for (const Cause cause :
         {Cause::ack_timed_out, Cause::ack_read_failed, Cause::backend_closed, Cause::ack_malformed,
          Cause::ack_unrelated, Cause::backend_refused, Cause::ack_overdue, Cause::revoked, Cause::callback_failed}) {
        CAPTURE(cause);
        CHECK(failure_class(cause) == FailureClass::backend_ack_timeout);
        CHECK(reason_of(cause) == Reason::backend_ack_timeout);
    }
    CHECK(failure_class(Cause::no_memory) == FailureClass::none);
    CHECK(reason_of(Cause::no_memory) == Reason::backend_ack_timeout);
}

TEST_CASE("each failure class has the reason of the same name") {
    CHECK(reason_of(FailureClass::permission_denied) == Reason::permission_denied);
    CHECK(reason_of(FailureClass::integrity_mismatch) == Reason::integrity_mismatch);
    CHECK(reason_of(FailureClass::backend_ack_timeout) == Reason::backend_ack_timeout);
    CHECK(reason_of(FailureClass::none) == Reason::none);
}

TEST_CASE("every cause but none has a reason, and none of a transport is a mismatch of integrity") {
    for (const Cause cause : all_causes) {
        CAPTURE(cause);
        CHECK((reason_of(cause) == Reason::none) == (cause == Cause::none));
        CHECK(reason_of(cause) != Reason::integrity_mismatch);
        CHECK(failure_class(cause) != FailureClass::integrity_mismatch);
    }
}

TEST_CASE("the client reconnects and sees no error, whatever the reason, with and without a hint when to retry") {
    for (int reason = 0; reason <= static_cast<int>(Reason::adopted_backend); ++reason) {
        for (const std::optional<Duration> retry_after : {std::optional<Duration>(), std::optional(Duration(5))}) {
            const Decision decision{static_cast<Reason>(reason), retry_after};
            CHECK(decision.uses_backend_reconnect());
            CHECK_FALSE(decision.sends_client_error());
        }
    }
}

TEST_CASE("a transport that failed before its first byte has not reached the backend, but one that sent a part has") {
    for (const Cause cause : all_causes) {
        CAPTURE(cause);
        const bool may_have = cause == Cause::partial_send || cause == Cause::offer_undelivered ||
                              cause == Cause::callback_failed; // also if its number of bytes was forgotten
        CHECK(TransportError{cause, 0, 0}.may_have_reached_backend() == may_have);
        CHECK(TransportError{cause, EPIPE, 0}.may_have_reached_backend() == may_have);
    }
}

TEST_CASE("a transport that sent one byte may have reached the backend") {
    for (const Cause cause : all_causes) {
        CAPTURE(cause);
        CHECK(TransportError{cause, 0, 1}.may_have_reached_backend());
        CHECK(TransportError{cause, 0, 16}.may_have_reached_backend());
    }
}

TEST_CASE("each failure of a transport has words of its own") {
    std::set<std::string> words;
    const Cause causes[] = {Cause::unsupported_platform, Cause::permission_denied,    Cause::peer_rejected,
                            Cause::peer_unknown,         Cause::backend_unavailable,  Cause::would_block,
                            Cause::descriptor_pressure,  Cause::send_failed,          Cause::partial_send,
                            Cause::offer_undelivered,    Cause::deadline_before_send, Cause::callback_failed};
    for (const Cause cause : causes) {
        const std::string text = described({cause, 0, 0});
        CHECK_FALSE(text.empty());
        words.insert(text);
    }
    CHECK(words.size() == std::size(causes));
}

TEST_CASE("the words name the errno and the number of bytes, where there are any") {
    const std::string bare = described({Cause::partial_send, 0, 0});
    CHECK(described({Cause::partial_send, 0, 5}) == bare + " after 5 bytes");
    CHECK(described({Cause::partial_send, EPIPE, 0}) == bare + ": Broken pipe");
    CHECK(described({Cause::partial_send, EPIPE, 5}) == bare + " after 5 bytes: Broken pipe");
    CHECK(described({Cause::partial_send, 99999, 0}) == bare + ": unknown error");
    CHECK(described({Cause::partial_send, -1, 0}) == bare + ": unknown error");
}
