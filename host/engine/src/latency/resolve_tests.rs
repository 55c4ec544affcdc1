//! What is chosen when the user says little, and what is said when it cannot be.

use super::{KvBlocksSource, LatencyModelKind, MaxModelLenSource, Resolved, Setup, resolve};
use windtunnel_config::Defaults;

fn setup(model: &str) -> Setup {
    Setup::new(model, Defaults::builtin().clone())
}

fn with(model: &str, change: impl FnOnce(&mut Setup)) -> Resolved {
    let mut s = setup(model);
    change(&mut s);
    resolve(&s).unwrap()
}

fn error(model: &str, change: impl FnOnce(&mut Setup)) -> String {
    let mut s = setup(model);
    change(&mut s);
    resolve(&s).unwrap_err().to_string()
}

const V084: &str = "vllm/vllm-openai:v0.8.4";

/// A choice of the step-time model.
fn by(kind: LatencyModelKind) -> impl Fn(&mut Setup) {
    move |s| s.latency = Some(kind)
}

#[test]
fn measured_kernels_come_first_on_the_deployment_of_the_fitted_coefficients() {
    let r = with("Llama-3.1-8B-Instruct", |_| ());
    assert_eq!(r.latency_kind, LatencyModelKind::KernelTables);
    // The computed models have TP 1 by default.
    assert_eq!(
        (r.gpu.as_str(), r.tp, r.vllm_version.as_deref()),
        ("H100", 2, None)
    );
    assert_eq!(
        (r.total_kv_blocks, r.kv_blocks_source),
        (64_021, KvBlocksSource::Computed)
    );
    assert!(r.notes.is_empty(), "{:?}", r.notes);
    let chosen = with("llama-3.1-8b-instruct", by(LatencyModelKind::KernelTables));
    assert_eq!((chosen.gpu, chosen.tp), (r.gpu, r.tp));
    let r = with("llama-3.1-8b-instruct", |s| {
        (s.gpu, s.tp) = (Some("a100-80".into()), Some(8));
    });
    assert_eq!(r.latency_kind, LatencyModelKind::KernelTables);
    assert_eq!((r.gpu.as_str(), r.tp), ("A100-80", 8));
}

#[test]
fn why_measured_kernels_are_not_taken_is_told() {
    let note = |model: &str, change: &dyn Fn(&mut Setup)| {
        let r = with(model, |s| change(s));
        (r.latency_kind, r.notes[0].clone())
    };
    let (kind, why) = note("glm-5.2-fp8", &|s| {
        (s.gpu, s.tp) = (Some("H200".into()), Some(8));
    });
    assert_eq!(kind, LatencyModelKind::TrainedPhysics);
    let mla = "not kernel-tables: attention over compressed KV (MLA) with heads of such widths was not measured on H200; \
               trained-physics and roofline compute it";
    assert_eq!(why, mla);
    let (kind, why) = note("qwen3-14b", &|s| {
        (s.gpu, s.tp) = (Some("L4".into()), Some(4));
    });
    assert_eq!(kind, LatencyModelKind::TrainedPhysics);
    let unmeasured = "not kernel-tables: no kernels were measured on L4; ";
    assert!(why.starts_with(unmeasured), "{why}");
    let (kind, why) = note("granite-3.1-8b-instruct", &|_| ());
    assert_eq!(kind, LatencyModelKind::Blackbox);
    let unknown = "not kernel-tables: the configuration of ibm-granite/granite-3.1-8b-instruct is not built in; give \
                   `model_config_folder`";
    assert_eq!(why, unknown);
    let (kind, why) = note("llama-3.1-8b-instruct", &|s| {
        s.vllm_version = Some("0.8.4".into());
    });
    assert_eq!(kind, LatencyModelKind::Blackbox);
    let version = "not kernel-tables: `vllm_version` asks for coefficients fitted to that version";
    assert_eq!(why, version);
    // Coefficients of a file of one's own go first, those that are built in do not.
    let own = |s: &mut Setup| {
        let entry = s
            .defaults
            .models
            .get_mut("meta-llama/llama-3.1-8b-instruct");
        let row = entry.unwrap().fitted.iter_mut();
        row.for_each(|row| row.beta[0] += 1.0);
        s.defaults.name = "own.yaml".into();
    };
    let (kind, why) = note("llama-3.1-8b-instruct", &own);
    assert_eq!(kind, LatencyModelKind::Blackbox);
    let file = "not kernel-tables: own.yaml has coefficients of its own for H100 TP 2";
    assert_eq!(why, file);
    // Another GPU by the same name.
    let file = tempfile::NamedTempFile::new().unwrap();
    let figures = r#"{"H100": {"TFlopsPeak": 500, "BwPeakTBs": 3.35, "mfuPrefill": 0.4, "mfuDecode": 0.3,
        "MemoryGiB": 80}}"#;
    std::fs::write(file.path(), figures).unwrap();
    let (kind, why) = note("qwen3-14b", &|s| {
        s.hardware_config = Some(file.path().into());
    });
    assert_eq!(kind, LatencyModelKind::TrainedPhysics);
    let other = "not kernel-tables: the given figures of H100 are not those of the GPU whose kernels were measured";
    assert_eq!(why, other);
}

