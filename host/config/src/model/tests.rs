//! Real and odd configurations.

use super::*;

fn parse(text: &str, model: &str) -> ModelArch {
    let text = format!(
        "{{\"num_hidden_layers\": 2, \"hidden_size\": 8, \"num_attention_heads\": 4, {text} \"x\": 0}}"
    );
    ModelArch::parse("config.json", &text, model).unwrap()
}

#[test]
fn every_folder_of_model_configs_is_built_in_and_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../model_configs");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let built_in: Vec<&str> = builtin::MODEL_CONFIGS.iter().map(|(n, _)| *n).collect();
    assert_eq!(names, built_in);
    for name in built_in {
        let arch = ModelArch::builtin(name).unwrap();
        assert!(arch.activation_bytes > 0.0, "{name}");
        assert_eq!(
            arch,
            ModelArch::load(&folder.join(name), name).unwrap(),
            "{name}"
        );
    }
    assert!(ModelArch::builtin("Qwen/Qwen3-14B").is_some());
    assert!(ModelArch::builtin("nobody/nothing").is_none());
}

#[test]
fn the_language_model_of_a_multi_modal_one_is_found() {
    let scout = ModelArch::builtin("llama-4-scout-17b-16e-instruct-fp8-dynamic").unwrap();
    assert_eq!(
        (scout.layers, scout.hidden, scout.experts, scout.vocab),
        (48, 5120, 16, 202_048)
    );
    assert_eq!(scout.blis_layer_split(), (24, 24));
    assert_eq!(scout.blis_quantized_bytes, Some(1.0));
    assert_eq!(
        scout.dense_intermediate, 16384,
        "from intermediate_size_mlp"
    );
}

#[test]
fn bytes_per_weight_come_from_the_quantization_then_the_name_then_the_data_type() {
    let w = |text: &str, model: &str| {
        parse(&format!("\"dtype\": \"bfloat16\", {text}"), model).blis_weight_bytes()
    };
    assert_eq!(w("", "plain"), 2.0);
    assert_eq!(w("", "org/x-FP8-dynamic"), 1.0);
    assert_eq!(w("", "org/xfp8"), 2.0);
    assert_eq!(w("", "org/x-quantized.w4a16"), 0.5);
    assert_eq!(w("\"quantization_config\": {\"bits\": 4},", "x-fp8"), 0.5);
    assert_eq!(
        w("\"quantization_config\": {\"bits\": \"8\"},", "plain"),
        1.0
    );
    assert_eq!(
        w(
            "\"quantization_config\": {\"quant_method\": \"fp8\"},",
            "plain"
        ),
        1.0
    );
    let groups = "\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"config_groups\": \
        {\"b\": {\"weights\": {\"num_bits\": 8}}, \"a\": {\"weights\": {\"num_bits\": 4}}}},";
    assert_eq!(w(groups, "plain"), 0.5);
    assert_eq!(w("\"quantization_config\": {},", "x-w8a8"), 1.0);
}

#[test]
fn experts_and_heads_have_many_names() {
    let arch = parse(
        "\"num_experts\": 1, \"n_routed_experts\": 64, \"n_shared_experts\": 2, \"moe_intermediate_size\": 7,",
        "m",
    );
    assert_eq!((arch.experts, arch.shared_intermediate), (64, 14));
    assert!(!arch.expert_count_is_missing());
    let arch = parse("\"multi_query_group_num\": 2, \"ffn_hidden_size\": 5,", "m");
    assert_eq!((arch.kv_heads, arch.intermediate), (2, 5));
    assert_eq!(parse("", "m").kv_heads, 4);
    assert!(parse("\"num_experts_per_tok\": 2,", "m").expert_count_is_missing());
    assert!(parse("\"n_shared_experts\": 1,", "m").expert_count_is_missing());
}

