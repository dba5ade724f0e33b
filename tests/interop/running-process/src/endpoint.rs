//! The endpoint that clients reconnect to. It serves a client's byte and answers the crate's identity probe.
//!
//! A broker that runs `serve_registered_backend` needs it in its own process: the probe at the start of that function
//! demands the broker's own identity from whoever answers at the endpoint.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::{BackendEndpointMux, LegacyClassification, MuxPoll};
use running_process::broker::protocol;
use running_process::broker::server::instance::BrokerInstanceKey;

use crate::args::{not_in_place, Failure};
use crate::connection;

pub enum Served {
    Byte(u8),
    Probe,
    /// The peer left, or said something that is neither.
    Nothing,
}

pub struct Endpoint {
    listener: UnixListener,
    mux: BackendEndpointMux<fn(&[u8]) -> LegacyClassification>,
}

impl Endpoint {
    pub fn bind(path: &str) -> Result<Self, Failure> {
        // The probe compares the namespace too; it is the name of the broker instance.
        let namespace_id = BrokerInstanceKey::Shared.id();
        let address = protocol::Endpoint { namespace_id, path: path.to_owned() };
        let daemon = DaemonProcess::current_process(address, None).map_err(not_in_place("identity"))?;
        let listener = UnixListener::bind(path).map_err(not_in_place(path))?;
        Ok(Endpoint { listener, mux: BackendEndpointMux::new(daemon, &[], classify) })
    }

    /// Accepts one connection and serves it.
    pub fn serve(&self, patience: Duration) -> std::io::Result<Served> {
        let (mut stream, _) = self.listener.accept()?;
        stream.set_read_timeout(Some(patience))?;
        let mut bytes = Vec::new();
        let mut byte = [0_u8; 1];
        while stream.read(&mut byte)? == 1 {
            bytes.push(byte[0]);
            match self.mux.poll(&bytes).map_err(std::io::Error::other)? {
                MuxPoll::NeedMoreBytes => {}
                MuxPoll::ProbeAnswered { reply, .. } => return probed(&mut stream, &reply),
                MuxPoll::Legacy => return connection::answer(&mut stream, byte[0]).map(|()| Served::Byte(byte[0])),
                MuxPoll::Payload { .. } => break,
            }
        }
        Ok(Served::Nothing)
    }

    /// Serves from a thread that lives as long as the process.
    pub fn serve_in_background(self) {
        std::thread::spawn(move || loop {
            // A peer that misbehaves here is the peer's loss; the broker's result does not depend on it.
            let _ = self.serve(Duration::from_secs(5));
        });
    }
}

fn probed(stream: &mut UnixStream, reply: &[u8]) -> std::io::Result<Served> {
    stream.write_all(reply).map(|()| Served::Probe)
}

/// A client's byte is whatever does not begin a v1 frame.
fn classify(bytes: &[u8]) -> LegacyClassification {
    match bytes.first() {
        None => LegacyClassification::NeedMoreBytes,
        Some(&protocol::ENVELOPE_VERSION) => LegacyClassification::NotLegacy,
        Some(_) => LegacyClassification::Legacy,
    }
}
