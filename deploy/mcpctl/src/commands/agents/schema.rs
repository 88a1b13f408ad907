//! A JSON Schema in the words of somebody who wants to call the action.

use serde_json::Value;

/// Types in types that are shown; deeper ones are `…`.
const DEEPEST: usize = 5;

/// A schema on one line, such as `{topic: string, words?: integer}`.
pub(super) fn readable(schema: &Value) -> String {
    shape(schema, schema, DEEPEST)
}

fn shape(root: &Value, schema: &Value, deeper: usize) -> String {
    if deeper == 0 {
        return "…".to_owned();
    }
    let inner = |schema: &Value| shape(root, schema, deeper - 1);
    if let Some(pointer) = schema["$ref"].as_str().and_then(|it| it.strip_prefix('#')) {
        return root.pointer(pointer).map_or("…".to_owned(), inner);
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[choice].as_array() {
            let choices: Vec<String> = choices.iter().map(inner).collect();
            return choices.join(" | ");
        }
    }
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().map(Value::to_string).collect();
        return values.join(" | ");
    }
    match &schema["type"] {
        Value::String(kind) => of_type(kind, schema, inner),
        Value::Array(kinds) => {
            let kinds = kinds.iter().filter_map(Value::as_str);
            let kinds: Vec<String> = kinds.map(|kind| of_type(kind, schema, inner)).collect();
            kinds.join(" | ")
        }
        _ => "any".to_owned(),
    }
}

fn of_type(kind: &str, schema: &Value, inner: impl Fn(&Value) -> String) -> String {
    match kind {
        "array" => format!("[{}]", schema.get("items").map_or("any".to_owned(), inner)),
        "object" => object(schema, inner),
        other => other.to_owned(),
    }
}

fn object(schema: &Value, inner: impl Fn(&Value) -> String) -> String {
    let required = schema["required"].as_array();
    let is_required =
        |name: &str| required.is_some_and(|names| names.iter().any(|required| required == name));
    let Some(properties) = schema["properties"].as_object() else {
        return match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => format!("{{*: {}}}", inner(values)),
            _ => "object".to_owned(),
        };
    };
    let fields = properties.iter().map(|(name, schema)| {
        let optional = if is_required(name) { "" } else { "?" };
        format!("{name}{optional}: {}", inner(schema))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_read_like_types() {
        let check = |schema: Value, text: &str| assert_eq!(readable(&schema), text);
        check(json!({"type": "string"}), "string");
        check(json!({"type": ["integer", "null"]}), "integer | null");
        check(
            json!({"type": "array", "items": {"type": "number"}}),
            "[number]",
        );
        check(json!({"enum": ["a", "b"]}), r#""a" | "b""#);
        check(json!(true), "any");
        check(
            json!({"type": "object", "required": ["topic"],
                "properties": {"topic": {"type": "string"}, "shots": {"type": "array", "items": {"$ref": "#/$defs/Shot"}}},
                "$defs": {"Shot": {"type": "object", "properties": {"seconds": {"type": "number"}}}}}),
            "{shots?: [{seconds?: number}], topic: string}",
        );
        let endless = json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}});
        check(endless, "[[…]]");
    }
}
