//! Knows what was true of processes, and judges what a watch has said of them.

use std::{
    collections::HashMap,
    env, fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};

use crate::{Fact, event::Event};

/// A grace period is this long.
const GRACE_NS: u64 = 1_000_000_000;
/// By how much a time stamp may differ from one that another process has taken.
const CLOCK_NS: u64 = 50_000_000;

/// A process that was a zombie, and when; nanoseconds of wall time.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its pid, which others may have had before and after it.
    pub pid: u32,
    /// It was not there before this.
    pub earliest: u64,
    /// It was a zombie by this.
    pub zombie_by: u64,
    /// It was one until this at least; `None` if it still is.
    pub reaped_from: Option<u64>,
    /// It was gone by this.
    pub reaped_by: Option<u64>,
}

/// The wall time, in nanoseconds.
pub fn wall() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos().try_into()?)
}

/// A number in the environment, by which a test runs longer or otherwise.
pub fn setting(name: &str) -> Result<Option<u64>> {
    let text = env::var(name).ok();
    text.map(|text| text.parse().with_context(|| format!("{name}={text} is no number"))).transpose()
}

/// The lives that a fixture tells by its facts `zombie` and `reaped`.
pub fn lives(facts: &[Fact]) -> Result<Vec<Life>> {
    let mut lives: Vec<Life> = Vec::new();
    let mut open: HashMap<u32, usize> = HashMap::new();
    for fact in facts {
        let (earliest, latest) = (|| fact.number("earliest"), || fact.number("latest"));
        match fact.name() {
            "zombie" => {
                let pid = fact.pid("pid")?;
                open.insert(pid, lives.len());
                let (earliest, zombie_by) = (earliest()?, latest()?);
                lives.push(Life { pid, earliest, zombie_by, reaped_from: None, reaped_by: None });
            }
            "reaped" => {
                let index = open.remove(&fact.pid("pid")?).context("reaped without being a zombie")?;
                lives[index].reaped_from = Some(earliest()?);
                lives[index].reaped_by = Some(latest()?);
            }
            _ => {}
        }
    }
    Ok(lives)
}

/// One run of a watch.
#[derive(Debug)]
pub struct Run<'a> {
    /// What it has said.
    pub events: &'a [Event],
    /// It was attached by then; nanoseconds of wall time.
    pub from: u64,
    /// It was told to end, or killed, after this.
    pub until: u64,
    /// How long it may take to tell.
    pub slack: Slack,
}

/// How long a watch may take to tell what happened.
#[derive(Debug, Clone, Copy)]
pub struct Slack {
    /// A zombie, after its grace period.
    pub found: Duration,
    /// A reap, after it.
    pub closed: Duration,
}

impl Slack {
    /// The same for both.
    #[must_use]
    pub fn both(slack: Duration) -> Self {
        Self { found: slack, closed: slack }
    }
}

/// What is right and wrong in what a run has said.
#[derive(Debug, Default)]
pub struct Judgement {
    /// Zombies that had to be found.
    pub made: usize,
    /// Zombies that were found, those included that need not have been.
    pub found: usize,
    /// Reaps that had to be told.
    pub reaped: usize,
    /// Reaps that were told.
    pub closed: usize,
    /// What had to be told, and was not.
    pub lost: Vec<String>,
    /// What was told, and is not so.
    pub wrong: Vec<String>,
    /// How long after the grace period of an exit it was told, in ascending order, where both are known.
    pub latencies: Vec<Duration>,
}

