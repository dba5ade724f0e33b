//! The front door: the crate's own accept loop, either as `serve_registered_backend` runs it, or with the public
//! Hello handler and the public serve-path function in its post-Hello hook.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use interprocess::local_socket::Stream as LocalStream;
use lexopt::{Arg::Long, Parser};
use running_process::broker::builders::ServiceDefinitionBuilder;
use running_process::broker::protocol::{hello_reply, HelloReply};
use running_process::broker::server::admin::AdminSnapshot;
use running_process::broker::server::backend_registry::BackendRegistry;
use running_process::broker::server::connection::PeerCredentialPolicy;
use running_process::broker::server::control_socket::{
    serve_control_socket_connections_with_limit_policy_and_post_hello, ControlSocketConnectionLimit,
};
use running_process::broker::server::handoff_serve::ServeHandoffContext;
use running_process::broker::server::hello_handler::{HelloHandler, RegisteredBackend};
use running_process::broker::server::instance::BrokerInstanceKey;
use running_process::broker::server::serve::{serve_registered_backend, BrokerServeConfig};
use serde_json::Value;

use crate::args::{self, not_in_place, Failure};
use crate::endpoint::Endpoint;
use crate::report::{micros, variant, Report};
use crate::upstream;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Serve,
    Hook,
}

struct Options {
    listen: String,
    service: String,
    version: String,
    backend_endpoint: String,
    handoff_endpoint: Option<String>,
    mode: Mode,
    separate_backend: bool,
    count: usize,
    linger: Duration,
}

fn options(mut parser: Parser) -> Result<Options, Failure> {
    let (mut listen, mut service, mut version) = (None, None, None);
    let (mut backend_endpoint, mut handoff_endpoint) = (None, None);
    let (mut mode, mut separate_backend, mut count) = (Mode::Serve, false, 1);
    let mut linger = Duration::from_secs(2);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("listen") => listen = Some(args::text(&mut parser)?),
            Long("service") => service = Some(args::text(&mut parser)?),
            Long("version") => version = Some(args::text(&mut parser)?),
            Long("backend-endpoint") => backend_endpoint = Some(args::text(&mut parser)?),
            Long("handoff-endpoint") => handoff_endpoint = Some(args::text(&mut parser)?),
            Long("mode") => mode = mode_of(&args::text(&mut parser)?)?,
            Long("separate-backend") => separate_backend = true,
            Long("count") => count = args::count(&mut parser)?,
            Long("linger-ms") => linger = args::millis(&mut parser)?,
            other => return Err(other.unexpected().into()),
        }
    }
    let listen = args::required(listen, "--listen")?;
    let service = args::required(service, "--service")?;
    let version = args::required(version, "--version")?;
    let backend_endpoint = args::required(backend_endpoint, "--backend-endpoint")?;
    Ok(Options { listen, service, version, backend_endpoint, handoff_endpoint, mode, separate_backend, count, linger })
}

fn mode_of(name: &str) -> Result<Mode, Failure> {
    match name {
        "serve" => Ok(Mode::Serve),
        "hook" => Ok(Mode::Hook),
        _ => Err(Failure::Usage(format!("no broker mode is called {name:?}"))),
    }
}

pub fn run(parser: Parser) -> Result<(), Failure> {
    let options = options(parser)?;
    if !options.separate_backend {
        Endpoint::bind(&options.backend_endpoint)?.serve_in_background();
    }
    let served = match options.mode {
        Mode::Serve => serve(&options)?,
        Mode::Hook => hook(&options)?,
    };
    if served && !options.separate_backend {
        // The loop ends with its last Hello; that client may still be about to reconnect.
        std::thread::sleep(options.linger);
    }
    Ok(())
}

