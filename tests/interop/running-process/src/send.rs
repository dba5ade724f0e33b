//! The broker's sending side: holds a live connection to the target and hands it to a backend, with the crate's
//! descriptor transport, delivery object, orchestrator, token store and ACK registry.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use lexopt::{Arg::Long, Parser};
use running_process::broker::server::handoff::ack::{HandoffAckRegistry, PendingHandoffBackend};
use running_process::broker::server::handoff::fallback::HandoffFallbackDecision;
use running_process::broker::server::handoff::handoff_token::{HandoffToken, HandoffTokenStore};
use running_process::broker::server::handoff::orchestrate::{HandoffDelivery, HandoffDeliveryError};
use running_process::broker::server::handoff::orchestrate_unix::{
    execute_unix_handoff_with_transport, UnixHandoffAckWait, UnixHandoffFallback, UnixHandoffOutcome,
    UnixHandoffRequest, UnixHandoffStage,
};
use running_process::broker::server::handoff::unix::{
    try_send_scm_rights, try_send_scm_rights_over, ScmRightsAttempt, ScmRightsResult, UnixFileDescriptor,
    UnixHandoffSocket,
};
use running_process::broker::server::handoff::windows::WindowsHandleValue;
use serde_json::Value;

use crate::args::{self, not_in_place, Failure};
use crate::report::{hex, micros, variant, Report};
use crate::{connection, upstream};

struct Options {
    socket: String,
    target: String,
    dial: bool,
    token: Option<[u8; 16]>,
    service: String,
    correlation: u64,
    timeout: Duration,
}

fn options(mut parser: Parser) -> Result<Options, Failure> {
    let (mut socket, mut target, mut token) = (None, None, None);
    let (mut dial, mut service, mut correlation) = (false, "rp-peer".to_owned(), 1);
    let mut timeout = Duration::from_secs(5);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("socket") => socket = Some(args::text(&mut parser)?),
            Long("target") => target = Some(args::text(&mut parser)?),
            Long("token") => token = Some(args::token(&mut parser)?),
            Long("dial") => dial = true,
            Long("service") => service = args::text(&mut parser)?,
            Long("correlation") => correlation = args::number(&mut parser)?,
            Long("timeout-ms") => timeout = args::limit(&mut parser)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let socket = args::required(socket, "--socket")?;
    let target = args::required(target, "--target")?;
    Ok(Options { socket, target, dial, token, service, correlation, timeout })
}

pub fn run(parser: Parser) -> Result<(), Failure> {
    let options = options(parser)?;
    let held = connection::dial(&options.target).map_err(not_in_place(&options.target))?;
    if options.dial {
        dial(&options, &held)
    } else {
        over(&options, &held)
    }
}

/// Token and descriptor on a fresh connection that the crate dials and closes; nothing can come back on it.
fn dial(options: &Options, held: &OwnedFd) -> Result<(), Failure> {
    let token = match options.token {
        Some(bytes) => HandoffToken::from_bytes(bytes),
        None => HandoffToken::generate().map_err(not_in_place("token"))?,
    };
    let attempt = ScmRightsAttempt::new(descriptor(held), socket(options), token);
    let started = Instant::now();
    let result = try_send_scm_rights(&attempt);
    let report = begin("dial", &token).with("micros", micros(started.elapsed()));
    match result {
        Ok(_) => report.with("outcome", "sent").with("fd_reached", true),
        Err(error) => decision(report.with("outcome", "fallback"), &error.fallback_decision())
            .with("stage", "send")
            .with("transport_error", variant(&error))
            .with("detail", error.to_string())
            .with("fd_reached", upstream::may_have_reached(&error)),
    }
    .print();
    Ok(())
}

/// One whole handoff over one connection: token and descriptor, offer, ACK.
fn over(options: &Options, held: &OwnedFd) -> Result<(), Failure> {
    let now = Instant::now();
    let mut tokens = HandoffTokenStore::new();
    let token = match options.token {
        Some(bytes) => tokens.issue_with_random128(now, || Ok(bytes)),
        None => tokens.issue(now),
    }
    .map_err(not_in_place("token"))?;
    let mut acks = HandoffAckRegistry::with_ack_deadline(options.timeout);
    acks.register(token, PendingHandoffBackend::for_service(&options.service), now);

    let started = Instant::now();
    let control = match UnixStream::connect(&options.socket) {
        Ok(control) => control,
        Err(error) => {
            begin("over", &token)
                .with("outcome", "unreachable")
                .with("detail", error.to_string())
                .with("fd_reached", false)
                .print();
            return Ok(());
        }
    };
    control.set_read_timeout(Some(options.timeout)).map_err(not_in_place("SO_RCVTIMEO"))?;
    let exchange = Exchange {
        control_fd: control.as_raw_fd(),
        delivery: upstream::delivery(control, &options.service, options.correlation, now + options.timeout),
        offer_error: None,
        transport_error: None,
    };
    let exchange = RefCell::new(exchange);
    let request = UnixHandoffRequest::new(descriptor(held), socket(options), token);
    let outcome = execute_unix_handoff_with_transport(
        &mut tokens,
        &mut acks,
        &request,
        |attempt| exchange.borrow_mut().send(attempt),
        &mut Waiter(&exchange),
    );
    let elapsed = started.elapsed();
    let exchange = exchange.into_inner();
    let report = begin("over", &token)
        .with("correlation", options.correlation)
        .with("micros", micros(elapsed))
        .with("transport_error", exchange.transport_error)
        .with("tokens_pending", tokens.pending_len())
        .with("acks_pending", acks.pending_len());
    describe(report, &outcome, upstream::explicitly_rejected(&exchange.delivery)).print();
    Ok(())
}

