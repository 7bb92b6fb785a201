//! Tests of container runtimes: leaks are reported exactly where they exist. The monitor above each runtime is a
//! subreaper. It waits for the processes that it started and never for those that it adopts, and it is a known leak.

use anyhow::{Context as _, Result};
use supervisor_lab::{Lab, NO_SUCH_COMMAND, PidNs, Pod, Runtime, bundle};
use supervisor_tests::supervisor_bin;

use super::{FIXTURE, Run, expected, leaks};

/// Runs a runtime's verb under `supervisor leaks`. Returns its exit code and the reported leaks.
fn left_by(
    lab: &Lab,
    runtime: Runtime,
    pid_ns: PidNs<'_>,
    verb: &str,
    command: &[&str],
) -> Result<(i64, Vec<(String, String)>)> {
    let id = lab.container_id(&format!("{}-{verb}", runtime.name()));
    let bundle = bundle(lab, &id, pid_ns, command)?.display().to_string();
    let program = runtime.find().with_context(|| format!("{} is not installed", runtime.name()))?;
    let (program, state) = (program.display().to_string(), lab.state(runtime.name()).display().to_string());
    let mut words = vec![FIXTURE, "leaves-a-monitor", &program, "--root", &state];
    words.extend(Some("--cgroup-manager=disabled").filter(|_| runtime == Runtime::Crun));
    words.extend([verb, "--bundle", &bundle, &id]);
    let dir = tempfile::tempdir()?;
    let known = format!("args {FIXTURE} monitor-that-stays # the stand-in monitor\n");
    std::fs::write(dir.path().join("allow"), known)?;
    let args = ["-o", "json", "--allow", "allow", "--"];
    let run = Run::start(dir, &[], &[&args[..], &words].concat())?;
    let report = run.report()?;
    let code = report["command"]["exit_code"].as_i64().context("the runtime was killed")?;
    Ok((code, leaks(&report)))
}

const CRUN: (&str, &str) = ("unreaped", "crun");
const STAGES: [(&str, &str); 2] = [("unreaped", "youki:[1:INTER]"), ("unreaped", "youki:[2:INIT]")];

#[test]
fn a_failing_create_leaves_what_its_runtime_does_not_reap() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let pod = Pod::start(&lab)?;
    let joined = PidNs::Joined(&pod);
    for (runtime, pid_ns, left) in [
        (Runtime::Crun, PidNs::Own, &[][..]),
        (Runtime::Crun, PidNs::Host, &[]),
        (Runtime::Crun, PidNs::UserNs, &[CRUN]),
        (Runtime::Crun, joined, &[CRUN]),
        (Runtime::Runc, PidNs::Own, &[]),
        (Runtime::Runc, PidNs::Host, &[]),
        (Runtime::Runc, joined, &[]),
        (Runtime::Youki, PidNs::Own, &STAGES),
        (Runtime::Youki, PidNs::Host, &STAGES),
        (Runtime::Youki, joined, &STAGES),
    ] {
        let (code, found) = left_by(&lab, runtime, pid_ns, "create", &[NO_SUCH_COMMAND])?;
        assert_ne!(code, 0, "{runtime:?} in {pid_ns:?} has succeeded");
        assert_eq!(found, expected(left), "{runtime:?} in {pid_ns:?}");
    }
    Ok(())
}

/// youki can miss the end of a container that ends before youki waits for SIGCHLD, and then never ends. So this container
/// does not end at once.
#[test]
fn a_container_that_runs_to_its_end_leaves_nothing() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sleep"])?;
    let pod = Pod::start(&lab)?;
    for runtime in [Runtime::Crun, Runtime::Runc, Runtime::Youki] {
        for pid_ns in [PidNs::Own, PidNs::Joined(&pod)] {
            let (code, found) = left_by(&lab, runtime, pid_ns, "run", &["sleep", "5"])?;
            assert_eq!((code, found), (0, Vec::new()), "{runtime:?} in {pid_ns:?}");
        }
    }
    Ok(())
}

/// Runs podman under `supervisor leaks`, and removes the container afterwards. crun refuses a hybrid cgroup hierarchy.
const PODMAN: &str = r#"
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || {
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
}
podman="podman --root $LAB/s --runroot $LAB/r --tmpdir $LAB/t --events-backend=none --cgroup-manager=cgroupfs"
options="--network=none --ulimit nofile=1000:1000 --ulimit nproc=9000:9000"
if [ "$PID_NS" = own ]; then
    options="$options --cgroups=disabled"
