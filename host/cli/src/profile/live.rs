//! Measures a live server: finds out what it is, asks it what the recipe says.

use super::measured::{MeasuredArgs, Measurement};
use super::observed::observe;
use super::recipe::{Probe, Reach, WARM_UP, recipe};
use crate::args::refuse_zero;
use crate::progress::ProbesBar;
use clap::Args;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use windtunnel_base::input::InputError;
use windtunnel_base::rng::Stream;
use windtunnel_live::client::{Client, Exchange};

/// Longest prompt where nobody says how many tokens a step may have: vLLM's own default.
const ONE_STEP: u64 = 2048;
/// Most steps that a prompt is computed in.
const STEPS_OF_PROMPT: u64 = 4;
/// Most requests at once.
const CONCURRENCY: u32 = 32;
/// How long it may take, seconds.
const BUDGET: f64 = 300.0;
/// Token ids of prompts: every vocabulary has them, and they are no special tokens in most.
const IDS: std::ops::Range<u64> = 32..256;
/// Tokens that those who decode have before another request joins them.
const BEFORE_JOINING: usize = 4;

/// How a server is asked.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Asking a server")]
pub struct ServerArgs {
    /// The environment variable that holds the server's key [default: WINDTUNNEL_API_KEY, if set]
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Stop asking after so many seconds, and fit what was measured by then [default: 300]
    #[arg(long, value_name = "SECONDS")]
    budget_seconds: Option<f64>,
    /// Longest prompt [default: what fits into a step, or 4 steps if --max-num-batched-tokens says
    /// what a step is, within the model's length]
    #[arg(long, value_name = "TOKENS")]
    max_prompt_tokens: Option<u64>,
    /// Most requests at once [default: 32, at most --max-num-seqs]
    #[arg(long, value_name = "N")]
    max_concurrency: Option<u32>,
}

impl ServerArgs {
    /// Refuses flags that say how a server is asked where none is.
    pub fn refuse_without_url(&self) -> Result<(), InputError> {
        for (flag, given) in [
            ("--api-key-env", self.api_key_env.is_some()),
            ("--budget-seconds", self.budget_seconds.is_some()),
            ("--max-prompt-tokens", self.max_prompt_tokens.is_some()),
            ("--max-concurrency", self.max_concurrency.is_some()),
        ] {
            if given {
                return Err(InputError::new(format!(
                    "{flag} has no effect without a URL: no server is asked"
                )));
            }
        }
        Ok(())
    }

    fn budget(&self) -> Result<Duration, InputError> {
        let seconds = self.budget_seconds.unwrap_or(BUDGET);
        let fine = (1.0..=1e6).contains(&seconds);
        fine.then(|| Duration::from_secs_f64(seconds))
            .ok_or_else(|| {
                InputError::new(format!(
                    "--budget-seconds must be 1 to 1000000, found {seconds}"
                ))
            })
    }

    fn key(&self) -> Result<Option<String>, InputError> {
        crate::api_key::from_environment(self.api_key_env.as_deref())
    }
}

/// Measures the server at `url`, and fills in what it says of itself.
pub fn measure(
    url: &str,
    args: &ServerArgs,
    measured: &mut MeasuredArgs,
) -> Result<Measurement, InputError> {
    let budget = args.budget()?;
    refuse_zero(&[
        ("--max-prompt-tokens", args.max_prompt_tokens == Some(0)),
        ("--max-concurrency", args.max_concurrency == Some(0)),
    ])?;
    let client = Client::new(url, args.key()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| InputError::new(format!("no runtime for connections: {e}")))?;
    runtime.block_on(async {
        let model = discover(&client, measured).await?;
        let reach = reach(args, measured)?;
        let asker = Asker {
            client: Arc::new(client),
            model,
            seed: seed(),
        };
        asker.measure(&reach, budget).await
    })
}

/// Prompts of another run are others, so that no cache knows them.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| d.as_nanos() as u64)
}

