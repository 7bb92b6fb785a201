//! Records of the ring of `supervisor trace`. The kernel side writes them, and processes choose the names in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supervisor_collect::{decoder::Decoder, kernel::TraceRecord};
use supervisor_ebpf::{Exec, Traced, TracedCgroup, TracedExec};
use supervisor_fuzz::host;
use supervisor_model::{clock::Wall, redact::Redactor, trace::TraceKind, words::clean};
use supervisor_render::{
    Context, ecs, ocsf,
    style::Colour,
    trace::{
        text::{TimeFormat, TraceLines},
        tree::Tree,
    },
};

const KINDS: [TraceKind; 5] =
    [TraceKind::Fork, TraceKind::Exec, TraceKind::Exit, TraceKind::Wait, TraceKind::Reap];

/// All that is printed of a trace.
struct Printer {
    decoder: Decoder,
    lines: TraceLines,
    tree: Tree,
    context: Context,
    wall: Wall,
}

impl Printer {
    fn new() -> Self {
        let wall = Wall::at_offset(1_700_000_000_000_000_000);
        Self {
            decoder: Decoder::of(&KINDS, Redactor::default()),
            lines: TraceLines::new(TimeFormat::Relative, Colour::Never, wall, 0),
            tree: Tree::default(),
            context: Context { host: host(), agent_id: "fuzz".to_owned(), hooks: None },
            wall,
        }
    }

    fn event(&mut self, traced: &Traced, exec: Option<&Exec>) {
        let mut text = String::new();
        let lost = self.decoder.lost_before(traced);
        if lost > 0 {
            self.lines.lost(lost, traced.at_ns, &mut text);
        }
        if let Some(event) = self.decoder.event(traced, exec) {
            self.lines.event(&event, &mut text);
            self.tree.event(&event);
            for said in [
                ecs::traced(&event, &self.context, 1, self.wall).expect("it can be encoded"),
                ocsf::traced(&event, &self.context, 1, self.wall).expect("it can be encoded"),
            ] {
                assert_eq!(said, clean(&said), "it steers a terminal, or is not one line");
                serde_json::from_str::<serde_json::Value>(&said).expect("it is JSON");
            }
            assert_eq!(text.matches('\n').count(), 1 + usize::from(lost > 0), "an event is one line");
        }
        assert_harmless(&text);
    }
}

fn assert_harmless(text: &str) {
    for line in text.lines() {
        assert_eq!(line, clean(line), "it steers a terminal");
    }
}

/// A record of this size: the bytes, and zeros behind them. It is aligned as records of the ring are.
fn padded(bytes: &[u8], size: usize) -> Vec<u64> {
    let mut bytes = bytes.to_vec();
    bytes.resize(size.next_multiple_of(8), 0);
    bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default())).collect()
}

// Records: a byte for the type, then its bytes; the last one may be cut.
fuzz_target!(|data: &[u8]| {
    let mut printer = Printer::new();
    let mut rest = data;
    while let Some((kind, behind)) = rest.split_first() {
        let sizes = [size_of::<Traced>(), size_of::<TracedExec>(), size_of::<TracedCgroup>()];
        let size = sizes[usize::from(*kind) % sizes.len()];
        let (bytes, behind) = behind.split_at(size.min(behind.len()));
        rest = behind;
        let words = padded(bytes, size);
        // SAFETY: the words are initialised, and have at least that many bytes.
        let record = unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), size) };
        match TraceRecord::read(record).expect("it has the size of a record") {
            TraceRecord::Event(traced) => printer.event(&traced, None),
            TraceRecord::Exec(exec) => printer.event(&exec.event, Some(&exec.exec)),
            TraceRecord::Cgroup(id, names) => drop(printer.decoder.cgroup(id, &names)),
        }
    }
    assert_harmless(&printer.tree.draw(0, None, Colour::Never));
});
