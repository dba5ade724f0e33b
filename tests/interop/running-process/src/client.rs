//! The client's side: asks a broker for a backend with the crate's `connect_to_backend`, then sends one byte on
//! whatever connection it got and reports who answered.

use std::time::{Duration, Instant};

use lexopt::{Arg::Long, Parser};
use running_process::broker::client::{
    connect_to_backend, BackendConnection, BrokerClientError, ConnectBackendRequest, DEFAULT_HANDOFF_READY_TIMEOUT,
};
use running_process::broker::protocol::Negotiated;
use serde_json::{json, Value};

use crate::args::{self, not_in_place, Failure};
use crate::report::{hex, micros, variant, Report};
use crate::{connection, upstream};

struct Options {
    broker: String,
    service: String,
    version: String,
    self_version: Option<String>,
    cached: Option<String>,
    adopt: bool,
    ready_timeout: Duration,
    reply_timeout: Duration,
}

fn options(mut parser: Parser) -> Result<Options, Failure> {
    let (mut broker, mut service, mut version) = (None, None, None);
    let (mut self_version, mut cached, mut adopt) = (None, None, false);
    let mut ready_timeout = DEFAULT_HANDOFF_READY_TIMEOUT;
    let mut reply_timeout = Duration::from_secs(2);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("broker") => broker = Some(args::text(&mut parser)?),
            Long("service") => service = Some(args::text(&mut parser)?),
            Long("version") => version = Some(args::text(&mut parser)?),
            Long("self-version") => self_version = Some(args::text(&mut parser)?),
            Long("cached") => cached = Some(args::text(&mut parser)?),
            Long("adopt") => adopt = true,
            Long("ready-timeout-ms") => ready_timeout = args::millis(&mut parser)?,
            Long("reply-timeout-ms") => reply_timeout = args::limit(&mut parser)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let broker = args::required(broker, "--broker")?;
    let service = args::required(service, "--service")?;
    let version = args::required(version, "--version")?;
    Ok(Options { broker, service, version, self_version, cached, adopt, ready_timeout, reply_timeout })
}

pub fn run(parser: Parser) -> Result<(), Failure> {
    let options = options(parser)?;
    let self_version = options.self_version.as_deref().unwrap_or(&options.version);
    let mut request = ConnectBackendRequest::new(&options.broker, &options.service, &options.version, self_version);
    request.cached_backend_endpoint = options.cached.as_deref();
    request.adopt_handed_off_connection = options.adopt;
    request.handoff_ready_timeout = options.ready_timeout;

    let started = Instant::now();
    let result = connect_to_backend(request);
    let report = begin(&options).with("connect_micros", micros(started.elapsed()));
    match result {
        Ok(connection) => converse(report, connection, options.reply_timeout)?,
        Err(error) => describe_error(report, &error),
    }
    .print();
    Ok(())
}

/// Every field of the line, in one order, whatever the outcome turns out to be.
fn begin(options: &Options) -> Report {
    Report::new("client")
        .with("adopt", options.adopt)
        .with("outcome", Value::Null)
        .with("route", Value::Null)
        .with("endpoint", Value::Null)
        .with("token_exposed", false)
        .with("token", Value::Null)
        .with("negotiated", Value::Null)
        .with("reply", Value::Null)
        .with("reply_error", Value::Null)
        .with("served_by", Value::Null)
        .with("error", Value::Null)
        .with("connect_micros", Value::Null)
        .with("reply_micros", Value::Null)
}

fn converse(report: Report, connection: BackendConnection, patience: Duration) -> Result<Report, Failure> {
    let token = connection.handoff_token().map(hex);
    let report = report
        .with("outcome", "connected")
        .with("route", variant(&connection.route))
        .with("endpoint", connection.endpoint.as_str())
        .with("token_exposed", token.is_some())
        .with("token", token)
        .with("negotiated", connection.negotiated.as_ref().map(describe));
    let mut stream = upstream::into_unix(connection);
    stream.set_read_timeout(Some(patience)).map_err(not_in_place("SO_RCVTIMEO"))?;
    let asked = Instant::now();
    let reply = connection::ask(&mut stream);
    let served_by = reply.text.as_deref().and_then(|text| text.get(1..)?.parse::<u32>().ok());
    Ok(report
        .with("reply", reply.text)
        .with("reply_error", reply.error)
        .with("served_by", served_by)
        .with("reply_micros", micros(asked.elapsed())))
}

fn describe(negotiated: &Negotiated) -> Value {
    json!({
        "protocol": negotiated.negotiated_protocol,
        "daemon_version": negotiated.daemon_version,
        "backend_pipe": negotiated.backend_pipe,
        "capabilities": negotiated.server_capabilities,
        "connection_id": negotiated.connection_id,
        "token_bytes": negotiated.handle_passed_token.len(),
    })
}

fn describe_error(report: Report, error: &BrokerClientError) -> Report {
    let report = report.with("outcome", "error").with("error", error.to_string());
    let report = report.with("error_kind", variant(error));
    match error {
        BrokerClientError::Refused { code, retry_after_ms, .. } => {
            report.with("refused_code", *code as i32).with("retry_after_ms", *retry_after_ms)
        }
        _ => report,
    }
}
