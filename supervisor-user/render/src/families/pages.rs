//! Contains the texts of the families' pages: facts for the person on the node. docs/families.md is generated from
//! them.

use supervisor_model::family::Family;

/// The page of a family. Text is Markdown with code spans only.
#[derive(Debug, PartialEq, Eq)]
pub struct FamilyPage {
    /// The symptoms that the person on the host sees.
    pub looks_like: &'static str,
    /// The mechanism: what the kernel does and what the reaper fails to do.
    pub why: &'static str,
    /// The observations that supervisor needs to name the family, and those that lower the confidence.
    pub evidence: &'static str,
    /// The remedies, best first.
    pub remedies: &'static [&'static str],
    /// Common attempts that will not help.
    pub wont_help: &'static [&'static str],
    /// Public threads (`owner/repo#N`), manual pages, kernel files.
    pub sources: &'static [&'static str],
}

/// The introduction of the book.
pub(super) const INTRO: &[&str] = &[
    "# Families of un-reaped processes",
    "A process that has exited stays as a zombie until its parent waits for it. Each finding of `supervisor` names one \
     family: the class of cause, with what to do and what will not help. This file is generated from the program, which \
     carries the same pages: `supervisor explain --family F1`. `supervisor demo F1` makes it happen, and shows what is said.",
    "Read *Do* first, *Will not help* second. *Evidence* says what supervisor must have seen before it names the family, \
     and from where; where less was seen, the finding's `confidence` is lower. Names such as `reaper.adopted` are fields \
     of the event, in docs/events.md.",
    "What holds for all: a zombie keeps its pid in every PID namespace above it and counts in `pids.current` and \
     RLIMIT_NPROC; it holds no memory and no files. No signal does anything to it. Only its real parent, the `reaper`, \
     can reap it, or its tracer first. When the reaper dies, `forget_original_parent` gives the zombie to the next \
     reaper, chosen by `find_new_reaper`: a living thread of the same process, else the nearest ancestor that is a \
     subreaper at the dying parent's PID namespace level, else PID 1 of the dying parent's namespace.",
    "**Which page am I?** The rules are tried in this order; the first yes wins.",
];

/// The questions in the order in which the rules are tried.
pub(super) const WHICH: &[(&str, &[Family])] = &[
    ("Has it exited, but its state is not Z yet? (PID 1 of a namespace: F8)", &[Family::F12, Family::F8]),
    ("Is another of its threads not Z?", &[Family::F9]),
    ("Does a tracer hold it or one of its threads?", &[Family::F10]),
    ("Is its exit signal another than SIGCHLD?", &[Family::F14]),
    ("Is every thread of the reaper stopped, frozen or in D?", &[Family::F11]),
    ("Did the reaper wait for it with WNOWAIT only?", &[Family::F15]),
    ("Does the reaper run, or want to, with a SIGCHLD pending?", &[Family::F24]),
    ("Is the reaper inside a wait for another child of its own?", &[Family::F20]),
    ("Does the reaper read the zombie's output, which another process holds open?", &[Family::F19]),
    ("Is SIGCHLD blocked and pending in the reaper?", &[Family::F21]),
    ("Was the SIGCHLD handler that reaped replaced?", &[Family::F22]),
    ("Did the reaper execute another program after it had forked the zombie?", &[Family::F23]),
    ("Is the zombie a monitor: conmon, conmonrs, a shim?", &[Family::F7]),
    ("Is it a runtime's command or helper, not a container's init?", &[Family::F6]),
    ("Did the reaper wait for any child after the exit, and get others?", &[Family::F17]),
    ("Does the reaper wait in rounds?", &[Family::F18]),
    ("Adopted, with an init among the creators that is not the reaper?", &[Family::F5]),
    ("Adopted by PID 1 of its namespace, with an exec session among the creators?", &[Family::F3]),
    ("Adopted by PID 1 of its namespace?", &[Family::F2, Family::F16]),
    ("Adopted by a subreaper?", &[Family::F1]),
    ("The reaper's own child?", &[Family::F4]),
];

/// The paragraphs below the table, with facts that the table does not contain.
pub(super) const BESIDE: &[&str] = &[
    "Beside the table: F8 is a finding about a PID namespace and lists the processes that block it, each of its own \
     family. F13 never leaves a zombie and is never a finding. F9 and F12 are no zombies: they are a finding \
     (`exit-blocked`) if the process was told to exit and has not for 5 s, and else only `supervisor explain PID` tells them. F16 is advice within F2.",
];

/// Returns the page of a family.
pub(super) const fn page(family: Family) -> &'static FamilyPage {
    match family {
        Family::F1 => &F1,
        Family::F2 => &F2,
        Family::F3 => &F3,
        Family::F4 => &F4,
        Family::F5 => &F5,
        Family::F6 => &F6,
        Family::F7 => &F7,
        Family::F8 => &F8,
        Family::F9 => &F9,
        Family::F10 => &F10,
        Family::F11 => &F11,
        Family::F12 => &F12,
        Family::F13 => &F13,
        Family::F14 => &F14,
        Family::F15 => &F15,
        Family::F16 => &F16,
        Family::F17 => &F17,
        Family::F18 => &F18,
        Family::F19 => &F19,
        Family::F20 => &F20,
        Family::F21 => &F21,
        Family::F22 => &F22,
        Family::F23 => &F23,
        Family::F24 => &F24,
    }
}

