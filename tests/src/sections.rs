//! Pages that several programs write, each its own section.

/// `page` with the section under `## <title>` replaced by `text` (which begins with that line), or
/// with `text` at its end when there is none.
#[must_use]
pub fn replace(page: &str, title: &str, text: &str) -> String {
    let text = text.trim_end();
    let Some((before, _, after)) = split(page, title) else {
        return format!("{}\n\n{text}\n", page.trim_end());
    };
    let after = if after.is_empty() { String::new() } else { format!("\n{after}") };
    format!("{before}{text}\n{after}")
}

/// The section under `## <title>`, if there is one.
#[must_use]
pub fn find<'a>(page: &'a str, title: &str) -> Option<&'a str> {
    split(page, title).map(|(_, section, _)| section)
}

fn split<'a>(page: &'a str, title: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let head = format!("## {title}\n");
    let start = page.match_indices(&head).map(|(at, _)| at).find(|at| begins_line(page, *at))?;
    let rest = &page[start + head.len()..];
    let end = rest.find("\n## ").map_or(page.len(), |at| start + head.len() + at + 1);
    Some((&page[..start], &page[start..end], &page[end..]))
}

fn begins_line(page: &str, at: usize) -> bool {
    at == 0 || page.as_bytes().get(at - 1) == Some(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\n## One\n\na\n\n## Two\n\nb\n";

    #[test]
    fn a_section_is_replaced_and_its_neighbours_stay() {
        let page = replace(PAGE, "One", "## One\n\nnew\n");
        assert_eq!(page, "# Page\n\n## One\n\nnew\n\n## Two\n\nb\n");
        assert_eq!(
            replace(&page, "Two", "## Two\n\nc\n"),
            "# Page\n\n## One\n\nnew\n\n## Two\n\nc\n"
        );
    }

    #[test]
    fn a_section_that_is_not_there_comes_last() {
        assert_eq!(replace("# Page\n", "One", "## One\n\na\n"), "# Page\n\n## One\n\na\n");
        assert_eq!(find(PAGE, "Two"), Some("## Two\n\nb\n"));
        assert_eq!(find(PAGE, "Three"), None);
    }
}
