//! The live connections that change hands: dialing one, and the one-byte conversation that proves who serves it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};

/// What a served connection showed.
pub struct Reply {
    pub text: Option<String>,
    pub error: Option<String>,
}

/// Dials `HOST:PORT` or `unix:PATH`.
pub fn dial(target: &str) -> std::io::Result<OwnedFd> {
    match target.strip_prefix("unix:") {
        Some(path) => UnixStream::connect(path).map(OwnedFd::from),
        None => TcpStream::connect(target).map(OwnedFd::from),
    }
}

/// The serving end: reads one byte, answers with that byte, the own process id in decimal and a newline. It does not
/// speak first, since the ready frame of the broker travels on the same stream. Waiting is poll(2) because O_NONBLOCK
/// is whatever the other holders of the connection have made it.
pub fn serve(connection: OwnedFd, patience: Duration) -> std::io::Result<Option<u8>> {
    let mut stream = File::from(connection);
    let mut byte = [0_u8; 1];
    wait_readable(&stream, patience)?;
    if stream.read(&mut byte)? == 0 {
        return Ok(None);
    }
    answer(&mut stream, byte[0])?;
    Ok(Some(byte[0]))
}

pub fn answer(stream: &mut impl Write, byte: u8) -> std::io::Result<()> {
    let mut line = vec![byte];
    line.extend_from_slice(format!("{}\n", std::process::id()).as_bytes());
    stream.write_all(&line)
}

fn wait_readable(connection: &impl AsFd, patience: Duration) -> std::io::Result<()> {
    let mut watched = [PollFd::new(connection, PollFlags::IN)];
    let limit = Timespec::try_from(patience).map_err(std::io::Error::other)?;
    match poll(&mut watched, Some(&limit))? {
        0 => Err(std::io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// The asking end: sends `x`, reads one line.
pub fn ask<S: Read + Write>(stream: &mut S) -> Reply {
    let mut line = Vec::new();
    let outcome = stream.write_all(b"x").and_then(|()| read_line(stream, &mut line));
    let text = (!line.is_empty()).then(|| String::from_utf8_lossy(&line).trim_end().to_owned());
    let error = match outcome {
        Err(error) => Some(error.to_string()),
        Ok(()) if text.is_none() => Some("end of file".to_owned()),
        Ok(()) => None,
    };
    Reply { text, error }
}

fn read_line<S: Read>(stream: &mut S, line: &mut Vec<u8>) -> std::io::Result<()> {
    let mut byte = [0_u8; 1];
    while line.len() < 64 && line.last() != Some(&b'\n') {
        if stream.read(&mut byte)? == 0 {
            break;
        }
        line.push(byte[0]);
    }
    Ok(())
}
