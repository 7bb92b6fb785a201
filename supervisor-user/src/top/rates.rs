//! How many unreaped processes each reaper holds, and how that has changed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

use super::Row;

/// Seconds that are remembered.
const HISTORY: usize = 60;
/// Reapers that hold nothing any more are forgotten after as many; and no more than so many are shown.
const BOUND: usize = 1000;

/// The reapers.
#[derive(Debug, Default)]
pub(super) struct Rates(BTreeMap<String, VecDeque<u64>>);

impl Rates {
    /// Takes in who holds what now: each as often as it holds one.
    pub(super) fn look(&mut self, reapers: Vec<String>) {
        let mut held: BTreeMap<String, u64> = BTreeMap::new();
        for reaper in reapers {
            *held.entry(reaper).or_default() += 1;
        }
        for (key, history) in &mut self.0 {
            history.push_back(held.remove(key).unwrap_or(0));
            if history.len() > HISTORY {
                history.pop_front();
            }
        }
        self.0.retain(|_, history| history.iter().any(|count| *count > 0));
        for (key, count) in held {
            if self.0.len() < BOUND {
                self.0.insert(key, VecDeque::from([count]));
            }
        }
    }

    /// A line for each: the process, how many it holds, how many more than a minute ago.
    pub(super) fn rows(&self) -> Vec<Row> {
        let now = |history: &VecDeque<u64>| history.back().copied().unwrap_or(0);
        let mut reapers: Vec<_> = self.0.iter().collect();
        reapers.sort_by_key(|(_, history)| Reverse(now(history)));
        reapers
            .into_iter()
            .map(|(reaper, history)| {
                let growth = now(history) as i64 - history.front().copied().unwrap_or(0) as i64;
                Row {
                    id: reaper.clone(),
                    cells: vec![reaper.clone(), now(history).to_string(), format!("{growth:+}")],
                    trend: history.iter().copied().collect(),
                }
            })
            .collect()
    }
}
