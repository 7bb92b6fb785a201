//! Converts the `OpenMetrics` text to Prometheus' text format 0.0.4.
//!
//! The two formats differ in their comments. In format 0.0.4, the type of a counter has the name of its samples, with
//! `_total`. Units and an end mark do not exist there.

use std::fmt::Write as _;

/// Rewrites the comments and keeps the samples. Metric names of the registry are `[a-z_]+`, and a help text is one
/// line.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len() + text.len() / 8);
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // The metric name depends on the type, which follows in the next line.
            help = rest.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            let help = help.take().unwrap_or_default();
            let _infallible = writeln!(classic, "# HELP {name}{total} {help}\n# TYPE {name}{total} {kind}");
        } else if !line.starts_with('#') {
            classic.push_str(line);
            classic.push('\n');
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_the_name_of_their_samples() {
        let text = "# HELP a_b Help with words.\n# TYPE a_b counter\na_b_total{k=\"# x\"} 1\n\
                    # HELP c_seconds C.\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 0.5\n# EOF\n";
        assert_eq!(
            from_open_metrics(text),
            "# HELP a_b_total Help with words.\n# TYPE a_b_total counter\na_b_total{k=\"# x\"} 1\n\
             # HELP c_seconds C.\n# TYPE c_seconds gauge\nc_seconds 0.5\n"
        );
    }
}
