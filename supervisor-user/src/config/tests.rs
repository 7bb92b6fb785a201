//! Tests of reading a configuration, and of the printed default.

use supervisor_deliver::config::NatsConfig;
use supervisor_render::Format;

use super::*;

const DEFAULT: &str = include_str!("default.toml");

/// The default configuration, with all commented keys uncommented.
fn uncommented() -> String {
    let shown = |line: &str| {
        line.strip_prefix('#')
            .filter(|it| it.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()))
            .map(str::to_owned)
    };
    DEFAULT.lines().map(|line| shown(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn the_printed_default_is_the_default() {
    assert_eq!(Config::parse(DEFAULT, "default.toml").unwrap(), Config::default());
    assert_eq!(Config::parse("", "nothing").unwrap(), Config::default());
}

#[test]
fn the_printed_default_shows_every_key_with_its_default() {
    let text = uncommented();
    let config = Config::parse(&text, "default.toml").unwrap();
    let shown: toml::Value = text.parse::<toml::Table>().unwrap().into();
    let all = toml::Value::try_from(&config).unwrap();
    let mut missing = Vec::new();
    compare(&all, &shown, &mut String::new(), &mut missing);
    assert_eq!(missing, Vec::<String>::new());
    // The values that the file shows as defaults are the defaults.
    for (name, sink) in &config.sinks {
        let Some(nats) = &sink.nats else { continue };
        let least: NatsConfig = toml::from_str(&format!("servers = {:?}", nats.servers)).unwrap();
        assert_eq!(
            (nats.keep, nats.keep_size, nats.heartbeat, nats.ack_timeout),
            (least.keep, least.keep_size, least.heartbeat, least.ack_timeout),
            "{name}"
        );
    }
}

/// Collects the keys that are in `all` and not in `shown`. Keys that are common to all sinks are explained once, so
/// they may be missing.
fn compare(all: &toml::Value, shown: &toml::Value, path: &mut String, missing: &mut Vec<String>) {
    let (Some(all), Some(shown)) = (all.as_table(), shown.as_table()) else { return };
    for (key, value) in all {
        let len = path.len();
        path.push_str(key);
        let is_common =
            path.starts_with("sinks.") && ["format", "policy", "buffer", "spool"].contains(&key.as_str());
        match shown.get(key) {
            Some(shown) => {
                path.push('.');
                compare(value, shown, path, missing);
            }
            None if is_common => {}
            None => missing.push(path.clone()),
        }
        path.truncate(len);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of wrong configurations")]
fn a_wrong_file_is_refused_with_line_and_key() {
    /// A wrong text, and the beginning of its error.
    const WRONG: [(&str, &str); 45] = [
        ("grace = 1", "f:1: grace: "),
        ("grace = \"soon\"", "f:1: grace: `soon` is no time"),
        ("grace = \"-1s\"", "f:1: grace: a time cannot be negative"),
        ("\n\ngrac = \"1s\"", "f:3: grac: unknown field `grac`"),
        ("grace = \"1s\"\ngrace = \"2s\"", "f:2: "),
        ("grace = ", "f:1: "),
        ("cluster = \"a.b\"", "f:1: cluster: a name has 1 to 64"),
        ("state_dir = \"state\"", "f:1: state_dir: must be an absolute path"),
        ("[flood]\nper = \"0s\"", "f:2: flood.per: must be longer"),
        ("[flood]\nper_reaper = -1", "f:2: flood.per_reaper: "),
        ("[metrics]\nlisten = \"localhost\"", "f:2: metrics.listen: "),
        ("[metric]\nlisten = \"127.0.0.1:1\"", "f:1: metric: unknown field `metric`"),
        ("[reap]\nevery = \"500ms\"", "f:2: reap.every: 500ms is out of range: it must be from 1s to 24h"),
        ("[reap]\nmin_age = \"0s\"", "f:2: reap.min_age: 0s is out of range"),
        ("[reap]\nfamilies = []", "f:2: reap.families: there is none, so nothing is freed"),
        ("[reap]\nfamilies = [\"F99\"]", "f:2: reap.families: unknown variant `F99`"),
        ("[reap]\nper_reaper = 0", "f:2: reap.per_reaper: must be at least 1"),
        ("[reap]\nforce = true", "f:2: reap.force: unknown field `force`"),
        ("[filter]\npid = \"x\"", "f:2: filter.pid: "),
        ("[filter]\nname = \"x\"", "f:2: filter.name: unknown field"),
        ("[sinks]", "f:1: sinks: there is none"),
        ("[sinks.a]", "f:1: sinks.a: it names no place"),
        ("[sinks.\"a/b\"]\nstdout = {}", "f:1: sinks.a/b: a name has 1 to 64"),
        ("[sinks.a]\nstdout = {}\njournald = {}", "f:1: sinks.a: it names several places: stdout, journald"),
        ("[sinks.a]\nformat = \"xml\"\nstdout = {}", "f:2: sinks.a.format: unknown variant `xml`"),
        ("[sinks.a]\npolicy = \"lose\"\nstdout = {}", "f:2: sinks.a.policy: unknown variant `lose`"),
        ("[sinks.a]\nbuffer = \"4MB\"\nstdout = {}", "f:2: sinks.a.buffer: `4MB` is no size"),
        ("[sinks.a]\nbuffer = \"4B\"\nstdout = {}", "f:2: sinks.a.buffer: must be at least 64KiB"),
        ("[sinks.a]\n[sinks.a.file]\nkeep = 3", "f:2: sinks.a.file: missing field `path`"),
        ("[sinks.a]\n[sinks.a.file]\npath = \"x\"", "f:3: sinks.a.file.path: must be the absolute path"),
        ("[sinks.a.file]\npath = \"/x\"\nkeep = 0", "f:3: sinks.a.file.keep: must be from 1"),
        (
            "[sinks.a.file]\npath = \"/x\"\n[sinks.b.file]\npath = \"/x\"",
            "f:4: sinks.b.file.path: sinks.a writes there already",
        ),
        (
            "[sinks.a.syslog]\naddress = \"/dev/log\"",
            "f:2: sinks.a.syslog.address: `/dev/log` is no address of a syslog server",
        ),
        (
            "[sinks.a.syslog]\naddress = \"udp:h:514\"\nfacility = \"local8\"",
            "f:3: sinks.a.syslog.facility: `local8` is no syslog facility",
        ),
        (
            "[sinks.a.syslog]\naddress = \"udp:h:514\"\nmax_size = \"64B\"",
            "f:3: sinks.a.syslog.max_size: 64B is too small",
        ),
        (
            "[sinks.a.file]\npath = \"/x.1\"\n[sinks.b.file]\npath = \"/x\"",
            "f:4: sinks.b.file.path: sinks.a writes there already",
        ),
        (
            "[sinks.a.nats]\nservers = [\"nats://h\"]\n[sinks.b.nats]\nservers = [\"nats://h\"]",
            "f:3: sinks.b.nats.stream: sinks.a writes to it already",
        ),
        ("grace = \"25h\"", "f:1: grace: must be at most 24h"),
        ("exit_grace = \"25h\"", "f:1: exit_grace: must be at most 24h"),
        ("[flood]\nper = \"25h\"", "f:2: flood.per: must be longer than nothing, and at most 24h"),
        ("[sinks.a.nats]\nservers = []", "f:2: sinks.a.nats.servers: no NATS server is named"),
        (
            "[sinks.a.nats]\nservers = [\"nats://h\", \"ws://h:80\"]",
            "f:2: sinks.a.nats.servers: `ws://h:80` is no NATS server",
        ),
        (
            "[sinks.a.nats]\nservers = [\"tls://h\"]\ntls_key = \"/key\"",
            "f:1: sinks.a.nats.tls_cert: the client's certificate and its key belong together",
        ),
        (
            "[sinks.a.nats]\nservers = [\"nats://h\"]\nbucket = \"a.b\"",
            "f:3: sinks.a.nats.bucket: a name has 1 to 64",
        ),
        (
            "[sinks.a.nats]\nservers = [\"nats://h\"]\nheartbeat = \"10ms\"",
            "f:3: sinks.a.nats.heartbeat: 10ms is out of range",
        ),
    ];
    for (text, wanted) in WRONG {
        let error = Config::parse(text, "f").expect_err(text).to_string();
        assert!(error.starts_with(wanted), "{text:?} gives {error:?}, not {wanted:?}");
        assert!(!error.contains('\n'), "{error:?}");
    }
}

#[test]
fn values_set_on_the_command_line_override_the_configuration() {
    let sets = |sets: &[&str]| -> Vec<String> { sets.iter().map(|&set| set.to_owned()).collect() };
    let config = Config::load(
        None,
        &sets(&["grace=2s", "flood.per_reaper=7", "sinks.out.format=text", "sinks.out.stdout={}"]),
    )
    .unwrap();
    assert_eq!((config.grace, config.flood.per_reaper), (Time::from_secs(2), 7));
    assert_eq!(config.sinks["out"].format, Format::Text);
    for (set, wanted) in [
        ("grace", "--set grace: expected KEY=VALUE"),
        ("grace=soon", "--set grace=soon: `soon` is no time"),
        ("grac=1s", "--set grac=1s: unknown field `grac`"),
        ("cluster=", "--set cluster: a name has"),
    ] {
        let error = Config::load(None, &sets(&[set])).expect_err(set).to_string();
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn a_deeply_nested_configuration_is_refused() {
    // Without a limit, the parser would use up its stack.
    let many = 100_000;
    for text in [
        format!("a = {}", "[".repeat(many)),
        format!("filter = {}1{}", "{a=".repeat(many), "}".repeat(many)),
        format!("{}a = 1", "a.".repeat(many)),
        format!("[{}a]", "a.".repeat(many)),
    ] {
        assert!(Config::parse(&text, "f").unwrap_err().to_string().contains("recursion"));
    }
}
