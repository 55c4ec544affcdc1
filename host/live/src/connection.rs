//! A connection of a client, as long as it lasts.

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::error::Error;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How long a client may take to send the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Longest head of a request, bytes; a little more of it may have been read at once.
const LONGEST_HEAD: usize = 64 << 10;

/// Answers the requests of one connection, one after another, until `ended` says so; the one under
/// way is answered still.
pub async fn converse<S, B>(stream: TcpStream, service: S, mut ended: watch::Receiver<bool>)
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // Without it tokens may wait for the answer to those before.
    let _ = stream.set_nodelay(true);
    let talk = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        _ = talk.as_mut() => return,
        _ = ended.wait_for(|ended| *ended) => {}
    }
    talk.as_mut().graceful_shutdown();
    let _ = talk.await;
}
