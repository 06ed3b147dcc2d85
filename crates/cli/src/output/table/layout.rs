//! The widths of a table's columns.

use unicode_width::UnicodeWidthChar;

use super::{Kind, width_of};

/// The least width of text, in terminal columns, while optional columns can be left out.
const COMFORT: usize = 16;
/// The least width of text in all cases.
const LEAST: usize = 6;

/// The widths of columns, and the visibility of each.
pub(super) struct Layout {
    pub(super) widths: Vec<usize>,
    pub(super) shown: Vec<bool>,
    kinds: Vec<(Kind, u8)>,
}

impl Layout {
    /// Creates a layout with columns as wide as their content.
    pub(super) fn of(kinds: &[(Kind, u8)], texts: &[Vec<String>]) -> Self {
        let mut widths = vec![0; kinds.len()];
        for row in texts {
            for (width, text) in widths.iter_mut().zip(row) {
                *width = (*width).max(width_of(text));
            }
        }
        Self { widths, shown: vec![true; kinds.len()], kinds: kinds.to_vec() }
    }

    /// Returns whether the table fits a width.
    pub(super) fn fits(&self, width: usize) -> bool {
        self.total(usize::MAX) <= width
    }

    /// Leaves out optional columns, then narrows text, until the table fits or no further step is possible.
    pub(super) fn fit(&mut self, width: usize) {
        while self.total(COMFORT) > width
            && let Some(last) = self.first_to_go()
        {
            if let Some(shown) = self.shown.get_mut(last) {
                *shown = false;
            }
        }
        let widest = self.flexible().map(|(_, width)| width).max().unwrap_or(0);
        let cap = (LEAST..=widest).rev().find(|cap| self.total(*cap) <= width).unwrap_or(LEAST);
        self.narrow(cap);
        self.give_back(width.saturating_sub(self.total(usize::MAX)), cap);
    }

    /// Returns the width of the table if no text column is wider than `cap`.
    fn total(&self, cap: usize) -> usize {
        let columns = self.widths.iter().zip(&self.shown).zip(&self.kinds).filter(|((_, shown), _)| **shown);
        columns
            .map(|((width, _), (kind, _))| 2 + if is_flexible(*kind) { (*width).min(cap) } else { *width })
            .sum::<usize>()
            .saturating_sub(1)
    }

    fn flexible(&self) -> impl Iterator<Item = (usize, usize)> {
        let columns = self.widths.iter().zip(&self.shown).zip(&self.kinds).enumerate();
        columns
            .filter(|(_, ((_, shown), (kind, _)))| **shown && is_flexible(*kind))
            .map(|(at, ((width, _), _))| (at, *width))
    }

    fn first_to_go(&self) -> Option<usize> {
        let candidates = self.kinds.iter().zip(&self.shown).enumerate();
        candidates
            .filter(|(_, ((_, rank), shown))| **shown && *rank > 0)
            .max_by_key(|(_, ((_, rank), _))| *rank)
            .map(|(at, _)| at)
    }

    fn narrow(&mut self, cap: usize) {
        for (width, (kind, _)) in self.widths.iter_mut().zip(&self.kinds) {
            if is_flexible(*kind) {
                *width = (*width).min(cap);
            }
        }
    }

    /// Gives the remaining width to the last column that the cap narrowed.
    fn give_back(&mut self, left: usize, cap: usize) {
        let cut = self.flexible().filter(|(_, width)| *width == cap).map(|(at, _)| at).last();
        if let Some(width) = cut.and_then(|at| self.widths.get_mut(at)) {
            *width += left;
        }
    }
}

fn is_flexible(kind: Kind) -> bool {
    matches!(kind, Kind::Text | Kind::Wrapped)
}

/// Returns the spaces that extend a text to a width.
pub(super) fn pad(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(width_of(text)))
}

/// Cuts a text to a width, with `…` at the cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut taken = 1;
    for c in text.chars() {
        taken += c.width().unwrap_or(0);
        if taken > width {
            break;
        }
        shown.push(c);
    }
    format!("{}…", shown.trim_end())
}

/// Splits a text into lines of at most this width, between words where possible.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        let needed = width_of(&line) + usize::from(!line.is_empty()) + width_of(word);
        if needed > width && !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if width_of(&line) + c.width().unwrap_or(0) > width.max(2) {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_longer_than_a_line_are_broken() {
        assert_eq!(wrap("abcdef gh", 4), ["abcd", "ef", "gh"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("a  b", 10), ["a  b"]);
        assert_eq!(
            (cut("abcdef", 4), cut("abcd", 4), cut("ab cdef", 4)),
            ("abc…".into(), "abcd".into(), "ab…".into())
        );
    }
}