static F1: FamilyPage = FamilyPage {
    looks_like: "`ps` shows `[crun] <defunct>`, state Z, under `conmonrs` or another monitor that is alive and sleeps. \
        The Pod stays in Terminating. `reaper.adopted` and `reaper.is_subreaper` are true, the nearest `creators[]` are \
        a runtime that is gone, and `reaper.last_wait` was for another pid. If the container joined its pod's PID \
        namespace (`pid_ns.mode` joined) and the pod was stopped, `pause` hangs too: F8.",
    why: "The monitor set PR_SET_CHILD_SUBREAPER, so orphans below it become its children, but it waits only for pids \
        that it knows. crun forks twice when it joins a PID namespace: its first stage exits, and the container's init is \
        an orphan that `find_new_reaper` gives to the monitor. If the start fails, crun's own `waitpid` gets ECHILD, since \
        the init is not its child, and nobody else knows the pid. runc keeps its stages its own children \
        (CLONE_PARENT) and reaps them.",
    evidence: "Adoption: the creator, kept from the fork hook, is not the present parent. Subreaper: \
        `signal->is_child_subreaper` through BTF; /proc does not show it. Waits: `sched_process_wait`, always for other \
        pids, none for any child. Confidence drops when the process was there before the watch (creators unknown), or \
        when few waits were seen; waits through io_uring pass no hook.",
    remedies: &[
        "`supervisor reap PID` or `supervisor reap --pidns INO`: the monitor waits for the zombie and goes on. Pod and \
         containers keep their logs and exit statuses.",
        "conmon-rs: upgrade to 0.6.6 or later. It looks for exited children once after a failed create; a later or \
         second orphan can still stay. It does not help with the orphan of an exec or of a running container; neither \
         does runc.",
        "Or let CRI-O use conmon (C), which reaps any child on SIGCHLD, or, against failed creates, runc as the runtime.",
        "Or give each container its own PID namespace (`shareProcessNamespace: false`): crun then forks once, and reaps \
         its child.",
        "Own monitor: on each SIGCHLD, find the orphans with `waitid(P_ALL, …, WNOHANG | WNOWAIT | WEXITED)` and wait for \
         those that it does not know, by pid. A loop over `waitpid(-1)` is right only if no other part of the program \
         waits by pid.",
        "Stop-gap: drain the node, then `kill -KILL` the monitor. Its zombies go to the next subreaper or the host's init, \
         which reaps; containers under that monitor lose log and exit status.",
    ],
    wont_help: &[
        "SIGTERM to conmon-rs: it stops the sandbox and waits for it. The sandbox waits for the zombie, so a Pod that still \
         worked is blocked too.",
        "SIGKILL to the zombie or to `pause`.",
        "`kubectl delete --force`: it only removes the API object; the processes stay on the node.",
        "Restarting the kubelet or CRI-O: the monitor survives both.",
        "An init inside the container: the orphan never goes there.",
    ],
    sources: &[
        "containers/conmon-rs#2242",
        "containers/conmon-rs#2415",
        "cri-o/cri-o#8272",
        "containers/crun#1482",
        "cri-o/cri-o#688",
        "prctl(2)",
        "kernel/exit.c",
    ],
};

static F2: FamilyPage = FamilyPage {
    looks_like: "Zombies with PPID 1 inside the container, more by the day. On the host their parent is the application \
        whose last number in `NSpid` of /proc/PID/status is 1. `reaper.is_pidns_init` and `reaper.adopted` are true.",
    why: "An orphan in a PID namespace goes to its PID 1 (`find_new_reaper`) unless a subreaper of that namespace stands \
        between. The subreaper search does not leave the namespace, so the shim outside never gets it. This PID 1 is \
        an application: it waits for the children that it started, or for none. The end is pid exhaustion: `pids.max`, then \
        `pid_max`; fork fails with EAGAIN.",
    evidence: "Adoption from the fork hook, PID 1 from the namespace's numbers (`NSpid`), and in `sched_process_wait` no \
        wait for any child after the exit. Confidence drops when creators are unknown (`zombie-existing`): then the child \
        may be PID 1's own, which is F4, and an init would not help.",
    remedies: &[
        "Docker, podman: `docker run --init`, `podman run --init`, or `init: true` in Compose.",
        "Image: make an init PID 1, such as `ENTRYPOINT [\"tini\", \"--\", \"app\"]`.",
        "Kubernetes: `shareProcessNamespace: true`, so that `pause` is PID 1 and reaps (F16), or an init in the image.",
        "In the application: `while (waitpid(-1, &status, WNOHANG) > 0)` on SIGCHLD, if no part of it waits by pid (Go, GLib \
         and Java do). Else reap only pids that it does not know.",
        "Stop-gap: restart the container. Its zombies go with the namespace.",
    ],
    wont_help: &[
        "SIGKILL to the zombies.",
        "A script that kills parents of zombies: the parent is the tenant's PID 1, and that ends the container.",
        "Raising `pids.max`: it only buys time.",
    ],
    sources: &[
        "containerd/containerd#9979",
        "containerd/containerd#13334",
        "podman-container-tools/podman#16431",
        "akash-network/support#657",
        "pid_namespaces(7)",
        "kernel/exit.c",
    ],
};

