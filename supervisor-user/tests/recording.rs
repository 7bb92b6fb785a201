//! Tests of recordings: a reader gets exactly the written observations, and an error names every defect.

#![expect(clippy::unwrap_used, reason = "in a test a panic is how to fail, and what failed is in it")]

use std::{
    fs,
    io::{Cursor, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use supervisor_ebpf::ProcessId;
use supervisor_model::{
    clock::Wall,
    event::Loss,
    facts::HostIdentity,
    observation::{Observation, Release, Seen},
    recording::{
        Counted, FORMAT, Header, MAX_LINE, Reason, RecordingError, RecordingReader, RecordingWriter,
    },
};
use tempfile::TempDir;

fn header() -> Header {
    let host = HostIdentity {
        id: None,
        hostname: "node".into(),
        boot_id: "10eeaa35-0119-41d7-857a-9fed44d468e7".into(),
        kernel: "6.18.0".into(),
        ticks_per_second: 100,
    };
    Header::new(host, 1_000_000_000, Some("tp_btf+iter".into()), "2ea4fc91".into())
}

fn observations() -> Vec<Observation> {
    let id = ProcessId::new(17, 1_234_567_890);
    let loss = Loss { since_ns: 3, exits: 1, ..Loss::default() };
    let release = Release { at_ns: 5, by: id, comm: None };
    let seen = [
        Seen::Reaped { id, free_ns: Some(u64::MAX), release: Some(release) },
        Seen::Reaped { id, free_ns: None, release: None },
        Seen::Released { id },
        Seen::Lost { loss },
    ];
    let wall = Wall::at_offset(-5);
    seen.into_iter().zip(7..).map(|(seen, at_ns)| Observation { at_ns, wall, seen }).collect()
}

fn counted() -> Counted {
    Counted { forks: 5, lost: 1, ..Counted::default() }
}

/// A directory with a whole recording in it.
fn recorded() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("some.zst");
    let mut writer = RecordingWriter::create(&file, false, &header()).unwrap();
    for observation in observations() {
        writer.write(&observation).unwrap();
    }
    let written = writer.finish(counted()).unwrap();
    assert_eq!((written.observations, written.bytes), (4, fs::metadata(&file).unwrap().len()));
    (dir, file)
}

fn compressed(lines: &[&str]) -> Vec<u8> {
    zstd::encode_all(Cursor::new(lines.iter().flat_map(|line| [line, "\n"]).collect::<String>()), 1).unwrap()
}

fn lines_of(bytes: &[u8]) -> Vec<String> {
    String::from_utf8(zstd::decode_all(bytes).unwrap()).unwrap().lines().map(str::to_owned).collect()
}

/// All observations before the first error, and the error.
fn read(bytes: Vec<u8>) -> (Vec<Observation>, Option<RecordingError>) {
    let reader = match RecordingReader::new("some.zst", Cursor::new(bytes)) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut seen = Vec::new();
    for observation in reader {
        match observation {
            Ok(observation) => seen.push(observation),
            Err(error) => return (seen, Some(error)),
        }
    }
    (seen, None)
}

/// The error for a file that cannot even be opened, as a sentence.
fn refused(path: &Path) -> String {
    match RecordingReader::open(path) {
        Ok(_) => panic!("{} was read", path.display()),
        Err(error) => sentence(error),
    }
}

fn sentence(error: RecordingError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

#[test]
fn written_observations_are_read_back() {
    let (_dir, file) = recorded();
    let mut reader = RecordingReader::open(&file).unwrap();
    assert_eq!(reader.header().host, header().host);
    let seen: Result<Vec<_>, _> = reader.by_ref().collect();
    assert_eq!(seen.unwrap(), observations());
    let end = reader.end().unwrap();
    assert_eq!((end.observations, end.counted), (4, counted()));
}

#[test]
fn only_the_owner_may_read_it_and_nothing_is_overwritten_by_accident() {
    let (dir, file) = recorded();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&file).unwrap();
    let error = RecordingWriter::create(&file, false, &header()).err().unwrap();
    assert!(sentence(error).contains("some.zst: exists; choose another name, or give --force"));
    assert_eq!(fs::read(&file).unwrap(), before);

    // A replaced file is a new file, so a process that has the old one open does not see the new observations.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    drop(RecordingWriter::create(&file, true, &header()).unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&link, dir.path(), Path::new("/dev/null")] {
        let error = RecordingWriter::create(path, true, &header()).err().unwrap();
        assert!(matches!(error.reason, Reason::NotReplaced), "{}", sentence(error));
    }
}

