//! Reads the fields of an ECS document that another host has written.

use jiff::Timestamp;
use serde::{Deserialize, de::IgnoredAny};
use supervisor_model::{
    filter::{Filter, Subject},
    names::Names,
};

/// No finding is larger than this, in bytes: a broker takes messages of 1 MiB.
const MAX: usize = 1 << 20;

/// A finding of another host: the fields that a list shows and that filters ask for. Other fields are skipped.
#[derive(Clone, Debug, Deserialize)]
pub struct Document {
    /// When it was written, by that host's clock.
    #[serde(rename = "@timestamp")]
    pub at: Timestamp,
    /// The process.
    pub process: RemoteProcess,
    /// Its container.
    pub container: Option<RemoteContainer>,
    /// The orchestrator that placed the container on its host.
    pub orchestrator: Option<RemoteOrchestrator>,
    /// Everything that ECS has no name for.
    pub supervisor: RemoteSupervisor,
}

/// The result of the filters for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// The event passes. An event that is about no finding, such as a loss, also passes.
    Wanted,
    /// The event does not pass.
    Unwanted,
    /// The event is no ECS document of a finding that can be read: the result is unknown.
    Unknown,
}

/// A process of a [`Document`].
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteProcess {
    /// Host pid.
    pub pid: u32,
    /// Name.
    pub name: String,
    /// Pid in its PID namespace.
    pub vpid: Option<u32>,
    /// When it exited.
    pub end: Option<Timestamp>,
}

/// A container of a [`Document`].
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteContainer {
    /// Id.
    pub id: String,
    /// Name.
    pub name: Option<String>,
}

/// The orchestrator that placed the container of a [`Document`] on its host.
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteOrchestrator {
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod.
    pub resource: RemoteResource,
}

/// The pod of a [`Document`].
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteResource {
    /// Name.
    pub name: Option<String>,
    /// Uid.
    pub id: Option<String>,
}

/// The fields below `supervisor.` in a [`Document`].
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteSupervisor {
    /// The finding.
    pub finding: RemoteFindingState,
    /// The class of cause.
    pub family: Option<RemoteFamily>,
    /// What the reaper does instead of reaping.
    pub cause: Option<String>,
    /// Whether it will go away by itself.
    pub prognosis: Option<String>,
    /// Why, in one sentence.
    pub verdict: Option<String>,
    /// How the process ended.
    pub exit: Option<RemoteExit>,
    /// Who must reap it.
    pub reaper: Option<RemoteReaper>,
    /// The container runtime.
    pub runtime: Option<RemoteRuntime>,
    /// The container monitor.
    pub monitor: Option<RemoteNamed>,
    /// Its PID namespace.
    pub pid_ns: Option<RemotePidNs>,
    /// Its control group.
    pub cgroup: Option<String>,
    /// How long before the document was written the process was told to exit.
    pub ending_ns: Option<u64>,
    /// The processes that hold a PID namespace.
    #[serde(default)]
    pub blockers: Vec<RemoteBlocker>,
    /// The number of further processes that hold it.
    #[serde(default)]
    pub blockers_left_out: u64,
    /// The PID namespaces that cannot end while the process stays.
    #[serde(default)]
    pub blocks: Vec<IgnoredAny>,
}

/// The subject of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// An unreaped process.
    Zombie,
    /// A PID namespace that cannot end.
    Namespace,
    /// A process that was told to exit and cannot.
    Exit,
}

/// The state of a finding of a [`Document`].
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteFindingState {
    /// Its subject.
    pub kind: FindingKind,
}

/// A family of a [`Document`].
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteFamily {
    /// `F1`…
    pub id: String,
}

/// How a process of a [`Document`] ended.
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteExit {
    /// The status of a normal exit.
    pub code: Option<u8>,
    /// The signal that ended it.
    pub signal: Option<u8>,
}

/// A process with only its pid and its name in a [`Document`].
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteNamed {
    /// Host pid.
    pub pid: u32,
    /// Name.
    pub name: String,
}

/// Who must reap the process of a [`Document`].
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteReaper {
    /// Host pid.
    pub pid: u32,
    /// Name.
    pub name: String,
    /// State, as `ps` shows it.
    pub state: Option<String>,
    /// Whether it is PID 1 of its namespace.
    pub is_pidns_init: Option<bool>,
    /// Whether it is a subreaper.
    pub is_subreaper: Option<bool>,
}

