//! What the window says of itself, and whether that is so: its description (OpenAPI) as something to hold answers against.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::house::Answer;

/// All that is promised.
pub(crate) struct Contract {
    document: Value,
    events: BTreeMap<&'static str, Validator>,
    operations: BTreeMap<(String, String), BTreeMap<u16, BTreeMap<String, Validator>>>,
}

impl Contract {
    /// `document`: as it is served.
    pub(crate) fn new(document: Value) -> Self {
        let mut closed = document.clone();
        for schema in closed["components"]["schemas"].as_object_mut().unwrap().values_mut() {
            close(schema, false);
        }
        let mut operations = BTreeMap::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let responses = operation["responses"].as_object().unwrap().iter();
                let responses = responses.map(|(status, it)| (status.parse().unwrap(), contents(&closed, it)));
                operations.insert((method.to_uppercase(), path.clone()), responses.collect());
            }
        }
        let of = |name: &str| validator(&closed, json!({ "$ref": format!("#/components/schemas/{name}") }));
        let events = ["StatusDocument", "HistoryEntry"].map(|name| (name, of(name))).into();
        Self { document, events, operations }
    }

    /// Method and path of each operation.
    pub(crate) fn operations(&self) -> BTreeSet<(String, String)> {
        self.operations.keys().cloned().collect()
    }

    /// The description itself.
    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// The operation a request is meant for, if it is one.
    pub(crate) fn find(&self, method: &str, path: &str) -> Option<(String, String)> {
        let path = path.split('?').next()?;
        let fits = |(known, template): &&(String, String)| known == method && is_at(template, path);
        self.operations.keys().find(fits).cloned()
    }

    /// An answer is one of those that are promised.
    pub(crate) fn hold(&self, method: &str, path: &str, answer: &Answer) {
        let Some(operation) = self.find(method, path) else { return };
        let place = format!("{method} {path}: {}", answer.status);
        let Some(contents) = self.operations[&operation].get(&answer.status) else {
            panic!("{place} is in no description: {answer:?}");
        };
        let kind = answer.head.lines().find_map(|line| line.strip_prefix("content-type: "));
        match kind.map(|kind| contents.get(kind).or_else(|| contents.get(kind.split(';').next().unwrap()))) {
            None => assert!(contents.is_empty() && answer.body.is_empty(), "{place}: without a body: {answer:?}"),
            Some(None) => panic!("{place}: {kind:?} is none of {:?}", contents.keys()),
            Some(Some(validator)) => match kind.and_then(|kind| kind.split('/').next_back()) {
                Some("x-ndjson") => answer.lines().iter().for_each(|line| hold(validator, line, &place)),
                Some(kind) if kind.ends_with("json") => hold(validator, &answer.json(), &place),
                Some(_) | None => hold(validator, &Value::String(answer.body.clone()), &place),
            },
        }
    }

    /// A document of the stream is one of this name.
    pub(crate) fn hold_event(&self, name: &str, document: &Value) {
        hold(&self.events[name], document, name);
    }
}

fn hold(validator: &Validator, document: &Value, place: &str) {
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{place}: {}\n{document:#}", errors.join("\n"));
}

fn contents(closed: &Value, response: &Value) -> BTreeMap<String, Validator> {
    let contents = response["content"].as_object().into_iter().flatten();
    contents.map(|(kind, content)| (kind.clone(), validator(closed, content["schema"].clone()))).collect()
}

fn validator(closed: &Value, mut schema: Value) -> Validator {
    close(&mut schema, true);
    jsonschema::draft202012::new(&json!({ "allOf": [schema], "components": closed["components"] })).unwrap()
}

fn is_at(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    let is_so = |(wanted, said): (&&str, &&str)| wanted == said || wanted.starts_with('{') && !said.is_empty();
    template.len() == path.len() && template.iter().zip(&path).all(is_so)
}

/// Nothing may be said that is not described. `is_whole`: it is all that is said of its place, and no part of a longer word
/// (`allOf`, `oneOf`, what a `$ref` leads to).
fn close(schema: &mut Value, is_whole: bool) {
    let Some(schema) = schema.as_object_mut() else { return };
    for name in ["allOf", "oneOf", "anyOf"] {
        let parts = schema.get_mut(name).and_then(Value::as_array_mut);
        parts.into_iter().flatten().for_each(|part| close(part, false));
    }
    for name in ["items", "additionalProperties"] {
        schema.get_mut(name).into_iter().for_each(|it| close(it, true));
    }
    let tuple = schema.get_mut("prefixItems").and_then(Value::as_array_mut);
    tuple.into_iter().flatten().for_each(|it| close(it, true));
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(|it| it.values_mut()).for_each(|it| close(it, true));
    let speaks = ["$ref", "properties", "allOf", "oneOf", "anyOf"].iter().any(|word| schema.contains_key(*word));
    if is_whole && speaks {
        schema.insert("unevaluatedProperties".to_owned(), false.into());
    }
}
