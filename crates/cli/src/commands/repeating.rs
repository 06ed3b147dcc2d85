//! `--watch`: repeats the output until Ctrl-C.

use std::time::Duration;

use clap::Args;

use super::signals::Interrupts;
use crate::{args::number, context::Context, errors::CliError, exit::Exit};

/// The flag of commands that can be watched.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WatchArgs {
    /// Show it again every so often, until Ctrl-C: 2s unless a time is given.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s", value_parser = pause)]
    watch: Option<Duration>,
}

fn pause(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);
    let time = number::duration(text).ok().filter(|time| bounds.contains(time));
    time.ok_or_else(|| "a pause is a duration from 100ms to 1d, such as 5s".to_owned())
}

impl WatchArgs {
    /// Runs `show` once, or repeatedly until Ctrl-C. A failure after the first time is reported, and `show` runs again.
    pub(crate) async fn run(
        self,
        cx: &mut Context<'_>,
        mut show: impl AsyncFnMut(&mut Context<'_>) -> Result<Exit, CliError>,
    ) -> Result<Exit, CliError> {
        let Some(pause) = self.watch else {
            cx.printer.page();
            return show(cx).await;
        };
        let mut interrupts = Interrupts::listen()?;
        let mut exit = Exit::Ok;
        for picture in 0u64.. {
            cx.printer.begin_frame()?;
            match show(cx).await {
                Ok(shown) => exit = shown,
                Err(error @ CliError::OutputClosed) => return Err(error),
                Err(error) if picture == 0 => return Err(error),
                Err(error) => cx.printer.warn(&error.to_string()),
            }
            cx.printer.flush()?;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = interrupts.next() => break,
            }
        }
        Ok(exit)
    }
}
