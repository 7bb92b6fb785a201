//! Tests how often the verdicts of each confidence are right: see `cargo xtask verdicts`.

use std::path::Path;

use anyhow::{Result, ensure};
use supervisor_model::diagnosis::Confidence;

mod calibration;

#[test]
fn high_confidence_is_right_in_95_percent_and_medium_in_75() -> Result<()> {
    let rows = calibration::rows(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings"))?;
    let unjudged: Vec<_> = rows.iter().filter(|row| row.is_right.is_none()).collect();
    ensure!(unjudged.is_empty(), "truth.json has no entry for {unjudged:#?}");
    for (confidence, least) in [(Confidence::High, 95), (Confidence::Medium, 75)] {
        let (right, all) = calibration::share(&rows, confidence);
        ensure!(all > 0, "no verdict is of {} confidence", confidence.as_str());
        let table = calibration::table(&rows);
        ensure!(right * 100 >= all * least, "{}: {right} of {all}\n{table}", confidence.as_str());
    }
    Ok(())
}