impl Judgement {
    /// Whether all is as it has to be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.lost.is_empty() && self.wrong.is_empty()
    }

    /// The latency that N % are within.
    #[must_use]
    pub fn percentile(&self, of_hundred: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(last * of_hundred / 100).copied().unwrap_or_default()
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { made, found, reaped, closed, lost, wrong, .. } = self;
        write!(
            f,
            "found {found} ({made} had to be), closed {closed} ({reaped} had to be), {} wrong, {} lost; latency beyond the \
             grace period: median {:?}, 99th percentile {:?}, most {:?}",
            wrong.len(),
            lost.len(),
            self.percentile(50),
            self.percentile(99),
            self.percentile(100)
        )?;
        for line in wrong.iter().chain(lost).take(20) {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// Judges what was said of these zombies, of their reapers' other children, and of these parents' children, none of
/// which ever is a zombie for long.
#[expect(clippy::too_many_lines, reason = "one check for each kind of event")]
pub fn judge(run: &Run<'_>, lives: &[Life], reapers: &[u32], healthy: &[u32]) -> Result<Judgement> {
    let mut judgement = Judgement::default();
    let mut by_pid: HashMap<u32, Vec<usize>> = HashMap::new();
    for (index, life) in lives.iter().enumerate() {
        by_pid.entry(life.pid).or_default().push(index);
    }
    let mut opened: HashMap<&str, usize> = HashMap::new();
    let mut is_found = vec![false; lives.len()];
    let mut is_closed = vec![false; lives.len()];
    let mut wrong = Vec::new();
    for event in run.events {
        let at = time_of(event)?;
        match event.action() {
            "zombie-detected" | "zombie-existing" => {
                let pid = event.pid("process.pid")?;
                let parent = event.pid("process.parent.pid").unwrap_or_default();
                // One pid may have been several processes', which began at different times.
                let start = nanoseconds(event.text("process.start")?)?;
                let began = |index: usize| {
                    let life = &lives[index];
                    let is_this = life.earliest <= start + CLOCK_NS && start <= life.zombie_by + CLOCK_NS;
                    is_this.then(|| (life.earliest.abs_diff(start), index))
                };
                let indices = by_pid.get(&pid).into_iter().flatten().copied();
                let life = indices.filter_map(began).min().map(|(_, index)| index);
                match life {
                    Some(index) if is_found[index] => {
                        wrong.push(format!("told twice: {}", brief(event, &lives[index])));
                    }
                    Some(index) if at < lives[index].earliest + GRACE_NS - CLOCK_NS => {
                        wrong.push(format!(
                            "told before its grace period was over: {}",
                            brief(event, &lives[index])
                        ));
                    }
                    Some(index) if lives[index].reaped_by.is_some_and(|by| at > by + CLOCK_NS) => {
                        wrong.push(format!("told when it was gone: {}", brief(event, &lives[index])));
                    }
                    Some(index) => {
                        is_found[index] = true;
                        opened.insert(event.text("supervisor.finding.id")?, index);
                        if event.get("process.end").is_some() && event.action() == "zombie-detected" {
                            let due = lives[index].zombie_by.max(run.from) + GRACE_NS;
                            judgement.latencies.push(Duration::from_nanos(at.saturating_sub(due)));
                        }
                    }
                    None if reapers.contains(&parent) || healthy.contains(&parent) => {
                        wrong.push(format!("no zombie then: {}", event.0));
                    }
                    None => {}
                }
            }
            "zombie-reaped" => {
                let Some(index) = opened.get(event.text("supervisor.finding.id")?) else { continue };
                let is_early = lives[*index].reaped_from.is_none_or(|from| at + CLOCK_NS < from);
                if is_early || std::mem::replace(&mut is_closed[*index], true) {
                    wrong.push(format!(
                        "was not reaped then, or told twice: {}",
                        brief(event, &lives[*index])
                    ));
                }
            }
            _ => {}
        }
    }
    let [slack_found, slack_closed] = [run.slack.found, run.slack.closed].map(|it| it.as_nanos() as u64);
    for ((life, is_found), is_closed) in lives.iter().zip(is_found).zip(is_closed) {
        let from = life.zombie_by.max(run.from);
        let until = life.reaped_from.unwrap_or(u64::MAX).min(run.until);
        let has_to_be_found = until.saturating_sub(from) >= GRACE_NS + slack_found;
        let has_to_be_closed = is_found && life.reaped_by.is_some_and(|by| by + slack_closed <= run.until);
        judgement.made += usize::from(has_to_be_found);
        judgement.found += usize::from(is_found);
        judgement.reaped += usize::from(has_to_be_closed);
        judgement.closed += usize::from(is_closed);
        if has_to_be_found && !is_found {
            judgement.lost.push(format!("not found: {life:?}"));
        }
        if has_to_be_closed && !is_closed {
            judgement.lost.push(format!("not closed: {life:?}"));
        }
    }
    judgement.wrong = wrong;
    judgement.latencies.sort_unstable();
    Ok(judgement)
}

/// What of an event and of the life that it is about tells whether it is right, short enough for a log that cuts.
fn brief(Event(event): &Event, life: &Life) -> String {
    let at = |pointer: &str| event.pointer(pointer).cloned().unwrap_or_default();
    format!(
        "{} at {}, pid {}, start {}, end {}, finding {}; {life:?}",
        at("/event/action"),
        at("/@timestamp"),
        at("/process/pid"),
        at("/process/start"),
        at("/process/end"),
        at("/supervisor/finding/id"),
    )
}

/// When an event happened, in nanoseconds of wall time.
pub fn time_of(event: &Event) -> Result<u64> {
    nanoseconds(event.text("@timestamp")?)
}

fn nanoseconds(stamp: &str) -> Result<u64> {
    let stamp: jiff::Timestamp = stamp.parse()?;
    Ok(stamp.as_nanosecond().try_into()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const S: u64 = 1_000_000_000;

    fn life(pid: u32, from: u64, reaped: Option<u64>) -> Life {
        let (from, reaped) = (from * S, reaped.map(|it| it * S));
        Life {
            pid,
            earliest: from,
            zombie_by: from + 1,
            reaped_from: reaped,
            reaped_by: reaped.map(|it| it + 1),
        }
    }

    fn event(action: &str, pid: u32, at: u64) -> Event {
        let stamp = |at| jiff::Timestamp::from_nanosecond(i128::from(at * S)).unwrap().to_string();
        Event(json!({
            "@timestamp": stamp(at),
            "event": {"action": action},
            "process": {"pid": pid, "start": stamp(10), "end": stamp(at), "parent": {"pid": 1}},
            "supervisor": {"finding": {"id": format!("{pid}")}},
        }))
    }

    fn judged(events: &[Event], lives: &[Life]) -> Judgement {
        let run = Run { events, from: 0, until: 100 * S, slack: Slack::both(Duration::from_secs(2)) };
        judge(&run, lives, &[1], &[]).unwrap()
    }

    #[test]
    fn what_is_right_is_counted() {
        let lives = [life(7, 10, Some(20)), life(8, 10, Some(12)), life(9, 10, None)];
        let events =
            [event("zombie-detected", 7, 11), event("zombie-detected", 9, 12), event("zombie-reaped", 7, 20)];
        let judgement = judged(&events, &lives);
        assert!(judgement.is_good(), "{judgement}");
        let Judgement { made, found, reaped, closed, .. } = judgement;
        assert_eq!((made, found, reaped, closed), (2, 2, 1, 1), "the short one need not be found");
    }

    #[test]
    fn what_is_missing_is_lost() {
        assert_eq!(judged(&[], &[life(7, 10, Some(20))]).lost.len(), 1);
        let found = [event("zombie-detected", 7, 11)];
        assert_eq!(judged(&found, &[life(7, 10, Some(20))]).lost.len(), 1, "it was never closed");
    }

    #[test]
    fn what_is_not_so_is_wrong() {
        let lives = [life(7, 10, Some(20))];
        let good = event("zombie-detected", 7, 12);
        let wrong = |events: &[Event]| judged(events, &lives).wrong.len();
        assert_eq!(wrong(&[good.clone(), good.clone()]), 1, "twice");
        assert_eq!(wrong(&[event("zombie-detected", 7, 10)]), 1, "within its grace period");
        assert_eq!(wrong(&[event("zombie-detected", 7, 30)]), 1, "it is gone");
        assert_eq!(wrong(&[event("zombie-detected", 8, 12)]), 1, "a healthy sibling");
        assert_eq!(wrong(&[good.clone(), event("zombie-reaped", 7, 15)]), 1, "not reaped yet");
        assert_eq!(wrong(&[good, event("zombie-reaped", 7, 20), event("zombie-reaped", 7, 20)]), 1, "twice");
    }
}
