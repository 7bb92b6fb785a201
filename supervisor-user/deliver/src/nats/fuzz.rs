//! The functions that fuzz targets call for a broker's bytes and for credentials. Nothing else calls them.

use serde_json::Value;

use super::{
    credentials::Credentials,
    key_of,
    limits::{Limits, MAX_PAYLOAD},
    relay,
};

/// Takes the bytes of a broker whole, and in two parts.
///
/// # Panics
///
/// If the two results differ.
pub fn broker(bytes: &[u8], at: usize) {
    let mut whole = Limits::default();
    let mut parts = Limits::default();
    let (first, second) = bytes.split_at(at.min(bytes.len()));
    assert_eq!(whole.take(bytes), parts.take(first).and_then(|()| parts.take(second)));
    let text = String::from_utf8_lossy(bytes);
    let _no_panic = Credentials::parse(&text).is_ok();
    if let Some(key) = key_of("bucket", &text) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        assert!(key.cluster.chars().chain(key.host.chars()).all(is_plain), "{key:?}");
    }
}

/// Takes the first line of a broker, and makes the line that the client library gets.
///
/// # Panics
///
/// If that is not one line, or if the library would send more than it may, or begin a TLS handshake.
pub fn info(line: &[u8]) {
    let Some(info) = relay::info_of(line) else { return };
    let shown = relay::for_library(info);
    let json = shown.strip_prefix(b"INFO ").and_then(|it| it.strip_suffix(b"\r\n")).expect("a line");
    assert!(!json.iter().any(|byte| matches!(byte, b'\r' | b'\n')), "it is more than one line");
    let info: Value = serde_json::from_slice(json).expect("it is JSON");
    assert_eq!((&info["tls_required"], &info["tls_available"]), (&false.into(), &false.into()));
    assert!(info["max_payload"].as_u64().is_some_and(|it| it <= MAX_PAYLOAD as u64), "{info}");
}
