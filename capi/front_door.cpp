#include "door/front_door.hpp"

#include <charconv>
#include <cstdlib>

#include "environment.hpp"
#include "handles.hpp"
#include "os/descriptor.hpp"
#include "os/endpoint.hpp"
#include "policy.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

static_assert(static_cast<int>(FrontDoor::Visit::Result::dropped) == RP_HANDOFF_FRONT_DOOR_DROPPED);
static_assert(static_cast<int>(FrontDoor::Visit::Result::refused) == RP_HANDOFF_FRONT_DOOR_REFUSED);
static_assert(static_cast<int>(FrontDoor::Visit::Result::reconnect) == RP_HANDOFF_FRONT_DOOR_RECONNECT);
static_assert(static_cast<int>(FrontDoor::Visit::Result::handed_off) == RP_HANDOFF_FRONT_DOOR_HANDED_OFF);
static_assert(static_cast<int>(wire::RefusalCode::fd_pressure) == RP_HANDOFF_REFUSED_FD_PRESSURE);

struct rp_handoff_front_door {
    static constexpr Kind own_kind = Kind::front_door;
    Handle base{own_kind};
    FrontDoor door;

    rp_handoff_front_door(std::shared_ptr<Broker> broker, FrontDoor::Config config) : door(std::move(broker), config) {}

    bool can_be_freed() noexcept { return door.can_be_freed(); }
    void end(Ending) noexcept {}
};

namespace {

constexpr std::size_t max_name = 255;
constexpr std::size_t max_endpoint = 1023;
constexpr std::size_t max_versions = 64;
constexpr std::uint32_t max_hello = 65536;

Result<BackendKey> key_of(const rp_handoff_front_door_service &s, std::string_view name, std::string_view version,
                          Explanation &why) {
    if (s.backend != nullptr) {
        return to_backend_key(s.backend, why);
    }
    return BackendKey(BackendKey::Instance::shared, {}, name, version, {});
}

Status read_versions(const rp_handoff_front_door_service &s, std::vector<std::string> &versions, Explanation &why) {
    if (s.allowed_versions_length > max_versions || (s.allowed_versions_length > 0 && s.allowed_versions == nullptr)) {
        return why.about(Status::invalid_argument, "allowed_versions", "are more than 64, or a length without a list");
    }
    for (std::size_t i = 0; i < s.allowed_versions_length; ++i) {
        const auto text = to_text(s.allowed_versions[i], max_name, Presence::required, "allowed_versions", why);
        if (!text) {
            return text.error();
        }
        versions.emplace_back(*text);
    }
    return Status::ok;
}

Status read_texts(const rp_handoff_front_door_service &s, Service &service, Explanation &why) {
    const auto name = to_text(s.name, max_name, Presence::required, "name", why);
    const auto version = to_text(s.version, max_name, Presence::optional, "version", why);
    const auto backend = to_text(s.backend_endpoint, max_endpoint, Presence::required, "backend_endpoint", why);
    if (!name || !version || !backend) {
        return Status::invalid_argument;
    }
    if (s.handoff_endpoint != nullptr && !os::is_valid_path(s.handoff_endpoint)) {
        return why.because(Status::path_invalid, "handoff_endpoint", rp_handoff_strerror(code(Status::path_invalid)));
    }
    service.name = *name;
    service.version = *version;
    service.backend_endpoint = *backend;
    service.handoff_endpoint = s.handoff_endpoint != nullptr ? s.handoff_endpoint : "";
    return read_versions(s, service.allowed_versions, why);
}

Status read_session(const rp_handoff_front_door_service &s, const Broker &broker, Service &service, Explanation &why) {
    if (s.session == nullptr) {
        return Status::ok;
    }
    if (const Status status = check_handle(s.session); status != Status::ok) {
        return why.about(status, "session", "is no session");
    }
    service.session = s.session->offering;
    if (service.session == nullptr || &service.session->broker() != &broker) {
        return why.about(Status::invalid_argument, "session", "is not one of this front door's broker");
    }
    return s.handoff_endpoint == nullptr
               ? Status::ok
               : why.about(Status::invalid_argument, "handoff_endpoint", "contradicts session: give one of the two");
}

Result<Service> to_service(const rp_handoff_front_door_service &s, const Broker &broker, Explanation &why) {
    Service service;
    if (const Status status = read_texts(s, service, why); status != Status::ok) {
        return Failure(status);
    }
    Result<PeerPolicy> clients = make_peers({s.client_peer_flags, RP_HANDOFF_PEER_ANY_UID, s.client_uids,
                                             s.client_uids_length, "client_peer_flags", "client_uids"},
                                            why);
    if (!clients) {
        return Failure(clients.error());
    }
    Result<BackendKey> key = key_of(s, service.name, service.version, why);
    if (!key) {
        return Failure(key.error());
    }
    if (const Status status = read_session(s, broker, service, why); status != Status::ok) {
        return Failure(status);
    }
    service.clients = std::move(*clients);
    service.handoff_enabled = s.handoff_disabled == 0;
    service.adopted_backend = s.adopted_backend != 0;
    service.capabilities = s.capabilities;
    service.keepalive_secs = whole_seconds(s.keepalive_ns);
    service.backend = std::move(*key);
    return service;
}

rp_handoff_front_door_visit to_visit(const FrontDoor::Visit &visit) noexcept {
    rp_handoff_front_door_visit out{};
    out.result = static_cast<std::int32_t>(visit.result);
    out.status = code(visit.status);
    out.code = static_cast<std::int32_t>(visit.code);
    out.connection_id = visit.connection_id;
    out.attempted = visit.handoff ? 1 : 0;
    out.ready_delivered = visit.ready_delivered ? 1 : 0;
    put_text(out.detail, visit.detail.view());
    return out;
}

} // namespace

