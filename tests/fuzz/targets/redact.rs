//! Arguments with a secret among others that the attacker chooses: it does not survive.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supervisor_model::{
    evidence::ExecFacts,
    redact::{MARK, Redactor},
};

/// It is in every secret that is planted.
const SECRET: &str = "opensesame0123456789";
/// The one that must not have small letters.
const AWS: &str = "AKIAOPENSESAME012345";

/// The forms of docs/redaction.md, as arguments.
const FORMS: [&[&str]; 12] = [
    &["--password=SECRET"],
    &["--db-token", "SECRET"],
    &["API_TOKEN=SECRET"],
    &["postgres://user:SECRET@host/db"],
    &["https://SECRET@host/path"],
    &["Authorization: Basic SECRET"],
    &["{\"clientSecret\": \"SECRET\"}"],
    &["ghp_SECRET"],
    &["glpat-SECRET"],
    &["xoxb-SECRET"],
    &[AWS],
    &["user:SECRET@tcp(host:3306)/db"],
];

fn redacted(args: &[String]) -> Vec<String> {
    let exec = ExecFacts { args: args.to_vec(), ..ExecFacts::default() };
    supervisor_collect::redacted::exec(&Redactor::default(), exec).args
}

fn assert_clean(args: &[String]) {
    let once = redacted(args);
    assert_eq!(once.len(), args.len(), "an argument is missing, or too much");
    for (before, after) in args.iter().zip(&once) {
        assert!(after.len() <= (before.len() + 1) * MARK.len(), "it has grown: {before:?} to {after:?}");
        assert!(!after.contains(SECRET) && !after.contains(AWS), "it survives: {args:?}: {once:?}");
    }
    // A recording that is replayed is redacted again. That can hide more, such as what follows the begin of a key
    // whose end is already hidden. It changes nothing else.
    for (before, after) in once.iter().zip(&redacted(&once)) {
        assert!(after == before || after.contains(MARK), "it is changed again: {before:?} to {after:?}");
    }
}

// A byte that chooses a form, then arguments, one a line; the form is among them, and within the first of them.
fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let mut args: Vec<String> =
        rest.split(|byte| *byte == b'\n').map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
    // It would be there without a form.
    if args.iter().any(|arg| arg.contains(SECRET) || arg.contains(AWS)) {
        return;
    }
    let form: Vec<String> =
        FORMS[*choice as usize % FORMS.len()].iter().map(|arg| arg.replace("SECRET", SECRET)).collect();
    let text = format!("{} {} {}", args[0], form.join(" "), args.last().map_or("", String::as_str));
    assert_clean(&["sh".to_owned(), "-c".to_owned(), text.clone()]);
    let path = Redactor::default().path(&text);
    assert!(!path.contains(SECRET) || text.contains('/'), "it survives in a path: {path}");
    let at = args.len().min(usize::from(*choice) / FORMS.len());
    args.splice(at..at, form);
    assert_clean(&args);
});
