//! The two clocks: all times are measured by `CLOCK_BOOTTIME`, and people see wall time.

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The number of readings of the two clocks that give their difference.
const READINGS: usize = 4;

fn read(clock: ClockId) -> i128 {
    let time = clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// Now, in nanoseconds of `CLOCK_BOOTTIME`.
#[must_use]
pub fn now_ns() -> u64 {
    read(ClockId::Boottime) as u64
}

/// How far the wall clock is ahead of `CLOCK_BOOTTIME`, read once so that times of one event agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall {
    offset_ns: i64,
}

impl Wall {
    /// The offset between the clocks now.
    #[must_use]
    pub fn now() -> Self {
        // A busy machine may interrupt this code between the readings of the clocks. Of a few readings, the closest
        // ones are right.
        let readings = (0..READINGS).map(|_| {
            let before = read(ClockId::Boottime);
            let wall = read(ClockId::Realtime);
            let after = read(ClockId::Boottime);
            (after - before, wall - i128::midpoint(before, after))
        });
        let (_, offset_ns) = readings.min().unwrap_or_default();
        Self { offset_ns: offset_ns as i64 }
    }

    /// A fixed offset, for tests and recordings.
    #[must_use]
    pub fn at_offset(offset_ns: i64) -> Self {
        Self { offset_ns }
    }

    /// The wall time for a time since boot.
    #[must_use]
    pub fn timestamp(self, boot_ns: u64) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(boot_ns) + i128::from(self.offset_ns)).unwrap_or(Timestamp::MAX)
    }

    /// The time since boot for a wall time. The wall time can also be after the end of that boot.
    #[must_use]
    pub fn boot_ns(self, timestamp: Timestamp) -> u64 {
        u64::try_from(timestamp.as_nanosecond() - i128::from(self.offset_ns)).unwrap_or(0)
    }
}
