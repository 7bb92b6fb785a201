//! Writes the whole story of one process or PID namespace: the verdict first, then the consequences, then the evidence.

use std::fmt::Write as _;

use supervisor_model::{
    diagnosis::{Diagnosis, Prognosis},
    finding::{BlockedNamespace, Finding},
    words::{clean, command_line, duration, width, wrap},
};

use super::{
    columns::{Column, unknown},
    groups::Group,
    sentence::block,
};
use crate::{
    parts::{
        Lines, blocker_lines, budget, creator_line, headline, pid_ns_line, place, place_of, reaper_lines,
    },
    style::Style,
};

const INDENT: &str = "  ";
/// The widest command line in the tree, and the least width that it keeps in a narrow terminal.
const COMMAND_WIDTH: usize = 72;
const NARROW_COMMAND: usize = 12;
/// The word for a process that does nothing wrong.
const ALIVE: &str = "ALIVE";
const MUST: &str = "  ◄ must reap";

/// The story of a process, dead or alive.
#[must_use]
pub fn process(finding: &Finding, style: Style) -> String {
    at(finding, None, finding.looked_ns, style)
}

/// The same story some time after the inspection. The time since the exit counts to `now_ns`; the evidence is that of
/// the inspection.
#[must_use]
pub fn process_at(finding: &Finding, now_ns: u64, style: Style) -> String {
    at(finding, None, now_ns, style)
}

/// The zombies that a reaper holds.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The findings that have it as their reaper, in groups.
    pub groups: &'a [Group<'a>],
    /// The diagnosis of the first finding of the first group, in full.
    pub worst: &'a Diagnosis,
}

/// The story of a process that must reap others, with the zombies that it holds.
#[must_use]
pub fn reaper(finding: &Finding, held: Held<'_>, style: Style) -> String {
    at(finding, Some(held), finding.looked_ns, style)
}

fn at(finding: &Finding, held: Option<Held<'_>>, now_ns: u64, style: Style) -> String {
    let mut story = Story { out: String::new(), style };
    let word = match (finding.state, finding.is_exiting) {
        _ if finding.ending.is_some() => "EXITING",
        ('Z', _) if finding.threads.iter().all(|thread| !thread.is_live()) => "UNREAPED",
        ('Z', _) => "THREADS RUN",
        (_, true) => "EXITING",
        _ => ALIVE,
    };
    let ago = |at_ns| duration(now_ns.saturating_sub(at_ns));
    let told_ns = finding.ending.as_ref().and_then(|ending| ending.since_ns);
    let since = match (finding.exit_ns, told_ns) {
        (Some(exit_ns), _) => format!("  {} ago", ago(exit_ns)),
        (None, Some(told_ns)) => format!("  told to exit {} ago", ago(told_ns)),
        (None, None) if finding.is_exiting => "  when is not known".to_owned(),
        (None, None) => String::new(),
    };
    let how = if finding.is_exiting { headline(finding) } else { subject(finding) };
    story.headline(word, &format!("{how}{since}{}", place_of(finding)));
    story.verdict(&finding.diagnosis);
    if word != ALIVE {
        story.judgement(&finding.diagnosis);
    }
    if !finding.blocks.is_empty() {
        story.title("What it blocks");
        for held in &finding.blocks {
            story.item("- ", &block(finding, held));
        }
    }
    story.holds(finding, held.map_or(&[], |held| held.groups));
    match held.and_then(|held| Some((held.groups.first()?.first(), held.worst))) {
        // The stories of the other findings give their own verdicts and advice.
        Some((first, worst)) if word == ALIVE => story.why_it_stays(first, worst),
        _ => story.advice(&finding.diagnosis, ""),
    }
    if let Some(text) = finding.budget.as_ref().and_then(budget) {
        story.title("What it costs");
        story.item("- ", &format!("pids: {text}"));
    }
    story.title("Where it comes from");
    story.tree(finding);
    if let Some(reaper) = &finding.reaper {
        story.title(if word == ALIVE { "Who must reap it once it exits" } else { "Who must reap it" });
        for line in reaper_lines(reaper, finding.looked_ns) {
            story.item("", &line);
        }
    }
    story.place(finding);
    story.evidence(&finding.diagnosis);
    style.shown(story.out)
}

