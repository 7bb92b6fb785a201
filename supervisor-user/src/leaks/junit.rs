//! Writes the report as JUnit XML, which CI systems show as test results. Each test that is known by name is a test
//! case. A leak of several simultaneous tests has a case of its own, `a or b`. One more case, which has the command as
//! its name, has the leaks without a known test. A leak is a failure of its case.

use std::io;

use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};
use supervisor_model::words::{clean, command_line};
use supervisor_render::{
    story,
    style::{COLUMNS, Style},
};

use super::{Leak, Report, sentence_of, text};

const SUITE: &str = "supervisor leaks";

/// A test case, and the leaks that make it fail.
struct Case<'a> {
    name: String,
    leaks: Vec<&'a Leak>,
}

/// The file.
///
/// # Errors
///
/// Never in practice: the file is written to memory.
pub fn report(report: &Report) -> io::Result<Vec<u8>> {
    let cases = cases(report);
    let failures = cases.iter().filter(|case| !case.leaks.is_empty()).count().to_string();
    let tests = cases.len().to_string();
    let time = seconds(report.ran_ns);
    let counts = [("tests", &*tests), ("failures", &*failures), ("errors", "0"), ("time", &*time)];
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let suites = writer.create_element("testsuites").with_attribute(("name", SUITE)).with_attributes(counts);
    suites.write_inner_content(|writer| {
        let suite =
            writer.create_element("testsuite").with_attribute(("name", SUITE)).with_attributes(counts);
        suite.write_inner_content(|writer| {
            cases.iter().try_for_each(|case| write_case(writer, case))?;
            let out = writer.create_element("system-out");
            out.write_text_content(BytesText::new(&plain(&text::summary(report))))?;
            Ok(())
        })?;
        Ok(())
    })?;
    let mut file = writer.into_inner();
    file.push(b'\n');
    Ok(file)
}

fn write_case(writer: &mut Writer<Vec<u8>>, case: &Case<'_>) -> io::Result<()> {
    let name = plain(&case.name);
    let element = writer.create_element("testcase").with_attributes([
        ("name", &*name),
        ("classname", SUITE),
        ("time", "0"),
    ]);
    if case.leaks.is_empty() {
        element.write_empty()?;
        return Ok(());
    }
    element.write_inner_content(|writer| {
        for leak in &case.leaks {
            let message = plain(&sentence_of(leak));
            let failure = writer.create_element("failure");
            let failure = failure.with_attributes([("type", leak.kind.as_str()), ("message", &*message)]);
            failure.write_text_content(BytesText::new(&plain(&story_of(leak))))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn cases(report: &Report) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> =
        report.tests.iter().map(|name| Case { name: name.clone(), leaks: Vec::new() }).collect();
    let whole = command_line(&report.command, false, COLUMNS);
    for leak in report.news() {
        let name = leak.test().unwrap_or_else(|| whole.clone());
        if let Some(case) = cases.iter_mut().find(|case| case.name == name) {
            case.leaks.push(leak);
        } else {
            cases.push(Case { name, leaks: vec![leak] });
        }
    }
    if cases.is_empty() {
        cases.push(Case { name: whole, leaks: Vec::new() });
    }
    cases
}

fn story_of(leak: &Leak) -> String {
    let finding = || leak.finding().map(|finding| story::process(finding, Style::PLAIN));
    match &leak.event.kind {
        supervisor_model::event::EventKind::Blocked { namespace, .. } => {
            story::namespace(namespace, Style::PLAIN)
        }
        _ => finding().unwrap_or_default(),
    }
}

/// Text without the characters that XML does not allow.
fn plain(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(clean).collect();
    lines.join("\n").replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

fn seconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000_000_000, ns / 1_000_000 % 1000)
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;

    use super::*;
    use crate::leaks::{LeakKind, sample};

    /// The names of all elements in order, each with its attributes.
    fn elements(xml: &[u8]) -> Vec<(String, Vec<(String, String)>)> {
        let mut reader = Reader::from_reader(xml);
        reader.config_mut().check_end_names = true;
        let mut found = Vec::new();
        let mut buffer = Vec::new();
        loop {
            let element = match reader.read_event_into(&mut buffer).expect("well-formed XML") {
                Event::Start(it) | Event::Empty(it) => it,
                Event::Eof => return found,
                _ => continue,
            };
            let text = |text: &str| text.to_owned();
            let attributes = element.attributes().map(|it| it.expect("a right attribute"));
            let attributes = attributes.map(|it| (text(it.key.as_ref()), text(&it.value)));
            found.push((text(element.name().as_ref()), attributes.collect()));
        }
    }

    fn value<'a>(of: &'a (String, Vec<(String, String)>), name: &str) -> &'a str {
        &of.1.iter().find(|(key, _)| key == name).expect("the attribute").1
    }

    #[test]
    fn every_test_is_a_case_and_every_new_leak_a_failure() {
        let all = elements(&report(&sample::report()).unwrap());
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "testsuites",
                "testsuite",
                "testcase",
                "failure",
                "testcase",
                "testcase",
                "failure",
                "failure",
                "system-out"
            ]
        );
        assert_eq!(
            (value(&all[0], "tests"), value(&all[0], "failures"), value(&all[0], "time")),
            ("3", "2", "12.300")
        );
        assert_eq!(value(&all[2], "name"), "it is &lt;late&gt;");
        assert_eq!(value(&all[4], "name"), "it leaves nothing");
        assert_eq!(value(&all[5], "name"), "bats tests/");
        assert_eq!(value(&all[6], "type"), "unreaped");
    }

    #[test]
    fn a_run_without_leaks_passes_as_one_case() {
        let clean = Report { leaks: Vec::new(), tests: Vec::new(), ..sample::report() };
        let all = elements(&report(&clean).unwrap());
        assert_eq!((value(&all[0], "tests"), value(&all[0], "failures")), ("1", "0"));
    }

    #[test]
    fn a_hostile_name_stays_text() {
        let mut hostile = sample::report();
        hostile.leaks = vec![sample::leak(LeakKind::Running, 1, "a", &["a"])];
        hostile.leaks[0].tests = vec!["]]>\u{1b}[31m\"<testcase/>\u{ffff}&\u{0}".to_owned()];
        let all = elements(&report(&hostile).unwrap());
        let last = &all[all.len() - 3];
        assert_eq!(value(last, "name"), "]]&gt;\\u{1b}[31m&quot;&lt;testcase/&gt;\u{fffd}&amp;\\u{0}");
    }
}