static F3: FamilyPage = FamilyPage {
    looks_like: "As F2, but the zombies are named like a probe's parts (`healthcheck.sh`, `sh`, `tee`, `grep`) and come \
        at a fixed period. Among `creators[]` is a runtime with verb `exec`, and `origin` is `exec` or `healthcheck`.",
    why: "A probe or exec session starts in the container's namespace with its parent outside. When its first process ends, \
        or is killed at the probe's timeout, the children it has not waited for go to the container's PID 1, an \
        application that does not expect them. The subreaper search stops at the namespace's border, so the shim does \
        not get them.",
    evidence: "All of F2's, and `runc exec` or `crun exec` (from its exec arguments) in the creator chain; repeated exits \
        of the same name give the period. Confidence drops when the creators are older than the watch, or when only one was \
        seen: an administrator's exec looks the same as a probe.",
    remedies: &[
        "A probe that does not fork: `httpGet`, `tcpSocket` or `grpc` instead of `exec`, or `sh -c 'exec command'`.",
        "Let the probe's command end well before `timeoutSeconds`. Do not use the `timeout` of busybox for it: it leaves its \
         timer to PID 1 at each call; that of coreutils does not.",
        "An init as PID 1: `docker run --init`, `podman run --init`, tini in the image, or `shareProcessNamespace: true`.",
        "Stop-gap: restart the container.",
    ],
    wont_help: &[
        "SIGKILL to the zombies.",
        "A longer period: fewer zombies a day, the same end.",
        "Upgrading the runtime or the shim: neither is the parent.",
    ],
    sources: &[
        "moby/moby#47583",
        "kubernetes/kubernetes#81042",
        "minio/minio#5514",
        "containerd/containerd#4255",
        "containerd/containerd#5153",
        "bitnami/charts#3559",
        "kernel/exit.c",
    ],
};

static F4: FamilyPage = FamilyPage {
    looks_like: "A zombie under the very process that started it, which is alive and works. `reaper.adopted` is false, and \
        the first of `creators[]` is the reaper.",
    why: "While a parent lives only it can reap its child: `do_wait` looks through the caller's own children and no others. \
        This parent forked and forgot: a `Popen` that is never polled, a `cmd.Start` without `Wait`, a shell that used \
        `exec` and so gave its background jobs to a program that does not know them.",
    evidence: "The creator from the fork hook is the present real parent (same pid and start time), and \
        `sched_process_wait` shows no wait by it that could match. The reaper's `cminflt` (field 11 of /proc/PID/stat), \
        which grows with most reaped children, does not grow. Confidence drops when the fork was not seen, when the \
        reaper waits for other children of its own, or when it may be between two rounds: then F17 or F18.",
    remedies: &[
        "Fix the parent: keep the child's handle and wait for it, or loop `while (waitpid(-1, &status, WNOHANG) > 0)` \
         on SIGCHLD.",
        "If nobody needs the exit status: ignore SIGCHLD in the parent before it forks. Zombies that are there already stay.",
        "Stop-gap: restart the parent; its zombies go to the next subreaper or PID 1, which may reap. If the parent is a \
         container's PID 1, that ends the container.",
        "Stop-gap for a parent that sleeps until a signal comes (`sigwait`, `signalfd`): `kill -CHLD PARENT`. `youki run` can \
         miss a container that ends at once, and such a signal wakes it.",
    ],
    wont_help: &[
        "tini, `--init` or any other init: it reaps orphans, and this child has a parent.",
        "`kill -CHLD` to a parent that neither handles that signal nor waits for it.",
        "SIGKILL to the zombie.",
    ],
    sources: &["krallin/tini#130", "krallin/tini#138", "moby/moby#39326", "wait(2)", "kernel/exit.c"],
};

static F5: FamilyPage = FamilyPage {
    looks_like: "tini or another init runs in the container, and zombies pile up nevertheless, under another process. \
        tini had warned on its standard error that it is not PID 1 and not registered as a subreaper.",
    why: "Orphans go to the nearest ancestor that is a subreaper at the dying parent's PID namespace level, else to that \
        namespace's PID 1 (`find_new_reaper`). An init that is neither gets nothing. It happens with `hostPID: true`, \
        `--pid=host`, `--pid=container:ID` and `shareProcessNamespace: true`, and when a shell is PID 1 and starts the \
        init without `exec`.",
    evidence: "An init (by exec filename) is among `creators[]` and is not the reaper; its `NSpid` does not end in 1; \
        `signal->is_child_subreaper` is 0 (through BTF; /proc does not show it). Confidence drops when its exec was not \
        seen and only its name says that it is an init.",
    remedies: &[
        "Run `tini -s -- app`, or set `TINI_SUBREAPER` in its environment: then it is a subreaper.",
        "Or make it PID 1: a PID namespace of its own, or `exec tini -- app` in the entry script.",
        "In a pod that shares its namespace, let `pause` reap (F16) and drop the init.",
    ],
    wont_help: &[
        "A second init below the first.",
        "Restarting the container in the same way.",
        "`tini -s` for processes that are not its descendants, such as those of an exec session.",
    ],
    sources: &[
        "krallin/tini#120",
        "krallin/tini#141",
        "flant/shell-operator#377",
        "semaphoreui/semaphore#3461",
        "prctl(2)",
        "kernel/exit.c",
    ],
};

static F6: FamilyPage = FamilyPage {
    looks_like: "The zombie is a part of the runtime: `runc:[1:CHILD]`, `[runc]`, `youki:[1:INTER]`. `runtime.stage` is \
        `intermediate`, or the zombie is the runtime's command itself. A container's init (`init`) that a monitor adopted \
        is F1, not this.",
    why: "Runtimes start a container through short-lived stages. runc's stages are children of the runtime's process \
        (CLONE_PARENT), which must wait for each. Old runc did not wait for its first stage. Where runc \
        exits soon and an init reaps, nobody notices; under a long-lived program that uses libcontainer, or a reaper that \
        does not reap, it leaves one zombie for each container or exec.",
    evidence: "The process's own name or the exec filename and verb of its creators, from the fork and exec hooks, and no \
        fitting wait in `sched_process_wait`. Confidence drops when only the name is known: any process can choose its \
        name.",
    remedies: &[
        "runc: 1.0.0-rc7 or later waits for `runc:[1:CHILD]`.",
        "A program with libcontainer inside: update the library, or reap any child.",
        "The helper's reaper is a monitor or an application: see F1 or F2 for it.",
        "Stop-gap: restart the reaper.",
    ],
    wont_help: &[
        "SIGKILL to the helper.",
        "Deleting the container: the helper is dead already, and no part of what is deleted can reap it.",
        "An init inside the container: the helper's parent is outside.",
    ],
    sources: &[
        "opencontainers/runc#1443",
        "opencontainers/runc#1506",
        "opencontainers/runc#2023",
        "cloudfoundry/garden-runc-release#136",
        "clone(2)",
    ],
};

