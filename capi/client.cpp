#include "door/client.hpp"

#include "environment.hpp"
#include "handles.hpp"
#include "os/descriptor.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

static_assert(static_cast<int>(Route::hello_skip) == RP_HANDOFF_ROUTE_HELLO_SKIP);
static_assert(static_cast<int>(Route::broker_negotiated) == RP_HANDOFF_ROUTE_BROKER_NEGOTIATED);
static_assert(static_cast<int>(Route::handle_passed) == RP_HANDOFF_ROUTE_HANDLE_PASSED);
static_assert(static_cast<int>(Route::refused) == RP_HANDOFF_ROUTE_REFUSED);

namespace {

constexpr std::size_t max_text = 255;

rp_handoff_client_connection to_connection(ClientConnection &connection) noexcept {
    rp_handoff_client_connection out{};
    out.fd = connection.fd.release();
    out.route = static_cast<std::int32_t>(connection.route);
    out.refusal_code = static_cast<std::int32_t>(connection.code);
    out.retry_after_ns = nanoseconds_of(connection.retry_after_ms, ns_per_ms);
    out.connection_id = connection.connection_id;
    out.capabilities = connection.capabilities;
    out.keepalive_ns = nanoseconds_of(connection.keepalive_secs, ns_per_second);
    out.has_token = connection.token ? 1 : 0;
    if (connection.token) {
        out.token = to_c(*connection.token);
    }
    put_text(out.endpoint, connection.endpoint);
    put_text(out.daemon_version, connection.daemon_version);
    put_text(out.reason, connection.reason.view());
    return out;
}

Result<ClientRequest> to_request(const rp_handoff_client_request &r, Explanation &why) {
    const auto service = to_text(r.service_name, max_text, Presence::required, "service_name", why);
    const auto wanted = to_text(r.wanted_version, max_text, Presence::optional, "wanted_version", why);
    const auto own = to_text(r.own_version, max_text, Presence::optional, "own_version", why);
    if (!service || !wanted || !own || check_given(r.broker_path, "broker_path", why) != Status::ok) {
        return Failure(Status::invalid_argument);
    }
    ClientRequest request{r.broker_path, *service, *wanted, *own, r.cached_endpoint};
    request.adopt = r.adopt != 0;
    request.ready_timeout = limited(r.ready_timeout_ns, request.ready_timeout);
    request.timeout =
        limited(r.timeout_ns, environment_timeout("RUNNING_PROCESS_BROKER_CLIENT_TIMEOUT_MS", request.timeout));
    request.keepalive_secs = whole_seconds(r.keepalive_ns);
    return request;
}

} // namespace

int32_t rp_handoff_client_connect(const rp_handoff_client_request *request,
                                  rp_handoff_client_connection *out_connection, rp_handoff_error *out_error) {
    return explained(out_error, [&](Explanation &why) {
        rp_handoff_client_request r{};
        const Status given = first_failure(
            {read_struct(request, r, "request", why), check_result_struct(out_connection, "out_connection", why)});
        if (given != Status::ok) {
            return given;
        }
        const Result<ClientRequest> core = to_request(r, why);
        const Result<PeerPolicy> peers =
            make_peers({r.peer_flags, RP_HANDOFF_PEER_ANY_UID, r.peer_uids, r.peer_uids_length}, why);
        const auto time = make_time(r.now, r.wait, r.time_user_data, nullptr, why);
        if (!core || !peers || !time) {
            return Status::invalid_argument;
        }
        if (!os::supported) {
            return Status::unsupported;
        }
        Result<ClientConnection> connection = connect_to_service(*core, *peers, **time);
        if (connection) {
            write_struct(out_connection, to_connection(*connection));
        }
        return connection ? Status::ok : connection.error();
    });
}
