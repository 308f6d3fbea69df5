//! Makes `data/confusable.txt`: of a list of right words on stdin, one a line, those that look like a misspelt word of the
//! lexicon. The shipped one was made from SCOWL's list of size 35 (Debian `wamerican-small`, its licence allows any use):
//! `cargo run -p mahavishnu-core --example confusable < american-english-small > crates/core/data/confusable.txt`

use std::io::{BufRead, Write, stdin, stdout};

use mahavishnu_core::recommendation::spelling::is_confusable;

fn main() -> std::io::Result<()> {
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let word = line?;
        if is_confusable(&word) {
            writeln!(out, "{word}")?;
        }
    }
    Ok(())
}
