//! A picture of what each contender adds and uses.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{bars::row, contender::Contender};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 26.0;
const BAR: f64 = 16.0;

/// One panel: a title, and a value for each name.
struct Panel {
    title: String,
    unit: &'static str,
    values: Vec<(&'static str, f64)>,
}

/// An SVG, if there is anything to show.
pub(crate) fn of(result: &Value) -> Option<String> {
    let value = |rows: &str, contender: Contender, field: &str, fits: &dyn Fn(&Value) -> bool| {
        Some((contender.name(), row(&result[rows], contender, fits)?[field].as_f64()?.max(0.0)))
    };
    let is_vfork = |it: &Value| it["work"] == "vfork + _exit + waitpid";
    let is_full = |it: &Value| it["wanted_rate"] == 0 && it["leaks"] == false;
    let all = Contender::ALL.into_iter();
    let cycles: Vec<_> = all.clone().filter_map(|it| value("cycles", it, "added_ns", &is_vfork)).collect();
    let cost: Vec<_> = all.filter_map(|it| value("cost", it, "cpu_percent", &is_full)).collect();
    let bare = row(&result["cycles"], Contender::Floor, is_vfork)?["bare_ns"].as_f64()?;
    let panels = [
        Panel {
            title: format!("Time added to a cycle of vfork, _exit and waitpid (bare: {bare:.0} ns)"),
            unit: "ns",
            values: cycles,
        },
        Panel {
            title: "CPU of the tool's own process, healthy exits at full speed".to_owned(),
            unit: "% of a core",
            values: cost,
        },
    ];
    let mut body = String::new();
    let mut top = 10.0;
    for panel in panels.iter().filter(|it| !it.values.is_empty()) {
        top = draw(&mut body, panel, top);
    }
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    ))
}

/// Returns where the next one begins.
fn draw(body: &mut String, panel: &Panel, top: f64) -> f64 {
    let most = panel.values.iter().map(|it| it.1).fold(f64::MIN_POSITIVE, f64::max);
    let mut y = top + 16.0;
    let _infallible = writeln!(
        body,
        "<text x=\"10\" y=\"{y}\" font-weight=\"bold\" fill=\"#24292f\">{}</text>",
        panel.title
    );
    y += 12.0;
    for (name, value) in &panel.values {
        let length = (WIDTH - LEFT - RIGHT - 40.0) * value / most;
        let colour = if *name == Contender::Supervisor.name() { "#0969da" } else { "#8c959f" };
        let digits = if most < 200.0 { 2 } else { 0 };
        let text = y + BAR - 3.0;
        let _infallible = writeln!(
            body,
            "<text x=\"{x}\" y=\"{text}\" text-anchor=\"end\" fill=\"#24292f\">{name}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
             <text x=\"{after:.1}\" y=\"{text}\" fill=\"#24292f\">{value:.digits$} {unit}</text>",
            x = LEFT - 8.0,
            after = LEFT + length + 6.0,
            unit = panel.unit,
        );
        y += ROW;
    }
    y + 10.0
}
