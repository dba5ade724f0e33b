#include "routes.hpp"

namespace rp::bench {

namespace {

constexpr std::size_t request_size = 64;
constexpr std::uint32_t warmup = 100;

void await_reply(int fd) {
    char bytes[request_size];
    must(recv(fd, bytes, sizeof bytes, 0) > 0, "a reply");
}

} // namespace

std::uint64_t client_that_stays(const Address &front) {
    const char request[request_size] = {};
    const std::uint64_t start = now_ns();
    Fd connection = dial(front);
    send_all(connection.get(), request, sizeof request);
    await_reply(connection.get());
    const std::uint64_t elapsed = now_ns() - start;
    close_at_once(connection);
    return elapsed;
}

std::uint64_t client_that_is_redirected(const Address &front) {
    const char request[request_size] = {};
    Address backend{};
    const std::uint64_t start = now_ns();
    Fd first = dial(front);
    send_all(first.get(), request, sizeof request);
    receive_all(first.get(), &backend, sizeof backend);
    Fd second = dial(backend);
    send_all(second.get(), request, sizeof request);
    await_reply(second.get());
    const std::uint64_t elapsed = now_ns() - start;
    close_at_once(first);
    close_at_once(second);
    return elapsed;
}

void reply(Fd connection) {
    char bytes[request_size];
    receive_all(connection.get(), bytes, sizeof bytes);
    send_all(connection.get(), bytes, sizeof bytes);
}

void redirect(Fd connection, const Address &backend) {
    char request[request_size];
    send_all(connection.get(), &backend, sizeof backend);
    receive_all(connection.get(), request, sizeof request);
}

Route::Route(std::string name, Family family, Client client)
    : listener_(listen_on(family, path("front"))), front_(address_of(listener_)), client_(client),
      side_(std::move(name)) {}

void Route::await_settled(std::size_t processes) const {
    char bytes[8];
    receive_all(settled_.a.get(), bytes, processes);
}

void Route::visit() {
    meter_.lap();
    side_.add(client_(front_));
    await_settled(processes_.size());
    side_.add_cpu(meter_.lap());
}

void take_turns(const Settings &settings, const std::vector<Route *> &routes) {
    const auto visits = [&](std::uint32_t count) {
        for (std::uint32_t i = 0; i < count; i++) {
            for (Route *route : routes) {
                route->visit();
            }
        }
    };
    visits(warmup);
    for (Route *route : routes) {
        route->side().forget();
    }
    for (std::uint32_t round = 0; round < settings.rounds; round++) {
        visits(settings.samples);
        for (Route *route : routes) {
            route->side().end_round();
        }
    }
}

} // namespace rp::bench