static F7: FamilyPage = FamilyPage {
    looks_like: "`[conmon] <defunct>`, `[conmonrs] <defunct>` or `[containerd-shim] <defunct>`: the zombie is a monitor, \
        and its container is gone. Often hundreds, one for each exec, with an engine as the parent.",
    why: "Monitors fork once more to detach from the engine. The engine must wait for the first process; the \
        second is an orphan, and goes to the next subreaper or PID 1. Where PID 1 is the engine itself (podman's \
        service, containerd or dockerd in a container), it must reap it and often does not.",
    evidence: "The zombie's exec filename and arguments, kept from the exec hook, name a monitor; the reaper is from /proc. \
        Age matters. Confidence drops when only the name is known, and while the zombie is younger than a few seconds.",
    remedies: &[
        "An engine in a container: start that container with `--init` (`init: true`), or tini as PID 1.",
        "CRI-O, podman on the host: upgrade; both have fixed missing waits for conmon.",
        "`podman exec` through its API keeps a live conmon for 5 minutes: lower `exit_command_delay` in \
         containers.conf. Those are in state S; they are no leak and no finding.",
        "Stop-gap: restart the engine; on the host, init then reaps.",
    ],
    wont_help: &[
        "SIGKILL to the zombie monitor.",
        "Removing the container: the monitor has left it already.",
        "An init in the containers that the engine runs: the monitor is outside of them.",
    ],
    sources: &[
        "podman-container-tools/podman#16431",
        "podman-container-tools/podman#15377",
        "podman-container-tools/podman#5536",
        "cri-o/cri-o#5260",
        "openshift/openshift-docs#23598",
        "containerd/containerd#5708",
        "docker-library/docker#318",
    ],
};

static F8: FamilyPage = FamilyPage {
    looks_like: "A container or Pod cannot be stopped. Its PID 1 was killed and is still there: `ps` shows state S (old \
        kernels: D), a name in brackets since its memory is gone, and wchan `zap_pid_ns_processes`, or `do_wait` if what \
        blocks is its own child. `exec` into it fails. The finding is `namespace-blocked`; `blockers[]` lists every process that is in the way.",
    why: "When PID 1 of a PID namespace exits, `zap_pid_ns_processes` kills all others, waits for its own children \
        (`do_wait`; the orphans of those it killed are among them) and then sleeps until no other pid is left. Three kinds stay: a zombie whose parent is outside \
        (a container that joined by `setns`), a task that SIGKILL cannot reach (in D, or in a frozen version 1 \
        cgroup), and one held by a tracer outside. From then on a fork into the namespace fails with ENOMEM.",
    evidence: "The exit hook saw PID 1 and no release followed; its wchan (from /proc); then every process that has a \
        pid in it (`NSpid`, `ns/pid`), its state, its parent and `TracerPid`. Confidence drops without the right to read wchan, or when no \
        blocker is found (one may have gone in between).",
    remedies: &[
        "Zombie with the parent outside: make that reaper wait. Its own family says how, mostly F1.",
        "Task in D: see what it waits for (F11): storage, NFS, FUSE. It ends when that answers.",
        "Frozen, cgroup version 1: `echo THAWED > freezer.state` in its cgroup.",
        "Traced: detach or end the tracer (F10).",
        "Last: end the parent outside. The zombie goes to the next subreaper or init, and when that reaps, PID 1 is gone.",
    ],
    wont_help: &[
        "SIGKILL to PID 1: it is past the point where it takes signals.",
        "`kubectl delete --force`, `docker rm -f`: the first only removes the API object, the second waits or fails.",
        "Restarting the kubelet, CRI-O or containerd: monitors and shims, the parents, survive that.",
    ],
    sources: &[
        "moby/moby#34488",
        "moby/moby#41323",
        "moby/moby#37627",
        "moby/moby#31614",
        "cri-o/cri-o#8272",
        "pid_namespaces(7)",
        "kernel/pid_namespace.c",
    ],
};

static F9: FamilyPage = FamilyPage {
    looks_like: "`ps` shows `Zl` and `<defunct>`, yet the process uses CPU or holds its ports. `ps -L -p PID` (or \
        /proc/PID/task) shows threads that are not Z, and `Threads` in /proc/PID/status is above 1. A process that \
        works on is no finding in `watch`; `supervisor explain PID` tells it. A killed one whose other thread does not end \
        is the finding `exit-blocked`.",
    why: "The first thread has ended (`pthread_exit` in main) and others live. /proc/PID shows the first thread's state. \
        The process has not exited: `delay_group_leader` keeps `do_wait` from reaping a leader while other threads of its \
        group are there, and no SIGCHLD is sent before the last one is gone. \
        SIGKILL ends the first thread at once, but a thread in D only when what it waits for comes: a FUSE or NFS server, a \
        disk. So the runtime, shim or conmon is not told that the container has ended, and the Pod cannot be deleted.",
    evidence: "A state other than Z in /proc/PID/task/TID/stat, and no exit of the whole group (`signal->live` above 0 in \
        the exit hook). A thread that has exited under a tracer is Z, not alive: F10. Confidence is full when /proc can be read.",
    remedies: &[
        "Usually nothing: it works as written. Monitoring that reads only /proc/PID/stat is what is wrong.",
        "To end it: SIGTERM or SIGKILL to the pid; living threads take signals. Then the parent can reap.",
        "A thread in D keeps it: read its wchan (`ps -L -o lwp,stat,wchan:32 -p PID`) and mend the storage. A FUSE file system \
         can be given up: `echo 1 > /sys/fs/fuse/connections/N/abort`. Its programs get errors until it is mounted again.",
        "In the program: let main wait for its threads (`pthread_join`) instead of leaving first.",
    ],
    wont_help: &[
        "Waiting in the parent: it waits until the last thread ends.",
        "Restarting or killing the parent: the threads live on under another.",
        "An init.",
    ],
    sources: &["influxdata/telegraf#10920", "checkpoint-restore/criu#57", "pthread_exit(3)", "kernel/exit.c"],
};

