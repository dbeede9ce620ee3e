//! To the terminal, or to a program.

use crate::args::Format;
use crate::failure::Failure;
use crate::text::clean;
use serde::Serialize;
use std::io::{BufWriter, Stdout, Write};

pub(crate) struct Printer {
    format: Format,
    out: BufWriter<Stdout>,
}

impl Printer {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, out: BufWriter::new(std::io::stdout()) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Text for people. Whatever a peer or a pod put into it, a terminal obeys none of it.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(clean(text).as_bytes())?;
        Ok(())
    }

    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut self.out, value)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// JSON bit by bit, for answers too long to be held.
    pub(crate) fn raw_json(&mut self, piece: &str) -> Result<(), Failure> {
        self.out.write_all(piece.as_bytes())?;
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.out.flush()?;
        Ok(())
    }
}

/// To stderr, where a failing write is nobody's loss.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "mainstay: {}", clean(text));
}

/// The same without our name before it: lines that name their own place.
pub(crate) fn complain_plainly(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", clean(text));
}
