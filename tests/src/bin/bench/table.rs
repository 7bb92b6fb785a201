//! The results as tables, which are Markdown and can be read as they are.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{bars::row, contender::Contender};

/// All that was measured.
pub(crate) fn of(result: &Value) -> String {
    let mut text = String::new();
    let machine = &result["machine"];
    let _infallible = writeln!(
        text,
        "{} of {}, {} CPUs, Linux {}; medians of {} pairs\n",
        machine["date"].as_str().unwrap_or_default(),
        machine["cpu"].as_str().unwrap_or("an unknown CPU"),
        machine["cpus"],
        machine["kernel"].as_str().unwrap_or_default(),
        result["rounds"]
    );
    for part in [cycles(result), cost(result), hooks(result), latency(result), growth(result), bars(result)] {
        text.push_str(&part.unwrap_or_default());
    }
    text
}

/// Columns that line up, with the first to the left.
fn table(title: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..head.len())
        .map(|at| {
            rows.iter()
                .map(|row| row[at].chars().count())
                .chain([head[at].chars().count()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let cell = |(at, (cell, width)): (usize, (&str, &usize))| {
            if at == 0 { format!(" {cell:<width$} ") } else { format!(" {cell:>width$} ") }
        };
        let cells: Vec<String> = cells.into_iter().zip(&widths).enumerate().map(cell).collect();
        format!("|{}|\n", cells.join("|"))
    };
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(
            |(at, width)| if at == 0 { "-".repeat(width + 2) } else { format!("{}:", "-".repeat(width + 1)) },
        )
        .collect();
    let mut text = format!("{title}\n\n{}|{}|\n", line(head.to_vec()), rule.join("|"));
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text + "\n"
}

fn number(value: &Value, digits: usize) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn cycles(result: &Value) -> Option<String> {
    let rows = result["cycles"].as_array()?;
    let mut text = String::new();
    let mut works: Vec<&str> = rows.iter().filter_map(|it| it["work"].as_str()).collect();
    works.dedup();
    works.truncate(3);
    for work in works {
        let of = |contender| row(&result["cycles"], contender, |it| it["work"] == work);
        let own = of(Contender::Supervisor)?["added_ns"].as_f64()?;
        let floor = of(Contender::Floor)?["added_ns"].as_f64()?;
        let lines: Vec<Vec<String>> = Contender::ALL
            .into_iter()
            .filter_map(|contender| Some((contender, of(contender)?)))
            .map(|(contender, row)| {
                let (bare, added) =
                    (row["bare_ns"].as_f64().unwrap_or(0.0), row["added_ns"].as_f64().unwrap_or(0.0));
                let times = |of: f64| {
                    if of > 0.0 && added > 0.0 { format!("{:.1}", added / of) } else { "-".to_owned() }
                };
                vec![
                    contender.name().to_owned(),
                    format!("{bare:.0}"),
                    format!("{added:.0}"),
                    format!("{} to {}", number(&row["added_ns_from"], 0), number(&row["added_ns_to"], 0)),
                    format!("{:.1} %", added / bare * 100.0),
                    times(floor),
                    times(own),
                ]
            })
            .collect();
        let head =
            ["", "bare ns", "added ns", "half of the pairs", "of bare", "x empty programs", "x supervisor"];
        text += &table(&format!("**{work}**"), &head, &lines);
    }
    Some(text)
}

fn cost(result: &Value) -> Option<String> {
    let rows = result["cost"].as_array()?;
    let mut names: Vec<&str> = rows.iter().filter_map(|it| it["contender"].as_str()).collect();
    names.dedup();
    let percent = |name: &str, fits: &dyn Fn(&Value) -> bool| {
        let row = rows.iter().find(|it| it["contender"] == name && fits(it));
        row.map_or_else(|| "-".to_owned(), |it| format!("{:.2} %", it["cpu_percent"].as_f64().unwrap_or(0.0)))
    };
    let lines: Vec<Vec<String>> = names
        .into_iter()
        .map(|name| {
            let mut line = vec![name.to_owned(), percent(name, &|it| it["idle"] == true)];
            for leaks in [false, true] {
                for rate in [1000, 5000, 0] {
                    line.push(percent(name, &move |it| it["leaks"] == leaks && it["wanted_rate"] == rate));
                }
            }
            let idle = rows.iter().find(|it| it["contender"] == name && it["idle"] == true);
            line.push(idle.map_or_else(String::new, |it| number(&it["resident_kib"], 0)));
            line
        })
        .collect();
    let head =
        ["", "idle", "1,000/s", "5,000/s", "full", "1,000/s, 1 % leaked", "5,000/s, 1 %", "full, 1 %", "KiB"];
    let full = rows.iter().find(|it| it["wanted_rate"] == 0 && it["leaks"] == false)?;
    let title = format!(
        "**CPU of the tool's own process**, of a core; full speed is {} exits a second",
        number(&full["exits_per_second"], 0)
    );
    let agent = &result["agent"];
    let agent = format!(
        "An agent with every kind of sink on: {} % of a core at {} healthy exits a second, {} KiB.\n\n",
        number(&agent["cpu_percent"], 2),
        number(&agent["exits_per_second"], 0),
        number(&agent["resident_kib"], 0)
    );
    Some(table(&title, &head, &lines) + &agent)
}

fn hooks(result: &Value) -> Option<String> {
    let lines: Vec<Vec<String>> = result["hooks"]
        .as_array()?
        .iter()
        .map(|it| {
            vec![
                it["program"].as_str().unwrap_or_default().to_owned(),
                it["runs"].to_string(),
                number(&it["ns_per_run"], 0),
            ]
        })
        .collect();
    let memory = &result["kernel_memory"];
    let mib = memory["map_bytes"].as_f64()? / f64::from(1 << 20);
    let told = &memory["doctor_mib"];
    let text = table("**Each hook** (bpf_stats, which adds to each run)", &["", "runs", "ns a run"], &lines);
    Some(text + &format!("Kernel maps: {mib:.1} MiB; doctor says at most {told} MiB.\n\n"))
}

fn latency(result: &Value) -> Option<String> {
    let it = result["latency"].as_object()?;
    let beyond = &it["beyond_grace_ms"];
    Some(format!(
        "**Latency** with {} living processes and {} exits a second: a zombie is told {} ms after its grace period (median), \
         {} ms at the 99th percentile of {}, {} ms at most. The first finding after a start comes {} ms later than the grace \
         period.\n\n",
        it["living"],
        number(&it["exits_per_second"], 0),
        number(&beyond["median"], 0),
        number(&beyond["p99"], 0),
        it["zombies"],
        number(&beyond["most"], 0),
        number(&it["first_finding_after_start_ms"], 0),
    ))
}

fn growth(result: &Value) -> Option<String> {
    let count = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |it| it.to_string());
    let lines: Vec<Vec<String>> = result["growth"]
        .as_array()?
        .iter()
        .map(|it| {
            vec![
                count(&it["living"]),
                count(&it["zombies"]),
                number(&it["told_within_seconds"], 1),
                number(&it["cpu_percent"], 2),
                number(&it["wakeups_per_second"], 1),
                number(&it["resident_kib"], 0),
                number(&it["ps_ms"], 0),
                number(&it["ps_json_ms"], 0),
            ]
        })
        .collect();
    let head =
        ["living", "open findings", "all told in s", "CPU %", "wake-ups/s", "KiB", "ps ms", "ps -o json ms"];
    Some(table("**Growth**", &head, &lines))
}

fn bars(result: &Value) -> Option<String> {
    let lines: Vec<Vec<String>> = result["bars"]
        .as_array()?
        .iter()
        .map(|it| {
            vec![
                it["what"].as_str().unwrap_or_default().to_owned(),
                number(&it["measured"], 2),
                number(&it["at_most"], 2),
                it["unit"].as_str().unwrap_or_default().to_owned(),
                if it["met"] == true { "met" } else { "MISSED" }.to_owned(),
            ]
        })
        .collect();
    Some(table("**Bars**", &["", "measured", "at most", "unit", ""], &lines))
}
