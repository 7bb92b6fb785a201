//! Time that a cycle of work takes longer while somebody traces.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    contender::{Contender, Running},
    load::Load,
    progress,
};

/// The kinds of work: what it is called, what the load is told, how many it then does.
const WORK: [(&str, &str, u32); 3] = [
    ("vfork + _exit + waitpid", "vfork 5000", 5000),
    ("fork + exec + exit + wait", "exec 100", 100),
    ("getppid", "getppid 500000", 500_000),
];

/// Each contender with each kind of work, in pairs: without it, with it.
pub(crate) fn measure(rounds: usize) -> Result<Value> {
    let mut load = Load::start(true)?;
    let mut pairs = vec![vec![Vec::new(); WORK.len()]; Contender::ALL.len()];
    for round in 1..=rounds {
        progress(&format!("cycles, round {round} of {rounds}"));
        for (contender, pairs) in Contender::ALL.into_iter().zip(&mut pairs) {
            let bare = all_work(&mut load)?;
            let running = Running::start(contender, &mut load)?;
            let traced = all_work(&mut load)?;
            running.stop()?;
            for ((bare, traced), pairs) in bare.into_iter().zip(traced).zip(pairs) {
                pairs.push((bare, traced));
            }
        }
    }
    let mut rows = Vec::new();
    for (contender, pairs) in Contender::ALL.into_iter().zip(pairs) {
        for ((work, _, _), pairs) in WORK.into_iter().zip(pairs) {
            let best = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).fold(f64::MAX, f64::min);
            let bare = best(|it| it.0);
            let added = pairs.iter().map(|it| it.1 - it.0).collect();
            rows.push(json!({
                "contender": contender.name(),
                "work": work,
                "bare_ns": bare,
                "added_ns": best(|it| it.1) - bare,
                "added_ns_median_of_pairs": median(added),
            }));
        }
    }
    Ok(Value::Array(rows))
}

/// How often each is tried.
const TRIES: usize = 5;

/// Each kind of work, in ns a cycle; the best of some tries, since nothing makes it faster than it is.
fn all_work(load: &mut Load) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for (_, words, count) in WORK {
        let mut best = f64::MAX;
        for _ in 0..TRIES {
            best = best.min(load.run(words)?.took.as_nanos() as f64 / f64::from(count));
        }
        times.push(best);
    }
    Ok(times)
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
