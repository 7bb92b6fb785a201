//! Finds the test that a process belongs to, from the arguments of its creators. Some runners start a process for each
//! test and name the test in its arguments. These runners need no marks.

use supervisor_ebpf::ProcessId;
use supervisor_model::event::EventKind;

/// The test that the nearest creator names; empty if no creator names one. `line` is the process and its creators, as far
/// as the command: a creator above the command does not count, because then all is part of the test that it names.
pub(crate) fn tests_of(event: &EventKind, line: &[ProcessId]) -> Vec<String> {
    let creators = event.process().map_or(&[][..], |finding| &finding.creators[..]);
    let processes = creators.iter().map(|creator| &creator.process);
    let below = processes.filter(|process| line.iter().any(|id| id.tgid == process.pid));
    let found =
        below.map(|process| &process.args).find_map(|args| of_bats(args).or_else(|| of_libtest(args)));
    found.into_iter().collect()
}

/// `bash …/bats-exec-test [OPTIONS] FILE FUNCTION NUMBER NUMBER TRY`.
fn of_bats(args: &[String]) -> Option<String> {
    let program = args.iter().position(|arg| arg.rsplit('/').next() == Some("bats-exec-test"))?;
    let function = args[program..].iter().find_map(|arg| arg.strip_prefix("test_"))?;
    Some(decoded(function))
}

/// Decodes a test name from the function name that bats made of it. `_` is a space; `-` and two hex digits are another
/// character.
fn decoded(function: &str) -> String {
    // `bats_encode_test_name` encodes the `-` of its own `-5f` again, for a name with no other special character.
    let function = function.replace("-2d5f", "-5f");
    let mut name = String::new();
    let mut rest = function.as_str();
    while let Some(c) = rest.chars().next() {
        let byte = rest.strip_prefix('-').and_then(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok());
        match (byte.filter(u8::is_ascii), c) {
            (Some(byte), _) => {
                name.push(char::from(byte));
                rest = &rest[3..];
                continue;
            }
            (None, '_') => name.push(' '),
            (None, c) => name.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    name
}

/// `BINARY --exact TEST`: nextest starts each test like this, and people start a single test like this.
fn of_libtest(args: &[String]) -> Option<String> {
    let at = args.iter().position(|arg| arg == "--exact")?;
    let is_name = |arg: &&String| !arg.starts_with('-');
    let before = || args.get(1..at)?.iter().find(is_name);
    args.get(at + 1).filter(is_name).or_else(before).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn bats_names_its_tests_in_arguments() {
        for (function, name) in [
            ("test_leaks_a_sleep", "leaks a sleep"),
            // bats 1.8 makes the next two function names from these test names.
            ("test_ok-2d5f1", "ok_1"),
            ("test_leaves_nothing-3a_ok-5f1", "leaves nothing: ok_1"),
            ("test_a-2db", "a-b"),
            ("test_100-25", "100%"),
            ("test_odd-zz", "odd-zz"),
            ("test_end-2", "end-2"),
        ] {
            let line =
                format!("bash /usr/libexec/bats-core/bats-exec-test --dummy-flag /t/a.bats {function} 2 2 1");
            assert_eq!(of_bats(&words(&line)).as_deref(), Some(name), "{function}");
        }
        assert_eq!(of_bats(&words("bash /usr/bin/bats-exec-file test_no")), None);
    }

    #[test]
    fn libtest_names_its_test_before_or_after_exact() {
        assert_eq!(
            of_libtest(&words("/t/deps/a-1 --exact mod::one --nocapture")).as_deref(),
            Some("mod::one")
        );
        assert_eq!(of_libtest(&words("/t/deps/a-1 mod::one --exact")).as_deref(), Some("mod::one"));
        assert_eq!(of_libtest(&words("/t/deps/a-1 --exact --nocapture")), None);
        assert_eq!(of_libtest(&words("/t/deps/a-1 mod::one")), None);
    }
}
