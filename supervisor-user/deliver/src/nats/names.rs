//! Makes and parses subjects and keys. Each part of them is a token that NATS takes, for any name.

/// Longer names are cut.
const MAX: usize = 64;

/// A name as one part of a subject or key: letters, digits, `-` and `_` stay, everything else becomes `_`. Host names
/// with dots are one token too: `node1.example.com` is `node1_example_com`.
#[must_use]
pub fn token(name: &str) -> String {
    let plain = |c: char| if is_plain(c) { c } else { '_' };
    let token: String = name.chars().take(MAX).map(plain).collect();
    if token.is_empty() { "_".to_owned() } else { token }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

fn is_token(text: &str) -> bool {
    (1..=MAX).contains(&text.len()) && text.chars().all(is_plain)
}

/// The stream that a bucket is kept in.
#[must_use]
pub fn bucket_stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// The pattern that matches all keys of a bucket, or all of one cluster.
#[must_use]
pub fn keys_of(bucket: &str, cluster: Option<&str>) -> String {
    cluster.map_or_else(|| format!("$KV.{bucket}.>"), |cluster| format!("$KV.{bucket}.{}.>", token(cluster)))
}

/// A key of the bucket, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketKey {
    /// The cluster's token.
    pub cluster: String,
    /// The host's token.
    pub host: String,
    /// The finding's id; a heartbeat has none.
    pub finding: Option<String>,
}

/// The pattern that matches the heartbeats of a bucket, or those of one cluster or host.
#[must_use]
pub fn heartbeats_of(bucket: &str, cluster: Option<&str>, host: Option<&str>) -> String {
    let part = |name: Option<&str>| name.map_or_else(|| "*".to_owned(), token);
    format!("$KV.{bucket}.{}.{}", part(cluster), part(host))
}

/// The key that a subject of a bucket stands for; `None` if it is none of ours.
#[must_use]
pub fn key_of(bucket: &str, subject: &str) -> Option<BucketKey> {
    let key = subject.strip_prefix("$KV.")?.strip_prefix(bucket)?.strip_prefix('.')?;
    let mut parts = key.split('.');
    let (cluster, host, finding) = (parts.next()?, parts.next()?, parts.next());
    let is_key =
        parts.next().is_none() && [Some(cluster), Some(host), finding].into_iter().flatten().all(is_token);
    is_key.then(|| BucketKey {
        cluster: cluster.to_owned(),
        host: host.to_owned(),
        finding: finding.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_only_plain_characters_for_any_name() {
        for (name, expected) in [
            ("node1.example.com", "node1_example_com"),
            ("a b\tc\r\n*.>", "a_b_c_____"),
            ("\u{202e}é\0", "___"),
            ("", "_"),
            ("Node-1_x", "Node-1_x"),
        ] {
            assert_eq!(token(name), expected);
        }
        assert_eq!(token(&"é".repeat(4096)).len(), MAX);
    }

    #[test]
    fn a_key_is_parsed_into_its_parts() {
        let key = |finding: Option<&str>| BucketKey {
            cluster: "c".to_owned(),
            host: "h".to_owned(),
            finding: finding.map(str::to_owned),
        };
        assert_eq!(key_of("b", "$KV.b.c.h"), Some(key(None)));
        assert_eq!(key_of("b", "$KV.b.c.h.17"), Some(key(Some("17"))));
        for hostile in ["$KV.b.c", "$KV.b.c.h.17.x", "$KV.b2.c.h", "$KV.b.c..17", "$KV.b.c.h.\u{1b}[31m", "x"]
        {
            assert_eq!(key_of("b", hostile), None, "{hostile:?}");
        }
    }
}
