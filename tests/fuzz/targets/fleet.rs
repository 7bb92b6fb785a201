//! Documents that the agents of other hosts have left at a broker, which any of these hosts can write.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;
use supervisor_deliver::fleet::{Document, Filtered};
use supervisor_model::{
    filter::Filter,
    words::{clean, harmless_json},
};

/// Filters by each of the things that a document can say.
fn filters() -> impl Iterator<Item = Filter> {
    let text = || Some("web".to_owned());
    [
        Filter { pid: Some(7), ..Filter::default() },
        Filter { comm: text(), ..Filter::default() },
        Filter { pidns: Some(7), ..Filter::default() },
        Filter { reaper: Some(7), ..Filter::default() },
        Filter { container: text(), ..Filter::default() },
        Filter { runtime: text(), ..Filter::default() },
        Filter { monitor: text(), ..Filter::default() },
        Filter { cgroup: text(), ..Filter::default() },
    ]
    .into_iter()
}

fuzz_target!(|data: &[u8]| {
    assert_eq!(Document::look(data, &Filter::default()), Filtered::Wanted, "without a filter all is wanted");
    let document = Document::read(data);
    for filter in filters() {
        let seen = Document::look(data, &filter);
        if let Some(document) = &document {
            let expected = if document.passes(&filter) { Filtered::Wanted } else { Filtered::Unwanted };
            assert_eq!(seen, expected, "{filter:?}");
        } else {
            assert_ne!(seen, Filtered::Unwanted, "it is no finding that could be unwanted by {filter:?}");
        }
    }

    // As it is printed.
    let Ok(text) = str::from_utf8(data) else { return };
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return;
    }
    let line = harmless_json(text.to_owned());
    assert_eq!(line, clean(&line), "it steers a terminal, or is not one line");
    assert!(serde_json::from_str::<IgnoredAny>(&line).is_ok(), "it is JSON no more: {line}");
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        assert_eq!(Some(value), serde_json::from_str(&line).ok(), "it says something else: {line}");
    }
});