static F10: FamilyPage = FamilyPage {
    looks_like: "A zombie with `TracerPid` not 0 in /proc/PID/status, or in /proc/PID/task/TID/status of any of its \
        threads. The parent sits in its wait (wchan `do_wait`), or its `waitpid` with WNOHANG returns 0, as if the child \
        were alive.",
    why: "A traced zombie is visible only to its tracer: `wait_consider_task` lets the real parent's `do_wait` pass it by. \
        When the tracer waits or detaches, the kernel tells the real parent, which can then reap. A traced thread \
        that has exited stays too until its tracer waits, and while it stays `delay_group_leader` keeps the \
        leader. A parent that traces its own child is not concerned: its wait reaps.",
    evidence: "`TracerPid` of the leader and of every thread, and the tracer's name and state. That is direct: confidence \
        is high, unless supervisor runs in a PID namespace that does not contain the tracer: then /proc shows 0.",
    remedies: &[
        "Detach: `detach` in gdb, end `strace -p`, `dlv` or `rr` in the ordinary way.",
        "A tracer that is stopped: `kill -CONT TRACER`.",
        "Last: end the tracer. `exit_ptrace` detaches all that it traces, and the parent can reap at once. Processes that \
         it traces with PTRACE_O_EXITKILL are killed with it.",
        "Author of the tracer: wait for all traced threads with `__WALL`, exited ones too.",
    ],
    wont_help: &[
        "Fixing the parent: it waits already and cannot see the child.",
        "SIGKILL to the zombie.",
        "Ending the parent: the next one cannot see it either.",
    ],
    sources: &["rr-debugger/rr#3882", "ptrace(2)", "kernel/exit.c", "kernel/ptrace.c"],
};

static F11: FamilyPage = FamilyPage {
    looks_like: "The reaper is in T (wchan `do_signal_stop`), in t, in D, or in a frozen cgroup. A frozen process is in D \
        in a version 1 cgroup, in S in a version 2 one, so its state alone does not show it. In D with wchan \
        `kernel_clone` it has called vfork and waits for that child to exec or exit. Or its only thread sleeps in a call \
        such as `flock`, `open` of a FIFO, `write` to a full pipe or `connect`; or in `futex`, after it has waited for any \
        child before, or with SIGCHLD blocked, as in its own handler.",
    why: "It may be a perfect reaper: it cannot run, so it cannot wait. Any thread of a process can wait for its \
        children, so all of its threads must be held. A signal handler with SA_RESTART does not end the call that its \
        thread is in.",
    evidence: "State and wchan of each thread of the reaper, `cgroup.events` (frozen 1) of its cgroup, or \
        version 1's `freezer.state`; the system call of its only thread (/proc/PID/task/TID/syscall); its earlier waits in \
        `sched_process_wait`. Confidence drops when a thread of it can run, when it was seen in D only once (D for a moment \
        is ordinary), and for a call that can end at any time.",
    remedies: &[
        "Stopped: `kill -CONT REAPER`. In t a debugger holds it: continue or detach there.",
        "Frozen, version 2: `echo 0 > /sys/fs/cgroup/PATH/cgroup.freeze`. Version 1: `echo THAWED > freezer.state`.",
        "Paused container: `docker unpause`, `podman unpause`, `runc resume`, `crun resume`.",
        "In D: `cat /proc/REAPER/stack` says on what: a dead NFS server, FUSE daemon or disk. Mend that.",
        "vfork: look at the child that has not called exec yet.",
        "In another call: find the lock (`/proc/locks`), the peer or the reader of the pipe that it waits for.",
        "In `futex`: `gdb -p REAPER -batch -ex bt` shows which lock. A signal handler may take no lock that the \
         interrupted code can hold, as in `malloc` and `printf` (signal-safety(7)).",
    ],
    wont_help: &[
        "An init, or a change in the reaper's code: its code is not the problem.",
        "SIGKILL to a reaper in D or in a frozen version 1 cgroup: it acts only when it wakes. A stopped one, or one \
         frozen in a version 2 cgroup, or in vfork, does die of it.",
        "SIGCONT to a frozen process.",
    ],
    sources: &["moby/moby#37886", "moby/moby#31007", "vfork(2)", "signal(7)", "cgroups(7)", "kernel/fork.c"],
};

static F12: FamilyPage = FamilyPage {
    looks_like: "The process was killed or has called exit, is still there and is not Z, but D, S or R, often as a name in \
        brackets with no memory. After 5 s it is the finding `exit-blocked`, unless it runs; `supervisor explain PID` tells \
        it and prints wchan.",
    why: "`do_exit` gives back what the process holds before `exit_notify` makes it a zombie: memory (`exit_mm`), files \
        (`exit_files`, and last closes in `exit_task_work`), namespaces. A close that waits for a dead server or a \
        FUSE daemon keeps it there. A killed process in a frozen control group of version 1 does not begin before \
        it is thawed; version 2 lets it die. It is no zombie: no parent is told yet and none can reap it. One that still writes a \
        core dump has not come this far: its group has not passed the exit hook.",
    evidence: "The exit hook saw the whole group go and /proc shows another state than Z. The hook fires before \
        `exit_mm` from 6.16 on, after it earlier. wchan names the place. PID 1 of a PID namespace in `zap_pid_ns_processes` or `do_wait` is F8. Confidence \
        drops when wchan cannot be read, and below a second of age: much memory takes time.",
    remedies: &[
        "Read `cat /proc/PID/wchan` and, as root, `cat /proc/PID/stack`.",
        "Network or FUSE file system: bring the server or daemon back; FUSE can be cut off by \
         `echo 1 > /sys/fs/fuse/connections/N/abort`.",
        "Frozen: thaw the control group, `echo THAWED > …/freezer.state`.",
        "Wait, where it gives back much memory or flushes files.",
    ],
    wont_help: &["SIGKILL: it exits already.", "Fixing, restarting or killing the parent.", "An init."],
    sources: &["moby/moby#37886", "core(5)", "kernel/exit.c"],
};

