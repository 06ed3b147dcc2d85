//! Counted things in sentences: one event, two events.

/// `1 event`, `2 events`. The thing is named in the singular and takes an `s`.
pub fn count(number: u64, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

/// Likewise for what takes more than an `s`: `1 index entry`, `2 index entries`.
pub fn of(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let said: Vec<_> = [0, 1, 2].map(|number| count(number, "event")).into();
        assert_eq!(said, ["0 events", "1 event", "2 events"]);
        assert_eq!(
            (of(1, "entry is", "entries are"), of(0, "entry is", "entries are")),
            ("1 entry is".to_owned(), "0 entries are".to_owned())
        );
    }
}