/// A container runtime of a [`Document`].
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteRuntime {
    /// Name.
    pub name: String,
}

/// A PID namespace of a [`Document`].
#[derive(Clone, Debug, Deserialize)]
pub struct RemotePidNs {
    /// Inode.
    pub ino: u32,
}

/// A process that holds a PID namespace.
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteBlocker {
    /// `zombie`, `task` or `tracer`.
    pub kind: String,
    /// Host pid.
    pub pid: u32,
    /// Name.
    pub name: String,
    /// Who must reap it.
    pub reaper: Option<RemoteNamed>,
}

impl Document {
    /// Reads a document; `None` if the bytes are no document, or too large.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= MAX).then(|| serde_json::from_slice(bytes).ok()).flatten()
    }

    /// The result of a filter for an event.
    #[must_use]
    pub fn look(bytes: &[u8], filter: &Filter) -> Filtered {
        /// The fields that show whether an event is about a finding.
        #[derive(Deserialize)]
        struct Outline {
            #[serde(rename = "ecs")]
            _ecs: IgnoredAny,
            supervisor: OutlineSupervisor,
        }
        #[derive(Deserialize)]
        struct OutlineSupervisor {
            finding: Option<IgnoredAny>,
        }
        if *filter == Filter::default() {
            return Filtered::Wanted;
        }
        match Self::read(bytes) {
            Some(document) if document.passes(filter) => Filtered::Wanted,
            Some(_) => Filtered::Unwanted,
            None => match serde_json::from_slice::<Outline>(bytes) {
                Ok(outline) if outline.supervisor.finding.is_none() => Filtered::Wanted,
                _ => Filtered::Unknown,
            },
        }
    }

    /// The names of its container.
    #[must_use]
    pub fn names(&self) -> Option<Names<'_>> {
        let RemoteContainer { id, name } = self.container.as_ref()?;
        let pod = self.orchestrator.as_ref();
        Some(Names {
            id,
            container: name.as_deref(),
            namespace: pod.and_then(|pod| pod.namespace.as_deref()),
            pod: pod.and_then(|pod| pod.resource.name.as_deref()),
            pod_uid: pod.and_then(|pod| pod.resource.id.as_deref()),
        })
    }

    /// Whether it passes a filter, as a finding of this host would.
    #[must_use]
    pub fn passes(&self, filter: &Filter) -> bool {
        let it = &self.supervisor;
        let subject = Subject {
            pid: self.process.pid,
            name: &self.process.name,
            pid_ns: it.pid_ns.as_ref().map(|ns| ns.ino),
            container: self.names(),
            runtime: it.runtime.as_ref().map(|runtime| runtime.name.as_str()),
            monitor: it.monitor.as_ref().map(|monitor| (monitor.name.as_str(), monitor.pid)),
            cgroup: it.cgroup.as_deref(),
        };
        let reaper = it.reaper.as_ref().filter(|_| it.finding.kind != FindingKind::Namespace);
        let others = it.blockers.iter().filter_map(|blocker| blocker.reaper.as_ref());
        let reapers = others.map(|other| other.pid).chain(reaper.map(|reaper| reaper.pid));
        filter.wants_subject(&subject) && filter.wants_reaper(reapers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_a_finding_passes_each_filter() {
        let filter = Filter { pid: Some(7), ..Filter::default() };
        let finding = |pid: u32| {
            format!(
                r#"{{"@timestamp":"2026-01-01T00:00:00Z","ecs":{{"version":"9"}},"process":{{"pid":{pid},"name":"x"}},"supervisor":{{"finding":{{"kind":"zombie"}}}}}}"#
            )
        };
        for (event, expected) in [
            (finding(7).as_str(), Filtered::Wanted),
            (finding(8).as_str(), Filtered::Unwanted),
            (r#"{"ecs":{"version":"9"},"supervisor":{"loss":{"exits":3}}}"#, Filtered::Wanted),
            (r#"{"ecs":{"version":"9"},"supervisor":{"finding":{"kind":"new"}}}"#, Filtered::Unknown),
            (r#"{"class_uid":2004,"finding_info":{"uid":"x"}}"#, Filtered::Unknown),
            ("supervisor: text for people", Filtered::Unknown),
        ] {
            assert_eq!(Document::look(event.as_bytes(), &filter), expected, "{event}");
            assert_eq!(Document::look(event.as_bytes(), &Filter::default()), Filtered::Wanted, "{event}");
        }
    }
}
