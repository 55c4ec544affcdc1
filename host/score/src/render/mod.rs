//! Scores, certificates, leaderboards and explanations as people read them.

pub mod explain;
pub mod leaderboard;
pub mod score;
pub mod suite;
pub mod tune;