#[test]
fn what_is_no_model_configuration_is_refused() {
    let error = |text: &str| {
        ModelArch::parse("c.json", text, "m")
            .unwrap_err()
            .to_string()
    };
    assert!(error("{\"a\": \n }").starts_with("c.json:2:"));
    assert_eq!(error("[]"), "c.json: expected a JSON object");
    assert!(error("{}").contains("num_hidden_layers is missing"));
    assert!(error("{\"head_dim\": -1}").contains("must not be negative"));
    assert!(error("{\"hidden_size\": 1e12}").contains("too large"));
    assert!(error("").contains("empty"));
}

/// Architecture fields of public models as their repositories have them, with the parameters and
/// the size of the weights that are published (sources: the models' cards and file listings).
#[test]
fn weights_are_those_that_are_published() {
    let published: serde_json::Map<String, Value> =
        serde_json::from_str(include_str!("published.json")).unwrap();
    for (name, model) in published {
        let text = model["config"].to_string();
        let arch = ModelArch::parse("config.json", &text, &name).unwrap();
        let weights = arch.weights();
        let (billions, gib) = (
            weights.parameters() / 1e9,
            weights.bytes() / 1_073_741_824.0,
        );
        let near = |found: f64, published: &Value, tolerance: f64| {
            let published = published.as_f64().unwrap();
            (found / published - 1.0).abs() < tolerance
        };
        // A vision encoder that these fields leave out is 8 % of a small model.
        let tolerance = match name.as_str() {
            "qwen25-vl" => 0.09,
            // These fields leave the width of its Mamba layers to the class, which is narrower.
            "nemotron-h" => 0.08,
            _ => 0.05,
        };
        assert!(
            near(billions, &model["parameters_billion"], tolerance),
            "{name}"
        );
        assert!(near(gib, &model["weights_gib"], 0.09), "{name}");
    }
}

fn refused(text: &str) -> String {
    let text = format!(
        "{{\"num_hidden_layers\": 2, \"hidden_size\": 8, \"num_attention_heads\": 4, {text} \"x\": 0}}"
    );
    ModelArch::parse("config.json", &text, "m")
        .unwrap_err()
        .to_string()
}

#[test]
fn an_unknown_or_incomplete_quantisation_is_refused() {
    let unknown = refused("\"quantization_config\": {\"quant_method\": \"gptqq\", \"bits\": 4},");
    assert!(unknown.contains("did you mean \"gptq\"?"), "{unknown}");
    assert!(unknown.contains("compressed-tensors"), "{unknown}");
    let none = refused("\"quantization_config\": {\"group_size\": 4},");
    assert!(none.contains("no quant_method"), "{none}");
    let bits = refused("\"quantization_config\": {\"quant_method\": \"awq\"},");
    assert!(bits.contains("without bits"), "{bits}");
    let bits = refused("\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 800},");
    assert!(bits.contains("expected 1 to 32"), "{bits}");
    let algorithm = refused(
        "\"quantization_config\": {\"quant_method\": \"modelopt\", \"quant_algo\": \"X\"},",
    );
    assert!(
        algorithm.contains("without a known quant_algo"),
        "{algorithm}"
    );
}

#[test]
fn modules_that_a_checkpoint_leaves_out_keep_16_bits() {
    let with = |exclusions: &str| {
        let text = format!(
            "\"intermediate_size\": 16, \"vocab_size\": 1, \"quantization_config\": {{\"quant_method\": \"fp8\", \
             {exclusions} \"fmt\": \"e4m3\"}},"
        );
        let weights = parse(&text, "m").weights();
        let bytes = |name: &str| {
            let part = weights.part(name).unwrap();
            part.bytes / part.parameters
        };
        (bytes("attention"), bytes("dense feed-forward"))
    };
    assert_eq!(with(""), (1.0, 1.0));
    let ignored = |list: &str| with(&format!("\"ignored_layers\": [{list}],"));
    assert_eq!(ignored("\"lm_head\""), (1.0, 1.0));
    assert_eq!(ignored("\"re:.*self_attn.*\""), (2.0, 1.0));
    assert_eq!(ignored("\"model.layers.*.self_attn\""), (2.0, 1.0));
    assert_eq!(ignored("\"model.layers.1.self_attn\""), (1.5, 1.0));
    assert_eq!(
        ignored("\"language_model.model.layers.0.feed_forward.gate_proj\""),
        (1.0, 1.5)
    );
    assert_eq!(
        ignored("\"model.layers.0\", \"model.layers.10\""),
        (1.5, 1.5)
    );
}

