//! Container ids in control-group names.

/// A container as its control group names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NamedContainer<'a> {
    /// Its id.
    pub(super) id: &'a str,
    /// What made the group.
    pub(super) manager: &'static str,
}

/// Scope prefixes of the container managers.
const SCOPES: &[(&str, &str)] =
    &[("libpod-", "podman"), ("crio-", "cri-o"), ("cri-containerd-", "containerd"), ("docker-", "docker")];

/// The innermost container that a path names. Groups of monitors (`libpod-conmon-ID.scope`) name none.
#[must_use]
pub(super) fn container(path: &str) -> Option<NamedContainer<'_>> {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let components: Vec<&str> = path.split('/').collect();
    (0..components.len()).rev().find_map(|i| {
        let name = components[i];
        let name = name.strip_suffix(".scope").unwrap_or(name);
        if let Some(found) = SCOPES.iter().find_map(|(prefix, manager)| {
            let id = name.strip_prefix(prefix)?;
            is_id(id).then_some(NamedContainer { id, manager })
        }) {
            return Some(found);
        }
        let above = components[..i].iter().rev();
        let manager = above.clone().find_map(|name| match *name {
            "docker" => Some("docker"),
            "libpod_parent" => Some("podman"),
            name if name.starts_with("kubepods") => Some("containerd"),
            _ => None,
        })?;
        is_id(name).then_some(NamedContainer { id: name, manager })
    })
}

/// Container managers' ids are 64 hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_manager() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for (path, manager) in [
            (format!("/machine.slice/libpod-{id}.scope"), "podman"),
            (format!("/machine.slice/libpod-{id}.scope/container"), "podman"),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope/container"
                ),
                "podman",
            ),
            (format!("/kubepods.slice/kubepods-pod1.slice/crio-{id}.scope (deleted)"), "cri-o"),
            (format!("/kubepods.slice/x/cri-containerd-{id}.scope"), "containerd"),
            (format!("/system.slice/docker-{id}.scope"), "docker"),
            (format!("/docker/{id}"), "docker"),
            (format!("/kubepods/burstable/pod1/{id}"), "containerd"),
            (format!("/libpod_parent/libpod-{id}"), "podman"),
        ] {
            assert_eq!(container(&path), Some(NamedContainer { id, manager }), "{path}");
        }
        for path in [
            format!("/machine.slice/libpod-conmon-{id}.scope"),
            format!("/{id}"),
            "/".into(),
            "/docker/short".into(),
        ] {
            assert_eq!(container(&path), None, "{path}");
        }
    }
}
