//! Colours and symbols of states, and the conditions for their use.

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

/// Whether output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set; anywhere where CLICOLOR_FORCE is set.
    #[default]
    Auto,
    /// Anywhere.
    Always,
    /// Nowhere.
    Never,
}

impl ColorChoice {
    /// Applies the choice to the whole process.
    pub(crate) fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::AlwaysAnsi,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }

    /// Finds the choice in the words of a command line, for output before the words are parsed.
    pub(crate) fn among(words: impl Iterator<Item = String>) -> Self {
        let words: Vec<String> = words.take_while(|word| word != "--").collect();
        let of = |text: &str| Self::from_str(text, true).ok();
        let joined = words.iter().filter_map(|word| word.strip_prefix("--color=")).filter_map(of);
        let apart = words.iter().zip(words.iter().skip(1)).filter(|(flag, _)| *flag == "--color");
        joined.chain(apart.filter_map(|(_, value)| of(value))).last().unwrap_or_default()
    }

    /// Converts the choice for clap.
    pub(crate) fn for_clap(self) -> clap::ColorChoice {
        match self {
            Self::Auto => clap::ColorChoice::Auto,
            Self::Always => clap::ColorChoice::Always,
            Self::Never => clap::ColorChoice::Never,
        }
    }
}

/// Returns whether output to this stream has colours.
pub(crate) fn colours(stream: &impl anstream::stream::RawStream) -> bool {
    !matches!(anstream::AutoStream::choice(stream), anstream::ColorChoice::Never)
}

/// The meaning of a state for the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Everything is in order.
    Good,
    /// Work is in progress.
    Busy,
    /// The state needs a look.
    Warn,
    /// The state needs action.
    Bad,
    /// The work has ended, or is idle.
    Quiet,
}

impl Tone {
    /// The symbol before the word, for readers who see no colour.
    pub(crate) fn symbol(self) -> char {
        match self {
            Self::Good => '✓',
            Self::Busy => '▸',
            Self::Warn => '!',
            Self::Bad => '✗',
            Self::Quiet => '·',
        }
    }

    /// Returns a text in the colour of the tone.
    pub(crate) fn paint(self, text: &str) -> String {
        let style = match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Busy => AnsiColor::Cyan.on_default(),
            Self::Warn => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Quiet => Style::new().dimmed(),
        };
        format!("{style}{text}{style:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_choice_of_a_command_line_counts() {
        let choice = |words: &[&str]| ColorChoice::among(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(choice(&["list"]), ColorChoice::Auto);
        assert_eq!(choice(&["list", "--color", "never"]), ColorChoice::Never);
        assert_eq!(choice(&["--color=always", "list"]), ColorChoice::Always);
        assert_eq!(choice(&["list", "--", "--color=always"]), ColorChoice::Auto);
    }
}
