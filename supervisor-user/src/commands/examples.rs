//! The examples that `supervisor help COMMAND` shows below the options: a few commands that are useful as they stand.

pub(super) const WATCH: &str = "Examples:
  supervisor watch                                  # findings of this host, until Ctrl-C
  supervisor watch --long                           # the whole story of each, not three lines
  supervisor watch --grace 5 --runtime crun         # what crun leaves for 5 s or longer
  supervisor watch -o json | jq .supervisor.verdict # for machines
  supervisor watch --from nats://HOST:4222          # of all nodes, if their agents report there";

pub(super) const TOP: &str = "Examples:
  supervisor top                                    # this host; ? shows the keys
  supervisor top --replay zombies.zst --speed 10    # a recording, ten times as fast
  supervisor top --from nats://HOST:4222            # all nodes, if their agents report there";

pub(super) const TRACE: &str = "Examples:
  supervisor trace -o tree -- runc run demo         # what a runtime does, as a tree
  supervisor trace --only exit,reap                 # how processes end, and who reaps them
  supervisor trace --pid PID -o json                # a process and its descendants, for machines

With a COMMAND, its exit code is that of trace.";

pub(super) const LEAKS: &str = "Examples:
  supervisor leaks -- bats tests/                   # the exit code is 23 if anything is left behind
  supervisor leaks --junit leaks.xml --allow known-leaks.txt -- make check
  supervisor leaks --subreaper -o json -- sh test.sh | tail -n 1 | jq .leaks
  supervisor leaks --each NAME -- sh test.sh        # one test of a suite that runs under it";

pub(super) const RUN: &str = "Examples:
  supervisor run                                    # ECS JSON to standard output
  supervisor run --config FILE --metrics 127.0.0.1:9469
  supervisor run --set sinks.out.stdout={} --set sinks.out.format=ocsf

SIGHUP lets it read the configuration again; SIGTERM delivers what waits, and ends it.";

pub(super) const CONFIG: &str = "Examples:
  supervisor config --print-default > FILE          # every key, its meaning and its default
  supervisor config --check FILE                    # exit code 2 if it is wrong";

pub(super) const PS: &str = "Examples:
  supervisor ps                                     # the worst first; exit code 1 if anything is unreaped
  supervisor ps --summary                           # one line for each reaper and cause
  supervisor ps --tree                              # zombies below their reapers and containers
  supervisor ps --columns pid,age,reaper,verdict --sort age --reverse
  supervisor ps -n 2 --container ID                 # every 2 s, of one container
  supervisor ps --from nats://HOST:4222             # of all nodes, if their agents report there";

pub(super) const EXPLAIN: &str = "Examples:
  supervisor explain PID                            # why it is unreaped, and what to do; or what it must reap
  supervisor explain conmonrs                       # the same by name
  supervisor explain --pod shop/web-pod             # what is unreaped or blocked in a pod; also --container ID
  supervisor explain --pidns INO                    # what holds a PID namespace
  supervisor explain --family F1                    # what there is to know about a class of cause";

pub(super) const REAP: &str = "Examples:
  supervisor reap --dry-run --all                   # what could be freed, and what not and why
  supervisor reap PID                               # this one; asks for confirmation
  supervisor reap --pidns INO --yes                 # all that keep a PID namespace from its end
  supervisor reap --all --monitor conmonrs --min-age 1m --yes -o json

Only zombies that nobody will wait for are freed: adopted ones whose reaper was seen not to wait
for them, by a `supervisor watch` or `run` that has run beside it for 10 s. The reaper goes on as
before.";

pub(super) const CHECK: &str = "Examples:
  supervisor check                                  # WARNING from 1 on, CRITICAL from 10
  supervisor check -w 5 -c 50 --min-age 10m";

pub(super) const RECORD: &str = "Examples:
  supervisor record --anonymous zombies.zst         # until Ctrl-C
  supervisor record --only-matching --reaper PID zombies.zst --duration 1m";

pub(super) const REPLAY: &str = "Examples:
  supervisor replay zombies.zst                     # as `watch` has said it
  zstdcat zombies.zst | head -100 | zstd | supervisor replay --partial -";

pub(super) const DOCTOR: &str = "Examples:
  supervisor doctor                                 # exit code 1 if anything is missing";

pub(super) const SCHEMA: &str = "Examples:
  supervisor schema ecs > ecs.schema.json";

pub(super) const INSTALL: &str = "Examples:
  supervisor install --systemd                      # as root, on this host
  supervisor install --systemd --dry-run            # print the unit only
  supervisor install --systemd --root DIR --prefix /usr";

pub(super) const COMPLETIONS: &str = "Examples:
  supervisor completions bash > /usr/share/bash-completion/completions/supervisor
  supervisor completions zsh > /usr/local/share/zsh/site-functions/_supervisor
  supervisor completions fish > /usr/share/fish/vendor_completions.d/supervisor.fish";

pub(super) const MAN: &str = "Examples:
  supervisor man trace | man -l -                   # read one
  supervisor man --dir /usr/local/share/man/man1    # install all";

pub(super) const DEMO: &str = "Examples:
  supervisor demo                                   # the incident; as root, a few seconds
  supervisor demo F4 F17                            # these families of causes
  supervisor demo --list                            # which there are, and which can be had here";
