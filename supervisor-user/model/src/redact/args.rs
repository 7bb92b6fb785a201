//! Removes secrets from a list of arguments, in which an argument can be the value of the argument before it.

use super::{ArgsMode, MARK, Redactor, keys};

/// Programs that take a password behind a letter. In other programs the letter has other meanings.
const BY_LETTER: &[(&[&str], &str)] = &[
    (&["mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "mariadb-admin", "sshpass"], "-p"),
    (&["redis-cli"], "-a"),
    (&["ldapsearch", "ldapmodify", "ldapadd", "ldapdelete", "ldappasswd"], "-w"),
];
/// Programs that take USER:PASSWORD behind one of these options.
const LOGINS: &[(&str, &[&str])] = &[("curl", &["-u", "--user", "--proxy-user", "-U"])];

/// The meaning of the next argument.
enum Next {
    Any,
    /// The value of a key that names a secret.
    Secret,
    /// USER:PASSWORD.
    Login,
    /// A line of a key in PEM.
    Pem,
}

impl Redactor {
    /// Arguments without their secrets. Their number stays the same.
    #[must_use]
    pub fn list(&self, args: &[String]) -> Vec<String> {
        if self.mode == ArgsMode::Full {
            return args.to_vec();
        }
        let program = args.first().map_or("", |it| it.rsplit('/').next().unwrap_or(it));
        let letter = BY_LETTER.iter().find(|(names, _)| names.contains(&program)).map(|(_, it)| *it);
        let logins: &[&str] =
            LOGINS.iter().find(|(name, _)| *name == program).map_or(&[], |(_, options)| options);
        // Without a password behind the letter, mysql asks for it, and the other programs take the next argument.
        let takes_next = letter.filter(|_| !program.starts_with('m'));
        let after = |arg: &str| match arg {
            _ if is_key(arg) || takes_next == Some(arg) => Next::Secret,
            _ if logins.contains(&arg) => Next::Login,
            _ => Next::Any,
        };
        let mut next = Next::Any;
        let redact = |arg: &String| {
            let is_option = arg.starts_with("--");
            match next {
                Next::Pem => {
                    let Some(end) = arg.find("-----END") else { return MARK.to_owned() };
                    next = Next::Any;
                    let before = if end > 0 { MARK } else { "" };
                    return format!("{before}{}", self.text(arg[end..].to_owned()));
                }
                Next::Secret if !is_option => {
                    // The value of a key can be another key.
                    next = after(arg);
                    return MARK.to_owned();
                }
                Next::Login if !is_option => {
                    next = after(arg);
                    return self.text(login(arg));
                }
                Next::Any | Next::Secret | Next::Login => next = Next::Any,
            }
            if arg.contains("-----BEGIN") && !arg.contains("-----END") {
                next = Next::Pem;
            }
            if let Some(password) = letter.and_then(|letter| arg.strip_prefix(letter)) {
                // A password can look like a key.
                if takes_next == Some(arg) {
                    next = Next::Secret;
                }
                let option = &arg[..arg.len() - password.len()];
                return format!("{option}{}", if password.is_empty() { "" } else { MARK });
            }
            if let Some((key, value)) = assignment(arg) {
                // A token can be the user of a login, or a part of a key.
                return self.text(format!("{key}{}", if value.is_empty() { "" } else { MARK }));
            }
            if !matches!(next, Next::Pem) {
                next = after(arg);
            }
            if is_key(arg) {
                return self.text(arg.clone());
            }
            self.redacted(arg).into_owned()
        };
        args.iter().map(redact).collect()
    }
}

/// Splits an argument that is only an assignment to a key that names a secret: the key with its sign, and the value.
fn assignment(arg: &str) -> Option<(&str, &str)> {
    let at = arg.find('=')?;
    let key = &arg[..at];
    (key.chars().all(keys::is_part) && keys::is_secret(key)).then(|| arg.split_at(at + 1))
}

/// Whether an argument is an option whose value is a secret, or the first word of a header whose value follows.
fn is_key(arg: &str) -> bool {
    let is_option = arg.starts_with('-') && arg.chars().all(keys::is_part) && keys::is_secret(arg);
    is_option
        || ["authorization:", "proxy-authorization:", "bearer", "basic"]
            .iter()
            .any(|it| arg.eq_ignore_ascii_case(it))
}

/// The user of USER:PASSWORD.
fn login(arg: &str) -> String {
    match arg.split_once(':') {
        Some((user, password)) if !password.is_empty() => format!("{user}:{MARK}"),
        _ => arg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The redacted form of arguments that are separated by a bar.
    fn redacted(line: &str) -> String {
        let args: Vec<String> = line.split('|').map(str::to_owned).collect();
        let once = Redactor::default().list(&args);
        assert_eq!(Redactor::default().list(&once), once, "it changes what is redacted already");
        once.join("|")
    }

    #[test]
    fn secret_values_are_redacted_in_every_form() {
        for (line, expected) in [
            ("a|--password=x y|b", "a|--password=[redacted]|b"),
            ("a|--password|x|b", "a|--password|[redacted]|b"),
            ("a|-password|-x|b", "a|-password|[redacted]|b"),
            ("a|--password|--verbose", "a|--password|--verbose"),
            ("env|API_TOKEN=x&y|b", "env|API_TOKEN=[redacted]|b"),
            (
                "a|--api-key|x|--apikey=y|--access-key|z",
                "a|--api-key|[redacted]|--apikey=[redacted]|--access-key|[redacted]",
            ),
            ("a|postgres://user:pw@host/db", "a|postgres://user:[redacted]@host/db"),
            ("curl|-H|Authorization: Basic abc", "curl|-H|Authorization: [redacted]"),
            ("curl|-H|Authorization:|Bearer|abc", "curl|-H|Authorization:|[redacted]|[redacted]"),
            ("sh|-c|PASSWORD=x run", "sh|-c|PASSWORD=[redacted]"),
            ("sh|-c|run --password x", "sh|-c|run --password [redacted]"),
            ("curl|-u|user:pw|-u|user", "curl|-u|user:[redacted]|-u|user"),
            ("podman|run|-u|1000:1000", "podman|run|-u|1000:1000"),
            ("/usr/bin/mysql|-psecret|-p|db", "/usr/bin/mysql|-p[redacted]|-p|db"),
            ("sshpass|-p|secret|ssh|-p22", "sshpass|-p|[redacted]|ssh|-p[redacted]"),
            (
                "x|-----BEGIN|PRIVATE|KEY-----|MIIE|-----END|b",
                "x|-----BEGIN|[redacted]|[redacted]|[redacted]|-----END|b",
            ),
            ("x|-----BEGIN|KEY-----|MIIE-----END|b|c", "x|-----BEGIN|[redacted]|[redacted]-----END|b|c"),
            ("a|--token=|b", "a|--token=|b"),
            ("curl|--token|-u|user:pw", "curl|--token|[redacted]|user:[redacted]"),
            ("sshpass|--token|-p|x", "sshpass|--token|[redacted]|[redacted]"),
            ("curl|-u|-password|x", "curl|-u|-password|[redacted]"),
            ("a|--token|-password|x", "a|--token|[redacted]|[redacted]"),
            ("curl|-u|ghp_0123456789:x-oauth-basic", "curl|-u|[redacted]:[redacted]"),
            ("a|--glpat-0123456789.token=x|b", "a|--[redacted].token=[redacted]|b"),
        ] {
            assert_eq!(redacted(line), expected, "{line}");
        }
    }

    #[test]
    fn arguments_that_name_a_container_stay() {
        for line in [
            "/usr/bin/crun|--root|/run/crun|create|--bundle|/run/b/0123456789abcdef|--pid-file|/p|web",
            "conmon|-c|0123|-u|0123|-r|/usr/bin/crun|-b|/run/b|-n|k8s_web_web-1_default|--exit-command-arg|--root",
            "containerd-shim-runc-v2|-namespace|k8s.io|-id|0123|-address|/run/containerd/containerd.sock",
        ] {
            assert_eq!(redacted(line), line);
        }
    }
}
