//! The interface of searches.

/// Proposes points of the unit cube and takes their values (ask and tell).
pub trait Search {
    /// The next points to evaluate.
    fn ask(&mut self) -> Vec<Vec<f64>>;
    /// The values of the points, higher is better; the last points may be missing.
    fn tell(&mut self, points: &[Vec<f64>], values: &[f64]);
}
