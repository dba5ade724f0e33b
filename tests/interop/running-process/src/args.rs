//! Reading option values, and the two ways in which a side can fail to run at all.

use std::str::FromStr;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

pub enum Failure {
    /// The command line is wrong: exit code 2.
    Usage(String),
    /// The command line is right, but the side could not be set up: exit code 1.
    NotInPlace(String),
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Failure::Usage(error.to_string())
    }
}

/// Turns the error of a set-up step into `Failure::NotInPlace`, with the step's name.
pub fn not_in_place<E: std::fmt::Display>(step: impl std::fmt::Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure::NotInPlace(format!("{step}: {error}"))
}

pub fn subcommand(parser: &mut Parser) -> Result<String, Failure> {
    match parser.next()? {
        Some(Arg::Value(name)) => Ok(name.string()?),
        Some(other) => Err(other.unexpected().into()),
        None => Err(Failure::Usage("a side is missing".into())),
    }
}

pub fn text(parser: &mut Parser) -> Result<String, Failure> {
    Ok(parser.value()?.string()?)
}

pub fn number<T: FromStr>(parser: &mut Parser) -> Result<T, Failure>
where
    T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Ok(parser.value()?.parse()?)
}

/// A count of at least one.
pub fn count(parser: &mut Parser) -> Result<usize, Failure> {
    match number(parser)? {
        0 => Err(Failure::Usage("a count must not be zero".into())),
        some => Ok(some),
    }
}

pub fn millis(parser: &mut Parser) -> Result<Duration, Failure> {
    Ok(Duration::from_millis(number(parser)?))
}

/// Like `millis`, for a time limit: a socket reads a limit of zero as no limit.
pub fn limit(parser: &mut Parser) -> Result<Duration, Failure> {
    Ok(Duration::from_millis(count(parser)? as u64))
}

pub fn token(parser: &mut Parser) -> Result<[u8; 16], Failure> {
    let hex = text(parser)?;
    let digits = hex.len() == 32 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    match u128::from_str_radix(&hex, 16) {
        Ok(value) if digits => Ok(value.to_be_bytes()),
        _ => Err(Failure::Usage("a token is 32 hexadecimal digits".into())),
    }
}

pub fn required<T>(value: Option<T>, option: &str) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::Usage(format!("{option} is missing")))
}
