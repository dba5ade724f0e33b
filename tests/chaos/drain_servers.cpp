// The two servers of a drain.
#include "drain.hpp"

#include <cstring>
#include <rp_handoff.h>
#include <sys/socket.h>
#include <unordered_map>
#include <vector>

#include "server.hpp"

namespace rp::chaos {

namespace {

// What the new server has to know of a connection.
struct State {
    std::uint32_t attempt;
    std::uint32_t life; // that had it
    Numbers numbers;
};

void require(const Self &self, bool met, const char *what) {
    if (!met) {
        self.table.violation("%s: errno %d", what, errno);
        std::exit(1);
    }
}

class OldServer {
  public:
    OldServer(const Self &self, UniqueFd listener, UniqueFd session)
        : self_(self), server_(self, loop_), listener_(std::move(listener)) {
        loop_.watch(listener_.get(), {Kind::listener, 0});
        rp_handoff_broker_options limits{};
        limits.struct_size = sizeof limits;
        limits.max_pending = RP_HANDOFF_IN_FLIGHT_MAX;
        rp_handoff_session_options options{};
        options.struct_size = sizeof options;
        options.connection_fd = session.get();
        options.max_in_flight = RP_HANDOFF_IN_FLIGHT_MAX;
        require(self_, rp_handoff_broker_create(&limits, &broker_, nullptr) == RP_HANDOFF_OK, "no broker");
        require(self_, rp_handoff_session_create_broker(broker_, &options, &session_, nullptr) == RP_HANDOFF_OK,
                "no session");
        session.release();
        loop_.watch(rp_handoff_session_get_fd(session_), {Kind::session, 0});
    }
    OldServer(const OldServer &) = delete;
    OldServer &operator=(const OldServer &) = delete;
    ~OldServer() {
        rp_handoff_session_destroy(session_);
        rp_handoff_broker_destroy(broker_);
    }

    void run() {
        while (self_.table.phase == Phase::running) {
            turn(now_ns() + 10 * millisecond_ns);
        }
        const std::uint64_t begin_ns = now_ns();
        while (server_.size() != 0 || !in_flight_.empty()) {
            const bool handed = hand_over();
            turn(handed ? 0 : now_ns() + 10 * millisecond_ns);
        }
        self_.table.measured_ns = now_ns() - begin_ns;
        rp_handoff_session_close(session_);
        while (!is_closed_) {
            turn(now_ns() + 10 * millisecond_ns);
        }
    }

  private:
    void turn(std::uint64_t until_ns) {
        loop_.wait(until_ns, [this](Key key, std::uint32_t events) {
            if (key.kind == Kind::listener) {
                accept_client();
            } else if (key.kind == Kind::served) {
                server_.handle(key.number, events);
            }
        });
        rp_handoff_session_process(session_);
        take_events();
    }

    // The client's opening tells which it is; its server has to know first.
    void accept_client() {
        UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        Opening opening{};
        if (fd && recv(fd.get(), &opening, sizeof opening, MSG_WAITALL | MSG_PEEK) == sizeof opening) {
            server_.adopt(std::move(fd), opening.attempt, {nullptr, 0}, {nullptr, 0});
        }
    }

    // A batch of what is between two pieces. Whether any was submitted.
    bool hand_over() {
        std::vector<Server::Released> batch;
        std::vector<State> states;
        while (batch.size() < RP_HANDOFF_BATCH_MAX && in_flight_.size() + batch.size() < RP_HANDOFF_IN_FLIGHT_MAX) {
            Server::Released released = server_.release();
            if (!released.fd) {
                break;
            }
            states.push_back({released.attempt, self_.number, released.numbers});
            batch.push_back(std::move(released));
        }
        const std::size_t submitted = submit(batch, states);
        for (std::size_t i = 0; i < submitted; ++i) {
            batch[i].fd.release();
            in_flight_.emplace(batch[i].attempt, std::move(batch[i]));
        }
        for (std::size_t i = submitted; i < batch.size(); ++i) {
            server_.go_on_with(std::move(batch[i]), self_.number);
        }
        return submitted != 0;
    }