int32_t rp_handoff_front_door_create(rp_handoff_broker *broker, const rp_handoff_front_door_options *options,
                                     rp_handoff_front_door **out_front_door, rp_handoff_error *out_error) {
    return explained_with(broker, "broker", out_error, [&](Explanation &why) {
        rp_handoff_front_door_options o{};
        const Status given =
            first_failure({check_given(out_front_door, "out_front_door", why), read_options(options, o, why)});
        if (given != Status::ok) {
            return given;
        }
        if (!os::supported) {
            return Status::unsupported;
        }
        FrontDoor::Config config;
        config.max_hello = or_default(o.max_hello_bytes, config.max_hello);
        config.hello_timeout = limited(
            o.hello_timeout_ns, environment_timeout("RUNNING_PROCESS_BROKER_HELLO_TIMEOUT_MS", config.hello_timeout));
        config.hellos_per_window = or_default(o.max_hellos, config.hellos_per_window);
        config.window = limited(o.hello_window_ns, config.window);
        config.pressure_retry = limited(o.pressure_retry_ns, config.pressure_retry);
        if (const Status status = check_at_most(config.max_hello, max_hello, "max_hello_bytes", why);
            status != Status::ok) {
            return status;
        }
        *out_front_door = new rp_handoff_front_door(std::shared_ptr<Broker>(broker->core, &broker->broker), config);
        return Status::ok;
    });
}

void rp_handoff_front_door_destroy(rp_handoff_front_door *front_door) {
    destroy(front_door);
}

int32_t rp_handoff_front_door_put_service(rp_handoff_front_door *front_door,
                                          const rp_handoff_front_door_service *service, rp_handoff_error *out_error) {
    return explained_with(front_door, "front_door", out_error, [&](Explanation &why) {
        rp_handoff_front_door_service s{};
        if (const Status status = read_struct(service, s, "service", why); status != Status::ok) {
            return status;
        }
        Result<Service> core = to_service(s, front_door->door.broker(), why);
        if (core) {
            front_door->door.put_service(std::move(*core));
        }
        return core ? Status::ok : core.error();
    });
}

int32_t rp_handoff_front_door_remove_service(rp_handoff_front_door *front_door, const char *name) {
    return guarded_with(front_door, [&]() -> std::int32_t {
        if (name == nullptr) {
            return RP_HANDOFF_ERR_INVALID_ARGUMENT;
        }
        return front_door->door.remove_service(name) ? 1 : 0;
    });
}

int32_t rp_handoff_front_door_serve(rp_handoff_front_door *front_door, int32_t client_fd,
                                    rp_handoff_front_door_visit *out_visit, rp_handoff_outcome *out_outcome) {
    return guarded_with(front_door, [&] {
        const Status given = first_failure({client_fd < 0 ? Status::invalid_argument : Status::ok,
                                            check_result_struct(out_visit), check_optional_struct(out_outcome)});
        if (given != Status::ok) {
            return given;
        }
        const FrontDoor::Visit visit = front_door->door.serve(client_fd);
        write_struct(out_visit, to_visit(visit));
        if (visit.handoff && out_outcome != nullptr) {
            write_struct(out_outcome, to_outcome(*visit.handoff));
        }
        return Status::ok;
    });
}
