//! A real `nats-server` with `JetStream`, in a directory of its own.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use async_nats::{
    ConnectOptions,
    jetstream::{
        self,
        consumer::{AckPolicy, pull},
        context::ContextBuilder,
    },
};
use futures_util::{StreamExt, TryStreamExt};
use rustix::process::Signal;
use serde_json::Value;
use supervisor_lab::{Owned, until};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{WAIT_LIMIT, end_by, freeze};

/// How long one list of keys may take before it is asked for again.
const ANSWER: Duration = Duration::from_secs(10);

/// The server. It is killed, and all that it kept removed, when this is dropped.
#[derive(Debug)]
pub struct Broker {
    process: Option<Owned>,
    dir: TempDir,
    port: u16,
    config: String,
}

/// A message of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its subject.
    pub subject: String,
    /// Its `Nats-Msg-Id`.
    pub id: String,
    /// What it says.
    pub payload: Value,
}

impl Broker {
    /// Starts one that lets everybody in.
    pub fn start() -> Result<Self> {
        Self::with(|_| Ok(String::new()))
    }

    /// Starts one with more configuration, which may lie in files of its directory.
    pub fn with(config: impl FnOnce(&Path) -> Result<String>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let config = config(dir.path())?;
        let mut broker = Self { process: None, dir, port: 0, config };
        broker.restart()?;
        Ok(broker)
    }

    /// Starts it again, on the same port and with what it kept, unless it runs.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let at = self.dir.path();
        let port = if self.port == 0 { "-1".to_owned() } else { self.port.to_string() };
        let (file, ports) = (at.join("nats.conf"), at.join("ports"));
        fs::create_dir_all(&ports)?;
        fs::write(
            &file,
            format!(
                "listen: \"127.0.0.1:{port}\"\nports_file_dir: \"{}\"\njetstream {{ store_dir: \"{}\" }}\n{}\n",
                ports.display(),
                at.join("store").display(),
                self.config
            ),
        )?;
        let log = fs::File::options().create(true).append(true).open(at.join("log"))?;
        let mut command = Command::new(program()?);
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut process = Owned::start(&mut command)?;
        let told = ports.join(format!("nats-server_{}.ports", process.pid()));
        let url: String = until("nats-server to listen", WAIT_LIMIT, || {
            if let Some(status) = process.child().try_wait()? {
                bail!("nats-server ended with {status}: {}", fs::read_to_string(at.join("log"))?);
            }
            let told: Option<Value> =
                fs::read(&told).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            Ok(told.and_then(|told| Some(told.pointer("/nats/0")?.as_str()?.to_owned())))
        })?;
        self.port = url.rsplit(':').next().context("no port")?.parse()?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it without giving it a chance to do anything.
    pub fn kill(&mut self) -> Result<()> {
        end_by(Signal::KILL, &mut self.process, WAIT_LIMIT)
    }

    /// Kills it, takes all away that it kept, and starts it again.
    pub fn wipe(&mut self) -> Result<()> {
        self.kill()?;
        fs::remove_dir_all(self.dir.path().join("store"))?;
        self.restart()
    }

    /// Stops it: it accepts connections and says nothing, until it is told to go on.
    pub fn freeze(&mut self) -> Result<()> {
        freeze(self.process.as_mut().context("the broker does not run")?)
    }

    /// Lets it go on.
    pub fn thaw(&mut self) -> Result<()> {
        self.process.as_mut().context("the broker does not run")?.signal(Signal::CONT)
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its requests.
    pub async fn jetstream(&self) -> Result<jetstream::Context> {
        let options = ConnectOptions::new().connection_timeout(WAIT_LIMIT).request_timeout(Some(WAIT_LIMIT));
        let client = options.connect(self.url()).await?;
        Ok(ContextBuilder::new().timeout(WAIT_LIMIT).build(client))
    }

    /// All messages of a stream, in order.
    pub async fn stored(&self, stream: &str) -> Result<Vec<Stored>> {
        let stream = self.jetstream().await?.get_stream(stream).await?;
        let consumer = stream
            .create_consumer(pull::Config { ack_policy: AckPolicy::None, ..Default::default() })
            .await?;
        let mut stored = Vec::new();
        let mut pending = consumer.cached_info().num_pending;
        while pending > 0 {
            let mut batch = consumer.fetch().max_messages(500).messages().await?;
            while let Some(message) = batch.next().await {
                let message = message.map_err(anyhow::Error::from_boxed)?;
                pending = message.info().map_err(anyhow::Error::from_boxed)?.pending;
                let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
                stored.push(Stored {
                    subject: message.subject.to_string(),
                    id: id.map(ToString::to_string).unwrap_or_default(),
                    payload: serde_json::from_slice(&message.payload)?,
                });
            }
        }
        Ok(stored)
    }

    /// Those of these keys that have a value in a bucket. Other keys may be written meanwhile.
    pub async fn kept(
        &self,
        bucket: &str,
        keys: impl IntoIterator<Item = String>,
    ) -> Result<HashSet<String>> {
        let bucket = self.jetstream().await?.get_key_value(bucket).await?;
        let mut kept = HashSet::new();
        for key in keys {
            if bucket.get(key.as_str()).await?.is_some() {
                kept.insert(key);
            }
        }
        Ok(kept)
    }

    /// The keys of a bucket that have a value, in order.
    pub async fn keys(&self, bucket: &str) -> Result<Vec<String>> {
        let bucket = self.jetstream().await?.get_key_value(bucket).await?;
        // The client waits for ever for a key that is written or purged while it lists them.
        let deadline = Instant::now() + WAIT_LIMIT;
        while Instant::now() < deadline {
            let keys = async { Ok::<Vec<String>, anyhow::Error>(bucket.keys().await?.try_collect().await?) };
            if let Ok(keys) = timeout(ANSWER, keys).await {
                let mut keys = keys?;
                keys.sort();
                return Ok(keys);
            }
        }
        bail!("the keys of the bucket could not be listed")
    }
}

/// Where the program is.
fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian has it where only root looks.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|dir| dir.join("nats-server"))
        .find(|file| file.is_file())
        .context("nats-server is missing: install the package of that name")
}
