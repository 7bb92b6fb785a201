//! Tests of the file sink with real files, full disks and torn ends.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use serde_json::Value;
use supervisor_deliver::{
    config::FileConfig,
    sink::{FileSink, Message},
};
use supervisor_lab::until;
use supervisor_model::values::{Bytes, Time};
use supervisor_tests::{WAIT_LIMIT, hostile, recorded, repeated};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn config(path: &Path) -> FileConfig {
    FileConfig {
        path: path.to_owned(),
        rotate_size: Bytes(64 << 20),
        rotate_age: None,
        keep: 3,
        compress: false,
    }
}

/// Delivers all messages, which must succeed.
fn deliver(sink: &mut FileSink, batch: &[Message]) -> Result<()> {
    let delivered = sink.deliver(batch);
    ensure!(delivered.error.is_none(), "{:?}", delivered.error);
    assert_eq!(delivered.count, batch.len());
    Ok(())
}

/// The expected content of a file after this batch.
fn text(batch: &[Message]) -> Vec<u8> {
    batch.iter().flat_map(|message| message.payload.iter().copied().chain([b'\n'])).collect()
}

/// The numbers of the events in a file, each of whose lines must be whole.
fn numbers(bytes: &[u8]) -> Result<Vec<u64>> {
    ensure!(bytes.is_empty() || bytes.ends_with(b"\n"), "the last line is not whole");
    let text = std::str::from_utf8(bytes)?;
    text.lines()
        .map(|line| {
            let event: Value =
                serde_json::from_str(line).with_context(|| format!("a broken line: {line}"))?;
            event["event"]["sequence"].as_u64().context("an event without a number")
        })
        .collect()
}

fn nth(path: &Path, n: u32) -> PathBuf {
    path.with_added_extension(n.to_string())
}

#[test]
fn events_are_lines_of_a_file_for_its_owner() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("events.json");
    let mut sink = FileSink::open(&config(&path))?;
    let (first, second) = (recorded()?, hostile()?);
    ensure!(first.len() > 50, "there are only {} events", first.len());
    deliver(&mut sink, &first)?;
    deliver(&mut sink, &second)?;
    let written = fs::read(&path)?;
    assert!(written == [text(&first), text(&second)].concat());
    assert_eq!(numbers(&written)?.len(), first.len() + second.len());
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o7777, 0o600);
    // A program that is started meanwhile does not inherit the descriptor.
    for fd in fs::read_dir("/proc/self/fd")? {
        let fd = fd?.path();
        if fs::read_link(&fd).is_ok_and(|target| target == path) {
            let name = fd.file_name().context("a descriptor")?.display().to_string();
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{name}"))?;
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).context("no flags")?;
            ensure!(u32::from_str_radix(flags.trim(), 8)? & libc::O_CLOEXEC as u32 != 0, "{flags}");
            return Ok(());
        }
    }
    anyhow::bail!("the file is not open")
}

#[test]
fn links_pipes_and_files_of_another_agent_are_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let batch = &recorded()?[..1];
    let error = |path: &Path| -> Result<String> {
        let delivered = FileSink::open(&config(path))?.deliver(batch);
        assert_eq!(delivered.count, 0);
        Ok(delivered.error.context("it was delivered")?.to_string())
    };
    let victim = dir.path().join("victim");
    fs::write(&victim, "kept\n")?;
    let link = dir.path().join("link");
    symlink(&victim, &link)?;
    ensure!(error(&link)?.contains("symbolic link"), "{}", error(&link)?);
    assert_eq!(fs::read_to_string(&victim)?, "kept\n");

    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )?;
    ensure!(error(&pipe)?.contains("no regular file"), "{}", error(&pipe)?);

    let path = dir.path().join("events.json");
    let mut first = FileSink::open(&config(&path))?;
    deliver(&mut first, batch)?;
    ensure!(error(&path)?.contains("another agent"), "{}", error(&path)?);
    drop(first);
    deliver(&mut FileSink::open(&config(&path))?, batch)
}

