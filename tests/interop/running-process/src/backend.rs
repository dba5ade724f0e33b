//! The backend's side: receives the descriptor with its token, reads the offer with the crate's reader, answers with
//! the crate's responder, or, in the modes made for that, fails in one chosen way.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use lexopt::{Arg::Long, Parser};
use running_process::broker::backend_lib::accept_handed_off::HandoffAcceptance;
use running_process::broker::backend_lib::wire::respond_to_handoff_offer;
use running_process::broker::protocol::HandoffOffer;
use running_process::broker::server::handoff::handoff_token::{
    HandoffToken, HandoffTokenError, HandoffTokenStore, HandoffTokenStoreConfig,
};
use serde_json::{json, Value};

use crate::args::{self, not_in_place, Failure};
use crate::endpoint::{Endpoint, Served};
use crate::receive::{self, Sideband};
use crate::report::{hex, micros, Report};
use crate::sabotage::{self, Sabotage};
use crate::{connection, upstream};

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Adopt, then serve the connection.
    Accept,
    /// As `Accept`, after a delay that is longer than a broker waits.
    Late,
    /// Adopt on the 16 bytes and the descriptor alone, for a sender that makes no offer.
    Sideband,
    /// No handoff at all: the endpoint that clients reconnect to.
    Plain,
    Refuse,
    Mismatch,
    Expired,
    Silent,
    Close,
    Sabotage(Sabotage),
}

const MODES: [(&str, Mode); 16] = [
    ("accept", Mode::Accept),
    ("late", Mode::Late),
    ("sideband", Mode::Sideband),
    ("plain", Mode::Plain),
    ("refuse", Mode::Refuse),
    ("mismatch", Mode::Mismatch),
    ("expired", Mode::Expired),
    ("silent", Mode::Silent),
    ("close", Mode::Close),
    ("wrong-token", Mode::Sabotage(Sabotage::WrongToken)),
    ("wrong-correlation", Mode::Sabotage(Sabotage::WrongCorrelation)),
    ("wrong-request-id", Mode::Sabotage(Sabotage::WrongRequestId)),
    ("wrong-kind", Mode::Sabotage(Sabotage::WrongKind)),
    ("wrong-protocol", Mode::Sabotage(Sabotage::WrongProtocol)),
    ("malformed", Mode::Sabotage(Sabotage::Malformed)),
    ("bad-framing", Mode::Sabotage(Sabotage::BadFraming)),
];

struct Options {
    listen: String,
    mode_name: String,
    mode: Mode,
    delay: Duration,
    count: usize,
    timeout: Duration,
}

