//! The receiver that the crate does not ship: 16 token bytes with one descriptor attached to the first of them.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{recvmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};

#[derive(Default)]
pub struct Sideband {
    pub bytes: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
    /// MSG_CTRUNC: the kernel dropped descriptors.
    pub truncated: bool,
}

/// Reads up to the end of the token, or of the stream. Reports what came and judges nothing, so that a test sees
/// every surplus; SO_RCVTIMEO on the stream bounds each read.
pub fn sideband(stream: &UnixStream) -> (Sideband, std::io::Result<()>) {
    let mut sideband = Sideband::default();
    let mut outcome = Ok(());
    while sideband.bytes.len() < 16 {
        match receive(stream, &mut sideband) {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                outcome = Err(error.into());
                break;
            }
        }
    }
    (sideband, outcome)
}

fn receive(stream: &UnixStream, sideband: &mut Sideband) -> rustix::io::Result<usize> {
    let mut bytes = [0_u8; 16];
    let wanted = 16 - sideband.bytes.len();
    // Room for more than one descriptor: a sender that attaches several is to be seen, not hidden by truncation.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes[..wanted])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for ancillary in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = ancillary {
            sideband.descriptors.extend(descriptors);
        }
    }
    sideband.truncated |= message.flags.contains(ReturnFlags::CTRUNC);
    sideband.bytes.extend_from_slice(&bytes[..message.bytes]);
    Ok(message.bytes)
}
