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

    rp_handoff_front_door(Broker &broker, FrontDoor::Config config) : door(broker, config) {}
};

namespace {

constexpr std::size_t max_name = 255;
constexpr std::size_t max_endpoint = 1023;
constexpr std::uint32_t max_versions = 64;

std::string to_string(const Result<std::string_view> &text) {
    return std::string(*text);
}

Result<BackendKey> key_of(const rp_handoff_front_door_service &s, std::string_view name, std::string_view version) {
    if (s.backend != nullptr) {
        return to_backend_key(s.backend);
    }
    return BackendKey(BackendKey::Instance::shared, {}, name, version, {});
}

Status read_versions(const rp_handoff_front_door_service &s, std::vector<std::string> &versions) {
    if (s.allowed_version_count > max_versions || (s.allowed_version_count > 0 && s.allowed_versions == nullptr)) {
        return Status::invalid_argument;
    }
    for (std::uint32_t i = 0; i < s.allowed_version_count; ++i) {
        const auto text = to_text(s.allowed_versions[i], max_name);
        if (!text || s.allowed_versions[i] == nullptr) {
            return Status::invalid_argument;
        }
        versions.emplace_back(*text);
    }
    return Status::ok;
}

Result<Service> to_service(const rp_handoff_front_door_service &s, const Broker &broker) {
    const auto name = to_text(s.name, max_name);
    const auto version = to_text(s.version, max_name);
    const auto backend = to_text(s.backend_endpoint, max_endpoint);
    if (!name || s.name == nullptr || !version || !backend || s.backend_endpoint == nullptr) {
        return Failure(Status::invalid_argument);
    }
    if (s.handoff_endpoint != nullptr && !os::is_valid_path(s.handoff_endpoint)) {
        return Failure(Status::path_invalid);
    }
    Result<PeerPolicy> clients =
        make_peers(s.client_peer_flags, RP_HANDOFF_PEER_ANY_UID, s.client_uids, s.client_uid_count);
    Result<BackendKey> key = key_of(s, *name, *version);
    std::vector<std::string> versions;
    const Status versions_read = read_versions(s, versions);
    if (!clients || !key || versions_read != Status::ok) {
        return Failure(clients ? key ? versions_read : key.error() : clients.error());
    }
    std::shared_ptr<session::BrokerSession> session;
    if (s.session != nullptr) {
        if (const Status status = check_handle(s.session); status != Status::ok) {
            return Failure(status);
        }
        session = s.session->offering;
        if (session == nullptr || &session->broker() != &broker || s.handoff_endpoint != nullptr) {
            return Failure(Status::invalid_argument);
        }
    }
    Service service;
    service.clients = std::move(*clients);
    service.name = to_string(name);
    service.version = to_string(version);
    service.backend_endpoint = to_string(backend);
    service.handoff_endpoint = s.handoff_endpoint != nullptr ? s.handoff_endpoint : "";
    service.session = std::move(session);
    service.allowed_versions = std::move(versions);
    service.handoff_enabled = s.handoff_disabled == 0;
    service.adopted_backend = s.adopted_backend != 0;
    service.capabilities = s.capabilities;
    service.keepalive_secs = s.keepalive_secs;
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
                                     rp_handoff_front_door **out_front_door) {
    return guarded_with(broker, [&] {
        rp_handoff_front_door_options o{};
        if (out_front_door == nullptr) {
            return Status::invalid_argument;
        }
        if (const Status status = read_options(options, o); status != Status::ok) {
            return status;
        }
        if (!os::supported) {
            return Status::unsupported;
        }
        FrontDoor::Config config;
        config.max_hello = or_default(o.max_hello_bytes, config.max_hello);
        config.hello_timeout =
            or_default(duration(o.hello_timeout_ns),
                       environment_timeout("RUNNING_PROCESS_BROKER_HELLO_TIMEOUT_MS", config.hello_timeout));
        config.hellos_per_window = or_default(o.max_hellos, config.hellos_per_window);
        config.window = or_default(duration(o.hello_window_ns), config.window);
        config.pressure_retry = or_default(duration(o.pressure_retry_ns), config.pressure_retry);
        if (config.max_hello > 65536) {
            return Status::invalid_argument;
        }
        *out_front_door = new rp_handoff_front_door(broker->broker, config);
        return Status::ok;
    });
}

void rp_handoff_front_door_destroy(rp_handoff_front_door *front_door) {
    destroy(front_door, [](bool) { return true; });
}

int32_t rp_handoff_front_door_put_service(rp_handoff_front_door *front_door,
                                          const rp_handoff_front_door_service *service) {
    return guarded_with(front_door, [&] {
        rp_handoff_front_door_service s{};
        if (const Status status = read_struct(service, s); status != Status::ok) {
            return status;
        }
        Result<Service> core = to_service(s, front_door->door.broker());
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
        if (client_fd < 0 || check_result_struct(out_visit) != Status::ok ||
            (out_outcome != nullptr && check_result_struct(out_outcome) != Status::ok)) {
            return Status::invalid_argument;
        }
        const FrontDoor::Visit visit = front_door->door.serve(client_fd);
        write_struct(out_visit, to_visit(visit));
        if (visit.handoff && out_outcome != nullptr) {
            write_struct(out_outcome, to_outcome(*visit.handoff));
        }
        return Status::ok;
    });
}
