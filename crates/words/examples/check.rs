//! Prints the faults of Markdown pages, and the number of their words and sentences: `cargo run -p event-replay-words
//! --example check README.md`.
#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    for path in env::args().skip(1) {
        let page = fs::read_to_string(&path)?;
        let (words, sentences) = event_replay_words::measure_page(&page);
        println!("{path}: {words} words in {sentences} sentences");
        for finding in event_replay_words::check_page(&page) {
            println!("  {finding}");
        }
    }
    Ok(())
}
