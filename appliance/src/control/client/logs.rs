//! Lines of logs as they come, one JSON object a line.

use http_body_util::BodyExt as _;
use hyper::body::Bytes;

use super::Error;
use super::transport::{Opened, Transport, chain};
use crate::control::plane::LogLine;

/// Longest line that is read: far over what a lambda can log at once.
const LINE_BYTES: usize = 1 << 20;

/// Lines as they come.
pub struct LogLines {
    transport: Transport,
    opened: Opened,
    /// What was read and is no whole line yet.
    pending: Vec<u8>,
    /// Bytes of it that hold no line's end.
    searched: usize,
    ended: bool,
}

impl LogLines {
    pub(super) fn new(transport: Transport, opened: Opened) -> Self {
        Self { transport, opened, pending: Vec::new(), searched: 0, ended: false }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// The connection broke, or what came is no line of a log.
    pub async fn next(&mut self) -> Option<Result<LogLine, Error>> {
        loop {
            if let Some(line) = self.line() {
                if !line.trim_ascii().is_empty() {
                    return Some(self.understand(&line));
                }
                continue;
            }
            if self.ended {
                return None;
            }
            match self.read().await {
                Ok(()) => {}
                Err(error) => {
                    self.ended = true;
                    self.pending.clear();
                    return Some(Err(error));
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), Error> {
        match self.opened.body.frame().await {
            Some(Ok(frame)) => self.pending.extend(frame.into_data().unwrap_or_default()),
            Some(Err(error)) => return Err(self.transport.answer(chain(&error))),
            // The last line may have no end.
            None => {
                self.ended = true;
                self.pending.push(b'\n');
            }
        }
        if self.pending.len() > LINE_BYTES && !self.pending[self.searched..].contains(&b'\n') {
            return Err(self.transport.answer(format!("a line of the log has over {LINE_BYTES} bytes")));
        }
        Ok(())
    }

    fn line(&mut self) -> Option<Bytes> {
        match self.pending[self.searched..].iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let rest = self.pending.split_off(self.searched + at + 1);
                self.searched = 0;
                Some(std::mem::replace(&mut self.pending, rest).into())
            }
            None => {
                self.searched = self.pending.len();
                None
            }
        }
    }

    fn understand(&self, line: &[u8]) -> Result<LogLine, Error> {
        serde_json::from_slice(line)
            .map_err(|error| self.transport.answer(format!("a line of the log: {error}")))
    }
}
