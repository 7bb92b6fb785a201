//! The identity of a host and of its boot.

use serde::{Deserialize, Serialize};

/// The identity of a host and of its boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostIdentity {
    /// The content of `/etc/machine-id`, or its replacement.
    pub id: Option<String>,
    /// Host name.
    pub hostname: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Kernel release.
    pub kernel: String,
    /// Clock ticks a second of `/proc` times.
    pub ticks_per_second: u64,
}

impl HostIdentity {
    /// The same host without the values that identify it. It is for recordings that are given to other people.
    #[must_use]
    pub fn anonymous(&self) -> Self {
        let numbers =
            self.kernel.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.kernel.len());
        Self {
            id: Some("0".repeat(32)),
            hostname: "anonymous".to_owned(),
            boot_id: uuid::Uuid::nil().to_string(),
            kernel: self.kernel[..numbers].to_owned(),
            ticks_per_second: self.ticks_per_second,
        }
    }
}