/// The story of a PID namespace that cannot end.
#[must_use]
pub fn namespace(namespace: &BlockedNamespace, style: Style) -> String {
    namespace_at(namespace, namespace.init.looked_ns, style)
}

/// The same story some time after the inspection.
#[must_use]
pub fn namespace_at(namespace: &BlockedNamespace, now_ns: u64, style: Style) -> String {
    let mut story = Story { out: String::new(), style };
    let ino = namespace.init.pid_ns.as_ref().map(|ns| ns.ino.to_string()).unwrap_or_default();
    let since = match namespace.init.exit_ns {
        Some(exit_ns) => format!("  {} ago", duration(now_ns.saturating_sub(exit_ns))),
        None => String::new(),
    };
    let init = &namespace.init;
    story.headline("BLOCKED", &format!("PID namespace {ino} of {}{since}{}", headline(init), place_of(init)));
    story.verdict(&namespace.diagnosis);
    story.judgement(&namespace.diagnosis);
    story.advice(&namespace.diagnosis, "");
    story.title("What holds it");
    for line in blocker_lines(&namespace.blockers) {
        story.item("- ", &line);
    }
    story.place(&namespace.init);
    story.evidence(&namespace.diagnosis);
    style.shown(story.out)
}

fn subject(finding: &Finding) -> String {
    format!("{}[{}]", clean(&finding.process.name), finding.process.pid)
}

struct Story {
    out: String,
    style: Style,
}

impl Story {
    fn line(&mut self, text: &str) {
        let _infallible = writeln!(self.out, "{text}");
    }

    /// The first line, wrapped.
    fn headline(&mut self, word: &str, text: &str) {
        let mut lines = String::new();
        let rest = " ".repeat(width(word) + 2);
        if rest.len() + width(text) > self.style.columns {
            wrap(&mut lines, text, &rest, &rest, self.style.columns);
        } else {
            lines = format!("{rest}{text}\n");
        }
        // The word is painted only now, so that its colour takes no columns.
        let word = self.style.colour.paint("1;31", word);
        let _infallible = write!(self.out, "{word}  {}", &lines[rest.len()..]);
    }

    fn title(&mut self, text: &str) {
        let text = self.style.colour.paint("1", text);
        let _infallible = writeln!(self.out, "\n{text}");
    }

    fn item(&mut self, bullet: &str, text: &str) {
        let rest = format!("{INDENT}{}", " ".repeat(bullet.chars().count()));
        wrap(&mut self.out, text, &format!("{INDENT}{bullet}"), &rest, self.style.columns);
    }

    /// Adds the verdict.
    fn verdict(&mut self, diagnosis: &Diagnosis) {
        self.out.push('\n');
        let mut cited = String::new();
        for observed in diagnosis.evidence.iter().filter(|it| it.cited) {
            let _infallible = write!(cited, "[{}]", observed.id);
        }
        self.item("", &format!("{}. {cited}", diagnosis.verdict));
    }

    /// Adds the prognosis, the confidence and the family of a verdict.
    fn judgement(&mut self, diagnosis: &Diagnosis) {
        let family = diagnosis.family.map_or_else(
            || "no family fits".to_owned(),
            |family| {
                format!(
                    "{family} {}; `supervisor explain --family {family}`, docs/families.md#{}",
                    family.name(),
                    family.anchor()
                )
            },
        );
        let prognosis = match diagnosis.prognosis {
            Prognosis::Leaked => "It will not go away by itself. ",
            Prognosis::Late => "It will go away by itself. ",
            Prognosis::Unknown if diagnosis.cause.is_some() => {
                "Whether it will go away by itself is not known. "
            }
            Prognosis::Unknown => "",
        };
        self.item("", &format!("{prognosis}Confidence {}; {family}", diagnosis.confidence.as_str()));
    }

