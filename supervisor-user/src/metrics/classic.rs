//! Prometheus' text format 0.0.4, made from the `OpenMetrics` text.
//!
//! They differ in what the comments say: there the type of a counter is that of its samples' name, with `_total`, and
//! units and an end are unknown.

use std::fmt::Write as _;

/// Rewrites the comments; the samples stay. Metric names of the registry are `[a-z_]+`, and help is one line.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len() + text.len() / 8);
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // Which name it is for depends on the type, which follows.
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
    fn counters_are_named_by_their_samples() {
        let text = "# HELP a_b Help with words.\n# TYPE a_b counter\na_b_total{k=\"# x\"} 1\n\
                    # HELP c_seconds C.\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 0.5\n# EOF\n";
        assert_eq!(
            from_open_metrics(text),
            "# HELP a_b_total Help with words.\n# TYPE a_b_total counter\na_b_total{k=\"# x\"} 1\n\
             # HELP c_seconds C.\n# TYPE c_seconds gauge\nc_seconds 0.5\n"
        );
    }
}
