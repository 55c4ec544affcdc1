//! Why a decision of a simulated router differs, with names.

use super::cause::Judge;
use super::outcome::Example;
use super::probe::Seen;
use super::script::Asked;
use super::world::World;
use crate::decisions::Answer;
use crate::gateway::backends::show;
use crate::gateway::pair;
use windtunnel_base::input::InputError;
use windtunnel_engine::frontend::Backends;

impl World<'_> {
    /// Notes why a decision of the router differs.
    pub(super) fn explain(
        &mut self,
        asked: &Asked,
        seen: &Seen,
        serial: u64,
    ) -> Result<(), InputError> {
        let Some(here) = self.here.get(&serial) else {
            return Ok(());
        };
        let policies = self.begin.spec()?;
        let mut symbols = self.symbols.clone();
        let made = pair(&policies, self.begin.instances, &mut symbols)?;
        let ((_, router), _) = made;
        let shown_before = |i: u32| {
            let said = self.before.get(i as usize).map(|before| &before[0]);
            let base = self.backends.describe(i as usize);
            let views = said.into_iter().flatten().map(|said| {
                let mut view = base;
                show(said, &mut view);
                view
            });
            views.collect()
        };
        let judge = Judge {
            router: Some(router),
            asked,
            request: here.pending.view,
            seen,
            shown_before: &shown_before,
        };
        let cause = judge.cause();
        let place = |answer: &Answer| match answer {
            Answer::To(position) => {
                let view = asked.shown.get(*position);
                let name = view.map(|view| self.backends.name(view.index as usize).to_owned());
                name.unwrap_or_default()
            }
            Answer::Hold(_) => "(held)".to_owned(),
            _ => "(none)".to_owned(),
        };
        let example = Example {
            request: here.pending.request.id.to_string(),
            at_us: seen.now_us,
            logged: place(&asked.answer),
            simulated: place(&seen.answer),
            server: cause
                .server
                .map(|i| self.backends.name(i as usize).to_owned())
                .unwrap_or_default(),
            cause,
        };
        self.comparison.differs(example);
        Ok(())
    }
}