    /// Adds the processes that a reaper has not reaped, by cause.
    fn holds(&mut self, finding: &Finding, groups: &[Group<'_>]) {
        if groups.is_empty() {
            return;
        }
        let count: usize = groups.iter().map(Group::count).sum();
        let pid = finding.process.pid;
        self.title("What it must reap");
        self.item("", &format!("{count} unreaped; `supervisor ps --reaper {pid}` lists them:"));
        for group in groups {
            let oldest = group.oldest(finding.looked_ns);
            let oldest = if oldest == unknown() { String::new() } else { format!(", the oldest {oldest}") };
            let blocks = group.cell(Column::Blocks, 0);
            let blocks = if blocks == unknown() { String::new() } else { format!(", blocks {blocks}") };
            let one = group.first().process.pid;
            let (count, why) = (group.count(), group.why());
            self.item("- ", &format!("{count}: {why}{oldest}{blocks}; why: `supervisor explain {one}`"));
        }
    }

    /// Adds verdict and advice for the worst of the processes that a reaper has not reaped.
    fn why_it_stays(&mut self, first: &Finding, worst: &Diagnosis) {
        let first = subject(first);
        self.title(&format!("Why {first} stays"));
        self.item("", &format!("{}.", worst.verdict));
        self.judgement(worst);
        self.advice(worst, &format!(" about {first}"));
    }

    /// Adds the advice. `about` ends the titles.
    fn advice(&mut self, diagnosis: &Diagnosis, about: &str) {
        for (title, items) in
            [("What to do", &diagnosis.remedies), ("What will not help", &diagnosis.wont_help)]
        {
            if !items.is_empty() {
                self.title(&format!("{title}{about}"));
                for item in items {
                    self.item("- ", item);
                }
            }
        }
    }

    /// Adds the creators from the oldest to the process itself, each below the one that forked it.
    fn tree(&mut self, finding: &Finding) {
        let reaper = finding.reaper.as_ref().map(|reaper| reaper.process.pid);
        if finding.creators.is_empty() {
            self.branch(
                0,
                "a creator that was not seen: no `supervisor watch` was running yet when it was forked",
            );
        }
        for (depth, creator) in finding.creators.iter().rev().enumerate() {
            let is_reaper = reaper == Some(creator.process.pid) && !creator.gone;
            let must = if is_reaper { MUST } else { "" };
            // The text before the command takes its columns first.
            let room = self.room(depth, &format!("{}{must}", creator_line(creator, 1)));
            self.branch(depth, &format!("{}{must}", creator_line(creator, room)));
        }
        let depth = finding.creators.len().max(1);
        let command = if finding.executed == Some(false) {
            "executed nothing of its own".to_owned()
        } else {
            let room = self.room(depth, &format!("{}  ", subject(finding)));
            command_line(&finding.process.args, finding.process.args_cut, room)
        };
        let name = self.style.colour.paint("1", &subject(finding));
        let gap = if command.is_empty() { "" } else { "  " };
        self.branch(depth, &format!("{name}{gap}{command}"));
    }

    /// How many columns are left for a command at this depth, beside the other text.
    fn room(&self, depth: usize, others: &str) -> usize {
        let used = INDENT.len() + 3 * depth + width(others);
        self.style.columns.saturating_sub(used).clamp(NARROW_COMMAND, COMMAND_WIDTH)
    }

    fn branch(&mut self, depth: usize, text: &str) {
        let stroke = if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) };
        self.line(&format!("{INDENT}{stroke}{text}"));
    }

    fn place(&mut self, finding: &Finding) {
        // These lines have a smaller indent here.
        let less = Lines::INDENT - INDENT.len();
        let mut lines = Lines::new("", Style { columns: self.style.columns + less, ..Style::PLAIN });
        place(&mut lines, finding);
        if let Some(cgroup) = &finding.cgroup {
            lines.add("cgroup", &clean(cgroup));
        }
        if let Some(ns) = &finding.pid_ns {
            let own = finding.container.as_ref().map(|container| &container.id);
            let others: Vec<String> =
                ns.containers.iter().filter(|id| Some(*id) != own).map(|id| clean(id)).collect();
            if !others.is_empty() {
                lines.add("shares", &format!("{} with {}", pid_ns_line(ns, None), others.join(", ")));
            }
        }
        self.title("Where it lives");
        for line in lines.out.lines().skip(1) {
            self.line(&line[less..]);
        }
    }

    fn evidence(&mut self, diagnosis: &Diagnosis) {
        self.title("Evidence");
        for observed in &diagnosis.evidence {
            self.item(
                &format!("[{}] ", observed.id),
                &format!("{} ({})", observed.text, clean(&observed.source)),
            );
        }
    }
}