/// What the transport and the ACK wait share. The orchestrator holds both at once, hence the `RefCell` around it.
struct Exchange {
    delivery: upstream::Delivery,
    control_fd: i32,
    offer_error: Option<HandoffDeliveryError>,
    transport_error: Option<String>,
}

impl Exchange {
    fn send(&mut self, attempt: &ScmRightsAttempt) -> ScmRightsResult {
        let result = self.send_and_offer(attempt);
        self.transport_error = result.as_ref().err().map(variant);
        result
    }

    /// The offer frame follows the descriptor at once. Where the release has no transport error for an offer that
    /// could not be written, the ACK wait reports it, which at least says that the descriptor is gone.
    fn send_and_offer(&mut self, attempt: &ScmRightsAttempt) -> ScmRightsResult {
        let sent = try_send_scm_rights_over(self.control_fd, attempt)?;
        if let Err(error) = self.delivery.deliver(WindowsHandleValue::new(0), &attempt.handoff_token) {
            if let Some(error) = upstream::offer_not_delivered(attempt) {
                return Err(error);
            }
            self.offer_error = Some(error);
        }
        Ok(sent)
    }
}

struct Waiter<'a>(&'a RefCell<Exchange>);

impl UnixHandoffAckWait for Waiter<'_> {
    fn await_backend_ack(&mut self, token: &HandoffToken, deadline: Instant) -> Result<Instant, HandoffDeliveryError> {
        let exchange = &mut *self.0.borrow_mut();
        match exchange.offer_error.take() {
            Some(error) => Err(error),
            None => exchange.delivery.await_backend_ack(token, deadline),
        }
    }
}

fn descriptor(held: &OwnedFd) -> UnixFileDescriptor {
    UnixFileDescriptor::new(held.as_raw_fd())
}

fn socket(options: &Options) -> UnixHandoffSocket {
    UnixHandoffSocket::new(&options.socket)
}

/// Every field of the line, in one order, whatever the outcome turns out to be.
fn begin(transport: &str, token: &HandoffToken) -> Report {
    Report::new("send")
        .with("transport", transport)
        .with("outcome", Value::Null)
        .with("stage", Value::Null)
        .with("reason", Value::Null)
        .with("transport_error", Value::Null)
        .with("detail", Value::Null)
        .with("fd_reached", Value::Null)
        .with("explicitly_rejected", Value::Null)
        .with("must_relinquish", Value::Null)
        .with("micros", Value::Null)
        .with("token", hex(token.as_bytes()))
}

fn describe(report: Report, outcome: &UnixHandoffOutcome, rejected: Option<bool>) -> Report {
    match outcome {
        UnixHandoffOutcome::Completed(completed) => report
            .with("outcome", "completed")
            .with("fd_reached", true)
            .with("explicitly_rejected", rejected)
            .with("must_relinquish", true)
            .with("ack_waited_micros", micros(completed.acknowledged.waited)),
        UnixHandoffOutcome::FallbackToReconnect(fallback) => {
            decision(report.with("outcome", "fallback"), &fallback.decision)
                .with("stage", stage(fallback.stage))
                .with("detail", fallback.detail.as_str())
                .with("fd_reached", fallback.fd_reached_backend)
                .with("explicitly_rejected", rejected)
                .with("must_relinquish", must_relinquish(fallback, rejected))
        }
    }
}

fn decision(report: Report, decision: &HandoffFallbackDecision) -> Report {
    report
        .with("reason", variant(&decision.reason))
        .with("retry_after_ms", decision.retry_after.map(|after| after.as_millis() as u64))
        .with("uses_backend_reconnect", decision.uses_backend_reconnect())
        .with("sends_client_error", decision.sends_client_error())
}

fn stage(stage: UnixHandoffStage) -> &'static str {
    match stage {
        UnixHandoffStage::Send => "send",
        UnixHandoffStage::AwaitAck => "await-ack",
        UnixHandoffStage::Acknowledge => "acknowledge",
    }
}

/// The relinquish rule of the serve path, applied to the orchestrator's outcome. Unknown (null) only where the
/// release does not tell a refusal from silence.
fn must_relinquish(fallback: &UnixHandoffFallback, rejected: Option<bool>) -> Option<bool> {
    match fallback.stage {
        UnixHandoffStage::Send => Some(fallback.fd_reached_backend),
        UnixHandoffStage::AwaitAck => rejected.map(|rejected| !rejected),
        UnixHandoffStage::Acknowledge => Some(true),
    }
}