#[test]
fn it_is_rotated_by_size_and_the_configured_number_is_kept() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("events.json");
    let batch = repeated(400)?;
    let size = Bytes(50_000);
    let mut sink = FileSink::open(&FileConfig { rotate_size: size, ..config(&path) })?;
    for part in batch.chunks(7) {
        deliver(&mut sink, part)?;
    }
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir.path())?.map(|it| Ok(it?.path())).collect::<Result<_>>()?;
    files.sort();
    assert_eq!(files, [path.clone(), nth(&path, 1), nth(&path, 2), nth(&path, 3)]);
    let mut kept = Vec::new();
    for file in [nth(&path, 3), nth(&path, 2), nth(&path, 1), path] {
        let bytes = fs::read(&file)?;
        ensure!(bytes.len() as u64 <= size.0, "{} has {} bytes", file.display(), bytes.len());
        assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o7777, 0o600);
        kept.extend(numbers(&bytes)?);
    }
    // They are the newest events, each once, in order.
    let first = kept[0];
    assert_eq!(kept, (first..=400).collect::<Vec<_>>());
    ensure!(first > 1, "none was deleted");
    Ok(())
}

#[test]
fn it_is_rotated_by_age_also_without_an_event() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("events.json");
    let age = Time(Duration::from_millis(700));
    let mut sink = FileSink::open(&FileConfig { rotate_age: Some(age), ..config(&path) })?;
    let batch = repeated(2)?;
    let begun = Instant::now();
    deliver(&mut sink, &batch[..1])?;
    runtime()?.block_on(async {
        let rotated = async {
            while !nth(&path, 1).exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = sink.serve() => unreachable!("it serves for ever"),
            done = tokio::time::timeout(WAIT_LIMIT, rotated) => done,
        }
    })?;
    // A file system stores the time of a file with an error of a few milliseconds.
    let took = begun.elapsed() + Duration::from_millis(20);
    ensure!(took >= age.0, "it was rotated too early: after {took:?}");
    assert_eq!(numbers(&fs::read(nth(&path, 1))?)?, [1]);
    deliver(&mut sink, &batch[1..])?;
    assert_eq!(numbers(&fs::read(&path)?)?, [2]);
    Ok(())
}

/// All event numbers in the rotated files, compressed or not, oldest first.
fn all(path: &Path, keep: u32) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    for n in (1..=keep).rev() {
        let plain = nth(path, n);
        let packed = plain.with_added_extension("zst");
        if plain.exists() {
            all.extend(numbers(&fs::read(&plain)?)?);
        } else if packed.exists() {
            all.extend(numbers(&zstd::decode_all(File::open(&packed)?)?)?);
        }
    }
    all.extend(numbers(&fs::read(path)?)?);
    Ok(all)
}

#[test]
fn rotated_files_are_compressed_and_nothing_is_lost_in_between() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("events.json");
    let config = FileConfig { rotate_size: Bytes(60_000), keep: 50, compress: true, ..config(&path) };
    let batch = repeated(300)?;
    let mut sink = FileSink::open(&config)?;
    for part in batch.chunks(10) {
        deliver(&mut sink, part)?;
    }
    drop(sink);
    assert_eq!(all(&path, 50)?, (1..=300).collect::<Vec<_>>());

    // An agent was killed while it compressed, and another time when a compressed file already stood beside the plain
    // one.
    let (first, second) = (nth(&path, 1), nth(&path, 2));
    let packed = |plain: &Path| plain.with_added_extension("zst");
    for file in [&first, &second] {
        if packed(file).exists() {
            fs::write(file, zstd::decode_all(File::open(packed(file))?)?)?;
        }
    }
    fs::write(packed(&first), b"half")?;
    fs::write(path.with_added_extension("part"), b"half")?;
    let more = repeated(301)?;
    let mut sink = FileSink::open(&config)?;
    deliver(&mut sink, &more[300..])?;
    until("all to be compressed", WAIT_LIMIT, || {
        let plain = (1..=50).any(|n| nth(&path, n).exists());
        Ok((!plain).then_some(()))
    })?;
    assert_eq!(all(&path, 50)?, (1..=301).collect::<Vec<_>>());
    assert_eq!(fs::metadata(packed(&first))?.permissions().mode() & 0o7777, 0o600);
    ensure!(!path.with_added_extension("part").exists());
    Ok(())
}

