// Deadlines that one thread brings to a session while a loop or another thread sleeps for longer.
#include <atomic>
#include <fstream>
#include <thread>

#include "sockets.hpp"

using namespace rp::test;

namespace {

constexpr std::uint64_t soon = 20'000'000;

// Both ends of a session in this process, open.
struct Sessions {
    Broker broker = make_broker();
    Session offering;
    Session receiving;

    explicit Sessions(std::uint64_t open_timeout = 0) {
        SocketPair pair;
        auto options = sized<rp_handoff_session_options>();
        options.open_timeout_ns = open_timeout;
        rp_handoff_session *session = nullptr;
        options.connection_fd = pair.a.get();
        REQUIRE(rp_handoff_session_open(broker.get(), &options, &session) == RP_HANDOFF_OK);
        pair.a.release();
        offering.reset(session);
        options.connection_fd = pair.b.get();
        REQUIRE(rp_handoff_session_receive(&options, &session) == RP_HANDOFF_OK);
        pair.b.release();
        receiving.reset(session);
        for (rp_handoff_session *side : {receiving.get(), offering.get(), receiving.get()}) {
            REQUIRE(rp_handoff_session_process(side) == RP_HANDOFF_OK);
        }
        for (rp_handoff_session *side : {offering.get(), receiving.get()}) {
            CHECK(next_event(side).kind == RP_HANDOFF_EVENT_OPENED);
            CHECK(next_event(side).kind == 0);
        }
    }

    static rp_handoff_event next_event(rp_handoff_session *side) {
        auto event = sized<rp_handoff_event>();
        rp_handoff_session_next_event(side, &event, nullptr);
        return event;
    }

    // Hands one end of a connection over.
    void submit(std::uint64_t timeout) {
        SocketPair pair;
        auto submission = sized<rp_handoff_submission>();
        submission.fd = pair.a.get();
        submission.timeout_ns = timeout;
        REQUIRE(rp_handoff_session_submit(offering.get(), &submission, sizeof submission, 1, nullptr) == 1);
        pair.a.release();
    }

    std::uint64_t timeout() const {
        std::uint64_t left = 0;
        CHECK(rp_handoff_session_timeout(offering.get(), &left) == RP_HANDOFF_OK);
        return left;
    }

    bool is_ready() const {
        pollfd target{rp_handoff_session_fd(offering.get()), POLLIN, 0};
        return poll(&target, 1, 0) == 1;
    }
};

// A thread that waits in a session, without a limit.
class Waiter {
  public:
    explicit Waiter(const Session &session) : thread_([this, &session] { wait(session); }) {
        while (!is_asleep()) {
            std::this_thread::yield();
        }
    }
    std::int32_t result() {
        thread_.join();
        return result_;
    }

  private:
    void wait(const Session &session) {
        id_ = gettid();
        result_ = rp_handoff_session_wait(session.get(), RP_HANDOFF_FOREVER);
    }
    // Asleep in a system call, and it makes no other that sleeps.
    bool is_asleep() const {
        std::ifstream file("/proc/self/task/" + std::to_string(id_) + "/stat");
        std::string id;
        std::string name;
        std::string state;
        return id_ != 0 && file >> id >> name >> state && state == "S";
    }

    std::atomic<pid_t> id_{0};
    std::int32_t result_ = 0;
    std::thread thread_;
};

} // namespace

TEST_CASE("a deadline that is earlier than what a loop was told makes the session's descriptor ready") {
    Sessions sessions;
    CHECK(sessions.timeout() == RP_HANDOFF_FOREVER);
    sessions.submit(second);
    CHECK(sessions.is_ready());
    CHECK(rp_handoff_session_process(sessions.offering.get()) == RP_HANDOFF_OK);
    CHECK(!sessions.is_ready());
    CHECK(sessions.timeout() <= second);
    sessions.submit(2 * second);
    CHECK(!sessions.is_ready());
}

TEST_CASE("a deadline that comes before a loop asks for its timeout is no news") {
    Sessions sessions;
    CHECK(sessions.timeout() == RP_HANDOFF_FOREVER);
    CHECK(rp_handoff_session_process(sessions.offering.get()) == RP_HANDOFF_OK);
    sessions.submit(second);
    CHECK(!sessions.is_ready());
}

TEST_CASE("a thread that waits for ever wakes at the deadline of what another submitted") {
    Sessions sessions;
    Waiter waiter(sessions.offering);
    sessions.submit(soon);
    CHECK(waiter.result() == 1);
    const rp_handoff_event event = Sessions::next_event(sessions.offering.get());
    CHECK(event.kind == RP_HANDOFF_EVENT_OUTCOME);
    CHECK(event.ownership == RP_HANDOFF_OWNER_BROKER);
    UniqueFd(event.fd).reset();
}

TEST_CASE("two threads that wait for ever both see to the deadline of what a third submitted") {
    Sessions sessions;
    Waiter first(sessions.offering);
    Waiter second(sessions.offering);
    sessions.submit(soon);
    CHECK(first.result() == 1);
    CHECK(second.result() == 1);
}

TEST_CASE("a thread that waits for ever wakes when the peer does not take part in the close of another") {
    Sessions sessions(soon);
    Waiter waiter(sessions.offering);
    CHECK(rp_handoff_session_close(sessions.offering.get()) == RP_HANDOFF_OK);
    CHECK(waiter.result() == 1);
    const rp_handoff_event event = Sessions::next_event(sessions.offering.get());
    CHECK(event.kind == RP_HANDOFF_EVENT_CLOSED);
    CHECK(event.status == RP_HANDOFF_ERR_TIMED_OUT);
}
