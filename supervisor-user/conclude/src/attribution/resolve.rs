//! Decides which container and pod a process belongs to, after all claims and the container's files were read. A claim
//! that is refused or contradicted stays in the finding, beside the claim that is believed.

use supervisor_claims::{
    authority, cgroup,
    claim::{self, Claim, Source},
    oci::{self, Identity},
};
use supervisor_model::{
    diagnosis::Confidence,
    evidence::Evidence,
    facts::OciFacts,
    finding::{Authority, ClaimSource, Container, IdentityClaim, Orchestrator, Runtime},
};

/// Container and pod, and the confidence in them.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) container: Option<Container>,
    pub(super) orchestrator: Option<Orchestrator>,
    /// `None` if there is no doubt about them.
    pub(super) confidence: Option<Confidence>,
    /// Empty without a confidence.
    pub(super) claims: Vec<IdentityClaim>,
}

pub(super) fn resolve(evidence: &Evidence, cgroup: Option<&str>, runtime: Option<&Runtime>) -> Resolved {
    let claims = claim::claims(evidence, cgroup);
    let believed = claims.first().filter(|claim| claim.may_speak && !may_be_stolen(claim, evidence));
    let files = Files::of(evidence.oci.as_ref(), claims.first(), believed);
    let sandbox = evidence.sandbox.as_ref().filter(|facts| facts.owner == Some(0));
    let id = believed.map(|claim| &*claim.id).or(files.identity.id);
    let identity = Identity { id, ..files.identity }
        .or_pod_of(sandbox.map(oci::identify).unwrap_or_default())
        .or_pod_of(believed.and_then(|claim| of_kubelet(claim, id, cgroup)).unwrap_or_default());
    let pod_uid = cgroup.and_then(trusted_pod_uid);
    // For the pod, the control group of the kernel decides.
    let other_pod = pod_uid.as_deref().zip(identity.uid).is_some_and(|(cgroup, file)| cgroup != file);
    let identity = if other_pod { identity.without_pod() } else { identity };
    let refused: Vec<&Claim<'_>> =
        claims.iter().filter(|claim| contradicts(claim, claims.first(), believed, cgroup)).collect();
    let is_low = other_pod || !refused.is_empty() || (files.are_refused && believed.is_none());
    let is_medium = files.are_refused
        || believed.is_some_and(|claim| !claim.speaker.by.is_trusted() || !claim.speaker.is_verified);
    let confidence = if is_low { Some(Confidence::Low) } else { is_medium.then_some(Confidence::Medium) };
    let mut claims_made: Vec<IdentityClaim> = Vec::new();
    if confidence.is_some() {
        claims_made.extend(believed.map(|claim| identity_claim(claim, true)));
        claims_made.extend(refused.iter().map(|claim| identity_claim(claim, false)));
        of_cgroup(&mut claims_made, cgroup, pod_uid.as_ref());
        claims_made.extend(files.claim(!other_pod));
        claims_made.extend(sandbox.map(|facts| claim_of_sandbox(facts, !other_pod)));
    }
    Resolved {
        container: id.map(|id| container(id, believed, identity, cgroup, runtime)),
        orchestrator: orchestrator(identity, pod_uid),
        confidence,
        claims: claims_made,
    }
}

/// The pod that a container's name contains. Only names that root gave count, and not those of podman, because people
/// choose them.
fn of_kubelet<'a>(claim: &Claim<'a>, id: Option<&'a str>, cgroup: Option<&str>) -> Option<Identity<'a>> {
    let manager = cgroup.and_then(cgroup::container).and_then(|named| named.manager);
    let named = claim.name.filter(|_| claim.speaker.by.is_trusted() && manager != Some("podman"))?;
    Some(Identity { id, ..oci::kubernetes_name(named)? })
}

/// The content of the pod sandbox's files as a claim. They name no container except the sandbox's own.
fn claim_of_sandbox(facts: &OciFacts, is_accepted: bool) -> IdentityClaim {
    let said = oci::identify(facts);
    IdentityClaim {
        source: ClaimSource::File(facts.source.clone()),
        by: Authority::Root,
        container_id: None,
        pod: said.names_pod().then(|| pod(said, None)),
        is_accepted,
    }
}

/// Whether a user or another container claims a container that may belong to root: root's files contain it, or could
/// not be read in time. For such a claim, root's files are read only where their path contains the id.
fn may_be_stolen(claim: &Claim<'_>, evidence: &Evidence) -> bool {
    let has_it = evidence.oci.as_ref().is_some_and(|files| files.owner == Some(0));
    !claim.speaker.by.is_trusted() && (has_it || evidence.oci_not_read)
}

/// Whether a claim was refused, or names a different container from the claim that is believed.
fn contradicts(
    claim: &Claim<'_>,
    first: Option<&Claim<'_>>,
    believed: Option<&Claim<'_>>,
    cgroup: Option<&str>,
) -> bool {
    let Some(believed) = believed else { return !claim.may_speak || first == Some(claim) };
    let is_below = believed.source == Source::Cgroup || claim.speaker.by.rank() > believed.speaker.by.rank();
    // A container around the innermost container of the group is no contradiction.
    let is_around = cgroup.is_some_and(|path| cgroup::names(path, &claim.id));
    claim.is_direct() && claim.id != believed.id && is_below && !is_around
}

