//! What every JSON line has in common.

use std::io::Write;
use std::time::Duration;

use serde_json::{json, Map, Value};

use crate::upstream;

/// A line that already says which side speaks, and for which release of the crate.
pub struct Report(Map<String, Value>);

impl Report {
    pub fn new(side: &str) -> Self {
        Report(Map::new()).with("side", side).with("crate", upstream::RELEASE)
    }

    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.set(field, value);
        self
    }

    pub fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.0.insert(field.into(), value.into());
    }

    /// A reader that went away is not this process's concern.
    pub fn print(self) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{}", Value::Object(self.0));
        let _ = out.flush();
    }
}

/// Lower-case hexadecimal, two digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Microseconds, to a tenth.
pub fn micros(duration: Duration) -> Value {
    json!((duration.as_nanos() / 100) as f64 / 10.0)
}

/// The variant's name out of a derived `Debug`, without the fields.
pub fn variant(value: &impl std::fmt::Debug) -> String {
    let whole = format!("{value:?}");
    whole.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}
