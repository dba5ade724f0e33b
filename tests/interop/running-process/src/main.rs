//! A process that stands on one side of the frozen v1 handoff wire, built from the public API of the published crate
//! running-process. It prints what happened as JSON, one line per result, and exits 0 when it ran, whatever the
//! outcome was; 1 when it could not take its place (a path that cannot be bound, a target that does not answer);
//! 2 when it was called wrongly.

mod args;
mod backend;
mod broker;
mod client;
mod connection;
mod endpoint;
mod receive;
mod report;
mod sabotage;
mod send;
mod stores;
mod upstream;

use std::process::ExitCode;

use args::Failure;

const USAGE: &str = "\
usage: rp-peer send    --socket PATH --target HOST:PORT|unix:PATH [--dial] [--token HEX] [--service S]
                       [--correlation N] [--timeout-ms N]
       rp-peer backend --listen PATH [--mode MODE] [--delay-ms N] [--count N] [--timeout-ms N]
       rp-peer client  --broker PATH --service S --version V [--adopt] [--ready-timeout-ms N]
                       [--self-version V] [--cached PATH] [--reply-timeout-ms N]
       rp-peer broker  --listen PATH --service S --version V --backend-endpoint PATH
                       [--handoff-endpoint PATH] [--mode serve|hook] [--separate-backend] [--count N]
                       [--linger-ms N]
       rp-peer stores  --pending N --iterations K
backend modes: accept late sideband plain refuse mismatch expired wrong-token wrong-correlation wrong-request-id
               wrong-kind wrong-protocol malformed bad-framing silent close";

fn run() -> Result<(), Failure> {
    let mut parser = lexopt::Parser::from_env();
    match args::subcommand(&mut parser)?.as_str() {
        "send" => send::run(parser),
        "backend" => backend::run(parser),
        "client" => client::run(parser),
        "broker" => broker::run(parser),
        "stores" => stores::run(parser),
        other => Err(Failure::Usage(format!("no side is called {other:?}"))),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::NotInPlace(why)) => {
            eprintln!("rp-peer: {why}");
            ExitCode::from(1)
        }
        Err(Failure::Usage(why)) => {
            eprintln!("rp-peer: {why}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
