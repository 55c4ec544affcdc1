//! What searches have in common.

/// Proposes points of the unit cube, and learns what they are worth.
pub trait Search {
    /// Points to be tried next.
    fn ask(&mut self) -> Vec<Vec<f64>>;
    /// What the points asked for are worth, higher is better; the last of them may be missing.
    fn tell(&mut self, points: &[Vec<f64>], values: &[f64]);
}
