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

/// The times of many tries, in ns a cycle.
type Times = Vec<f64>;

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
            let all =
                |of: fn(&(Times, Times)) -> &Times| typical(pairs.iter().flat_map(of).copied().collect());
            let bare = all(|it| &it.0);
            let added = pairs.iter().map(|it| typical(it.1.clone()) - typical(it.0.clone())).collect();
            rows.push(json!({
                "contender": contender.name(),
                "work": work,
                "bare_ns": bare,
                "added_ns": all(|it| &it.1) - bare,
                "added_ns_median_of_pairs": median(added),
            }));
        }
    }
    Ok(Value::Array(rows))
}

/// Each kind of work again and again.
fn all_work(load: &mut Load) -> Result<Vec<Times>> {
    let work = WORK.into_iter().map(|(_, words, count)| {
        (0..TRIES).map(|_| Ok(load.run(words)?.took.as_nanos() as f64 / f64::from(count))).collect()
    });
    work.collect()
}

/// What a fifth of the times are below: what else the machine does makes some longer, and nothing makes one shorter than it is.
fn typical(times: Times) -> f64 {
    quantile(times, 0.2)
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
