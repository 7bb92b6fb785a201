//! NATS `JetStream`: sends events to a stream that acknowledges them, open findings to a key-value bucket, and a
//! heartbeat that says that this host still reports.

mod bucket;
mod session;
mod tidying;

use std::{collections::HashSet, future::pending, time::Duration};

use supervisor_model::facts::HostIdentity;
use tokio::time::{Instant, sleep_until};

use self::session::{Made, Place, Session};
use super::{Delivered, Message, SinkError, warn};
use crate::{config::NatsConfig, nats::Access};

/// A heartbeat that could not be sent is tried again after this time.
const RETRY: Duration = Duration::from_secs(2);

/// The sink. It connects when it has something to send, and again after any trouble.
#[derive(Debug)]
pub struct NatsSink {
    place: Place,
    session: Option<Session>,
    /// The bucket of the last session.
    bucket: Option<Made>,
    /// Whether that bucket lacks something that this host has written.
    is_list_lost: bool,
    /// Waiting events could not be delivered: no heartbeat may say that all is well.
    is_stuck: bool,
    /// Whether the last heartbeat or delivery failed.
    is_down: bool,
    next_beat: Instant,
    next_tidy: Instant,
}

impl NatsSink {
    /// The destination of this host's events. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// If the configuration cannot work. It is no error if no broker is there now.
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

    /// Sends a batch. The broker has acknowledged the messages that the result counts: the stream has acknowledged each
    /// event, and the bucket the change to the open findings. A message that is no news changes only the bucket.
    ///
    /// While events cannot be delivered, no heartbeat is sent, so that the node turns stale.
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

    /// Sends a heartbeat regularly, which says that this host still reports. It never ends, and may be dropped at any
    /// time.
    pub async fn serve(&mut self) {
        loop {
            if self.is_stuck {
                // A delivery ends this state.
                return pending().await;
            }
            sleep_until(self.next_beat).await;
            if let Err(error) = self.beat().await {
                // This is reported once: without events nobody would learn that this host does not report. The caller
                // of a failed delivery reports it.
                if !std::mem::replace(&mut self.is_down, true) {
                    warn(&format!("no heartbeat is sent: {error}; it is tried again"));
                }
                self.session = None;
                self.next_beat = Instant::now() + RETRY.min(self.place.heartbeat());
            }
        }
    }

    /// Removes those findings of this host from the bucket that are not open any more. Returns the ids of open findings
    /// that the bucket does not have. Findings of an earlier boot are removed without this call. It is for a start
    /// without the list of open findings, for dropped closes or openings, and for the time after
    /// [`NatsSink::take_list_lost`].
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

    /// Whether the bucket had to be made, or became another one, since the last call. Then it does not have what this
    /// host has written, and needs the whole list of open findings again.
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
            // Each flight is acknowledged before the next heartbeat, so that no batch is too long for one.
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

    /// Sends a heartbeat, if one is due and events can be delivered. Also does what is due less often.
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

    /// The existing session if it is still alive, or else a new one.
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
