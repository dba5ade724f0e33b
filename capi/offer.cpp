// Offers, of the v1 wire and of sessions alike.
#include "environment.hpp"
#include "handles.hpp"

using namespace rp::handoff;
using namespace rp::handoff::capi;

namespace {

rp_handoff_offer_info info_of(const Offer &offer) noexcept {
    const Offer::Info &info = offer.info();
    rp_handoff_offer_info out{};
    out.service_name_length = info.service_name.size();
    out.service_name = info.service_name.c_str();
    out.correlation_id = info.correlation_id;
    out.peer_pid = info.peer.pid;
    out.peer_uid = info.peer.uid;
    out.received_ns = nanoseconds(info.received_at);
    out.token = to_c(info.token);
    return out;
}

rp_handoff_offer_info info_of(session::BackendSession &session, Index place) noexcept {
    const session::BackendSession::Info info = session.info(place);
    const session::Peer &peer = *session.peer(); // there are no offers before there is one
    rp_handoff_offer_info out{};
    out.service_name_length = peer.service.size();
    out.service_name = peer.service.c_str();
    out.correlation_id = info.correlation_id;
    out.peer_pid = peer.credentials.pid;
    out.peer_uid = peer.credentials.uid;
    out.received_ns = nanoseconds(info.received_at);
    out.token = to_c(info.token);
    out.flags |= info.ready_follows ? std::uint32_t{RP_HANDOFF_OFFER_READY_FOLLOWS} : 0U;
    out.flags |= info.has_prologue ? std::uint32_t{RP_HANDOFF_OFFER_HAS_PROLOGUE} : 0U;
    out.metadata = info.metadata.data();
    out.metadata_length = info.metadata.size();
    out.early = info.early.data();
    out.early_length = info.early.size();
    out.unwritten = info.unwritten.data();
    out.unwritten_length = info.unwritten.size();
    return out;
}

template <class Accepted>
std::int32_t give(Result<Accepted> accepted, std::int32_t *out_fd) noexcept {
    if (!accepted) {
        return code(accepted.error());
    }
    *out_fd = accepted->fd.release();
    return code(accepted->delivered ? Status::ok : Status::ack_undelivered);
}

} // namespace

int32_t rp_handoff_offer_get_info(const rp_handoff_offer *offer, rp_handoff_offer_info *out_info) {
    return guarded_with(offer, [&] {
        if (const Status status = check_result_struct(out_info); status != Status::ok) {
            return status;
        }
        rp_handoff_offer_info info =
            offer->v1 != nullptr ? info_of(*offer->v1) : info_of(*offer->session->session, offer->place);
        const WipedAtEnd wiped(info.token);
        write_struct(out_info, info);
        return Status::ok;
    });
}

int32_t rp_handoff_offer_accept(rp_handoff_offer *offer, int32_t *out_fd) {
    return guarded_with(offer, [&]() -> std::int32_t {
        if (out_fd == nullptr) {
            return RP_HANDOFF_ERR_INVALID_ARGUMENT;
        }
        return offer->v1 != nullptr ? give(offer->v1->accept(), out_fd)
                                    : give(offer->session->session->accept(offer->place), out_fd);
    });
}

int32_t rp_handoff_offer_refuse(rp_handoff_offer *offer, const char *text) {
    return guarded_with(offer, [&] {
        const char *const said = text != nullptr ? text : "";
        return offer->v1 != nullptr ? offer->v1->refuse(said) : offer->session->session->refuse(offer->place, said);
    });
}

void rp_handoff_offer_destroy(rp_handoff_offer *offer) {
    destroy(offer, [offer](Ending ending) {
        if (offer->v1 != nullptr) {
            if (ending == Ending::of_copy) {
                offer->v1->abandon();
            }
            delete offer;
            return;
        }
        offer->base.kind = Kind::dead;
        // This handle lives in what this keeps alive.
        const std::shared_ptr<Received> session = std::move(offer->session);
        session->session->release(offer->place);
    });
}