#[test]
fn a_model_with_fitted_coefficients_can_use_them() {
    let r = with("Llama-3.1-8B-Instruct", by(LatencyModelKind::Blackbox));
    assert_eq!(r.latency_kind, LatencyModelKind::Blackbox);
    assert_eq!(r.model, "llama-3.1-8b-instruct");
    assert_eq!(r.canonical, "meta-llama/llama-3.1-8b-instruct");
    assert_eq!(
        (r.gpu.as_str(), r.tp, r.vllm_version.as_deref()),
        ("H100", 2, Some(V084))
    );
    assert_eq!(
        (r.total_kv_blocks, r.kv_blocks_source),
        (64_021, KvBlocksSource::Computed)
    );
    let blis = with("Llama-3.1-8B-Instruct", |s| s.as_blis = true);
    assert_eq!(
        (blis.total_kv_blocks, blis.kv_blocks_source),
        (132_139, KvBlocksSource::FittedRow)
    );
    let said = "132139 KV blocks cannot be, as BLIS computes them: on each GPU they are 129.0 GiB beside 7.5 GiB of \
                weights, and it has 80 GiB";
    assert_eq!(blis.notes, [said]);
    assert_eq!(r.max_model_len, 131_072);
    assert_eq!(r.max_model_len_source, MaxModelLenSource::ModelConfig);
    assert_eq!(
        r.beta,
        [6910.420479880494, 17.67057489844186, 2.8377471109943855]
    );
    assert!(r.notes.is_empty(), "{:?}", r.notes);
}

#[test]
fn given_gpu_and_tp_choose_the_row() {
    let r = with("llama-3.1-8b-instruct", |s| {
        (s.tp, s.latency) = (Some(1), Some(LatencyModelKind::Blackbox));
    });
    assert_eq!(
        (r.latency_kind, r.total_kv_blocks),
        (LatencyModelKind::Blackbox, 28_181)
    );
    let r = with("granite-3.1-8b-instruct", |s| {
        (s.gpu, s.tp) = (Some("a100-sxm".into()), Some(2));
    });
    // No configuration is built in: the row's number counts.
    assert_eq!((r.gpu.as_str(), r.total_kv_blocks), ("A100-SXM", 52_748));
    assert!(r.notes[1].contains("another name"), "{:?}", r.notes);
    // The first of two equal keys counts.
    let entry = &Defaults::builtin().models["redhatai/phi-4-fp8-dynamic"];
    let first = entry
        .fitted
        .iter()
        .find(|r| r.tp == 1 && r.gpu == "H100")
        .unwrap();
    let r = with("phi-4-fp8-dynamic", |s| s.tp = Some(1));
    assert_eq!(r.alpha, first.alpha);
}

