//! Cuts a message that is larger than the broker takes. The message must not be refused: the arguments of a process
//! must not stop the stream.

use serde_json::Value;
use supervisor_model::words::harmless_json;

/// How many characters of a text, and how many elements of a list, each step leaves. The steps end when the message
/// fits.
const STEPS: [(usize, usize); 4] = [(4096, 256), (1024, 64), (256, 16), (128, 4)];

/// Cuts long texts and lists until the message has at most `max` bytes; `None` if that is impossible.
pub(in crate::sink) fn fit(payload: &[u8], max: usize) -> Option<Vec<u8>> {
    let Ok(mut value) = serde_json::from_slice::<Value>(payload) else {
        let text = String::from_utf8_lossy(payload);
        let mut end = max.checked_sub('…'.len_utf8())?.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        return Some(format!("{}…", &text[..end]).into_bytes());
    };
    STEPS.iter().find_map(|&(characters, elements)| {
        let args = value.pointer("/process/args").cloned();
        cut(&mut value, characters, elements);
        if args.as_ref() != value.pointer("/process/args")
            && let Some(Value::Object(supervisor)) = value.get_mut("supervisor")
        {
            supervisor.insert("args_cut".to_owned(), true.into());
        }
        serde_json::to_string(&value)
            .ok()
            .map(|it| harmless_json(it).into_bytes())
            .filter(|bytes| bytes.len() <= max)
    })
}

fn cut(value: &mut Value, characters: usize, elements: usize) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(characters) {
                text.truncate(end);
                text.push('…');
            }
        }
        Value::Array(list) => {
            list.truncate(elements);
            for it in list {
                cut(it, characters, elements);
            }
        }
        Value::Object(map) => map.values_mut().for_each(|it| cut(it, characters, elements)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_stay_whole() {
        let payload = serde_json::json!({
            "event": { "action": "zombie-detected" },
            "process": { "args": vec!["\u{1}é".repeat(10_000); 100] },
            "supervisor": {},
        });
        let payload = serde_json::to_vec(&payload).unwrap();
        for max in [1 << 20, 64 << 10, 8 << 10] {
            let cut = fit(&payload, max).unwrap();
            assert!(cut.len() <= max);
            let value: Value = serde_json::from_slice(&cut).unwrap();
            assert_eq!(value.pointer("/event/action").and_then(Value::as_str), Some("zombie-detected"));
            assert_eq!(value.pointer("/supervisor/args_cut"), Some(&Value::Bool(true)));
        }
        assert_eq!(fit(&payload, 20), None);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(fit("ééééé".as_bytes(), 8).unwrap(), "éé…".as_bytes());
    }
}
