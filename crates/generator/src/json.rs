//! Writes JSON text directly into a string. A tree for each event would take most of the time of a run.

use std::fmt::{self, Write as _};

use jiff::{Timestamp, tz::Offset};

use crate::{
    fault::{Blow, Damage},
    ident::{Ident, push_hex},
    vocabulary,
};

/// A value to write.
#[derive(Clone, Copy)]
pub(crate) enum Val<'a> {
    Text(&'a str),
    /// A string that is formatted from pieces.
    Pieces(fmt::Arguments<'a>),
    /// A prefix and a number, as one string.
    Numbered(&'static str, u64),
    /// A prefix and 16 hexadecimal digits, as one string.
    Hex(&'static str, u64),
    Ident(Ident),
    /// The e-mail address of a user.
    Email(u32),
    /// Milliseconds of the Unix epoch, written as RFC 3339 text.
    Time(i64),
    Int(u64),
    /// An amount in cents, written as a number with two decimals.
    Cents(u64),
    Bool(bool),
}

impl Val<'_> {
    fn is_text(self) -> bool {
        !matches!(self, Self::Int(_) | Self::Cents(_) | Self::Bool(_))
    }
}

/// A JSON object that is being written. Its members keep the order of the calls.
pub(crate) struct Json {
    out: String,
    damage: Option<Damage>,
    /// Required members up to now.
    required: u8,
    within: &'static str,
}

impl Json {
    pub(crate) fn new(damage: Option<Damage>) -> Self {
        // This capacity is enough for nearly all events, so that the text is rarely moved.
        let mut out = String::with_capacity(896);
        out.push('{');
        Self { out, damage, required: 0, within: "" }
    }

    fn key(&mut self, key: &str) {
        if !self.out.ends_with(['{', '[']) {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
    }

    /// Writes a member that the schema does not require.
    pub(crate) fn put(&mut self, key: &str, value: Val<'_>) {
        self.key(key);
        self.value(value);
    }

    /// Writes a member that the schema of the type requires. Only these members can be damaged.
    pub(crate) fn require(&mut self, key: &str, value: Val<'_>) {
        let struck = self.damage.as_mut().filter(|damage| damage.member == self.required);
        self.required += 1;
        let Some(damage) = struck else { return self.put(key, value) };
        damage.pointer = Some(format!("{}/{key}", self.within));
        match damage.blow {
            Blow::Omit => {}
            Blow::Null => {
                self.key(key);
                self.out.push_str("null");
            }
            Blow::Retype if value.is_text() => self.put(key, Val::Int(42)),
            Blow::Retype => self.put(key, Val::Text("unknown")),
        }
    }

    /// Opens an object as a member of the event.
    pub(crate) fn open(&mut self, key: &str, pointer: &'static str) {
        self.key(key);
        self.out.push('{');
        self.within = pointer;
    }

    /// Closes the last opened object.
    pub(crate) fn close(&mut self) {
        self.out.push('}');
        self.within = "";
    }

    /// Writes a member whose value is JSON text.
    pub(crate) fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.out.push_str(json);
    }

    /// Writes a member that is an array.
    pub(crate) fn list<'a>(&mut self, key: &str, items: impl Iterator<Item = Val<'a>>) {
        self.key(key);
        self.out.push('[');
        for (at, item) in items.enumerate() {
            if at > 0 {
                self.out.push(',');
            }
            self.value(item);
        }
        self.out.push(']');
    }

    /// Returns the finished text, and the pointer of the damaged member.
    pub(crate) fn finish(mut self) -> (String, Option<String>) {
        self.out.push('}');
        (self.out, self.damage.and_then(|damage| damage.pointer))
    }

    fn value(&mut self, value: Val<'_>) {
        let out = &mut self.out;
        match value {
            Val::Int(number) => push_number(out, number),
            Val::Cents(cents) => {
                push_number(out, cents / 100);
                out.push('.');
                push_padded(out, cents % 100, 2);
            }
            Val::Bool(flag) => out.push_str(if flag { "true" } else { "false" }),
            text => {
                out.push('"');
                push_text(out, text);
                out.push('"');
            }
        }
    }
}

fn push_text(out: &mut String, value: Val<'_>) {
    match value {
        Val::Text(text) => push_escaped(out, text),
        Val::Pieces(pieces) => {
            // Writing to a string never fails.
            let _ = Escaped(out).write_fmt(pieces);
        }
        Val::Numbered(prefix, number) => {
            out.push_str(prefix);
            push_number(out, number);
        }
        Val::Hex(prefix, bits) => {
            out.push_str(prefix);
            for byte in bits.to_be_bytes() {
                push_hex(out, byte);
            }
        }
        Val::Ident(ident) => ident.write(out),
        Val::Email(user) => {
            out.push_str(vocabulary::first_name(user).1);
            out.push('.');
            out.push_str(vocabulary::last_name(user).1);
            push_number(out, u64::from(user) + u64::from(vocabulary::FIRST_USER));
            out.push_str("@example.com");
        }
        Val::Time(at_ms) => push_time(out, at_ms),
        Val::Int(_) | Val::Cents(_) | Val::Bool(_) => {}
    }
}

struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_escaped(self.0, text);
        Ok(())
    }
}

fn push_escaped(out: &mut String, text: &str) {
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "\\u00",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        out.push_str(escape);
        if escape.len() == 4 {
            push_hex(out, byte);
        }
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
}

fn push_number(out: &mut String, number: u64) {
    let width = number.checked_ilog10().unwrap_or_default() + 1;
    push_padded(out, number, width);
}

fn push_padded(out: &mut String, number: u64, width: u32) {
    for place in (0..width).rev() {
        let digit = number / 10_u64.pow(place) % 10;
        out.push(char::from(b'0' + digit as u8));
    }
}

fn push_time(out: &mut String, at_ms: i64) {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::MAX);
    let civil = Offset::UTC.to_datetime(at);
    let date = [(civil.year(), 4, '-'), (civil.month().into(), 2, '-'), (civil.day().into(), 2, 'T')];
    let time =
        [(civil.hour().into(), 2, ':'), (civil.minute().into(), 2, ':'), (civil.second().into(), 2, '.')];
    for (number, width, then) in date.into_iter().chain(time) {
        push_padded(out, u64::from(number.unsigned_abs()), width);
        out.push(then);
    }
    push_padded(out, u64::from(civil.millisecond().unsigned_abs()), 3);
    out.push('Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_as_it_went_in() {
        let text: String = (0..0x300).filter_map(char::from_u32).chain("\u{2028}😀".chars()).collect();
        let mut json = Json::new(None);
        json.put("a", Val::Text(&text));
        json.put("b", Val::Pieces(format_args!("<{text}>")));
        let value: serde_json::Value = serde_json::from_str(&json.finish().0).unwrap();
        assert_eq!(value, serde_json::json!({ "a": text, "b": format!("<{text}>") }));
    }

    #[test]
    fn numbers_and_times_are_written_in_full() {
        let mut json = Json::new(None);
        json.put("cents", Val::Cents(1205));
        json.put("few", Val::Cents(7));
        json.put("zero", Val::Int(0));
        json.put("most", Val::Int(u64::MAX));
        json.put("time", Val::Time(1_705_314_600_007));
        assert_eq!(
            json.finish().0,
            r#"{"cents":12.05,"few":0.07,"zero":0,"most":18446744073709551615,"time":"2024-01-15T10:30:00.007Z"}"#
        );
    }
}
