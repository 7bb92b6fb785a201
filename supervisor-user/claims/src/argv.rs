//! Parses the arguments of runtimes and monitors. They are hostile input: only their form is believed.

mod machines;

/// The form of a runtime's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Like the arguments of runc: options, a verb, options, a container.
    Oci,
    /// One program for each verb.
    Lxc(&'static str),
    /// systemd-nspawn.
    Nspawn,
}

/// A runtime's command line, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeCall<'a> {
    /// The form of the arguments.
    pub kind: RuntimeKind,
    /// `create`, `run`, `exec`, …; of LXC `start`, `execute`, `attach`.
    pub verb: &'a str,
    /// The container that it is about.
    pub container: Option<&'a str>,
    /// Where the runtime keeps its containers' state.
    pub root: Option<&'a str>,
    /// The container's bundle.
    pub bundle: Option<&'a str>,
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

const ROOT: &[&str] = &["--root", "-r"];
const BUNDLE: &[&str] = &["--bundle", "-b"];

/// Parses the arguments of a runtime; the first one is the name of the program. `None` without a verb: `runc init`,
/// which runs the stages, is no call of its own.
#[must_use]
pub fn runtime_call(kind: RuntimeKind, args: &[String]) -> Option<RuntimeCall<'_>> {
    match kind {
        RuntimeKind::Oci => oci_call(args),
        RuntimeKind::Lxc(verb) => machines::lxc_call(verb, args),
        RuntimeKind::Nspawn => machines::nspawn_call(args),
    }
}

fn oci_call(args: &[String]) -> Option<RuntimeCall<'_>> {
    let mut rest = args.get(1..)?.iter().map(String::as_str);
    let (mut root, mut bundle) = (None, None);
    let verb = positional(&mut rest, GLOBAL_VALUES, ROOT, &mut root).filter(|verb| VERBS.contains(verb))?;
    let container = positional(&mut rest, VERB_VALUES, BUNDLE, &mut bundle);
    Some(RuntimeCall { kind: RuntimeKind::Oci, verb, container, root, bundle })
}

/// The next argument that is neither an option nor an option's value. `found` keeps the value of the `wanted` option on
/// the way.
fn positional<'a>(
    args: &mut impl Iterator<Item = &'a str>,
    with_value: &[&str],
    wanted: &[&str],
    found: &mut Option<&'a str>,
) -> Option<&'a str> {
    while let Some(arg) = args.next() {
        if arg == "--" {
            return args.next();
        }
        if !arg.starts_with('-') {
            return Some(arg);
        }
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None if with_value.contains(&arg) => (arg, Some(args.next()?)),
            None => (arg, None),
        };
        if wanted.contains(&name) {
            *found = value.or(*found);
        }
    }
    None
}

/// A kind of monitor. The kinds have different options, and watch different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonitorKind {
    /// One monitor process for each container.
    Conmon,
    /// One monitor process for each pod. Calls name the containers, and arguments do not.
    ConmonRs,
    /// One monitor process for each pod, with the id of the pod's sandbox.
    Shim,
}

/// The parsed arguments of a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonitorCall<'a> {
    /// The kind of monitor.
    pub kind: MonitorKind,
    /// The container that it watches; of a shim, the first of its pod.
    pub id: Option<&'a str>,
    /// The container's name.
    pub name: Option<&'a str>,
    /// The container's bundle.
    pub bundle: Option<&'a str>,
    /// The runtime that it calls.
    pub runtime: Option<&'a str>,
    /// Where that runtime keeps the state of its containers.
    pub root: Option<&'a str>,
    /// The bundle of the pod's sandbox, in which conmonrs keeps its own files.
    pub sandbox: Option<&'a str>,
    /// The namespace of containerd, which is not a namespace of Kubernetes.
    pub namespace: Option<&'a str>,
}

