//! What policies are worth, found out by letting them work. Gives results; prints nothing and knows no flags.

pub mod smoke;