#[test]
fn flushed_observations_survive_the_death_of_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("some.zst");
    let mut writer = RecordingWriter::create(&file, false, &header()).unwrap();
    writer.write(&observations()[0]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(510));
    writer.tick().unwrap();
    // No destructor runs that could complete the file.
    std::mem::forget(writer);
    let (seen, error) = read(fs::read(&file).unwrap());
    assert_eq!(seen, observations()[..1]);
    let error = error.unwrap();
    assert!(error.is_cut(), "{}", sentence(error));
}

#[test]
fn a_recording_cut_anywhere_gives_its_beginning_and_an_error() {
    let (_dir, file) = recorded();
    let whole = fs::read(&file).unwrap();
    for len in 1..whole.len() {
        let (seen, error) = read(whole[..len].to_vec());
        assert!(observations().starts_with(&seen), "cut after {len} bytes");
        let error = error.unwrap_or_else(|| panic!("cut after {len} bytes, and nothing is wrong"));
        assert!(error.is_cut(), "cut after {len} bytes: {}", sentence(error));
    }
    let mut lines = lines_of(&whole);
    while lines.len() > 1 {
        lines.pop();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (seen, error) = read(compressed(&lines));
        assert_eq!(seen.len(), lines.len() - 1);
        let error = error.unwrap();
        assert!(error.is_cut() && error.line == lines.len() as u64 + 1, "{}", sentence(error));
    }
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let (_dir, file) = recorded();
    let whole = fs::read(&file).unwrap();
    for place in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[place / 8] ^= 1 << (place % 8);
        let (seen, error) = read(bytes);
        // The decoder ignores some bits of the frame's header. A flip there changes nothing.
        let error = match error {
            Some(error) => error,
            None if seen == observations() => continue,
            None => panic!("bit {place} is flipped, and nothing is wrong"),
        };
        assert!(sentence(error).starts_with("some.zst"), "bit {place}");
    }
}

