//! running-process 4.10.21: reads under an absolute deadline, and says whether a connection must be let go.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use interprocess::local_socket::Stream as LocalStream;
use interprocess::os::unix::uds_local_socket::Stream as UdsStream;
use running_process::broker::backend_lib::wire::{read_handoff_offer_with_deadline, BackendHandoffWireError};
use running_process::broker::client::BackendConnection;
use running_process::broker::protocol::{FramingError, HandoffOffer, HelloReply};
use running_process::broker::server::handoff::unix::{ScmRightsAttempt, ScmRightsError};
use running_process::broker::server::handoff::wire::WireHandoffDelivery;
use running_process::broker::server::handoff_serve::{try_complete_negotiated_handoff, ServeHandoffContext};

pub const RELEASE: &str = "4.10.21";

pub type Delivery = WireHandoffDelivery<LocalStream>;

fn local(stream: UnixStream) -> LocalStream {
    LocalStream::UdSocket(UdsStream::from(OwnedFd::from(stream)))
}

pub fn delivery(stream: UnixStream, service: &str, correlation: u64, deadline: Instant) -> Delivery {
    WireHandoffDelivery::new_local_socket(local(stream), service, correlation, deadline)
}

/// Whether the backend refused in so many words.
pub fn explicitly_rejected(delivery: &Delivery) -> Option<bool> {
    Some(delivery.backend_explicitly_rejected())
}

/// The transport error for "descriptor sent, offer not written".
pub fn offer_not_delivered(attempt: &ScmRightsAttempt) -> Option<ScmRightsError> {
    Some(ScmRightsError::PostTransferDeliveryFailed {
        fd: attempt.fd.raw(),
        socket: attempt.backend_socket.path.clone(),
    })
}

pub fn may_have_reached(error: &ScmRightsError) -> bool {
    error.fd_may_have_reached_backend()
}

/// Reads through a second descriptor of the same socket; the crate takes no stream of the standard library here.
pub fn read_offer(stream: &UnixStream, deadline: Instant) -> Result<HandoffOffer, BackendHandoffWireError> {
    let clone = stream.try_clone().map_err(FramingError::from)?;
    read_handoff_offer_with_deadline(&mut local(clone), deadline)
}

pub fn into_unix(connection: BackendConnection) -> UnixStream {
    connection.stream.into_owned_fd().into()
}

/// Runs the serve path's handoff and answers whether the broker must let go of the connection.
pub fn complete_handoff(
    context: &ServeHandoffContext<'_>,
    client: &mut LocalStream,
    reply: &HelloReply,
) -> Option<bool> {
    Some(try_complete_negotiated_handoff(context, client, reply))
}
