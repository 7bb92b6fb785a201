//! The address of a syslog server, and the facility of the messages that go there.

use std::{fmt, path::PathBuf, str::FromStr};

use supervisor_model::as_text;

/// A syslog server's address: `unix:PATH`, `udp:HOST:PORT` or `tcp:HOST:PORT`. An IPv6 address is in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A socket of this host, such as `/dev/log`.
    Unix(PathBuf),
    /// Datagrams to a host, by its name or address without brackets, and a port.
    Udp(String, u16),
    /// A connection to a host, by its name or address without brackets, and a port.
    Tcp(String, u16),
}

impl FromStr for SyslogAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no address of a syslog server: unix:/dev/log, udp:HOST:PORT or tcp:HOST:PORT"
            )
        };
        let (kind, place) = text.split_once(':').ok_or_else(wrong)?;
        match kind {
            "unix" if !place.starts_with('/') => {
                Err(format!("`{place}` in `{text}` is no absolute path, such as /dev/log"))
            }
            "unix" => Ok(Self::Unix(place.into())),
            "udp" => host_and_port(text, place).map(|(host, port)| Self::Udp(host, port)),
            "tcp" => host_and_port(text, place).map(|(host, port)| Self::Tcp(host, port)),
            _ => Err(wrong()),
        }
    }
}

fn host_and_port(text: &str, place: &str) -> Result<(String, u16), String> {
    let (host, port) =
        place.rsplit_once(':').ok_or_else(|| format!("`{text}` has no port, such as {text}:514"))?;
    let port = match port.parse() {
        Ok(0) | Err(_) => return Err(format!("`{port}` in `{text}` is no port from 1 to 65535")),
        Ok(port) => port,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        }
    };
    if is_host {
        Ok((bare.unwrap_or(host).to_owned(), port))
    } else {
        Err(format!(
            "`{host}` in `{text}` is no host: a name, an IPv4 address, or an IPv6 address in brackets"
        ))
    }
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, host, port) = match self {
            Self::Unix(path) => return write!(f, "unix:{}", path.display()),
            Self::Udp(host, port) => ("udp", host, port),
            Self::Tcp(host, port) => ("tcp", host, port),
        };
        if host.contains(':') {
            write!(f, "{kind}:[{host}]:{port}")
        } else {
            write!(f, "{kind}:{host}:{port}")
        }
    }
}

as_text!(
    SyslogAddress,
    "SyslogAddress",
    "^(unix:/.+|(udp|tcp):[^:]+:[0-9]+|(udp|tcp):\\[[0-9a-fA-F:.]+\\]:[0-9]+)$"
);

/// The kind of program that a message comes from, as syslog servers sort messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

/// The names of the facilities. The index of each name is its code (RFC 5424, section 6.2.1).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

impl Facility {
    /// Its code, 0 to 23.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl Default for Facility {
    /// `daemon`.
    fn default() -> Self {
        Self(3)
    }
}

impl FromStr for Facility {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        FACILITIES
            .iter()
            .position(|name| *name == text)
            .map(|code| Self(code as u8))
            .ok_or_else(|| format!("`{text}` is no syslog facility: {}", FACILITIES.join(", ")))
    }
}

impl fmt::Display for Facility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FACILITIES[usize::from(self.0)])
    }
}

as_text!(
    Facility,
    "Facility",
    "^(kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|ntp|audit|alert|clock|local[0-7])$"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SyslogConfig;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in ["unix:/dev/log", "udp:loghost:514", "tcp:10.0.0.1:6514", "tcp:[fd00::1]:514"] {
            assert_eq!(text.parse::<SyslogAddress>().unwrap().to_string(), text);
        }
        for (text, cause) in [
            ("/dev/log", "is no address"),
            ("tls:host:6514", "is no address"),
            ("unix:dev/log", "no absolute path"),
            ("udp:host", "has no port"),
            ("udp:host:0", "no port from"),
            ("udp:host:syslog", "no port from"),
            ("tcp::514", "is no host"),
            ("tcp:fd00::1:514", "is no host"),
            ("tcp:[fd00]:514", "is no host"),
            ("udp:a b:514", "is no host"),
        ] {
            let error = text.parse::<SyslogAddress>().unwrap_err();
            assert!(error.contains(cause), "{text}: {error}");
        }
    }

    #[test]
    fn a_wrong_value_is_an_error_with_its_line() {
        for (line, cause) in [
            ("facility = \"local8\"", "`local8` is no syslog facility"),
            ("max_size = \"100B\"", "100B is too small for a syslog frame: at least 480B"),
        ] {
            let error =
                toml::from_str::<SyslogConfig>(&format!("address = \"udp:h:514\"\n{line}\n")).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(cause) && text.contains("line 2"), "{text}");
        }
        let config: SyslogConfig = toml::from_str("address = \"udp:h:514\"\nfacility = \"local7\"").unwrap();
        assert_eq!(config.facility.code(), 23);
        assert_eq!(SyslogConfig { facility: Facility::default(), ..config }.facility.to_string(), "daemon");
    }
}
