//! The HTTP server for metrics. It has its own thread: the collector does not wait for a scrape, nor a scrape for the
//! collector.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{AbortHandle, yield_now},
    time::{sleep, timeout},
};

use super::{Exposition, Metrics};

/// The greatest number of connections at once. One more connection closes the oldest one.
const CONNECTIONS: usize = 16;
/// A connection may last this long.
const LIMIT: Duration = Duration::from_secs(10);
/// The greatest number of bytes in a request's head.
const HEAD: usize = 8 * 1024;
/// The greatest number of header lines in a request.
const HEADERS: usize = 32;
/// The pause after a failed accept, for example when too many files are open.
const PAUSE: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// A running server. It ends when this value is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `/metrics`, `/healthz` and `/readyz` at this address; with port 0, at a free port.
    ///
    /// # Errors
    ///
    /// If the server cannot listen there, or no thread can be started.
    pub fn start(listen: SocketAddr, metrics: Arc<Metrics>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(&listener, &metrics) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: &TcpListener, metrics: &Arc<Metrics>) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // The peer has gone, or too many files are open.
            sleep(PAUSE).await;
            continue;
        };
        if open.len() >= CONNECTIONS {
            // The yield lets the runtime poll the sockets and run the other tasks. So every request that has arrived is
            // answered first.
            yield_now().await;
            open.retain(|connection| !connection.is_finished());
        }
        // A slow client cannot keep others out.
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let connection = connection(stream, Arc::clone(metrics));
        open.push_back(tokio::spawn(connection).abort_handle());
    }
}

/// Serves one request.
async fn connection(stream: TcpStream, metrics: Arc<Metrics>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&request, &metrics);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LIMIT)
        .keep_alive(false)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    // An error is the client's fault: it spoke another protocol, was too slow, or has gone.
    let _ = timeout(LIMIT, connection).await;
}

fn answer<B>(request: &Request<B>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
        return response(StatusCode::NOT_FOUND, PLAIN, "there are /metrics, /healthz and /readyz\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "it is only read\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if path == "/metrics" {
        scrape(request, metrics)
    } else if let Some(since) = metrics.stalled() {
        let text = format!("the tracer has not ticked for {} s\n", since.as_secs());
        response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, text)
    } else if path == "/readyz" && !metrics.is_ready() {
        response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "the hooks are not attached yet\n")
    } else {
        response(StatusCode::OK, PLAIN, "ok\n")
    }
}

fn scrape<B>(request: &Request<B>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let accepts = |header: &HeaderValue| {
        header.to_str().is_ok_and(|header| header.contains("application/openmetrics-text"))
    };
    let (exposition, kind) = if request.headers().get_all(ACCEPT).iter().any(accepts) {
        (Exposition::OpenMetrics, OPEN_METRICS)
    } else {
        (Exposition::Classic, CLASSIC)
    };
    match metrics.render(exposition) {
        Ok(text) => response(StatusCode::OK, kind, text),
        Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, error.to_string()),
    }
}

fn response(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
