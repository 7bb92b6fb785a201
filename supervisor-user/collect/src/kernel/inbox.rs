//! Passes messages from a command to the agents of the host. Each agent has an inbox, which is a map of its own: so
//! messages reach it from any network and mount namespace, and only processes with `CAP_SYS_ADMIN` can send one.

use std::{
    thread,
    time::{Duration, Instant},
};

use aya::maps::{HashMap, Map, MapData, MapError, loaded_maps};
use supervisor_model::clock;

use super::KernelError;

/// The name of each inbox. The kernel allows 15 bytes.
const NAME: &str = "SUPERVISOR_IN";
/// The bytes of an entry: the length of the message, and the message. With the kernel's own fields it has 4 KiB.
const ENTRY: usize = (4 << 10) - 64;
/// The bytes of the length.
const LENGTH: usize = size_of::<u32>();
/// How many messages wait at most in an inbox. The kernel takes the memory of an entry only while a message is in it, but
/// for a few on each processor.
const ENTRIES: u32 = 256;
/// An agent looks into its inbox at each tick. One that has taken nothing for this long is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause before the next look.
const PAUSE: Duration = Duration::from_millis(5);

/// The longest message, in bytes.
pub const MESSAGE_AT_MOST: usize = ENTRY - LENGTH;
/// The memory that the messages of an inbox take at most, in bytes.
pub const INBOX_BYTES: usize = (4 << 10) * ENTRIES as usize;

type Entries = HashMap<MapData, u64, [u8; ENTRY]>;

/// The inbox of an agent. Commands find it until this is dropped, or the process ends in any way.
pub struct Inbox(Entries);

impl Inbox {
    /// Makes an inbox. This needs `CAP_BPF`.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the map.
    pub fn new() -> Result<Self, KernelError> {
        const HASH: u32 = 1;
        const NO_PREALLOC: u32 = 1;
        let layout =
            aya_obj::Map::new_from_params(HASH, size_of::<u64>() as u32, ENTRY as u32, ENTRIES, NO_PREALLOC);
        MapData::create(layout, NAME, None).and_then(entries).map(Self).map_err(failed)
    }

    /// The oldest message and its key. It stays in the inbox, and its sender waits, until it is removed.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn first(&self) -> Result<Option<(u64, Vec<u8>)>, KernelError> {
        let mut first: Option<u64> = None;
        for key in self.0.keys() {
            let key = key.map_err(failed)?;
            first = Some(first.map_or(key, |first| first.min(key)));
        }
        let Some(key) = first else { return Ok(None) };
        let entry = match self.0.get(&key, 0) {
            Ok(entry) => entry,
            // Its sender has taken it back.
            Err(MapError::KeyNotFound) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let (length, rest) = entry.split_at(LENGTH);
        let length = length.try_into().map_or(0, u32::from_ne_bytes) as usize;
        Ok(Some((key, rest[..length.min(MESSAGE_AT_MOST)].to_vec())))
    }

    /// Removes a message. Its sender may have taken it back meanwhile, which is no error.
    pub fn remove(&mut self, key: u64) {
        let _is_there = self.0.remove(&key);
    }
}

/// The inboxes of the agents that run on this host.
pub struct Inboxes(Vec<Peer>);

/// The inbox of one agent.
struct Peer {
    inbox: Entries,
    /// Messages that it had not taken at the last look.
    keys: Vec<u64>,
    /// Whether it has taken nothing for too long. It still gets messages that it has room for.
    is_silent: bool,
}

impl Inboxes {
    /// Finds the inboxes. This needs `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    ///
    /// If the kernel does not list the maps.
    pub fn find() -> Result<Self, KernelError> {
        let mut peers = Vec::new();
        for map in loaded_maps() {
            let info = map.map_err(failed)?;
            if info.name_as_str() != Some(NAME) {
                continue;
            }
            // A map of that name that has another layout, or that is gone by now, is no inbox.
            if let Ok(inbox) = MapData::from_id(info.id()).and_then(entries) {
                peers.push(Peer { inbox, keys: Vec::new(), is_silent: false });
            }
        }
        Ok(Self(peers))
    }

    /// Whether there is no agent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives a message to every agent. Waits only for room.
    ///
    /// # Panics
    ///
    /// If the message is longer than [`MESSAGE_AT_MOST`].
    pub fn send(&mut self, message: &[u8]) {
        let mut entry = [0; ENTRY];
        entry[..LENGTH].copy_from_slice(&(message.len() as u32).to_ne_bytes());
        entry[LENGTH..LENGTH + message.len()].copy_from_slice(message);
        for peer in &mut self.0 {
            peer.put(&entry);
        }
    }

    /// Waits until every agent has taken its messages. Takes back those that an agent does not take. Returns how many
    /// such agents there are.
    #[must_use]
    pub fn settle(&mut self) -> usize {
        let mut progress = Instant::now();
        loop {
            for peer in self.0.iter_mut().filter(|peer| !peer.is_silent) {
                if peer.look() {
                    progress = Instant::now();
                }
            }
            let is_waiting = |peer: &Peer| !peer.is_silent && !peer.keys.is_empty();
            if !self.0.iter().any(is_waiting) {
                break;
            }
            if progress.elapsed() > PATIENCE {
                self.0.iter_mut().filter(|peer| is_waiting(peer)).for_each(Peer::give_up);
                break;
            }
            thread::sleep(PAUSE);
        }
        self.0.iter().filter(|peer| peer.is_silent).count()
    }
}

impl Peer {
    fn put(&mut self, entry: &[u8; ENTRY]) {
        const NOEXIST: u64 = 1;
        let mut progress = Instant::now();
        loop {
            // Another command can have used the same nanosecond.
            let key = clock::now_ns();
            if self.inbox.insert(key, entry, NOEXIST).is_ok() {
                self.keys.push(key);
                return;
            }
            if self.is_silent {
                return;
            }
            if self.look() {
                progress = Instant::now();
            }
            if progress.elapsed() > PATIENCE {
                self.give_up();
                return;
            }
            thread::sleep(PAUSE);
        }
    }

    /// Forgets messages that were taken. Returns whether there were any.
    fn look(&mut self) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| self.inbox.get(key, 0).is_ok());
        self.keys.len() < before
    }

    /// Takes back its messages, so that it does not take them much later.
    fn give_up(&mut self) {
        self.is_silent = true;
        for key in self.keys.drain(..) {
            let _is_taken = self.inbox.remove(&key);
        }
    }
}

fn entries(data: MapData) -> Result<Entries, MapError> {
    HashMap::try_from(Map::from_map_data(data)?)
}

fn failed(source: MapError) -> KernelError {
    KernelError::Map { map: NAME, source }
}
