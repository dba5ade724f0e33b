// Broker and backend in processes of their own, on the system's clock.
#pragma once

#include "support/api.hpp"
#include "support/door.hpp"
#include "support/process.hpp"

namespace rp::test {

// Answers each client's first byte with the way by which it came: 'A' adopted, 'R' reconnected.
class BackendProcess {
  public:
    BackendProcess(const std::string &handoff_path, const std::string &reconnect_path)
        : child([=](const Wire &wire) {
              rp_handoff_backend *backend = nullptr;
              must(rp_handoff_backend_create(nullptr, &backend, nullptr) == RP_HANDOFF_OK);
              unlink(reconnect_path.c_str());
              const UniqueFd listener = listener_at(reconnect_path);
              must(rp::test::listen_at(backend, handoff_path.c_str()) == RP_HANDOFF_OK);
              wire.say('r');
              run(backend, listener);
          }) {
        REQUIRE(child.hear() == 'r');
    }

  private:
    static void greet(const UniqueFd &client, char way) {
        char byte = 0;
        if (recv(client.get(), &byte, 1, 0) == 1) {
            send(client.get(), &way, 1, MSG_NOSIGNAL);
        }
    }

    [[noreturn]] static void run(rp_handoff_backend *backend, const UniqueFd &listener) {
        for (;;) {
            pollfd both[] = {{rp_handoff_backend_get_fd(backend), POLLIN, 0}, {listener.get(), POLLIN, 0}};
            must(poll(both, 2, -1) > 0);
            if (both[1].revents != 0) {
                greet(accept_from(listener), 'R');
            }
            rp_handoff_offer *offer = nullptr;
            if (both[0].revents != 0 && rp_handoff_backend_next_offer(backend, 0, &offer) == RP_HANDOFF_OK) {
                std::int32_t fd = -1;
                must(rp_handoff_offer_accept(offer, &fd) >= 0);
                rp_handoff_offer_destroy(offer);
                greet(UniqueFd(fd), 'A');
            }
        }
    }

  public:
    Child child;
};

// A front door that serves one client after the other, and says the result of each visit.
class BrokerProcess {
  public:
    BrokerProcess(const std::string &path, const std::string &handoff_path, const std::string &reconnect_path,
                  std::uint64_t ack_deadline_ns = 0)
        : child([=](const Wire &wire) {
              auto options = sized<rp_handoff_broker_options>();
              options.ack_deadline_ns = ack_deadline_ns;
              rp_handoff_broker *broker = nullptr;
              rp_handoff_front_door *door = nullptr;
              must(rp_handoff_broker_create(&options, &broker, nullptr) == RP_HANDOFF_OK);
              must(rp_handoff_front_door_create(broker, nullptr, &door, nullptr) == RP_HANDOFF_OK);
              auto service = sized<rp_handoff_front_door_service>();
              service.name = "service";
              service.backend_endpoint = reconnect_path.c_str();
              service.handoff_endpoint = handoff_path.c_str();
              must(rp_handoff_front_door_put_service(door, &service, nullptr) == RP_HANDOFF_OK);
              unlink(path.c_str());
              const UniqueFd listener = listener_at(path);
              wire.say('r');
              for (;;) {
                  serve_next(door, listener, wire);
              }
          }) {
        REQUIRE(child.hear() == 'r');
    }

    // The result of the next visit, as RP_HANDOFF_FRONT_DOOR_.
    int next_result() const { return child.hear() - '0'; }

  private:
    static void serve_next(rp_handoff_front_door *door, const UniqueFd &listener, const Wire &wire) {
        const UniqueFd client = accept_from(listener);
        auto visit = sized<rp_handoff_front_door_visit>();
        auto outcome = sized<rp_handoff_outcome>();
        must(rp_handoff_front_door_serve(door, client.get(), &visit, &outcome) == RP_HANDOFF_OK);
        if (visit.attempted == 0 || outcome.ownership == RP_HANDOFF_OWNER_BROKER) {
            shutdown(client.get(), SHUT_RDWR);
        }
        wire.say(static_cast<char>('0' + visit.result));
    }

  public:
    Child child;
};

// Where they find each other.
struct Town {
    Directory directory;
    std::string door = directory / "door";
    std::string handoff = directory / "handoff";
    std::string reconnect = directory / "reconnect";

    rp_handoff_client_request request() const {
        auto request = sized<rp_handoff_client_request>();
        request.adopt = 1;
        request.broker_path = door.c_str();
        request.service_name = "service";
        request.ready_timeout_ns = 3600 * second; // whoever is done here says so
        request.timeout_ns = 3600 * second;
        return request;
    }
};

struct ConnectedClient {
    explicit ConnectedClient(const rp_handoff_client_request &request)
        : status(rp_handoff_client_connect(&request, &connection, nullptr)),
          fd(status == RP_HANDOFF_OK ? connection.fd : -1) {}

    // What the backend answers to a first byte, 0 for the end.
    char greeting() const {
        char byte = 0;
        const bool sent = send(fd.get(), "?", 1, MSG_NOSIGNAL) == 1;
        return sent && recv(fd.get(), &byte, 1, 0) == 1 ? byte : '\0';
    }

    rp_handoff_client_connection connection = sized<rp_handoff_client_connection>();
    std::int32_t status;
    UniqueFd fd;
};

} // namespace rp::test
