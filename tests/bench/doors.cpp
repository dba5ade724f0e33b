#include "doors.hpp"

namespace rp::bench {

namespace {

constexpr char service_name[] = "benchmark";
constexpr std::size_t request_size = 64;

std::string make_hello() {
    auto hello = sized<rp_handoff_wire_hello>();
    hello.client_min_protocol = 1;
    hello.client_max_protocol = 1;
    hello.peer_pid = static_cast<std::uint32_t>(getpid());
    hello.service_name = service_name;
    hello.service_name_length = sizeof service_name - 1;
    hello.client_capabilities = RP_HANDOFF_CAPABILITY_HANDLE_PASSING;
    std::uint8_t bytes[512];
    std::size_t length = 0;
    must(rp_handoff_wire_encode_hello(&hello, 1, bytes, sizeof bytes, &length) == RP_HANDOFF_OK, "a Hello");
    return {bytes, bytes + length};
}

// What a client reads after its Hello.
class Answer {
  public:
    explicit Answer(int fd) noexcept : fd_(fd) {}

    // Reads until the reply is there.
    void read_reply() {
        std::uint64_t request_id = 0;
        std::int32_t status = RP_HANDOFF_ERR_FRAME_INCOMPLETE;
        while (status == RP_HANDOFF_ERR_FRAME_INCOMPLETE) {
            must(read_more(), "a reply to the Hello");
            status = rp_handoff_wire_decode_reply(bytes_, size_, &reply_, &request_id, &consumed_);
        }
        must(status == RP_HANDOFF_OK && reply_.choice == RP_HANDOFF_REPLY_NEGOTIATED, "Negotiated");
    }

    // Reads until "ready" is there, or the broker has closed.
    bool read_ready() {
        auto ready = sized<rp_handoff_wire_ack>();
        for (;;) {
            std::size_t consumed = 0;
            const std::int32_t status = rp_handoff_wire_decode_ack(bytes_ + consumed_, size_ - consumed_,
                                                                   RP_HANDOFF_KIND_EVENT, &ready, &consumed);
            if (status != RP_HANDOFF_ERR_FRAME_INCOMPLETE) {
                must(status == RP_HANDOFF_OK && ready.accepted == 1, "ready");
                return true;
            }
            if (!read_more()) {
                return false;
            }
        }
    }

    bool promises_handoff() const noexcept { return reply_.handle_passed_token_length > 0; }
    Address endpoint() const { return local_address({reply_.backend_pipe, reply_.backend_pipe_length}); }

  private:
    bool read_more() {
        const ssize_t n = recv(fd_, bytes_ + size_, sizeof bytes_ - size_, 0);
        size_ += n > 0 ? static_cast<std::size_t>(n) : 0;
        return n > 0;
    }

    int fd_;
    std::uint8_t bytes_[2048];
    std::size_t size_ = 0;
    std::size_t consumed_ = 0;
    rp_handoff_wire_reply reply_ = sized<rp_handoff_wire_reply>();
};

void exchange_request(int fd) {
    char bytes[request_size] = {};
    send_all(fd, bytes, sizeof bytes);
    must(recv(fd, bytes, sizeof bytes, 0) > 0, "a reply of the backend");
}

} // namespace

std::uint64_t client_that_waits(const Address &front) {
    static const std::string hello = make_hello();
    const std::uint64_t start = now_ns();
    Fd connection = dial(front);
    send_all(connection.get(), hello.data(), hello.size());
    Answer answer(connection.get());
    answer.read_reply();
    if (!answer.promises_handoff() || !answer.read_ready()) {
        connection = dial(answer.endpoint()); // after this the first one is closed
    }
    exchange_request(connection.get());
    return now_ns() - start;
}

Door::Door(const Route &route) : route_(route), endpoint_(route.path("backend")), broker_(make_broker()) {
    auto options = sized<rp_handoff_front_door_options>();
    options.max_hellos = UINT32_MAX; // all of them are one client's
    rp_handoff_front_door *door = nullptr;
    must(rp_handoff_front_door_create(broker_.get(), &options, &door, nullptr) == RP_HANDOFF_OK, "create a front door");
    door_.reset(door);
    hand_over_by(nullptr, nullptr);
}

void Door::hand_over_by(rp_handoff_session *session, const char *path) {
    auto service = sized<rp_handoff_front_door_service>();
    service.name = service_name;
    service.backend_endpoint = endpoint_.c_str();
    service.handoff_endpoint = path;
    service.session = session;
    must(rp_handoff_front_door_put_service(door_.get(), &service, nullptr) == RP_HANDOFF_OK, "put a service");
}

void Door::serve(std::int32_t result) {
    const Fd client = accept_from(route_.listener());
    auto visit = sized<rp_handoff_front_door_visit>();
    auto outcome = sized<rp_handoff_outcome>();
    must(rp_handoff_front_door_serve(door_.get(), client.get(), &visit, &outcome) == RP_HANDOFF_OK &&
             visit.result == result,
         "the result of a visit");
    if (visit.attempted == 0 || outcome.ownership == RP_HANDOFF_OWNER_BROKER) {
        shutdown(client.get(), SHUT_RDWR);
    }
}

void add_endpoint(Route &route) {
    route.start([&] {
        const auto listener = std::make_shared<Fd>(listen_on(Family::local, route.path("backend")));
        return [listener] { reply(accept_from(*listener)); };
    });
}

void make_reconnect(Route &route) {
    add_endpoint(route);
    route.start([&] {
        const auto door = std::make_shared<Door>(route);
        return [door] { door->serve(RP_HANDOFF_FRONT_DOOR_RECONNECT); };
    });
}

} // namespace rp::bench
