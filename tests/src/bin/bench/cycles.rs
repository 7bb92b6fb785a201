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

/// Each contender with each kind of work, in pairs: without it, before and after; and with it.
pub(crate) fn measure(rounds: usize) -> Result<Value> {
    let mut load = Load::start(true)?;
    let mut pairs = vec![vec![Vec::new(); WORK.len()]; Contender::ALL.len()];
    let mut before = all_work(&mut load)?;
    for round in 1..=rounds {
        progress(&format!("cycles, round {round} of {rounds}"));
        for (contender, pairs) in Contender::ALL.into_iter().zip(&mut pairs) {
            let running = Running::start(contender, &mut load)?;
            let traced = all_work(&mut load)?;
            running.stop()?;
            let after = all_work(&mut load)?;
            for (work, pairs) in pairs.iter_mut().enumerate() {
                pairs.push((f64::midpoint(before[work], after[work]), traced[work]));
            }
            before = after;
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

/// Each kind of work, in ns a cycle: the mean of the tries but for the longest fifth, in which the machine did something
/// else as well.
fn all_work(load: &mut Load) -> Result<[f64; WORK.len()]> {
    let mut means = [0.0; WORK.len()];
    for (mean, (_, words, count)) in means.iter_mut().zip(WORK) {
        let tries = (0..TRIES).map(|_| Ok(load.run(words)?.took.as_nanos() as f64 / f64::from(count)));
        let mut tries: Vec<f64> = tries.collect::<Result<_>>()?;
        tries.sort_by(f64::total_cmp);
        tries.truncate(TRIES * 4 / 5);
        *mean = tries.iter().sum::<f64>() / tries.len() as f64;
    }
    Ok(means)
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
