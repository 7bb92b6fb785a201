//! Parses the arguments of the runtimes that have no OCI command line: LXC and systemd-nspawn.

use super::{RuntimeCall, RuntimeKind};

/// The monitor of an LXC container overwrites its arguments (`do_lxcapi_start()`, `src/lxc/lxccontainer.c`) with this
/// text, the path of LXC's containers, and the container's name.
const LXC_MONITOR: &str = "[lxc monitor] ";

/// Short options of `lxc-start`, `lxc-execute` and `lxc-attach` that take a value, and long ones.
const LXC_SHORT: &str = "nPolfcLpsugva";
const LXC_LONG: &[&str] = &[
    "name",
    "lxcpath",
    "logfile",
    "logpriority",
    "rcfile",
    "console",
    "console-log",
    "pidfile",
    "define",
    "uid",
    "gid",
    "set-var",
    "keep-var",
    "arch",
    "namespaces",
    "context",
    "pty-log",
    "share-net",
    "share-ipc",
    "share-uts",
    "share-pid",
];

/// A call of `lxc-start`, `lxc-execute` or `lxc-attach`, or the monitor that `lxc-start` becomes.
#[must_use]
pub(super) fn lxc_call<'a>(verb: &'static str, args: &'a [String]) -> Option<RuntimeCall<'a>> {
    let call =
        |container| RuntimeCall { kind: RuntimeKind::Lxc(verb), verb, container, root: None, bundle: None };
    if let Some(title) = args.first()?.strip_prefix(LXC_MONITOR) {
        return Some(call(title.rsplit_once(' ').map(|(_, name)| name)));
    }
    let (options, first) = getopt(args, LXC_SHORT, LXC_LONG);
    let name = options.iter().find(|(name, _)| matches!(*name, "n" | "name")).map(|(_, value)| *value);
    Some(call(name.or(first).filter(|name| !name.is_empty())))
}

/// Short options of `systemd-nspawn` that take a value, and long ones.
const NSPAWN_SHORT: &str = "DMiuLSZpE";
const NSPAWN_LONG: &[&str] = &[
    "directory",
    "machine",
    "image",
    "template",
    "user",
    "uuid",
    "hostname",
    "slice",
    "property",
    "capability",
    "drop-capability",
    "bind",
    "bind-ro",
    "tmpfs",
    "overlay",
    "setenv",
    "port",
    "network-interface",
    "network-bridge",
    "network-zone",
    "console",
    "settings",
];

/// A call of `systemd-nspawn`. Without `-M` a container is named after its folder.
#[must_use]
pub(super) fn nspawn_call(args: &[String]) -> Option<RuntimeCall<'_>> {
    let (options, _) = getopt(args, NSPAWN_SHORT, NSPAWN_LONG);
    let value =
        |names: [&str; 2]| options.iter().find(|(name, _)| names.contains(name)).map(|(_, value)| *value);
    let folder = || value(["D", "directory"])?.trim_end_matches('/').rsplit('/').next();
    let container = value(["M", "machine"]).or_else(folder).filter(|name| !name.is_empty());
    args.first().map(|_| RuntimeCall {
        kind: RuntimeKind::Nspawn,
        verb: "run",
        container,
        root: None,
        bundle: None,
    })
}

/// The options before the first argument that is not an option, and that argument. The options have the forms of
/// getopt(3): `-n VALUE`, `-nVALUE`, `-dn VALUE`, `--name VALUE`, `--name=VALUE`.
fn getopt<'a>(args: &'a [String], short: &str, long: &[&str]) -> (Vec<(&'a str, &'a str)>, Option<&'a str>) {
    let mut options = Vec::new();
    let mut rest = args.iter().map(String::as_str).skip(1);
    while let Some(arg) = rest.next() {
        if arg == "--" {
            return (options, rest.next());
        }
        if let Some(option) = arg.strip_prefix("--") {
            options.push(match option.split_once('=') {
                Some(pair) => pair,
                None if long.contains(&option) => (option, rest.next().unwrap_or_default()),
                None => (option, ""),
            });
        } else if let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            let value = letters.char_indices().find(|(_, letter)| short.contains(*letter));
            if let Some((at, letter)) = value {
                let (name, value) = letters[at..].split_at(letter.len_utf8());
                options.push((name, if value.is_empty() { rest.next().unwrap_or_default() } else { value }));
            }
        } else {
            return (options, Some(arg));
        }
    }
    (options, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_container_of_an_lxc_call_is_found() {
        for (line, container) in [
            ("lxc-start -P /var/lib/lxc -n web1 -d -l debug -o /l", Some("web1")),
            ("lxc-start -dn web1", Some("web1")),
            ("lxc-start -nweb1 -F", Some("web1")),
            ("lxc-start --name=web1", Some("web1")),
            ("lxc-start --logfile /l web1", Some("web1")),
            ("lxc-execute -n web1 -- app -n no", Some("web1")),
            ("lxc-attach --name web1 --clear-env -- sh -n no", Some("web1")),
            ("lxc-attach -e web1 sh", Some("web1")),
            ("lxc-start", None),
            ("lxc-start -n", None),
        ] {
            let args = words(line);
            let call = lxc_call("start", &args).expect("a call");
            assert_eq!(call.container, container, "{line}");
        }
        let title = ["[lxc monitor] /var/lib/my containers web1".to_owned()];
        let call = lxc_call("start", &title).expect("a call");
        assert_eq!((call.verb, call.container, call.root), ("start", Some("web1"), None));
    }

    #[test]
    fn the_container_of_an_nspawn_call_is_found() {
        for (line, container) in [
            ("systemd-nspawn -M web -D /c", Some("web")),
            ("systemd-nspawn -bD /var/lib/machines/web/", Some("web")),
            ("systemd-nspawn --quiet --keep-unit --boot --machine=web --settings=override", Some("web")),
            ("systemd-nspawn --bind /x --directory /c/web app -M no", Some("web")),
            ("systemd-nspawn -D /", None),
            ("systemd-nspawn", None),
        ] {
            let args = words(line);
            let call = nspawn_call(&args).expect("a call");
            assert_eq!((call.verb, call.container), ("run", container), "{line}");
        }
    }
}
