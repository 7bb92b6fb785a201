//! Tests of processes with hostile names.

use anyhow::Result;
use supervisor_tests::{Watch, fixture};

#[test]
fn a_hostile_name_breaks_no_line_and_ends_no_watch() -> Result<()> {
    // It lives before the watch begins, so the scan reads it too.
    let mut fixture = fixture!("hostile-name", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    let mut watch = Watch::start(&[])?;
    let found = watch.wait_for("the zombie", |event| event.says("zombie-existing", pid))?;
    let name = found.text("process.name")?;
    assert!(name.contains("[31m") && name.contains('\u{fffd}'), "{name:?}");
    assert!(!found.text("message")?.contains(char::is_control));
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    watch.wait_for("its reap", |event| event.says("zombie-reaped", pid))?;
    fixture.end()?;
    watch.stop()?;
    Ok(())
}
