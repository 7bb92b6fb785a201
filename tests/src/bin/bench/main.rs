//! What `supervisor watch` costs, next to the alternatives and to programs that do nothing: one call measures all of
//! them on this machine, in pairs with the bare machine.

#![expect(clippy::cast_precision_loss, reason = "times and counts are far from 2^52")]

mod bars;
mod commands;
mod contender;
mod cost;
mod cycles;
mod growth;
mod latency;
mod leaks;
mod load;
mod measure;
mod plot;
mod table;
mod top;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::json;
use supervisor_tests::supervisor_bin;

/// Measures, prints tables and the bars, and writes the same as JSON and as a plot.
#[derive(Parser)]
struct Args {
    /// Where `bench.json` and `bench.svg` go
    #[arg(long)]
    out: PathBuf,
    /// How many pairs each median is of
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Time that a cycle takes longer.
    Cycles,
    /// CPU time of the tool's own process, and ns of each hook.
    Cost,
    /// How fast it finds.
    Latency,
    /// How cost grows.
    Growth,
    /// How long commands take.
    Commands,
    /// How soon `top` answers a key, and what it costs while nobody types.
    Top,
    /// How much longer a build takes under `leaks`.
    Leaks,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let wants = |part| args.only.is_empty() || args.only.contains(&part);
    ensure!(supervisor_bin()?.is_file(), "there is no supervisor to measure");
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let mut result = json!({"machine": measure::machine()?, "rounds": args.rounds});
    if wants(Part::Cycles) {
        result["cycles"] = cycles::measure(args.rounds as usize)?;
    }
    if wants(Part::Cost) {
        result["cost"] = cost::of_everybody()?;
        result["agent"] = cost::of_agent()?;
        result["hooks"] = cost::of_hooks()?;
        result["kernel_memory"] = cost::kernel_memory()?;
    }
    if wants(Part::Latency) {
        result["latency"] = latency::measure()?;
    }
    if wants(Part::Growth) {
        result["growth"] = growth::measure()?;
    }
    if wants(Part::Commands) {
        result["commands"] = commands::measure()?;
    }
    if wants(Part::Top) {
        result["top"] = top::measure()?;
    }
    if wants(Part::Leaks) {
        result["leaks"] = leaks::measure()?;
    }
    let bars = bars::of(&result);
    result["bars"] = json!(bars);

    fs::write(args.out.join("bench.json"), serde_json::to_string_pretty(&result)?)?;
    if let Some(plot) = plot::of(&result) {
        fs::write(args.out.join("bench.svg"), plot)?;
    }
    let tables = table::of(&result);
    fs::write(args.out.join("bench.md"), &tables)?;
    println!("{tables}");
    let missed = bars.iter().filter(|bar| bar["met"] == false).count();
    ensure!(missed == 0, "{missed} of {} bars are missed", bars.len());
    Ok(())
}

/// Says what is being done, since all of it takes minutes.
fn progress(what: &str) {
    eprintln!("bench: {what}");
}
