//! The branches of a tree, as characters before each line.

/// Levels that are drawn at most. A deeper line shows its depth as a number.
const DRAWN: usize = 24;

/// Returns the branch characters for each line of a tree. `depths` has the depth of each line, in depth-first order.
pub(super) fn branches(depths: &[usize]) -> Vec<String> {
    let mut drawn = vec![String::new(); depths.len()];
    // Whether a later line of each level follows. The loop runs from the last line to the first.
    let mut follows: Vec<bool> = Vec::new();
    for (depth, line) in depths.iter().zip(&mut drawn).rev() {
        follows.resize(depth + 1, false);
        for level in 1..=(*depth).min(DRAWN) {
            let more = follows.get(level).copied().unwrap_or(false);
            line.push_str(match (level == *depth, more) {
                (true, true) => "├─ ",
                (true, false) => "└─ ",
                (false, true) => "│  ",
                (false, false) => "   ",
            });
        }
        if *depth > DRAWN {
            line.push_str(&format!("({depth}) "));
        }
        if let Some(own) = follows.get_mut(*depth) {
            *own = true;
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_reach_down_to_the_last_line_of_their_level() {
        let drawn = branches(&[0, 1, 2, 1, 0, 1]);
        assert_eq!(drawn, ["", "├─ ", "│  └─ ", "└─ ", "", "└─ "]);
    }

    #[test]
    fn deep_lines_say_how_deep_they_are() {
        let depths: Vec<usize> = (0..200).collect();
        let drawn = branches(&depths);
        assert!(drawn.iter().all(|line| line.chars().count() < 100), "{:?}", drawn.last());
        assert!(drawn[199].ends_with("(199) "), "{:?}", drawn[199]);
    }
}
