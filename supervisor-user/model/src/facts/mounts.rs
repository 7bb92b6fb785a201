//! Mounts of file systems that another program or another host serves.

use serde::{Deserialize, Serialize};

/// A mount of such a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteMount {
    /// Its type, such as `fuse.sshfs` or `nfs4`.
    pub fs_type: String,
    /// The source of the mount, as the mount table names it.
    pub source: String,
    /// The mount point, as the thread sees it.
    pub mount_point: String,
    /// Number of its connection in `/sys/fs/fuse/connections`, if it is FUSE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u32>,
    /// Requests that the FUSE server has not answered, if that can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
}

impl RemoteMount {
    /// Whether it is FUSE.
    #[must_use]
    pub fn is_fuse(&self) -> bool {
        is_fuse(&self.fs_type)
    }
}

/// Whether a file system of that type is FUSE.
#[must_use]
pub fn is_fuse(fs_type: &str) -> bool {
    matches!(fs_type, "fuse" | "fuseblk" | "virtiofs") || fs_type.starts_with("fuse.")
}
