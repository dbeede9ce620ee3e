//! `mainstay config schema`: what editors need to complete and check the file.

use crate::failure::{Failure, Verdict};
use crate::print::Printer;

pub(crate) const HELP: &str = "\
With the YAML language server (VS Code, Neovim, Emacs):
  mainstay config schema > mainstay.schema.json
and as the first line of mainstay.yaml:
  # yaml-language-server: $schema=mainstay.schema.json";

pub(crate) fn run(out: &mut Printer) -> Result<Verdict, Failure> {
    out.json(&mainstay_config::schema())?;
    Ok(Verdict::Well)
}
