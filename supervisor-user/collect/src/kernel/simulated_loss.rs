//! Simulates the losses that can happen on the kernel side, to show their effects. `--simulate-loss` asks for them.

use std::str::FromStr;

use aya::EbpfLoader;

use super::Offsets;

/// The losses of the kernel side. They are written as `exits=50,frees=50,ring=4096,release=0,fields=0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimulatedLoss {
    /// Maps that get another bound than their own: a number of elements, or of bytes for `EVENTS`.
    bounds: Vec<(&'static str, u32)>,
    /// The exit hook misses one in this many exits, at random. With 0 it misses none.
    exits: u32,
    /// The same for frees.
    frees: u32,
    /// Bits that the numbers of used blocks of `UNREAPED` must not have; all other blocks stay unused.
    blocks: u32,
    /// Whether the optional hook is not attached.
    without_release: bool,
    /// Whether the programs treat this kernel as one that has only the required fields.
    without_fields: bool,
}

/// The maps whose bounds can be set, each with its name in the option.
const MAPS: [(&str, &str); 4] =
    [("processes", "PROCESSES"), ("displaced", "DISPLACED"), ("execs", "EXECS"), ("ring", "EVENTS")];

impl SimulatedLoss {
    /// Whether no loss is simulated.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the optional hook is attached, if the kernel allows it.
    #[must_use]
    pub fn has_release(&self) -> bool {
        !self.without_release
    }

    /// The offsets that the programs get.
    pub(super) fn fields(&self, offsets: Offsets) -> Offsets {
        if self.without_fields { offsets.required() } else { offsets }
    }

    /// Sets the bounds and globals that make the programs lose records.
    pub(super) fn apply<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        for (map, bound) in &self.bounds {
            loader.map_max_entries(map, *bound);
        }
        loader.override_global("LOST_EXITS", &self.exits, true);
        loader.override_global("LOST_FREES", &self.frees, true);
        loader.override_global("LOST_BLOCKS", &self.blocks, true);
    }
}

impl FromStr for SimulatedLoss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut loss = Self::default();
        for part in text.split(',') {
            let wrong = || {
                format!(
                    "`{part}` is none of blocks=, processes=, displaced=, execs=, ring=, exits=, frees=, release=0 and fields=0"
                )
            };
            let (name, number) = part.split_once('=').ok_or_else(wrong)?;
            let number: u32 = number.parse().map_err(|_| wrong())?;
            match (name, MAPS.iter().find(|(it, _)| *it == name)) {
                (_, Some((_, map))) => loss.bounds.push((map, number)),
                ("blocks", _) if number.is_power_of_two() => loss.blocks = !(number - 1),
                ("exits", _) => loss.exits = number,
                ("frees", _) => loss.frees = number,
                ("release", _) if number == 0 => loss.without_release = true,
                ("fields", _) if number == 0 => loss.without_fields = true,
                _ => return Err(wrong()),
            }
        }
        Ok(loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_losses_are_parsed_and_wrong_ones_are_refused() {
        let text = "blocks=2,execs=100,ring=4096,exits=3,frees=2,release=0,fields=0";
        let loss: SimulatedLoss = text.parse().unwrap();
        let bounds = vec![("EXECS", 100), ("EVENTS", 4096)];
        let expected = SimulatedLoss {
            bounds,
            exits: 3,
            frees: 2,
            blocks: !1,
            without_release: true,
            without_fields: true,
        };
        assert_eq!(loss, expected);
        for wrong in ["", "exits", "exits=x", "forks=1", "blocks=3", "release=1", "fields=1"] {
            assert!(wrong.parse::<SimulatedLoss>().is_err(), "{wrong}");
        }
    }
}
