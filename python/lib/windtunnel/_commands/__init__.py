"""Commands as functions. `cargo xtask docs` writes them, so that their names and types are those of the command's flags."""
