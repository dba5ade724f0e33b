// Sessions with peers in containers: processes whose pids and users this one does not see, or cannot name.
#include "os/peer.hpp"
#include "support/namespaces.hpp"
#include "support/session_core.hpp"

using namespace rp::test;
using rp::handoff::Broker;
using rp::handoff::Explanation;
using rp::handoff::PeerPolicy;
using rp::handoff::Result;
using rp::handoff::session::PidfdState;

namespace {

bool contains(const std::string &text, const char *part) {
    return text.find(part) != std::string::npos;
}

// How a session began.
struct Met {
    bool opened = false;
    std::string why; // not
};

template <class Session>
Met meet(Session &session) {
    while (session.wait(std::nullopt).value_or(false)) {
        const std::optional<Event> event = take(session);
        if (event && event->kind == Kind::opened) {
            return {true, {}};
        }
        if (event && event->kind == Kind::closed) {
            return {false, std::string(event->end->text.view())};
        }
    }
    return {};
}

// One side of a session over a socket, and what it is there for: to hand one connection over, or to adopt one.
class BrokerThere {
  public:
    explicit BrokerThere(UniqueFd fd, const Config &config = {})
        : session(open_broker(core, over(std::move(fd), config))), met(meet(*session)) {}
    ~BrokerThere() { session->shutdown(); }
    bool does_its_part() const {
        const SocketPair client;
        Submission submission;
        submission.fd = client.a.get();
        submission.descriptor = Submission::Descriptor::borrowed;
        Explanation why;
        const Result<Broker::Report> report = session->execute(submission, why);
        return report && report->handoff.outcome.completed;
    }
    BrokerCore core;
    std::shared_ptr<BrokerSession> session;
    Met met;
};
class BackendThere {
  public:
    explicit BackendThere(UniqueFd fd, const Config &config = {})
        : session(open_backend(over(std::move(fd), config))), met(meet(*session)) {}
    ~BackendThere() { session->shutdown(); }
    bool does_its_part() const {
        if (!session->wait(std::nullopt).value_or(false)) {
            return false;
        }
        const std::optional<Event> event = take(*session);
        if (!event || event->kind != Kind::offer) {
            return false;
        }
        const bool adopted = session->accept(event->offer).has_value();
        session->release(event->offer);
        static_cast<void>(take(*session)); // the answer leaves
        return adopted;
    }
    std::shared_ptr<BackendSession> session;
    Met met;
};

// A process at the other end of a socket; `own` is what is left for this one.
bool can_be_contained() {
    Child trying([](const Wire &wire) { wire.say(leaves(CLONE_NEWPID) ? 'y' : 'n'); });
    return trying.hear() == 'y';
}

// One side of a session in a container, the other one outside, where the one inside is visible.
template <class There, class Here>
void meets_across() {
    SocketPair sockets;
    const int theirs = sockets.b.get();
    Child child(contained([theirs](const Wire &wire) {
        const There there{UniqueFd(theirs)};
        must(there.met.opened);
        must(there.session->peer()->credentials.pid == 0);
        must(there.does_its_part());
        wire.hear(); // until the other side has seen it
    }));
    sockets.b.reset();
    {
        const Here here(std::move(sockets.a));
        REQUIRE(here.met.opened);
        CHECK(here.session->peer()->credentials.pid != 0);
        CHECK(here.does_its_part());
    }
    child.say('d');
    CHECK(child.wait() == 0);
}

// What one in a container, which demands something of its peer outside, makes of it; a sentence of why not, which both have.
template <class There, class Here>
void demands(const Config &config, const char *sentence) {
    SocketPair sockets;
    const int theirs = sockets.b.get();
    Child child(contained([&](const Wire &wire) {
        const There there(UniqueFd(theirs), config);
        must(there.met.opened == (sentence == nullptr));
        must(there.met.opened || contains(there.met.why, sentence));
        must(!there.met.opened || there.session->peer()->pidfd_state == PidfdState::held);
        wire.hear();
    }));
    sockets.b.reset();
    const Here here(std::move(sockets.a));
    if (sentence != nullptr) {
        const Met met = here.met.opened ? meet(*here.session) : here.met; // a broker opens first
        CHECK(contains(met.why, "the peer rejects this process: "));
        CHECK(contains(met.why, sentence));
    } else {
        CHECK(here.met.opened);
    }
    child.say('d');
    CHECK(child.wait() == 0);
}

bool kernel_gives_pidfds() {
    const Sessions sessions;
    return sessions.broker->peer()->pidfd_state == PidfdState::held;
}

// As a nameless one, with these uids listed: how it meets a stranger at the other end.
template <class There, class Stranger>
void meets_stranger(const std::vector<std::uint32_t> &listed) {
    constexpr const char *sentence = "has no name in this user namespace";
    const bool opens = !listed.empty();
    SocketPair sockets;
    const int ours = sockets.a.get();
    const int theirs = sockets.b.get();
    Child nameless([&](const Wire &wire) {
        UniqueFd(theirs).reset();
        if (!lose_all_names()) {
            wire.say('s');
            return;
        }
        wire.say('r');
        Config config;
        config.peers = PeerPolicy(false, false, listed, rp::handoff::os::overflow_ids());
        const There there(UniqueFd(ours), config);
        must(there.met.opened == opens);
        must(opens || contains(there.met.why, sentence));
        wire.hear();
    });
    if (nameless.hear() != 'r') {
        return;
    }
    sockets.a.reset();
    Child other([&](const Wire &) {
        become(stranger);
        Config config;
        config.peers = PeerPolicy(true, false, {}); // it would take anybody
        const Stranger here(UniqueFd(theirs), config);
        const Met met = here.met.opened && !opens ? meet(*here.session) : here.met;
        must(met.opened == opens);
        must(opens || contains(met.why, sentence));
    });
    sockets.b.reset();
    CHECK(other.wait() == 0);
    nameless.say('d');
    CHECK(nameless.wait() == 0);
}

} // namespace

TEST_CASE("a session between a container and its host opens, either way round, and hands over") {
    if (can_be_contained()) {
        meets_across<BrokerThere, BackendThere>();
        meets_across<BackendThere, BrokerThere>();
    }
}

TEST_CASE("a session that requires a pid refuses a peer whose pid is not visible, and tells it so") {
    if (can_be_contained()) {
        Config config;
        config.peers = PeerPolicy(false, true, {});
        config.peer_pid = static_cast<std::uint32_t>(getpid());
        demands<BrokerThere, BackendThere>(config, "not visible from this pid namespace");
        demands<BackendThere, BrokerThere>(config, "not visible from this pid namespace");
    }
}

TEST_CASE("a session that requires a pidfd takes a peer whose pid is not visible: it is given one all the same") {
    if (can_be_contained() && kernel_gives_pidfds()) {
        Config config;
        config.require_pidfd = true;
        demands<BrokerThere, BackendThere>(config, nullptr);
        demands<BackendThere, BrokerThere>(config, nullptr);
    }
}

TEST_CASE("a stranger without a name is not the same user for a session, on either side of it, unless he is listed") {
    if (is_root()) {
        for (const std::vector<std::uint32_t> &listed :
             {std::vector<std::uint32_t>(), std::vector<std::uint32_t>{overflow}}) {
            CAPTURE(listed.size());
            meets_stranger<BrokerThere, BackendThere>(listed);
            meets_stranger<BackendThere, BrokerThere>(listed);
        }
    }
}
