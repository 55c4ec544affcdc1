//! The script API by name: hooks, events, globals and views, with signatures and documentation.
//!
//! The sandbox takes its globals from here, and a policy's table its names; editor stubs and the
//! reference page are made of it (`cargo xtask docs`). Fields of views come from the tables of
//! `plugin-api` through [`fields`](super::fields).

mod brief;
mod names;
mod types;
mod views;

pub use brief::brief;
pub use names::{
    FUNCTIONS, HANDLERS, Handler, LIMITS, Limit, SETTINGS, STANDARD, Setting, TABLES,
    function_names, globals, hook_functions,
};
pub use types::{Function, Slot, Type, View};
pub use views::{Age, FieldDoc};

#[cfg(test)]
mod tests {
    use super::super::Program;
    use super::super::vm::Vm;
    use super::*;
    use crate::facts::Facts;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    /// Runs a file; it raises an error where something is not as it should be.
    fn run(text: &str) -> Result<(), String> {
        let program = Program::new("p.lua", text.into(), &[], false).expect("a program");
        let facts = Facts {
            instances: 2,
            slots: 8,
            highest_priority: 4,
            known_names: 1,
        };
        let vm = Vm::new(Arc::new(program), facts).expect("a script engine");
        let table = vm.run_file(&mut |_| 1);
        table.map(|_| ()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_globals_are_there_and_are_what_they_are_said_to_be() {
        let kinds = FUNCTIONS.iter().map(|f| (f.name, "function"));
        let kinds = kinds.chain(TABLES.iter().map(|t| (t.name, "table")));
        for (name, kind) in kinds {
            let text = format!("assert(type({name}) == '{kind}', '{name}') return {{}}");
            assert_eq!(run(&text), Ok(()));
        }
        for name in STANDARD {
            assert_eq!(run(&format!("assert({name}) return {{}}")), Ok(()));
        }
        let names: Vec<&str> = globals().collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(run("return { x = require }").is_err_and(|e| e.contains("unknown global")));
    }

    #[test]
    fn the_setup_has_its_fields() {
        for field in View::Setup.fields() {
            let text = format!("assert(setup.{} > 0) return {{}}", field.name);
            assert_eq!(run(&text), Ok(()));
        }
        assert!(run("return { x = setup.x }").is_err());
    }

    #[test]
    fn ages_of_fields_are_those_of_what_they_read() {
        let age_of = |name: &str| {
            let fields = View::Instance.fields();
            fields.iter().find(|f| f.name == name).expect("a field").age
        };
        assert_eq!(age_of("in_flight"), Age::Fresh);
        assert_eq!(age_of("queue_depth"), Age::Scraped);
        assert_eq!(age_of("decodes"), Age::Scraped);
        assert_eq!(age_of("block_size"), Age::Fixed);
    }
}
