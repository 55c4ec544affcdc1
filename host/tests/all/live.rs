//! Servers that are the simulator, over real connections.

mod emulate;
mod gateway;
pub(super) mod servers;
