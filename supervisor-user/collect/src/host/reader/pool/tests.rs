use std::{cell::RefCell, rc::Rc, thread};

use super::*;

/// The behaviour of a reader in these tests.
#[derive(Clone, Copy, Default)]
struct Nature {
    /// It never answers a request about this pid.
    never_answers: Option<u32>,
    /// A SIGKILL does not end it until it is released.
    cannot_be_killed: bool,
    /// It seems to wait for a CPU all the time.
    is_busy: bool,
    /// It ends at the first request.
    dies: bool,
    /// It cannot be started, for this reason.
    does_not_start: Option<io::ErrorKind>,
}

/// The state that all readers of a test share.
#[derive(Default)]
struct World {
    nature: Nature,
    started: usize,
    killed: usize,
    released: bool,
}

type Shared = Rc<RefCell<World>>;

struct Fake(Shared, bool);

impl Process for Fake {
    fn pid(&self) -> u32 {
        0
    }

    fn is_running(&self) -> bool {
        self.0.borrow().nature.is_busy
    }

    fn wchan(&self) -> Option<String> {
        Some("access_remote_vm".to_owned())
    }

    fn kill(&mut self) {
        self.0.borrow_mut().killed += 1;
        self.1 = true;
    }

    fn has_ended(&mut self) -> bool {
        let world = self.0.borrow();
        self.1 && (world.released || !world.nature.cannot_be_killed)
    }
}

/// A pool of readers that answer a request with the pid in it.
fn pool(nature: Nature) -> (Pool, Shared) {
    let world = Shared::new(RefCell::new(World { nature, ..World::default() }));
    let started = Rc::clone(&world);
    let pool = Pool::new(move || {
        started.borrow_mut().started += 1;
        let Nature { never_answers, dies, does_not_start, .. } = started.borrow().nature;
        if let Some(kind) = does_not_start {
            return Err(kind.into());
        }
        let (stream, theirs) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        thread::spawn(move || {
            let mut kept = Vec::new();
            while let Ok(Some(request)) = wire::read::<Request>(&theirs) {
                let (Request::ThreadGroup(pid) | Request::Arguments { pid, .. }) = request else { return };
                if dies {
                    return;
                }
                if never_answers == Some(pid) {
                    kept.push(pid);
                } else if wire::write(&theirs, &pid).is_err() {
                    return;
                }
            }
        });
        Ok(Reader { stream, process: Box::new(Fake(Rc::clone(&started), false)) })
    });
    (pool, world)
}

/// A request that a process can delay.
fn arguments(pid: u32) -> Request {
    Request::Arguments { pid, start_ticks: 1 }
}

fn late(answer: &Result<u32, Unanswered>) -> bool {
    matches!(answer, Err(Unanswered::NotRead(NotRead::Late { .. })))
}

fn skipped(answer: &Result<u32, Unanswered>) -> bool {
    matches!(answer, Err(Unanswered::NotRead(NotRead::Skipped)))
}

#[test]
fn one_reader_answers_many_requests() {
    let (mut pool, world) = pool(Nature::default());
    for pid in 0..100 {
        assert_eq!(pool.ask::<u32>(&Request::ThreadGroup(pid)).unwrap(), pid);
    }
    assert_eq!(world.borrow().started, 1);
    assert_eq!(pool.lost(), ReadsLost::default());
}

