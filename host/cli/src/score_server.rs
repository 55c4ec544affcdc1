//! `windtunnel score-server`: scores candidates that are sent by HTTP.

mod api;
mod connections;
mod cost;
mod gepa;
mod guard;
mod queue;
mod unique;

use super::args::refuse_zero;
use super::endings;
use super::print::{say, to_stdout};
use super::score::ScoringArgs;
use api::Server;
use axum::middleware::from_fn_with_state;
use clap::Args;
use cost::CostLimits;
use guard::Guard;
use queue::JobQueue;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use windtunnel_base::input::InputError;
use windtunnel_score::Split;

/// `windtunnel score-server`.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    #[command(flatten)]
    scoring: ScoringArgs,
    /// Where to listen; port 0 takes a free one. A port alone is one of this machine's own address
    #[arg(long, default_value = "127.0.0.1:0", value_name = "[ADDRESS:]PORT")]
    listen: String,
    /// Most evaluations, of a candidate on a scenario or on all; further ones are refused with
    /// status 429 [default: no limit]
    #[arg(long, value_name = "N")]
    max_evals: Option<u64>,
    /// Most evaluations that may wait; further ones are refused with status 503
    #[arg(long, default_value_t = 256, value_name = "N")]
    queue: usize,
    /// Most seeds per scenario that a request may ask for [default: max_seeds of the suite]
    #[arg(long, value_name = "N")]
    max_seeds: Option<u32>,
    /// Most simulated requests of one HTTP request: scenarios x seeds x requests of a run [default:
    /// what all scenarios of the suite come to]
    #[arg(long, value_name = "N")]
    max_requests: Option<u64>,
    /// A further name by which clients reach the server, without a port; other names than this
    /// machine's own are refused, as are pages of other sites
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// A file with a token that requests must show (Authorization: Bearer TOKEN) [default: what the
    /// environment variable WINDTUNNEL_TOKEN holds]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Let POST /score have the split holdout
    #[arg(long)]
    allow_holdout: bool,
    /// End when standard input does, so that no server outlives who started it
    #[arg(long)]
    until_stdin_closes: bool,
}

/// Where to listen.
fn address(text: &str) -> Result<SocketAddr, InputError> {
    let wrong = || {
        InputError::new(format!(
            "--listen is \"{text}\"; expected a port, or an IP address and a port such as 127.0.0.1:8080"
        ))
    };
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        let port = port.parse().map_err(|_| wrong())?;
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| wrong())
}

/// Runs the command: serves until it is told to end.
pub fn serve(args: &ServerArgs) -> anyhow::Result<()> {
    if args.scoring.allow_native {
        let message = "--allow-native has no effect here: candidates come as Lua text";
        return Err(InputError::new(message).into());
    }
    refuse_zero(&[
        ("--queue", args.queue == 0),
        ("--max-seeds", args.max_seeds == Some(0)),
        ("--max-requests", args.max_requests == Some(0)),
    ])?;
    let address = address(&args.listen)?;
    let hosts = guard::host_names(&args.allow_host)?;
    let token = guard::token(args.token_file.as_deref())?;
    let splits = if args.allow_holdout {
        &Split::ALL[..]
    } else {
        &[Split::Train, Split::Val]
    };
    let suite = args.scoring.suite(splits)?;
    let scorer = args.scoring.scorer()?;
    let jobs = scorer.runner().workers.slots();
    let queue = Arc::new(JobQueue::new(scorer, args.queue));
    let limits = CostLimits::new(&suite, args.max_seeds, args.max_requests);
    let server = Arc::new(Server::new(
        suite,
        Arc::clone(&queue),
        args.max_evals,
        args.allow_holdout,
        limits,
        jobs,
    ));
    let made = |address| Guard::new(address, hosts, token.as_deref());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = std::thread::scope(|scope| {
        for slot in 0..jobs {
            let queue = &queue;
            scope.spawn(move || queue.serve(slot));
        }
        let served = runtime.block_on(listen(address, args.until_stdin_closes, server, made));
        queue.close();
        served
    });
    // A read of standard input may still be under way.
    runtime.shutdown_background();
    served
}

async fn listen(
    address: SocketAddr,
    until_stdin_closes: bool,
    server: Arc<Server>,
    guard: impl FnOnce(SocketAddr) -> Guard,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|e| {
        let why = windtunnel_base::input::plain(&e);
        InputError::new(format!("--listen: cannot listen on {address}: {why}"))
    })?;
    let address = listener.local_addr()?;
    let (end, mut ended) = watch::channel(false);
    let end = Arc::new(end);
    if until_stdin_closes {
        endings::end_with_stdin(&end);
    }
    endings::end_on_signals(&end);
    let guard = guard(address);
    if !address.ip().is_loopback() && !guard.asks_for_token() {
        say(&format!(
            "warning: whoever reaches {address} can have candidates scored on this machine; --token-file asks for a token"
        ));
    }
    let ready = json!({
        "url": format!("http://{address}"),
        "suite": server.suite.label(),
        "jobs": server.jobs,
    });
    to_stdout(|out| writeln!(out, "{ready}"))?;
    let paths = gepa::paths().merge(api::paths());
    let app = api::with_fallbacks(paths)
        .layer(from_fn_with_state(Arc::new(guard), guard::let_through))
        .with_state(Arc::clone(&server));
    // What waits or runs is answered with an error before connections are closed.
    let (closed, closing) = watch::channel(false);
    let queue = Arc::clone(&server.queue);
    tokio::spawn(async move {
        let _ = ended.wait_for(|ended| *ended).await;
        queue.close();
        closed.send_replace(true);
    });
    connections::serve(listener, app, server, closing).await;
    Ok(())
}