static F13: FamilyPage = FamilyPage {
    looks_like: "No zombie at all: a child is gone the moment it exits, and its parent's waits end with ECHILD. The parent's \
        `SigIgn` in /proc/PID/status has bit 0x10000, or it has set SA_NOCLDWAIT, which /proc does not show. This page \
        gives no finding.",
    why: "In `exit_notify`, `do_notify_parent` sees that the parent ignores SIGCHLD, and the child releases itself \
        (`release_task`). A zombie whose parent dies is released in the same way if the new parent ignores SIGCHLD. \
        Not covered: a child that became a zombie before SIGCHLD was ignored, a traced one, and one with another exit \
        signal (F14). An ignored SIGCHLD stays ignored through fork and exec; exec clears SA_NOCLDWAIT.",
    evidence: "`SigIgn` of the parent, and a release by `sched_process_free` that follows the exit at once, without a wait. A \
        zombie under such a parent is another family, or is older than the setting; `reaper.sigchld` says `ignored`.",
    remedies: &[
        "Nothing, as far as zombies go.",
        "A program that needs exit statuses and gets ECHILD: set SIGCHLD to SIG_DFL before its first fork, since it may \
         have inherited the setting.",
        "Zombies older than the setting: the parent can still wait for them.",
    ],
    wont_help: &[
        "Setting SIGCHLD to ignored to get rid of zombies that are there: it works for later exits only.",
        "A SIGCHLD handler that does nothing: that is not ignoring.",
    ],
    sources: &[
        "util-linux/util-linux#4014",
        "rfjakob/earlyoom#279",
        "sigaction(2)",
        "wait(2)",
        "kernel/signal.c",
    ],
};

static F14: FamilyPage = FamilyPage {
    looks_like: "A zombie whose parent does wait for any child and gets ECHILD. Field 38 of /proc/PID/stat (`exit_signal`) is \
        not 17: `awk '{print $(NF-14)}' /proc/PID/stat` prints it.",
    why: "The child was made by clone with another signal than SIGCHLD in its flags, or none. `eligible_child` skips such \
        children unless the wait has `__WALL` or `__WCLONE`; ignoring SIGCHLD does not release them either. exec \
        sets the signal back to SIGCHLD, and so does adoption by another process, so it is not an adopted child, and it \
        has not called exec since.",
    evidence: "`exit_signal` from the task iterator or field 38, which a zombie still has, and the flags of the reaper's \
        waits in `sched_process_wait`. That is direct: confidence is high. It drops when waits with `__WALL` were seen.",
    remedies: &[
        "In the parent: `waitpid(pid, &status, __WALL)`; in `waitid` the flag works from Linux 4.7 on.",
        "Or clone with SIGCHLD in the flags.",
        "Stop-gap: end the parent. The new parent gets a child with SIGCHLD, which any wait reaps.",
    ],
    wont_help: &[
        "A loop over `waitpid(-1, &status, WNOHANG)` without `__WALL`.",
        "Ignoring SIGCHLD in the parent.",
        "SIGKILL to the zombie; an init, while the parent lives.",
    ],
    sources: &["famzah/popen-noshell#12", "benfred/remoteprocess#2", "clone(2)", "wait(2)", "kernel/exit.c"],
};

static F15: FamilyPage = FamilyPage {
    looks_like: "A zombie whose parent did wait for it, successfully, and it is still Z. `reaper.last_wait.flags` has \
        WNOWAIT.",
    why: "With WNOWAIT, `wait_task_zombie` copies out the status and leaves the child as it is. It is a peek. No second \
        SIGCHLD follows, so a program that peeks and then fails or forgets to reap leaves the zombie for good. Peeking \
        first is good style (systemd and Go's runtime do it) when a wait without WNOWAIT follows.",
    evidence: "`sched_process_wait` with WNOWAIT by the reaper for this pid or for any child after the exit, and none that \
        could match without it. The hook fires on entry: what the call returned is not seen. Confidence drops for a \
        wait for any child, for a younger zombie (the reap may follow), and for reapers with io_uring.",
    remedies: &[
        "In the reaper: after the peek, `waitid(P_PID, pid, &info, WEXITED)`, on error paths too.",
        "If it peeks in a loop with P_ALL, reap each before the next peek: the same child comes back for ever.",
        "Stop-gap: restart the reaper.",
    ],
    wont_help: &[
        "SIGKILL to the zombie.",
        "`kill -CHLD` to a reaper that only peeks.",
        "An init, while the parent lives.",
    ],
    sources: &["uapi-group/kernel-features#40", "waitid(2)", "kernel/exit.c"],
};