#[test]
fn a_late_answer_is_given_up_at_its_deadline_and_the_reader_is_replaced() {
    let (mut pool, world) = pool(Nature { never_answers: Some(1), ..Nature::default() });
    let asked = Instant::now();
    let answer = pool.ask::<u32>(&arguments(1));
    assert!(asked.elapsed() >= DEADLINE && asked.elapsed() < 10 * DEADLINE, "{:?}", asked.elapsed());
    match answer {
        Err(Unanswered::NotRead(NotRead::Late { wchan })) => {
            assert_eq!(wchan.as_deref(), Some("access_remote_vm"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.ask::<u32>(&arguments(2)).unwrap(), 2);
    assert_eq!((world.borrow().started, world.borrow().killed), (2, 1));
    assert_eq!(pool.lost(), ReadsLost { late: 1, ..ReadsLost::default() });
}

#[test]
fn a_late_request_is_not_repeated_at_once() {
    let (mut pool, world) = pool(Nature { never_answers: Some(1), ..Nature::default() });
    assert!(late(&pool.ask(&arguments(1))));
    let asked = Instant::now();
    for _ in 0..100 {
        assert!(late(&pool.ask(&arguments(1))));
    }
    assert!(asked.elapsed() < DEADLINE, "{:?}", asked.elapsed());
    assert_eq!((world.borrow().started, pool.lost().late), (1, 1));
}

#[test]
fn a_late_request_is_repeated_after_a_growing_pause_and_forgotten_once_it_is_answered() {
    let (mut pool, world) = pool(Nature { never_answers: Some(1), ..Nature::default() });
    assert!(late(&pool.ask(&arguments(1))));
    let overdue = |pool: &mut Pool| {
        let late = pool.late.get_mut(&arguments(1)).expect("it is remembered");
        late.until = Instant::now();
        late.pause
    };
    assert_eq!(overdue(&mut pool), PAUSE);
    assert!(late(&pool.ask(&arguments(1))));
    assert_eq!(overdue(&mut pool), 2 * PAUSE);
    world.borrow_mut().nature.never_answers = None;
    assert_eq!(pool.ask::<u32>(&arguments(1)).unwrap(), 1);
    assert!(pool.late.is_empty());
}

#[test]
fn with_too_many_stuck_readers_only_requests_that_nobody_can_delay_are_made() {
    let nature = Nature { cannot_be_killed: true, ..Nature::default() };
    let (mut pool, world) = pool(nature);
    for pid in 0..MAX_STUCK as u32 {
        // The allowance is filled each time, so that it does not stop the requests.
        pool.allowance.left = ALLOWANCE;
        world.borrow_mut().nature.never_answers = Some(pid);
        // A reader ignores only the pid that was set at its start, so each pid needs a new reader.
        pool.reader = None;
        assert!(late(&pool.ask(&arguments(pid))), "pid {pid}");
    }
    pool.allowance.left = ALLOWANCE;
    world.borrow_mut().nature.never_answers = None;
    assert!(skipped(&pool.ask(&arguments(100))));
    assert_eq!(pool.ask::<u32>(&Request::ThreadGroup(100)).unwrap(), 100);
    assert_eq!(pool.lost(), ReadsLost { late: 4, skipped: 1, stuck: 4 });

    // A request that a stuck reader sleeps in is not repeated, even after its pause.
    for late in pool.late.values_mut() {
        late.until = Instant::now();
    }
    assert!(late(&pool.ask(&arguments(0))));

    world.borrow_mut().released = true;
    assert_eq!(pool.lost().stuck, 0);
    assert_eq!(pool.ask::<u32>(&arguments(100)).unwrap(), 100);
}

#[test]
fn late_answers_take_no_more_than_their_allowance() {
    let (mut pool, _world) = pool(Nature { never_answers: Some(1), ..Nature::default() });
    pool.allowance.left = DEADLINE;
    assert!(late(&pool.ask(&arguments(1))));
    assert!(skipped(&pool.ask(&arguments(2))));
    assert_eq!(pool.ask::<u32>(&Request::ThreadGroup(2)).unwrap(), 2, "nobody can hold this up");
    pool.allowance.at = Instant::now().checked_sub(ALLOWANCE_SHARE * DEADLINE).expect("a time");
    assert_eq!(pool.ask::<u32>(&arguments(2)).unwrap(), 2);
}

#[test]
fn a_reader_that_waits_for_a_cpu_gets_more_time() {
    let nature = Nature { never_answers: Some(1), is_busy: true, ..Nature::default() };
    let (mut pool, _world) = pool(nature);
    let asked = Instant::now();
    assert!(late(&pool.ask(&arguments(1))));
    assert!(asked.elapsed() >= HARD_DEADLINE, "{:?}", asked.elapsed());
}

#[test]
fn a_dead_reader_is_an_error_before_the_first_answer_and_a_loss_after_it() {
    let (mut broken, _world) = pool(Nature { dies: true, ..Nature::default() });
    assert!(matches!(broken.ask::<u32>(&Request::ThreadGroup(1)), Err(Unanswered::Broken(_))));

    let (mut pool, world) = pool(Nature::default());
    assert_eq!(pool.ask::<u32>(&Request::ThreadGroup(1)).unwrap(), 1);
    world.borrow_mut().nature.dies = true;
    pool.reader = None;
    assert!(skipped(&pool.ask(&Request::ThreadGroup(1))));
    assert_eq!(pool.lost().skipped, 1);
    world.borrow_mut().nature.dies = false;
    assert_eq!(pool.ask::<u32>(&Request::ThreadGroup(1)).unwrap(), 1);
}

#[test]
fn a_request_is_repeated_once_if_the_reader_died_while_it_was_idle() {
    let (mut pool, world) = pool(Nature::default());
    assert_eq!(pool.ask::<u32>(&Request::ThreadGroup(1)).unwrap(), 1);
    let (stream, closed) = UnixStream::pair().unwrap();
    drop(closed);
    pool.reader.as_mut().expect("it answered").stream = stream;
    assert_eq!(pool.ask::<u32>(&Request::ThreadGroup(2)).unwrap(), 2);
    assert_eq!((world.borrow().started, pool.lost()), (2, ReadsLost::default()));
}

/// A pool that has answered, and whose reader cannot be replaced any more.
fn pool_without_starts(kind: io::ErrorKind) -> (Pool, Shared) {
    let (mut pool, world) = pool(Nature::default());
    assert_eq!(pool.ask::<u32>(&Request::ThreadGroup(1)).unwrap(), 1);
    world.borrow_mut().nature.does_not_start = Some(kind);
    pool.reader = None;
    (pool, world)
}

fn end_the_pause(pool: &mut Pool) {
    pool.failed_starts.as_mut().expect("a start has failed").until = Instant::now();
}

#[test]
fn a_request_is_an_error_after_several_failed_starts_and_answered_once_a_start_succeeds() {
    let (mut pool, world) = pool_without_starts(io::ErrorKind::PermissionDenied);
    for _ in 1..MAX_FAILED_STARTS {
        assert!(skipped(&pool.ask(&Request::ThreadGroup(1))));
        let started = world.borrow().started;
        assert!(skipped(&pool.ask(&Request::ThreadGroup(1))));
        assert_eq!(world.borrow().started, started, "no start in the pause");
        end_the_pause(&mut pool);
    }
    for _ in 0..2 {
        let answer = pool.ask::<u32>(&Request::ThreadGroup(1));
        assert!(matches!(answer, Err(Unanswered::Broken(_))), "{answer:?}");
    }
    world.borrow_mut().nature.does_not_start = None;
    end_the_pause(&mut pool);
    assert_eq!(pool.ask::<u32>(&Request::ThreadGroup(1)).unwrap(), 1);
    assert!(pool.failed_starts.is_none());
}

#[test]
fn failed_starts_on_a_host_without_pids_stay_a_loss() {
    let (mut pool, _world) = pool_without_starts(io::ErrorKind::WouldBlock);
    for _ in 0..2 * MAX_FAILED_STARTS {
        assert!(skipped(&pool.ask(&Request::ThreadGroup(1))));
        end_the_pause(&mut pool);
    }
}

#[test]
fn a_reader_that_cannot_be_replaced_is_an_error_at_once() {
    let (mut pool, world) = pool(Nature::default());
    pool.replace().unwrap();
    assert_eq!(pool.ask::<u32>(&Request::ThreadGroup(1)).unwrap(), 1);
    pool.replace().unwrap();
    assert_eq!((world.borrow().started, world.borrow().killed), (2, 1));
    world.borrow_mut().nature.does_not_start = Some(io::ErrorKind::PermissionDenied);
    assert!(pool.replace().is_err());
}
