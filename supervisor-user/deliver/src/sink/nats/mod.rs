//! NATS `JetStream`: events to a stream that acknowledges them, the open findings to a key-value bucket, and a
//! heartbeat that says that this host still reports.

mod bucket;
pub(super) mod fit;
mod session;
mod tidying;

use std::{collections::HashSet, future::pending, time::Duration};

use supervisor_model::facts::HostIdentity;
use tokio::time::{Instant, sleep_until};

use self::session::{Made, Place, Session};
use super::{Delivered, Message, SinkError, warn};
use crate::{config::NatsConfig, nats::Access};

/// A heartbeat that could not be sent is tried again after this.
const RETRY: Duration = Duration::from_secs(2);

/// The sink. It connects when it has something to say, and anew after any trouble.
#[derive(Debug)]
pub struct NatsSink {
    place: Place,
    session: Option<Session>,
    /// The bucket of the last session.
    bucket: Option<Made>,
    /// Whether that one has not all that this host has written.
    is_list_lost: bool,
    /// Events wait that could not be delivered: no heartbeat may say that all is well.
    is_stuck: bool,
    /// Whether the last heartbeat or delivery failed.
    is_down: bool,
    next_beat: Instant,
    next_tidy: Instant,
}

impl NatsSink {
    /// Where events of this host go. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// If the configuration cannot be right. That no broker is there now is no error.
    pub fn open(config: &NatsConfig, cluster: &str, host: &HostIdentity) -> Result<Self, SinkError> {
        if let Some((key, cause)) = config.problem() {
            return Err(SinkError::unavailable("NATS", format!("{key}: {cause}")));
        }
        let place = Place::new(config, Access::from(config), cluster, host);
        Ok(Self {
            place,
            session: None,
            bucket: None,
            is_list_lost: false,
            is_stuck: false,
            is_down: false,
            next_beat: Instant::now(),
            next_tidy: Instant::now(),
        })
    }

    /// Sends a batch. What it counts was acknowledged by the broker: each event by the stream, and the change that
    /// it makes to the open findings by the bucket. What is no news changes the bucket only.
    ///
    /// While events cannot be delivered no heartbeat is sent, so that the node turns stale.
    pub async fn deliver(&mut self, batch: &[Message]) -> Delivered {
        let mut count = 0;
        let result = self.send(batch, &mut count).await;
        self.is_stuck = if batch.is_empty() { self.is_stuck } else { count < batch.len() };
        if result.is_err() {
            self.session = None;
            self.is_down = true;
        }
        Delivered { count, error: result.err() }
    }

    /// Says every now and then that this host still reports; never ends. It may be dropped at any time.
    pub async fn serve(&mut self) {
        loop {
            if self.is_stuck {
                // Until a delivery says that this is over.
                return pending().await;
            }
            sleep_until(self.next_beat).await;
            if let Err(error) = self.beat().await {
                // Once: without events nobody would be told that this host does not report. A failed delivery is told
                // by who asked for it.
                if !std::mem::replace(&mut self.is_down, true) {
                    warn(&format!("no heartbeat is sent: {error}; it is tried again"));
                }
                self.session = None;
                self.next_beat = Instant::now() + RETRY.min(self.place.heartbeat());
            }
        }
    }

    /// Removes this host's findings from the bucket that are not open any more, and returns the ids of open ones that
    /// it does not have. What an earlier boot has left is removed without being asked: this is for a start without
    /// the list of what was open, after closes or openings were dropped, and after [`NatsSink::take_list_lost`].
    ///
    /// # Errors
    ///
    /// If the broker is not there or refuses it.
    pub async fn retain(&mut self, open: &HashSet<String>) -> Result<Vec<String>, SinkError> {
        let result = match self.session().await {
            Ok((session, place)) => session.retain(place, open).await,
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.session = None;
        }
        result
    }

    /// Whether the bucket had to be made, or is another one than before, since this was asked last: then it does not
    /// have what this host has written, and wants the whole list of open findings again.
    pub fn take_list_lost(&mut self) -> bool {
        std::mem::take(&mut self.is_list_lost)
    }

    /// Whether the last heartbeat or delivery failed.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.is_down
    }

    async fn send(&mut self, batch: &[Message], count: &mut usize) -> Result<(), SinkError> {
        self.beat().await?;
        let mut sent = 0;
        while sent < batch.len() {
            let next_beat = self.next_beat;
            let is_stuck = self.is_stuck;
            let (session, place) = self.session().await?;
            // Each flight is landed before the next heartbeat, so that no batch is too long for one.
            let end = if is_stuck { Instant::now() + place.heartbeat() } else { next_beat };
            let flight = session.fly(place, &batch[sent..], end, count).await?;
            if flight > 0 {
                self.is_stuck = false;
                self.is_down = false;
            }
            sent += flight;
            self.beat().await?;
        }
        Ok(())
    }

    /// A heartbeat, if it is time for one and events can be delivered, and what else has to be done at times.
    async fn beat(&mut self) -> Result<(), SinkError> {
        if self.is_stuck || Instant::now() < self.next_beat {
            return Ok(());
        }
        let (session, place) = self.session().await?;
        session.beat(place).await?;
        self.next_beat = Instant::now() + self.place.heartbeat();
        if Instant::now() >= self.next_tidy {
            let (session, place) = self.session().await?;
            session.tidy(place).await?;
            self.next_tidy = Instant::now() + session.tidy_after();
        }
        self.is_down = false;
        Ok(())
    }

    /// The session there is, if it is still alive, or else a new one.
    async fn session(&mut self) -> Result<(&Session, &Place), SinkError> {
        let alive = self.session.take().filter(Session::is_alive);
        let session = if let Some(session) = alive {
            session
        } else {
            let session = Session::open(&self.place).await?;
            let made = session.made();
            self.is_list_lost |= made.is_new || self.bucket.is_some_and(|last| last.at != made.at);
            self.bucket = Some(made);
            session
        };
        Ok((self.session.insert(session), &self.place))
    }
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