#[test]
fn blocks_of_a_row_say_what_they_do_not_follow() {
    let r = with("granite-3.1-8b-instruct", |s| {
        (s.block_size, s.gpu_memory_utilization) = (32, 0.5);
    });
    assert_eq!(r.total_kv_blocks, 111_730);
    assert!(r.notes[1].contains("16 tokens each"), "{:?}", r.notes);
    assert!(
        r.notes[2].contains("utilization changes nothing"),
        "{:?}",
        r.notes
    );
}

#[test]
fn the_version_is_taken_where_only_one_fits() {
    // No default deployment is known for this model, GPU and tensor parallelism tell the row.
    let entry = &Defaults::builtin().models["mistralai/mixtral-8x7b-instruct-v0.1"];
    let row = &entry.fitted[0];
    let r = with("mixtral-8x7b-instruct-v0.1", |s| {
        (s.gpu, s.tp) = (Some(row.gpu.clone()), Some(row.tp));
    });
    assert_eq!(r.vllm_version.as_ref(), Some(&row.vllm));
    let r = with("llama-3.1-8b-instruct", |s| {
        s.vllm_version = Some("0.8.4".into())
    });
    assert_eq!(r.vllm_version.as_deref(), Some(V084));
}

#[test]
fn without_kernels_and_rows_trained_physics_steps_in_and_says_so() {
    let r = with("qwen3-14b", |s| {
        (s.gpu, s.tp) = (Some("L4".into()), Some(4));
    });
    assert_eq!(
        (r.latency_kind, r.gpu.as_str(), r.tp),
        (LatencyModelKind::TrainedPhysics, "L4", 4)
    );
    let said = "no step times of qwen/qwen3-14b were measured for L4, TP 4: they are computed by \
                trained-physics, whose factors were fitted on H100 servers of other models";
    assert_eq!(r.notes[1], said);
    let r = with("qwen3-14b", by(LatencyModelKind::TrainedPhysics));
    assert_eq!(
        (r.total_kv_blocks, r.kv_blocks_source),
        (17_404, KvBlocksSource::Computed)
    );
    // Over two nodes sums are made on each first, of which there are figures.
    let r = with("llama-3.1-8b-instruct", |s| s.tp = Some(16));
    assert_eq!(r.latency_kind, LatencyModelKind::KernelTables);
    let r = with("llama-3.1-8b-instruct", |s| {
        s.tp = Some(16);
        s.nodes.gpus_per_node = Some(16);
    });
    assert_eq!(r.latency_kind, LatencyModelKind::TrainedPhysics);
    assert!(r.notes[0].contains("over 16 GPUs"), "{:?}", r.notes);
    assert!(r.notes[1].contains("for H100, TP 16"), "{:?}", r.notes);
    let r = with("llama-3.1-8b-instruct", |s| {
        s.vllm_version = Some("v9".into())
    });
    assert_eq!(r.latency_kind, LatencyModelKind::TrainedPhysics);
    // BLIS itself would take its roofline.
    let r = with("qwen3-14b", |s| s.as_blis = true);
    assert_eq!(
        (r.latency_kind, r.total_kv_blocks),
        (LatencyModelKind::Roofline, 15_909)
    );
    let message = error("mistral-small-24b-instruct-2501", |s| s.tp = Some(64));
    assert!(
        message.contains("for H100, TP 64; there are: "),
        "{message}"
    );
    assert!(
        message.contains("H100 TP 2 vllm/vllm-openai:v0.8.4"),
        "{message}"
    );
}

