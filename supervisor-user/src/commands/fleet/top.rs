//! The source of `supervisor top --from`: all nodes, as in the last answer of the broker.

use std::time::Duration;

use anyhow::Result;
use jiff::tz::TimeZone;
use supervisor_deliver::{
    fleet::{Fleet, FleetArgs, FleetRow, read},
    nats::{BucketKey, Link},
};
use supervisor_model::{filter::Filter, words::clean};
use supervisor_render::columns::named;
use tokio::{sync::mpsc, time::sleep};

use crate::{
    nodes::list::host,
    top::{Top, id},
};

/// How often the task asks the broker.
const ASK: Duration = Duration::from_secs(2);

/// The broker's answer, or the reason why there is none.
type Answer = Result<Fleet, String>;

/// All nodes, and the task that asks for them.
pub(in crate::commands) struct Nodes {
    place: String,
    fleet: Fleet,
    answers: mpsc::Receiver<Answer>,
}

impl Nodes {
    /// Starts the task that asks the broker, in the event loop of the caller.
    ///
    /// # Errors
    ///
    /// If the broker's address is not valid.
    pub(in crate::commands) fn new(args: &FleetArgs, filter: &Filter) -> Result<Self> {
        args.access().addresses()?;
        let (sender, answers) = mpsc::channel(1);
        tokio::spawn(ask(args.clone(), filter.clone(), sender));
        Ok(Self { place: args.access().places(), fleet: Fleet::default(), answers })
    }

    /// The last answer.
    pub(in crate::commands) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Processes the next answer, if there is one.
    pub(in crate::commands) fn tick(&mut self, screen: &mut Top) {
        match self.answers.try_recv() {
            // No answer yet: the task ends only with `self`.
            Err(_) => {}
            Ok(Err(error)) => screen.trouble = Some(format!("{}; trying again", clean(&error))),
            Ok(Ok(fleet)) => {
                let (all, stale) = (fleet.hosts.len(), fleet.stale().count());
                screen.source = format!("{all} nodes, {stale} stale  {}", self.place);
                screen.trouble = Some(fleet.left_out().join("; ")).filter(|text| !text.is_empty());
                for (line, finding) in changes(&self.fleet, &fleet) {
                    screen.line(line, Some(finding));
                }
                self.fleet = fleet;
            }
        }
    }
}

/// One line for each finding that has opened or closed between the two answers, with the id of the finding.
fn changes(before: &Fleet, now: &Fleet) -> Vec<(String, String)> {
    let at = now.now.to_zoned_datetime(TimeZone::system()).strftime("%T").to_string();
    let only_in = |one: &Fleet, other: &Fleet, what: &str| -> Vec<(String, String)> {
        let keys = one.rows.iter().filter(|(key, _)| !other.rows.contains_key(*key));
        let line = |(key, row): (&BucketKey, &FleetRow)| {
            let process = &row.document.process;
            let line = format!("{at}  {what}  {} on {}", named(&process.name, process.pid), host(one, key));
            (line, id(key))
        };
        keys.map(line).collect()
    };
    [only_in(now, before, "OPEN  "), only_in(before, now, "CLOSED")].concat()
}

/// Asks the broker repeatedly, until nobody receives the answers any more.
async fn ask(args: FleetArgs, filter: Filter, answers: mpsc::Sender<Answer>) {
    let mut link = None;
    loop {
        let answer = async {
            let link = match &mut link {
                Some(link) => link,
                none => none.insert(Link::open(&args.access(), "supervisor top", args.answer()).await?),
            };
            read(link, &args, &filter, true).await
        };
        let answer = answer.await;
        if answer.is_err() {
            link = None;
        }
        let answer = answer.map_err(|error| error.to_string());
        if answers.send(answer.and_then(|it| it.ok_or_else(|| args.no_bucket()))).await.is_err() {
            return;
        }
        sleep(ASK).await;
    }
}