#[test]
fn a_damaged_line_is_named() {
    let (_dir, file) = recorded();
    let lines = lines_of(&fs::read(&file).unwrap());
    let damaged = |place: usize, text: &str| {
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines[place] = text;
        let (_, error) = read(compressed(&lines));
        sentence(error.unwrap())
    };
    assert!(damaged(2, r#"{"at_ns":7,"#).starts_with("some.zst, line 3: is damaged: EOF"));
    assert!(damaged(2, r#"{"at_ns":7,"#).ends_with("at column 11"));
    assert!(damaged(2, "").starts_with("some.zst, line 3: is damaged"));
    let hostile = damaged(2, r#"{"at_ns":7,"wall":1,"seen":"\u001b[31m"}"#);
    assert!(hostile.contains("unknown variant") && !hostile.contains('\x1b'), "{hostile}");
    assert!(damaged(5, r#"{"end":{}}"#).starts_with("some.zst, line 6: is damaged: missing field"));
    assert!(damaged(0, "{}").contains("no recording: its first line does not say so"));
    assert!(damaged(0, r#"{"supervisor_recording":1}"#).contains("line 1: is damaged: missing field"));
}

#[test]
fn missing_and_extra_lines_are_errors() {
    let (_dir, file) = recorded();
    let bytes = fs::read(&file).unwrap();
    let lines = lines_of(&bytes);
    let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    lines.remove(1);
    let (_, error) = read(compressed(&lines));
    assert!(sentence(error.unwrap()).contains("3 observations are left of 4"));
    let (seen, error) = read([bytes.clone(), bytes].concat());
    assert_eq!(seen, observations());
    assert!(matches!(error.unwrap().reason, Reason::AfterEnd));
}

#[test]
fn a_newer_format_asks_for_an_upgrade() {
    let line = r#"{"supervisor_recording":2,"version":"9.1.0","what":{"is":"not known yet"}}"#;
    let (_, error) = read(compressed(&[line]));
    let said = sentence(error.unwrap());
    assert!(said.contains("made by supervisor 9.1.0, format 2; this one reads up to 1: upgrade"), "{said}");
    assert_eq!(FORMAT, 1, "a new format needs recordings of the old one as test data");
}

#[test]
fn a_file_that_is_no_recording_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        refused(&path)
    };
    assert!(file("empty", b"").contains("empty: is empty"));
    assert!(file("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03").contains("not compressed with zstd"));
    assert!(file("json", br#"{"supervisor_recording":1}"#).contains("not compressed with zstd"));
    assert!(file("nothing", &compressed(&[])).contains("without its last line"));
    assert!(file("text", &compressed(&["some text"])).contains("first line does not say so"));
    assert!(refused(dir.path()).contains("is a directory"));
    assert!(refused(Path::new("/dev/null")).contains("is a device"));
    assert!(refused(&dir.path().join("none")).contains("none: cannot be opened: No such file"));
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(refused(&fifo).contains("is a pipe"));
}

#[test]
fn a_state_that_is_no_letter_is_refused() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings/f8-held-init.zst");
    let lines = lines_of(&fs::read(golden).unwrap());
    let states: usize = lines.iter().map(|line| line.matches(r#""state":""#).count()).sum();
    assert!(states > 5, "of processes and threads");
    for state in [r"\u009b", r"\n", r"\u202e", "7"] {
        for (i, line) in lines.iter().enumerate() {
            for (place, before) in line.match_indices(r#""state":""#) {
                let (head, tail) = line.split_at(place + before.len());
                let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                let hostile = format!("{head}{state}{}", &tail[1..]);
                lines[i] = &hostile;
                let said = sentence(read(compressed(&lines)).1.unwrap());
                assert!(said.contains("the letter of a state"), "{said}");
                assert!(said.is_ascii() && !said.contains('\n'), "{said:?}");
            }
        }
    }
}

#[test]
fn a_hostile_file_takes_little_memory() {
    // A gigabyte without a newline, compressed to about 100 kB.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let megabyte = vec![b' '; 1 << 20];
    for _ in 0..1024 {
        encoder.write_all(&megabyte).unwrap();
    }
    let (_, error) = read(encoder.finish().unwrap());
    assert!(matches!(error.unwrap().reason, Reason::TooLong));

    // A line of the maximum length can be read.
    let long = format!(r#"{{"supervisor_recording":2,"version":"{}"}}"#, "9".repeat(MAX_LINE - 50));
    let (_, error) = read(compressed(&[&long]));
    assert!(matches!(error.unwrap().reason, Reason::Newer { .. }));

    // A large window, which the decoder would have to keep in memory.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&megabyte).unwrap();
    let (_, error) = read(encoder.finish().unwrap());
    assert!(matches!(error.unwrap().reason, Reason::Damaged(_)));
    let peak = fs::read_to_string("/proc/self/status").unwrap();
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    let peak: u64 = peak.trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 400 << 10, "{peak} kB");
}

#[test]
fn a_deeply_nested_line_is_refused() {
    // Without a limit, the parser would use up its stack.
    let deep = "[".repeat(MAX_LINE - 100);
    let header = serde_json::to_string(&header()).unwrap();
    for lines in
        [vec![format!("{{\"supervisor_recording\":{deep}")], vec![header, format!("{{\"at_ns\":{deep}")]]
    {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (observations, error) = read(compressed(&lines));
        assert!(observations.is_empty());
        assert!(matches!(error.unwrap().reason, Reason::NoHeader | Reason::Line(_)));
    }
}

#[test]
fn an_observation_that_is_too_long_is_left_out_and_counted() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings/f4-never-wait.zst");
    let mut long = RecordingReader::open(&golden).unwrap().next().unwrap().unwrap();
    let Seen::Unreaped { evidence, .. } = &mut long.seen else { panic!("{long:?}") };
    evidence.facts.comm = "x".repeat(MAX_LINE);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("some.zst");
    let mut writer = RecordingWriter::create(&file, false, &header()).unwrap();
    for observation in [&long, &observations()[0]] {
        writer.write(observation).unwrap();
    }
    let written = writer.finish(counted()).unwrap();
    assert_eq!((written.observations, written.left_out), (1, 1));
    let mut reader = RecordingReader::open(&file).unwrap();
    assert_eq!(reader.by_ref().filter_map(Result::ok).collect::<Vec<_>>(), observations()[..1]);
    assert_eq!(reader.end().unwrap().left_out, 1);
}
