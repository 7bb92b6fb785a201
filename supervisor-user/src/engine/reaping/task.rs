//! Runs one worker: sends it a job, waits a limited time for the answer, and otherwise ends it.

use std::{io, os::unix::net::UnixStream as StdStream, pin::pin, process::Child, time::Duration};

use supervisor_reap::worker::{Answer, Job, MAX_LINE, start};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::watch,
    time::{sleep, timeout},
};

/// How long a job may take. A SIGCHLD takes a second, the stops take a fraction of one. If the memory of a reaper
/// cannot be read, the job can take any length of time.
const WITHIN: Duration = Duration::from_secs(10);
/// The additional time for each zombie: where the processors are busy, a reaper reaches each of its stops late.
const WITHIN_EACH: Duration = Duration::from_millis(200);
/// How long a worker may take to end the stop that is in progress.
const CANCELLED_WITHIN: Duration = Duration::from_secs(1);
/// How long a worker may take to end after its answer, or after SIGKILL.
const ENDED_WITHIN: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(10);

/// The result of a job.
pub(super) struct Performed {
    pub(super) answer: Answer,
    /// A worker that was killed and that the kernel keeps.
    pub(super) stuck: Option<Child>,
}

/// Performs a job in a worker. `ends` cancels it.
pub(super) async fn perform(job: Job, ends: watch::Receiver<bool>) -> Performed {
    let (stream, mut child) = match start() {
        Ok(started) => started,
        Err(error) => return Performed { answer: Err(cannot_start(&error)), stuck: None },
    };
    let answer = ask(stream, &job, ends).await;
    let has_ended = ended(&mut child).await || {
        let _ended_meanwhile = child.kill();
        ended(&mut child).await
    };
    Performed { answer, stuck: (!has_ended).then_some(child) }
}

fn cannot_start(error: &io::Error) -> String {
    format!("the process that frees zombies cannot be started: {error}")
}

async fn ask(stream: StdStream, job: &Job, mut ends: watch::Receiver<bool>) -> Answer {
    let failed = |error: io::Error| format!("the process that frees zombies cannot be asked: {error}");
    let within = WITHIN + WITHIN_EACH * job.zombies.len() as u32;
    stream.set_nonblocking(true).map_err(failed)?;
    let mut stream = UnixStream::from_std(stream).map_err(failed)?;
    let (read_half, mut write_half) = stream.split();
    let mut line = serde_json::to_vec(job).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    write_half.write_all(&line).await.map_err(failed)?;

    let mut answer = Vec::new();
    {
        let mut reader = read_half.take(MAX_LINE);
        let mut reading = pin!(reader.read_to_end(&mut answer));
        let read = tokio::select! {
            read = timeout(within, &mut reading) => read.ok(),
            _ = ends.wait_for(|ends| *ends) => None,
        };
        let read = if read.is_some() {
            read
        } else {
            write_half.shutdown().await.map_err(failed)?;
            timeout(CANCELLED_WITHIN, &mut reading).await.ok()
        };
        read.ok_or_else(|| {
            format!(
                "the process that frees zombies did not answer within {} s and was ended: the reaper holds up who reads its memory",
                within.as_secs()
            )
        })?
        .map_err(failed)?;
    }
    if answer.is_empty() {
        return Err("the process that frees zombies ended without an answer".to_owned());
    }
    serde_json::from_slice(&answer).map_err(|error| failed(error.into()))?
}

/// Whether a worker ends in time. Then it is reaped, and so it is no zombie.
async fn ended(child: &mut Child) -> bool {
    let gone = async {
        while matches!(child.try_wait(), Ok(None)) {
            sleep(PAUSE).await;
        }
    };
    timeout(ENDED_WITHIN, gone).await.is_ok()
}
