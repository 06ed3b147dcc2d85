//! Gaps of a group.

use super::Gap;

/// Gaps that a group keeps apart.
pub const MAX_GAPS: usize = 100;

/// Adds a gap.
pub fn note_gap(gaps: &mut Vec<Gap>, gap: Gap, nothing_between: bool) {
    if let Some(last) = gaps.last_mut()
        && nothing_between
    {
        last.to = last.to.max(gap.to);
        last.at = gap.at;
        return;
    }
    gaps.push(gap);
    if gaps.len() > MAX_GAPS {
        let oldest = gaps.remove(0);
        if let Some(next) = gaps.first_mut() {
            next.from = oldest.from;
        }
    }
}
