//! The state of a policy with the plain C interface, and the calls that need nothing else.

use std::ffi::{c_char, c_void};
use windtunnel_plugin_api::abi::SetupView;
use windtunnel_plugin_api::c::{PolicyC, Text};
use windtunnel_plugin_api::{ClusterView, Event, Interests, PolicyError};

/// Size of the buffer for a policy's texts, bytes, with the null byte.
pub(super) const TEXT_BYTES: usize = 512;

/// The state of a policy, and a buffer for its texts.
pub(super) struct State {
    pub(super) state: *mut c_void,
    destroy: Option<unsafe extern "C" fn(*mut c_void)>,
    pub(super) text: [c_char; TEXT_BYTES],
}

// SAFETY: the contract: state is used by one thread at a time, though not always by the same.
unsafe impl Send for State {}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the state that `create` made, once.
            unsafe { destroy(self.state) }
        }
    }
}

/// An empty text that a function of the plugin may write into.
pub(super) fn writable(buffer: &mut [c_char; TEXT_BYTES]) -> Text {
    buffer[0] = 0;
    Text {
        data: buffer.as_mut_ptr(),
        capacity: TEXT_BYTES as u64,
    }
}

/// The text that was written. The last byte is null whatever was written.
pub(super) fn read(buffer: &mut [c_char; TEXT_BYTES]) -> String {
    buffer[TEXT_BYTES - 1] = 0;
    let bytes: Vec<u8> = buffer
        .iter()
        .map(|&c| c as u8)
        .take_while(|&c| c != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a function that failed wrote, or that it wrote nothing.
fn failure(buffer: &mut [c_char; TEXT_BYTES], code: i32) -> String {
    match read(buffer) {
        text if text.is_empty() => format!("it returned {code} without a text"),
        text => text,
    }
}

impl State {
    pub(super) fn create(policy: &PolicyC, setup: &SetupView<'_>) -> Result<Self, String> {
        let mut made = Self {
            state: std::ptr::null_mut(),
            destroy: None,
            text: [0; TEXT_BYTES],
        };
        if let Some(create) = policy.create {
            let mut text = writable(&mut made.text);
            // SAFETY: the arguments are as the header says.
            let code = unsafe { create(setup, &raw mut made.state, &raw mut text) };
            if code != 0 {
                return Err(failure(&mut made.text, code));
            }
        }
        made.destroy = policy.destroy;
        Ok(made)
    }

    /// Calls a function that can fail.
    pub(super) fn call(
        &mut self,
        function: impl FnOnce(*mut c_void, *mut Text) -> i32,
    ) -> Result<(), PolicyError> {
        let mut text = writable(&mut self.text);
        match function(self.state, &raw mut text) {
            0 => Ok(()),
            code => Err(PolicyError::new(failure(&mut self.text, code))),
        }
    }

    pub(super) fn on_event(
        &mut self,
        function: Option<unsafe extern "C" fn(*mut c_void, *const Event, *mut Text) -> i32>,
        event: &Event,
    ) -> Result<(), PolicyError> {
        // SAFETY: the arguments are as the header says.
        function.map_or(Ok(()), |f| {
            self.call(|state, text| unsafe { f(state, event, text) })
        })
    }

    pub(super) fn on_tick(
        &mut self,
        function: Option<
            unsafe extern "C" fn(*mut c_void, *const ClusterView<'_>, *mut Text) -> i32,
        >,
        cluster: &ClusterView<'_>,
    ) -> Result<(), PolicyError> {
        // SAFETY: the arguments are as the header says.
        function.map_or(Ok(()), |f| {
            self.call(|state, text| unsafe { f(state, cluster, text) })
        })
    }

    pub(super) fn interests(
        &self,
        function: Option<unsafe extern "C" fn(*const c_void) -> u64>,
        otherwise: Interests,
    ) -> Interests {
        // SAFETY: the state is that of this policy.
        function.map_or(otherwise, |f| Interests(unsafe { f(self.state) }))
    }

    pub(super) fn number(
        &self,
        function: Option<unsafe extern "C" fn(*const c_void) -> i64>,
    ) -> i64 {
        // SAFETY: the state is that of this policy.
        function.map_or(0, |f| unsafe { f(self.state) })
    }
}
