//! Connections, and what goes on beside them: metrics are read, servers are asked for their health,
//! names are looked up, files are looked at.

use super::config::{Config, EndpointSpec};
use super::endpoints::Endpoint;
use super::message::Message;
use super::policy_files::files;
use super::proxy;
use super::scrape::Snapshot;
use super::shared::Gateway;
use super::watch_files::Watched;
use crate::connection::converse;
use crate::openai::errors::{ApiError, json_response};
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::service::service_fn;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, timeout};
use windtunnel_base::input::InputError;

/// Largest page of metrics, bytes.
const LARGEST_PAGE: usize = 16 << 20;
/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Serves until `ended` says so, then lets what is under way go on for a while.
pub async fn serve(
    gateway: Arc<Gateway>,
    listener: std::net::TcpListener,
    path: Option<PathBuf>,
    mut ended: watch::Receiver<bool>,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut beside = JoinSet::new();
    attend(&gateway);
    beside.spawn(look_at_files(Arc::clone(&gateway), path));
    beside.spawn(look_up(Arc::clone(&gateway)));
    beside.spawn(tell_members(Arc::clone(&gateway)));
    let most = Arc::new(Semaphore::new(gateway.config().limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            // Most probably no more files can be opened.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&most).try_acquire_owned() else {
            // There are too many: this one is closed.
            continue;
        };
        let (gateway, ended) = (Arc::clone(&gateway), ended.clone());
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let gateway = Arc::clone(&gateway);
            let request = request.map(axum::body::Body::new);
            async move { Ok::<Response, Infallible>(answer(gateway, request).await) }
        });
        connections.spawn(async move {
            converse(stream, service, ended).await;
            drop(place);
        });
    }
    drop(listener);
    let drain = Duration::from_secs_f64(gateway.config().drain);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(drain, all).await;
    beside.abort_all();
    Ok(())
}

/// The gateway's own paths, and all others.
async fn answer(gateway: Arc<Gateway>, request: Request) -> Response {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/health" | "/ping") => health(&gateway),
        (&Method::GET, "/metrics") => metrics(&gateway).await,
        (&Method::GET, "/gateway/endpoints") => endpoints(&gateway),
        _ => proxy::answer(gateway, request).await,
    }
}

/// It is well while some server takes requests.
fn health(gateway: &Gateway) -> Response {
    let any = gateway
        .endpoints
        .all()
        .iter()
        .any(|endpoint| endpoint.takes());
    match any {
        true => StatusCode::OK.into_response(),
        false => ApiError::of(StatusCode::SERVICE_UNAVAILABLE, "no server takes requests")
            .into_response(),
    }
}

async fn metrics(gateway: &Gateway) -> Response {
    let (to, page) = oneshot::channel();
    let _ = gateway.control.send(Message::Metrics(to));
    let kind = [("content-type", "text/plain; version=0.0.4; charset=utf-8")];
    match page.await {
        Ok(page) => (kind, page).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// `/gateway/endpoints`: the servers and how they are.
fn endpoints(gateway: &Gateway) -> Response {
    let all = gateway.endpoints.all();
    let all = all.iter().map(|endpoint| {
        json!({
            "name": endpoint.name,
            "url": endpoint.base,
            "pool": endpoint.pool,
            "listed": endpoint.is_there(),
            "takes_requests": endpoint.takes(),
            "sent": endpoint.sent.load(Ordering::Relaxed),
            "failed": endpoint.failed.load(Ordering::Relaxed),
            "metrics_unread": endpoint.unread.load(Ordering::Relaxed),
        })
    });
    let under_way = gateway.under_way.load(Ordering::Relaxed);
    let all = json!({ "under_way": under_way, "endpoints": all.collect::<Vec<_>>() });
    json_response(StatusCode::OK, &all)
}

/// Has the metrics of every server in a list read, and its health asked for, where nobody does so.
fn attend(gateway: &Arc<Gateway>) {
    for endpoint in gateway.endpoints.all() {
        if !endpoint.is_there() {
            continue;
        }
        let begins = |k: usize| !endpoint.attended[k].swap(true, Ordering::SeqCst);
        if begins(0) {
            tokio::spawn(scrape(Arc::clone(gateway), Arc::clone(&endpoint)));
        }
        if begins(1) {
            tokio::spawn(ask_health(Arc::clone(gateway), Arc::clone(&endpoint)));
        }
    }
}

/// Is the server in a list still? Else who attends to it in this way ends.
fn goes_on(endpoint: &Endpoint, k: usize) -> bool {
    if endpoint.is_there() {
        return true;
    }
    endpoint.attended[k].store(false, Ordering::SeqCst);
    // It may have come back meanwhile, and nobody else have begun.
    endpoint.is_there() && !endpoint.attended[k].swap(true, Ordering::SeqCst)
}

async fn scrape(gateway: Arc<Gateway>, endpoint: Arc<Endpoint>) {
    let mut complained = false;
    while goes_on(&endpoint, 0) {
        let config = gateway.config();
        let page = get(&gateway, &endpoint, "/metrics", config.scrape.timeout).await;
        let read = page.and_then(|page| Snapshot::read(&page, config.engine));
        match read {
            Ok(snapshot) => {
                complained = false;
                let _ = gateway
                    .control
                    .send(Message::Scraped(endpoint.number, Box::new(snapshot)));
            }
            Err(why) => {
                endpoint.unread.fetch_add(1, Ordering::Relaxed);
                if !complained {
                    tracing::warn!(endpoint = endpoint.name, why, "metrics cannot be read");
                }
                complained = true;
            }
        }
        tokio::time::sleep(Duration::from_secs_f64(config.scrape.interval)).await;
    }
}

async fn ask_health(gateway: Arc<Gateway>, endpoint: Arc<Endpoint>) {
    while goes_on(&endpoint, 1) {
        let config = gateway.config();
        let health = &config.health;
        let answered = get(&gateway, &endpoint, &health.path, health.timeout).await;
        let is_well = answered.is_ok();
        gateway.endpoints.health(&endpoint, is_well);
        if is_well && let Ok(models) = get(&gateway, &endpoint, "/v1/models", health.timeout).await
        {
            learn_adapters(&gateway, &models);
        }
        tokio::time::sleep(Duration::from_secs_f64(health.interval)).await;
    }
}

/// Models that have a parent are adapters.
fn learn_adapters(gateway: &Gateway, models: &str) {
    let models: Value = serde_json::from_str(models).unwrap_or_default();
    let Some(all) = models["data"].as_array() else {
        return;
    };
    let adapters = all.iter().filter(|model| model["parent"].is_string());
    let names = adapters.filter_map(|model| model["id"].as_str());
    let mut known = gateway
        .adapters
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    for name in names {
        if !known.contains(name) && known.len() < gateway.config().limits.names as usize {
            known.insert(name.to_owned());
        }
    }
}

/// The text of a page of a server.
async fn get(
    gateway: &Gateway,
    endpoint: &Endpoint,
    path: &str,
    seconds: f64,
) -> Result<String, String> {
    let request = hyper::Request::get(format!("{}{path}", endpoint.base))
        .body(Full::new(Bytes::new()))
        .map_err(|e| e.to_string())?;
    let asked = async {
        let answer = gateway
            .client
            .request(request)
            .await
            .map_err(|e| e.to_string())?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("{path}: status {status}"));
        }
        let body = Limited::new(answer.into_body(), LARGEST_PAGE)
            .collect()
            .await;
        let body = body.map_err(|e| e.to_string())?.to_bytes();
        String::from_utf8(body.to_vec()).map_err(|_| format!("{path}: not UTF-8"))
    };
    match timeout(Duration::from_secs_f64(seconds), asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("{path}: no answer within {seconds} s")),
    }
}

