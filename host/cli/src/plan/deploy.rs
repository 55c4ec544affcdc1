//! What to start: the command line of vLLM, and Kubernetes objects around it.

use super::trials::Choice;
use serde_json::{Value, json};
use windtunnel_base::input::InputError;

/// Kinds of roles that vLLM's connector for KV transfers knows.
const CONNECTOR: &str = r#"{"kv_connector":"NixlConnector","kv_role":"kv_both"}"#;

/// Flags of `vllm serve`, without the model.
fn flags(choice: &Choice<'_>) -> Vec<String> {
    let pool = choice.spec.pools.first().cloned().unwrap_or_default();
    let engine = &pool.engine;
    let mut flags = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            flags.push(format!("--{name}"));
            flags.push(value);
        }
    };
    let machine = &choice.machine;
    add(
        "tensor-parallel-size",
        Some(machine.tensor.value.to_string()),
    );
    let above_one = |n: u32| (n > 1).then(|| n.to_string());
    add("data-parallel-size", above_one(machine.data));
    add("pipeline-parallel-size", above_one(machine.stages));
    // Said even where it is the default here: vLLM's own depend on the GPU.
    add(
        "max-num-seqs",
        Some(engine.max_num_seqs.unwrap_or(256).to_string()),
    );
    let tokens = engine.max_num_batched_tokens.unwrap_or(2048);
    add("max-num-batched-tokens", Some(tokens.to_string()));
    add("block-size", engine.block_size.map(|n| n.to_string()));
    add(
        "gpu-memory-utilization",
        Some(engine.gpu_memory_utilization.unwrap_or(0.9).to_string()),
    );
    add("kv-cache-dtype", engine.kv_cache_dtype.clone());
    add(
        "max-model-len",
        engine
            .max_model_len
            .filter(|n| *n > 0)
            .map(|n| n.to_string()),
    );
    let switch = |given: Option<bool>, name: &str| match given {
        Some(true) => Some(format!("--{name}")),
        Some(false) => Some(format!("--no-{name}")),
        None => None,
    };
    flags.extend(switch(
        engine.enable_prefix_caching,
        "enable-prefix-caching",
    ));
    flags.extend(switch(engine.async_scheduling, "async-scheduling"));
    if pool.parallel.experts {
        flags.push("--enable-expert-parallel".to_owned());
    }
    flags
}

/// The command that starts an instance.
pub fn serve_command(choice: &Choice<'_>) -> Vec<String> {
    let mut words = ["vllm", "serve"].map(str::to_owned).to_vec();
    words.push(choice.model.clone());
    words.extend(flags(choice));
    words
}

/// Kubernetes objects of a choice, a Deployment and a Service for each role with its instances.
/// `heading` stands above them.
///
/// # Errors
/// When they cannot be written as YAML.
pub fn manifest(
    choice: &Choice<'_>,
    roles: &[(&str, u32)],
    heading: &str,
) -> Result<String, InputError> {
    let mut text = format!(
        "# {heading}\n# GPUs: {}. Choose the nodes that have them, with a nodeSelector on \
         nvidia.com/gpu.product.\n",
        choice.machine.gpu,
    );
    for (role, replicas) in roles {
        for object in objects(choice, role, *replicas) {
            let yaml =
                serde_yaml::to_string(&object).map_err(|e| InputError::new(e.to_string()))?;
            text.push_str("---\n");
            text.push_str(&yaml);
        }
    }
    Ok(text)
}

fn objects(choice: &Choice<'_>, role: &str, replicas: u32) -> [Value; 2] {
    let base = choice.model.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let base: String = base.chars().map(plain).collect();
    let name = format!("{}-{role}", base.trim_matches('-'));
    let mut args = vec!["--model".to_owned(), choice.model.clone()];
    args.extend(flags(choice));
    if role != "serve" {
        args.extend(["--kv-transfer-config".to_owned(), CONNECTOR.to_owned()]);
    }
    let labels = json!({ "app": name, "llm-d.ai/role": role });
    let probe = json!({ "httpGet": { "path": "/health", "port": 8000 } });
    let container = json!({
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.32.0",
        "args": args,
        "ports": [{ "containerPort": 8000 }],
        "resources": { "limits": { "nvidia.com/gpu": choice.machine.gpus_per_instance() } },
        "readinessProbe": probe,
        "volumeMounts": [{ "name": "shm", "mountPath": "/dev/shm" }],
    });
    let pod = json!({
        "containers": [container],
        // Tensor parallelism shares memory between processes.
        "volumes": [{ "name": "shm", "emptyDir": { "medium": "Memory" } }],
    });
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "labels": labels },
        "spec": { "clusterIP": "None", "selector": { "app": name }, "ports": [{ "port": 8000 }] },
    });
    [deployment, service]
}
