//! Takes over the findings that an earlier run had opened and not closed. A finding whose process was reaped meanwhile
//! is closed now.

use std::fs::File;

use anyhow::{Context as _, Result};
use supervisor_collect::{host::Proc, ledger::Was, observer::Observer};
use supervisor_deliver::say::say;
use supervisor_model::{
    clock::{self, Wall},
    facts::HostIdentity,
    observation::{Observation, Seen},
};

use super::{
    Pipeline, ended,
    open_findings::{Left, OpenFindings},
};
use crate::config::Config;

/// Closes findings that are over, hands the others to the observer, and begins to remember open findings.
pub(super) async fn take_over(
    pipeline: &mut Pipeline,
    observer: &mut Observer<Proc>,
    config: &Config,
    lock: File,
    host: &HostIdentity,
) -> Result<()> {
    let dir = &config.state_dir;
    let context = || format!("cannot use the state directory {}", dir.display());
    let mut left = Left::read(dir).with_context(context)?;
    if let Some(left) = &mut left {
        let is_same_boot = left.host.boot_id == host.boot_id;
        let mut gone = Vec::new();
        left.open.retain(|key, line| {
            let was = if key.is_namespace { Was::Stuck } else { Was::Reported };
            let stays = is_same_boot
                && if key.is_exit {
                    observer.take_over_exit(&key.id, line.exit_ns)
                } else {
                    observer.take_over(&key.id, was, line.exit_ns)
                };
            if !stays {
                gone.push((*key, *line));
            }
            stays
        });
        if !gone.is_empty() {
            say(&format!("supervisor: {} findings of the last run were over before this one", gone.len()));
        }
        for (key, line) in gone {
            let Some(observation) = left.observation(&line).with_context(context)? else { continue };
            // This is by the clock of the boot in which it was observed.
            let at_ns = observation.wall.boot_ns(Wall::now().timestamp(clock::now_ns()));
            let id = key.id;
            let seen = if key.is_exit {
                Seen::Finished { id }
            } else if key.is_namespace {
                Seen::Released { id }
            } else {
                Seen::Reaped { id, free_ns: None, release: None }
            };
            let ended = Observation { at_ns, wall: observation.wall, seen };
            for event in ended::events(&left.host, left.grace_ns, &observation, &ended, left.is_delivered) {
                pipeline.send_of(&left.host, &event).await?;
            }
        }
    }
    let grace_ns = config.grace.0.as_nanos() as u64;
    pipeline
        .remembered_by(OpenFindings::begin(dir, lock, host, grace_ns, left.as_ref()).with_context(context)?);
    Ok(())
}