#[test]
fn mixed_checkpoints_give_each_module_its_own_width() {
    let weights = parse(
        "\"intermediate_size\": 16, \"vocab_size\": 1, \"quantization_config\": {\"quant_method\": \
         \"compressed-tensors\", \"config_groups\": {\"a\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 4, \
         \"group_size\": 16, \"type\": \"float\"}}, \"b\": {\"targets\": [\"re:.*self_attn.*\"], \"weights\": \
         {\"num_bits\": 8}, \"input_activations\": {\"num_bits\": 8}}}},",
        "m",
    )
    .weights();
    let part = |name: &str| *weights.part(name).unwrap();
    let (attention, ffn) = (part("attention"), part("dense feed-forward"));
    assert_eq!(attention.bytes, attention.parameters);
    assert_eq!(attention.compute, Compute::Bits8);
    assert_eq!(ffn.bytes, ffn.parameters * 4.5 / 8.0);
    assert_eq!(ffn.compute, Compute::Bits16);
}

#[test]
fn the_kv_cache_takes_the_width_that_the_checkpoint_has_scales_for() {
    let with = |config: &str| {
        let text = format!("\"quantization_config\": {{{config}}},");
        parse(&text, "m").kv_element_bytes()
    };
    assert_eq!(with(""), 2.0);
    assert_eq!(with("\"quant_method\": \"fp8\""), 2.0);
    assert_eq!(
        with("\"quant_method\": \"fp8\", \"kv_cache_scheme\": {\"num_bits\": 8}"),
        1.0
    );
    assert_eq!(
        with("\"quantization\": {\"quant_algo\": \"FP8\", \"kv_cache_quant_algo\": \"FP8\"}"),
        1.0
    );
}

/// Layers by kind: (whole context, window, recurrent, experts).
fn kinds(text: &str) -> (u64, u64, u64, u64) {
    let text = format!(
        "{{\"num_hidden_layers\": 8, \"hidden_size\": 8, \"num_attention_heads\": 4, \
         \"linear_num_key_heads\": 1, \"linear_num_value_heads\": 1, {text} \"x\": 0}}"
    );
    let arch = ModelArch::parse("config.json", &text, "m").unwrap();
    let full = |layer: &Layer| matches!(layer.mixer, Mixer::Attention { window: None, .. });
    let window = |layer: &Layer| {
        matches!(
            layer.mixer,
            Mixer::Attention {
                window: Some(_),
                ..
            }
        )
    };
    (
        arch.count_layers(full),
        arch.count_layers(window),
        arch.count_layers(|layer| layer.mixer == Mixer::Recurrent),
        arch.count_layers(|layer| layer.ffn == Ffn::Experts),
    )
}

