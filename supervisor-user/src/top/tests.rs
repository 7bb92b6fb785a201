//! Drives the screen by keys, with the findings of a real recording and with a host that has many zombies.

use std::path::Path;

use ratatui::{Terminal, backend::TestBackend};
use supervisor_conclude::conclusions::Conclusions;
use supervisor_model::{
    evidence::sample,
    filter::Filter,
    observation::{Observation, Seen},
    recording::RecordingReader,
};
use supervisor_render::style::Style;

use super::{
    Ask, Item, Key, Top, View,
    draw::draw,
    sample::{NOW, held, host_with, unreaped, zombie},
    screens::screen,
};

/// A screen of the recorded incident, with a PID namespace that is blocked, and the conclusions that it shows.
fn recorded() -> (Top, Conclusions) {
    let (top, conclusions, _) = played();
    (top, conclusions)
}

/// The same screen and conclusions, and the rest of the recording.
fn played() -> (Top, Conclusions, Vec<Observation>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings/f1-incident.zst");
    let mut reader = RecordingReader::open(&file).expect("it is in the tree");
    let header = reader.header().clone();
    let mut conclusions = Conclusions::new(header.host, header.grace_ns, Filter::default());
    let mut top = Top::new("recorded".to_owned());
    let mut observations = reader.by_ref().map(Result::unwrap).peekable();
    // Stop before the first reap.
    while let Some(observation) = observations.next_if(|it| !it.seen.is_end()) {
        conclusions.take(&observation).iter().for_each(|event| top.event(event));
    }
    top.refresh(&conclusions, 1);
    let rest = observations.collect();
    (top, conclusions, rest)
}

fn press(top: &mut Top, view: &dyn View, keys: &str) {
    for c in keys.chars() {
        let key = if c == '\n' { Key::Enter } else { Key::Char(c) };
        assert_eq!(top.key(key, view), Ask::Draw, "{c:?}");
    }
}

#[test]
fn a_screen_of_any_size_shows_unreaped_processes() {
    for (columns, lines) in [(60, 24), (80, 24), (200, 50)] {
        let (mut top, conclusions) = recorded();
        let text = screen(&mut top, &conclusions, columns, lines);
        for word in ["blocked 1", "leaked 1", "BLOCKED  pause[", "crun[", "BLOCKS", "? keys"] {
            assert!(text.contains(word), "{word} at {columns} x {lines}:\n{text}");
        }
    }
    // A screen that is much too small must not cause a panic.
    for (columns, lines) in [(1, 1), (10, 3), (20, 6)] {
        let (mut top, conclusions) = recorded();
        for page in '1'..='5' {
            top.key(Key::Char(page), &conclusions);
            screen(&mut top, &conclusions, columns, lines);
        }
    }
}

