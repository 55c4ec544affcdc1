//! The reference of the format, made from its types.

use super::types::WorkloadSpec;
use serde_json::Value;
use std::fmt::Write;

/// The JSON schema of a workload spec, for editors that check YAML with it.
#[must_use]
pub fn schema() -> Value {
    schemars::schema_for!(WorkloadSpec).to_value()
}

/// The reference as a document: a table of keys per object.
#[must_use]
pub fn markdown() -> String {
    let schema = schema();
    let mut text = String::from(
        "# Workload specs\n\n\
         Generated from the types that read it (`host/workload/src/spec/types.rs`); `windtunnel workload schema` prints the same as JSON schema.\n\
         Unknown keys are errors, and every message names line and column. Times end in `_us` or `_ms`; lengths are tokens.\n",
    );
    object(&mut text, "WorkloadSpec", &schema);
    let definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
    for (name, definition) in &definitions {
        if definition["properties"].is_object() {
            object(&mut text, name, definition);
        } else {
            values(&mut text, name, definition);
        }
    }
    text
}

fn described(value: &Value) -> String {
    let text = value["description"].as_str().unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn object(text: &mut String, name: &str, schema: &Value) {
    let _ = write!(
        text,
        "\n## {name}\n\n{}\n\n| key | type | meaning |\n|---|---|---|\n",
        described(schema)
    );
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    for (key, property) in properties {
        let _ = writeln!(
            text,
            "| `{key}` | {} | {} |",
            kind(property),
            described(property)
        );
    }
}

fn values(text: &mut String, name: &str, schema: &Value) {
    let _ = write!(
        text,
        "\n## {name}\n\n{}\n\n| value | meaning |\n|---|---|\n",
        described(schema)
    );
    for option in schema["oneOf"].as_array().into_iter().flatten() {
        let value = option["const"].as_str().unwrap_or_default();
        let _ = writeln!(text, "| `{value}` | {} |", described(option));
    }
}

/// The type of a property in a word or a link.
fn kind(property: &Value) -> String {
    let link = |reference: &str| {
        let name = reference.rsplit('/').next().unwrap_or_default();
        format!("[{name}](#{})", name.to_lowercase())
    };
    if let Some(reference) = property["$ref"].as_str() {
        return link(reference);
    }
    for option in property["anyOf"].as_array().into_iter().flatten() {
        if let Some(reference) = option["$ref"].as_str() {
            return link(reference);
        }
    }
    let name = match &property["type"] {
        Value::Array(types) => types.first().and_then(Value::as_str).unwrap_or_default(),
        other => other.as_str().unwrap_or_default(),
    };
    match name {
        "array" => format!("list of {}", kind(&property["items"])),
        "object" => format!("map to {}", kind(&property["additionalProperties"])),
        "string" => "text".into(),
        "integer" => "whole number".into(),
        other => other.into(),
    }
}