/// Parses the arguments of a monitor; the first one is the name of the program. conmonrs has a `-c` too, but it names a
/// cgroup manager: so each kind has its own table.
#[must_use]
pub fn monitor_call(kind: MonitorKind, args: &[String]) -> MonitorCall<'_> {
    let options = options(args);
    let value = |names: &[&str]| {
        options
            .iter()
            .find(|(name, value)| names.contains(name) && !value.is_empty())
            .map(|(_, value)| *value)
    };
    let none = MonitorCall {
        kind,
        id: None,
        name: None,
        bundle: None,
        runtime: None,
        root: None,
        sandbox: None,
        namespace: None,
    };
    match kind {
        MonitorKind::Conmon => MonitorCall {
            id: value(&["-c", "--cid"]).or_else(|| value(&["-u", "--cuuid"])),
            name: value(&["-n", "--name"]),
            bundle: value(&["-b", "--bundle"]),
            runtime: value(&["-r", "--runtime"]),
            root: passed_root(&options),
            ..none
        },
        MonitorKind::ConmonRs => MonitorCall {
            runtime: value(&["-r", "--runtime"]),
            root: value(&["--runtime-root"]),
            sandbox: value(&["--runtime-dir"]),
            ..none
        },
        MonitorKind::Shim => MonitorCall {
            id: value(&["-id", "--id"]),
            bundle: value(&["-bundle", "--bundle"]),
            namespace: value(&["-namespace", "--namespace"]),
            ..none
        },
    }
}

/// conmon's options whose value is an argument for another program, and may look like an option.
const PASSED_ON: &[&str] = &["--runtime-arg", "--runtime-opt", "--exit-command-arg"];

/// The options, each with the argument after it, which is its value if it takes one.
fn options(args: &[String]) -> Vec<(&str, &str)> {
    let mut options = Vec::new();
    let mut rest = args.iter().map(String::as_str).skip(1).peekable();
    while let Some(arg) = rest.next() {
        if !arg.starts_with('-') {
            continue;
        }
        options.push(match arg.split_once('=') {
            Some(pair) => pair,
            None if PASSED_ON.contains(&arg) => (arg, rest.next().unwrap_or_default()),
            None => (arg, rest.peek().copied().filter(|next| !next.starts_with('-')).unwrap_or_default()),
        });
    }
    options
}

