//! How long a request may grow.

use windtunnel_config::ModelArch;

/// The length (prompt plus output, tokens) that a model is made for; 0 = its configuration does not
/// tell.
///
/// Rope scaling multiplies it, but for kinds whose stated length is the scaled one already; with
/// yarn it multiplies the original length where that is given.
#[must_use]
pub fn max_model_len(model: &ModelArch) -> u64 {
    let stated = model.max_position_embeddings;
    let Some(rope) = &model.rope_scaling else {
        return stated;
    };
    let scaled_already = matches!(rope.kind.as_str(), "su" | "longrope" | "llama3");
    if stated == 0 || model.model_type.contains("gemma3") || scaled_already || rope.factor <= 1.0 {
        return stated;
    }
    let base = if rope.kind == "yarn" && rope.original_max_position_embeddings > 0 {
        rope.original_max_position_embeddings
    } else {
        stated
    };
    (base as f64 * rope.factor) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_config::RopeScaling;

    #[test]
    fn rope_scaling_stretches_the_model_length() {
        let length = |model_type: &str, stated: u64, kind: &str, factor: f64, original: u64| {
            let mut model = ModelArch::builtin("qwen3-14b").unwrap();
            model.model_type = model_type.into();
            model.max_position_embeddings = stated;
            model.rope_scaling = Some(RopeScaling {
                kind: kind.into(),
                factor,
                original_max_position_embeddings: original,
            });
            max_model_len(&model)
        };
        assert_eq!(length("x", 1000, "linear", 2.5, 0), 2500);
        assert_eq!(length("x", 1001, "", 1.5, 0), 1501);
        assert_eq!(length("x", 1000, "yarn", 4.0, 300), 1200);
        assert_eq!(length("x", 1000, "yarn", 4.0, 0), 4000);
        assert_eq!(length("x", 1000, "linear", 4.0, 300), 4000);
        assert_eq!(length("x", 1000, "linear", 1.0, 0), 1000);
        assert_eq!(length("x", 1000, "linear", 0.0, 0), 1000);
        assert_eq!(length("x", 0, "linear", 4.0, 0), 0);
        for kind in ["su", "longrope", "llama3"] {
            assert_eq!(length("x", 1000, kind, 4.0, 0), 1000);
        }
        assert_eq!(length("gemma3_text", 1000, "linear", 8.0, 0), 1000);
        let built_in = |name| max_model_len(&ModelArch::builtin(name).unwrap());
        assert_eq!(built_in("deepseek-v2-lite"), 163_840);
        assert_eq!(built_in("llama-3.1-70b-instruct"), 131_072);
        assert_eq!(built_in("qwen3-14b"), 40_960);
    }
}