    std::size_t submit(const std::vector<Server::Released> &batch, const std::vector<State> &states) {
        std::vector<rp_handoff_submission> items(batch.size());
        for (std::size_t i = 0; i < batch.size(); ++i) {
            items[i].struct_size = sizeof items[i];
            items[i].fd = batch[i].fd.get();
            items[i].metadata = reinterpret_cast<const std::uint8_t *>(&states[i]);
            items[i].metadata_length = sizeof states[i];
            items[i].user_data = batch[i].attempt;
        }
        if (items.empty()) {
            return 0;
        }
        const std::int32_t status = rp_handoff_session_submit(
            session_, items.data(), static_cast<std::uint32_t>(items.size()), nullptr, nullptr);
        require(self_,
                status > 0 || status == RP_HANDOFF_ERR_LIMIT_SESSION || status == RP_HANDOFF_ERR_LIMIT ||
                    status == RP_HANDOFF_ERR_LIMIT_DESCRIPTORS || status == RP_HANDOFF_ERR_LIMIT_BYTES,
                rp_handoff_strerror(status));
        return status > 0 ? static_cast<std::size_t>(status) : 0;
    }

    void take_events() {
        rp_handoff_event event{};
        event.struct_size = sizeof event;
        while (rp_handoff_session_next_event(session_, &event, nullptr) == 1) {
            if (event.kind == RP_HANDOFF_EVENT_CLOSED) {
                require(self_, event.status == RP_HANDOFF_OK, "the session ended");
                is_closed_ = true;
            }
            if (event.kind != RP_HANDOFF_EVENT_OUTCOME) {
                continue;
            }
            const auto found = in_flight_.find(static_cast<std::uint32_t>(event.user_data));
            add(event.ownership == RP_HANDOFF_OWNER_BACKEND ? self_.life().broker.to_backend
                                                            : self_.life().broker.to_broker);
            if (event.ownership == RP_HANDOFF_OWNER_BROKER) {
                found->second.fd.reset(event.fd);
                server_.go_on_with(std::move(found->second), self_.number);
            }
            in_flight_.erase(found);
        }
    }

    const Self &self_;
    Loop loop_;
    Server server_;
    UniqueFd listener_;
    rp_handoff_broker *broker_ = nullptr;
    rp_handoff_session *session_ = nullptr;
    std::unordered_map<std::uint32_t, Server::Released> in_flight_;
    bool is_closed_ = false;
};

class NewServer {
  public:
    NewServer(const Self &self, UniqueFd session) : self_(self), server_(self, loop_) {
        rp_handoff_session_options options{};
        options.struct_size = sizeof options;
        options.connection_fd = session.get();
        options.max_in_flight = RP_HANDOFF_IN_FLIGHT_MAX;
        require(self_, rp_handoff_session_create_backend(&options, &session_, nullptr) == RP_HANDOFF_OK, "no session");
        session.release();
        loop_.watch(rp_handoff_session_get_fd(session_), {Kind::session, 0});
    }
    NewServer(const NewServer &) = delete;
    NewServer &operator=(const NewServer &) = delete;
    ~NewServer() { rp_handoff_session_destroy(session_); }

    void run() {
        while (self_.table.phase != Phase::finishing || server_.size() != 0) {
            loop_.wait(now_ns() + 10 * millisecond_ns, [this](Key key, std::uint32_t events) {
                if (key.kind == Kind::served) {
                    server_.handle(key.number, events);
                }
            });
            if (!is_closed_) {
                rp_handoff_session_process(session_);
                take_events();
            }
        }
    }

  private:
    void take_events() {
        rp_handoff_event event{};
        event.struct_size = sizeof event;
        while (rp_handoff_session_next_event(session_, &event, nullptr) == 1) {
            if (event.kind == RP_HANDOFF_EVENT_OFFER) {
                adopt(event.offer);
            } else if (event.kind == RP_HANDOFF_EVENT_CLOSED) {
                require(self_, event.status == RP_HANDOFF_OK, "the session ended");
                loop_.forget(rp_handoff_session_get_fd(session_));
                is_closed_ = true;
            }
        }
    }

    void adopt(rp_handoff_offer *offer) {
        rp_handoff_offer_info info{};
        info.struct_size = sizeof info;
        rp_handoff_offer_get_info(offer, &info);
        State state{};
        require(self_, info.metadata_length == sizeof state, "an offer without its state");
        std::memcpy(&state, info.metadata, sizeof state);
        std::int32_t fd = -1;
        if (rp_handoff_offer_accept(offer, &fd) >= RP_HANDOFF_OK) {
            server_.go_on_with({UniqueFd(fd), state.attempt, state.numbers}, state.life);
        }
        rp_handoff_offer_destroy(offer);
    }

    const Self &self_;
    Loop loop_;
    Server server_;
    rp_handoff_session *session_ = nullptr;
    bool is_closed_ = false;
};

} // namespace

void run_old_server(const Self &self, UniqueFd listener, UniqueFd session) {
    OldServer(self, std::move(listener), std::move(session)).run();
}

void run_new_server(const Self &self, UniqueFd session) {
    NewServer(self, std::move(session)).run();
}

} // namespace rp::chaos
