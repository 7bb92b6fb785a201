//! The function that fuzz targets call for the limits on a broker's bytes and for credentials. Nothing else calls it.

use super::{credentials::Credentials, key_of, limits::Limits};

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
