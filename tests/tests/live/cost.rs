//! Tests how much memory an agent of a healthy host uses, and how many events wake it up, with every kind of sink.
//! `cargo xtask bench` measures the CPU time.

use anyhow::Result;
use supervisor_tests::{QuietAgent, counted, fixture, resident_kib};

const PROCESSES: u64 = 100_000;

/// Zombies of other tests would wake the agent.
mod alone {
    use super::*;

    #[test]
    fn a_healthy_host_costs_30_mib_and_wakes_nobody() -> Result<()> {
        let agent = QuietAgent::start()?;
        let storm = fixture!("storm", &PROCESSES.to_string())?;
        storm.fact("done")?;
        storm.end()?;
        let memory_kib = resident_kib(agent.pid())?;
        let counted = counted(&agent.stop()?)?;
        println!("{memory_kib} KiB, {counted:?}");
        assert!(counted.exits >= PROCESSES, "it has not seen all of them: {counted:?}");
        // Each event that the kernel sends wakes the agent. Other processes of this host may have been unreaped and
        // cause some.
        assert!(counted.events < PROCESSES / 20, "healthy processes reach user space: {counted:?}");
        assert!(memory_kib < 30 * 1024, "{memory_kib} KiB");
        Ok(())
    }
}
