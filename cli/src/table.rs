//! Columns under their heads.

use crate::text::clean_line;

pub(crate) struct Table {
    heads: Vec<&'static str>,
    widths: Vec<usize>,
    numeric: Vec<bool>,
    rows: Vec<Vec<String>>,
    begun: bool,
}

impl Table {
    /// A head such as `>ROUTES` has numbers beneath, which stand to the right.
    pub(crate) fn new(marked: &[&'static str]) -> Self {
        let heads: Vec<_> = marked.iter().map(|head| head.trim_start_matches('>')).collect();
        Self {
            widths: heads.iter().map(|head| head.len()).collect(),
            numeric: marked.iter().map(|head| head.starts_with('>')).collect(),
            heads,
            rows: Vec::new(),
            begun: false,
        }
    }

    /// Cells beyond the heads are dropped; missing ones are empty.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        let cells: Vec<_> = cells.iter().map(|cell| clean_line(cell)).collect();
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.chars().count());
        }
        self.rows.push(cells);
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows so far, below the heads if these are the first. Later rows keep the widths, so a
    /// long table can be told in pieces.
    pub(crate) fn take(&mut self) -> String {
        let mut text = String::new();
        if !self.begun {
            self.begun = true;
            self.line(self.heads.iter().copied(), &mut text);
        }
        for row in std::mem::take(&mut self.rows) {
            self.line(row.iter().map(String::as_str), &mut text);
        }
        text
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>, text: &mut String) {
        let mut line = String::new();
        for ((cell, width), numeric) in cells.zip(&self.widths).zip(&self.numeric) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
            let (before, after) = if *numeric { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.extend([before, cell, after]);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_words_left_and_nothing_breaks_the_line() {
        let mut table = Table::new(&["NAME", ">ROUTES", "NOTE"]);
        table.row(["tor-a".into(), "7".into(), "fine".into()]);
        table.row(["b".into(), "1000000".into(), "two\nlines".into()]);
        table.row(["c".into(), "-".into(), String::new()]);
        assert_eq!(
            table.take(),
            "NAME    ROUTES  NOTE\n\
             tor-a        7  fine\n\
             b      1000000  two\\nlines\n\
             c            -\n"
        );
        table.row(["later".into(), "1".into(), String::new()]);
        assert_eq!(table.take(), "later        1\n");
    }
}
