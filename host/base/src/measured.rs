//! What was measured of a request, of a real server or of a simulation.

/// A request as its client saw it. Times are microseconds; `None` = nobody says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeasuredRequest {
    /// Its name, if it has one.
    pub id: Option<String>,
    /// When it was sent, from any origin.
    pub arrival_us: Option<f64>,
    /// From arrival to the batch.
    pub queue_us: Option<f64>,
    /// To the first token.
    pub ttft_us: Option<f64>,
    /// Mean gap between tokens.
    pub itl_us: Option<f64>,
    /// To the last token.
    pub e2e_us: Option<f64>,
    /// Prompt length.
    pub prompt_tokens: Option<u32>,
    /// Output length.
    pub output_tokens: Option<u32>,
    /// Gaps between what arrived of the answer, in order; none where they were not written.
    pub gaps_us: Vec<f64>,
    /// It was not answered, or not to its end.
    pub failed: bool,
}

impl MeasuredRequest {
    /// Time per output token after the first; `None` of answers without one.
    #[must_use]
    pub fn tpot_us(&self) -> Option<f64> {
        let tokens = self.output_tokens.filter(|n| *n > 1)?;
        Some((self.e2e_us? - self.ttft_us?) / f64::from(tokens - 1))
    }
}
