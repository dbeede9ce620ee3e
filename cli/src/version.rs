//! `mainstay version`.

use crate::failure::{Failure, Verdict};
use crate::print::Printer;

pub(crate) fn run(out: &mut Printer) -> Result<Verdict, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if out.is_json() {
        out.json(&serde_json::json!({"version": version}))?;
    } else {
        out.text(&format!("mainstay {version}\n"))?;
    }
    Ok(Verdict::Well)
}
