//! The JSON Schemas of an agent's actions, within the bounds of a presence record.

use std::collections::HashMap;

use mcp_runtime::ActionInfo;
use serde_json::Value;

/// The largest schema that is told; a larger one describes a document, not the parameters of a command.
const LARGEST: usize = 8 * 1024;

/// What the schemas of an agent may take together: every observer hears them with each record.
const ALL: usize = 32 * 1024;

/// The schemas of one action.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "schemas"),
    allow(dead_code, reason = "without the feature there are none")
)]
pub(crate) struct Schemas {
    parameters: Value,
    result: Value,
}

#[cfg(feature = "schemas")]
impl Schemas {
    /// Of the parameters as they are read, of the result as it is written.
    pub(crate) fn of<P: schemars::JsonSchema, R: schemars::JsonSchema>() -> Self {
        use schemars::generate::SchemaSettings;
        // The dialect is the same for all, and named in the protocol.
        let settings =
            || SchemaSettings::draft2020_12().with(|settings| settings.meta_schema = None);
        let reading = settings().for_deserialize().into_generator();
        let writing = settings().for_serialize().into_generator();
        Self {
            parameters: reading.into_root_schema_for::<P>().to_value(),
            result: writing.into_root_schema_for::<R>().to_value(),
        }
    }
}

/// The actions for the presence record, with those schemas that are known and fit.
pub(crate) fn described(names: &[String], schemas: &HashMap<String, Schemas>) -> Vec<ActionInfo> {
    let mut left = ALL;
    let mut fitting = |action: &str, what: &str, schema: &Value| {
        let size = schema.to_string().len();
        if size > LARGEST.min(left) {
            tracing::warn!(
                action,
                what,
                size,
                "a schema is left out of the presence record"
            );
            return None;
        }
        left -= size;
        Some(schema.clone())
    };
    let describe = |name: &String| {
        let mut action = ActionInfo::named(name.as_str());
        if let Some(schemas) = schemas.get(name) {
            action.parameters_schema = fitting(name, "parameters", &schemas.parameters);
            action.result_schema = fitting(name, "result", &schemas.result);
        }
        action
    };
    names.iter().map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_that_are_too_large_are_left_out() {
        let text = |size: usize| Value::String("x".repeat(size - 2));
        let names: Vec<String> = ["big", "a", "b", "c", "d", "e"].map(str::to_owned).into();
        let mut schemas = HashMap::new();
        for name in &names {
            let size = if name == "big" { LARGEST + 1 } else { LARGEST };
            let (parameters, result) = (text(size), Value::Bool(true));
            schemas.insert(name.clone(), Schemas { parameters, result });
        }
        let told = described(&names, &schemas);
        let has: Vec<bool> = told
            .iter()
            .map(|told| told.parameters_schema.is_some())
            .collect();
        assert_eq!(
            has,
            [false, true, true, true, false, false],
            "one too large, then no room"
        );
        assert!(
            told.iter().all(|told| told.result_schema.is_some()),
            "what is small still fits"
        );
        assert!(serde_json::to_string(&told).unwrap().len() < ALL + 1024);
    }
}
