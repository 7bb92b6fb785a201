//! Tests a kernel that has only the required fields: every program loads, and the facts that need other fields are
//! reported as unknown.

use anyhow::Result;
use supervisor_tests::{Fixture, Watch};

const FIXTURE: &str = env!("CARGO_BIN_EXE_fixture");

#[test]
fn without_the_fields_that_are_not_required_a_zombie_is_found_and_less_is_said_of_it() -> Result<()> {
    let mut confidences = Vec::new();
    for options in [&[][..], &["--simulate-loss", "fields=0"]] {
        let mut watch = Watch::start(options)?;
        let mut fixture = Fixture::start(FIXTURE, &["adopts"])?;
        let pid = fixture.fact("zombie")?.pid("pid")?;
        let found = watch.wait_for("the zombie", |event| event.says("zombie-detected", pid))?;
        let is_whole = options.is_empty();
        assert_eq!(found.pid("supervisor.reaper.pid")?, fixture.pid());
        assert_eq!(found.text("supervisor.family.id")?, "F1");
        assert_eq!(found.get("supervisor.reaper.is_subreaper").is_some(), is_whole, "{}", found.0);
        // The creator of this process has ended, and only the exec hook had its file.
        let gone = found.get("supervisor.creators").and_then(|it| it.get(0)).cloned().unwrap_or_default();
        assert_eq!(gone.get("gone"), Some(&true.into()), "{}", found.0);
        assert_eq!(gone.get("args").is_some(), is_whole, "{}", found.0);
        confidences.push(found.text("supervisor.confidence")?.to_owned());
        fixture.send("release")?;
        fixture.fact("released")?;
        watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
        fixture.end()?;
        watch.stop()?;
    }
    // The confidence of the first depends on the time of the reaper's last wait call. The second does not know the
    // target of that wait.
    let rank = |confidence: &str| ["low", "medium", "high"].iter().position(|it| *it == confidence);
    assert!(rank(&confidences[1]) <= rank(&confidences[0]) && confidences[1] != "high", "{confidences:?}");
    Ok(())
}
