//! The connections of the server: how many there are, how long a client may take, and which one is
//! given up for a new one.
//!
//! A client is waited for while it sends a request, while it takes an answer and between the two;
//! while it waits itself, its connection stays. So clients that never end a request cannot keep
//! others out, and those that wait for a score are not given up.

use super::api::Server;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// Longest time that a client is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long clients have to take their answers when the server ends.
const FAREWELL: Duration = Duration::from_secs(1);
/// Connections beside those of requests that wait or are worked on.
const SPARE: usize = 128;
/// Longest head of a request, bytes.
const LONGEST_HEAD: usize = 64 << 10;

/// A connection, seen from outside.
pub struct Connection {
    state: Mutex<State>,
    given_up: Notify,
}

#[derive(Clone, Copy)]
struct State {
    /// Since when the client is waited for; `None` while it waits.
    since: Option<Instant>,
}

/// While this lives, the client waits.
pub struct Served<'a>(&'a Connection);

impl Connection {
    fn new() -> Self {
        let since = Some(Instant::now());
        Self {
            state: Mutex::new(State { since }),
            given_up: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the request is there as a whole.
    pub fn serve(&self) -> Served<'_> {
        self.state().since = None;
        Served(self)
    }

    /// Returns when the client has been waited for too long.
    async fn overdue(&self) {
        loop {
            let waited = self.state().since.map(|since| since.elapsed());
            let left = PATIENCE.saturating_sub(waited.unwrap_or_default());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.state().since = Some(Instant::now());
    }
}

/// All open connections.
struct Connections {
    open: Vec<Arc<Connection>>,
    most: usize,
}

impl Connections {
    /// Gives up the connection whose client has been waited for longest; is there one?
    fn give_one_up(&mut self) -> bool {
        let waiting = self.open.iter().enumerate();
        let waiting = waiting.filter_map(|(k, c)| Some((c.state().since?, k)));
        let Some((_, longest)) = waiting.min() else {
            return false;
        };
        self.open.swap_remove(longest).given_up.notify_one();
        true
    }
}

/// How many connections there may be: enough for all requests that may wait, as far as the limit of
/// open files allows; some of these are for the workers and for files.
fn most(requests: usize, jobs: usize) -> usize {
    let wanted = requests.saturating_add(jobs).saturating_add(SPARE);
    #[cfg(unix)]
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    let files = None;
    let files = files.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let free = files.saturating_sub(64 + 8 * jobs).max(16);
    wanted.min(free)
}

/// Serves `app` until `ended` is true. What is under way then is answered as far as it can be
/// within a moment.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    server: Arc<Server>,
    mut ended: watch::Receiver<bool>,
) {
    let mut connections = Connections {
        open: Vec::new(),
        most: most(server.queue.capacity(), server.jobs),
    };
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        while tasks.try_join_next().is_some() {}
        // A task of its own holds each that is open.
        connections.open.retain(|c| Arc::strong_count(c) > 1);
        let Ok((stream, _)) = accepted else {
            // Most probably no more files can be opened.
            connections.give_one_up();
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if connections.open.len() >= connections.most && !connections.give_one_up() {
            refuse(&stream);
            continue;
        }
        let connection = Arc::new(Connection::new());
        connections.open.push(Arc::clone(&connection));
        let app = app.clone().layer(Extension(Arc::clone(&connection)));
        tasks.spawn(converse(stream, app, connection, ended.clone()));
    }
    drop(listener);
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FAREWELL, all).await;
}

/// Answers that there are too many connections, without waiting for anything.
fn refuse(stream: &TcpStream) {
    let body = r#"{"error":"too many connections; ask again later"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.try_write(answer.as_bytes());
}

/// Answers the requests of one connection, one after another.
async fn converse(
    stream: TcpStream,
    app: Router,
    connection: Arc<Connection>,
    mut ended: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(app);
    let talk = http1::Builder::new()
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        _ = talk.as_mut() => return,
        () = connection.overdue() => return,
        () = connection.given_up.notified() => return,
        _ = ended.wait_for(|ended| *ended) => {}
    }
    if connection.state().since.is_none() {
        talk.as_mut().graceful_shutdown();
        let _ = talk.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_waited_for_longest_is_given_up_and_who_waits_is_not() {
        let all: Vec<Arc<Connection>> = (0..3).map(|_| Arc::new(Connection::new())).collect();
        let ago = |k: usize, ms| {
            let since = Instant::now().checked_sub(Duration::from_millis(ms));
            all[k].state().since = since;
        };
        ago(0, 10);
        ago(1, 30);
        ago(2, 20);
        let _served = all[1].serve();
        let mut connections = Connections {
            open: all.clone(),
            most: 3,
        };
        assert!(connections.give_one_up());
        assert!(!connections.open.iter().any(|c| Arc::ptr_eq(c, &all[2])));
        assert!(connections.give_one_up());
        assert!(!connections.give_one_up(), "the last one is served");
        assert_eq!(connections.open.len(), 1);
    }

    #[test]
    fn there_is_room_for_all_that_may_wait() {
        assert!(most(0, 1) <= SPARE + 1);
        assert!(most(usize::MAX, 4) < usize::MAX);
    }
}
