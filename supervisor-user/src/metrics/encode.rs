//! Renders a scrape: the last snapshot, and the values that are read at that moment.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use rustix::time::{ClockId, clock_gettime};
use supervisor_collect::kernel::{MapFill, ProgramRuns};
use supervisor_deliver::sink::Stats;

use super::{Build, Snapshot, State, lock};

/// Renders the state at each scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) build: Build,
    pub(super) state: Arc<Mutex<State>>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // The engine must not wait until the text is written.
        let (snapshot, at) = {
            let state = lock(&self.state);
            (state.snapshot.clone(), state.at)
        };
        let mut out = Out(encoder);
        out.gauge(
            "build_info",
            "What runs; the value is always 1",
            None,
            [([("version", self.build.version), ("hooks", self.build.hooks)], 1u64)],
        )?;
        let age = at.elapsed().as_secs_f64();
        out.gauge(
            "tick_age",
            "Since the tracer last looked for unreaped processes",
            Some(&Unit::Seconds),
            [([], age)],
        )?;
        out.seen(&snapshot)?;
        out.findings(&snapshot)?;
        out.sinks(&snapshot.sinks)?;
        out.maps(&snapshot.maps)?;
        out.programs(&snapshot.programs)?;
        out.own()
    }
}

/// Labels: name and value.
type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// One number of a sink.
type Count = fn(&Stats) -> u64;

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counter<'a, const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (Labels<'a, N>, V)>,
    ) -> fmt::Result {
        let help = format!("{help}.");
        let mut metric = self.0.encode_descriptor(name, &help, unit, MetricType::Counter)?;
        for (labels, value) in samples {
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge<'a, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (Labels<'a, N>, V)>,
    ) -> fmt::Result {
        let help = format!("{help}.");
        let mut metric = self.0.encode_descriptor(name, &help, unit, MetricType::Gauge)?;
        for (labels, value) in samples {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// The counts of the kernel side, and the events that it could not store or report.
    fn seen(&mut self, snapshot: &Snapshot) -> fmt::Result {
        let counters = &snapshot.counters;
        for (name, help, count) in [
            ("forks", "Processes that were forked", counters.forks),
            ("thread_forks", "Threads that were created", counters.thread_forks),
            ("execs", "Execs", counters.execs),
            ("exits", "Processes that have exited", counters.exits),
            ("waits", "Wait calls", counters.waits),
            ("reaps", "Processes that were reaped", counters.frees),
            ("kills", "SIGKILLs that were sent", counters.kills),
        ] {
            self.counter(name, help, None, [([], count)])?;
        }
        let lost = [
            ("exit", counters.lost_exits),
            ("reap-event", counters.lost_events),
            ("reap", counters.lost_frees),
            ("fork", counters.lost_forks),
            ("exec", counters.lost_execs),
            ("wait", counters.lost_waits),
            ("kill", counters.lost_kills),
            ("record", counters.evicted),
        ];
        self.counter(
            "lost",
            "What the kernel side could not store or tell, or did not see",
            None,
            lost.map(|(kind, count)| ([("kind", kind)], count)),
        )?;
        let reads = [("late", snapshot.reads.late), ("skipped", snapshot.reads.skipped)];
        self.counter(
            "reads_lost",
            "Reads of other processes that took too long, or were left out for that reason",
            None,
            reads.map(|(kind, count)| ([("kind", kind)], count)),
        )?;
        let help = "Processes that read for this one, were killed, and are kept by the kernel";
        self.gauge("readers_stuck", help, None, [([], snapshot.reads.stuck)])
    }

    fn findings(&mut self, snapshot: &Snapshot) -> fmt::Result {
        let open = snapshot.open.iter().map(|([family, runtime, state], count)| {
            ([("family", family), ("runtime", runtime), ("state", state)], count)
        });
        self.gauge("open_findings", "Findings that are open", None, open)?;
        self.counter(
            "events_suppressed",
            "Events of reapers that opened too many findings, which were reported as a number only",
            None,
            [([], snapshot.suppressed)],
        )
    }

    fn sinks(&mut self, sinks: &[(String, Stats)]) -> fmt::Result {
        // Without sinks there is no sample, and a metric name without a sample is useless.
        if sinks.is_empty() {
            return Ok(());
        }
        let of_each =
            |count: Count| sinks.iter().map(move |(name, stats)| ([("sink", name.as_str())], count(stats)));
        let counters: [(_, _, Count); 4] = [
            ("sink_delivered", "Events that the sink has taken", |stats| stats.delivered),
            ("sink_dropped", "Events that were dropped because the sink was too slow or failed", |stats| {
                stats.dropped
            }),
            ("sink_failures", "Attempts to deliver to the sink that failed", |stats| stats.failures),
            ("sink_readers_cut_off", "Readers of a socket that were too slow", |stats| stats.cut_off),
        ];
        for (name, help, count) in counters {
            self.counter(name, help, None, of_each(count))?;
        }
        let help = "Events that wait for the sink, in memory or in its spool";
        self.gauge("sink_waiting_events", help, None, of_each(|stats| stats.waiting))?;
        let help = "Memory that the waiting events take, or what the spool takes on disk";
        self.gauge("sink_waiting", help, Some(&Unit::Bytes), of_each(|stats| stats.waiting_bytes))?;
        let help = "Whether the last attempt to deliver succeeded";
        self.gauge("sink_up", help, None, of_each(|stats| (stats.is_up && !stats.is_closed).into()))
    }

    fn maps(&mut self, maps: &[MapFill]) -> fmt::Result {
        if maps.is_empty() {
            return Ok(());
        }
        let known = maps.iter().filter_map(|map| Some(([("map", map.name)], map.entries?)));
        self.gauge("map_entries", "Elements of a kernel map, where they are counted", None, known)?;
        let bounds = maps.iter().map(|map| ([("map", map.name)], map.max_entries));
        self.gauge("map_max_entries", "Elements that a kernel map can hold", None, bounds)
    }

    fn programs(&mut self, programs: &[ProgramRuns]) -> fmt::Result {
        if programs.is_empty() {
            return Ok(());
        }
        let times = programs
            .iter()
            .map(|program| ([("program", program.name.as_str())], program.run_time.as_secs_f64()));
        self.counter("bpf_run_time", "Time that an eBPF program ran", Some(&Unit::Seconds), times)?;
        let runs = programs.iter().map(|program| ([("program", program.name.as_str())], program.runs));
        self.counter("bpf_runs", "Runs of an eBPF program", None, runs)
    }

    /// The resources that this process itself uses.
    fn own(&mut self) -> fmt::Result {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = Duration::new(used.tv_sec as u64, used.tv_nsec as u32).as_secs_f64();
        self.counter("cpu", "CPU time of this process", Some(&Unit::Seconds), [([], seconds)])?;
        // A value that could not be read is absent.
        let Some(bytes) = resident_bytes() else { return Ok(()) };
        self.gauge("resident_memory", "Memory of this process", Some(&Unit::Bytes), [([], bytes)])
    }
}

fn resident_bytes() -> Option<u64> {
    let statm = procfs::process::Process::myself().and_then(|myself| myself.statm()).ok()?;
    Some(statm.resident * rustix::param::page_size() as u64)
}