else
    # podman refuses such a PID namespace without a control group. For a privileged container, crun loads no program
    # for devices, for which it would raise a limit.
    options="$options --privileged --pids-limit=-1 --cgroup-parent=/$NAME"
fi
if [ "$PID_NS" = joined ]; then
    $podman --runtime=crun run -d --name "$NAME-base" $options --rootfs "$LAB/rootfs" sleep 600 >&2 || exit
    options="$options --pid=container:$NAME-base"
elif [ "$PID_NS" = host ]; then
    options="$options --pid=host"
fi
"$SUPERVISOR" leaks -o json --settle 5s -- $podman --runtime=crun run --name "$NAME" $options "$@"
code=$?
$podman rm -f -t 0 "$NAME" >/dev/null
[ "$PID_NS" != joined ] || $podman rm -f -t 0 "$NAME-base" >/dev/null
# conmon has a group of its own there, and may still be about to end.
left=600
while [ -d "/sys/fs/cgroup/$NAME" ] && [ $((left -= 1)) -gt 0 ]; do
    rmdir "/sys/fs/cgroup/$NAME/conmon" "/sys/fs/cgroup/$NAME" 2>/dev/null || sleep 0.1
done
exit $code
"#;

/// `pid_ns` is `own`, `host`, or `joined`: that of another container, which runs before.
fn left_by_podman(
    lab: &Lab,
    name: &str,
    pid_ns: &str,
    args: &[&str],
) -> Result<(i64, Vec<(String, String)>)> {
    let variables = [
        format!("NAME={}", lab.container_id(name)),
        format!("PID_NS={pid_ns}"),
        format!("LAB={}", lab.path().display()),
        format!("SUPERVISOR={}", supervisor_bin()?.display()),
    ];
    let [name, pid_ns, place, program] = &variables;
    let before = ["env", name, pid_ns, place, program, "unshare", "--mount", "sh", "-c", PODMAN, "sh"];
    let run = Run::of(tempfile::tempdir()?, &[&before[..], args].concat())?;
    let report = run.report()?;
    let code = report["command"]["exit_code"].as_i64().context("podman was killed")?;
    Ok((code, leaks(&report)))
}

#[test]
fn podman_leaves_what_its_container_does_not_reap() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sh", "sleep", "true"])?;
    let rootfs = lab.rootfs().display().to_string();
    let foreground = ["--rm", "--rootfs", &rootfs];
    for (name, command, code) in [("fine", "true", 0), ("fails", NO_SUCH_COMMAND, 127)] {
        let found = left_by_podman(&lab, name, "own", &[&foreground[..], &[command]].concat())?;
        assert_eq!(found, (code, Vec::new()), "{command}");
    }
    let command = ["-d", "--rootfs", &rootfs, "sh", "-c", "(sleep 0.1 &); exec sleep 600"];
    let left = expected(&[("running", "conmon"), ("running", "sleep"), ("unreaped", "sleep")]);
    assert_eq!(left_by_podman(&lab, "stays", "own", &command)?, (0, left));
    Ok(())
}

/// A container that joins the PID namespace of another one leaves its orphans to PID 1 there. In the host's, conmon
/// adopts them and reaps them.
#[test]
fn podman_in_another_pid_namespace_leaves_what_is_not_reaped_there() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sh", "sleep", "true"])?;
    let rootfs = lab.rootfs().display().to_string();
    let foreground = ["--rm", "--rootfs", &rootfs];
    let stays = ["-d", "--rootfs", &rootfs, "sh", "-c", "(sleep 0.1 &); exec sleep 600"];
    let of_host = [("running", "conmon"), ("running", "sleep")];
    let of_joined = [&of_host[..], &[("unreaped", "sleep")]].concat();
    for (pid_ns, left) in [("joined", &of_joined[..]), ("host", &of_host)] {
        for (name, command, code) in [("fine", "true", 0), ("fails", NO_SUCH_COMMAND, 127)] {
            let found = left_by_podman(&lab, name, pid_ns, &[&foreground[..], &[command]].concat())?;
            assert_eq!(found, (code, Vec::new()), "{command} with --pid={pid_ns}");
        }
        let found = left_by_podman(&lab, "stays", pid_ns, &stays)?;
        assert_eq!(found, (0, expected(left)), "--pid={pid_ns}");
    }
    Ok(())
}