/// `--root` among the arguments that conmon passes to the runtime.
fn passed_root<'a>(options: &[(&'a str, &'a str)]) -> Option<&'a str> {
    let mut passed = options.iter().filter(|(name, _)| *name == "--runtime-arg").map(|(_, value)| *value);
    passed.find_map(|arg| arg.strip_prefix("--root=")).or_else(|| {
        let mut passed = options.iter().filter(|(name, _)| *name == "--runtime-arg").map(|(_, value)| *value);
        passed.find(|arg| *arg == "--root")?;
        passed.next()
    })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// Options with their values, each as one argument or as two.
    fn options_of(
        names: &'static [&'static str],
    ) -> impl Strategy<Value = Vec<(&'static str, String, bool)>> {
        vec((select(names), ".{0,6}", any::<bool>()), 0..5)
    }

    fn written(options: &[(&str, String, bool)]) -> impl Iterator<Item = String> {
        options.iter().flat_map(|(name, value, is_one)| {
            if *is_one { vec![format!("{name}={value}")] } else { vec![(*name).to_owned(), value.clone()] }
        })
    }

    fn last<'a>(options: &'a [(&str, String, bool)], names: &[&str]) -> Option<&'a str> {
        options.iter().rfind(|(name, ..)| names.contains(name)).map(|(_, value, _)| value.as_str())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_runtime_call_is_read_with_any_values_of_its_options(
            global in options_of(GLOBAL_VALUES),
            verb in select(VERBS),
            own in options_of(VERB_VALUES),
            container in "[^-].{0,8}",
            rest in vec(".{0,8}", 0..4),
        ) {
            let args: Vec<String> = ["crun".to_owned()].into_iter()
                .chain(written(&global)).chain([verb.to_owned()])
                .chain(written(&own)).chain([container.clone()]).chain(rest).collect();
            let call = RuntimeCall {
                kind: RuntimeKind::Oci,
                verb,
                container: Some(&container),
                root: last(&global, ROOT),
                bundle: last(&own, BUNDLE),
            };
            prop_assert_eq!(runtime_call(RuntimeKind::Oci, &args), Some(call), "{:?}", args);
        }

        #[test]
        fn a_conmon_call_is_read_with_any_values_of_its_options(
            own in vec(
                (select(vec!["-c", "--cid", "-n", "--name", "-b", "--bundle", "-r", "--runtime"]), "[^-].{0,6}", any::<bool>()),
                0..8,
            ),
            passed in vec(prop_oneof![Just("--root=/r".to_owned()), "-.{0,6}"], 0..4),
        ) {
            let passed_on = passed.iter().flat_map(|arg| ["--runtime-arg".to_owned(), arg.clone()]);
            let args: Vec<String> =
                ["conmon".to_owned()].into_iter().chain(written(&own)).chain(passed_on).collect();
            let first = |names: &[&str]| {
                own.iter().find(|(name, ..)| names.contains(name)).map(|(_, value, _)| value.as_str())
            };
            let call = MonitorCall {
                kind: MonitorKind::Conmon,
                id: first(&["-c", "--cid"]),
                name: first(&["-n", "--name"]),
                bundle: first(&["-b", "--bundle"]),
                runtime: first(&["-r", "--runtime"]),
                root: passed.iter().any(|arg| arg == "--root=/r").then_some("/r"),
                sandbox: None,
                namespace: None,
            };
            prop_assert_eq!(monitor_call(MonitorKind::Conmon, &args), call, "{:?}", args);
        }
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_verb_and_the_container_of_a_runtime_call_are_found() {
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
            let call = runtime_call(RuntimeKind::Oci, &args).map(|call| (call.verb, call.container));
            assert_eq!(call, Some((verb, container)), "{line}");
        }
        for line in ["crun", "crun --root", "crun --version", "sh create x"] {
            let args = words(line);
            assert!(
                runtime_call(RuntimeKind::Oci, &args)
                    .is_none_or(|call| line.starts_with("sh") && call.verb == "create"),
                "{line}"
            );
        }
    }

    #[test]
    fn the_root_and_the_bundle_of_a_runtime_call_are_found() {
        for (line, root, bundle) in [
            ("crun --root /r create --bundle /b web", Some("/r"), Some("/b")),
            ("crun --root=/r --debug run -b /b web", Some("/r"), Some("/b")),
            ("youki -r /r create --bundle=/b web", Some("/r"), Some("/b")),
            ("runc --log --root create --pid-file --bundle web", None, None),
            ("runc exec --process /tmp/p --detach web --root /no", None, None),
        ] {
            let args = words(line);
            let call = runtime_call(RuntimeKind::Oci, &args).expect("a call");
            assert_eq!((call.container, call.root, call.bundle), (Some("web"), root, bundle), "{line}");
        }
        assert_eq!(runtime_call(RuntimeKind::Oci, &words("runc init")), None);
        assert_eq!(runtime_call(RuntimeKind::Oci, &words("runc --root")), None);
    }

    #[test]
    fn the_conmon_arguments_of_podman_are_read() {
        let args = words(
            "/usr/bin/conmon --api-version 1 -c abc -u abc -r /usr/bin/crun -b /b -p /pid -n web --exit-dir /e \
             --full-attach -l k8s-file:/l --log-level warning --runtime-arg --log-format=json --runtime-arg \
             --log --runtime-arg=/o --runtime-arg --root --runtime-arg /r --exit-command /usr/bin/podman \
             --exit-command-arg --root --exit-command-arg /no --exit-command-arg -n --exit-command-arg no",
        );
        assert_eq!(
            monitor_call(MonitorKind::Conmon, &args),
            MonitorCall {
                kind: MonitorKind::Conmon,
                id: Some("abc"),
                name: Some("web"),
                bundle: Some("/b"),
                runtime: Some("/usr/bin/crun"),
                root: Some("/r"),
                sandbox: None,
                namespace: None,
            }
        );
        let short = words("conmon -s -u abc --runtime-arg=--root=/r -n");
        let call = monitor_call(MonitorKind::Conmon, &short);
        assert_eq!((call.id, call.root, call.name), (Some("abc"), Some("/r"), None));
    }

    #[test]
    fn the_arguments_of_a_shim_and_of_conmonrs_are_read() {
        let args = words("/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id abc -bundle=/b -address /a");
        let call = monitor_call(MonitorKind::Shim, &args);
        assert_eq!(
            (call.id, call.namespace, call.bundle, call.name),
            (Some("abc"), Some("k8s.io"), Some("/b"), None)
        );
        let args = words("conmonrs -c systemd --runtime /usr/bin/crun --runtime-dir /d --runtime-root /r");
        let call = monitor_call(MonitorKind::ConmonRs, &args);
        assert_eq!((call.id, call.runtime, call.root), (None, Some("/usr/bin/crun"), Some("/r")));
        assert_eq!(call.sandbox, Some("/d"));
    }
}
