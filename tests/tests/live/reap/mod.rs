//! Tests of `supervisor reap`: zombies are freed, their reapers go on as before, and unsafe requests are refused.

mod announced;
mod crashes;
mod incident;
mod many;
mod matrix;
mod options;
mod refusals;
mod service;
mod soak;
mod terminal;

use std::process::{Command, Output};

use anyhow::{Result, ensure};
use supervisor_lab::zombies_of;
use supervisor_tests::{Event, Fixture, supervisor_bin};

/// The variable that says how often each case is repeated. Without it, a case runs a few times.
const TIMES: &str = "REAP_TIMES";

fn times(few: u64) -> Result<u64> {
    std::env::var(TIMES).map_or(Ok(few), |text| Ok(text.parse()?))
}

/// Runs `supervisor reap`.
fn reap(args: &[&str]) -> Result<(String, Option<i32>)> {
    let Output { stdout, stderr, status } =
        Command::new(supervisor_bin()?).arg("reap").args(args).output()?;
    Ok((String::from_utf8(stdout)? + &String::from_utf8(stderr)?, status.code()))
}

/// The audit events of `supervisor reap -o json`.
fn reap_json(args: &[&str]) -> Result<(Vec<Event>, Option<i32>)> {
    let output = Command::new(supervisor_bin()?).args(["reap", "-o", "json"]).args(args).output()?;
    let text = String::from_utf8(output.stdout)?;
    let schema = jsonschema::validator_for(&supervisor_user::schema::SchemaSubject::Ecs.schema())?;
    let events = text.lines().map(|line| {
        let value = serde_json::from_str(line)?;
        ensure!(schema.is_valid(&value), "it does not fit the schema: {line}");
        Ok(Event(value))
    });
    Ok((events.collect::<Result<Vec<Event>>>()?, output.status.code()))
}

/// Makes `reaper` wait for its zombies by the fixture, which dies at step `dies_at` unless that is 0.
fn reaps(reaper: u32, zombies: &[u32], dies_at: usize) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixture"));
    command.args(["reaps", &reaper.to_string(), &dies_at.to_string()]);
    Ok(command.args(zombies.iter().map(u32::to_string)).output()?)
}

/// Lets an interrupted reaper go on, which says whether its call did its work, and ends it.
fn continues(mut fixture: Fixture) -> Result<()> {
    fixture.send("go on")?;
    fixture.fact("continued")?;
    fixture.end()
}

/// The zombies of a process: at least this many.
fn zombies(reaper: u32, count: u64) -> Result<Vec<u32>> {
    let zombies = supervisor_lab::until("the zombies", supervisor_tests::WAIT_LIMIT, || {
        let zombies = zombies_of(reaper)?;
        Ok((zombies.len() as u64 >= count).then_some(zombies))
    })?;
    Ok(zombies.iter().map(|zombie| zombie.pid).collect())
}
