//! Time that a cycle of work takes longer while somebody traces.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    contender::{Contender, Running},
    load::Load,
    progress,
};

/// The kinds of work: what it is called, what the load is told, how many it then does: some ten milliseconds of it.
const WORK: [(&str, &str, u32); 3] = [
    ("vfork + _exit + waitpid", "vfork 500", 500),
    ("fork + exec + exit + wait", "exec 20", 20),
    ("getppid", "getppid 50000", 50_000),
];
/// How often each is tried at a time.
const TRIES: usize = 40;

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
    for (contender, pairs) in Contender::ALL.into_iter().zip(&pairs) {
        for ((work, _, _), pairs) in WORK.into_iter().zip(pairs) {
            let added: Vec<f64> = pairs.iter().map(|(bare, traced)| traced - bare).collect();
            rows.push(json!({
                "contender": contender.name(),
                "work": work,
                "bare_ns": median(pairs.iter().map(|it| it.0).collect()),
                "added_ns": median(added.clone()),
                "added_ns_from": quantile(added.clone(), 0.25),
                "added_ns_to": quantile(added, 0.75),
            }));
        }
    }
    Ok(Value::Array(rows))
}

/// Each kind of work, in ns a cycle: what a fifth of the tries are below. What else the machine does makes some longer,
/// and nothing makes one shorter than it is.
fn all_work(load: &mut Load) -> Result<Vec<f64>> {
    let work = WORK.into_iter().map(|(_, words, count)| {
        let tries = (0..TRIES).map(|_| Ok(load.run(words)?.took.as_nanos() as f64 / f64::from(count)));
        Ok(quantile(tries.collect::<Result<_>>()?, 0.2))
    });
    work.collect()
}

/// The middle one.
pub(crate) fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

fn quantile(mut values: Vec<f64>, of: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
    let at = (values.len() as f64 * of) as usize;
    values.get(at).copied().unwrap_or_default()
}
