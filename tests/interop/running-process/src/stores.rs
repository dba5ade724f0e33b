//! Times the released stores: issue a token, register its ACK, acknowledge it, while a given number of other tokens
//! is pending.

use std::time::{Duration, Instant};

use lexopt::{Arg::Long, Parser};
use running_process::broker::server::handoff::ack::{HandoffAckRegistry, PendingHandoffBackend};
use running_process::broker::server::handoff::handoff_token::{HandoffTokenStore, HandoffTokenStoreConfig};

use crate::args::{self, not_in_place, Failure};
use crate::report::Report;

/// Nothing may expire while the clock runs.
const LONG: Duration = Duration::from_secs(3600);

fn options(mut parser: Parser) -> Result<(usize, usize), Failure> {
    let (mut pending, mut iterations) = (None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("pending") => pending = Some(args::number(&mut parser)?),
            Long("iterations") => iterations = Some(args::count(&mut parser)?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok((args::required(pending, "--pending")?, args::required(iterations, "--iterations")?))
}

struct Stores {
    tokens: HandoffTokenStore,
    acks: HandoffAckRegistry,
    backend: PendingHandoffBackend,
}

impl Stores {
    fn with_pending(pending: usize) -> Result<Self, Failure> {
        let config = HandoffTokenStoreConfig::new(pending + 1, LONG);
        let mut stores = Stores {
            tokens: HandoffTokenStore::with_config(config),
            acks: HandoffAckRegistry::with_ack_deadline(LONG),
            backend: PendingHandoffBackend::new("rp-peer", std::process::id()),
        };
        for _ in 0..pending {
            let now = Instant::now();
            let token = stores.tokens.issue(now).map_err(not_in_place("issue"))?;
            stores.acks.register(token, stores.backend.clone(), now);
        }
        Ok(stores)
    }

    /// Reads the clock twice, as a broker does: when it issues and when the ACK comes in.
    fn round(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let token = self.tokens.issue(now).map_err(not_in_place("issue"))?;
        self.acks.register(token, self.backend.clone(), now);
        let acknowledged = self.acks.acknowledge(&mut self.tokens, &token, Instant::now());
        acknowledged.map(drop).map_err(not_in_place("acknowledge"))
    }
}

pub fn run(parser: Parser) -> Result<(), Failure> {
    let (pending, iterations) = options(parser)?;
    let mut stores = Stores::with_pending(pending)?;
    for _ in 0..iterations.min(1000) {
        stores.round()?;
    }
    let started = Instant::now();
    for _ in 0..iterations {
        stores.round()?;
    }
    let nanos = started.elapsed().as_nanos() as f64 / iterations as f64;
    Report::new("stores")
        .with("release_build", cfg!(not(debug_assertions)))
        .with("pending", pending)
        .with("iterations", iterations)
        .with("ns_per_round", nanos)
        .print();
    Ok(())
}
