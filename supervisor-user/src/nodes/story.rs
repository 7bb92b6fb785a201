//! Formats what another node reports about one of its findings.

use std::fmt::Write as _;

use serde::Deserialize;
use supervisor_model::words::{clean, wrap};

/// The fields that are shown of an ECS document that another host has written. Other fields are skipped.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    message: String,
    supervisor: Supervisor,
}

#[derive(Deserialize)]
struct Supervisor {
    #[serde(default)]
    verdict: String,
    #[serde(default)]
    confidence: String,
    #[serde(default)]
    evidence: Vec<Observed>,
    #[serde(default)]
    remedies: Vec<String>,
    #[serde(default)]
    wont_help: Vec<String>,
}

#[derive(Deserialize)]
struct Observed {
    source: String,
    text: String,
}

/// The story of a finding from its document, in lines of `columns` columns; `None` if the bytes are no document of a
/// finding.
#[must_use]
pub(crate) fn story(host: &str, raw: &[u8], columns: usize) -> Option<String> {
    let Document { message, supervisor: it } = serde_json::from_slice(raw).ok()?;
    let mut story = String::new();
    let mut item = |text: &str, first: &str, rest: &str| wrap(&mut story, text, first, rest, columns);
    item(&format!("{host}: {}", clean(&message)), "", "  ");
    let mut why = clean(&it.verdict);
    if !it.confidence.is_empty() {
        let _infallible = write!(why, " [{}]", clean(&it.confidence));
    }
    let seen = it.evidence.into_iter().map(|it| format!("{}: {}", it.source, it.text)).collect();
    for (title, lines) in [
        ("Why", vec![why]),
        ("What to do", it.remedies),
        ("What will not help", it.wont_help),
        ("What was observed", seen),
    ] {
        if !lines.is_empty() {
            item("", "", "");
            item(title, "", "");
        }
        for line in lines {
            item(&clean(&line), "  - ", "    ");
        }
    }
    Some(story)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_has_no_control_characters_for_a_terminal() {
        let document = serde_json::json!({
            "message": "x[7] is not reaped",
            "supervisor": {
                "verdict": "its parent \u{1b}[2J never waits",
                "confidence": "high",
                "evidence": [{ "id": 1, "source": "hook\nwait", "text": "none", "cited": true }],
                "remedies": ["mend it"],
            },
        });
        let story = story("node", document.to_string().as_bytes(), 80).expect("it is one");
        assert_eq!(
            story,
            "node: x[7] is not reaped\n\nWhy\n  - its parent \\u{1b}[2J never waits [high]\n\nWhat to do\n  - mend it\n\n\
             What was observed\n  - hook\\u{a}wait: none\n"
        );
        assert_eq!(super::story("node", b"{}", 80), None);
    }
}