#[test]
fn the_layers_of_hybrid_models_are_told_apart() {
    assert_eq!(kinds(""), (8, 0, 0, 0));
    assert_eq!(kinds("\"full_attention_interval\": 4,"), (2, 0, 6, 0));
    assert_eq!(kinds("\"sliding_window\": 4,"), (0, 8, 0, 0));
    assert_eq!(
        kinds("\"sliding_window\": 4, \"use_sliding_window\": false,"),
        (8, 0, 0, 0)
    );
    assert_eq!(
        kinds("\"sliding_window\": 4, \"sliding_window_pattern\": 4,"),
        (2, 6, 0, 0)
    );
    assert_eq!(kinds("\"attention_chunk_size\": 4,"), (2, 6, 0, 0));
    let types = "\"sliding_window\": 4, \"layer_types\": [\"full_attention\", \"sliding_attention\", \
         \"linear_attention\", \"mamba\", \"full_attention\", \"full_attention\", \"full_attention\", \
         \"full_attention\"],";
    assert_eq!(kinds(types), (5, 1, 2, 0));
    let moe = |text: &str| kinds(&format!("\"num_experts\": 4, {text}")).3;
    assert_eq!(moe(""), 8);
    assert_eq!(moe("\"interleave_moe_layer_step\": 1,"), 8);
    assert_eq!(moe("\"interleave_moe_layer_step\": 2,"), 4);
    assert_eq!(moe("\"first_k_dense_replace\": 3,"), 5);
    assert_eq!(moe("\"mlp_only_layers\": [0, 1],"), 6);
    assert_eq!(moe("\"decoder_sparse_step\": 2,"), 4);
    assert_eq!(moe("\"moe_layers\": [1, 3, 5],"), 3);
    let short = refused("\"layer_types\": [\"full_attention\"],");
    assert!(
        short.contains("an entry for each of 2 layers, found 1"),
        "{short}"
    );
    let odd = refused("\"layer_types\": [\"full_attention\", \"new_attention\"],");
    assert!(
        odd.contains("unknown kind of layer \"new_attention\""),
        "{odd}"
    );
    let sizeless = refused("\"layer_types\": [\"full_attention\", \"mamba\"],");
    assert!(sizeless.contains("keys that tell their size"), "{sizeless}");
}

#[test]
fn a_key_that_is_not_understood_is_named() {
    let arch = parse(
        "\"torch_dtype\": \"bfloat16\", \"index_topk\": 2048, \"bos_token_id\": 1, \"rms_norm_eps\": 1e-5,",
        "m",
    );
    assert_eq!(
        arch.notes,
        [
            "config.json has keys that are not understood, though size or time may depend on them: index_topk, x"
        ]
    );
}

#[test]
fn the_length_is_that_of_transformers_5_too() {
    let arch = parse(
        "\"rope_parameters\": {\"rope_type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 32},",
        "m",
    );
    let rope = arch.rope_scaling.unwrap();
    assert_eq!((rope.kind.as_str(), rope.factor), ("yarn", 4.0));
    let arch = parse(
        "\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"linear\", \"factor\": 8.0}, \
         \"sliding_attention\": {\"rope_type\": \"default\"}},",
        "m",
    );
    assert_eq!(arch.rope_scaling.unwrap().factor, 8.0);
}

/// Parameters in billions, embeddings included and vision encoders left out, after the models'
/// cards and papers.
#[test]
fn the_built_in_configurations_have_the_published_sizes() {
    for (name, published) in [
        ("llama-2-70b-hf", 68.98),
        ("mixtral-8x22b-v0.1", 140.6),
        ("qwen3-8b", 8.19),
        ("qwen3-14b", 14.77),
        ("qwen3-32b", 32.76),
        ("qwen3-30b-a3b", 30.53),
        ("qwen3-next-80b-a3b-instruct", 79.67),
        ("gpt-oss-20b", 20.91),
        ("gpt-oss-120b", 116.83),
        ("deepseek-v3", 671.03),
        ("kimi-k2-instruct", 1026.4),
        ("glm-4.5", 352.8),
        ("gemma-3-27b-it", 27.01),
        ("llama-4-maverick-17b-128e-instruct", 400.7),
        ("llama-4-maverick-17b-128e-instruct-fp8", 400.7),
    ] {
        let weights = ModelArch::builtin(name).unwrap().weights();
        let vision = weights.part(VISION).map_or(0.0, |part| part.parameters);
        let counted = (weights.parameters() - vision) / 1e9;
        let off = counted / published - 1.0;
        assert!(
            off.abs() < 0.005,
            "{name}: {counted:.2} counted, {published} published"
        );
    }
}

#[test]
fn nothing_in_the_built_in_configurations_is_left_unread() {
    for (name, _) in builtin::MODEL_CONFIGS {
        let arch = ModelArch::builtin(name).unwrap();
        let unread = arch
            .notes
            .iter()
            .find(|note| note.contains("not understood"));
        assert_eq!(unread, None, "{name}");
        assert!(arch.gated.is_some(), "{name}");
    }
}
