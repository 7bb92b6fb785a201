//! Counts over the last minute: findings by prognosis, blocked PID namespaces, and the zombies that each reaper holds.

use std::collections::{HashMap, VecDeque};

use supervisor_model::diagnosis::Prognosis;

use super::{
    Blocked,
    groups::Group,
    item::{Age, Item},
};

/// A trend covers this time.
const COVERED_NS: u64 = 60_000_000_000;
/// At most this many reapers have a trend. A host usually has fewer reapers; the limit bounds the memory if it has
/// more.
const MAX_REAPERS: usize = 1000;

/// A count at one time.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at_ns: u64,
    /// Findings that began while `top` was running.
    new: u64,
    /// Findings that began before. `top` finds them one after the other, so a higher number of them is no growth.
    old: u64,
}

/// The counts of the covered time.
#[derive(Clone, Debug, Default)]
pub(super) struct Trend(VecDeque<Sample>);

impl Trend {
    /// Adds a count. `before_ns` is the time of the count before: an empty trend starts there with zero.
    fn add(&mut self, before_ns: u64, sample: Sample) {
        if self.0.is_empty() {
            self.0.push_back(Sample { at_ns: before_ns, new: 0, old: 0 });
        }
        self.0.push_back(sample);
        while self.0.len() > 2 && sample.at_ns.saturating_sub(self.0[0].at_ns) > COVERED_NS {
            self.0.pop_front();
        }
    }

    /// The growth within the last minute.
    pub(super) fn change(&self) -> i64 {
        let Some((first, last)) = self.0.front().zip(self.0.back()) else { return 0 };
        let fewer_old = (last.old as i64 - first.old as i64).min(0);
        last.new as i64 - first.new as i64 + fewer_old
    }

    /// The counts, the oldest first.
    pub(super) fn counts(&self) -> impl ExactSizeIterator<Item = u64> {
        self.0.iter().map(|sample| sample.new + sample.old)
    }

    fn is_zero(&self) -> bool {
        self.counts().all(|count| count == 0)
    }
}

/// All trends.
#[derive(Debug, Default)]
pub(super) struct Trends {
    /// Blocked PID namespaces.
    pub(super) blocked: Trend,
    /// Zombies that stay.
    pub(super) leaked: Trend,
    /// Zombies that will be reaped.
    pub(super) late: Trend,
    reapers: HashMap<String, Trend>,
    began_ns: Option<u64>,
    last_ns: u64,
}

impl Trends {
    /// Adds the present counts to all trends.
    pub(super) fn take(&mut self, now_ns: u64, items: &[Item], groups: &[Group], blocked: &[Blocked]) {
        let began_ns = *self.began_ns.get_or_insert_with(|| {
            self.last_ns = now_ns;
            now_ns
        });
        let count = |ages: &mut dyn Iterator<Item = Age>| {
            let mut sample = Sample { at_ns: now_ns, ..Sample::default() };
            for age in ages {
                let is_new = age.is_within(now_ns.saturating_sub(began_ns));
                *(if is_new { &mut sample.new } else { &mut sample.old }) += 1;
            }
            sample
        };
        let of = |prognosis| items.iter().filter(move |it| it.prognosis == prognosis).map(|it| it.age);
        let before_ns = self.last_ns;
        self.blocked.add(before_ns, count(&mut blocked.iter().map(|it| it.age)));
        self.leaked.add(before_ns, count(&mut of(Prognosis::Leaked)));
        self.late.add(before_ns, count(&mut of(Prognosis::Late)));
        let mut gone: Vec<&str> = Vec::new();
        let held: HashMap<&str, &Group> = groups.iter().map(|group| (&*group.label, group)).collect();
        for (label, trend) in &mut self.reapers {
            if !held.contains_key(&**label) {
                trend.add(before_ns, count(&mut std::iter::empty()));
                gone.extend(trend.is_zero().then_some(&**label));
            }
        }
        let gone: Vec<String> = gone.into_iter().map(str::to_owned).collect();
        for label in gone {
            self.reapers.remove(&label);
        }
        for (label, group) in held {
            let sample = count(&mut group.members.iter().map(|&index| items[index].age));
            if let Some(trend) = self.reapers.get_mut(label) {
                trend.add(before_ns, sample);
            } else if self.reapers.len() < MAX_REAPERS {
                self.reapers.entry(label.to_owned()).or_default().add(before_ns, sample);
            }
        }
        self.last_ns = now_ns;
    }

    /// The trend of a reaper, if it is kept.
    pub(super) fn of_reaper(&self, label: &str) -> Option<&Trend> {
        self.reapers.get(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn add(trend: &mut Trend, at_s: u64, new: u64, old: u64) {
        trend.add((at_s - 1) * S, Sample { at_ns: at_s * S, new, old });
    }

    #[test]
    fn findings_that_began_before_top_are_no_growth() {
        let mut trend = Trend::default();
        add(&mut trend, 1, 0, 200);
        add(&mut trend, 2, 1, 300);
        assert_eq!(trend.change(), 1);
        assert_eq!(trend.counts().collect::<Vec<_>>(), [0, 200, 301]);
        add(&mut trend, 3, 1, 300);
        assert_eq!(trend.change(), 1);
    }

    #[test]
    fn findings_that_end_are_counted_whatever_their_age() {
        let mut trend = Trend::default();
        add(&mut trend, 1, 0, 300);
        for at_s in 2..70 {
            add(&mut trend, at_s, 0, 300);
        }
        add(&mut trend, 70, 2, 290);
        assert_eq!(trend.change(), 2 - 10);
    }

    #[test]
    fn a_trend_covers_one_minute() {
        let mut trend = Trend::default();
        for at_s in 1..=100 {
            add(&mut trend, at_s, at_s, 0);
        }
        assert_eq!(trend.change(), 60);
        assert_eq!(trend.counts().len(), 61);
    }
}
