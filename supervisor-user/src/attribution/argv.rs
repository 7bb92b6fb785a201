//! Arguments of runtimes and monitors. They are hostile input: nothing in them is believed beyond its form.

/// A runtime's command line, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RuntimeCall<'a> {
    /// `create`, `run`, `exec`, …
    pub(super) verb: &'a str,
    /// The container that it is about.
    pub(super) container: Option<&'a str>,
}

const VERBS: &[&str] = &[
    "create",
    "run",
    "exec",
    "start",
    "restore",
    "delete",
    "kill",
    "state",
    "list",
    "pause",
    "resume",
    "ps",
    "update",
    "checkpoint",
    "events",
    "spec",
    "features",
];

/// Options before the verb, of crun, runc and youki, that take a value.
const GLOBAL_VALUES: &[&str] = &[
    "--root",
    "-r",
    "--log",
    "-l",
    "--log-format",
    "--log-level",
    "--cgroup-manager",
    "--criu",
    "--rootless",
];

/// Options after the verb that take a value, of `create`, `run` and `restore`, and of `exec`.
const VERB_VALUES: &[&str] = &[
    "--bundle",
    "-b",
    "--config",
    "-f",
    "--console-socket",
    "--pid-file",
    "--preserve-fds",
    "--cwd",
    "--env",
    "-e",
    "--user",
    "-u",
    "--additional-gids",
    "-g",
    "--process",
    "-p",
    "--process-label",
    "--apparmor",
    "--cap",
    "-c",
    "--cgroup",
    "--image-path",
    "--work-path",
];

/// Parses a runtime's arguments, the program's name first. `None` without a verb.
#[must_use]
pub(super) fn runtime_call(args: &[String]) -> Option<RuntimeCall<'_>> {
    let mut rest = args.get(1..)?.iter().map(String::as_str);
    let verb = positional(&mut rest, GLOBAL_VALUES).filter(|verb| VERBS.contains(verb))?;
    Some(RuntimeCall { verb, container: positional(&mut rest, VERB_VALUES) })
}

/// The next argument that is neither an option nor an option's value.
fn positional<'a>(args: &mut impl Iterator<Item = &'a str>, with_value: &[&str]) -> Option<&'a str> {
    while let Some(arg) = args.next() {
        if arg == "--" {
            return args.next();
        }
        if !arg.starts_with('-') {
            return Some(arg);
        }
        if with_value.contains(&arg) {
            args.next()?;
        }
    }
    None
}

/// What a monitor's arguments say of its container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MonitoredContainer {
    /// Its id.
    pub(super) id: String,
    /// Its name.
    pub(super) name: Option<String>,
}

/// Parses a monitor's arguments: conmon's `-c ID -n NAME`, the shim's `-id ID`.
#[must_use]
pub(super) fn monitor_container(args: &[String]) -> Option<MonitoredContainer> {
    let value = |names: &[&str]| {
        args.iter().enumerate().skip(1).find_map(|(i, arg)| {
            if names.contains(&arg.as_str()) {
                return args.get(i + 1).cloned();
            }
            let (name, value) = arg.split_once('=')?;
            names.contains(&name).then(|| value.to_owned())
        })
    };
    let id = value(&["-c", "--cid", "-id", "--id"])?;
    Some(MonitoredContainer { id, name: value(&["-n", "--name"]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn runtime_calls() {
        for (line, verb, container) in [
            ("crun --root /x --cgroup-manager=disabled create --bundle /b web", "create", Some("web")),
            (
                "/usr/bin/crun --systemd-cgroup --root=/run/crun create --bundle /b --pid-file /p abc",
                "create",
                Some("abc"),
            ),
            (
                "runc --root /r --log /l --log-format json create --bundle b --pid-file p id1",
                "create",
                Some("id1"),
            ),
            ("runc exec --user 0 -e A=B --detach id2 sh -c x", "exec", Some("id2")),
            ("crun run -b /b -- create", "run", Some("create")),
            ("youki create", "create", None),
        ] {
            let args = words(line);
            assert_eq!(runtime_call(&args), Some(RuntimeCall { verb, container }), "{line}");
        }
        for line in ["crun", "crun --root", "crun --version", "sh create x"] {
            let args = words(line);
            assert!(
                runtime_call(&args).is_none_or(|call| line.starts_with("sh") && call.verb == "create"),
                "{line}"
            );
        }
    }

    #[test]
    fn monitor_arguments() {
        let conmon = words(
            "/usr/bin/conmon --api-version 1 -c abc -u abc -r /usr/bin/crun -b /b -n web --exit-dir /e",
        );
        let expected = MonitoredContainer { id: "abc".into(), name: Some("web".into()) };
        assert_eq!(monitor_container(&conmon), Some(expected));
        let shim = words("/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id abc -address /a");
        assert_eq!(monitor_container(&shim), Some(MonitoredContainer { id: "abc".into(), name: None }));
        assert_eq!(monitor_container(&words("conmonrs --runtime /usr/bin/crun")), None);
    }
}
