//! Writes annotations for GitHub Actions: workflow commands, one a line, that the runner takes out of a step's output.

use super::{Report, sentence_of};

/// An annotation for each leak that is not known.
#[must_use]
pub fn annotations(report: &Report) -> String {
    let mut out = String::new();
    for leak in report.news() {
        let test = leak.test().map(|test| format!(" by {test}"));
        let title = format!("leaked process{}", test.unwrap_or_default());
        let command = format!("::error title={}::{}\n", property(&title), data(&sentence_of(leak)));
        out.push_str(&command);
    }
    out
}

/// The text after the last `::`. The runner ends a command at the end of a line, and decodes only these three escapes.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property, which also ends at `:` and `,`.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaks::{LeakKind, sample};

    #[test]
    fn each_new_leak_is_one_line() {
        let text = annotations(&sample::report());
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().all(|line| line.starts_with("::error title=leaked process")), "{text}");
        assert!(text.contains("title=leaked process by it is <late>::"), "{text}");
    }

    #[test]
    fn a_hostile_test_name_cannot_add_a_command() {
        let mut report = sample::report();
        report.leaks = vec![sample::leak(LeakKind::Running, 1, "a", &["a"])];
        report.leaks[0].tests = vec!["100%, a::b\n::set-env name=PATH::x\r".to_owned()];
        let text = annotations(&report);
        assert_eq!(text.lines().count(), 1, "{text}");
        let title = "title=leaked process by 100%25%2C a%3A%3Ab%0A%3A%3Aset-env name=PATH%3A%3Ax%0D::";
        assert!(text.contains(title), "{text}");
    }
}
