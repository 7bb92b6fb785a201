//! Reads the output of a machine: its verdicts, and the signs of a broken kernel.

use super::initramfs::{Step, VERDICT};

/// Words that the kernel prints when it is broken.
const BROKEN: [&str; 3] = ["Kernel panic", "BUG:", "Oops"];

/// Removes carriage returns and the control sequences of a terminal.
pub(crate) fn clean(line: &str) -> String {
    let mut text = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            if characters.next() == Some('[') {
                // A sequence ends with the first character in this range.
                characters.find(|it| ('@'..='~').contains(it));
            }
        } else if character == '\t' || !character.is_control() {
            text.push(character);
        }
    }
    text.trim_end().to_owned()
}

/// The kind of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    Verdict,
    Broken,
}

/// The results of a kernel so far.
#[derive(Debug)]
pub(crate) struct Verdicts {
    /// The steps, each with its exit code when it is known.
    steps: Vec<(String, Option<u8>)>,
    passed: usize,
    failed: Vec<String>,
    /// The last line of each step that failed.
    last_words: Vec<(String, String)>,
    last_line: String,
    /// The failure of the machine itself.
    pub(crate) broken: Option<String>,
    pub(crate) seconds: u64,
}

impl Verdicts {
    pub(crate) fn new(steps: &[Step]) -> Self {
        let steps = steps.iter().map(|step| (step.name.clone(), None)).collect();
        Self {
            steps,
            passed: 0,
            failed: Vec::new(),
            last_words: Vec::new(),
            last_line: String::new(),
            broken: None,
            seconds: 0,
        }
    }

    pub(crate) fn take(&mut self, line: &str) -> Heard {
        if let Some((_, verdict)) = line.split_once(VERDICT) {
            let mut words = verdict.split_whitespace();
            let (name, code) = (words.next(), words.next().and_then(|code| code.parse().ok()));
            if let Some(step) = self.steps.iter_mut().find(|(it, code)| Some(&**it) == name && code.is_none())
            {
                step.1 = code;
                if code != Some(0) {
                    self.last_words.push((step.0.clone(), std::mem::take(&mut self.last_line)));
                }
                return Heard::Verdict;
            }
        }
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut self.last_line);
        }
        if self.broken.is_none() && BROKEN.iter().any(|it| line.contains(it)) {
            self.broken = Some(line.trim().to_owned());
            return Heard::Broken;
        }
        // The test runner prints `test result: ok. 3 passed; …`, and a list of failed tests with four spaces before
        // each name.
        if let Some((_, result)) = line.split_once("test result: ") {
            let passed = result.split_once(" passed").and_then(|(rest, _)| rest.rsplit(' ').next());
            self.passed += passed.and_then(|it| it.parse::<usize>().ok()).unwrap_or_default();
        } else if let Some(test) = line.strip_prefix("    ").filter(|it| is_test_name(it))
            && !self.failed.iter().any(|it| it == test)
        {
            self.failed.push(test.to_owned());
        }
        Heard::Nothing
    }

    pub(crate) fn is_good(&self) -> bool {
        self.broken.is_none() && self.failed.is_empty() && self.steps.iter().all(|(_, code)| *code == Some(0))
    }

    /// The result of a step in a word, and its last line if it failed.
    pub(super) fn of_step(&self, name: &str) -> (&'static str, Option<&str>) {
        let step = self.steps.iter().find(|(it, _)| it == name);
        match step.and_then(|(_, code)| *code) {
            Some(0) => ("ok", None),
            Some(_) => {
                let said = self.last_words.iter().find(|(it, _)| it == name);
                ("FAILED", said.map(|(_, said)| said.as_str()))
            }
            None => ("no verdict", None),
        }
    }

    /// Tests that failed.
    pub(super) fn failed(&self) -> &[String] {
        &self.failed
    }

    /// The summary in one line.
    pub(crate) fn summary(&self) -> String {
        let mut parts = Vec::new();
        let (tests, own): (Vec<_>, Vec<_>) =
            self.steps.iter().partition(|(name, _)| name.starts_with("tests/"));
        for (name, code) in own {
            parts.push(format!("{name} {}", exit_text(*code)));
        }
        if !tests.is_empty() {
            parts.push(format!("tests {} ok", self.passed));
            if !self.failed.is_empty() {
                parts.push(format!("{} FAILED ({})", self.failed.len(), self.failed.join(" ")));
            }
            // With 101 the test runner says that some tests failed. These are named already.
            let named = |code: Option<u8>| code == Some(101) && !self.failed.is_empty();
            let bad = tests.iter().filter(|(_, code)| *code != Some(0) && !named(*code));
            parts.extend(bad.map(|(name, code)| format!("{name} {}", exit_text(*code))));
        }
        parts.extend(self.broken.iter().map(|why| format!("BROKEN: {why}")));
        parts.push(format!("{} s", self.seconds));
        parts.join(", ")
    }
}

