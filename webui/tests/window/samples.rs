//! Documents as a description has them.

use serde_json::{Value, json};

/// Documents of a schema: each of its shapes at least once, with everything in it.
pub(crate) fn samples(document: &Value, schema: &Value) -> Vec<Value> {
    if let Some(name) = schema["$ref"].as_str() {
        return samples(document, document.pointer(name.trim_start_matches('#')).unwrap());
    }
    let each = |schemas: &[Value]| schemas.iter().map(|it| samples(document, it)).collect::<Vec<_>>();
    if let Some(shapes) = schema["oneOf"].as_array() {
        let mut shapes = each(shapes).concat();
        shapes.sort_by_key(Value::is_null);
        return shapes;
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let merge = |parts: Vec<Value>| parts.into_iter().flat_map(|it| it.as_object().unwrap().clone()).collect();
        return zip(&each(parts)).into_iter().map(merge).map(Value::Object).collect();
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.clone();
    }
    match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
        Some("object") => objects(document, schema),
        Some("array") if schema["prefixItems"].is_array() => {
            zip(&each(schema["prefixItems"].as_array().unwrap())).into_iter().map(Value::Array).collect()
        }
        Some("array") => vec![Value::Array(samples(document, &schema["items"]))],
        Some("string") if schema["format"] == "ip" => vec!["192.0.2.1".into(), "2001:db8::1".into()],
        Some("string") => vec!["text".into()],
        Some("integer") => vec![1.into()],
        Some("boolean") => vec![true.into(), false.into()],
        Some("null") => vec![Value::Null],
        other => panic!("{other:?}: {schema}"),
    }
}

fn objects(document: &Value, schema: &Value) -> Vec<Value> {
    let Some(properties) = schema["properties"].as_object() else {
        let value = samples(document, &schema["additionalProperties"]).remove(0);
        return vec![json!({ "one": value.clone(), "other": value })];
    };
    let values: Vec<_> = properties.values().map(|it| samples(document, it)).collect();
    let objects = zip(&values).into_iter().map(|values| properties.keys().cloned().zip(values).collect());
    objects.map(Value::Object).collect()
}

/// One of each, until all of them were there.
fn zip(lists: &[Vec<Value>]) -> Vec<Vec<Value>> {
    let longest = lists.iter().map(Vec::len).max().unwrap_or(1);
    let of = |index: usize| lists.iter().map(|list| list[index % list.len()].clone()).collect();
    (0..longest).map(of).collect()
}
