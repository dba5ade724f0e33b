//! Answers that an honest backend never gives: each breaks one check of the broker's ACK reader.

use std::io::Write;
use std::os::unix::net::UnixStream;

use running_process::broker::protocol::{
    encode_framed, write_frame, Frame, FrameKind, FramingError, HandoffAck, HandoffOffer, ADMIN_PAYLOAD_PROTOCOL,
};
use running_process::broker::server::handoff::wire::handoff_ack_frame;

#[derive(Clone, Copy, PartialEq)]
pub enum Sabotage {
    WrongToken,
    WrongCorrelation,
    WrongRequestId,
    WrongKind,
    WrongProtocol,
    /// A frame whose body is no protobuf message.
    Malformed,
    /// A first byte that is not the framing version.
    BadFraming,
}

pub fn answer(mut stream: &UnixStream, offer: &HandoffOffer, sabotage: Sabotage) -> Result<(), FramingError> {
    match sabotage {
        Sabotage::Malformed => write_frame(&mut stream, &[0xff; 8]).map(drop),
        Sabotage::BadFraming => Ok(stream.write_all(&[2, 0, 0, 0, 0])?),
        _ => Ok(stream.write_all(&encode_framed(&spoiled(offer, sabotage))?)?),
    }
}

/// The accepting ACK with one thing wrong in it.
fn spoiled(offer: &HandoffOffer, sabotage: Sabotage) -> Frame {
    let mut ack = HandoffAck {
        token: offer.token.clone(),
        accepted: true,
        error_detail: String::new(),
        correlation_id: offer.correlation_id,
    };
    match sabotage {
        Sabotage::WrongToken => ack.token.iter_mut().for_each(|byte| *byte ^= 0xff),
        Sabotage::WrongCorrelation => ack.correlation_id = offer.correlation_id.wrapping_add(1),
        _ => {}
    }
    let mut frame = handoff_ack_frame(&ack);
    match sabotage {
        // So that the check on the payload is the one that is reached.
        Sabotage::WrongCorrelation => frame.request_id = offer.correlation_id,
        Sabotage::WrongRequestId => frame.request_id = offer.correlation_id.wrapping_add(1),
        Sabotage::WrongKind => frame.set_kind(FrameKind::Event),
        Sabotage::WrongProtocol => frame.payload_protocol = ADMIN_PAYLOAD_PROTOCOL,
        _ => {}
    }
    frame
}
