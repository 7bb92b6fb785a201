//! Formats the line that an agent prints when it begins.

use supervisor_collect::kernel::{INBOX_BYTES, map_sizes};
use supervisor_model::words::duration;

use crate::config::Config;

/// Says what is watched. If the bound of the sinks' buffers is given, it also says the bounds of the kernel maps and of
/// these buffers.
pub(super) fn begun(config: &Config, buffers: Option<u64>) -> String {
    let grace = duration(config.grace.0.as_nanos() as u64);
    let bounds = buffers.map(|bytes| {
        let kernel_bytes = INBOX_BYTES + map_sizes().iter().map(|map| map.bytes).sum::<usize>();
        let kernel_mib = kernel_bytes.div_ceil(1024 * 1024);
        let buffers_mib = bytes.div_ceil(1024 * 1024);
        format!("kernel maps are bounded to {kernel_mib} MiB, buffers of sinks to {buffers_mib} MiB; ")
    });
    format!(
        "watching for processes unreaped for {grace}: {}; {}Ctrl-C ends it",
        config.filter.describe(),
        bounds.unwrap_or_default()
    )
}
