//! Tests that the schemas of `docs/schema` are those of the code, and that they refuse wrong documents.
//! `UPDATE_GOLDEN=1` writes the schemas again. Users rely on the schemas, so a change of a schema is a change of the
//! interface: see `docs/events.md`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use jsonschema::Validator;
use serde_json::{Value, json};
use supervisor_user::schema::SchemaSubject;

fn file(subject: SchemaSubject) -> PathBuf {
    let name = format!("../docs/schema/{}.schema.json", subject.name());
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn validator(subject: SchemaSubject) -> Result<Validator> {
    Ok(jsonschema::options().should_validate_formats(true).build(&subject.schema())?)
}

#[test]
fn the_committed_schemas_match_the_code() -> Result<()> {
    for subject in SchemaSubject::ALL {
        let (file, now) = (file(subject), subject.text());
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &now)?;
        }
        let before = fs::read_to_string(&file).unwrap_or_default();
        ensure!(now == before, "{} is not that of the code: UPDATE_GOLDEN=1 writes it", file.display());
    }
    Ok(())
}

#[test]
fn schemas_are_printed() -> Result<()> {
    for subject in SchemaSubject::ALL {
        let output =
            Command::new(env!("CARGO_BIN_EXE_supervisor")).args(["schema", subject.name()]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ensure!(String::from_utf8(output.stdout)? == subject.text(), "another {} is printed", subject.name());
    }
    Ok(())
}

/// Whether the schema refuses an event of the golden file after `spoil` has changed it.
fn is_found(subject: SchemaSubject, golden: &str, spoil: impl Fn(&mut Value)) -> Result<bool> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(golden);
    let events: Vec<Value> = serde_json::from_str(&fs::read_to_string(path)?)?;
    let validator = validator(subject)?;
    let mut event = events[0].clone();
    ensure!(validator.is_valid(&event), "it was wrong before");
    spoil(&mut event);
    Ok(!validator.is_valid(&event))
}

#[test]
fn the_schema_refuses_a_wrong_ecs_event() -> Result<()> {
    let spoils: [fn(&mut Value); 9] = [
        |it| it["event"]["action"] = "zombie-seen".into(),
        |it| it["event"]["kind"] = "state".into(),
        |it| it["supervisor"]["finding"]["state"] = "closed".into(),
        |it| it["supervisor"]["reaper"]["wchan"] = Value::Null,
        |it| it["supervisor"]["age_ns"] = json!(1.5),
        |it| it["process"]["colour"] = "red".into(),
        |it| it["process"]["start"] = "yesterday, Z".into(),
        |it| it["process"]["entity_id"] = "1".into(),
        |it| drop(it.as_object_mut().and_then(|it| it.remove("process"))),
    ];
    for (i, spoil) in spoils.iter().enumerate() {
        ensure!(is_found(SchemaSubject::Ecs, "events.json", spoil)?, "number {i} is not found");
    }
    Ok(())
}

#[test]
fn the_schema_refuses_a_wrong_ocsf_event() -> Result<()> {
    let spoils: [fn(&mut Value); 8] = [
        |it| it["class_uid"] = 2005.into(),
        |it| it["type_uid"] = 200_402.into(),
        |it| it["status_id"] = 4.into(),
        |it| drop(it.as_object_mut().and_then(|it| it.remove("severity_id"))),
        |it| it["time"] = "2023-11-14T22:13:23Z".into(),
        |it| it["evidences"] = json!([]),
        |it| it["finding_info"]["colour"] = "red".into(),
        |it| it["unmapped"]["supervisor"]["confidence"] = "sure".into(),
    ];
    for (i, spoil) in spoils.iter().enumerate() {
        ensure!(is_found(SchemaSubject::Ocsf, "events.ocsf.json", spoil)?, "number {i} is not found");
    }
    Ok(())
}

#[test]
fn the_schema_refuses_a_wrong_ocsf_trace() -> Result<()> {
    // The first event is a fork.
    let spoils: [fn(&mut Value); 6] = [
        |it| it["activity_id"] = 2.into(),
        |it| it["launch_type_id"] = 3.into(),
        |it| drop(it.as_object_mut().and_then(|it| it.remove("actor"))),
        |it| it["exit_code"] = 0.into(),
        |it| it["metadata"]["event_code"] = "process-reaped".into(),
        |it| it["metadata"]["log_name"] = "supervisor.findings".into(),
    ];
    for (i, spoil) in spoils.iter().enumerate() {
        ensure!(is_found(SchemaSubject::Ocsf, "trace.ocsf.json", spoil)?, "number {i} is not found");
    }
    Ok(())
}

/// Checks the printed configuration, as it is and with all commented keys uncommented.
#[test]
fn the_printed_configuration_fits_its_schema() -> Result<()> {
    let text = include_str!("../src/config/default.toml");
    let is_shown = |it: &str| it.starts_with(|first: char| first == '[' || first.is_ascii_lowercase());
    let lines = text.lines().map(|line| line.strip_prefix('#').filter(|it| is_shown(it)).unwrap_or(line));
    let all = lines.collect::<Vec<_>>().join("\n");
    let validator = validator(SchemaSubject::Config)?;
    for text in [text, &all] {
        let config = serde_json::to_value(text.parse::<toml::Table>()?)?;
        let wrong: Vec<String> =
            validator.iter_errors(&config).map(|it| format!("{}: {it}", it.instance_path())).collect();
        ensure!(wrong.is_empty(), "{wrong:#?}");
    }
    Ok(())
}

#[test]
fn the_schema_refuses_a_wrong_configuration() -> Result<()> {
    let validator = validator(SchemaSubject::Config)?;
    for right in [
        json!({}),
        json!({ "grace": "2s", "sinks": { "siem": { "format": "ocsf", "file": { "path": "/var/log/s" } } } }),
        json!({ "sinks": { "out": { "policy": "block", "stdout": {} } }, "metrics": { "listen": "[::1]:9469" } }),
    ] {
        ensure!(validator.is_valid(&right), "{right} is right");
    }
    for wrong in [
        json!({ "graze": "2s" }),
        json!({ "grace": 2 }),
        json!({ "sinks": { "siem": { "format": "ocsf" } } }),
        json!({ "sinks": { "siem": { "stdout": {}, "journald": {} } } }),
        json!({ "sinks": { "siem": { "format": "cef", "stdout": {} } } }),
        json!({ "sinks": { "siem": { "file": {} } } }),
    ] {
        ensure!(!validator.is_valid(&wrong), "{wrong} is wrong");
    }
    Ok(())
}
