//! Identifiers that other tools can join on.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The OCSF Common Process ID of a Linux process: `UUIDv8` over the SHA-256 of boot id, PID-namespace inode,
/// start time in clock ticks and pid in that namespace, in native byte order
/// (the `specification.md` of ocsf/common-process-id).
///
/// `None` if the boot id is no UUID.
#[must_use]
pub fn common_process_id(boot_id: &str, pid_ns: u32, start_ticks: u64, vpid: u32) -> Option<Uuid> {
    let boot = Uuid::parse_str(boot_id).ok()?;
    let digest = Sha256::new()
        .chain_update(boot.as_bytes())
        .chain_update(u64::from(pid_ns).to_ne_bytes())
        .chain_update(start_ticks.to_ne_bytes())
        .chain_update(i64::from(vpid).to_ne_bytes())
        .finalize();
    uuid_v8(&digest)
}

/// The id of a finding about a process. `kind` is `zombie`, `namespace` for the PID namespace whose init the process is,
/// or `exit` for a process that cannot exit; then `entity` is the id of its zombie finding. A process is unreaped only once, so the id of the finding follows from the id of the process.
#[must_use]
pub fn finding_id(kind: &str, entity: &str) -> String {
    let digest = Sha256::new()
        .chain_update(b"supervisor ")
        .chain_update(kind)
        .chain_update(b" ")
        .chain_update(entity)
        .finalize();
    uuid_v8(&digest).map(|id| id.to_string()).unwrap_or_default()
}

/// The id of one run of the agent. It follows from the boot, the pid of the agent and its start time. It needs no
/// random numbers, because early in a boot there are none yet.
#[must_use]
pub fn agent_id(boot_id: &str, pid: u32, started_ns: u64) -> String {
    let digest = Sha256::new()
        .chain_update(b"supervisor agent ")
        .chain_update(boot_id)
        .chain_update(pid.to_ne_bytes())
        .chain_update(started_ns.to_ne_bytes())
        .finalize();
    uuid_v8(&digest).map(|id| id.to_string()).unwrap_or_default()
}

fn uuid_v8(digest: &[u8]) -> Option<Uuid> {
    Some(uuid::Builder::from_custom_bytes(digest.get(..16)?.try_into().ok()?).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_process_id_is_a_uuid_v8_of_its_input() {
        let id = |vpid| common_process_id("10eeaa35-0119-41d7-857a-9fed44d468e7", 4_026_531_836, 1234, vpid);
        let one = id(7).expect("valid boot id");
        assert_eq!(one.get_version_num(), 8);
        assert_eq!(Some(one), id(7));
        assert_ne!(Some(one), id(8));
        // Computed apart from this code, with Python's hashlib over the 40 bytes of the specification.
        assert_eq!(one.to_string(), "b8c816b3-fc15-8752-bf91-ad2611649c5f");
        assert_eq!(common_process_id("nonsense", 1, 1, 1), None);
    }
}