/// Servers come back by themselves when their time is over.
async fn tell_members(gateway: Arc<Gateway>) {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        gateway.endpoints.tell();
    }
}

/// The servers of all lists, and the addresses that were looked up.
fn set_endpoints(
    gateway: &Arc<Gateway>,
    config: &Config,
    found: &[EndpointSpec],
) -> Result<(), InputError> {
    let mut all = config.all_endpoints()?;
    let listed = all.len();
    for spec in found {
        if !all[..listed].iter().any(|other| other.url == spec.url) {
            all.push(spec.clone());
        }
    }
    gateway.endpoints.set(&all);
    attend(gateway);
    Ok(())
}

async fn look_up(gateway: Arc<Gateway>) {
    let mut before = Vec::new();
    loop {
        let config = gateway.config();
        let Some(dns) = &config.dns else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        match tokio::net::lookup_host((dns.name.as_str(), dns.port)).await {
            Ok(addresses) => {
                let spec = |address| EndpointSpec {
                    url: format!("http://{address}"),
                    pool: dns.pool.clone(),
                    ..EndpointSpec::default()
                };
                let mut found: Vec<EndpointSpec> = addresses.map(spec).collect();
                found.sort_by(|a, b| a.url.cmp(&b.url));
                found.dedup();
                if found != before {
                    if let Err(e) = set_endpoints(&gateway, &config, &found) {
                        tracing::error!(error = %e, "servers cannot be listed");
                    }
                    before = found;
                }
            }
            // Those that are known stay.
            Err(e) => tracing::warn!(name = dns.name, error = %e, "the name cannot be looked up"),
        }
        tokio::time::sleep(Duration::from_secs_f64(dns.interval)).await;
    }
}

/// Takes what files say when they change, if it makes sense.
async fn look_at_files(gateway: Arc<Gateway>, path: Option<PathBuf>) {
    let mut watched = Watched::default();
    loop {
        let config = gateway.config();
        let mut all = files(&config.policies);
        all.extend(
            config
                .shadows
                .iter()
                .flat_map(|shadow| files(&shadow.policies)),
        );
        all.extend(config.endpoints_file.clone());
        all.extend(path.clone());
        if watched.changed(all) {
            match reload(&gateway, path.as_deref()).await {
                Ok(()) => tracing::warn!("the configuration was read again"),
                Err(e) => tracing::error!(error = %e, "the configuration stays as it was"),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn reload(gateway: &Arc<Gateway>, path: Option<&std::path::Path>) -> Result<(), String> {
    let config = match path {
        Some(path) => Arc::new(Config::load(path).map_err(|e| e.to_string())?),
        None => gateway.config(),
    };
    config.all_endpoints().map_err(|e| e.to_string())?;
    let (to, taken) = oneshot::channel();
    let _ = gateway
        .control
        .send(Message::Reload(Arc::clone(&config), to));
    taken
        .await
        .map_err(|_| "the gateway is shutting down".to_owned())??;
    *gateway
        .config
        .write()
        .unwrap_or_else(PoisonError::into_inner) = Arc::clone(&config);
    if config.dns.is_none() {
        set_endpoints(gateway, &config, &[]).map_err(|e| e.to_string())?;
    }
    Ok(())
}
