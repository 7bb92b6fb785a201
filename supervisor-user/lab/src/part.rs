//! A running part: it prints facts, one a line, and takes commands.

use std::{
    io::Write,
    process::{ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{
    lab::Lab,
    owned::{Lines, Owned},
    wait::LIMIT,
};

/// The process that plays a part. When this is dropped, the input of the process ends, and so does the process.
#[derive(Debug)]
pub struct Part {
    stdout: Lines,
    stdin: Option<ChildStdin>,
    process: Owned,
}

/// A line such as `zombie pid=17`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact(String);

impl Part {
    /// Starts a program that plays a part.
    pub fn start(program: &str, args: &[&str]) -> Result<Self> {
        Self::of(Command::new(program).args(args))
    }

    /// Makes this program play a part, in a process with this name.
    pub fn play(lab: &Lab, name: &str, args: &[&str]) -> Result<Self> {
        Self::of(&mut lab.actor(name, args)?)
    }

    fn of(command: &mut Command) -> Result<Self> {
        let mut process = Owned::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let child = process.child();
        let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).context("the part has no pipes")?;
        Ok(Self { stdout: Lines::of(stdout), stdin: Some(stdin), process })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The next line, which must be this fact.
    pub fn fact(&self, name: &str) -> Result<Fact> {
        let fact = self.line(name)?;
        ensure!(fact.name() == name, "the part was to say {name}, and said {}", fact.0);
        Ok(fact)
    }

    /// The next fact with this name. Facts before it are ignored.
    pub fn next(&self, name: &str) -> Result<Fact> {
        loop {
            let fact = self.line(name)?;
            if fact.name() == name {
                return Ok(fact);
            }
        }
    }

    /// All facts before the fact with this name.
    pub fn facts_until(&self, name: &str) -> Result<Vec<Fact>> {
        let mut facts = Vec::new();
        loop {
            let fact = self.line(name)?;
            if fact.name() == name {
                return Ok(facts);
            }
            facts.push(fact);
        }
    }

    /// The next line. `name` is the expected fact, for error messages.
    fn line(&self, name: &str) -> Result<Fact> {
        let line = self.stdout.next(&format!("the part to say {name}"), LIMIT)?;
        line.map(Fact).with_context(|| format!("the part ended before it said {name}"))
    }

    /// Sends a command, which makes the part go on.
    pub fn send(&mut self, word: &str) -> Result<()> {
        let mut stdin = self.stdin.as_ref().context("the part's input is closed")?;
        Ok(writeln!(stdin, "{word}")?)
    }

    /// Ends the part's input, and waits until the part has ended by itself, without an error.
    pub fn end(mut self) -> Result<()> {
        drop(self.stdin.take());
        let status = self.process.end(LIMIT)?;
        ensure!(status.success(), "the part ended with {status}");
        Ok(())
    }
}

impl Fact {
    /// Its first word.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }

    /// The number with this name in the fact.
    pub fn number(&self, name: &str) -> Result<u64> {
        let value = self.0.split(' ').filter_map(|it| it.split_once('=')).find(|it| it.0 == name);
        let (_, value) = value.with_context(|| format!("{name} is missing in: {}", self.0))?;
        Ok(value.parse()?)
    }

    /// The pid with this name in the fact.
    pub fn pid(&self, name: &str) -> Result<u32> {
        Ok(self.number(name)?.try_into()?)
    }
}
