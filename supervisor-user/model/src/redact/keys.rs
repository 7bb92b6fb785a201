//! Decides which keys name a secret: keys of options (`--db-password`), of the environment (`API_TOKEN`) and of texts
//! (`"clientSecret"`).

/// A key with one of these words names a secret. A longer word may also end with one of them, as in `dbpassword`.
const WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "secretkey",
    "credential",
    "credentials",
];
/// A key with one of these as a whole word names a secret.
const WHOLE_WORDS: &[&str] =
    &["pass", "pwd", "pw", "secrets", "cred", "creds", "auth", "authorization", "bearer", "jwt"];
/// A key with one of these words before `key` names a secret.
const BEFORE_KEY: &[&str] = &[
    "api",
    "access",
    "private",
    "secret",
    "signing",
    "encryption",
    "account",
    "auth",
    "master",
    "shared",
    "session",
];
/// A key whose last word is one of these names something about a secret: `--token-file`, `--auth-mode`.
const ABOUT: &[&str] = &[
    "file",
    "files",
    "path",
    "dir",
    "directory",
    "mode",
    "type",
    "kind",
    "url",
    "uri",
    "endpoint",
    "host",
    "port",
    "method",
    "methods",
    "provider",
    "plugin",
    "ttl",
    "timeout",
    "expiry",
    "expiration",
    "lifetime",
    "name",
    "names",
    "length",
    "len",
    "size",
    "limit",
    "count",
    "algorithm",
    "alg",
    "audience",
    "issuer",
    "stdin",
    "fd",
    "env",
    "sock",
    "socket",
    "enabled",
    "disabled",
    "policy",
    "class",
    "format",
    "version",
    "header",
    "namespace",
    "driver",
    "backend",
    "required",
    "retries",
];
/// The variables of a shell for its working directories. They name no secret.
const DIRECTORIES: &[&str] = &["PWD", "OLDPWD"];

/// Whether a character can be a part of a key.
pub(super) fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Whether the value of this key is a secret.
pub(super) fn is_secret(key: &str) -> bool {
    if DIRECTORIES.contains(&key) {
        return false;
    }
    let words = words(key);
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return false };
    if first == "no" || ABOUT.contains(&last.as_str()) {
        return false;
    }
    let is_word =
        |word: &String| WORDS.iter().any(|it| word.ends_with(it)) || WHOLE_WORDS.contains(&word.as_str());
    words.iter().any(is_word)
        || words.windows(2).any(|pair| pair[1] == "key" && BEFORE_KEY.contains(&pair[0].as_str()))
}

/// The words of a key, in small letters. `clientSecret` has two words, and `CLIENT_SECRET` also has two.
fn words(key: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut was_small = false;
    for c in key.chars() {
        if !c.is_ascii_alphanumeric() || (was_small && c.is_ascii_uppercase()) {
            words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
        }
        if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase());
        }
        was_small = c.is_ascii_lowercase();
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_name_a_secret_are_found() {
        for key in [
            "password",
            "PASSWORD",
            "--db-password",
            "DB_PASS",
            "MYSQL_PWD",
            "passwd",
            "API_TOKEN",
            "token",
            "api-key",
            "apikey",
            "API_KEY",
            "access-key",
            "AWS_SECRET_ACCESS_KEY",
            "private-key",
            "auth",
            "basic-auth",
            "credential",
            "bearer",
            "clientSecret",
            "-Djavax.net.ssl.keyStorePassword",
            "dbpassword",
            "accessToken",
            "secret_id",
            "spring.datasource.password",
        ] {
            assert!(is_secret(key), "{key}");
        }
    }

    #[test]
    fn keys_that_name_no_secret_are_left_alone() {
        for key in [
            "PWD",
            "OLDPWD",
            "author",
            "authorize",
            "tokenizer",
            "max-tokens",
            "key",
            "keyboard",
            "monkey",
            "token-file",
            "password-stdin",
            "no-password",
            "auth-mode",
            "SSH_AUTH_SOCK",
            "secret-name",
            "",
            "compass",
            "bypass",
            "public-key",
            "TOKEN_URL",
        ] {
            assert!(!is_secret(key), "{key}");
        }
    }
}
