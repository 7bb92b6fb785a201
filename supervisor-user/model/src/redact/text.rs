//! Removes secrets from a text: tokens of known formats, credentials in URLs, and values of keys that name a secret.

use std::{borrow::Cow, ops::Range, sync::LazyLock};

use regex::{Match, Regex};

use super::{MARK, keys};

/// Tokens that are known by their form.
static TOKENS: LazyLock<Regex> = LazyLock::new(|| {
    let formats = [
        // GitHub, GitLab, Slack, AWS.
        r"gh[pousr]_[A-Za-z0-9]{6,}",
        r"github_pat_[A-Za-z0-9_]{6,}",
        r"glpat-[A-Za-z0-9_-]{6,}",
        r"xox[abeoprs]-[A-Za-z0-9-]{6,}",
        r"(?:AKIA|ASIA)[A-Z0-9]{12,}",
        // JSON Web Tokens.
        r"eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*",
        // Stripe, npm, PyPI, Docker, Google, Vault.
        r"[sr]k_(?:live|test)_[A-Za-z0-9]{6,}",
        r"npm_[A-Za-z0-9]{30,}",
        r"pypi-[A-Za-z0-9_-]{30,}",
        r"dckr_pat_[A-Za-z0-9_-]{6,}",
        r"AIza[A-Za-z0-9_-]{30,}",
        r"hvs\.[A-Za-z0-9_-]{20,}",
        // Private keys in PEM.
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
    ];
    regex(&formats.join("|"))
});
/// Tokens of `OpenAI` and others. A name may begin with the same letters, but such a name has no digit.
static SK_TOKEN: LazyLock<Regex> = LazyLock::new(|| regex(r"\bsk-[A-Za-z0-9_-]{16,}"));
/// The token behind this word.
static BEARER: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)\bbearer\s+([A-Za-z0-9+/=._~-]{6,})"));
/// The password of a data source without a scheme, as Go's drivers take it.
static DATA_SOURCE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"([^\s:/@'"=]+:)([^\s'"]+)(@(?:tcp6?|unix)\()"#));
/// A key, and the characters between it and its value. Quotes may be escaped, as in JSON within JSON.
static KEY: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"([A-Za-z_][A-Za-z0-9_.\-]*)(?:\\*["']?\s*=\s*|\\*["']\s*:\s*|:\s+|:\\*["'])"#));

/// An option before its value, in a command that is one text.
static OPTION: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?:^|[\s"'])--?([A-Za-z][A-Za-z0-9_.\-]*)[ \t]+"#));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of this file")
}

/// The text without the secrets that this file knows. The text is searched again after a change: behind a mark, the value
/// of a key can end later than behind the secret that was there.
pub(super) fn redacted(text: &str) -> Cow<'_, str> {
    /// Two are enough for any text that was not made for this purpose.
    const MAX_SEARCHES: usize = 8;
    let mut redacted = without(text, secrets(text));
    for _ in 1..MAX_SEARCHES {
        let Cow::Owned(text) = &redacted else { break };
        match without(text, secrets(text)) {
            Cow::Owned(again) if again != *text => redacted = Cow::Owned(again),
            _ => break,
        }
    }
    redacted
}

/// Where the secrets are. Each form is searched in the whole text: a secret that is found by one form must not hide the key
/// of another secret.
fn secrets(text: &str) -> Vec<Range<usize>> {
    // A text this short is shorter than any token. Only the value of a key can be a secret in it.
    if text.len() < 8 && !text.contains(['=', ':']) {
        return Vec::new();
    }
    let mut secrets: Vec<Range<usize>> = TOKENS.find_iter(text).map(|found| found.range()).collect();
    let has_digit = |token: &Match<'_>| token.as_str().contains(|c: char| c.is_ascii_digit());
    secrets.extend(SK_TOKEN.find_iter(text).filter(has_digit).map(|found| found.range()));
    bearers(text, &mut secrets);
    secrets.extend(DATA_SOURCE.captures_iter(text).filter_map(|found| Some(found.get(2)?.range())));
    urls(text, &mut secrets);
    values(text, &KEY, &mut secrets);
    values(text, &OPTION, &mut secrets);
    secrets
}

/// The text with a mark in place of these ranges. Ranges that overlap or touch get one mark.
fn without(text: &str, mut ranges: Vec<Range<usize>>) -> Cow<'_, str> {
    if ranges.is_empty() {
        return Cow::Borrowed(text);
    }
    ranges.sort_unstable_by_key(|range| range.start);
    let mut out = String::with_capacity(text.len());
    let mut end = 0;
    for range in ranges {
        if range.start > end || out.is_empty() {
            out.push_str(&text[end..range.start]);
            out.push_str(MARK);
        }
        end = end.max(range.end);
    }
    out.push_str(&text[end..]);
    Cow::Owned(out)
}

