//! What is to be said of the zombie that a fixture makes.

use anyhow::{Result, ensure};

use crate::{Event, Fixture, Watch, finding_of};

/// A fixture that says `zombie pid=…` and lets go of it when it is told to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Case<'a> {
    /// Its arguments.
    pub args: &'a [&'a str],
    /// The family of the zombie.
    pub family: &'a str,
    /// What the fixture calls the pid of the parent; it is the parent itself if this is empty.
    pub reaper: &'a str,
    /// What the verdict names, besides the parent.
    pub verdict: &'a [&'a str],
    /// What the remedies, or what will not help, name.
    pub advice: &'a [&'a str],
}

impl Case<'_> {
    /// The name of its recording: the family, and the arguments up to a path or an option.
    fn recording(&self) -> String {
        let words = self.args.iter().take_while(|it| !it.starts_with(['/', '-']));
        words.fold(self.family.to_lowercase(), |name, word| format!("{name}-{word}"))
    }

    /// Runs `program`, a fixture, under a watch: the zombie is found, diagnosed, and gone when it is let go.
    pub fn check(&self, program: &str) -> Result<()> {
        let mut watch = Watch::recorded(&self.recording())?;
        let mut fixture = Fixture::start(program, self.args)?;
        let fact = fixture.fact("zombie")?;
        let pid = fact.pid("pid")?;
        watch.keep(&[pid]);
        let reaper = if self.reaper.is_empty() { fixture.pid() } else { fact.pid(self.reaper)? };
        let found = watch.wait_for("the zombie", |event| event.says("zombie-detected", pid))?;
        ensure!(found.pid("supervisor.reaper.pid")? == reaper, "the parent is {reaper}: {}", found.0);

        fixture.send("release")?;
        fixture.fact("released")?;
        watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
        fixture.end()?;
        let outcome = watch.stop()?;
        finding_of(&outcome.events, pid)?;
        self.compare(&found)
    }

    /// Whether a finding says what it should.
    pub fn compare(&self, found: &Event) -> Result<()> {
        let family = found.text("supervisor.family.id")?;
        ensure!(family == self.family, "{:?} is {}, not {family}: {}", self.args, self.family, found.0);
        ensure!(found.text("supervisor.confidence")? != "low", "it is not sure: {}", found.0);
        let verdict = found.text("supervisor.verdict")?;
        let (name, pid) = (found.text("supervisor.reaper.name")?, found.pid("supervisor.reaper.pid")?);
        for word in [name, &pid.to_string()].iter().chain(self.verdict) {
            ensure!(verdict.contains(word), "{word} is not in the verdict: {verdict}");
        }
        let lists = ["supervisor.remedies", "supervisor.wont_help"].map(|name| found.get(name));
        let advice: String = lists.into_iter().flatten().map(ToString::to_string).collect();
        for word in self.advice {
            ensure!(advice.contains(word), "{word} is not in the advice: {advice}");
        }
        Ok(())
    }
}