/// Asks a server what it is; gives the model's name.
async fn discover(client: &Client, measured: &mut MeasuredArgs) -> Result<String, InputError> {
    let models = client.models().await?;
    let model = match (&measured.model, models.list.as_slice()) {
        (Some(asked), _) => models.find(asked)?,
        (None, [only]) => only,
        (None, []) => return Err(models.wrong("it serves no model")),
        (None, _) => {
            let several = models.names().join(", ");
            let what = format!("it serves {several}; say with --model which one is measured");
            return Err(models.wrong(what));
        }
    };
    let length = model.max_model_len;
    let model = model.name.clone();
    measured.max_model_len = measured.max_model_len.or(length);
    measured.model = Some(model.clone());
    if measured.engine.is_none()
        && let Ok(answer) = client.get("/version").await
        && answer.status == StatusCode::OK
    {
        let value: Option<Value> = serde_json::from_str(&answer.text).ok();
        let version = value.and_then(|v| v.get("version")?.as_str().map(str::to_owned));
        // vLLM alone has this path.
        measured.engine = version.map(|version| format!("vllm {version}"));
    }
    if let Ok(answer) = client.get("/metrics").await
        && answer.status == StatusCode::OK
    {
        let said = |label: &str| cache_label(&answer.text, label);
        let block_size = said("block_size").and_then(|n| u32::try_from(n).ok());
        measured.block_size = measured.block_size.or(block_size);
        measured.num_gpu_blocks = measured.num_gpu_blocks.or(said("num_gpu_blocks"));
    }
    Ok(model)
}

/// A number in the labels of vLLM's `cache_config_info`.
fn cache_label(metrics: &str, label: &str) -> Option<u64> {
    let mut lines = metrics.lines();
    let line = lines.find(|line| line.starts_with("vllm:cache_config_info{"))?;
    let (labels, _) = line.split_once('{')?.1.split_once('}')?;
    let text = labels.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        (name == label).then(|| value.trim_matches('"'))
    })?;
    text.parse().ok().filter(|n| *n > 0)
}

fn reach(args: &ServerArgs, measured: &MeasuredArgs) -> Result<Reach, InputError> {
    let model_len = measured.max_model_len.unwrap_or(u64::MAX);
    let step_tokens = measured.max_num_batched_tokens.map(u64::from);
    let most = step_tokens.map_or(ONE_STEP, |n| n * STEPS_OF_PROMPT);
    // The answer needs some room, too.
    let room = model_len.saturating_sub(16);
    if room == 0 {
        let message = format!("a model of {model_len} tokens is too short to be measured");
        return Err(InputError::new(message));
    }
    if let Some(asked) = args.max_prompt_tokens
        && asked > room
    {
        return Err(InputError::new(format!(
            "--max-prompt-tokens {asked} leaves no room for an answer: the model takes {model_len} tokens in all"
        )));
    }
    let seqs = measured.max_num_seqs.unwrap_or(u32::MAX);
    if let Some(asked) = args.max_concurrency
        && asked > seqs
    {
        return Err(InputError::new(format!(
            "--max-concurrency {asked} is more than --max-num-seqs {seqs}: the rest would wait"
        )));
    }
    let kv = measured.num_gpu_blocks.zip(measured.block_size);
    Ok(Reach {
        prompt_tokens: args.max_prompt_tokens.unwrap_or(most.min(room)),
        concurrency: u64::from(args.max_concurrency.unwrap_or(CONCURRENCY.min(seqs))),
        step_tokens: step_tokens.unwrap_or(u64::MAX),
        model_len,
        kv_tokens: kv.map_or(u64::MAX, |(blocks, size)| blocks * u64::from(size) / 10 * 9),
    })
}

/// Asks one server for completions of one model.
struct Asker {
    client: Arc<Client>,
    model: String,
    seed: u64,
}

impl Asker {
    async fn measure(&self, reach: &Reach, budget: Duration) -> Result<Measurement, InputError> {
        let began = Instant::now();
        let ends = tokio::time::Instant::now() + budget;
        let mut notes = Vec::new();
        let warm = tokio::time::timeout_at(ends, self.ask(0, WARM_UP)).await;
        let warm = warm.map_err(|_| {
            InputError::new(format!(
                "{}: the first completion was not there within {} s (--budget-seconds)",
                self.client.url(),
                budget.as_secs()
            ))
        })??;
        self.check_warm_up(&warm, &mut notes)?;
        let probes = recipe(reach);
        let bar = ProbesBar::new(probes.len() as u64);
        let mut done = Vec::new();
        for (k, probe) in probes.iter().enumerate() {
            bar.show(k as u64, &told(probe));
            match tokio::time::timeout_at(ends, self.ask(1 + k as u64, *probe)).await {
                Ok(exchanges) => done.push((*probe, exchanges?)),
                Err(_) => {
                    notes.push(format!(
                        "{} of {} probes were made within {} s: the table is of these (--budget-seconds)",
                        done.len(),
                        probes.len(),
                        budget.as_secs()
                    ));
                    break;
                }
            }
        }
        bar.done();
        let observed = observe(&done, reach.step_tokens);
        let mut apart = observed.never_together;
        apart.sort_unstable();
        apart.dedup();
        for n in apart {
            notes.push(format!(
                "{n} requests at once never all decoded together: the table does not have them (is --max-num-seqs lower?)"
            ));
        }
        let asked = format!(
            "{} probes in {:.0} s",
            done.len(),
            began.elapsed().as_secs_f64()
        );
        Ok(Measurement {
            steps: observed.steps,
            request_overhead_ms: (observed.request_overhead_ms * 1e3).round() / 1e3,
            sources: BTreeMap::from([(self.client.url().to_owned(), asked)]),
            notes,
        })
    }

