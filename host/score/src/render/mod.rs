//! Renders scores, certificates, leaderboards and explanations for people.

pub mod explain;
pub mod leaderboard;
pub mod page;
pub mod score;
pub mod suite;
pub mod tune;
