//! The real Prometheus, scraping one target each second.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use supervisor_lab::{Lines, Owned, until};
use tempfile::TempDir;

use crate::WAIT_LIMIT;

/// The server; its data is removed when this is dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    // It goes before its data.
    _process: Owned,
    _log: Lines,
    _data: TempDir,
}

impl Prometheus {
    /// Starts it at a free port, with this target and these rules.
    pub fn start(target: SocketAddr, rules: &Path) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let config = data.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs: [{{job_name: supervisor, static_configs: [{{targets: ['{target}']}}]}}]\n",
            rules.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", data.path().join("data").display()));
        command.arg("--web.listen-address=127.0.0.1:0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Owned::start(&mut command).context("install the package prometheus")?;
        let log = Lines::of(process.child().stderr.take().context("prometheus has no pipe")?);
        let mut said = Vec::new();
        // Either comes first.
        let (mut address, mut is_ready) = (None, false);
        let address = loop {
            if let Some(address) = address.filter(|_| is_ready) {
                break address;
            }
            let Some(line) = log.next("prometheus to start", WAIT_LIMIT)? else {
                bail!("prometheus has ended at once: {}", said.join("\n"));
            };
            if line.contains("Listening on") {
                let text = line.split("address=").nth(1).unwrap_or_default();
                address = Some(text.trim().parse().with_context(|| format!("no port in: {line}"))?);
            }
            is_ready |= line.contains("ready to receive web requests");
            said.push(line);
        };
        Ok(Self { address, _process: process, _log: log, _data: data })
    }

    /// The value of an expression that gives one number; `None` if it gives none.
    pub fn query(&self, expression: &str) -> Result<Option<f64>> {
        let answer = self.api(&format!("query?query={}", percent_encoded(expression)))?;
        let results = answer["data"]["result"].as_array().with_context(|| format!("no result: {answer}"))?;
        let [ref result] = results[..] else {
            ensure!(results.is_empty(), "{expression} gives more than one number: {answer}");
            return Ok(None);
        };
        let text = result["value"][1].as_str().with_context(|| format!("no value: {answer}"))?;
        Ok(Some(text.parse()?))
    }

    /// Waits until an expression gives one number. After a scrape that failed, it gives none until the next.
    pub fn value(&self, expression: &str) -> Result<f64> {
        until(&format!("{expression} to have a value"), WAIT_LIMIT, || self.query(expression))
    }

    /// Waits until an expression has this value.
    pub fn wait_for(&self, expression: &str, value: f64) -> Result<()> {
        let mut last = None;
        let found = until(&format!("{expression} to be {value}"), WAIT_LIMIT, || {
            last = self.query(expression)?;
            Ok(last.is_some_and(|last| (last - value).abs() < 1e-9).then_some(()))
        });
        found.with_context(|| format!("it was {last:?} at last"))
    }

    /// Waits until every rule was evaluated without an error; returns how many there are.
    pub fn rules_are_evaluated(&self) -> Result<usize> {
        until("all rules to be evaluated", WAIT_LIMIT, || {
            let answer = self.api("rules")?;
            let groups =
                answer["data"]["groups"].as_array().with_context(|| format!("no groups: {answer}"))?;
            let rules: Vec<&Value> =
                groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
            let wrong = rules.iter().find(|rule| rule["health"] == "err");
            ensure!(wrong.is_none(), "a rule cannot be evaluated: {wrong:?}");
            let all = !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok");
            Ok(all.then_some(rules.len()))
        })
    }

    fn api(&self, call: &str) -> Result<Value> {
        let (_, body) = http_get(self.address, &format!("/api/v1/{call}"), "application/json")?;
        let answer: Value = serde_json::from_str(&body).with_context(|| format!("no JSON: {body}"))?;
        ensure!(answer["status"] == "success", "prometheus refuses {call}: {answer}");
        Ok(answer)
    }
}

/// The head and the body of what is at a path. `accept` is what kind is wanted.
pub fn http_get(address: SocketAddr, path: &str, accept: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(WAIT_LIMIT))?;
    // To 1.0, the answer is in one piece and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no HTTP: {answer}"))?;
    Ok((head.to_owned(), body.to_owned()))
}

/// What `promtool` says of its input: an error unless that is nothing.
pub fn promtool(args: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new("promtool");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("promtool cannot be started: install the package prometheus")?;
    child.stdin.take().context("promtool has no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "promtool {args:?} ended with {}: {said}", output.status);
    Ok(said.into_owned())
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte.into());
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
