//! Compares the conclusions from each recording with the truth about it, which is in `tests/recordings/truth.json`.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use supervisor_model::{
    diagnosis::{Confidence, Diagnosis, Prognosis},
    event::EventKind,
};

#[path = "../recorded/mod.rs"]
mod recorded;
use recorded::{recordings, replay};

/// The truth about a zombie.
#[derive(Debug, Deserialize)]
struct Truth {
    position: String,
    cause: String,
    prognosis: String,
}

/// The truth about the zombies of a recording that have the same name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Truths {
    Same(Truth),
    /// Each of them is one of these.
    Different(Vec<Truth>),
}

impl Truths {
    fn all(&self) -> &[Truth] {
        match self {
            Self::Same(truth) => std::slice::from_ref(truth),
            Self::Different(truths) => truths,
        }
    }
}

/// A verdict. The same verdict about many zombies of a recording is one row.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    recording: String,
    process: String,
    position: String,
    cause: String,
    prognosis: String,
    /// The confidence of the verdict.
    pub(crate) confidence: Confidence,
    /// Whether position and cause are right, and the prognosis is not wrong. `None` if `truth.json` has no entry.
    pub(crate) is_right: Option<bool>,
}

/// All verdicts of all recordings in a directory.
pub(crate) fn rows(dir: &Path) -> Result<Vec<Row>> {
    let truths: BTreeMap<String, BTreeMap<String, Truths>> =
        serde_json::from_str(&fs::read_to_string(dir.join("truth.json"))?)?;
    let mut rows = Vec::new();
    for file in recordings(dir)? {
        let name =
            file.file_stem().and_then(|it| it.to_str()).context("a name that is not UTF-8")?.to_owned();
        replay(
            &file,
            |_| (),
            |event, _, _| {
                let (EventKind::Detected(finding)
                | EventKind::Existing(finding)
                | EventKind::Updated(finding)) = &event.kind
                else {
                    return Ok(());
                };
                let truth = truths.get(&name).and_then(|of| of.get(&finding.process.name));
                let row = row(&name, &finding.process.name, &finding.diagnosis, truth);
                if !rows.contains(&row) {
                    rows.push(row);
                }
                Ok(())
            },
        )?;
    }
    Ok(rows)
}

fn row(recording: &str, process: &str, diagnosis: &Diagnosis, truths: Option<&Truths>) -> Row {
    let word = |it: Option<&'static str>| it.unwrap_or("-").to_owned();
    let position = word(diagnosis.position.map(supervisor_model::diagnosis::Position::as_str));
    let cause = word(diagnosis.cause.map(supervisor_model::diagnosis::Cause::as_str));
    let is_true = |truth: &Truth| {
        // The prognosis `unknown` claims nothing, so it cannot be wrong.
        let prognosis = diagnosis.prognosis;
        let is_possible = prognosis == Prognosis::Unknown || prognosis.as_str() == truth.prognosis;
        truth.position == position && truth.cause == cause && is_possible
    };
    let is_right = truths.map(|truths| truths.all().iter().any(is_true));
    Row {
        recording: recording.to_owned(),
        process: process.to_owned(),
        position,
        cause,
        prognosis: diagnosis.prognosis.as_str().to_owned(),
        confidence: diagnosis.confidence,
        is_right,
    }
}

/// The number of right verdicts with this confidence, and the number of all judged verdicts with it.
pub(crate) fn share(rows: &[Row], confidence: Confidence) -> (usize, usize) {
    let judged = || rows.iter().filter(|row| row.confidence == confidence && row.is_right.is_some());
    (judged().filter(|row| row.is_right == Some(true)).count(), judged().count())
}

/// A table of all verdicts, and of the right verdicts for each confidence.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    let head = ["RECORDING", "PROCESS", "POSITION", "CAUSE", "PROGNOSIS", "CONFIDENCE", "RIGHT"];
    let mut line = |cells: [&str; 7]| {
        let [recording, process, position, cause, prognosis, confidence, right] = cells;
        let _infallible = writeln!(
            out,
            "{recording:<31} {process:<16} {position:<21} {cause:<20} {prognosis:<9} {confidence:<10} {right}"
        );
    };
    line(head);
    for row in rows {
        let right = row.is_right.map_or("not judged", |is_right| if is_right { "yes" } else { "NO" });
        let confidence = row.confidence.as_str();
        line([&row.recording, &row.process, &row.position, &row.cause, &row.prognosis, confidence, right]);
    }
    for confidence in [Confidence::High, Confidence::Medium, Confidence::Low] {
        let (right, all) = share(rows, confidence);
        let _infallible = writeln!(out, "{}: {right} of {all} right", confidence.as_str());
    }
    out
}