/// Applies a further change to a text.
pub(super) fn then(text: Cow<'_, str>, change: impl FnOnce(&str) -> Cow<'_, str>) -> Cow<'_, str> {
    match change(&text) {
        Cow::Borrowed(same) if same.len() == text.len() => text,
        changed => Cow::Owned(changed.into_owned()),
    }
}

/// Finds tokens behind the word `bearer`.
fn bearers(text: &str, secrets: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(token) = BEARER.captures_at(text, at).and_then(|found| found.get(1)) {
        secrets.push(token.range());
        // The token can be the same word again.
        at = token.start();
    }
}

/// Finds the passwords of URLs, and user names that are tokens.
fn urls(text: &str, secrets: &mut Vec<Range<usize>>) {
    const SIGN: &str = "://";
    let mut end = 0;
    for (at, _) in text.match_indices(SIGN) {
        let start = at + SIGN.len();
        if start > end {
            let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>');
            end = text[start..].find(ends).map_or(text.len(), |len| start + len);
        }
        let Some(user_len) = user_info(&text[start..end]) else { continue };
        let user = &text[start..start + user_len];
        // A user name alone is not a secret, but some servers take a token instead of the user name.
        let takes_token = ["http", "https", "nats", "tls"].iter().any(|it| text[..at].ends_with(it));
        let secret_at = match user.split_once(':') {
            Some((_, "")) => continue,
            Some((name, _)) => name.len() + 1,
            None if takes_token && !user.is_empty() => 0,
            None => continue,
        };
        secrets.push(start + secret_at..start + user_len);
    }
}

/// The position where the user and the password end, in a URL without its scheme.
fn user_info(url: &str) -> Option<usize> {
    let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
    if let Some(end) = authority.rfind('@') {
        return Some(end);
    }
    // A password may have any character if its author has not escaped it. A port has only digits.
    let (_, port) = authority.rsplit_once(':')?;
    let is_port = port.chars().all(|c| c.is_ascii_digit()) || authority.ends_with(']');
    if is_port { None } else { url.rfind('@') }
}

/// Finds the values of keys that name a secret.
fn values(text: &str, before: &Regex, secrets: &mut Vec<Range<usize>>) {
    let (mut at, mut known) = (0, 0);
    while let Some(found) = before.captures_at(text, at) {
        let (Some(all), key) = (found.get(0), &found[1]) else { break };
        // The space behind one option is also the space before the next option.
        let is_option = all.as_str().ends_with([' ', '\t']) && !all.as_str().contains(['=', ':']);
        // The value of a key can be another key.
        at = all.end() - usize::from(is_option);
        // A hyphen begins another option.
        if !keys::is_secret(key) || is_option && text[all.end()..].starts_with('-') {
            continue;
        }
        let opening = Opening::of(all.as_str(), &text[all.end()..]);
        let start = all.end() + opening.len;
        // A value without quotes ends no earlier than a value that it is a part of. So the text is read once, however many
        // keys are in it.
        let from = if opening.quote.is_none() { start.max(known) } else { start };
        let end = from + value_end(&text[from..], opening.quote, is_header(key));
        if end > start {
            secrets.push(start..end);
            known = known.max(end);
        }
    }
}

/// The characters before a value.
struct Opening {
    len: usize,
    /// The quote that ends the value too, and whether a backslash is before it.
    quote: Option<(char, bool)>,
}

impl Opening {
    /// The opening behind this key and its sign.
    fn of(key: &str, behind: &str) -> Self {
        if let Some(quote) = key.chars().next_back().filter(|c| is_quote(*c)) {
            return Self { len: 0, quote: Some((quote, key[..key.len() - 1].ends_with('\\'))) };
        }
        let slashes = behind.len() - behind.trim_start_matches('\\').len();
        match behind[slashes..].chars().next().filter(|c| is_quote(*c)) {
            Some(quote) => Self { len: slashes + 1, quote: Some((quote, slashes > 0)) },
            None => Self { len: 0, quote: None },
        }
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'')
}

/// Whether the key is a header: its value has spaces.
fn is_header(key: &str) -> bool {
    key.to_ascii_lowercase().ends_with("authorization")
}

