//! The backend endpoint inside the broker's own process. The crate's `serve_registered_backend` starts only in front
//! of such a backend: its start-up probe demands the broker's own identity from whoever answers at the endpoint. It is
//! also the endpoint that clients reconnect to.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::{BackendEndpointMux, LegacyClassification, MuxPoll};
use running_process::broker::protocol::{Endpoint, ENVELOPE_VERSION};
use running_process::broker::server::instance::BrokerInstanceKey;

use crate::args::{not_in_place, Failure};
use crate::connection;

const PATIENCE: Duration = Duration::from_secs(5);

type Mux = BackendEndpointMux<fn(&[u8]) -> LegacyClassification>;

/// Listens at `path` and serves every connection from a thread that lives as long as the process.
pub fn serve_in_this_process(path: &str) -> Result<(), Failure> {
    let listener = UnixListener::bind(path).map_err(not_in_place(path))?;
    // The probe compares the namespace too; it is the name of the broker instance.
    let namespace_id = BrokerInstanceKey::Shared.id();
    let endpoint = Endpoint { namespace_id, path: path.to_owned() };
    let daemon = DaemonProcess::current_process(endpoint, None).map_err(not_in_place("identity"))?;
    let mux = Mux::new(daemon, &[], classify);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A peer that misbehaves here is the peer's loss; the broker's result does not depend on it.
            let _ = answer(stream, &mux);
        }
    });
    Ok(())
}

/// A client's byte is whatever does not begin a v1 frame.
fn classify(bytes: &[u8]) -> LegacyClassification {
    match bytes.first() {
        None => LegacyClassification::NeedMoreBytes,
        Some(&ENVELOPE_VERSION) => LegacyClassification::NotLegacy,
        Some(_) => LegacyClassification::Legacy,
    }
}

fn answer(mut stream: UnixStream, mux: &Mux) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    let mut byte = [0_u8; 1];
    while stream.read(&mut byte)? == 1 {
        bytes.push(byte[0]);
        match mux.poll(&bytes).map_err(std::io::Error::other)? {
            MuxPoll::NeedMoreBytes => {}
            MuxPoll::ProbeAnswered { reply, .. } => return stream.write_all(&reply),
            MuxPoll::Legacy => return connection::answer(&mut stream, byte[0]),
            MuxPoll::Payload { .. } => break,
        }
    }
    Ok(())
}