#[test]
fn explicit_coefficients_choose_the_model_by_their_number() {
    let coefficients = |beta: usize| {
        move |s: &mut Setup| {
            s.alpha = Some(vec![1.0; 3]);
            s.beta = Some(vec![1.0; beta]);
        }
    };
    let r = with("llama-3.1-8b-instruct", coefficients(3));
    assert_eq!(
        (r.latency_kind, r.kv_blocks_source),
        (LatencyModelKind::Blackbox, KvBlocksSource::Computed)
    );
    let r = with("qwen3-14b", coefficients(7));
    assert_eq!(
        (r.latency_kind, r.beta.len()),
        (LatencyModelKind::TrainedPhysics, 7)
    );
    let r = with("my/own-model", coefficients(3));
    assert_eq!((r.total_kv_blocks, r.max_model_len), (1_000_000, 0));
    assert_eq!(r.kv_blocks_source, KvBlocksSource::Fallback);
    assert!(r.notes[0].contains("`total_kv_blocks`"), "{:?}", r.notes);
    assert!(error("qwen3-14b", coefficients(4)).contains("4 beta coefficients"));
    assert!(error("qwen3-14b", |s| s.alpha = Some(vec![1.0; 3])).contains("together"));
    assert!(
        error("qwen3-14b", |s| {
            coefficients(7)(s);
            s.latency = Some(LatencyModelKind::Roofline);
        })
        .contains("no coefficients")
    );
    assert!(
        error("qwen3-14b", |s| {
            coefficients(3)(s);
            s.beta = Some(vec![1.0, -2.0, 0.0]);
        })
        .contains("beta coefficient 1 is -2")
    );
}

#[test]
fn a_chosen_step_time_model_is_obeyed() {
    let r = with("llama-3.1-8b-instruct", |s| {
        s.latency = Some(LatencyModelKind::TrainedPhysics)
    });
    assert_eq!(
        (r.latency_kind, r.tp, r.total_kv_blocks),
        (LatencyModelKind::TrainedPhysics, 1, 28_181)
    );
    assert_eq!(r.beta.len(), 11);
    let message = error("mistral-small-24b-instruct-2501", |s| {
        s.latency = Some(LatencyModelKind::Roofline)
    });
    assert!(message.contains("`model_config_folder`"), "{message}");
    let message = error("qwen3-14b", |s| {
        s.latency = Some(LatencyModelKind::Blackbox)
    });
    assert!(message.contains("neither fitted coefficients"), "{message}");
    assert_eq!(
        "trained-physics".parse::<LatencyModelKind>().unwrap(),
        LatencyModelKind::TrainedPhysics
    );
    let message = "rooflin"
        .parse::<LatencyModelKind>()
        .unwrap_err()
        .to_string();
    assert!(message.contains("did you mean \"roofline\"?"), "{message}");
}

#[test]
fn the_model_length_is_capped_by_what_fits_but_not_when_it_is_given() {
    let r = with("qwen3-14b", |s| s.total_kv_blocks = Some(100));
    assert_eq!(
        (r.max_model_len, r.max_model_len_source),
        (1600, MaxModelLenSource::KvCapacity)
    );
    assert_eq!(r.kv_blocks_source, KvBlocksSource::Flag);
    let given = |blocks: u64, len: u64| {
        move |s: &mut Setup| {
            s.total_kv_blocks = Some(blocks);
            s.max_model_len = Some(len);
        }
    };
    assert_eq!(with("qwen3-14b", given(12, 0)).max_model_len, 0);
    assert_eq!(with("qwen3-14b", given(100, 1600)).max_model_len, 1600);
    let message = error("qwen3-14b", given(100, 1601));
    assert_eq!(
        message,
        "`max_model_len` 1601 is above what the KV cache holds: 1600 tokens (100 blocks of 16)"
    );
}

#[test]
fn wrong_names_and_numbers_are_refused() {
    let message = error("lama-3.1-8b-instruct", |_| ());
    assert!(
        message.contains("nearest: llama-3.1-8b-instruct, "),
        "{message}"
    );
    assert!(message.contains("\"windtunnel models\""), "{message}");
    let message = error("qwen3-14b", |s| s.gpu = Some("H1000".into()));
    assert!(
        message.starts_with("unknown GPU \"H1000\"; did you mean \"H100\"? valid: A100-40,"),
        "{message}"
    );
    assert!(message.contains("`hardware_config`"), "{message}");
    assert!(error(" ", |_| ()).contains("empty"));
    assert!(error("qwen3-14b", |s| s.tp = Some(0)).contains("1 or more"));
    assert!(error("qwen3-14b", |s| s.block_size = 0).contains("block size"));
    assert!(error("qwen3-14b", |s| s.total_kv_blocks = Some(0)).contains("KV blocks"));
    assert!(error("qwen3-14b", |s| s.gpu_memory_utilization = f64::NAN).contains("NaN"));
    assert!(error("qwen3-14b", |s| (s.dp, s.as_blis) = (2, true)).contains("this one is dense"));
    assert!(error("qwen3-30b-a3b", |s| s.moe_comm_backend = Some("x".into())).contains("valid: "));
    assert!(error("x", |s| s.model_config_folder = Some("/none".into())).contains("no such file"));
    assert!(error("qwen3-14b", |s| s.hardware_config = Some("/none".into())).contains("/none"));
}

