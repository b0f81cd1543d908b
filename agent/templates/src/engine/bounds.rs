//! How long a render may go on, and how much it may make: a template with loops within loops must not hang whoever renders it.
//!
//! No clock is here. Whoever renders sets [`Bounds::stop`] when the time is over; the render sees it at its next piece of text and ends.
//! A loop that makes no text at all does not see it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The most that one template may make unless it is said.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// What a render has to stay within. Clones are of the same render.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How many bytes one template may make.
    pub most_bytes: usize,
    stopped: Arc<AtomicBool>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { most_bytes: MOST_BYTES, stopped: Arc::default() }
    }
}

impl Bounds {
    /// With another size.
    pub fn of_bytes(most_bytes: usize) -> Self {
        Self { most_bytes, ..Self::default() }
    }

    /// Ends the render at its next piece of text.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// A place for the text of one template.
    pub(super) fn page(&self) -> Page<'_> {
        Page { bounds: self, bytes: Vec::new(), refused: None }
    }
}

/// The text of one template, which refuses to grow beyond its bounds.
pub(super) struct Page<'a> {
    bounds: &'a Bounds,
    bytes: Vec<u8>,
    refused: Option<String>,
}

impl Page<'_> {
    /// The text that was made.
    pub(super) fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Why it took no more, if it did not: whoever writes to it tells nothing of that.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    fn refuse(&mut self, words: String) -> io::Error {
        self.refused = Some(words);
        io::ErrorKind::QuotaExceeded.into()
    }
}

impl io::Write for Page<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let loops = "are there loops within loops?";
        if self.bounds.stopped.load(Ordering::Relaxed) {
            return Err(self.refuse(format!("the template took too long: {loops}")));
        }
        if self.bytes.len() + bytes.len() > self.bounds.most_bytes {
            let most = self.bounds.most_bytes;
            return Err(self.refuse(format!("the template makes more than {most} bytes: {loops}")));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
