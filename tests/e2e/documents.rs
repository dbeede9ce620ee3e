//! What the documents promise to be tested is.

use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Every Rust source of the workspace, one text.
fn sources(dir: &Path, text: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            sources(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Words in backticks that look like a test's name: a sentence.
fn names(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    let last = quoted.map(|word| word.rsplit("::").next().unwrap_or(word));
    last.filter(|word| {
        word.matches('_').count() >= 3
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && !word.starts_with("mainstay_")
    })
    .collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut code = String::new();
    sources(Path::new(ROOT), &mut code);
    for page in ["features.md", "rfc.md"] {
        let text = std::fs::read_to_string(Path::new(ROOT).join("docs").join(page)).unwrap();
        let named = names(&text);
        assert!(named.len() > 20, "{page} names {} tests", named.len());
        let missing: Vec<_> =
            named.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
        assert!(missing.is_empty(), "docs/{page} names what is no test: {missing:#?}");
    }
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let root = Path::new(ROOT);
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    pages.extend(std::fs::read_dir(root.join("docs")).unwrap().flatten().map(|e| e.path()));
    for page in pages.iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let text = std::fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or(link);
            let there = file.is_empty()
                || file.starts_with("http")
                || page.parent().unwrap().join(file).exists();
            assert!(there, "{} links to {link}", page.display());
        }
    }
}