/// The pod's uid from a control group, if no user named that group.
fn trusted_pod_uid(path: &str) -> Option<String> {
    if authority::of_cgroup(path) == Authority::Kernel { cgroup::pod_uid(path) } else { None }
}

/// The content of the container's files.
struct Files<'a> {
    facts: Option<&'a OciFacts>,
    /// The part of it that is believed.
    identity: Identity<'a>,
    /// Whether they name a pod or a container that is not believed because of their owner.
    are_refused: bool,
}

impl<'a> Files<'a> {
    fn of(facts: Option<&'a OciFacts>, first: Option<&Claim<'_>>, believed: Option<&Claim<'_>>) -> Self {
        let said = facts.map(oci::identify).unwrap_or_default();
        let none = Self { facts, identity: Identity::default(), are_refused: false };
        match (said.id, first) {
            // The files belong to another container.
            (Some(found), Some(claim)) if found != claim.id => none,
            _ if facts.is_some_and(|facts| facts.owner.is_some_and(|owner| owner != 0)) => Self {
                identity: if believed.is_some() { said.of_user() } else { Identity::default() },
                are_refused: said.names_pod() || believed.is_none(),
                ..none
            },
            // These are root's files for an id that a user claims.
            (_, Some(_)) if believed.is_none() => none,
            _ => Self { identity: said, ..none },
        }
    }

    /// The content of the files as a claim.
    fn claim(&self, is_pod_accepted: bool) -> Option<IdentityClaim> {
        let facts = self.facts?;
        let said = oci::identify(facts);
        Some(IdentityClaim {
            source: ClaimSource::File(facts.source.clone()),
            by: match facts.owner {
                Some(0) | None => Authority::Root,
                Some(uid) => Authority::User(uid),
            },
            container_id: said.id.map(str::to_owned),
            pod: said.names_pod().then(|| pod(said, None)),
            is_accepted: !self.are_refused && is_pod_accepted && self.identity != Identity::default(),
        })
    }
}

fn identity_claim(claim: &Claim<'_>, is_accepted: bool) -> IdentityClaim {
    IdentityClaim {
        source: match claim.source {
            Source::Cgroup => ClaimSource::Cgroup,
            Source::Runtime | Source::CreatingMonitor | Source::ReapingMonitor | Source::Shim => {
                ClaimSource::Arguments
            }
        },
        by: claim.speaker.by,
        container_id: Some(claim.id.clone().into_owned()),
        pod: None,
        is_accepted,
    }
}

/// Adds the pod that the control group names to the group's claim about the container.
fn of_cgroup(claims_made: &mut Vec<IdentityClaim>, cgroup: Option<&str>, pod_uid: Option<&String>) {
    let Some(uid) = pod_uid else { return };
    let pod = Some(pod(Identity::default(), Some(uid.clone())));
    match claims_made.iter_mut().find(|claim| claim.source == ClaimSource::Cgroup) {
        Some(claim) => claim.pod = pod,
        None => claims_made.push(IdentityClaim {
            source: ClaimSource::Cgroup,
            by: Authority::Kernel,
            container_id: cgroup.and_then(cgroup::container).map(|named| named.id.into_owned()),
            pod,
            is_accepted: true,
        }),
    }
}

/// The container, with the facts that its files add.
fn container(
    id: &str,
    believed: Option<&Claim<'_>>,
    identity: Identity<'_>,
    cgroup: Option<&str>,
    runtime: Option<&Runtime>,
) -> Container {
    // The group of another container does not say which engine manages this one.
    let in_cgroup = cgroup.and_then(cgroup::container).filter(|named| named.id == id);
    // A program that has only a runtime's name does not say it either, if a trusted authority named the container.
    let is_trusted = believed.is_none_or(|claim| claim.speaker.by.is_trusted());
    let made = runtime.filter(|runtime| !runtime.is_unverified || !is_trusted);
    Container {
        id: id.to_owned(),
        name: identity.container.or(believed.and_then(|claim| claim.name)).map(str::to_owned),
        runtime: in_cgroup
            .and_then(|named| named.manager)
            .or(identity.engine)
            .map(str::to_owned)
            .or_else(|| made.map(|runtime| runtime.name.clone())),
    }
}

/// The pod from the container's files. Its uid may also come from the control group.
fn orchestrator(identity: Identity<'_>, pod_uid: Option<String>) -> Option<Orchestrator> {
    (identity.names_pod() || pod_uid.is_some()).then(|| pod(identity, pod_uid))
}

fn pod(identity: Identity<'_>, uid: Option<String>) -> Orchestrator {
    Orchestrator {
        kind: "kubernetes",
        namespace: identity.namespace.map(str::to_owned),
        pod_name: identity.pod.map(str::to_owned),
        pod_uid: identity.uid.map(str::to_owned).or(uid),
    }
}
