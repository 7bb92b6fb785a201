//! Tests the rules for zombies that something keeps from every wait: F10, F11, F14, F15.

use super::*;

#[test]
fn f10_held_by_a_tracer() {
    let traced =
        |pid, tid| own(|it, _| it.tracer = Some(Tracer { pid, name: Some("gdb".into()), tid, state: None }));
    says(
        &traced(9, 100),
        Family::F10,
        High..=High,
        &["gdb (pid 9) traces it", "app (pid 50) gets it only then"],
    );
    says(&traced(9, 102), Family::F10, High..=High, &["dead thread 102"]);
    // A parent that traces its child reaps it by any wait, but it collects a dead thread only by a wait for that
    // thread.
    says(&traced(50, 100), Family::F4, High..=High, &["!gdb"]);
    says(&traced(50, 102), Family::F10, High..=High, &["dead thread 102"]);
    // `TracerPid` names a thread, and the parent may have several threads.
    let mut by_thread = traced(51, 100);
    by_thread.reaper.as_mut().expect("there is one").threads = vec![thread(50, 'S'), thread(51, 'S')];
    says(&by_thread, Family::F4, High..=High, &[]);
    // The same holds for adopted zombies, for a stopped parent and for an unknown parent.
    for mut finding in [by_pid1(|_, _| ()), adopted(|_, app| app.state = Some('T'))] {
        finding.tracer = Some(Tracer { pid: 9, name: None, tid: 100, state: None });
        says(&finding, Family::F10, High..=High, &["a process (pid 9)"]);
    }
    let nobody = Finding { reaper: None, ..traced(9, 100) };
    says(&nobody, Family::F10, High..=High, &["!gets it"]);
}

#[test]
fn f14_the_exit_signal_is_not_sigchld() {
    let f14 = |signal, flags: &[&'static str]| {
        own(|it, app| {
            it.exit_signal = Some(signal);
            app.waited(EXIT + S, WaitTarget::Any, flags);
        })
    };
    says(&f14(0, &["WNOHANG"]), Family::F14, High..=High, &["no exit signal", "__WALL"]);
    says(&f14(10, &[]), Family::F14, High..=High, &["SIGUSR1"]);
    says(&f14(34, &[]), Family::F14, High..=High, &["34"]);
    for flag in ["__WALL", "__WCLONE"] {
        says(&f14(10, &[flag]), Family::F14, Medium..=Medium, &[]);
    }
    // With SIGCHLD, a plain wait would have got it. If the exit signal was not seen, the rule does not apply.
    says(&f14(libc::SIGCHLD, &["WNOHANG"]), None, Low..=Low, &[]);
    says(&own(|it, _| it.exit_signal = None), Family::F4, High..=High, &[]);
    says(&own(|it, _| it.exit_signal = Some(-1)), Family::F4, High..=High, &[]);
}

#[test]
fn f11_the_reaper_cannot_run() {
    let f11 = |state, wchan: &str, same_since_ns| {
        own(|_, app| {
            (app.state, app.same_since_ns) = (Some(state), same_since_ns);
            app.wchan = Some(wchan.into());
        })
    };
    let stopped = says(&f11('T', "do_signal_stop", LOOKED), Family::F11, High..=High, &["it is stopped"]);
    advises(&stopped, &["kill -CONT 50"]);
    says(&f11('t', "ptrace_stop", LOOKED), Family::F11, High..=High, &["its tracer has stopped it"]);
    let once = f11('D', "nfs_wait", LOOKED);
    says(&once, Family::F11, Low..=Low, &["in nfs_wait", "seen once"]);
    says(&f11('D', "nfs_wait", LOOKED - 2 * S), Family::F11, High..=High, &["in nfs_wait", "!once"]);
    says(&f11('D', "kernel_clone", LOOKED), Family::F11, Medium..=Medium, &["vfork"]);
    says(&f11('D', "kernel_clone", LOOKED - 2 * S), Family::F11, High..=High, &["vfork"]);
    // The reaper has waited for another child since: the vfork is one of many.
    let mut busy = f11('D', "kernel_clone", LOOKED);
    busy.reaper.as_mut().expect("there is one").waited(LOOKED - MS, WaitTarget::Pid(7), &["WNOHANG"]);
    says(&busy, Family::F4, Low..=High, &["!cannot run"]);
    let frozen = |finding: &mut Finding, app: &mut Reaper| {
        app.frozen = Some("/sys/fs/cgroup/a/cgroup.events".into());
        finding.origin = Origin::Exec;
    };
    for finding in [own(frozen), adopted(frozen), by_pid1(frozen)] {
        says(&finding, Family::F11, High..=High, &["frozen", "cannot run"]);
    }
    // F4: the reaper could run.
    for (state, confidence) in [('S', High), ('R', Medium), ('I', High)] {
        says(&f11(state, "do_wait", 0), Family::F4, confidence..=confidence, &["!cannot run"]);
    }
}

