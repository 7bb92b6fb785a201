//! Finds the commands that README.md and docs/*.md show. `supervisor-user/tests` and `xtask` include this file by path,
//! so it uses only the standard library.

use std::{fs, io, path::Path};

/// A command, and its position.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Such as `README.md:18`.
    pub(crate) place: String,
    /// The text as it is written, with its comment. Lines that `\` continues are one line.
    pub(crate) text: String,
}

impl Shown {
    /// Its words up to a comment, a pipe or a redirection, split as a shell splits them; without `sudo`.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = words(&self.text);
        if words.first().is_some_and(|first| first == "sudo") {
            words.remove(0);
        }
        words
    }
}

/// The commands of every fenced `sh` block, in order.
pub(crate) fn in_blocks() -> io::Result<Vec<Shown>> {
    let mut shown: Vec<Shown> = Vec::new();
    for (name, text) in pages()? {
        let (mut fence, mut is_continued) = (None, false);
        for (number, line) in (1..).zip(text.lines()) {
            match (line.strip_prefix("```"), fence) {
                (Some(language), None) => fence = Some(language),
                (Some(_), Some(_)) => fence = None,
                (None, Some("sh")) => {
                    if let Some(before) = shown.last_mut().filter(|_| is_continued) {
                        before.text = format!("{}\n{line}", before.text);
                    } else {
                        shown.push(Shown { place: format!("{name}:{number}"), text: line.to_owned() });
                    }
                    is_continued = line.ends_with('\\');
                }
                _ => {}
            }
        }
    }
    Ok(shown)
}

/// The pages with their names; README first.
pub(crate) fn pages() -> io::Result<Vec<(String, String)>> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(tree.join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|it| it == "md") {
            names.push(format!("docs/{name}"));
        }
    }
    names[1..].sort();
    let read = |name: String| Ok((name.clone(), fs::read_to_string(tree.join(name))?));
    names.into_iter().map(read).collect()
}

/// The words of one simple command.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '\\') => drop(chars.next_if_eq(&'\n')),
            (None, '|' | '>' | '<' | ';') => break,
            (None, '#') if word.is_empty() => break,
            (None, ' ' | '\n') if word.is_empty() => {}
            (None, ' ' | '\n') => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.extend(Some(word).filter(|it| !it.is_empty()));
    words
}
