//! The names of a container in texts that people read.

use crate::{
    finding::{Container, Finding, Orchestrator},
    words::clean,
};

/// The number of digits that are shown of an engine's id of 64 digits. Engines themselves show the same number.
const SHORT_ID: usize = 12;

/// The names of a container, as far as they are known. The container is on this host, or another host has written the
/// names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Names<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub container: Option<&'a str>,
    /// The namespace of its pod.
    pub namespace: Option<&'a str>,
    /// The name of its pod.
    pub pod: Option<&'a str>,
    /// The uid of its pod.
    pub pod_uid: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// The names of a finding's container.
    #[must_use]
    pub fn of(finding: &'a Finding) -> Option<Self> {
        let Container { id, name, .. } = finding.container.as_ref()?;
        let pod = finding.orchestrator.as_ref();
        let of_pod = |field: fn(&Orchestrator) -> &Option<String>| pod.and_then(|pod| field(pod).as_deref());
        Some(Self {
            id,
            container: name.as_deref(),
            namespace: of_pod(|pod| &pod.namespace),
            pod: of_pod(|pod| &pod.pod_name),
            pod_uid: of_pod(|pod| &pod.pod_uid),
        })
    }

    /// Whether it has a name that says more to people than its id.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.container.is_some() || self.pod.is_some()
    }

    /// The name for a list: `NAMESPACE/POD/CONTAINER`, without the parts that are not known.
    #[must_use]
    pub fn label(&self) -> String {
        let name = clean(self.container.unwrap_or(self.short_id()));
        match (self.namespace, self.pod) {
            (Some(namespace), Some(pod)) => format!("{}/{}/{name}", clean(namespace), clean(pod)),
            (None, Some(pod)) => format!("{}/{name}", clean(pod)),
            (_, None) => name,
        }
    }

    /// The name for a sentence: `container web of pod shop/web-pod`.
    #[must_use]
    pub fn phrase(&self) -> String {
        let name = clean(self.container.unwrap_or(self.short_id()));
        let pod = match (self.namespace, self.pod, self.pod_uid) {
            (Some(namespace), Some(pod), _) => format!(" of pod {}/{}", clean(namespace), clean(pod)),
            (None, Some(pod), _) => format!(" of pod {}", clean(pod)),
            (_, None, Some(uid)) => format!(" of pod {}", clean(uid)),
            (_, None, None) => String::new(),
        };
        format!("container {name}{pod}")
    }

    /// Whether a user who writes this text means the container: the id or its beginning, the name, the label of lists,
    /// or the end of that label after a `/`.
    #[must_use]
    pub fn are_meant_by(&self, wanted: &str) -> bool {
        let label = self.label();
        let is_end = || label.strip_suffix(wanted).is_some_and(|before| before.ends_with('/'));
        self.id.starts_with(wanted) || self.container == Some(wanted) || label == wanted || is_end()
    }

    /// Whether a user who writes this text means the container's pod: the name, `NAMESPACE/NAME`, or the uid.
    #[must_use]
    pub fn are_of_pod(&self, wanted: &str) -> bool {
        let full = self.namespace.zip(self.pod).map(|(namespace, pod)| format!("{namespace}/{pod}"));
        self.pod == Some(wanted) || self.pod_uid == Some(wanted) || full.as_deref() == Some(wanted)
    }

    fn short_id(&self) -> &'a str {
        let is_engines = self.id.len() == 64 && self.id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_engines { &self.id[..SHORT_ID] } else { self.id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const NONE: Names<'_> = Names { id: ID, container: None, namespace: None, pod: None, pod_uid: None };

    #[test]
    fn a_container_is_found_by_the_label_that_lists_show() {
        for (names, label, phrase) in [
            (NONE, "0123456789ab", "container 0123456789ab"),
            (Names { id: "my-box", ..NONE }, "my-box", "container my-box"),
            (Names { container: Some("web"), ..NONE }, "web", "container web"),
            (
                Names { container: Some("web"), namespace: Some("shop"), pod: Some("web-pod"), ..NONE },
                "shop/web-pod/web",
                "container web of pod shop/web-pod",
            ),
            (
                Names { namespace: Some("shop"), pod: Some("web-pod"), ..NONE },
                "shop/web-pod/0123456789ab",
                "container 0123456789ab of pod shop/web-pod",
            ),
            (Names { container: Some("web"), pod: Some("p"), ..NONE }, "p/web", "container web of pod p"),
            (Names { pod_uid: Some("7d1f"), ..NONE }, "0123456789ab", "container 0123456789ab of pod 7d1f"),
        ] {
            assert_eq!((names.label().as_str(), names.phrase().as_str()), (label, phrase));
            assert!(names.are_meant_by(label) && names.are_meant_by(&names.id[..2]), "{label}");
            for (at, _) in label.match_indices('/') {
                assert!(names.are_meant_by(&label[at + 1..]), "{label} from {at}");
            }
            assert!(!names.are_meant_by("b") && !names.are_meant_by("shop"), "{label}");
        }
    }

    #[test]
    fn a_pod_is_found_by_its_name_or_uid() {
        let names = Names { namespace: Some("shop"), pod: Some("web-pod"), pod_uid: Some("7d1f"), ..NONE };
        for wanted in ["web-pod", "shop/web-pod", "7d1f"] {
            assert!(names.are_of_pod(wanted), "{wanted}");
        }
        for wanted in ["web", "shop", "other/web-pod", ""] {
            assert!(!names.are_of_pod(wanted), "{wanted}");
        }
    }

    #[test]
    fn a_hostile_name_is_escaped_in_label_and_phrase() {
        let names = Names { container: Some("a\x1b[31m"), pod: Some("b\n"), ..NONE };
        let label = names.label();
        assert!(!label.contains(['\x1b', '\n']) && names.are_meant_by(&label));
        assert!(!names.phrase().contains(['\x1b', '\n']));
    }
}
