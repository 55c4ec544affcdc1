//! The policies of `policies.rs` as a plugin, and some that misbehave.

mod policies;

use policies::{Age, Gate, Least, Short, Spread};
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, RequestView, Route, Router, Setup};

/// Panics where it is told to.
struct Bad(&'static str);

impl Router for Bad {
    fn interests(&self) -> Interests {
        assert!(self.0 != "interests", "no interests");
        Interests::NONE
    }
    fn route(&mut self, request: &RequestView, _: &ClusterView<'_>) -> Result<Route, PolicyError> {
        match self.0 {
            "far" => Ok(Route::To(usize::MAX)),
            "route" if request.serial == 3 => panic!("three is too many for {}", request.serial),
            _ => Ok(Route::To(0)),
        }
    }
    fn scores(&self) -> Option<&[f64]> {
        Some(&[1.0])
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        panic!("not even in the end");
    }
}

fn undeclared(setup: &mut Setup<'_>) -> Result<Bad, PolicyError> {
    let _ = setup.param("undeclared");
    Ok(Bad(""))
}

windtunnel_plugin_api::export_plugin! {
    name: "zoo";
    version: "0.0.7";

    /// Rejects long prompts,
    /// delays some.
    admission "gate" {
        /// Longest prompt that comes in.
        longest: 60 in 1..=1000, whole, log;
        /// Does nothing.
        idle: -0.5 in -1.0..=1.0;
    } = Gate::new;

    routing "spread" {} = Spread::new;
    priority "age" {} = Age::new;
    scheduler "short" {} = Short::new;
    preemption "least" {} = Least::new;

    routing "panics" {} = |_| Ok(Bad("route"));
    routing "panics-early" {} = |_| Ok(Bad("interests"));
    routing "far" {} = |_| Ok(Bad("far"));
    routing "undeclared" {} = undeclared;
}
