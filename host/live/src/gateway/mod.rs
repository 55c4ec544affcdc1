//! A gateway in front of real servers, in which the same policies decide as in a simulation.
//!
//! Policies live on the thread that calls [`serve`] and hear of one thing after the other
//! (`control`); connections are tokio's, and ask that thread. Nobody else counts requests: each
//! is a ticket, and when that goes, whatever the reason, the request has left.

pub(crate) mod backends;
mod budget;
pub mod config;
pub(crate) mod control;
mod endpoints;
mod listen;
pub(crate) mod message;
mod policy_files;
mod proxy;
pub(crate) mod scrape;
mod shared;
mod tally;
mod watch_files;

pub use control::policies::pair;
pub use policy_files::fingerprints;

use crate::clock::since_1970;
use budget::Budget;
use config::Config;
use control::Control;
use endpoints::Endpoints;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use message::Message;
use shared::Gateway;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, RwLock, mpsc};
use std::time::Duration;
use tokio::sync::watch;
use windtunnel_base::input::{InputError, plain};
use windtunnel_base::request::Symbols;

/// Checks a configuration as far as that can be done before anything is served: policies are made,
/// files are read. Returns what a person should know.
///
/// # Errors
/// When something is wrong.
pub fn check(config: &Config) -> Result<Vec<String>, InputError> {
    let (nobody, _) = mpsc::channel();
    let endpoints = Endpoints::new(config, nobody);
    endpoints.set(&config.all_endpoints()?);
    let mut symbols = Symbols::default();
    let mut notes = control::policies::notes(&config.policies, &mut symbols)?;
    Control::new(Arc::new(config.clone()), &endpoints.described(), None)?;
    if config.policies == Default::default() {
        notes.push("no policy is given: round-robin, and all requests are admitted".to_owned());
    }
    Ok(notes)
}

/// Serves until `end` says so, which it does itself when something fails. `begin` is called inside
/// the runtime of tokio; `ready` is told the address as soon as connections are taken in. The
/// configuration comes from `path`, if there is one, and is read again when that or a file of a
/// policy changes.
///
/// # Errors
/// When the configuration makes no sense, the address cannot be listened on, or the log cannot be
/// written.
pub fn serve(
    config: Config,
    path: Option<PathBuf>,
    log: Option<Box<dyn Write>>,
    end: &watch::Sender<bool>,
    begin: impl FnOnce() + Send,
    ready: impl FnOnce(SocketAddr) -> std::io::Result<()>,
) -> Result<(), InputError> {
    let failed = |what: String| InputError::new(what);
    let specs = config.all_endpoints()?;
    let listener = TcpListener::bind(config.listen)
        .map_err(|e| failed(format!("cannot listen on {}: {}", config.listen, plain(&e))))?;
    let address = listener.local_addr().map_err(|e| failed(plain(&e)))?;
    let (control, messages) = mpsc::channel();
    let endpoints = Arc::new(Endpoints::new(&config, control.clone()));
    endpoints.set(&specs);
    let config = Arc::new(config);
    let deciding = Control::new(Arc::clone(&config), &endpoints.described(), log)?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs_f64(config.timeouts.connect)));
    let client = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .build(connector);
    let gateway = Arc::new(Gateway {
        config: RwLock::new(Arc::clone(&config)),
        endpoints,
        control: control.clone(),
        client,
        numbers: AtomicU64::new(0),
        ids: AtomicU64::new(0),
        under_way: AtomicUsize::new(0),
        budget: Budget::default(),
        adapters: RwLock::new(BTreeSet::new()),
        started: since_1970().as_nanos() as u64,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| failed(plain(&e)))?;
    ready(address).map_err(|e| failed(plain(&e)))?;
    std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            let served = runtime.block_on(async {
                begin();
                listen::serve(Arc::clone(&gateway), listener, path, end.subscribe()).await
            });
            let _ = control.send(Message::End);
            served
        });
        let decided = deciding.run(&messages);
        end.send_replace(true);
        drop(messages);
        let served = served.join();
        decided.map_err(failed)?;
        match served {
            Ok(served) => served.map_err(|e| failed(plain(&e))),
            Err(_) => Err(failed("the gateway broke off".to_owned())),
        }
    })
}
