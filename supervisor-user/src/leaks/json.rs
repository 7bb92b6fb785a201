//! Writes the report for machines: one JSON object. `supervisor schema leaks` prints its schema.

use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::Value;
use supervisor_model::words::harmless_json;
use supervisor_render::{Context, ecs};

use super::{CommandEnd, Leak, LeakKind, Method, Report, allow::Allowed, sentence_of};

/// What `supervisor leaks -o json` prints: one object, on the last line.
///
/// What is not known is absent, never null. Durations are nanoseconds.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "supervisor leaks report")]
struct Document<'a> {
    /// Version of this schema.
    version: &'static str,
    /// The command.
    command: CommandFields<'a>,
    /// The exit code of `supervisor leaks`.
    exit_code: u8,
    /// How descendants were observed: by hooks in the kernel, or only in `/proc`.
    method: Method,
    /// What could not be observed, in English sentences. Leaks may be missing if there are any.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    unseen: &'a [String],
    /// What was left behind, known leaks included.
    leaks: Vec<LeakFields<'a>>,
    /// The tests that were marked by name.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tests: &'a [String],
    /// Entries of the allow list that are not the first match of any leak.
    #[serde(skip_serializing_if = "<[Allowed]>::is_empty")]
    unmatched: &'a [Allowed],
}

#[derive(Serialize, JsonSchema)]
struct CommandFields<'a> {
    /// Its arguments, the program first.
    args: &'a [String],
    /// Its exit code, if it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
    /// The number of the signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<u8>,
    /// For how long it ran.
    duration_ns: u64,
}

#[derive(Serialize, JsonSchema)]
struct LeakFields<'a> {
    kind: LeakKind,
    /// The tests that left it: several if they ran at the same time in one process.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tests: &'a [String],
    /// One English sentence.
    message: String,
    /// The first entry of the allow list that it matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'a Allowed>,
    /// All that is known of it, as an event of `supervisor schema ecs`.
    #[schemars(schema_with = "ecs::subschema")]
    event: Value,
}

/// Version of the schema.
const VERSION: &str = "1.0";

/// The report, without the newline.
///
/// # Errors
///
/// Never in practice: the model holds only values that JSON can represent.
pub fn report(report: &Report, context: &Context) -> serde_json::Result<String> {
    let leaks = (1..).zip(&report.leaks).map(|(number, leak)| fields(leak, context, number));
    let document = Document {
        version: VERSION,
        command: CommandFields {
            args: &report.command,
            exit_code: match report.ended {
                CommandEnd::Code(code) => Some(code),
                CommandEnd::Signal(_) => None,
            },
            signal: match report.ended {
                CommandEnd::Code(_) => None,
                CommandEnd::Signal(number) => Some(number),
            },
            duration_ns: report.ran_ns,
        },
        exit_code: report.exit_code(),
        method: report.method,
        unseen: &report.unseen,
        leaks: leaks.collect::<serde_json::Result<_>>()?,
        tests: &report.tests,
        unmatched: &report.unmatched,
    };
    serde_json::to_string(&document).map(harmless_json)
}

fn fields<'a>(leak: &'a Leak, context: &Context, number: u64) -> serde_json::Result<LeakFields<'a>> {
    Ok(LeakFields {
        kind: leak.kind,
        tests: &leak.tests,
        message: sentence_of(leak),
        allowed: leak.allowed.as_ref(),
        event: serde_json::from_str(&ecs::line(&leak.event, context, number)?)?,
    })
}

/// The schema.
pub(crate) fn schema(generator: SchemaGenerator) -> Value {
    generator.into_root_schema_for::<Document<'static>>().to_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{leaks::sample, schema::SchemaSubject};

    #[test]
    fn a_report_matches_its_schema() {
        let context = Context {
            host: supervisor_model::evidence::sample::host(),
            agent_id: "a".into(),
            hooks: Some("tp_btf".into()),
        };
        let text = report(&sample::report(), &context).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let validator = jsonschema::options().should_validate_formats(true);
        let validator = validator.build(&SchemaSubject::Leaks.schema()).unwrap();
        let wrong: Vec<String> =
            validator.iter_errors(&document).map(|it| format!("{}: {it}", it.instance_path())).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(document["exit_code"], 23);
        assert_eq!(document["leaks"][2]["tests"][0], "it is <late>");
        assert_eq!(document["leaks"][3]["allowed"]["reason"], "signs");
        assert_eq!(document["leaks"][1]["event"]["process"]["pid"], 23);
        for spoil in [
            |it: &mut Value| it["leaks"][0]["kind"] = "lost".into(),
            |it: &mut Value| it["exit_code"] = 300.into(),
            |it: &mut Value| it["leaks"][0]["event"]["event"]["action"] = "leaked".into(),
            |it: &mut Value| it["command"]["colour"] = "red".into(),
            |it: &mut Value| drop(it.as_object_mut().and_then(|it| it.remove("method"))),
        ] {
            let mut wrong = document.clone();
            spoil(&mut wrong);
            assert!(!validator.is_valid(&wrong), "{wrong}");
        }
    }
}
