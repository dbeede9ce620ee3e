//! How the demo speaks.

use std::io::Write;
use std::time::Instant;

/// Numbers the parts of the story.
#[derive(Debug)]
pub struct Show {
    parts: usize,
    part: usize,
    start: Instant,
}

impl Show {
    pub fn new(parts: usize) -> Self {
        Self { parts, part: 0, start: Instant::now() }
    }

    pub fn part(&mut self, title: &str) {
        self.part += 1;
        println!("\n[{}/{}] {title}", self.part, self.parts);
    }

    /// Something that came true.
    pub fn good(&self, text: &str) {
        println!("  ok  {text}");
        let _ = std::io::stdout().flush();
    }

    /// What a program printed, as it printed it.
    pub fn output(&self, command: &str, text: &str) {
        println!("  $ {command}");
        for line in text.lines() {
            println!("    {line}");
        }
        let _ = std::io::stdout().flush();
    }

    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}
