//! The policies that the front end asks.

use windtunnel_base::hook::Hook;
use windtunnel_base::record::RoutingStage;
use windtunnel_base::slo_priority::SloPriorities;
use windtunnel_plugin_api::{
    Admission, Disaggregation, Dispatch, Event, Interests, PolicyError, Router, Scale,
};

/// The policies of the front end.
pub struct FrontEndPolicies {
    /// At the door.
    pub admission: Box<dyn Admission>,
    /// Which instance.
    pub router: Box<dyn Router>,
    /// Those of a cluster with pools for prefill and for decode.
    pub stages: Option<StagePolicies>,
    /// Which of the requests that a gateway holds goes next, where there is one.
    pub dispatch: Option<Box<dyn Dispatch>>,
    /// How many instances a pool should have, by its position; none = it is not scaled.
    pub scale: Vec<Option<Box<dyn Scale>>>,
    /// Priorities of the SLO classes.
    pub slo_priorities: SloPriorities,
}

/// The policies of a cluster with pools for prefill and for decode. Where no router is given for
/// one of the two, the router of whole requests decides.
pub struct StagePolicies {
    /// Where the prompt is computed.
    pub disaggregation: Box<dyn Disaggregation>,
    /// Which instance prefills.
    pub prefill: Option<Box<dyn Router>>,
    /// Which instance decodes.
    pub decode: Option<Box<dyn Router>>,
}

impl StagePolicies {
    fn routers(&self) -> impl Iterator<Item = &dyn Router> {
        let routers = [&self.prefill, &self.decode];
        routers.into_iter().flatten().map(AsRef::as_ref)
    }
}

impl FrontEndPolicies {
    /// What any of them reads and listens to.
    #[must_use]
    pub fn interests(&self) -> Interests {
        self.admission.interests() | self.routing_interests() | self.dispatch_interests()
    }

    /// What the dispatch policy reads and listens to.
    #[must_use]
    pub fn dispatch_interests(&self) -> Interests {
        let policy = self.dispatch.as_ref();
        policy.map_or(Interests::NONE, |policy| policy.interests())
    }

    /// What those read and listen to that decide where a request goes.
    #[must_use]
    pub fn routing_interests(&self) -> Interests {
        let stages = self.stages.iter().flat_map(|stages| {
            let decider = stages.disaggregation.interests();
            stages.routers().map(Router::interests).chain([decider])
        });
        stages.fold(self.router.interests(), |all, more| all | more)
    }

    /// Tells those that listen what happened to a request; gives whose error it was, if one had
    /// any.
    pub(super) fn tell(&mut self, event: &Event) -> Result<(), (Hook, PolicyError)> {
        let Some(kind) = event.what() else {
            return Ok(());
        };
        let of = |hook: Hook| move |e| (hook, e);
        if self.admission.interests().hears(kind) {
            let told = self.admission.on_event(event);
            told.map_err(of(Hook::Admission))?;
        }
        let stages = self.stages.as_mut();
        let (decider, routers) = stages.map_or((None, [None, None]), |stages| {
            let routers = [&mut stages.prefill, &mut stages.decode];
            (
                Some(&mut stages.disaggregation),
                routers.map(Option::as_mut),
            )
        });
        for router in [Some(&mut self.router)]
            .into_iter()
            .chain(routers)
            .flatten()
        {
            if router.interests().hears(kind) {
                router.on_event(event).map_err(of(Hook::Routing))?;
            }
        }
        if let Some(dispatch) = &mut self.dispatch
            && dispatch.interests().hears(kind)
        {
            dispatch.on_event(event).map_err(of(Hook::Dispatch))?;
        }
        if let Some(decider) = decider.filter(|d| d.interests().hears(kind)) {
            let told = decider.on_event(event);
            told.map_err(of(Hook::Disaggregation))?;
        }
        Ok(())
    }

    /// Who decides at this stage.
    pub(super) fn router(&mut self, stage: RoutingStage) -> &mut dyn Router {
        let own = self.stages.as_mut().and_then(|stages| match stage {
            RoutingStage::Whole | RoutingStage::Encode => None,
            RoutingStage::Prefill => stages.prefill.as_mut(),
            RoutingStage::Decode => stages.decode.as_mut(),
        });
        own.unwrap_or(&mut self.router).as_mut()
    }
}