fn exit_text(code: Option<u8>) -> String {
    match code {
        Some(0) => "ok".to_owned(),
        Some(code) => format!("FAILED (exit code {code})"),
        None => "WITHOUT A VERDICT".to_owned(),
    }
}

fn is_test_name(text: &str) -> bool {
    text.contains('_') && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '_' || it == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(lines: &[&str]) -> Verdicts {
        let steps = ["doctor", "demo", "tests/storm"]
            .map(|name| Step { name: name.to_owned(), command: "true".to_owned() });
        let mut verdicts = Verdicts::new(&steps);
        for line in lines {
            verdicts.take(line);
        }
        verdicts
    }

    #[test]
    fn every_verdict_must_be_good() {
        let mut lines = vec![
            "VM-VERDICT doctor 0",
            "no newline beforeVM-VERDICT demo 0",
            "test result: ok. 14 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ];
        let missing = verdicts(&lines);
        assert!(!missing.is_good());
        assert_eq!(missing.summary(), "doctor ok, demo ok, tests 14 ok, tests/storm WITHOUT A VERDICT, 0 s");
        lines.push("VM-VERDICT tests/storm 0");
        let good = verdicts(&lines);
        assert!(good.is_good());
        assert_eq!(good.summary(), "doctor ok, demo ok, tests 14 ok, 0 s");
    }

    #[test]
    fn failed_tests_are_named() {
        let failed = verdicts(&[
            "VM-VERDICT doctor 1",
            "VM-VERDICT doctor 0",
            "VM-VERDICT demo 0",
            "    a_test",
            "    a_test",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored",
            "VM-VERDICT tests/storm 101",
        ]);
        assert_eq!(
            failed.summary(),
            "doctor FAILED (exit code 1), demo ok, tests 2 ok, 1 FAILED (a_test), 0 s"
        );
    }

    #[test]
    fn a_failed_step_is_reported_with_its_last_line() {
        let failed =
            verdicts(&["error: this kernel has no BTF", "", "VM-VERDICT doctor 3", "VM-VERDICT demo 0"]);
        assert_eq!(failed.of_step("doctor"), ("FAILED", Some("error: this kernel has no BTF")));
        assert_eq!(failed.of_step("demo"), ("ok", None));
        assert_eq!(failed.of_step("tests/storm"), ("no verdict", None));
    }

    #[test]
    fn a_broken_kernel_is_no_success() {
        let steps = ["VM-VERDICT doctor 0", "VM-VERDICT demo 0", "VM-VERDICT tests/storm 0"];
        let mut broken = verdicts(&steps);
        assert_eq!(broken.take("[ 1.0] BUG: soft lockup"), Heard::Broken);
        assert_eq!(broken.take("[ 1.0] Kernel panic"), Heard::Nothing);
        assert!(!broken.is_good());
        let text = "doctor ok, demo ok, tests 0 ok, BROKEN: [ 1.0] BUG: soft lockup, 0 s";
        assert_eq!(broken.summary(), text);
    }

    #[test]
    fn lines_are_cleaned() {
        assert_eq!(clean("\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS │ x \r"), "SeaBIOS │ x");
    }
}
