//! Why a run broke off.

use crate::hook::Hook;
use crate::input::visible;
use std::fmt;
use windtunnel_plugin_api::PolicyError;

/// Why a run broke off. Its text is a sentence for people; what programs need is in its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunFault {
    /// A policy failed, or gave an answer that makes no sense.
    Policy {
        /// The hook that it fills.
        hook: Hook,
        /// Name of the request at hand, if there was one.
        request: Option<String>,
        /// What it did.
        source: PolicyFault,
    },
    /// A policy used more instructions, memory or time than it may.
    Limit {
        /// The hook that it fills.
        hook: Hook,
        /// Name of the request at hand, if there was one.
        request: Option<String>,
        /// What it did.
        source: PolicyFault,
    },
    /// The simulation contradicts itself: an error of windtunnel, in words.
    Invariant(String),
}

/// What a policy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    /// What it was called for.
    pub call: PolicyCall,
    /// What went wrong, in words, with its place if that is known.
    pub message: String,
    /// The policy's file in which it happened, if that is known.
    pub file: Option<String>,
    /// The line of that file, from 1, if it is known.
    pub line: Option<u32>,
}

/// What a policy was called for when it did something wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyCall {
    /// A decision. It failed.
    Decision,
    /// A decision about the step of this number, from 0. It failed.
    Step(u64),
    /// A tick. It failed.
    Tick,
    /// An event. It failed.
    Event,
    /// A decision. It answered, and the message says what.
    Answer,
}

impl RunFault {
    /// A policy failed with `error` when it was called for `call`.
    #[must_use]
    pub fn failed(
        hook: Hook,
        call: PolicyCall,
        request: Option<String>,
        error: &PolicyError,
    ) -> Self {
        let source = PolicyFault {
            call,
            message: error.message().to_owned(),
            file: error.file().map(str::to_owned),
            line: error.line(),
        };
        if error.is_over_limit() {
            Self::Limit {
                hook,
                request,
                source,
            }
        } else {
            Self::Policy {
                hook,
                request,
                source,
            }
        }
    }

    /// A policy gave an answer that makes no sense; `what` says which, as in "chose request 7".
    #[must_use]
    pub fn answered(hook: Hook, request: Option<String>, what: impl Into<String>) -> Self {
        Self::Policy {
            hook,
            request,
            source: PolicyFault {
                call: PolicyCall::Answer,
                message: what.into(),
                file: None,
                line: None,
            },
        }
    }

    /// The policy at fault: its hook, the request at hand and what it did. `None` when it was no
    /// policy.
    #[must_use]
    pub fn policy(&self) -> Option<(Hook, Option<&str>, &PolicyFault)> {
        match self {
            Self::Policy {
                hook,
                request,
                source,
            }
            | Self::Limit {
                hook,
                request,
                source,
            } => Some((*hook, request.as_deref(), source)),
            Self::Invariant(_) => None,
        }
    }
}

impl fmt::Display for RunFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hook, request, source) = match (self, self.policy()) {
            (Self::Invariant(what), _) => return f.write_str(what),
            (_, Some(policy)) => policy,
            (_, None) => return Ok(()),
        };
        let (kind, message) = (hook.kind(), visible(&source.message));
        match (source.call, request.map(visible)) {
            (PolicyCall::Answer, _) => write!(f, "the {kind} {message}"),
            (PolicyCall::Tick, _) => write!(f, "the {kind} failed at a tick: {message}"),
            (PolicyCall::Step(step), _) => {
                write!(f, "the {kind} failed at step {step}: {message}")
            }
            (_, Some(request)) => write!(f, "the {kind} failed on {request}: {message}"),
            (PolicyCall::Event, None) => {
                write!(f, "the {kind} failed to take in an event: {message}")
            }
            (PolicyCall::Decision, None) => write!(f, "the {kind} failed: {message}"),
        }
    }
}

impl std::error::Error for RunFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_sentence_with_fields() {
        let error = PolicyError::at("p.lua", 3, "no such field");
        let request = || Some("request_7".to_owned());
        let said = |hook, call, request, error: &PolicyError| {
            RunFault::failed(hook, call, request, error).to_string()
        };
        insta::assert_snapshot!(
            said(Hook::Routing, PolicyCall::Decision, request(), &error),
            @"the routing policy failed on request_7: p.lua:3: no such field"
        );
        insta::assert_snapshot!(
            said(Hook::Scheduler, PolicyCall::Decision, None, &error),
            @"the scheduler failed: p.lua:3: no such field"
        );
        insta::assert_snapshot!(
            said(Hook::Admission, PolicyCall::Tick, None, &error),
            @"the admission policy failed at a tick: p.lua:3: no such field"
        );
        insta::assert_snapshot!(
            said(Hook::Routing, PolicyCall::Event, None, &error),
            @"the routing policy failed to take in an event: p.lua:3: no such field"
        );
        insta::assert_snapshot!(
            said(Hook::Batching, PolicyCall::Step(7), None, &error),
            @"the batching strategy failed at step 7: p.lua:3: no such field"
        );
        let answered = RunFault::answered(Hook::Routing, request(), "sent request_7 nowhere");
        insta::assert_snapshot!(answered, @"the routing policy sent request_7 nowhere");
        assert_eq!(
            RunFault::Invariant("2 is not 3".into()).to_string(),
            "2 is not 3"
        );

        let limit = RunFault::failed(
            Hook::Priority,
            PolicyCall::Decision,
            request(),
            &error.over_limit(),
        );
        assert!(matches!(limit, RunFault::Limit { .. }));
        let (hook, request, source) = limit.policy().expect("a policy");
        assert_eq!((hook, request), (Hook::Priority, Some("request_7")));
        assert_eq!(
            (source.file.as_deref(), source.line),
            (Some("p.lua"), Some(3))
        );
    }
}
