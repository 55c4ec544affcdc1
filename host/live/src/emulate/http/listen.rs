//! Connections: they are taken in while a server is there, and broken when it crashes.

use super::paths;
use super::server::Server;
use crate::connection::converse;
use crate::emulate::faults::{Happening, Mishap};
use crate::emulate::job::Command;
use crate::locks::lock;
use axum::Router;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long requests under way may go on when the servers are told to end.
const FAREWELL: Duration = Duration::from_secs(30);

/// Serves until `ended` says so, then lets what is under way go on for a while.
pub async fn serve(
    servers: Vec<(Arc<Server>, std::net::TcpListener)>,
    happenings: Vec<Happening>,
    mut ended: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut tasks = JoinSet::new();
    for (server, listener) in servers {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let mut own: Vec<Happening> = happenings.clone();
        own.retain(|what| what.server == server.index);
        own.sort_by_key(|what| what.at);
        tasks.spawn(live(server, listener, address, own, ended.clone()));
    }
    let _ = ended.wait_for(|ended| *ended).await;
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FAREWELL, all).await;
    Ok(())
}

/// The life of a server.
async fn live(
    server: Arc<Server>,
    mut listener: TcpListener,
    address: SocketAddr,
    happenings: Vec<Happening>,
    mut ended: watch::Receiver<bool>,
) {
    let app = paths(Arc::clone(&server));
    let started = tokio::time::Instant::now();
    let mut connections = JoinSet::new();
    for what in happenings {
        let until = started + what.at;
        tokio::select! {
            () = accept(&listener, &app, &mut connections, &ended) => {}
            () = tokio::time::sleep_until(until) => {}
        }
        if *ended.borrow() {
            break;
        }
        match what.what {
            Mishap::Slow(factor) => {
                lock(&server.faults).slow = factor;
                let _ = server.commands.send(Command::Slow(server.index, factor));
            }
            Mishap::Crash(down) => {
                // Clients see their connections break, and none accepted.
                drop(listener);
                connections.abort_all();
                while connections.join_next().await.is_some() {}
                let _ = server.commands.send(Command::Crash(server.index));
                let Some(down) = down else {
                    return;
                };
                tokio::select! {
                    () = tokio::time::sleep(down) => {}
                    _ = ended.wait_for(|ended| *ended) => return,
                }
                let Some(again) = bind_again(address).await else {
                    return;
                };
                listener = again;
            }
        }
    }
    accept(&listener, &app, &mut connections, &ended).await;
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The port may be taken for a moment.
async fn bind_again(address: SocketAddr) -> Option<TcpListener> {
    for _ in 0..100 {
        match TcpListener::bind(address).await {
            Ok(listener) => return Some(listener),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    tracing::error!(%address, "the port of a server that comes again is taken");
    None
}

/// Takes connections in until `ended` says so.
async fn accept(
    listener: &TcpListener,
    app: &Router,
    connections: &mut JoinSet<()>,
    ended: &watch::Receiver<bool>,
) {
    let mut ends = ended.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ends.wait_for(|ended| *ended) => return,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(app.clone());
                connections.spawn(converse(stream, service, ended.clone()));
            }
            // Most probably no more files can be opened.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
