// A backend that adopts whatever it is offered, in a thread of its own, until it is stopped; and whom one talks to.
#pragma once

#include <thread>

#include "support/exchange.hpp"

namespace rp::test {

// Settings by which these users are talked to. The list has to outlive them.
template <class Options>
Options allowing(const std::vector<std::uint32_t> &uids, std::uint32_t flags = 0) {
    auto options = sized<Options>();
    options.peer_uids = uids.data();
    options.peer_uids_length = static_cast<std::uint32_t>(uids.size());
    options.peer_flags = flags;
    return options;
}

class Server {
  public:
    explicit Server(const rp_handoff_backend_options &options = sized<rp_handoff_backend_options>())
        : backend(make_backend(options)), thread_([this] { serve(); }) {}
    Server(const Server &) = delete;
    Server &operator=(const Server &) = delete;
    ~Server() { stop(); }

    void stop() {
        if (thread_.joinable()) {
            rp_handoff_backend_stop(backend.get());
            thread_.join();
        }
    }

    const Backend backend;

  private:
    void serve() const {
        rp_handoff_offer *offer = nullptr;
        while (rp_handoff_backend_next_offer(backend.get(), RP_HANDOFF_FOREVER, &offer) == RP_HANDOFF_OK) {
            std::int32_t fd = -1;
            if (rp_handoff_offer_accept(Offer(offer).get(), &fd) >= 0) {
                UniqueFd adopted(fd);
            }
        }
    }

    std::thread thread_;
};

} // namespace rp::test
