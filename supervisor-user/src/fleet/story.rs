//! What another node says of one of its findings.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::words::clean;

/// What is shown of an ECS document that another host has written. Other fields are passed over.
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

/// The story of a finding, from its document; `None` if it is none.
pub(crate) fn story(host: &str, raw: &[u8]) -> Option<String> {
    let Document { message, supervisor: it } = serde_json::from_slice(raw).ok()?;
    let mut story = format!("{host}: {}\n\nWhy\n  {}", clean(&message), clean(&it.verdict));
    if !it.confidence.is_empty() {
        let _infallible = write!(story, " [{}]", clean(&it.confidence));
    }
    let lists = [("What to do", it.remedies), ("What will not help", it.wont_help)];
    let seen = it.evidence.into_iter().map(|it| format!("{}: {}", it.source, it.text)).collect();
    for (title, lines) in lists.into_iter().chain([("What was observed", seen)]) {
        if !lines.is_empty() {
            let _infallible = write!(story, "\n\n{title}");
        }
        for line in lines {
            let _infallible = write!(story, "\n  {}", clean(&line));
        }
    }
    Some(story + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_told_in_lines_that_can_steer_no_terminal() {
        let document = serde_json::json!({
            "message": "x[7] is not reaped",
            "supervisor": {
                "verdict": "its parent \u{1b}[2J never waits",
                "confidence": "high",
                "evidence": [{ "id": 1, "source": "hook\nwait", "text": "none", "cited": true }],
                "remedies": ["mend it"],
            },
        });
        let story = story("node", document.to_string().as_bytes()).expect("it is one");
        assert_eq!(
            story,
            "node: x[7] is not reaped\n\nWhy\n  its parent \\u{1b}[2J never waits [high]\n\nWhat to do\n  mend it\n\n\
             What was observed\n  hook\\u{a}wait: none\n"
        );
        assert_eq!(super::story("node", b"{}"), None);
    }
}
