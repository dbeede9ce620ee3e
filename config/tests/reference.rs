//! docs/configuration.md is made of the schema, so that it cannot differ from what is read.
//! `UPDATE_GOLDEN=1` writes it (`make golden`).

use serde_json::Value;
use std::fmt::Write;

const HEAD: &str = "# Configuration

One YAML file for the whole cluster, the same on every node, at `/etc/mainstay/mainstay.yaml`. A node finds itself by
`--node`, else `$NODE_NAME`, else its host name; `select` takes the nodes that have all the given labels.

```
mainstay config check FILE             every fault with line, column and what is allowed
mainstay config show --node N FILE     what a node ends up with, defaults filled in
mainstay config schema                 a JSON Schema for editors
mainstay reload                        apply an edited file; one with faults changes nothing
```

Unknown and repeated keys are faults. Durations are written with their unit: `90s`, `2m`, `24h`, `1h30m`, `500ms`.
Prefixes have no host bits. A commented example is `deploy/examples/mainstay.yaml`.

This page is made from the schema by `make golden`; a test compares the two.
";

#[test]
fn the_page_says_what_the_schema_says() {
    let schema = mainstay_config::schema();
    let mut page = HEAD.to_owned();
    table(&schema, &schema, "", &mut page);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/configuration.md is not what the schema says: make golden");
}

/// The keys of one table, then the tables that its keys lead to.
fn table(root: &Value, node: &Value, path: &str, page: &mut String) {
    let title = if path.is_empty() { "the file" } else { path };
    let _ = writeln!(page, "\n## {title}\n");
    if let Some(text) = node["description"].as_str() {
        let _ = writeln!(page, "{}\n", one_line(text));
    }
    page.push_str("| key | |\n|---|---|\n");
    let none = serde_json::Map::new();
    let keys = node["properties"].as_object().unwrap_or(&none);
    let required: Vec<_> =
        node["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, value) in keys {
        let must = if required.contains(&key.as_str()) { "**needed.** " } else { "" };
        let text = one_line(value["description"].as_str().unwrap_or_default());
        let _ = writeln!(page, "| `{key}` | {must}{text} |");
    }
    for (key, value) in keys {
        if let Some((inner, mark)) = inner_table(root, value) {
            let dot = if path.is_empty() { "" } else { "." };
            table(root, inner, &format!("{path}{dot}{key}{mark}"), page);
        }
    }
}

/// The table behind a key: itself, one of several forms, or what a list holds.
fn inner_table<'a>(root: &'a Value, value: &'a Value) -> Option<(&'a Value, &'static str)> {
    if let Some(name) = value["$ref"].as_str() {
        return inner_table(root, root.pointer(name.strip_prefix('#')?)?);
    }
    if value["properties"].is_object() {
        return Some((value, ""));
    }
    if value["items"].is_object() {
        return inner_table(root, &value["items"]).map(|(table, _)| (table, "[]"));
    }
    let forms = ["anyOf", "oneOf"].into_iter().filter_map(|k| value[k].as_array());
    forms.flatten().find_map(|form| inner_table(root, form))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