fn options(mut parser: Parser) -> Result<Options, Failure> {
    let (mut listen, mut mode_name, mut delay) = (None, "accept".to_owned(), None);
    let (mut count, mut timeout) = (1, Duration::from_secs(30));
    while let Some(arg) = parser.next()? {
        match arg {
            Long("listen") => listen = Some(args::text(&mut parser)?),
            Long("mode") => mode_name = args::text(&mut parser)?,
            Long("delay-ms") => delay = Some(args::millis(&mut parser)?),
            Long("count") => count = args::count(&mut parser)?,
            Long("timeout-ms") => timeout = args::limit(&mut parser)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let listen = args::required(listen, "--listen")?;
    let found = MODES.iter().find(|(name, _)| *name == mode_name);
    let Some(&(_, mode)) = found else {
        return Err(Failure::Usage(format!("no backend mode is called {mode_name:?}")));
    };
    let usual = if mode == Mode::Late { Duration::from_secs(6) } else { Duration::ZERO };
    Ok(Options { listen, mode_name, mode, delay: delay.unwrap_or(usual), count, timeout })
}

pub fn run(parser: Parser) -> Result<(), Failure> {
    let options = options(parser)?;
    if options.mode == Mode::Plain {
        return run_plain(&options);
    }
    let listener = UnixListener::bind(&options.listen).map_err(not_in_place(&options.listen))?;
    eprintln!("rp-peer: listening on {}", options.listen);
    for _ in 0..options.count {
        let (control, _) = listener.accept().map_err(not_in_place("accept"))?;
        let mut report = begin(&options);
        let outcome = take(&control, &options, &mut report);
        report.set("outcome", outcome);
        report.print();
    }
    Ok(())
}

fn run_plain(options: &Options) -> Result<(), Failure> {
    let endpoint = Endpoint::bind(&options.listen)?;
    eprintln!("rp-peer: listening on {}", options.listen);
    for _ in 0..options.count {
        let mut report = begin(options);
        let outcome = match endpoint.serve(options.timeout) {
            Ok(Served::Byte(byte)) => {
                report.set("served_byte", byte);
                "served"
            }
            Ok(Served::Probe) => "probed",
            Ok(Served::Nothing) => failed(&mut report, "end of file, or not a client"),
            Err(error) => failed(&mut report, error),
        };
        report.set("outcome", outcome);
        report.print();
    }
    Ok(())
}

/// Every field of the line, in one order, whatever the outcome turns out to be.
fn begin(options: &Options) -> Report {
    Report::new("backend")
        .with("mode", options.mode_name.as_str())
        .with("pid", std::process::id())
        .with("outcome", Value::Null)
        .with("detail", Value::Null)
        .with("sideband_bytes", 0)
        .with("sideband_token", Value::Null)
        .with("descriptors", 0)
        .with("truncated", false)
        .with("offer", Value::Null)
        .with("offer_micros", Value::Null)
        .with("refusal", Value::Null)
        .with("tokens_pending", Value::Null)
        .with("served_byte", Value::Null)
}

/// Receives one handoff and deals with it as the mode demands; the answer is the outcome's name.
fn take(control: &UnixStream, options: &Options, report: &mut Report) -> &'static str {
    if let Err(error) = control.set_read_timeout(Some(options.timeout)) {
        return failed(report, error);
    }
    let (mut sideband, received) = receive::sideband(control);
    report.set("sideband_bytes", sideband.bytes.len());
    report.set("sideband_token", hex(&sideband.bytes));
    report.set("descriptors", sideband.descriptors.len());
    report.set("truncated", sideband.truncated);
    if let Err(error) = received {
        return failed(report, error);
    }
    let token = match token_beside_one_descriptor(&sideband) {
        Ok(token) => token,
        Err(why) => return failed(report, why),
    };
    let connection = sideband.descriptors.remove(0);
    if options.mode == Mode::Sideband {
        return serve(connection, options.timeout, report, "adopted");
    }
    let started = Instant::now();
    let offer = match upstream::read_offer(control, started + options.timeout) {
        Ok(offer) => offer,
        Err(error) => return failed(report, error),
    };
    report.set("offer_micros", micros(started.elapsed()));
    report.set("offer", describe(&offer, &token));
    std::thread::sleep(options.delay);
    answer(control, options, report, token, offer, connection)
}

fn token_beside_one_descriptor(sideband: &Sideband) -> Result<HandoffToken, String> {
    let bytes = <[u8; 16]>::try_from(sideband.bytes.as_slice());
    let bytes = bytes.map_err(|_| "end of file inside the token".to_owned())?;
    match (sideband.descriptors.len(), sideband.truncated) {
        (1, false) => Ok(HandoffToken::from_bytes(bytes)),
        (count, false) => Err(format!("{count} descriptors came with the token")),
        (count, true) => Err(format!("{count} descriptors came with the token, others were lost")),
    }
}

fn describe(offer: &HandoffOffer, sideband: &HandoffToken) -> Value {
    json!({
        "service": offer.service_name,
        "correlation": offer.correlation_id,
        "handle_value": offer.handle_value,
        "token": hex(&offer.token),
        "token_matches_sideband": offer.token == sideband.as_bytes(),
    })
}

fn answer(
    control: &UnixStream,
    options: &Options,
    report: &mut Report,
    token: HandoffToken,
    offer: HandoffOffer,
    connection: OwnedFd,
) -> &'static str {
    match options.mode {
        Mode::Close => "closed",
        Mode::Silent => {
            // Holds the descriptor until the broker hangs up, or this side's own patience ends.
            let hung_up = matches!((&mut &*control).read(&mut [0]), Ok(0));
            report.set("broker_hung_up", hung_up);
            "silent"
        }
        Mode::Sabotage(sabotage) => match sabotage::answer(control, &offer, sabotage) {
            Ok(()) => "sabotaged",
            Err(error) => failed(report, error),
        },
        _ => respond(control, options, report, token, offer, connection),
    }
}

/// An honest answer. The only thing that a backend of the v1 wire can expect is the token that came with the
/// descriptor; the modes that refuse expect something else.
fn respond(
    control: &UnixStream,
    options: &Options,
    report: &mut Report,
    token: HandoffToken,
    offer: HandoffOffer,
    connection: OwnedFd,
) -> &'static str {
    let now = Instant::now();
    let seeded = match seed(options.mode, token, now) {
        Ok(seeded) => seeded,
        Err(error) => return failed(report, error),
    };
    let Seed { mut store, expected, judged_at } = seeded;
    let acceptance = respond_to_handoff_offer(&mut &*control, &mut store, expected, offer, judged_at);
    report.set("tokens_pending", store.pending_len());
    match acceptance {
        Ok(HandoffAcceptance::Accepted(_)) => serve(connection, options.timeout, report, "adopted"),
        Ok(HandoffAcceptance::Rejected(rejected)) => {
            report.set("refusal", rejected.reason.to_string());
            "refused"
        }
        Err(error) => failed(report, error),
    }
}

struct Seed {
    store: HandoffTokenStore,
    expected: HandoffToken,
    judged_at: Instant,
}

fn seed(mode: Mode, token: HandoffToken, now: Instant) -> Result<Seed, HandoffTokenError> {
    let mut store = HandoffTokenStore::new();
    let (mut expected, mut judged_at) = (token, now);
    match mode {
        Mode::Refuse => return Ok(Seed { store, expected, judged_at }),
        Mode::Mismatch => expected = HandoffToken::generate()?,
        Mode::Expired => {
            let ttl = Duration::from_secs(1);
            store = HandoffTokenStore::with_config(HandoffTokenStoreConfig::new(1, ttl));
            judged_at = now + ttl;
        }
        _ => {}
    }
    store.issue_with_random128(now, || Ok(*expected.as_bytes()))?;
    Ok(Seed { store, expected, judged_at })
}

/// Serves the one byte of the connection and says how that went; the outcome stays what it was.
fn serve(connection: OwnedFd, patience: Duration, report: &mut Report, outcome: &'static str) -> &'static str {
    match connection::serve(connection, patience) {
        Ok(byte) => report.set("served_byte", byte),
        Err(error) => report.set("detail", format!("the connection: {error}")),
    }
    outcome
}

fn failed(report: &mut Report, why: impl std::fmt::Display) -> &'static str {
    report.set("detail", why.to_string());
    "failed"
}
