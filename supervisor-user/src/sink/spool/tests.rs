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
fn what_goes_in_comes_out_in_order_and_is_given_back() {
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
fn what_was_not_delivered_comes_again_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut reader) = open(dir.path(), 1 << 20).unwrap();
    for number in 0..50 {
        assert!(writer.push(&message(number)).unwrap());
    }
    take(&mut reader, 20);
    reader.sync().unwrap();
    take(&mut reader, 10);
    drop((writer, reader));

    // The last ten were delivered, and nobody remembers it: they come again. None is left out.
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
fn a_torn_or_damaged_part_is_passed_over_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path(), 1 << 20).unwrap();
    for number in 0..3 {
        assert!(writer.push(&message(number)).unwrap());
    }
    drop(writer);
    let segment = path(dir.path(), 1);
    fs::OpenOptions::new().append(true).open(&segment).unwrap().write_all(&[9, 0, 0]).unwrap();

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
