//! `supervisor watch --from`: prints the open findings of all nodes, then their events, and the nodes that go silent.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result};
use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use supervisor_deliver::{
    fleet::{Document, Filtered, FindingKind, Fleet, FleetArgs, FleetEvent, FleetReport, HostState, follow},
    say::say,
};
use supervisor_model::{filter::Filter, words::clean};
use supervisor_render::Format;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use super::{json, say_left_out, write};
use crate::{engine::block_on, exit::CommandExit};

/// With more stale nodes than this, the list drops the nodes that the bucket has forgotten.
const MAX_STALE: usize = 4096;

/// Prints the events of all nodes until it is stopped.
///
/// # Errors
///
/// If the broker cannot be read at the beginning, or standard output cannot be written.
pub(in crate::commands) fn watch(
    args: &FleetArgs,
    filter: &Filter,
    output: Format,
    limit: Option<Duration>,
) -> Result<CommandExit> {
    let place = args.access().places();
    let mut printer = ReportPrinter {
        stream: args.stream(),
        place: &place,
        filter,
        output,
        stale: BTreeSet::new(),
        foreign: 0,
    };
    block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
        tokio::select! {
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            () = sleep(limit.unwrap_or_default()), if limit.is_some() => Ok(()),
            result = follow(args, filter, |report| printer.report(report)) => {
                result.with_context(|| format!("cannot watch NATS {place}"))
            }
        }
    })?;
    if printer.foreign > 1 {
        say(&format!("supervisor: {} events of another format were left out", printer.foreign));
    }
    Ok(CommandExit::Ok)
}

/// Prints messages, and remembers which nodes it has reported as stale.
struct ReportPrinter<'a> {
    stream: &'a str,
    place: &'a str,
    filter: &'a Filter,
    output: Format,
    /// Nodes that were reported as stale.
    stale: BTreeSet<(String, String)>,
    /// Events that could not be filtered.
    foreign: u64,
}

impl ReportPrinter<'_> {
    /// Prints one message. Returns false if nobody reads standard output any more.
    fn report(&mut self, report: FleetReport<'_>) -> Result<bool> {
        let place = self.place;
        match report {
            FleetReport::Begun => {
                say(&format!("watching stream {} at NATS {place}; Ctrl-C ends it", self.stream));
            }
            FleetReport::Trouble(error) => {
                say(&format!("supervisor: NATS {place}: {}; trying again", clean(&error.to_string())));
            }
            FleetReport::Dropped(count) => say(&format!(
                "supervisor: NATS {place}: {count} events of stream {} are not reported: the broker has dropped them",
                self.stream
            )),
            FleetReport::Open(fleet) => {
                say_left_out(fleet);
                return Ok(self.open(fleet)? && self.hosts(fleet)?);
            }
            FleetReport::Hosts(fleet) => return self.hosts(fleet),
            FleetReport::Event(event) => return self.event(&event),
        }
        Ok(true)
    }

    /// Prints the findings that are open at the beginning: in text as events, in JSON as the unchanged documents.
    fn open(&self, fleet: &Fleet) -> Result<bool> {
        if self.output == Format::Ocsf {
            if !fleet.rows.is_empty() {
                say(&format!(
                    "supervisor: {} findings are open, and kept in ECS only: `supervisor ps --from` lists them",
                    fleet.rows.len()
                ));
            }
            return Ok(true);
        }
        for (key, row) in &fleet.rows {
            let action = match row.document.supervisor.finding.kind {
                FindingKind::Zombie => "zombie-existing",
                FindingKind::Namespace => "namespace-blocked",
                FindingKind::Exit => "exit-blocked",
            };
            let payload = row.raw.as_deref().unwrap_or_default();
            let event =
                FleetEvent { cluster: &key.cluster, host: &key.host, action, stored: row.stored, payload };
            if let Some(line) = line(&event, self.output)
                && !write(&line)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reports each node that has gone silent or reports again, once for each change.
    fn hosts(&mut self, fleet: &Fleet) -> Result<bool> {
        // A heartbeat can be missing once, if it is replaced while all are read. So a missing node alone means nothing.
        if self.stale.len() > MAX_STALE {
            self.stale.retain(|key| fleet.hosts.contains_key(key));
        }
        for (key, host) in &fleet.hosts {
            let name = &host.name;
            let (action, message) = match host.state {
                HostState::Reports if self.stale.remove(key) => {
                    ("node-reports", format!("node {name} reports again"))
                }
                HostState::Stale { last } if self.stale.insert(key.clone()) => {
                    let since = last.map_or_else(
                        || "and has never reported".to_owned(),
                        |last| format!("since {}", time(last)),
                    );
                    ("node-stale", format!("node {name} is stale {since}"))
                }
                HostState::Reports | HostState::Stale { .. } => continue,
            };
            if self.output != Format::Text {
                say(&clean(&format!("supervisor: cluster {}: {message}", key.0)));
            } else if !write(&text(fleet.now, &key.0, &key.1, action, &message))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn event(&mut self, event: &FleetEvent<'_>) -> Result<bool> {
        match Document::look(event.payload, self.filter) {
            Filtered::Wanted => line(event, self.output).map_or(Ok(true), |line| write(&line)),
            Filtered::Unwanted => Ok(true),
            Filtered::Unknown => {
                self.foreign += 1;
                if self.foreign == 1 {
                    say(&format!(
                        "supervisor: events of {}/{} are in another format than ECS and cannot be filtered: they are left out",
                        clean(event.cluster),
                        clean(event.host)
                    ));
                }
                Ok(true)
            }
        }
    }
}

/// An event as a line; `None` if it has none in this format.
fn line(event: &FleetEvent<'_>, output: Format) -> Option<String> {
    /// Fields of an event. Both formats have the message. ECS has a time as text under this name, OCSF has another
    /// time.
    #[derive(Default, Deserialize)]
    struct Headline {
        #[serde(rename = "@timestamp")]
        at: Option<Timestamp>,
        message: Option<String>,
    }
    if output != Format::Text {
        return json(event.payload);
    }
    let headline = serde_json::from_slice::<Headline>(event.payload).unwrap_or_default();
    let message = headline.message.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(event.payload);
        text.lines().next().unwrap_or_default().to_owned()
    });
    Some(text(headline.at.unwrap_or(event.stored), event.cluster, event.host, event.action, &message))
}

fn text(at: Timestamp, cluster: &str, host: &str, action: &str, message: &str) -> String {
    let [cluster, host, action, message] = [cluster, host, action, message].map(clean);
    format!("{}  {cluster}/{host}  {action}  {message}\n", time(at))
}

fn time(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::system()).strftime("%F %T").to_string()
}
