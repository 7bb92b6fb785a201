//! Messages that wait for a sink in memory.

use std::collections::VecDeque;

use super::message::Message;

/// Messages in memory, bounded by their size.
#[derive(Debug)]
pub(super) struct Memory {
    messages: VecDeque<Message>,
    bytes: u64,
    limit: u64,
}

impl Memory {
    pub(super) fn new(limit: u64) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, limit }
    }

    /// Adds a message; false if there is no room. A single message always has room, or it could never be delivered.
    pub(super) fn push(&mut self, message: &Message) -> bool {
        let has_room = self.messages.is_empty() || self.bytes + message.size() <= self.limit;
        if has_room {
            self.push_anyway(message);
        }
        has_room
    }

    /// Adds a message with or without room: for the last ones.
    pub(super) fn push_anyway(&mut self, message: &Message) {
        self.bytes += message.size();
        self.messages.push_back(message.clone());
    }

    /// Whether at least half of it is free.
    pub(super) fn has_room(&self) -> bool {
        self.bytes <= self.limit / 2
    }

    /// The first messages, which stay in the queue.
    pub(super) fn first(&self, count: usize) -> Vec<Message> {
        self.messages.iter().take(count).cloned().collect()
    }

    /// Drops the first messages, because they are delivered.
    pub(super) fn advance(&mut self, count: usize) {
        for message in self.messages.drain(..count.min(self.messages.len())) {
            self.bytes -= message.size();
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.messages.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
