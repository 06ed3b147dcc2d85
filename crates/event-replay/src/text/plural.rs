//! Counts and sizes as text: one event, 1,750 events, 2.4 MiB.

/// Returns a count with its noun: `1 event`, `2 events`. The plural of the noun has an added `s`.
pub fn count(number: u64, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{} {thing}s", grouped(number)),
    }
}

/// Returns a count with one of two given forms: `1 index entry`, `2 index entries`.
pub fn of(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// Returns a number with a comma between its thousands: `1,750`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number of bytes as text: `552 B`, `2.4 MiB`. Units are powers of 1024.
pub fn size(bytes: u64) -> String {
    for (unit, factor) in [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor {
            return format!("{:.1} {unit}", bytes as f64 / factor as f64);
        }
    }
    format!("{bytes} B")
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

    #[test]
    fn thousands_are_grouped() {
        let texts = [0u64, 7, 999, 1000, 12_345, 1_000_000].map(grouped);
        assert_eq!(texts, ["0", "7", "999", "1,000", "12,345", "1,000,000"]);
        assert_eq!(count(1750, "event"), "1,750 events");
        assert_eq!(of(1_000_000, "entry", "entries"), "1,000,000 entries");
    }

    #[test]
    fn sizes_have_the_unit_that_reads_best() {
        let texts = [0, 552, 1024, 2_516_582, 5 << 30, 1 << 41].map(size);
        assert_eq!(texts, ["0 B", "552 B", "1.0 KiB", "2.4 MiB", "5.0 GiB", "2.0 TiB"]);
    }
}
