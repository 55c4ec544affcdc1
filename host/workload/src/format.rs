//! The formats of workloads.

use std::fmt;

/// What a file or folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What AIPerf exports of single requests.
    AiPerf,
    /// The bodies that AIPerf sends, by session.
    AiPerfInputs,
    /// Custom data sets of AIPerf: single turns, sessions, random pools.
    AiPerfLines,
    /// Azure LLM inference traces.
    AzureLlm,
    /// Traces of Alibaba's Bailian.
    Bailian,
    /// BurstGPT traces.
    BurstGpt,
    /// Real token ids in five columns.
    FiveColumn,
    /// Results of GuideLLM.
    GuideLlm,
    /// What inference-perf reports of single requests.
    InferencePerf,
    /// Workloads of LLMServingSim.
    LlmServingSim,
    /// The same as tables, as its first releases had them.
    LlmServingSimTable,
    /// CSV with columns of any names, of which somebody says which is which.
    Mapped,
    /// Mooncake traces.
    Mooncake,
    /// A folder of ServeGen data.
    ServeGen,
    /// Results of sglang's `bench_serving`.
    SgLang,
    /// TraceV2.
    TraceV2,
    /// Traces of Vidur.
    Vidur,
    /// Bodies of requests, a line each: AIPerf's raw payloads, batch files.
    RequestBodies,
    /// Results of `vllm bench serve`.
    VllmBench,
    /// Agentic coding traces of Weka's kv-cache-tester, a file or a folder.
    Weka,
    /// A workload spec, or the configuration of a load generator.
    Spec,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AiPerf => "AIPerf's export of requests",
            Self::AiPerfInputs => "AIPerf's inputs.json",
            Self::AiPerfLines => "AIPerf custom data set",
            Self::AzureLlm => "Azure LLM inference trace",
            Self::Bailian => "Bailian trace",
            Self::BurstGpt => "BurstGPT trace",
            Self::FiveColumn => "five-column trace",
            Self::GuideLlm => "GuideLLM results",
            Self::InferencePerf => "inference-perf's report of requests",
            Self::LlmServingSim | Self::LlmServingSimTable => "LLMServingSim workload",
            Self::Mapped => "CSV trace with columns of its own",
            Self::Mooncake => "Mooncake trace",
            Self::ServeGen => "ServeGen data",
            Self::SgLang => "results of sglang's bench_serving",
            Self::TraceV2 => "TraceV2 data",
            Self::RequestBodies => "bodies of requests",
            Self::Vidur => "Vidur trace",
            Self::VllmBench => "results of vllm bench serve",
            Self::Weka => "kv-cache-tester trace",
            Self::Spec => "workload spec",
        })
    }
}

impl Format {
    /// `an Azure LLM inference trace`.
    #[must_use]
    pub fn with_article(self) -> String {
        match self {
            Self::AiPerfLines | Self::AzureLlm | Self::LlmServingSim | Self::LlmServingSimTable => {
                format!("an {self}")
            }
            Self::AiPerf
            | Self::AiPerfInputs
            | Self::GuideLlm
            | Self::InferencePerf
            | Self::RequestBodies
            | Self::ServeGen
            | Self::SgLang
            | Self::TraceV2
            | Self::VllmBench => self.to_string(),
            _ => format!("a {self}"),
        }
    }

    /// May it leave open how long answers are?
    #[must_use]
    pub fn may_lack_output_lengths(self) -> bool {
        matches!(
            self,
            Self::AiPerfInputs | Self::AiPerfLines | Self::RequestBodies
        )
    }

    /// Is the file held in memory, as requests and sessions?
    pub(super) fn is_held(self) -> bool {
        matches!(
            self,
            Self::AiPerf
                | Self::AiPerfInputs
                | Self::AiPerfLines
                | Self::Bailian
                | Self::InferencePerf
                | Self::LlmServingSim
                | Self::LlmServingSimTable
                | Self::RequestBodies
                | Self::SgLang
                | Self::Vidur
                | Self::Weka
        )
    }

    /// Can its requests have sessions?
    pub(super) fn can_have_sessions(self) -> bool {
        matches!(self, Self::Mooncake | Self::TraceV2)
            || (self.is_held()
                && !matches!(
                    self,
                    Self::InferencePerf
                        | Self::LlmServingSimTable
                        | Self::RequestBodies
                        | Self::SgLang
                ))
    }
}