#[test]
fn a_file_that_was_moved_or_deleted_is_created_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let sub = dir.path().join("sub");
    fs::create_dir(&sub)?;
    let path = sub.join("events.json");
    let batch = repeated(4)?;
    let mut sink = FileSink::open(&config(&path))?;
    deliver(&mut sink, &batch[..1])?;
    let moved = sub.join("moved");
    fs::rename(&path, &moved)?;
    deliver(&mut sink, &batch[1..2])?;
    fs::remove_file(&path)?;
    deliver(&mut sink, &batch[2..3])?;
    assert_eq!((numbers(&fs::read(&moved)?)?, numbers(&fs::read(&path)?)?), (vec![1], vec![3]));
    // The file was moved with its directory. That is an error until the directory is there again.
    fs::rename(&sub, dir.path().join("away"))?;
    let delivered = sink.deliver(&batch[3..]);
    assert_eq!(delivered.count, 0);
    let error = delivered.error.context("delivered to nowhere")?.to_string();
    ensure!(error.contains("whose directory must exist"), "{error}");
    fs::create_dir(&sub)?;
    deliver(&mut sink, &batch[3..])?;
    assert_eq!(numbers(&fs::read(&path)?)?, [4]);
    // Another program copied and truncated it.
    OpenOptions::new().write(true).open(&path)?.set_len(0)?;
    deliver(&mut sink, &batch[3..])?;
    assert_eq!(numbers(&fs::read(&path)?)?, [4]);
    Ok(())
}

#[test]
fn a_torn_end_of_a_killed_agent_is_repaired() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("events.json");
    let batch = repeated(3)?;
    let line = |i: usize| text(&batch[i..=i]);
    for (end, expected) in [
        // The agent was killed, or the power failed, in the middle of the second line, or of the first.
        ([line(0), line(1)[..900].to_vec()].concat(), vec![1, 3]),
        (line(1)[..900].to_vec(), vec![3]),
        // Only the newline is missing.
        ([line(0), batch[1].payload.to_vec()].concat(), vec![1, 2, 3]),
        (Vec::new(), vec![3]),
    ] {
        fs::write(&path, end)?;
        deliver(&mut FileSink::open(&config(&path))?, &batch[2..])?;
        assert_eq!(numbers(&fs::read(&path)?)?, expected);
    }
    // A file that holds no events is left alone.
    let other = vec![b'x'; 17 << 20];
    fs::write(&path, &other)?;
    let delivered = FileSink::open(&config(&path))?.deliver(&batch);
    ensure!(delivered.error.context("delivered")?.to_string().contains("longer than any event"));
    ensure!(fs::read(&path)? == other, "it was changed");
    Ok(())
}

/// A small file system of this test. It is unmounted when this is dropped.
struct Disk(TempDir);

impl Disk {
    fn of(size: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let data = std::ffi::CString::new(format!("size={size}"))?;
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::NOSUID, Some(&*data))
            .context("a tmpfs cannot be mounted: run this as root")?;
        Ok(Self(dir))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = unmount(self.0.path(), UnmountFlags::DETACH);
        assert!(unmounted.is_ok() || std::thread::panicking(), "it stays mounted");
    }
}

