//! Finds container ids and pod uids in the names of control groups.

use std::borrow::Cow;

/// The name of LXC as a container manager. LXC is a runtime too, and a container's id is the name that a person gave
/// it.
pub const LXC: &str = "lxc";
/// The name of systemd-nspawn as a container manager. The same holds for it.
pub const NSPAWN: &str = "systemd-nspawn";

/// A container as its control group names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedContainer<'a> {
    /// Its id.
    pub id: Cow<'a, str>,
    /// The manager that made the group. A bare id below `kubepods` may be an id of containerd or of cri-dockerd.
    pub manager: Option<&'static str>,
}

impl NamedContainer<'_> {
    /// The runtime that made the group, if it manages its containers itself.
    #[must_use]
    pub fn machine_runtime(&self) -> Option<&'static str> {
        self.manager.filter(|manager| matches!(*manager, LXC | NSPAWN))
    }
}

/// The prefixes of the container managers: of systemd's scopes, and of the groups of some managers without systemd.
const PREFIXES: &[(&str, &str)] = &[
    ("libpod-payload-", "podman"),
    ("libpod-", "podman"),
    ("crio-", "cri-o"),
    ("cri-containerd-", "containerd"),
    ("docker-", "docker"),
];

/// The middle of `SLICE:MANAGER:ID`. A runtime without systemd makes this name from a systemd path.
const UNEXPANDED: &[(&str, &str)] =
    &[("libpod", "podman"), ("crio", "cri-o"), ("cri-containerd", "containerd"), ("docker", "docker")];

/// The innermost container that a path names. Groups of monitors (`libpod-conmon-ID.scope`) name none.
#[must_use]
pub fn container(path: &str) -> Option<NamedContainer<'_>> {
    containers(path).next()
}

/// Whether a path names that container, at any depth.
#[must_use]
pub fn names(path: &str, id: &str) -> bool {
    containers(path).any(|named| named.id == id)
}

/// The containers that a path names, innermost first.
fn containers(path: &str) -> impl Iterator<Item = NamedContainer<'_>> {
    let components: Vec<&str> = components(path).collect();
    (0..components.len()).rev().filter_map(move |i| {
        let name = components[i];
        let (above, below) = (&components[..i], &components[i + 1..]);
        prefixed(name)
            .or_else(|| unexpanded(name))
            .or_else(|| bare(name, above))
            .or_else(|| lxc(name, above))
            .or_else(|| nspawn(name, above, below))
    })
}

/// The uid of the innermost pod that a path names: `podUID` below `kubepods`, or `kubepods-burstable-podUID.slice`,
/// where systemd's name has `_` for each dash of the uid.
#[must_use]
pub fn pod_uid(path: &str) -> Option<String> {
    let mut below = false;
    let mut found = None;
    for name in components(path) {
        let slice = name.starts_with("kubepods") || name.starts_with("kubelet-kubepods");
        below |= slice || name == "kubepods";
        // Only the slice of `kubepods-podUID.slice:cri-containerd:ID`.
        let name = name.split(':').next().unwrap_or(name);
        let name = name.strip_suffix(".slice").unwrap_or(name);
        let uid = match name.rsplit_once("-pod") {
            Some((_, uid)) if slice => Some(uid),
            _ => name.strip_prefix("pod").filter(|_| below),
        };
        if let Some(uid) = uid.filter(|uid| is_uid(uid)) {
            found = Some(uid.replace('_', "-"));
        }
    }
    found
}

/// The user N of the systemd instance `user@N.service` that a path is below.
#[must_use]
pub fn user(path: &str) -> Option<u32> {
    components(path).find_map(|name| name.strip_prefix("user@")?.strip_suffix(".service")?.parse().ok())
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.strip_suffix(" (deleted)").unwrap_or(path).split('/')
}

