//! The JSON Schema of the file, for editors.

use crate::file::File;
use serde_json::Value;

/// The JSON Schema of the file, for editors.
#[must_use]
pub fn schema() -> Value {
    let mut schema: Value = schemars::schema_for!(File).into();
    schema["title"] = "Mainstay cluster configuration".into();
    without_null(&mut schema);
    schema
}

/// A key that may be absent is said to be so by `required` alone. With null allowed beside it, an
/// editor would call a wrong value "not valid under any of the given schemas" and not say why.
fn without_null(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    map.insert("type".into(), one);
                }
            }
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| choice["type"] != "null");
                if let [Value::Object(one)] = choices.as_slice() {
                    let one = one.clone();
                    map.remove("anyOf");
                    map.extend(one);
                }
            }
            if let Some(Value::Array(words)) = map.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            map.values_mut().for_each(without_null);
        }
        _ => {}
    }
}