#[test]
fn a_folder_serves_a_model_that_nobody_knows() {
    let dir = tempfile::tempdir().unwrap();
    let config = r#"{"num_hidden_layers": 4, "hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 1024,
        "vocab_size": 1000, "dtype": "bfloat16", "num_experts_per_tok": 2, "max_position_embeddings": 4096}"#;
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    let folder = |s: &mut Setup| {
        s.model_config_folder = Some(dir.path().into());
        s.latency = Some(LatencyModelKind::TrainedPhysics);
        (s.gpu, s.tp) = (Some("h100".into()), Some(2));
    };
    let message = error("My-Model", folder);
    assert!(
        message.contains("experts without their number"),
        "{message}"
    );
    let folder = |s: &mut Setup| {
        folder(s);
        s.as_blis = true;
    };
    let r = with("My-Model", folder);
    assert_eq!(
        (r.model.as_str(), r.canonical.as_str()),
        ("my-model", "my-model")
    );
    assert_eq!((r.gpu.as_str(), r.max_model_len), ("H100", 4096));
    // Experts without their number: the capacity cannot be computed.
    assert_eq!(
        (r.total_kv_blocks, r.kv_blocks_source),
        (1_000_000, KvBlocksSource::Fallback)
    );
    assert!(
        r.notes[0].contains("experts without their number"),
        "{:?}",
        r.notes
    );
    let message = error("my-model", |s| {
        folder(s);
        s.gpu = None;
    });
    assert_eq!(
        message,
        "no default GPU is known for model my-model; give `hardware`"
    );
    // Fitted coefficients hold whatever the folder says; its model has no number of experts, so
    // that nothing else prices it.
    let r = with("llama-3.1-8b-instruct", |s| {
        s.model_config_folder = Some(dir.path().into());
    });
    assert_eq!(
        (r.latency_kind, r.max_model_len),
        (LatencyModelKind::Blackbox, 4096)
    );
}

#[test]
fn every_listed_model_resolves_or_says_what_it_needs() {
    for facts in Defaults::builtin().models() {
        match resolve(&setup(facts.name)) {
            Ok(r) => assert!(r.total_kv_blocks > 0 && r.canonical == facts.name),
            Err(e) => assert!(
                !facts.has_config && e.to_string().contains("`model_config_folder`"),
                "{}: {e}",
                facts.name
            ),
        }
    }
}

#[test]
fn blocks_that_are_given_and_cannot_be_are_named() {
    let notes = |blocks| {
        let r = with("llama-3.1-8b-instruct", |s| {
            s.total_kv_blocks = Some(blocks)
        });
        r.notes
    };
    assert!(notes(70_000).is_empty(), "{:?}", notes(70_000));
    assert_eq!(
        notes(100_000),
        [
            "100000 KV blocks cannot be: on each GPU they are 97.7 GiB beside 7.5 GiB of weights, and it has 80 GiB"
        ]
    );
}

#[test]
fn the_data_type_of_the_kv_cache_can_be_chosen() {
    let blocks = |dtype: &str, as_blis: bool| {
        let mut s = setup("qwen3-14b");
        s.kv_cache_dtype = Some(dtype.into());
        s.as_blis = as_blis;
        resolve(&s).map(|r| r.total_kv_blocks)
    };
    assert_eq!(
        blocks("fp8", false).unwrap() / 2,
        blocks("auto", false).unwrap()
    );
    let message = blocks("fp9", false).unwrap_err().to_string();
    assert!(message.contains("did you mean \"fp8\"?"), "{message}");
    let message = blocks("fp8", true).unwrap_err().to_string();
    assert!(message.contains("under `rules` blis"), "{message}");
}