static F16: FamilyPage = FamilyPage {
    looks_like: "A Kubernetes Pod with `pause` and with zombies in a container whose PID 1 is the application. No finding of \
        its own: it is advice within F2.",
    why: "`pause` reaps any child, but it is PID 1 of its own PID namespace. Without `shareProcessNamespace: true` each \
        container has another namespace with another PID 1, and `find_new_reaper` gives orphans to that PID 1. With sharing, \
        `pause` is PID 1 of all containers of the Pod.",
    evidence: "F2's evidence, `pid_ns.mode` own, and a cgroup or a monitor's arguments that say Kubernetes. Confidence is \
        F2's.",
    remedies: &[
        "`shareProcessNamespace: true` in the Pod's spec. Then containers see each other's processes, and the \
         application is not PID 1.",
        "Check that the pause image reaps: pause 3.0 does not, nor did OpenShift's `pod` before 2020.",
        "Or an init in the image: F2.",
    ],
    wont_help: &[
        "A newer `pause` without sharing: it is in another namespace.",
        "`hostPID: true`: orphans then go to monitors and the host's init, and the container sees the host.",
        "tini in the image together with sharing, unless run as `tini -s` (F5).",
    ],
    sources: &[
        "kubernetes/kubernetes#36853",
        "kubernetes/kubernetes#50865",
        "openshift/images#27",
        "Azure/acs-engine#2729",
        "pid_namespaces(7)",
    ],
};

static F17: FamilyPage = FamilyPage {
    looks_like: "A reaper with a SIGCHLD handler that reaps most children, and one or a few zombies stay, more after bursts. \
        Their number does not shrink. Which ones they are may change.",
    why: "Standard signals do not queue: two exits while SIGCHLD is pending or blocked are one signal. A handler that waits \
        once per signal is then one child behind for ever. `do_wait` takes the first exited child in the order of the \
        parent's list, so the next signal may fetch the old zombie and leave the new one. The same comes from a loop that \
        stops at the first child it does not know.",
    evidence: "After the exit the reaper waited for any child (`sched_process_wait`), others of its children were released \
        (`sched_process_free`) or its `cminflt` grew, and this one is still Z. Growth proves a reap; no growth proves \
        nothing (a child of vfork may have no faults). A SIGCHLD that is handled and not pending was delivered after the \
        zombie could be waited for. Confidence drops when only waits for single pids were seen: then it is F1 or F4. It is \
        `leaked` once the reaper has not waited for 10 s.",
    remedies: &[
        "In the handler loop until nothing is left: `while (waitpid(-1, &status, WNOHANG) > 0)`.",
        "Go on after an unknown pid, and after EINTR.",
        "signalfd, event loops: one read is not one child; loop there too.",
        "Stop-gap: `kill -CHLD REAPER` fetches one zombie for each signal that is handled.",
    ],
    wont_help: &[
        "SIGKILL to the zombie.",
        "An init, while the parent lives.",
        "A bigger signal queue (`ulimit -i`): SIGCHLD is not queued.",
    ],
    sources: &[
        "rfjakob/earlyoom#279",
        "wazuh/wazuh#3796",
        "containerd/containerd#13539",
        "the-tcpdump-group/tcpdump#972",
        "signal(7)",
    ],
};

static F18: FamilyPage = FamilyPage {
    looks_like: "Zombies that go by themselves after some seconds or minutes, all at once, and come again. \
        `reaper.last_wait` is for any child, with WNOHANG, at a steady interval.",
    why: "The reaper does wait for any child, but from a timer, or only when it starts its next child, and not on SIGCHLD. \
        A zombie lives until the next round. It is no leak while each round takes them all; it costs pids in between.",
    evidence: "At least two rounds of waits for any child in `sched_process_wait` and the interval between them; reported \
        zombies were released right after a round. From F4, which never waits, it differs by these rounds; from F17 in \
        that a round leaves nothing. Confidence drops with fewer rounds, with an unsteady interval, and when a zombie is \
        older than two intervals.",
    remedies: &[
        "Nothing, if the number stays small: raise `--grace` above the interval to hide them.",
        "Reap on SIGCHLD as well, or make the interval shorter.",
        "Let each round loop until `waitpid` returns 0; one wait a round falls behind.",
    ],
    wont_help: &[
        "SIGKILL to the zombie.",
        "Restarting the reaper: the rounds begin again.",
        "An init, while the parent lives.",
    ],
    sources: &[
        "krallin/tini#123",
        "openshift/router#111",
        "cri-o/cri-o#5260",
        "1bit-MONSTER/1bit-MONSTER#522",
        "wait(2)",
    ],
};

static F19: FamilyPage = FamilyPage {
    looks_like: "A zombie under a parent that sleeps in `pipe_read`, `poll` or a socket. The parent is perl with backticks, \
        a `subprocess` with captured output, a shell in `$(...)`. Something that the zombie had started in the background runs on.",
    why: "The parent reads the child's output until end of file and waits for the child after that. End of file comes when \
        the last writer closes the pipe. A background process inherits the write end, so the parent reads on although its \
        child has exited. The parent's code is right.",
    evidence: "The parent is in `read` or `poll` (/proc/PID/task/TID/syscall), and a process that descends from the zombie \
        (`sched_process_fork`) holds the write end of that pipe (/proc/PID/fd). Confidence drops where the ancestry of the \
        holder was not seen; a socket does not show who holds its other end. If another child of the parent holds it, the \
        parent reads that child's output first, and the prognosis is `late` only if it has reaped before.",
    remedies: &[
        "Redirect the output of what is started in the background: `daemon >/dev/null 2>&1 &`.",
        "Or end the process that holds the pipe. The verdict names it.",
        "In the parent: read only until the child has exited, or give the child a file for its output.",
    ],
    wont_help: &[
        "An init: the zombie has a living parent.",
        "Ending or restarting the parent: the next run of the same command does the same.",
        "SIGKILL to the zombie.",
    ],
    sources: &["Perl/perl5#11953", "pipe(7)", "read(2)"],
};

