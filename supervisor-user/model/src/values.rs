//! Parses and prints times and sizes with their units, in the form that people write.

use std::{fmt, str::FromStr, time::Duration};

/// A time, such as `1s`. A number without a unit counts seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Time {
    /// Whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = text.parse::<f64>().is_ok_and(f64::is_finite) && !text.contains(['e', 'E']);
        let with_unit = if is_plain { format!("{text}s") } else { text.to_owned() };
        let span: jiff::SignedDuration = with_unit
            .parse()
            .map_err(|_| format!("`{text}` is no time, such as 500ms, 1s, 2m, or 2 for 2s"))?;
        Duration::try_from(span).map(Self).map_err(|_| "a time cannot be negative".to_owned())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = jiff::SignedDuration::try_from(self.0).unwrap_or(jiff::SignedDuration::MAX);
        write!(f, "{span:#}")
    }
}

/// A size, such as `4MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// The units, largest first.
const UNITS: [(&str, u32); 4] = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size with its unit, such as 64KiB, 4MiB or 1GiB");
        let (number, shift) = UNITS
            .iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
            .ok_or_else(wrong)?;
        let number: u64 = number.trim().parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = UNITS
            .into_iter()
            .find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift)
            .unwrap_or(("B", 0));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

/// Implements serde and a schema for a type that is written as text in the configuration.
#[macro_export]
macro_rules! as_text {
    ($type:ty, $name:literal, $pattern:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

as_text!(Time, "Time", "^[0-9]+([.][0-9]+)?$|^[0-9].*(ns|us|µs|ms|s|m|h|d|y)$");
as_text!(Bytes, "Bytes", "^[0-9]+ ?(GiB|MiB|KiB|B)$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_parsed_from_their_printed_form() {
        for text in ["4MiB", "1GiB", "1025B", "64KiB", "0B"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        for text in ["", "MiB", "4", "4MB", "-1B", "4MiBMiB", "99999999999GiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        for text in ["1s", "500ms", "2m", "1h"] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
        for (text, read) in [("2", "2s"), ("0.5", "500ms"), ("0", "0s")] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), read);
        }
        for text in ["s", "-1s", "-1", "soon", "", "1e3", "inf", "NaN"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }
}
