#include "session/handshake.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "os/connection.hpp"
#include "os/peer.hpp"
#include "wire/recognise.hpp"

namespace rp::handoff::session {

namespace {

Text with_number(std::string_view before, std::int64_t number, std::string_view after) noexcept {
    Text text(before);
    text += number;
    text += after;
    return text;
}

// Of a frame of which nothing was sent. `what`: which one.
Status explain_send(int error, std::string_view what, Explanation &why) noexcept {
    const bool is_gone = error == EPIPE || error == ECONNRESET;
    Text text(is_gone ? "the peer closed the connection before " : "the kernel did not take ");
    text += what;
    return why.because(is_gone ? Status::closed : Status::system, {}, text.view(), error);
}

// Which option a rule is set by.
std::string_view member_of(PeerRule rule) noexcept {
    switch (rule) {
    case PeerRule::pid:
    case PeerRule::pid_unknown:
        return "peer_pid";
    case PeerRule::pidfd:
        return "peer_flags";
    default:
        return "peer_uids";
    }
}

} // namespace

void Handshake::expect_identified_senders() noexcept {
    os::identify_senders(link_.socket(), true);
}

Status Handshake::check_listener(Explanation &why) noexcept {
    const auto peer = os::peer_credentials(link_.socket());
    if (!peer) {
        return why.because(Status::peer_rejected, "socket_path", "the kernel does not tell who listens there",
                           peer.error());
    }
    // A path names who bound it, which may be long gone after an upgrade: its user counts, not its process.
    const PeerPolicy::Demand demand;
    const PeerRule rule = config_.peers.judge(*peer, demand);
    return rule == PeerRule::none
               ? Status::ok
               : why.because(Status::peer_rejected, member_of(rule), config_.peers.explain(rule, *peer, demand).view());
}

// ---- what is said ---------------------------------------------------------------------------------------------------

Status Handshake::send_hello(Explanation &why) noexcept {
    std::array<std::uint8_t, max_hello_frame> frame{};
    const std::size_t size =
        encode_hello(frame.data(), {Hello::Role::broker, version, version, slots_, 0, config_.service});
    const int error = link_.send({frame.data(), size}).os_error;
    return error == 0 ? Status::ok : explain_send(error, "the hello", why);
}

void Handshake::reject(Status status, std::string_view text) noexcept {
    std::array<std::uint8_t, max_reject_frame> frame{};
    const std::size_t size = encode_rejection(frame.data(), {status, text});
    if (!link_.has_unsent()) {
        link_.send({frame.data(), size});
    }
}

Handshake::Step Handshake::failed(Status status, const Explanation &why) noexcept {
    if (status != Status::closed) { // or it was the other side that said no
        reject(status, why.text());
    }
    return Step::failed;
}

// ---- who is there ---------------------------------------------------------------------------------------------------

Status Handshake::authenticate(Peer &peer, Explanation &why) noexcept {
    os::Ancillary &beside = link_.beside();
    if (!beside.sender) {
        return why.because(Status::peer_rejected, {}, "the kernel does not tell who sent the first messages");
    }
    const PeerCredentials sender{static_cast<std::uint32_t>(beside.sender->pid), beside.sender->uid, beside.sender->gid,
                                 static_cast<bool>(beside.pidfd)};
    const PeerPolicy::Demand demand{config_.peer_pid, config_.require_pidfd, true};
    const PeerRule rule = config_.peers.judge(sender, demand);
    if (rule != PeerRule::none) {
        return why.because(Status::peer_rejected, member_of(rule), config_.peers.explain(rule, sender, demand).view());
    }
    if (beside.pidfd) {
        peer.pidfd_state = PidfdState::held;
    } else if (beside.pidfd_error != 0) {
        peer.pidfd_state = beside.pidfd_error == ESRCH ? PidfdState::reaped : PidfdState::unavailable;
    } else {
        peer.pidfd_state =
            os::identify_senders(link_.socket(), true).pidfd ? PidfdState::unavailable : PidfdState::unsupported;
    }
    peer.credentials = sender;
    peer.pidfd = above_stdio(std::move(beside.pidfd));
    if (!peer.pidfd && sender.pid != 0) { // it tells when a process ends, not which one that was
        peer.liveness = os::pidfd_of(sender.pid).value_or(UniqueFd());
    }
    os::identify_senders(link_.socket(), false); // it would cost something with every message
    return Status::ok;
}

// ---- frames ---------------------------------------------------------------------------------------------------------

Status Handshake::take_rejection(const Link::Frame &frame, Explanation &why) noexcept {
    const Result<Rejection> rejection = decode_rejection(frame.body);
    Text text("the peer rejects this process: ");
    text += rejection ? rejection->text : "it does not say why";
    return why.because(Status::peer_rejected, {}, text.view());
}

Status Handshake::check_hello(const Hello &hello, Hello::Role role, Explanation &why) noexcept {
    if (hello.min_version > version || hello.max_version < version) {
        return why.because(
            Status::protocol, {},
            with_number("the peer speaks another version of sessions, up to ", hello.max_version, "").view());
    }
    if (hello.role != role) {
        return why.because(Status::protocol, {},
                           role == Hello::Role::broker ? "both sides of the session are backends"
                                                       : "both sides of the session are brokers");
    }
    return Status::ok;
}

Handshake::Step Handshake::broker_takes(const Link::Frame &frame, Peer &peer, std::optional<Ledger> &ledger,
                                        Explanation &why) noexcept {
    if (frame.header.kind == FrameKind::reject) {
        take_rejection(frame, why);
        return Step::failed;
    }
    const Status status = on_hello_of_backend(frame, peer, ledger, why);
    return status == Status::ok ? Step::open : failed(status, why);
}

Status Handshake::on_hello_of_backend(const Link::Frame &frame, Peer &peer, std::optional<Ledger> &ledger,
                                      Explanation &why) noexcept {
    if (frame.header.kind != FrameKind::hello || !frame.of_one_read || !link_.beside().descriptors.empty()) {
        return why.because(Status::protocol, {}, "the peer did not begin with a hello");
    }
    if (const Status status = authenticate(peer, why); status != Status::ok) {
        return status;
    }
    const Result<Hello> hello = decode_hello(frame.body);
    if (!hello) {
        return why.because(Status::protocol, {}, "the peer's hello is malformed");
    }
    if (const Status status = check_hello(*hello, Hello::Role::backend, why); status != Status::ok) {
        return status;
    }
    Result<Ledger> made = Ledger::create(slots_);
    if (!made) {
        return why.because(made.error(), {}, "the ledger's shared memory could not be made", errno);
    }
    Result<os::SocketPair> answers = os::socket_pair();
    if (!answers) {
        return why.because(answers.error(), {}, "the socket for answers could not be made", errno);
    }
    ledger.emplace(std::move(*made));
    answer_link_.set_socket(above_stdio(std::move(answers->ours)));
    answer_link_.refuse_descriptors();
    std::array<std::uint8_t, ledger_frame_size> notice{};
    const iovec piece{notice.data(), encode_ledger(notice.data(), slots_)};
    const std::array<int, 2> files{ledger->file(), answers->theirs.get()};
    const int error = link_.send(files.data(), files.size(), &piece, 1).os_error;
    if (error != 0) {
        return explain_send(error, "the ledger", why);
    }
    ledger->close_file();
    peer.max_in_flight = std::min(slots_, hello->max_in_flight);
    return Status::ok;
}

Handshake::Step Handshake::backend_takes(const Link::Frame &frame, Peer &peer, std::optional<Ledger> &ledger,
                                         Explanation &why) noexcept {
    if (frame.header.kind == FrameKind::reject) {
        take_rejection(frame, why);
        return Step::failed;
    }
    const Status status = greeted_ ? on_ledger(frame, peer, ledger, why) : on_hello_of_broker(frame, peer, why);
    if (status != Status::ok) {
        return failed(status, why);
    }
    return ledger ? Step::open : Step::waiting;
}

Status Handshake::on_hello_of_broker(const Link::Frame &frame, Peer &peer, Explanation &why) noexcept {
    const Result<Hello> hello =
        frame.header.kind == FrameKind::hello ? decode_hello(frame.body) : Failure(Status::protocol);
    if (!hello) {
        return why.because(Status::protocol, {}, "the peer did not begin with a hello");
    }
    if (const Status status = check_hello(*hello, Hello::Role::broker, why); status != Status::ok) {
        return status;
    }
    peer.service = hello->service; // within what was reserved
    their_in_flight_ = hello->max_in_flight;
    greeted_ = true;
    std::array<std::uint8_t, max_hello_frame> own{};
    const std::size_t size = encode_hello(own.data(), {Hello::Role::backend, version, version, slots_, 0, {}});
    const int error = link_.send({own.data(), size}).os_error;
    return error == 0 ? Status::ok : explain_send(error, "this side's hello", why);
}

Status Handshake::on_ledger(const Link::Frame &frame, Peer &peer, std::optional<Ledger> &ledger,
                            Explanation &why) noexcept {
    if (frame.header.kind != FrameKind::ledger || !frame.of_one_read) {
        return why.because(Status::protocol, {}, "the peer's hello was not followed by the ledger");
    }
    if (const Status status = authenticate(peer, why); status != Status::ok) {
        return status;
    }
    const Result<std::uint32_t> slots = decode_ledger(frame.body);
    os::Ancillary &beside = link_.beside();
    if (!slots || beside.descriptors.size() != 2) {
        return beside.truncation != os::Truncation::none
                   ? why.because(Status::descriptors, {},
                                 "the ledger came without its descriptors: this process may be out of them")
                   : why.because(Status::protocol, {}, "the ledger is malformed");
    }
    Result<Ledger> attached = Ledger::attach(beside.descriptors.take(), *slots);
    if (!attached) {
        return attached.error() == Status::protocol
                   ? why.because(Status::protocol, {}, "the ledger is not sealed memory of the size that it says")
                   : why.because(attached.error(), {}, "the ledger could not be mapped", errno);
    }
    UniqueFd answers = above_stdio(beside.descriptors.take());
    if (os::check_connection(answers.get()) != Status::ok) {
        return why.because(Status::protocol, {}, "the socket for answers is none");
    }
    answer_link_.set_socket(std::move(answers));
    answer_link_.refuse_descriptors();
    ledger.emplace(std::move(*attached));
    peer.max_in_flight = std::min(slots_, their_in_flight_);
    return Status::ok;
}

bool Handshake::was_rejected_late(Explanation &why) noexcept {
    link_.read(false);
    const Result<Link::Frame> frame = link_.frame();
    if (!frame || frame->header.kind != FrameKind::reject) {
        return false;
    }
    take_rejection(*frame, why);
    return true;
}

// ---- what goes wrong ------------------------------------------------------------------------------------------------

void Handshake::explain_silence(Explanation &why) const noexcept {
    why.because(Status::closed, {},
                greeted_ ? "the peer closed the connection before the session was open"
                         : "the peer closed the connection without a hello: perhaps it does not speak sessions but v1");
}

void Handshake::explain_noise(Explanation &why) const noexcept {
    const ByteView bytes = link_.unread();
    const bool is_v1 = !greeted_ && (wire::recognise_request(bytes) == wire::Protocol::v1 ||
                                     wire::recognise_answer(bytes) == wire::Protocol::v1);
    why.because(Status::protocol, {}, is_v1 ? "the peer speaks v1, not sessions" : "the peer does not speak sessions");
}

} // namespace rp::handoff::session