/// The production shape. It reports nothing per connection, so the one line comes when the loop has ended.
fn serve(options: &Options) -> Result<bool, Failure> {
    let definitions = PathBuf::from(format!("{}.definitions", options.listen));
    DirBuilder::new().recursive(true).mode(0o700).create(&definitions).map_err(not_in_place("definitions"))?;
    let installed = definition(options)?.install_in(&definitions);
    installed.map_err(not_in_place("service definition"))?;
    let config = BrokerServeConfig::new(
        &options.listen,
        &options.service,
        &options.version,
        &options.backend_endpoint,
        options.count,
    );
    let mut config = config.map_err(not_in_place("configuration"))?.with_service_definition_dir(&definitions);
    if let Some(endpoint) = &options.handoff_endpoint {
        config = config.with_handoff_endpoint(endpoint);
    }
    let result = serve_registered_backend(config);
    let _ = std::fs::remove_dir_all(&definitions);
    Ok(finished("serve", result))
}

/// The crate's accept loop, Hello handler and serve path without the probe at the start.
fn hook(options: &Options) -> Result<bool, Failure> {
    let backend = RegisteredBackend {
        service_definition: definition(options)?.build().map_err(not_in_place("service definition"))?,
        daemon_version: options.version.clone(),
        backend_pipe: options.backend_endpoint.clone(),
        server_capabilities: 0,
    };
    let handler = HelloHandler::new().with_backend(backend).map_err(not_in_place("Hello handler"))?;
    let policy = PeerCredentialPolicy::current_user();
    let policy = policy.ok_or_else(|| Failure::NotInPlace("no peer policy".into()))?;
    let count = args::required(std::num::NonZeroUsize::new(options.count), "--count")?;
    let registry = Mutex::new(BackendRegistry::new());
    let result = serve_control_socket_connections_with_limit_policy_and_post_hello(
        &options.listen,
        &handler,
        AdminSnapshot::local_not_serving,
        ControlSocketConnectionLimit::Bounded(count),
        &policy,
        |client, reply| after_hello(options, &registry, client, reply),
    );
    Ok(finished("hook", result))
}

fn definition(options: &Options) -> Result<ServiceDefinitionBuilder, Failure> {
    let executable = std::env::current_exe().map_err(not_in_place("own executable"))?;
    let executable = executable.to_string_lossy();
    Ok(ServiceDefinitionBuilder::shared_broker(&options.service, executable).min_version(&options.version))
}

fn after_hello(options: &Options, registry: &Mutex<BackendRegistry>, client: &mut LocalStream, reply: &HelloReply) {
    let mut report = Report::new("broker").with("mode", "hook").with("event", "hello");
    describe(&mut report, reply);
    if let Some(endpoint) = &options.handoff_endpoint {
        let context = ServeHandoffContext {
            handoff_endpoint: endpoint,
            service_name: &options.service,
            service_version: &options.version,
            instance: &BrokerInstanceKey::Shared,
            registry,
        };
        let started = Instant::now();
        let relinquish = upstream::complete_handoff(&context, client, reply);
        report.set("handoff_micros", micros(started.elapsed()));
        report.set("must_relinquish", relinquish);
    }
    report.print();
}

fn describe(report: &mut Report, reply: &HelloReply) {
    match &reply.result {
        Some(hello_reply::Result::Negotiated(negotiated)) => {
            report.set("reply", "negotiated");
            report.set("connection_id", negotiated.connection_id);
            report.set("token_issued", !negotiated.handle_passed_token.is_empty());
        }
        Some(hello_reply::Result::Refused(refused)) => {
            report.set("reply", "refused");
            report.set("detail", refused.reason.as_str());
        }
        None => report.set("reply", Value::Null),
    }
}

/// Prints the last line; whether the loop ran to its end.
fn finished<E: std::error::Error>(mode: &str, result: Result<(), E>) -> bool {
    let report = Report::new("broker").with("mode", mode).with("event", "finished");
    let served = result.is_ok();
    match result {
        Ok(()) => report.with("outcome", "served"),
        Err(error) => {
            report.with("outcome", "failed").with("error_kind", variant(&error)).with("detail", error.to_string())
        }
    }
    .print();
    served
}
