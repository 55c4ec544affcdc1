//! Fair scheduling of tenants: the Virtual Token Counter, as a compiled plugin.

mod policy;

pub use policy::VtcFair;

windtunnel_plugin_api::export_plugin! {
    name: "vtc-fair";
    version: env!("CARGO_PKG_VERSION");

    /// Serves the tenant that has been served least: tokens are counted per tenant, and whoever comes back is lifted to the others.
    scheduler "vtc-fair" {
        /// Price of a prompt token.
        input_weight: 1.0 in 0.0..=100.0;
        /// Price of an output token.
        output_weight: 2.0 in 0.0..=100.0;
    } = VtcFair::new;
}
