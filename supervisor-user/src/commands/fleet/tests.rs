//! Tests of the list of all nodes.

use clap::Parser as _;
use jiff::Timestamp;
use serde_json::json;
use supervisor_deliver::fleet::HostState;

use super::*;

#[derive(clap::Parser)]
struct List {
    #[command(flatten)]
    listing: Listing,
}

fn key(host: &str, finding: &str) -> BucketKey {
    BucketKey { cluster: "lab".into(), host: host.into(), finding: Some(finding.into()) }
}

/// Two nodes with a zombie each, a blocked namespace, and a stale node.
fn fleet() -> Fleet {
    let mut fleet = Fleet::default();
    for (name, state) in [
        ("node-a", HostState::Reports),
        ("node-b", HostState::Reports),
        ("node-c", HostState::Stale { last: None }),
    ] {
        fleet.hosts.insert(("lab".into(), name.into()), Node { name: name.into(), state });
    }
    fleet.now = Timestamp::from_second(100).unwrap();
    let zombie = |pid: u32, name: &str, end: i64| {
        let end = Timestamp::from_second(end).unwrap().to_string();
        json!({
            "@timestamp": "1970-01-01T00:01:40Z",
            "process": { "pid": pid, "name": name, "vpid": 7, "end": end },
            "orchestrator": { "resource": { "name": "web-0" } },
            "supervisor": {
                "finding": { "kind": "zombie" },
                "verdict": "it never waits",
                "reaper": { "pid": 1, "name": "init", "state": "S", "is_pidns_init": true },
            },
        })
    };
    fleet.rows.insert(key("node-a", "1"), FleetRow::of(&zombie(10, "名前", 90)));
    fleet.rows.insert(key("node-b", "2"), FleetRow::of(&zombie(9, "crun", 95)));
    let mut namespace = zombie(70, "pause", 80);
    namespace["supervisor"]["finding"]["kind"] = "namespace".into();
    fleet.rows.insert(key("node-b", "3"), FleetRow::of(&namespace));
    fleet
}

fn listed(options: &str) -> Vec<String> {
    let words = ["ps"].into_iter().chain(options.split_whitespace());
    let listing = List::try_parse_from(words).unwrap().listing;
    tables(&fleet(), &listing, None, Colour::Never).lines().map(str::to_owned).collect()
}

#[test]
fn all_nodes_are_listed_with_the_chosen_columns() {
    assert_eq!(
        listed("--columns pid,name,vpid,pod,reaper-is,state,age,verdict"),
        [
            "PID  NAME  VPID  POD    REAPER IS  STATE  AGE     VERDICT",
            "10   名前  7     web-0  init       S      10.0 s  it never waits",
            "9    crun  7     web-0  init       S      5.0 s   it never waits",
        ]
    );
    assert_eq!(
        listed("--columns host,status --no-headers"),
        ["node-a  reports", "node-b  reports", "node-c  stale, never reported"]
    );
}

#[test]
fn all_nodes_are_sorted_by_the_chosen_column() {
    assert_eq!(listed("--columns pid --sort pid --no-headers"), ["9", "10"]);
    assert_eq!(listed("--columns pid --sort pid --reverse --no-headers"), ["10", "9"]);
    assert_eq!(listed("--columns pid --sort age --no-headers"), ["10", "9"]);
}

#[test]
fn without_chosen_columns_namespaces_and_silent_nodes_are_listed_too() {
    let lines = listed("");
    assert!(lines[0].contains("PID 1") && lines[1].contains("pause[70]"), "{lines:?}");
    assert!(lines[3].starts_with("HOST") && lines[3].ends_with("STATUS"), "{lines:?}");
    assert!(lines[6].starts_with("node-c") && lines[6].ends_with("stale, never reported"), "{lines:?}");
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert!(listed("--no-headers")[3].starts_with("node-a"));
}
