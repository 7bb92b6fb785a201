use std::{fs, io::Write as _, sync::Arc};

use super::*;
use crate::sink::message::{FindingState, Head, Message};

fn message(number: usize) -> Message {
    let payload: Arc<[u8]> =
        format!("{{\"number\":{number},\"text\":\"{}\"}}", "x".repeat(200)).into_bytes().into();
    Message {
        head: Head {
            id: format!("id-{number}"),
            action: "zombie-detected".to_owned(),
            at: jiff::Timestamp::UNIX_EPOCH,
            severity: 3,
            finding: Some(FindingState { id: number.to_string(), is_open: true }),
            is_news: true,
            sentence: "one\u{2028}sentence".to_owned(),
        },
        ecs: if number.is_multiple_of(2) { Arc::clone(&payload) } else { b"{}".as_slice().into() },
        payload,
    }
}

fn take(reader: &mut Reader, count: usize) -> Vec<Message> {
    let taken = reader.first(count).unwrap();
    reader.advance(taken.len());
    taken
}

#[test]
fn messages_come_out_in_order_and_their_space_is_freed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader) = open(&dir.path().join("spool"), 64 << 10).unwrap();
    for round in 0..20 {
        let messages: Vec<Message> = (0..100).map(|number| message(round * 100 + number)).collect();
        for message in &messages {
            assert!(writer.push(message).unwrap(), "what was delivered makes room");
        }
        assert_eq!(writer.gauge().messages(), 100);
        assert_eq!(reader.first(7).unwrap(), messages[..7], "looking does not take");
        assert_eq!(take(&mut reader, 1000), messages);
        reader.sync().unwrap();
        assert_eq!(writer.gauge().messages(), 0);
    }
    assert!(writer.gauge().bytes() <= 8 << 10, "{}", writer.gauge().bytes());
}

#[test]
fn a_full_spool_takes_no_more_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader) = open(dir.path(), 64 << 10).unwrap();
    let mut count = 0;
    while writer.push(&message(count)).unwrap() {
        count += 1;
    }
    assert!(writer.gauge().bytes() <= 64 << 10);
    assert_eq!(take(&mut reader, count / 2).len(), count / 2);
    reader.sync().unwrap();
    assert!(writer.push(&message(count)).unwrap());
    assert_eq!(take(&mut reader, 10_000).len(), count + 1 - count / 2);
}

#[test]
fn undelivered_messages_come_again_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader) = open(dir.path(), 1 << 20).unwrap();
    for number in 0..50 {
        assert!(writer.push(&message(number)).unwrap());
    }
    take(&mut reader, 20);
    reader.sync().unwrap();
    take(&mut reader, 10);
    drop((writer, reader));

    // The last ten were delivered, but that was not saved: they come again. None is omitted.
    let (mut writer, mut reader) = open(dir.path(), 1 << 20).unwrap();
    assert_eq!(writer.gauge().messages(), 30);
    assert!(writer.push(&message(50)).unwrap());
    let wanted: Vec<Message> = (20..=50).map(message).collect();
    assert_eq!(take(&mut reader, 1000), wanted);
    reader.sync().unwrap();
    drop((writer, reader));
    let (_, mut reader) = open(dir.path(), 1 << 20).unwrap();
    assert!(reader.first(1).unwrap().is_empty());
}

#[test]
fn a_torn_or_damaged_part_is_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), 1 << 20).unwrap();
    for number in 0..3 {
        assert!(writer.push(&message(number)).unwrap());
    }
    drop(writer);
    let segment = path(dir.path(), 1);
    fs::File::options().append(true).open(&segment).unwrap().write_all(&[9, 0, 0]).unwrap();

    let (mut writer, mut reader) = open(dir.path(), 1 << 20).unwrap();
    assert!(writer.push(&message(3)).unwrap());
    assert_eq!(take(&mut reader, 10), (0..4).map(message).collect::<Vec<_>>());
    assert_eq!(reader.take_damaged(), 1);
    drop((writer, reader));

    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), 1 << 20).unwrap();
    for number in 0..3 {
        assert!(writer.push(&message(number)).unwrap());
    }
    drop(writer);
    let segment = path(dir.path(), 1);
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (mut writer, mut reader) = open(dir.path(), 1 << 20).unwrap();
    assert!(writer.push(&message(3)).unwrap());
    assert_eq!(take(&mut reader, 10), [message(0), message(3)], "what stands behind a damage is not trusted");
    assert_eq!(reader.take_damaged(), 1);
}

#[test]
fn a_run_without_events_loses_no_events_of_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let (mut writer, mut reader) = open(dir.path(), 1 << 20).unwrap();
        for number in 0..5 {
            assert!(writer.push(&message(number)).unwrap());
        }
        assert_eq!(take(&mut reader, 10), (0..5).map(message).collect::<Vec<_>>(), "round {round}");
        reader.sync().unwrap();
        drop((writer, reader));
        // Twice, since the first removes what was delivered.
        for _ in 0..2 {
            drop(open(dir.path(), 1 << 20).unwrap());
        }
    }
}

#[test]
fn damage_in_the_segment_that_is_written_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader) = open(dir.path(), 1 << 20).unwrap();
    for number in 0..3 {
        assert!(writer.push(&message(number)).unwrap());
    }
    let segment = fs::File::options().write(true).open(path(dir.path(), 1)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&segment, b"damage", 12).unwrap();
    for _ in 0..5 {
        assert!(take(&mut reader, 10).is_empty());
    }
    assert_eq!((reader.take_damaged(), writer.gauge().messages()), (1, 0));
    assert!(writer.push(&message(3)).unwrap());
    assert_eq!(take(&mut reader, 10), [message(3)], "what is appended later is whole");
    assert_eq!((reader.take_damaged(), writer.gauge().messages()), (0, 0));
}

#[test]
fn the_space_of_a_spool_with_one_full_segment_is_freed_too() {
    let dir = tempfile::tempdir().unwrap();
    // A segment is at least 4 KiB, and this is its limit.
    let (mut writer, mut reader) = open(dir.path(), 4 << 10).unwrap();
    let mut count = 0;
    for _ in 0..5 {
        while writer.push(&message(count)).unwrap() {
            count += 1;
        }
        assert!(!take(&mut reader, 100).is_empty());
        reader.sync().unwrap();
        assert_eq!(writer.gauge().bytes(), 0);
    }
}

#[test]
fn a_spool_has_one_reader_and_other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["7.spool", "x.spool", "18446744073709551615.spool"] {
        fs::write(dir.path().join(name), "not ours").unwrap();
    }
    let (mut writer, reader) = open(dir.path(), 1 << 20).unwrap();
    let error = open(dir.path(), 1 << 20).unwrap_err();
    assert!(error.to_string().ends_with("is in use by another sink or agent"), "{error}");
    assert!(writer.push(&message(1)).unwrap());
    drop((writer, reader));
    assert_eq!(waiting(dir.path()).unwrap(), path(dir.path(), 1).metadata().unwrap().len());
    let (_, mut reader) = open(dir.path(), 1 << 20).unwrap();
    assert_eq!(take(&mut reader, 10), [message(1)]);
    reader.sync().unwrap();
    drop(reader);
    assert_eq!(waiting(dir.path()).unwrap(), 0);
    assert!(dir.path().join("7.spool").exists());
}