    fn check_warm_up(&self, warm: &[Exchange], notes: &mut Vec<String>) -> Result<(), InputError> {
        let Probe::Batch { output, prompt, .. } = WARM_UP else {
            return Ok(());
        };
        let Some(one) = warm.first() else {
            return Ok(());
        };
        if one.tokens() == 0 {
            return Err(InputError::new(format!(
                "{}: the server streams no token of {}",
                self.client.url(),
                self.model
            )));
        }
        if one.tokens() != output {
            notes.push(format!(
                "of {output} tokens that were asked for with ignore_eos {} came: steps are told from those that come",
                one.tokens()
            ));
        }
        if one.prompt_tokens != prompt {
            notes.push(format!(
                "the server counts {} tokens in a prompt of {prompt} token ids: its count is taken",
                one.prompt_tokens
            ));
        }
        Ok(())
    }

    /// Starts a request; every token of its answer is told, if somebody listens.
    fn start(&self, body: Value, prompt: u64, told: Option<UnboundedSender<()>>) -> Running {
        let client = Arc::clone(&self.client);
        let asked = async move { client.complete(&body, prompt, told).await };
        Running(tokio::spawn(asked))
    }

    /// Carries out a probe, the `number`-th one.
    async fn ask(&self, number: u64, probe: Probe) -> Result<Vec<Exchange>, InputError> {
        let (requests, prompt, output) = match probe {
            Probe::Single { prompt, output } => (1, prompt, output),
            Probe::Batch {
                requests,
                prompt,
                output,
            } => (requests, prompt, output),
            Probe::Joining {
                decodes,
                decode_prompt,
                ..
            } => (decodes, decode_prompt, super::recipe::MANY),
        };
        let mut running = Vec::new();
        let mut arrivals = Vec::new();
        for k in 0..requests {
            let body = self.body(number, k, prompt, output);
            let (tell, told) = unbounded_channel();
            arrivals.push(told);
            running.push(self.start(body, prompt, Some(tell)));
        }
        if let Probe::Joining { prompt, .. } = probe {
            for mut told in arrivals {
                for _ in 0..BEFORE_JOINING {
                    // None: that request is done already.
                    if told.recv().await.is_none() {
                        break;
                    }
                }
            }
            let body = self.body(number, requests, prompt, 1);
            running.push(self.start(body, prompt, None));
        }
        let mut all = Vec::new();
        for mut one in running {
            let exchange = (&mut one.0).await;
            let exchange = exchange.map_err(|e| InputError::new(format!("a request failed: {e}")));
            all.push(exchange??);
        }
        Ok(all)
    }

    fn body(&self, number: u64, request: u64, prompt: u64, output: u64) -> Value {
        let numbers = Stream::new(self.seed, "prompts of a profile", number, request);
        let ids = (0..prompt).map(|_| IDS.start + numbers.next() % (IDS.end - IDS.start));
        json!({
            "model": self.model,
            "prompt": ids.collect::<Vec<u64>>(),
            "max_tokens": output,
            "ignore_eos": true,
            "temperature": 0,
            "stream": true,
            "stream_options": {"include_usage": true, "continuous_usage_stats": true},
        })
    }
}

/// A request under way. Who drops it gives it up, and the server sees the connection close.
struct Running(JoinHandle<Result<Exchange, InputError>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn told(probe: &Probe) -> String {
    match probe {
        Probe::Single { prompt, .. } => format!("a prompt of {prompt} tokens"),
        Probe::Batch {
            requests, prompt, ..
        } => format!("{requests} x {prompt} tokens, decoding"),
        Probe::Joining {
            decodes, prompt, ..
        } => format!("a prompt of {prompt} tokens joins {decodes}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_the_labels_of_a_metric() {
        let text = "# HELP x\nvllm:cache_config_info{_block_size_resolved=\"True\",block_size=\"128\",\
                    num_gpu_blocks=\"341\",num_cpu_blocks=\"None\"} 1.0\n";
        assert_eq!(cache_label(text, "block_size"), Some(128));
        assert_eq!(cache_label(text, "num_gpu_blocks"), Some(341));
        assert_eq!(cache_label(text, "num_cpu_blocks"), None);
    }
}
