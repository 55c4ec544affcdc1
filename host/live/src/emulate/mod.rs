//! Servers that are the simulator: they speak as vLLM's API server does, and take as long for it as
//! the simulated instances behind them.
//!
//! The engine passes the time on the thread that calls [`serve`], as policies inside instances stay
//! on one thread; HTTP has a thread of its own. What the engine is told and when is all that its
//! answers depend on: a run of the same requests at the same times gives the same latencies, to the
//! microsecond, and what clients see beyond that is the time of HTTP and of the machine.

mod counters;
mod driver;
pub mod faults;
mod http;
mod job;
mod log;

pub use crate::prometheus::MetricNames;

use crate::clock::{Clock, since_1970};
use driver::Driver;
use faults::{FaultRates, Happening};
use http::{Facts, Server};
use job::Command;
use log::RequestLog;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use tokio::sync::watch;
use windtunnel_base::input::plain;
use windtunnel_engine::cluster::Standalone;

/// How servers are to be.
pub struct Options {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port of the first server, the others have the next ones; 0 = free ones for all.
    pub port: u16,
    /// Simulated time that passes in a second.
    pub speed: f64,
    /// Model that they serve.
    pub model: String,
    /// Names under which they serve it, at least one.
    pub names: Vec<String>,
    /// What requests must show.
    pub api_key: Option<String>,
    /// Are cached tokens told in answers?
    pub prompt_tokens_details: bool,
    /// Is `X-Request-Id` sent back?
    pub request_id_headers: bool,
    /// Mean and standard deviation of output tokens, where the model stops by itself; `None` =
    /// answers are as long as they may be.
    pub output_tokens: Option<(f64, f64)>,
    /// Answers repeat what was said.
    pub echo: bool,
    /// Seed of answers and chances.
    pub seed: u64,
    /// LoRA adapters by name, and their paths.
    pub adapters: BTreeMap<String, String>,
    /// Whose names metrics have.
    pub metrics: MetricNames,
    /// What goes wrong by chance.
    pub faults: FaultRates,
    /// What goes wrong at a time, of the machine.
    pub happenings: Vec<Happening>,
    /// Where requests are logged.
    pub log: Option<Box<dyn Write>>,
}

/// Serves until `end` says so, which it does itself when something fails. `begin` is called inside
/// the runtime of tokio in which the servers live; `ready` is told the addresses, in the order of
/// the instances, as soon as connections are taken in.
///
/// # Errors
/// When an address cannot be listened on, a policy inside an instance fails, or the log cannot be
/// written.
pub fn serve(
    engine: Standalone,
    options: Options,
    end: &watch::Sender<bool>,
    begin: impl FnOnce() + Send,
    ready: impl FnOnce(&[SocketAddr]) -> std::io::Result<()>,
) -> Result<(), String> {
    let mut listeners = Vec::new();
    for i in 0..engine.len() {
        let port = match options.port {
            0 => 0,
            first => u16::try_from(i)
                .ok()
                .and_then(|i| first.checked_add(i))
                .ok_or_else(|| format!("server {i} would have a port above 65535"))?,
        };
        let address = SocketAddr::from((options.host, port));
        let listener = TcpListener::bind(address)
            .map_err(|e| format!("cannot listen on {address}: {}", plain(&e)))?;
        listeners.push(listener);
    }
    let addresses: Result<Vec<SocketAddr>, _> =
        listeners.iter().map(TcpListener::local_addr).collect();
    let addresses = addresses.map_err(|e| plain(&e))?;
    let facts = Arc::new(Facts {
        model: options.model,
        api_key: options.api_key,
        prompt_tokens_details: options.prompt_tokens_details,
        request_id_headers: options.request_id_headers,
        output_tokens: options.output_tokens,
        echo: options.echo,
        seed: options.seed,
        created: since_1970().as_secs(),
        names: options.names,
    });
    let (commands, orders) = mpsc::channel();
    let numbers = Arc::new(AtomicU64::new(0));
    let server = |(i, listener)| {
        let server = Server::new(
            i,
            Arc::clone(&facts),
            commands.clone(),
            engine.instance(i).config().max_model_len,
            Arc::clone(&numbers),
            options.faults.clone(),
            options.adapters.clone(),
        );
        (Arc::new(server), listener)
    };
    let servers: Vec<_> = listeners.into_iter().enumerate().map(server).collect();
    if options.faults.slow != 1.0 {
        for i in 0..servers.len() {
            let _ = commands.send(Command::Slow(i, options.faults.slow));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| plain(&e))?;
    let clock = Clock::new(options.speed);
    let log = options.log.map(RequestLog::new);
    let driver = Driver::new(engine, clock, facts.names[0].clone(), options.metrics, log);
    ready(&addresses).map_err(|e| plain(&e))?;
    std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            let served = runtime.block_on(async {
                begin();
                http::serve(servers, options.happenings, end.subscribe()).await
            });
            let _ = commands.send(Command::End);
            served
        });
        let driven = driver.run(&orders);
        end.send_replace(true);
        // Whoever still waits for an answer is told that there is none.
        drop(orders);
        let served = served.join();
        driven?;
        match served {
            Ok(served) => served.map_err(|e| plain(&e)),
            Err(_) => Err("the servers broke off".to_owned()),
        }
    })
}