/// The position where a value ends.
fn value_end(text: &str, quote: Option<(char, bool)>, is_header: bool) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        let ends = match quote {
            // A value within escaped quotes ends at the next backslash.
            Some((_, true)) => c == '\\',
            Some((quote, false)) => c == quote && !is_escaped,
            None if is_header => is_quote(c) || c == '\n',
            None => is_quote(c) || c.is_whitespace() || c == '&',
        };
        if ends {
            return at;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_redacted(cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            assert_eq!(redacted(text), *expected);
            assert_eq!(redacted(expected), *expected, "it changes what is redacted already");
        }
    }

    #[test]
    fn tokens_are_known_by_their_form() {
        for token in [
            "ghp_0123456789abcdef",
            "github_pat_11ABCDEFG_abc",
            "glpat-abcdefghij",
            "xoxb-123456-abcdef",
            "AKIAIOSFODNN7EXAMPLE",
            "eyJhbGciOi.eyJzdWIi.SflKxw-_",
            "sk-proj-0123456789abcdef",
            "sk_live_0123456789",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----MIIE",
        ] {
            assert_eq!(redacted(token), MARK);
            assert_eq!(redacted(&format!("web-{token}")), format!("web-{MARK}"));
        }
        assert_redacted(&[("-H Bearer abcdef123", "-H Bearer [redacted]")]);
    }

    #[test]
    fn text_that_only_resembles_a_secret_stays() {
        for text in [
            "sk-learn-preprocessing-job",
            "npm_config_cache=/tmp/cache",
            "https://example.org:8080/a/@scope/b?x=1",
            "git@github.com:a/b",
            "ssh://git@host/a",
            "postgres://user@host/db",
            "http://[::1]:80/a@b",
            "/var/lib/containers/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "kubepods.slice:crio:0123456789abcdef",
            "PWD=/home/a",
            "--tokenizer=bpe",
            "10:30:00",
            "--token=",
            "password: ",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn urls_lose_their_passwords() {
        assert_redacted(&[
            ("postgres://user:pw@host/db", "postgres://user:[redacted]@host/db"),
            ("a postgres://user:p@ss@host b", "a postgres://user:[redacted]@host b"),
            ("postgres://user:p/ss@host", "postgres://user:[redacted]@host"),
            ("https://abc123@host/x", "https://[redacted]@host/x"),
            ("redis://:pw@host", "redis://:[redacted]@host"),
            ("nats://a:b@h1,nats://c:d@h2", "nats://a:[redacted]@h1,nats://c:[redacted]@h2"),
            ("user:pw@tcp(host:3306)/db", "user:[redacted]@tcp(host:3306)/db"),
        ]);
    }

    #[test]
    fn values_of_secret_keys_are_redacted_anywhere_in_a_text() {
        assert_redacted(&[
            ("host=h password=x port=1", "host=h password=[redacted] port=1"),
            ("export API_TOKEN=x; run", "export API_TOKEN=[redacted] run"),
            ("--opt=password=x", "--opt=password=[redacted]"),
            (r#"{"password":"a b","user":"c"}"#, r#"{"password":"[redacted]","user":"c"}"#),
            (r#"{"password": "a\"b"}"#, r#"{"password": "[redacted]"}"#),
            (r#"{\"secret\":\"x\",\"a\":1}"#, r#"{\"secret\":\"[redacted]\",\"a\":1}"#),
            ("https://h/?token=x&a=1", "https://h/?token=[redacted]&a=1"),
            ("Authorization: Basic YTpi", "Authorization: [redacted]"),
            ("curl -H 'Authorization: Bearer abc' x", "curl -H 'Authorization: [redacted]' x"),
            ("X-Auth-Token: abc", "X-Auth-Token: [redacted]"),
            ("password='a b", "password='[redacted]"),
            ("clientSecret = x", "clientSecret = [redacted]"),
            (
                "run --token x 'y'; run -password 'a b'",
                "run --token [redacted] 'y'; run -password '[redacted]'",
            ),
            (
                "run -e 'curl --password x -v' --token y",
                "run -e 'curl --password [redacted] -v' --token [redacted]",
            ),
            ("run --token --verbose", "run --token --verbose"),
            ("token: --db-token x", "token: [redacted] [redacted]"),
            ("token: password: x", "token: [redacted] [redacted]"),
            ("bearer --db-token x", "bearer [redacted] [redacted]"),
            ("Bearer Bearer abcdef1", "Bearer [redacted] [redacted]"),
            ("--token password= x", "--token [redacted] [redacted]"),
            ("TOKEN=https://a&b@host/c d", "TOKEN=[redacted] d"),
            ("token=a=b:c@tcp(password= x", "token=[redacted] [redacted]"),
            ("password=\"a --token 'b c'\" d", "password=\"[redacted]\" d"),
        ]);
    }
}