#[test]
fn fitted_steps_that_no_gpu_could_make_are_named() {
    let r = with("llama-3.1-8b-instruct", |s| {
        (s.tp, s.latency) = (Some(4), Some(LatencyModelKind::Blackbox));
    });
    assert_eq!(r.latency_kind, LatencyModelKind::Blackbox);
    assert!(
        r.notes[0].contains("give a decode step 0.047 ms, but reading the weights takes 1.120 ms"),
        "{:?}",
        r.notes
    );
}

#[test]
fn a_model_that_only_xpu_roofline_knows_is_run_by_it() {
    let r = with("LLaMA2-70B", |s| {
        s.gpu = Some("MI300X".into());
        s.tp = Some(8);
    });
    assert_eq!(r.latency_kind, LatencyModelKind::XpuRoofline);
    assert_eq!(
        (r.canonical.as_str(), r.gpu.as_str(), r.tp),
        ("llama2-70b", "mi300x", 8)
    );
    // 192 GiB x 0.9 less 70e9 x 2 / 8 bytes and 2 GiB; a token takes 2 x 80 x 8192 x 2 / 8 bytes.
    assert_eq!(
        (r.total_kv_blocks, r.kv_blocks_source),
        (31_641, KvBlocksSource::Computed)
    );
    assert_eq!(
        (r.max_model_len, r.max_model_len_source),
        (4096, MaxModelLenSource::ModelConfig)
    );
    let few = with("llama2-70b", |s| {
        s.gpu = Some("mi300x".into());
        s.total_kv_blocks = Some(10);
    });
    assert_eq!((few.tp, few.max_model_len), (1, 160));
    assert_eq!(few.max_model_len_source, MaxModelLenSource::KvCapacity);
}

#[test]
fn xpu_roofline_says_what_it_cannot_do() {
    let on = |gpu: &'static str| move |s: &mut Setup| s.gpu = Some(gpu.into());
    assert_eq!(
        error("llama2-70b", |_| ()),
        "no default GPU is known for model llama2-70b; give `hardware`"
    );
    assert!(error("llama2-70b", on("mi300")).contains("did you mean \"mi300x\"?"));
    assert!(error("tiny-1b", on("gtx-1080ti")).contains("multiplies matrices of bf16"));
    assert_eq!(
        error("llama2-70b", on("a100")),
        "KV capacity: llama2-70b does not fit: each GPU needs 130.39 GiB of weights and 2.00 GiB of \
         buffers before any KV cache, and 72.00 GiB are available (80 GiB x 90%); more GPUs (`tp`) \
         split the weights further"
    );
    let wrong = |change: fn(&mut Setup)| {
        error("llama2-7b", |s| {
            s.gpu = Some("a100".into());
            s.latency = Some(LatencyModelKind::XpuRoofline);
            change(s);
        })
    };
    assert!(wrong(|s| s.model = "llama-3.1-8b".into()).contains("`xpu_roofline` in a file"));
    assert!(wrong(|s| s.kv_cache_dtype = Some("fp8".into())).starts_with("`kv_cache_dtype`"));
    assert!(wrong(|s| s.dp = 2).contains("expected `dp` 1"));
    assert!(wrong(|s| s.as_blis = true).contains("`rules` blis"));
    assert!(wrong(|s| s.hardware_config = Some("x.json".into())).starts_with("`hardware_config`"));
    assert!(wrong(|s| s.model_config_folder = Some("x".into())).starts_with("`model_config"));
    let coefficients = |s: &mut Setup| {
        s.alpha = Some(vec![0.0; 3]);
        s.beta = Some(vec![1.0; 7]);
    };
    assert!(wrong(coefficients).contains("no coefficients"));
}
