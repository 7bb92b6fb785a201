//! NATS `JetStream`: events to a stream that acknowledges them, the open findings to a key-value bucket, and a
//! heartbeat that says that this host still reports.

mod fit;
mod session;

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::session::{Place, Session};
use super::{Delivered, Message, SinkError, warn};
use crate::{
    config::NatsConfig,
    host::HostIdentity,
    nats::{Access, token},
};

/// A heartbeat that could not be sent is tried again after this.
const RETRY: Duration = Duration::from_secs(2);

/// The sink. It connects when it has something to say, and anew after any trouble.
#[derive(Debug)]
pub struct NatsSink {
    place: Place,
    session: Option<Session>,
    next_beat: Instant,
    next_tidy: Instant,
    /// Whether it was said that heartbeats cannot be sent.
    is_told: bool,
}

impl NatsSink {
    /// Where events of this host go. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be right. That no broker is there now is no error.
    pub fn open(config: &NatsConfig, cluster: &str, host: &HostIdentity) -> Result<Self, SinkError> {
        let access = Access::from(config);
        let wrong = |source: String| SinkError::unavailable("NATS", source);
        access.addresses().map_err(|error| wrong(error.to_string()))?;
        for (key, name) in [("stream", &config.stream), ("bucket", &config.bucket)] {
            if token(name) != *name {
                return Err(wrong(format!(
                    "{key} is `{name}`: it may have 64 letters, digits, `-` and `_`, and nothing else"
                )));
            }
        }
        for (key, time) in [("heartbeat", config.heartbeat), ("ack_timeout", config.ack_timeout)] {
            if !NatsConfig::TIMES.contains(&time.0) {
                return Err(wrong(format!("{key} is {time}: it has to be from 100ms to 1h")));
            }
        }
        let place = Place::new(config, access, cluster, host);
        Ok(Self {
            place,
            session: None,
            next_beat: Instant::now(),
            next_tidy: Instant::now(),
            is_told: false,
        })
    }

    /// Sends a batch. What it counts was acknowledged by the broker: each event by the stream, and the change that
    /// it makes to the open findings by the bucket.
    pub async fn deliver(&mut self, batch: &[Message]) -> Delivered {
        let mut count = 0;
        let result = self.send(batch, &mut count).await;
        if result.is_err() {
            self.session = None;
        }
        Delivered { count, error: result.err() }
    }

    /// Says every now and then that this host still reports; never ends. It may be dropped at any time.
    pub async fn serve(&mut self) {
        loop {
            sleep_until(self.next_beat).await;
            if let Err(error) = self.beat().await {
                // Once: without events nobody would be told that this host does not report.
                if !std::mem::replace(&mut self.is_told, true) {
                    warn(&format!("no heartbeat is sent: {error}; it is tried again"));
                }
                self.session = None;
                self.next_beat = Instant::now() + RETRY.min(self.place.heartbeat());
            }
        }
    }

    /// Removes this host's findings from the bucket that are not open any more. What has happened while events
    /// could not be delivered, or in an earlier boot, is removed without being asked: this is for a start without
    /// the list of what was open, and after closes were dropped. Returns how many were removed.
    ///
    /// # Errors
    ///
    /// If the broker is not there or refuses it.
    pub async fn retain(&mut self, is_open: impl Fn(&str) -> bool) -> Result<usize, SinkError> {
        let session = session(&mut self.session, &self.place).await?;
        let result = session.clean(&self.place, |id, _| is_open(id)).await;
        if result.is_err() {
            self.session = None;
        }
        result
    }

    async fn send(&mut self, batch: &[Message], count: &mut usize) -> Result<(), SinkError> {
        self.beat().await?;
        let mut sent = 0;
        while sent < batch.len() {
            let session = session(&mut self.session, &self.place).await?;
            // Each flight is landed before the next heartbeat, so that no batch is too long for one.
            let flight = session.fly(&self.place, &batch[sent..], self.next_beat, count).await?;
            sent += flight;
            self.beat().await?;
        }
        Ok(())
    }

    /// A heartbeat, if it is time for one, and what else has to be done at times.
    async fn beat(&mut self) -> Result<(), SinkError> {
        if Instant::now() < self.next_beat {
            return Ok(());
        }
        let session = session(&mut self.session, &self.place).await?;
        session.beat(&self.place).await?;
        self.next_beat = Instant::now() + self.place.heartbeat();
        self.is_told = false;
        if Instant::now() >= self.next_tidy {
            session.tidy(&self.place).await?;
            self.next_tidy = Instant::now() + session.tidy_after();
        }
        Ok(())
    }
}

/// The session there is, if it is still alive, or else a new one.
async fn session<'a>(kept: &'a mut Option<Session>, place: &Place) -> Result<&'a mut Session, SinkError> {
    let alive = kept.take().filter(Session::is_alive);
    let session = match alive {
        Some(session) => session,
        None => Session::open(place).await?,
    };
    Ok(kept.insert(session))
}

impl From<&NatsConfig> for Access {
    fn from(config: &NatsConfig) -> Self {
        Self {
            servers: config.servers.clone(),
            credentials: config.credentials.clone(),
            user_password: config.user_password.clone(),
            tls_ca: config.tls_ca.clone(),
            tls_cert: config.tls_cert.clone(),
            tls_key: config.tls_key.clone(),
        }
    }
}
