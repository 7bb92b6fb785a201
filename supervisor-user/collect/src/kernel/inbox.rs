//! Passes messages from a command to the agents of the host. Each agent has an inbox, which is a map of its own: so only
//! processes with the right to trace reach it, from any network and mount namespace.

use std::{thread, time::Duration};

use aya::maps::{HashMap, Map, MapData, MapError, loaded_maps};
use supervisor_model::clock;

use super::KernelError;

/// The name of each inbox. The kernel allows 15 bytes.
const NAME: &str = "SUPERVISOR_IN";
/// The bytes of an entry: the length of the message, and the message.
const ENTRY: usize = 16 << 10;
/// The bytes of the length.
const LENGTH: usize = size_of::<u32>();
/// How many messages wait at most in an inbox. The kernel takes the memory of an entry only while a message is in it.
const ENTRIES: u32 = 64;
/// How long a command waits for an agent, which looks into its inbox at each tick.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause before the next look.
const PAUSE: Duration = Duration::from_millis(5);

/// The longest message, in bytes.
pub const MESSAGE_AT_MOST: usize = ENTRY - LENGTH;
/// The memory that the messages of an inbox take at most, in bytes.
pub const INBOX_BYTES: usize = ENTRY * ENTRIES as usize;

type Entries = HashMap<MapData, u64, [u8; ENTRY]>;

/// The inbox of an agent. It is gone when this is dropped, or when the process ends in any way.
pub struct Inbox(Entries);

impl Inbox {
    /// Makes an inbox, which commands find from then on. This needs `CAP_BPF`.
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

    /// The oldest message. It stays in the inbox, and its sender waits, until it is removed.
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
        let entry = self.0.get(&key, 0).map_err(failed)?;
        let (length, rest) = entry.split_at(LENGTH);
        let length = length.try_into().map_or(0, u32::from_ne_bytes) as usize;
        Ok(Some((key, rest[..length.min(MESSAGE_AT_MOST)].to_vec())))
    }

    /// Removes a message.
    ///
    /// # Errors
    ///
    /// The error of the removal.
    pub fn remove(&mut self, key: u64) -> Result<(), KernelError> {
        self.0.remove(&key).map_err(failed)
    }
}

/// The inboxes of the agents that run on this host.
pub struct Inboxes(Vec<Entries>);

impl Inboxes {
    /// Finds the inboxes. This needs `CAP_SYS_ADMIN`; without it there are none.
    #[must_use]
    pub fn find() -> Self {
        let named = |map: Result<aya::maps::MapInfo, MapError>| {
            let info = map.ok().filter(|info| info.name_as_str() == Some(NAME))?;
            entries(MapData::from_id(info.id()).ok()?).ok()
        };
        Self(loaded_maps().filter_map(named).collect())
    }

    /// Whether there is no agent that takes messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives messages to one agent after the other, and waits until the agent has taken them. An agent that does not take
    /// one in time gets no further message. Returns how many such agents there were.
    ///
    /// # Panics
    ///
    /// If a message is longer than [`MESSAGE_AT_MOST`].
    #[must_use]
    pub fn send(&mut self, messages: &[Vec<u8>]) -> usize {
        let before = self.0.len();
        self.0.retain_mut(|inbox| deliver(inbox, messages).is_ok());
        before - self.0.len()
    }
}

/// Gives messages to an agent. If the agent does not take them in time, takes the rest back.
fn deliver(inbox: &mut Entries, messages: &[Vec<u8>]) -> Result<(), Silent> {
    let mut keys = Vec::new();
    let result =
        messages.iter().try_for_each(|message| put(inbox, &entry(message)).map(|key| keys.push(key)));
    // The agent takes the oldest first.
    let result = result.and_then(|()| keys.last().map_or(Ok(()), |last| await_taken(inbox, *last)));
    if result.is_err() {
        for key in keys {
            let _is_taken = inbox.remove(&key);
        }
    }
    result
}

/// An agent did not take a message in time.
struct Silent;

/// Puts an entry into an inbox, and waits for room. Returns its key.
fn put(inbox: &mut Entries, entry: &[u8; ENTRY]) -> Result<u64, Silent> {
    const NOEXIST: u64 = 1;
    let until_ns = clock::now_ns() + PATIENCE.as_nanos() as u64;
    loop {
        // Another command can have used the same nanosecond.
        let key = clock::now_ns();
        if inbox.insert(key, entry, NOEXIST).is_ok() {
            return Ok(key);
        }
        if key > until_ns {
            return Err(Silent);
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until the agent has taken an entry.
fn await_taken(inbox: &Entries, key: u64) -> Result<(), Silent> {
    let until_ns = clock::now_ns() + PATIENCE.as_nanos() as u64;
    while inbox.get(&key, 0).is_ok() {
        if clock::now_ns() > until_ns {
            return Err(Silent);
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn entry(message: &[u8]) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..LENGTH].copy_from_slice(&(message.len() as u32).to_ne_bytes());
    entry[LENGTH..LENGTH + message.len()].copy_from_slice(message);
    entry
}

fn entries(data: MapData) -> Result<Entries, MapError> {
    HashMap::try_from(Map::from_map_data(data)?)
}

fn failed(source: MapError) -> KernelError {
    KernelError::Map { map: NAME, source }
}
