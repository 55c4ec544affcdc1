//! Which SLO class matters more.

use crate::input::InputError;

/// Cluster-level priority by SLO class: higher is more important, negative may be shed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SloPriorities {
    classes: Vec<(String, i32)>,
}

/// Priority of a class nobody listed.
const DEFAULT_PRIORITY: i32 = 3;

impl Default for SloPriorities {
    fn default() -> Self {
        let classes = [
            ("critical", 4),
            ("standard", 3),
            ("batch", -1),
            ("sheddable", -2),
            ("background", -3),
        ];
        Self {
            classes: classes.map(|(name, p)| (name.to_owned(), p)).to_vec(),
        }
    }
}

impl SloPriorities {
    /// Sets or adds a class.
    ///
    /// # Errors
    /// A priority outside -100..=100.
    pub fn set(&mut self, class: &str, priority: i32) -> Result<(), InputError> {
        if !(-100..=100).contains(&priority) {
            return Err(InputError::new(format!(
                "priority {priority} of class \"{class}\" is outside -100..=100"
            )));
        }
        match self.classes.iter_mut().find(|(name, _)| name == class) {
            Some((_, p)) => *p = priority,
            None => self.classes.push((class.to_owned(), priority)),
        }
        Ok(())
    }

    /// Priority of a class name; unknown and empty ones get 3.
    #[must_use]
    pub fn of(&self, class: &str) -> i32 {
        self.classes
            .iter()
            .find(|(name, _)| name == class)
            .map_or(DEFAULT_PRIORITY, |(_, p)| *p)
    }

    /// The highest priority any class can have.
    #[must_use]
    pub fn highest(&self) -> i32 {
        self.classes
            .iter()
            .map(|(_, p)| *p)
            .max()
            .unwrap_or(DEFAULT_PRIORITY)
            .max(DEFAULT_PRIORITY)
    }
}
