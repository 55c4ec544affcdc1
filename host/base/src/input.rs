//! Reading what people wrote, and telling them clearly what is wrong with it.
//!
//! Every message names the place (file, line, column), what was found, what was expected and the
//! nearest valid name. The command line turns an [`InputError`] into exit code 2.

mod amount;
mod door;
mod error;
mod files;
mod json;
mod memory;
mod names;
mod open;
mod text;
mod visible;

pub use amount::amount;
pub use door::{
    LARGEST_SCRIPT, LARGEST_SPEC, inside, open_own, open_regular, read_bytes, read_own,
};
pub use error::{InputError, InputErrorKind, plain};
pub use files::{
    Staging, folder_of, identity, replace_whole, sweep_leftovers, write_folder, write_whole,
};
pub use json::{FiniteJson, finite_json};
pub use memory::InMemory;
pub use names::{check_name, hint, is_of_name, nearest, ranked, shortened, unknown};
pub use open::{Opened, decoded, open_text, packed_otherwise};
pub use text::{is_default, number, parse_yaml, read_text, read_text_up_to};
pub use visible::{in_html, is_hidden, visible, visible_lines, visible_message};
