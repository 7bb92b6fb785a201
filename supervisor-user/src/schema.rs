//! JSON Schemas of the formats that we write and read. The code generates them from the types, so they cannot
//! contradict the types.

use clap::ValueEnum;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::Value;
use supervisor_render::{ecs, ocsf};

use crate::{config::Config, leaks};

/// A format that has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaSubject {
    /// Events in the names of the Elastic Common Schema, as `-o json` and `format = "ecs"` write them
    Ecs,
    /// Events in the names of the Open Cybersecurity Schema Framework, as `-o ocsf` and `format = "ocsf"` write them
    Ocsf,
    /// The configuration of an agent
    Config,
    /// The report of `leaks -o json`
    Leaks,
}

impl SchemaSubject {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ecs, Self::Ocsf, Self::Config, Self::Leaks];

    /// The word on the command line, and the first part of the file's name in `docs/schema`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Ocsf => "ocsf",
            Self::Config => "config",
            Self::Leaks => "leaks",
        }
    }

    /// The schema, in JSON Schema's draft 2020-12.
    #[must_use]
    pub fn schema(self) -> Value {
        match self {
            Self::Ecs => ecs::schema(generator(SchemaSettings::for_serialize)),
            Self::Ocsf => ocsf::schema(generator(SchemaSettings::for_serialize)),
            Self::Leaks => leaks::json::schema(generator(SchemaSettings::for_serialize)),
            Self::Config => {
                generator(SchemaSettings::for_deserialize).into_root_schema_for::<Config>().to_value()
            }
        }
    }

    /// The schema as it is printed and committed.
    #[must_use]
    pub fn text(self) -> String {
        format!("{:#}\n", self.schema())
    }
}

fn generator(contract: fn(SchemaSettings) -> SchemaSettings) -> SchemaGenerator {
    contract(SchemaSettings::draft2020_12().with_transform(RecursiveTransform(tighten))).into_generator()
}

/// Adds two rules that the types do not express: an unknown value is absent, not null; and there are no other
/// properties.
fn tighten(schema: &mut Schema) {
    for words in ["type", "enum"] {
        if let Some(Value::Array(list)) = schema.get_mut(words) {
            list.retain(|it| *it != "null" && !it.is_null());
            if let ("type", [only]) = (words, &list[..]) {
                let only = only.clone();
                schema.insert(words.to_owned(), only);
            }
        }
    }
    match schema.get_mut("default") {
        Some(Value::Null) => drop(schema.remove("default")),
        Some(Value::Object(fields)) => fields.retain(|_, it| !it.is_null()),
        _ => {}
    }
    if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
        any.retain(|it| it.get("type").is_none_or(|it| it != "null"));
        if let [Value::Object(only)] = &any[..] {
            let only = only.clone();
            schema.remove("anyOf");
            for (name, value) in only {
                schema.ensure_object().entry(name).or_insert(value);
            }
        }
    }
    // The line breaks of a doc comment are those of the source file.
    if let Some(Value::String(text)) = schema.get_mut("description") {
        let paragraphs: Vec<String> = text.split("\n\n").map(|it| it.replace('\n', " ")).collect();
        *text = paragraphs.join("\n\n");
    }
    if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
        schema.insert("additionalProperties".to_owned(), false.into());
    }
}