fn prefixed(name: &str) -> Option<NamedContainer<'_>> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    PREFIXES.iter().find_map(|(prefix, manager)| {
        let id = name.strip_prefix(prefix)?;
        is_id(id).then_some(NamedContainer { id: id.into(), manager: Some(manager) })
    })
}

fn unexpanded(name: &str) -> Option<NamedContainer<'_>> {
    let (slice, id) = name.rsplit_once(':')?;
    let (_, middle) = slice.rsplit_once(':')?;
    let (_, manager) = UNEXPANDED.iter().find(|(prefix, _)| *prefix == middle)?;
    is_id(id).then_some(NamedContainer { id: id.into(), manager: Some(manager) })
}

/// A group whose name is only the id. The groups above it show the manager.
fn bare<'a>(name: &'a str, above: &[&str]) -> Option<NamedContainer<'a>> {
    let manager = above.iter().rev().find_map(|name| match *name {
        "docker" => Some(Some("docker")),
        "libpod_parent" => Some(Some("podman")),
        name if name.starts_with("kubepods") => Some(None),
        _ => None,
    })?;
    is_id(name).then_some(NamedContainer { id: name.into(), manager })
}

/// LXC's groups: `lxc.payload.NAME` since 4.0, `lxc.payload/NAME` shortly before, and `lxc/NAME` at the root of the
/// hierarchy before that. Groups of its monitors (`lxc.monitor.NAME`) name none.
fn lxc<'a>(name: &'a str, above: &[&str]) -> Option<NamedContainer<'a>> {
    let id = name.strip_prefix("lxc.payload.").or(match above {
        [.., "lxc.payload"] | ["", "lxc"] => Some(name),
        _ => None,
    })?;
    (!id.is_empty()).then(|| NamedContainer { id: id.into(), manager: Some(LXC) })
}

/// systemd-nspawn's unit, and below it the group of the container: `machine-NAME.scope/payload`, or
/// `systemd-nspawn@NAME.service/payload`. Virtual machines have such scopes too, without a payload.
fn nspawn<'a>(name: &'a str, above: &[&str], below: &[&str]) -> Option<NamedContainer<'a>> {
    let of_scope = || name.strip_prefix("machine-")?.strip_suffix(".scope");
    let of_service = || name.strip_prefix("systemd-nspawn@")?.strip_suffix(".service");
    let id = of_scope().or_else(of_service).filter(|id| !id.is_empty())?;
    let is_payload = above.last() == Some(&"machine.slice") && below.first() == Some(&"payload");
    is_payload.then(|| NamedContainer { id: unescaped(id), manager: Some(NSPAWN) })
}

