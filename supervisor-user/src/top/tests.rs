//! The screen of a real recording's findings, driven by keys.

use std::path::Path;

use ratatui::{Terminal, backend::TestBackend};

use super::{Key, Top, draw::draw};
use crate::{conclusions::Conclusions, filter::Filter, recording::Reader, report::text::Style};

/// A screen of the incident as it was recorded, with a PID namespace that is blocked, and what it is of.
fn recorded() -> (Top, Conclusions) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings/f1-incident.zst");
    let mut reader = Reader::open(&file).expect("it is in the tree");
    let header = reader.header().clone();
    let mut conclusions = Conclusions::new(header.host, header.grace_ns, Filter::default());
    let mut top = Top::new("recorded".to_owned());
    for observation in reader.by_ref().map(Result::unwrap) {
        // Up to the first reap.
        if observation.seen.is_end() {
            break;
        }
        conclusions.take(&observation).iter().for_each(|event| top.event(event));
    }
    top.refresh(&conclusions, 1);
    (top, conclusions)
}

/// What is on a screen of that size.
fn screen(top: &mut Top, columns: u16, lines: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).expect("a buffer");
    terminal.draw(|frame| draw(frame, top, Style::PLAIN)).expect("a buffer");
    let buffer = terminal.backend().buffer();
    let row = |y: u16| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..lines).map(|y| row(y).trim_end().to_owned() + "\n").collect()
}

#[test]
fn what_is_unreaped_is_on_the_screen_of_any_size() {
    for (columns, lines) in [(80, 24), (200, 50)] {
        let (mut top, _) = recorded();
        let text = screen(&mut top, columns, lines);
        for word in ["1 unreaped", "1 PID namespace blocked", "PID", "crun", "F1", "? keys"] {
            assert!(text.contains(word), "{word} at {columns} x {lines}:\n{text}");
        }
    }
    // One that is much too small is no reason to panic.
    for (columns, lines) in [(1, 1), (10, 3), (20, 6)] {
        screen(&mut recorded().0, columns, lines);
    }
}

#[test]
fn enter_shows_the_whole_story_and_escape_ends_it() {
    let (mut top, conclusions) = recorded();
    assert!(top.key(Key::Enter, &conclusions));
    let text = screen(&mut top, 120, 70);
    for word in ["the whole story", "Where it comes from", "Who must reap it"] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    top.key(Key::Move(5), &conclusions);
    assert_ne!(screen(&mut top, 120, 70), text, "it scrolls");
    top.key(Key::Escape, &conclusions);
    assert!(!screen(&mut top, 120, 50).contains("the whole story"));
}

#[test]
fn a_story_is_wrapped_to_the_screen() {
    let (mut top, conclusions) = recorded();
    // A resize is seen at the next look.
    screen(&mut top, 80, 50);
    top.key(Key::Enter, &conclusions);
    let text = screen(&mut top, 80, 50);
    // What is wrapped by the screen itself begins without an indent.
    let story = text.lines().filter_map(|line| line.strip_prefix('│')).filter(|line| !line.starts_with(' '));
    assert!(story.clone().all(|line| line.starts_with(char::is_uppercase) || line.trim() == "│"), "{text}");
}

#[test]
fn a_terminal_without_unicode_gets_ascii() {
    let (mut top, conclusions) = recorded();
    top.key(Key::Enter, &conclusions);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a buffer");
    let style = Style { is_ascii: true, ..Style::PLAIN };
    terminal.draw(|frame| draw(frame, &mut top, style)).expect("a buffer");
    assert!(terminal.backend().buffer().content.iter().all(|cell| cell.symbol().is_ascii()));
}

#[test]
fn the_filter_works_as_it_is_typed() {
    let (mut top, conclusions) = recorded();
    for c in "/CRU".chars() {
        top.key(Key::Char(c), &conclusions);
    }
    let text = screen(&mut top, 80, 24);
    assert!(text.contains("filter: CRU_") && text.contains("crun"), "{text}");
    top.key(Key::Char('q'), &conclusions);
    assert!(screen(&mut top, 80, 24).contains("nothing matches the filter"), "q is a letter there");
    top.key(Key::Escape, &conclusions);
    assert!(screen(&mut top, 80, 24).contains("crun"));
    assert!(!top.key(Key::Char('q'), &conclusions), "and ends it elsewhere");
}

#[test]
fn every_page_has_its_list() {
    let (mut top, conclusions) = recorded();
    for (key, words) in [
        ('1', ["PID", "NAME"]),
        ('2', ["HOLDS", "TREND"]),
        ('3', ["BLOCKED FOR", "pause"]),
        ('4', ["UNREAPED", "BLOCKED"]),
        ('5', ["5 Stuck exits", "no process is stuck in its exit"]),
    ] {
        top.key(Key::Char(key), &conclusions);
        let text = screen(&mut top, 80, 24);
        assert!(words.iter().all(|word| text.contains(word)), "{key}:\n{text}");
    }
    // Of a reaper, what it holds.
    top.key(Key::Char('2'), &conclusions);
    top.key(Key::Enter, &conclusions);
    let text = screen(&mut top, 80, 24);
    assert!(text.contains("filter: ") && text.contains("crun"), "{text}");
}

#[test]
fn what_is_frozen_stays() {
    let (mut top, conclusions) = recorded();
    top.key(Key::Char(' '), &conclusions);
    let empty = Conclusions::new(conclusions_host(), 1, Filter::default());
    top.refresh(&empty, 1);
    let text = screen(&mut top, 80, 24);
    assert!(text.contains("FROZEN") && text.contains("crun"), "{text}");
    top.key(Key::Char(' '), &empty);
    top.refresh(&empty, 1);
    assert!(screen(&mut top, 80, 24).contains("nothing is unreaped"));
}

fn conclusions_host() -> crate::host::HostIdentity {
    crate::evidence::sample::host()
}
