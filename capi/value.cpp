// Value handoffs: the caller's duplication and delivery, as the core wants them.
#include "handoff/value.hpp"

#include "callbacks.hpp"
#include "environment.hpp"
#include "handles.hpp"
#include "policy.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

namespace {

TransportError to_error(std::int32_t status, std::int32_t os_error) noexcept {
    switch (status) {
    case RP_HANDOFF_DUPLICATE_UNSUPPORTED:
        return {Cause::unsupported_platform, os_error};
    case RP_HANDOFF_DUPLICATE_CANNOT_OPEN_BACKEND:
    case RP_HANDOFF_DUPLICATE_FAILED:
        return {Cause::duplicate_failed, os_error};
    case RP_HANDOFF_DUPLICATE_PERMISSION_DENIED:
        return {Cause::permission_denied, os_error};
    case RP_HANDOFF_DUPLICATE_INTEGRITY_MISMATCH:
        return {Cause::integrity_mismatch, os_error};
    default:
        return {Cause::duplicate_failed, os_error};
    }
}

class CallbackDuplicator final : public Duplicator {
  public:
    CallbackDuplicator(rp_handoff_duplicate_fn call, void *user_data) noexcept : call_(call), user_data_(user_data) {}

    tl::expected<std::uint64_t, TransportError> duplicate(std::uint64_t handle,
                                                          const Attempt &attempt) noexcept override {
        rp_handoff_token token = to_c(attempt.token);
        const WipedAtEnd wiped(token);
        const rp_handoff_value_attempt asked = to_value_attempt(handle, attempt, token);
        std::uint64_t duplicated = 0;
        std::int32_t status = 0;
        std::int32_t os_error = 0;
        if (!callback_succeeded([&] { return call_(user_data_, &asked, &duplicated, &status, &os_error); })) {
            status = 0;
        }
        if (status != RP_HANDOFF_DUPLICATE_DONE) {
            return tl::unexpected(to_error(status, os_error));
        }
        return duplicated;
    }

    static rp_handoff_value_attempt to_value_attempt(std::uint64_t handle, const Attempt &attempt,
                                                     const rp_handoff_token &token) noexcept {
        return {sizeof(rp_handoff_value_attempt), attempt.backend_pid,          handle, &token, attempt.service_name,
                attempt.correlation_id,           nanoseconds(attempt.deadline)};
    }

  private:
    rp_handoff_duplicate_fn call_;
    void *user_data_;
};

class CallbackChannel final : public DeliveryChannel {
  public:
    CallbackChannel(rp_handoff_deliver_fn call, void *user_data) noexcept : call_(call), user_data_(user_data) {}

    bool deliver(std::uint64_t backend_handle, const Attempt &attempt) noexcept override {
        rp_handoff_token token = to_c(attempt.token);
        const WipedAtEnd wiped(token);
        const rp_handoff_value_attempt told = CallbackDuplicator::to_value_attempt(backend_handle, attempt, token);
        return callback_succeeded([&] { return call_(user_data_, &told); });
    }

  private:
    rp_handoff_deliver_fn call_;
    void *user_data_;
};

} // namespace

int32_t rp_handoff_broker_execute_value(rp_handoff_broker *broker, const rp_handoff_value_request *request,
                                        rp_handoff_outcome *out_outcome, uint64_t *out_leaked_handle,
                                        rp_handoff_error *out_error) {
    return explained_with(broker, "broker", out_error, [&](Explanation &why) {
        rp_handoff_value_request r{};
        const WipedAtEnd wiped(r.token);
        const Status readable = first_failure(
            {read_struct(request, r, "request", why), check_result_struct(out_outcome, "out_outcome", why)});
        if (readable != Status::ok) {
            return readable;
        }
        if (r.duplicate != nullptr && (r.deliver == nullptr || r.await_ack == nullptr)) {
            return why.about(Status::invalid_argument, r.deliver == nullptr ? "deliver" : "await_ack",
                             "is needed with duplicate");
        }
        auto subject = to_subject(r.subject, why);
        if (!subject) {
            return subject.error();
        }
        UnsupportedDuplicator unsupported;
        CallbackDuplicator given(r.duplicate, r.duplicate_user_data);
        CallbackChannel channel(r.deliver, r.deliver_user_data);
        CallbackWaiter waiter(r.await_ack, r.await_ack_user_data);
        ValueTransport transport(r.handle, r.duplicate != nullptr ? static_cast<Duplicator &>(given) : unsupported,
                                 channel);
        const Token claimed = to_token(r.token);
        const Result<Broker::Report> report = broker->broker.execute(
            claimed, r.correlation_id, std::move(*subject),
            [&](IssuedTokens &tokens, const AckRegistry::Pending &pending, std::uint64_t id) noexcept {
                const ServiceName &service = pending.backend.service_name;
                const Attempt attempt{
                    -1, nullptr, -1, ByteView(), pending.deadline, claimed, service.c_str(), pending.backend.pid, id};
                return orchestrate(tokens, attempt, transport, waiter, broker->broker.time());
            });
        if (!report) {
            return report.error();
        }
        write_struct(out_outcome, to_outcome(*report));
        if (out_leaked_handle != nullptr) {
            *out_leaked_handle = report->handoff.outcome.completed ? 0 : transport.duplicated().value_or(0);
        }
        return Status::ok;
    });
}
