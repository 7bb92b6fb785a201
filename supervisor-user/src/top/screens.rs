//! Compares every page on terminals of 60 to 200 columns, with 1 to 30,000 zombies, with `golden/ZOMBIES.txt`.
//! `UPDATE_GOLDEN=1` writes these files again; check the differences then.

use std::{env, fmt::Write as _, fs};

use ratatui::{Terminal, backend::TestBackend};
use supervisor_render::style::Style;

use super::{Key, Page, Top, View, draw::draw, sample::host_with};

/// The text of a screen of that size.
pub(super) fn screen(top: &mut Top, view: &dyn View, columns: u16, lines: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).expect("a buffer");
    top.prepare(view, columns);
    terminal.draw(|frame| draw(frame, top, Style::PLAIN)).expect("a buffer");
    let buffer = terminal.backend().buffer();
    let row = |y: u16| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..lines).map(|y| row(y).trim_end().to_owned() + "\n").collect()
}

/// All screens of a host.
fn screens(zombies: u32) -> String {
    let (mut top, conclusions) = host_with(zombies);
    let mut out = String::new();
    for columns in [60, 80, 120, 200] {
        for page in Page::ALL {
            let key = char::from(b'1' + page as u8);
            top.key(Key::Char(key), &conclusions);
            let text = screen(&mut top, &conclusions, columns, 24);
            let _infallible = write!(out, "==== {} on {columns} columns\n{text}", page.title());
        }
    }
    // The time of day depends on the time zone of the machine.
    let time = regex::Regex::new(r"(?m)^\d\d:\d\d:\d\d").expect("it is one");
    time.replace_all(&out, "HH:MM:SS").into_owned()
}

#[test]
fn every_page_matches_its_golden_screen_on_every_terminal() {
    for zombies in [1, 5, 300, 30_000] {
        let path = format!("{}/src/top/golden/{zombies}.txt", env!("CARGO_MANIFEST_DIR"));
        let now = screens(zombies);
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &now).expect("golden file can be written");
        }
        let before = fs::read_to_string(&path).expect("golden file exists");
        assert_eq!(now, before, "{path}");
    }
}
