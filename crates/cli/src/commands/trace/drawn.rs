//! The branches of a tree, drawn before each line.

/// Levels that are drawn; deeper lines say how deep they are.
const DRAWN: usize = 24;

/// What stands before each line of a tree whose lines have these depths, each under the line that it belongs to.
pub(super) fn branches(depths: &[usize]) -> Vec<String> {
    let mut drawn = vec![String::new(); depths.len()];
    // Whether another line of a level follows, from the end on.
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
