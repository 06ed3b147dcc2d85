//! Unique prefixes of ids.

/// Returns the shortest prefix of an id, of at least `least` bytes, that no other id has.
pub(super) fn unique<'a>(id: &str, others: impl Iterator<Item = &'a str>, least: usize) -> String {
    let shared = others.filter(|other| *other != id).map(|other| common(id, other)).max();
    let mut end = shared.map_or(least, |shared| (shared + 1).max(least)).min(id.len());
    // A prefix ends at a character boundary and not with a hyphen.
    while end < id.len()
        && (!id.is_char_boundary(end) || id.get(..end).is_some_and(|text| text.ends_with('-')))
    {
        end += 1;
    }
    id.get(..end).unwrap_or(id).to_owned()
}

/// Returns the length of the common prefix of two ids, in bytes.
fn common(one: &str, other: &str) -> usize {
    one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_tells_an_id_from_all_others() {
        let ids = ["0198f2c4-7a10-7e22", "0198f2c4-7a44-7e22", "0298f2c4-7a10-7e22"];
        let of = |id: &str| unique(id, ids.into_iter(), 8);
        assert_eq!(ids.map(of), ["0198f2c4-7a1", "0198f2c4-7a4", "0298f2c4"]);
        assert_eq!(unique("ab", ["abc"].into_iter(), 1), "ab");
        assert_eq!(unique("éa", ["éb"].into_iter(), 1), "éa");
        assert_eq!(unique("0198f2c4-7a10", [].into_iter(), 9), "0198f2c4-7");
    }
}