static F20: FamilyPage = FamilyPage {
    looks_like: "A parent with several children. It sleeps in `do_wait`, one of its children lives, and others that exited \
        before are zombies. They go one after the other.",
    why: "The parent waits for its children in an order of its own, each by its pid, and is inside the wait for one that \
        still runs. It comes to the zombie when that child has ended. Examples: dpkg-deb, a shell's pipeline, a script that \
        joins its workers in order.",
    evidence: "The parent has one thread, and that is inside `wait4` or `waitid` for another pid \
        (/proc/PID/task/TID/syscall). Confidence is medium: whether it asks for this one next is not seen before it does.",
    remedies: &[
        "Nothing, if the child that it waits for is meant to run on.",
        "If that child should have ended, look at it: it keeps the others waiting.",
        "In the parent: wait for any child (`waitpid(-1, ...)`) and look the pid up.",
    ],
    wont_help: &[
        "An init: the zombie has a living parent.",
        "Ending the parent: it works as it was made to.",
        "SIGKILL to the zombie.",
    ],
    sources: &["wait(2)", "kernel/exit.c"],
};

static F21: FamilyPage = FamilyPage {
    looks_like: "A shell or daemon that hangs in `wait`, its child a zombie. In /proc/PID/status bit 17 is set in `SigBlk` \
        and in `ShdPnd`. The same program works when it is started by hand.",
    why: "A signal mask survives fork and exec. A launcher that blocks SIGCHLD, for signalfd or `sigtimedwait`, and does not \
        restore the mask before exec gives it to its children. Such a child sleeps in `sigsuspend` or waits for its handler, \
        and the signal stays pending for ever.",
    evidence: "SIGCHLD is in the reaper's `SigBlk` and pending; it has a handler (`SigCgt`) or sleeps in `rt_sigsuspend`, and \
        asked for no child. If its own parent blocks SIGCHLD too, the mask was inherited.",
    remedies: &[
        "In the launcher: restore the signal mask between fork and exec (`sigprocmask`, `pthread_sigmask`; \
         `posix_spawnattr_setsigmask`; Python: `signal.pthread_sigmask` in the child).",
        "In the program: unblock SIGCHLD when it starts.",
        "For now: end the reaper. Who adopts its zombies may reap them.",
    ],
    wont_help: &[
        "`kill -CHLD` to the reaper: the signal is pending already.",
        "Restarting it from the same launcher: the mask is inherited again.",
        "An init: the zombie has a living parent.",
    ],
    sources: &["DOMjudge/domjudge#3669", "9fans/plan9port#6", "signal(7)", "sigsuspend(2)"],
};

static F22: FamilyPage = FamilyPage {
    looks_like: "A daemon that reaped its children for a while and does so no more. From some moment on every child stays. \
        In that moment it loaded a plug-in, a JVM or another language's runtime.",
    why: "There is one disposition of SIGCHLD for each process. A library that sets its own handler, or the default action, \
        takes away the one that reaped. Nothing tells the program.",
    evidence: "The reaper waited for any child before, and its `sa_handler` of SIGCHLD is another one now than at that wait \
        (`sighand_struct` in `sched_process_wait` and in the task iterator). An exec between the two does not count.",
    remedies: &[
        "Set the handler again after the library was loaded.",
        "Or wait outside of a signal handler: signalfd, a thread in `waitpid(-1)`, a pidfd for each child.",
        "Stop-gap: restart the daemon.",
    ],
    wont_help: &[
        "`kill -CHLD` to it: its handler is not there any more.",
        "An init: the zombies have a living parent.",
        "SIGKILL to the zombie.",
    ],
    sources: &["syslog-ng/syslog-ng#2099", "sigaction(2)"],
};

static F23: FamilyPage = FamilyPage {
    looks_like: "A zombie under a program that never started anything of that name. The same pid was another program, or \
        another run of the same one, when the zombie was forked. `sh -c 'helper & exec app'` does it.",
    why: "An exec keeps the pid and the children, and loses everything that the old program knew about them. The new program \
        waits for the children that it started, by their pids, or for none.",
    evidence: "The reaper's exec (`sched_process_exec`) is younger than the zombie's fork, and the reaper was its parent all \
        the time. The verdict names both programs.",
    remedies: &[
        "A window manager or daemon that restarts itself: collect what it does not know once after the start \
         (`waitpid(-1, ..., WNOHANG)` before it starts anything), or hand the pids over.",
        "A shell: no `exec` behind a background job; or start the job from a process that stays.",
        "Stop-gap: restart it.",
    ],
    wont_help: &[
        "An init: the zombie has a living parent.",
        "`kill -CHLD` to it: the new program does not know the child.",
        "SIGKILL to the zombie.",
    ],
    sources: &["awesomeWM/awesome#1193", "containers/bubblewrap#146", "execve(2)"],
};

static F24: FamilyPage = FamilyPage {
    looks_like: "Zombies under a process in state R, or under one whose container is at its CPU limit. They go when the load \
        does.",
    why: "The reaper has a SIGCHLD pending, or a handler that has noted it, and computes or waits for a processor. It comes \
        to the zombie when it runs.",
    evidence: "All threads of the reaper are in state R while SIGCHLD is pending or handled, or its first thread is, and it has \
        waited for any child or polled its children before: an event loop is in the first thread, and helper threads sleep. \
        `cpu.stat` of its control group shows whether it is throttled. Confidence is never high: a look is a moment.",
    remedies: &[
        "Wait, or look at why it computes for so long.",
        "A CPU limit (`cpu.max`) that throttles it: raise it.",
    ],
    wont_help: &[
        "A signal to the reaper: one is pending already.",
        "An init: the zombie has a living parent.",
        "SIGKILL to the zombie.",
    ],
    sources: &["proc(5)", "kernel/signal.c"],
};
