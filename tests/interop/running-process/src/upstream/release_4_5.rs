//! running-process 4.5.7. It has no deadline-bounded I/O of its own, so SO_RCVTIMEO, which the callers set on the
//! socket, is the only bound; and it does not say who may own a connection after a failure.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use interprocess::local_socket::Stream as LocalStream;
use running_process::broker::backend_lib::wire::{read_handoff_offer, BackendHandoffWireError};
use running_process::broker::client::BackendConnection;
use running_process::broker::protocol::{HandoffOffer, HelloReply};
use running_process::broker::server::handoff::unix::{ScmRightsAttempt, ScmRightsError};
use running_process::broker::server::handoff::wire::WireHandoffDelivery;
use running_process::broker::server::handoff_serve::{complete_negotiated_handoff, ServeHandoffContext};

pub const RELEASE: &str = "4.5.7";

pub type Delivery = WireHandoffDelivery<UnixStream>;

pub fn delivery(stream: UnixStream, service: &str, correlation: u64, _deadline: Instant) -> Delivery {
    WireHandoffDelivery::new(stream, service, correlation)
}

/// Whether the backend refused in so many words; this release does not tell.
pub fn explicitly_rejected(_delivery: &Delivery) -> Option<bool> {
    None
}

/// The transport error for "descriptor sent, offer not written"; this release has none.
pub fn offer_not_delivered(_attempt: &ScmRightsAttempt) -> Option<ScmRightsError> {
    None
}

/// A send that failed is taken for one that moved nothing.
pub fn may_have_reached(_error: &ScmRightsError) -> bool {
    false
}

pub fn read_offer(stream: &UnixStream, _deadline: Instant) -> Result<HandoffOffer, BackendHandoffWireError> {
    read_handoff_offer(&mut &*stream)
}

pub fn into_unix(connection: BackendConnection) -> UnixStream {
    let LocalStream::UdSocket(stream) = connection.stream;
    OwnedFd::from(stream).into()
}

/// Runs the serve path's handoff. The answer, whether the broker must let go of the connection, is not given here.
pub fn complete_handoff(
    context: &ServeHandoffContext<'_>,
    client: &mut LocalStream,
    reply: &HelloReply,
) -> Option<bool> {
    complete_negotiated_handoff(context, client, reply);
    None
}