#[test]
fn f11_no_thread_of_the_reaper_can_run() {
    let f11 = |states: &[char]| {
        own(|_, app| {
            app.state = Some(states[0]);
            app.threads = states.iter().zip(50..).map(|(state, tid)| thread(tid, *state)).collect();
        })
    };
    says(&f11(&['T', 'T', 'Z']), Family::F11, High..=High, &["stopped"]);
    says(&f11(&['Z', 'T']), Family::F11, High..=High, &["stopped"]);
    says(&f11(&['T', 'D']), Family::F11, Medium..=Medium, &[]);
    // A thread that runs may still make the wait call that was not seen yet.
    for (states, confidence) in [(['T', 'S'], High), (['D', 'R'], Medium), (['T', 'I'], High)] {
        says(&f11(&states), Family::F4, confidence..=confidence, &["!cannot run"]);
    }
    // No more threads are inspected, and a thread beyond the limit may run.
    says(&f11(&vec!['T'; MAX_THREADS]), Family::F11, Medium..=Medium, &[]);
}

#[test]
fn f15_the_last_wait_was_a_peek() {
    use WaitTarget::{Any, Pgid, Pid, PidFd};
    const PEEK: &[&str] = &["WEXITED", "WNOWAIT"];
    const LOOK: &[&str] = &["WNOHANG", "WEXITED", "WNOWAIT"];
    let peeked = |at_ns, target, flags: &[&'static str]| own(|_, app| app.waited(at_ns, target, flags));
    says(&peeked(EXIT + S, Pid(100), PEEK), Family::F15, High..=High, &["has looked at its exit", "WNOWAIT"]);
    // The peek blocked until the exit.
    says(&peeked(EXIT - S, Pid(100), PEEK), Family::F15, High..=High, &[]);
    // The reap may be about to follow.
    says(&peeked(LOOKED - MS, Pid(100), PEEK), Family::F15, Medium..=Medium, &[]);
    for target in [Any, Pgid(0), PidFd(3)] {
        says(&peeked(EXIT + S, target, LOOK), Family::F15, Medium..=Medium, &["!has looked at its exit"]);
    }
    // No F15: a peek before the exit that did not block, a peek for stops, a peek for another child, and a wait that is
    // no peek.
    says(
        &peeked(EXIT - S, Pid(100), LOOK),
        Family::F4,
        Medium..=Medium,
        &["!WNOWAIT", "before it had exited"],
    );
    says(&peeked(EXIT + S, Pid(100), &["WSTOPPED", "WNOWAIT"]), Family::F4, Low..=Medium, &["!WNOWAIT"]);
    says(&peeked(EXIT + S, Pid(7), PEEK), Family::F4, Medium..=Medium, &["!WNOWAIT"]);
    says(&peeked(EXIT + S, Pid(7), &["WNOHANG"]), Family::F4, Medium..=Medium, &["!WNOWAIT"]);
    // The reaper also waits for any child: then that wait decides.
    let both = own(|_, app| {
        app.waited(EXIT + S, Any, &["WNOHANG"]);
        app.waited(EXIT + 2 * S, Any, PEEK);
        app.ever_reaped = true;
    });
    says(&both, Family::F17, Low..=Medium, &[]);
    // F15 also applies to the peek of a reaper that adopted the zombie.
    says(&by_pid1(|_, app| app.waited(EXIT + S, Pid(100), PEEK)), Family::F15, High..=High, &[]);
}