#[test]
fn a_full_disk_leaves_no_broken_line_and_goes_on_when_there_is_room() -> Result<()> {
    let disk = Disk::of("64k")?;
    let path = disk.0.path().join("events.json");
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 20 << 10])?;
    let batch = repeated(100)?;
    let mut sink = FileSink::open(&config(&path))?;
    let full = sink.deliver(&batch);
    let error = full.error.context("it had room")?.to_string();
    ensure!(error.contains("No space left") && error.contains("events.json"), "{error}");
    ensure!((5..40).contains(&full.count), "{} were delivered", full.count);
    // No part of a line is left, even after more attempts.
    let told = numbers(&fs::read(&path)?)?;
    assert_eq!(told, (1..=full.count as u64).collect::<Vec<_>>());
    let again = sink.deliver(&batch[full.count..]);
    ensure!(again.error.is_some() && again.count == 0, "{again:?}");
    assert_eq!(numbers(&fs::read(&path)?)?, told);

    fs::remove_file(&ballast)?;
    let room = sink.deliver(&batch[full.count..]);
    ensure!(room.count > 0, "{room:?}");
    let sum = (full.count + room.count) as u64;
    assert_eq!(numbers(&fs::read(&path)?)?, (1..=sum).collect::<Vec<_>>());

    // Read-only for a while.
    mount_remount(disk.0.path(), MountFlags::RDONLY, c"").or_else(|_| {
        // The file that is open for writing must be closed for that.
        drop(std::mem::replace(&mut sink, FileSink::open(&config(&path)).expect("it opens nothing")));
        mount_remount(disk.0.path(), MountFlags::RDONLY, c"")
    })?;
    let read_only = sink.deliver(&batch[..1]);
    let error = read_only.error.context("it was written")?.to_string();
    ensure!(error.contains("Read-only"), "{error}");
    mount_remount(disk.0.path(), MountFlags::empty(), c"size=4m")?;
    deliver(&mut sink, &batch[sum as usize..])?;
    assert_eq!(numbers(&fs::read(&path)?)?, (1..=100).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn after_a_kill_during_a_write_every_line_is_whole_at_the_next_start() -> Result<()> {
    // A separate process is killed at any moment of writing, rotating and compressing.
    if let Some(path) = std::env::var_os("FILE_SINK_WRITES_UNTIL_IT_IS_KILLED") {
        let path = PathBuf::from(path);
        let config = FileConfig { rotate_size: Bytes(100_000), keep: 400, compress: true, ..config(&path) };
        let mut sink = FileSink::open(&config)?;
        let begun = all(&path, 400).map_or(0, |all| all.last().copied().unwrap_or(0));
        let messages = recorded()?;
        for (i, message) in messages.iter().cycle().enumerate() {
            let mut event: Value = serde_json::from_slice(&message.ecs)?;
            event["event"]["sequence"] = (begun + 1 + i as u64).into();
            sink.deliver(&[supervisor_tests::message(&event)?]);
            // Every event that it reports as safe must be there later.
            println!("{}", begun + 1 + i as u64);
            std::io::stdout().flush()?;
        }
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("events.json");
    let mut safe = 0;
    for round in 0..6 {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([
            "--exact",
            "sink_file::after_a_kill_during_a_write_every_line_is_whole_at_the_next_start",
            "--nocapture",
        ]);
        command
            .env("FILE_SINK_WRITES_UNTIL_IT_IS_KILLED", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = supervisor_lab::Owned::start(&mut command)?;
        let lines = supervisor_lab::Lines::of(process.child().stdout.take().context("no pipe")?);
        let wanted = safe + 150 + round * 37;
        while safe < wanted {
            let line = lines.next("a number", WAIT_LIMIT)?.context("it has ended by itself")?;
            safe = line.parse().unwrap_or(safe);
        }
        process.signal(rustix::process::Signal::KILL)?;
        process.end(WAIT_LIMIT)?;
        while let Some(line) = lines.next("its last words", WAIT_LIMIT)? {
            safe = line.parse().unwrap_or(safe);
        }
        // The file may end in a part of a line only until a process opens it.
        let mut sink = FileSink::open(&config(&path))?;
        sink.deliver(&repeated(1)?);
        drop(sink);
        let mut told = all(&path, 400)?;
        assert_eq!(told.pop(), Some(1), "the event just written");
        let size = fs::metadata(&path)?.size() - text(&repeated(1)?).len() as u64;
        OpenOptions::new().write(true).open(&path)?.set_len(size)?;
        let last = *told.last().context("nothing is left")?;
        ensure!(last >= safe, "event {safe} was said to be safe, and the last one is {last}");
        assert_eq!(told, (1..=last).collect::<Vec<_>>(), "round {round}");
        safe = last;
    }
    ensure!((1..400).any(|n| nth(&path, n).with_added_extension("zst").exists()), "none was compressed");
    Ok(())
}