/// A unit's name without the escapes of systemd.unit(5): `\x2d` is a dash.
fn unescaped(name: &str) -> Cow<'_, str> {
    if !name.contains("\\x") {
        return name.into();
    }
    let mut parts = name.split("\\x");
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                out.extend(&part.as_bytes()[2..]);
            }
            None => out.extend([b"\\x", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

/// Container managers' ids are 64 hexadecimal digits.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a text is a UUID, or the hash of 32 digits that a pod from a file on the node has.
fn is_uid(text: &str) -> bool {
    let is_dash = |byte: u8| byte == b'-' || byte == b'_';
    match text.len() {
        32 => text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        36 => text.bytes().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => is_dash(byte),
            _ => byte.is_ascii_hexdigit(),
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// Components of a path that are valid, or almost valid.
    fn component() -> impl Strategy<Value = String> {
        const PLAIN: [&str; 11] = [
            "docker",
            "kubepods",
            "kubepods.slice",
            "libpod_parent",
            "user@7.service",
            "init.scope",
            "lxc",
            "lxc.payload.web1",
            "machine-a\\x2db\\x.scope",
            "payload",
            "",
        ];
        const BEFORE: [&str; 7] = ["", "docker-", "libpod-", "crio-", "a:crio:", "pod", "kubepods-pod"];
        prop_oneof![
            select(&PLAIN[..]).prop_map(str::to_owned),
            (select(&BEFORE[..]), "[0-9a-f]{63,65}", select(&["", ".scope", ":x"][..]))
                .prop_map(|(before, id, after)| format!("{before}{id}{after}")),
            (
                select(&BEFORE[..]),
                "[0-9a-f]{8}([-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}",
                select(&["", ".slice"][..])
            )
                .prop_map(|(before, uid, after)| format!("{before}{uid}{after}")),
            ".{0,40}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_path_names_only_valid_ids(names in vec(component(), 0..6)) {
            let path = names.join("/");
            let found = container(&path);
            if let Some(NamedContainer { id, .. }) = found.clone().filter(|it| it.machine_runtime().is_none()) {
                let is_hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
                prop_assert!(id.len() == 64 && is_hex && names.iter().any(|name| name.contains(&*id)));
            }
            let pod = pod_uid(&path);
            if let Some(uid) = &pod {
                let is_hex = uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
                prop_assert!(matches!(uid.len(), 32 | 36) && is_hex);
                prop_assert!(path.starts_with("kube") || path.contains("/kube"), "there is no pod elsewhere");
            }
            // The name of a deleted group gives the same answers.
            if !path.ends_with(" (deleted)") {
                let gone = format!("{path} (deleted)");
                prop_assert_eq!((container(&gone), pod_uid(&gone), user(&gone)), (found, pod, user(&path)));
            }
        }
    }

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OUTER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    const UID: &str = "57e67067-89e4-4001-bdd4-8632d39ea02b";
    const UID_: &str = "57e67067_89e4_4001_bdd4_8632d39ea02b";
    const FILE_UID: &str = "4f5d0c8e4f5d0c8e4f5d0c8e4f5d0c8e";

    #[test]
    fn a_container_is_found_in_the_group_names_of_every_manager() {
        for (path, manager) in [
            (format!("/machine.slice/libpod-{ID}.scope"), Some("podman")),
            (format!("/machine.slice/libpod-{ID}.scope/container"), Some("podman")),
            (format!("/machine.slice/libpod-{ID}.scope/container/init.scope"), Some("podman")),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"
                ),
                Some("podman"),
            ),
            (format!("/machine.slice/machine-libpod_pod_{OUTER}.slice/libpod-{ID}.scope"), Some("podman")),
            (format!("/system.slice/web.service/libpod-payload-{ID}"), Some("podman")),
            (format!("/libpod_parent/libpod-{ID}"), Some("podman")),
            (format!("/libpod_parent/{OUTER}/{ID}"), Some("podman")),
            (format!("/kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope (deleted)"), Some("cri-o")),
            (format!("/kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope/container"), Some("cri-o")),
            (format!("/kubepods/burstable/pod{UID}/crio-{ID}"), Some("cri-o")),
            (format!("/kubepods.slice/x/cri-containerd-{ID}.scope"), Some("containerd")),
            (
                format!(
                    "/system.slice/containerd.service/kubepods-pod{UID_}.slice:cri-containerd:{ID} (deleted)"
                ),
                Some("containerd"),
            ),
            (format!("/kubepods-besteffort-pod{UID_}.slice:crio:{ID}"), Some("cri-o")),
            (format!("/kubepods/burstable/pod{UID}/{ID}"), None),
            (format!("/system.slice/docker-{ID}.scope"), Some("docker")),
            (format!("/user.slice/user-1000.slice/user@1000.service/docker-{ID}.scope"), Some("docker")),
            (format!("/docker/{ID}"), Some("docker")),
            // Nested containers: the innermost one is found.
            (format!("/docker/{OUTER}/kubelet/kubepods/besteffort/pod{UID}/{ID}"), None),
            (
                format!("/docker/{OUTER}/kubelet.slice/kubelet-kubepods.slice/cri-containerd-{ID}.scope"),
                Some("containerd"),
            ),
            (format!("/kubepods/pod{UID}/crio-{OUTER}/libpod_parent/libpod-{ID}/container"), Some("podman")),
        ] {
            assert_eq!(container(&path), Some(NamedContainer { id: ID.into(), manager }), "{path}");
        }
    }

    #[test]
    fn lxc_and_nspawn_containers_are_found_by_their_names() {
        for (path, id, manager) in [
            ("/lxc.payload.web1", "web1", LXC),
            ("/lxc.payload.web1/init.scope (deleted)", "web1", LXC),
            ("/user.slice/user-1000.slice/lxc.payload.my-box/system.slice/x.service", "my-box", LXC),
            ("/lxc.payload/web1", "web1", LXC),
            ("/lxc/web1", "web1", LXC),
            ("/lxc/web1/user.slice", "web1", LXC),
            ("/lxc.payload.outer/lxc.payload.inner/x", "inner", LXC),
            ("/machine.slice/machine-web.scope/payload", "web", NSPAWN),
            ("/machine.slice/machine-my\\x2dbox.scope/payload/system.slice/x.service", "my-box", NSPAWN),
            ("/machine.slice/systemd-nspawn@web.service/payload/init.scope", "web", NSPAWN),
            ("/machine.slice/machine-a\\x2.scope/payload", "a\\x2", NSPAWN),
        ] {
            let expected = NamedContainer { id: id.into(), manager: Some(manager) };
            assert_eq!(container(path), Some(expected), "{path}");
        }
        for path in [
            "/lxc.monitor.web1",
            "/lxc.monitor/web1",
            "/lxc",
            "/lxc.payload.",
            "/a/lxc/web1",
            "/machine.slice/machine-web.scope/supervisor",
            "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator",
            "/machine-web.scope/payload",
            "/system.slice/systemd-nspawn@web.service/supervisor",
        ] {
            assert_eq!(container(path), None, "{path}");
        }
    }

    #[test]
    fn other_groups_name_no_container() {
        for path in [
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            format!("/kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{ID}.scope"),
            format!("/kubepods/pod{UID}/crio-conmon-{ID}"),
            format!("/machine.slice/machine-libpod_pod_{ID}.slice"),
            format!("/a:b:{ID}"),
            format!("/{ID}"),
            format!("/docker/{}", &ID[1..]),
            format!("/docker/{}g", &ID[1..]),
            "/".into(),
            String::new(),
            "::/:".into(),
            " (deleted)".into(),
        ] {
            assert_eq!(container(&path), None, "{path}");
        }
    }

    #[test]
    fn a_pod_uid_is_found_below_kubepods_only() {
        for (path, uid) in [
            (format!("/kubepods/burstable/pod{UID}/{ID}"), Some(UID)),
            (format!("/kubepods/pod{UID}"), Some(UID)),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/crio-{ID}.scope"
                ),
                Some(UID),
            ),
            (
                format!("/system.slice/containerd.service/kubepods-pod{UID_}.slice:cri-containerd:{ID}"),
                Some(UID),
            ),
            (format!("/kubelet.slice/kubelet-kubepods-besteffort-pod{UID_}.slice/x"), Some(UID)),
            (format!("/kubepods.slice/kubepods-burstable-pod{FILE_UID}.slice/x (deleted)"), Some(FILE_UID)),
            (format!("/pod{UID}/{ID}"), None),
            (format!("/x/evil-pod{UID_}.slice"), None),
            ("/kubepods/pod1/x".into(), None),
            ("/kubepods/podé7e67067-89e4-4001-bdd4-8632d39ea02".into(), None),
        ] {
            assert_eq!(pod_uid(&path).as_deref(), uid, "{path}");
        }
    }

    #[test]
    fn the_user_of_a_systemd_instance_is_found() {
        assert_eq!(user("/user.slice/user-1000.slice/user@1000.service/user.slice/x.scope"), Some(1000));
        assert_eq!(user("/user.slice/user@x.service"), None);
        assert_eq!(user("/"), None);
    }
}