#[test]
fn a_zombie_opens_its_whole_story_and_escape_ends_it() {
    let (mut top, conclusions) = recorded();
    top.key(Key::Last, &conclusions);
    press(&mut top, &conclusions, "\n");
    let text = screen(&mut top, &conclusions, 120, 70);
    for word in ["the whole story, inspected", "Where it comes from", "Who must reap it"] {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    top.key(Key::Move(5), &conclusions);
    assert_ne!(screen(&mut top, &conclusions, 120, 70), text, "it scrolls");
    top.key(Key::Escape, &conclusions);
    assert!(!screen(&mut top, &conclusions, 120, 50).contains("the whole story"));
}

#[test]
fn an_open_story_is_wrapped_to_the_screen_and_its_age_grows() {
    let (mut top, conclusions) = host_with(5);
    top.key(Key::Last, &conclusions);
    press(&mut top, &conclusions, "\n");
    let wide = screen(&mut top, &conclusions, 120, 60);
    let narrow = screen(&mut top, &conclusions, 80, 60);
    // A line that the screen itself has wrapped begins without an indent.
    let story = narrow.lines().filter_map(|line| line.strip_prefix('│')).filter(|it| !it.starts_with(' '));
    assert!(story.clone().all(|line| line.starts_with(char::is_uppercase) || line.trim() == "│"), "{narrow}");
    let age = |text: &str| text.split_once("UNREAPED").expect("a story").1.lines().next().map(str::to_owned);
    top.refresh(&conclusions, NOW + 5_000_000_000);
    let later = screen(&mut top, &conclusions, 120, 60);
    assert_ne!(age(&wide), age(&later), "{later}");
    assert!(later.contains("inspected 7.0 s ago"), "{later}");
}

#[test]
fn a_terminal_without_unicode_gets_ascii() {
    let (mut top, conclusions) = host_with(300);
    for page in '1'..='5' {
        top.key(Key::Char(page), &conclusions);
        press(&mut top, &conclusions, "\n");
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a buffer");
        let style = Style { is_ascii: true, ..Style::PLAIN };
        top.prepare(&conclusions, 80);
        terminal.draw(|frame| draw(frame, &mut top, style)).expect("a buffer");
        assert!(terminal.backend().buffer().content.iter().all(|cell| cell.symbol().is_ascii()), "{page}");
    }
}

#[test]
fn a_filter_works_as_it_is_typed_and_belongs_to_its_page() {
    let (mut top, conclusions) = recorded();
    press(&mut top, &conclusions, "/CRU");
    let text = screen(&mut top, &conclusions, 80, 24);
    assert!(text.contains("filter: CRU_") && text.contains("crun["), "{text}");
    press(&mut top, &conclusions, "q");
    let text = screen(&mut top, &conclusions, 80, 24);
    assert!(text.contains("nothing matches the filter"), "q is a letter there: {text}");
    top.key(Key::Backspace, &conclusions);
    press(&mut top, &conclusions, "\n");
    let text = screen(&mut top, &conclusions, 80, 24);
    assert!(text.contains("filter: CRU  (Esc clears it)") && text.contains("1 Findings*"), "{text}");
    press(&mut top, &conclusions, "3");
    let text = screen(&mut top, &conclusions, 80, 24);
    assert!(text.contains("pause[") && !text.contains("filter: CRU"), "{text}");
    press(&mut top, &conclusions, "1");
    top.key(Key::Escape, &conclusions);
    let text = screen(&mut top, &conclusions, 80, 24);
    assert!(!text.contains("filter: CRU") && !text.contains('*'), "{text}");
    assert_eq!(top.key(Key::Char('q'), &conclusions), Ask::Quit, "and ends it elsewhere");
}

#[test]
fn every_page_has_its_list() {
    let (mut top, conclusions) = recorded();
    for (key, words) in [
        ('1', ["PROGNOSIS", "HOLDS▼"]),
        ('2', ["HOLDS▼", "LAST MINUTE"]),
        ('3', ["BLOCKED FOR", "pause"]),
        ('4', ["UNREAPED", "BLOCKED"]),
        ('5', ["5 Stuck exits", "no process is stuck in its exit"]),
    ] {
        top.key(Key::Char(key), &conclusions);
        let text = screen(&mut top, &conclusions, 80, 24);
        assert!(words.iter().all(|word| text.contains(word)), "{key}:\n{text}");
    }
    // Enter on a reaper goes to the zombies that it holds.
    press(&mut top, &conclusions, "2\n");
    let text = screen(&mut top, &conclusions, 80, 24);
    assert!(text.contains("filter: ") && text.contains("crun["), "{text}");
}

#[test]
fn reapers_are_opened_and_closed_and_the_selected_line_stays() {
    let (mut top, conclusions) = host_with(300);
    let count = |top: &mut Top| screen(top, &conclusions, 100, 60).matches("    sleep[").count();
    assert_eq!(count(&mut top), 0, "large reapers are closed");
    press(&mut top, &conclusions, "e");
    top.key(Key::Last, &conclusions);
    let text = screen(&mut top, &conclusions, 100, 60);
    let last = top.line_of(top.at()).and_then(|line| top.id_of(line)).map(str::to_owned);
    assert!(text.contains("    convert["), "{text}");
    press(&mut top, &conclusions, "S");
    assert_eq!(top.line_of(top.at()).and_then(|line| top.id_of(line)), last.as_deref());
    press(&mut top, &conclusions, "e");
    assert_eq!(count(&mut top), 0);
    // Findings that match a filter are shown even if their reaper is closed.
    press(&mut top, &conclusions, "/sleep\n");
    assert_ne!(count(&mut top), 0);
    top.key(Key::Escape, &conclusions);
    assert_eq!(count(&mut top), 0);
    // Selects the first reaper, below the blocked namespace.
    top.key(Key::First, &conclusions);
    press(&mut top, &conclusions, "j\n");
    assert!(screen(&mut top, &conclusions, 100, 60).contains("    crun["));
    press(&mut top, &conclusions, "\n");
    assert!(!screen(&mut top, &conclusions, 100, 60).contains("    crun["));
    press(&mut top, &conclusions, "g");
    let text = screen(&mut top, &conclusions, 100, 60);
    assert!(text.contains("ZOMBIE ") && text.contains("conmonrs[1302]"), "{text}");
}

#[test]
fn the_sorted_column_is_marked() {
    let (mut top, conclusions) = host_with(5);
    let header = |top: &mut Top| {
        let text = screen(top, &conclusions, 200, 24);
        text.lines().find(|line| line.contains("BLOCKS")).expect("a header").to_owned()
    };
    for title in ["AGE▼", "REAPER, ZOMBIES▼", "PROGNOSIS▼", "CAUSE▼", "CONTAINER▼", "HOLDS▼"] {
        press(&mut top, &conclusions, "s");
        assert!(header(&mut top).contains(title), "{title}: {}", header(&mut top));
        assert_eq!(header(&mut top).matches('▼').count(), 1);
    }
    press(&mut top, &conclusions, "S");
    assert!(header(&mut top).contains("HOLDS▲"));
}

/// A refresh takes unchanged findings from the refresh before.
#[test]
fn after_each_observation_a_refresh_shows_the_same_as_a_new_screen() {
    let items = |top: &Top| {
        let mut items = top.data.items.clone();
        items.sort_by_key(|item| item.pid);
        items
    };
    let (mut top, mut conclusions) = host_with(100);
    let namespace = held();
    let Seen::Held { id, .. } = namespace.seen else { panic!("no namespace") };
    let blocker = zombie(0).id.expect("it is known");
    let reaped = zombie(7).id.expect("it is known");
    let mut renamed = zombie(8);
    renamed.facts.comm = "renamed".to_owned();
    let seen = [
        Seen::Released { id },
        unreaped(&zombie(3)).seen,
        unreaped(&renamed).seen,
        Seen::Reaped { id: reaped, free_ns: Some(NOW), release: None },
        unreaped(&zombie(100)).seen,
        namespace.seen,
        Seen::Reaped { id: blocker, free_ns: Some(NOW), release: None },
    ];
    for (number, seen) in (1..).zip(seen) {
        let now_ns = NOW + number * 1_000_000_000;
        conclusions.note(&Observation { at_ns: now_ns, wall: namespace.wall, seen });
        let before = items(&top);
        top.refresh(&conclusions, now_ns);
        let mut new = Top::new(String::new());
        new.refresh(&conclusions, now_ns);
        assert_eq!(items(&top), items(&new), "after observation {number}");
        let is_other =
            |item: &Item| before.iter().find(|it| it.id == item.id).map(|it| it.change) != Some(item.change);
        assert!(top.data.items.iter().filter(|item| is_other(item)).count() <= 1, "observation {number}");
    }
}

#[test]
fn an_event_of_a_closed_finding_opens_its_history() {
    let (mut top, mut conclusions, rest) = played();
    for observation in rest {
        conclusions.take(&observation).iter().for_each(|event| top.event(event));
    }
    top.refresh(&conclusions, 1);
    press(&mut top, &conclusions, "4/REAPED  crun\n");
    let list = screen(&mut top, &conclusions, 120, 70);
    assert!(list.contains("REAPED"), "{list}");
    press(&mut top, &conclusions, "\n");
    let text = screen(&mut top, &conclusions, 120, 70);
    for word in ["the history of this finding", "What has happened", "UNREAPED", "What was known of it last"]
    {
        assert!(text.contains(word), "{word}:\n{text}");
    }
}

#[test]
fn keys_can_ask_the_terminal_to_copy_suspend_or_use_the_mouse() {
    let (mut top, conclusions) = recorded();
    let namespace = screen(&mut top, &conclusions, 100, 24);
    let Ask::Copy(pid) = top.key(Key::Char('y'), &conclusions) else { panic!("{namespace}") };
    assert!(namespace.contains(&format!("BLOCKED  pause[{pid}]")), "{namespace}");
    assert_eq!(top.key(Key::Suspend, &conclusions), Ask::Suspend);
    assert_eq!(top.key(Key::Char('m'), &conclusions), Ask::Mouse(false));
    assert!(!top.has_mouse());
    assert_eq!(top.key(Key::Char('m'), &conclusions), Ask::Mouse(true));
}

#[test]
fn a_zombie_is_freed_after_a_question_and_never_by_force() {
    let (mut top, conclusions) = recorded();
    // The selected line is a namespace, which cannot be freed.
    press(&mut top, &conclusions, "r");
    assert!(screen(&mut top, &conclusions, 100, 30).contains("select a zombie to free it"));
    top.key(Key::Last, &conclusions);
    press(&mut top, &conclusions, "r");
    let text = screen(&mut top, &conclusions, 100, 30);
    for word in
        ["free this zombie?", "can be freed crun[", "Its exit status is lost to", "can end once nothing else"]
    {
        assert!(text.contains(word), "{word}:\n{text}");
    }
    assert_eq!(top.key(Key::Char('n'), &conclusions), Ask::Draw);
    assert!(!screen(&mut top, &conclusions, 100, 30).contains("free this zombie?"));
    press(&mut top, &conclusions, "r");
    let Ask::Reap(pid) = top.key(Key::Char('y'), &conclusions) else { panic!("no reap") };
    assert!(text.contains(&format!("crun[{pid}]")));
    top.answered("freed        crun".to_owned());
    assert!(screen(&mut top, &conclusions, 100, 30).contains("freed        crun"));
    press(&mut top, &conclusions, " ");

    // The next zombie is one that its reaper may still wait for.
    let (mut top, conclusions) = host_with(300);
    press(&mut top, &conclusions, "/sleep[\n");
    top.key(Key::Last, &conclusions);
    press(&mut top, &conclusions, "r");
    let text = screen(&mut top, &conclusions, 100, 30);
    assert!(text.contains("needs force  sleep[") && text.contains("`top` forces nothing"), "{text}");
    assert_eq!(top.key(Key::Char('y'), &conclusions), Ask::Draw);

    top.no_reap = Some("this is a recording: its zombies are not here".to_owned());
    press(&mut top, &conclusions, "r");
    assert!(screen(&mut top, &conclusions, 100, 30).contains("this is a recording"));
}

#[test]
fn a_frozen_screen_does_not_change() {
    let (mut top, conclusions) = recorded();
    top.key(Key::Char(' '), &conclusions);
    let empty = Conclusions::new(sample::host(), 1, Filter::default());
    top.refresh(&empty, 1);
    let text = screen(&mut top, &empty, 80, 24);
    assert!(text.contains("FROZEN") && text.contains("crun"), "{text}");
    top.key(Key::Char(' '), &empty);
    top.refresh(&empty, 1);
    assert!(screen(&mut top, &empty, 80, 24).contains("nothing is unreaped"));
}

#[test]
fn the_counts_show_their_change_within_a_minute() {
    let (mut top, conclusions) = host_with(300);
    let text = screen(&mut top, &conclusions, 80, 24);
    let counts = text.lines().nth(1).expect("a line");
    assert!(counts.starts_with("blocked 1 +0/min  leaked "), "{counts}");
    // Findings that began before the screen are no growth; findings that began since are.
    assert!(!counts.contains("+0/min  late") && !counts.contains("+300/min"), "{counts}");
}
