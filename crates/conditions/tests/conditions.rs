//! The results of conditions on events, and the errors of invalid texts.

// A test fails by a panic, also in its helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

use domain::{Document, Event, Limits};
use event_replay_conditions::{ConditionError, compile};
use proptest::prelude::*;

const JSON: &str = r#"{"id":"e1","type":"payment.processed","version":"1.0","timestamp":"2024-01-15T10:30:00.5+01:00",
    "source":"payments","metadata":{"trace":{"id":7}},"correlationId":null,"userId":"user-1",
    "data":{"amount":100.5,"count":3,"whole":100.0,"wide":9007199254740993,"wider":18446744073709551615,
            "tags":["a","bc"],"items":[{"price":5},{"price":7.5}],"paid":true,"note":null,"größe":"ü",
            "odd name":1,"id":"other"}}"#;

fn event() -> Event {
    Document::parse(JSON.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
}

fn holds(text: &str) -> bool {
    let condition = compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(condition.text(), text);
    condition.holds(&event())
}

#[test]
fn a_condition_reads_every_member_of_the_event() {
    for text in [
        "true",
        "data.amount > 100",
        "data.amount == 100.5",
        "data.count == 3 && data.count < 3.5 && data.whole == 100",
        "data.wide == 9007199254740993 && data.wide != 9007199254740992",
        "data.wider > 0",
        "type == 'payment.processed'",
        "type.startsWith(\"payment.\") && type.endsWith('processed')",
        "id == 'e1' && version == '1.0' && source in ['payments', 'billing']",
        "userId.matches('^user-[0-9]+$')",
        "timestamp == '2024-01-15T10:30:00.5+01:00'",
        "timestamp(timestamp) > timestamp('2024-01-15T09:30:00Z')",
        "timestamp(timestamp) < timestamp('2024-01-15T09:30:01Z')",
        "metadata.trace.id == 7",
        "metadata['trace']['id'] == 7",
        "data['odd name'] == 1 && data['größe'] == 'ü'",
        "data.paid && !(data.amount < 1)",
        "data.note == null && correlationId == null",
        "has(data.coupon) == false && has(data.amount)",
        "has(data.note)",
        "'a' in data.tags && size(data.tags) == 2 && data.tags[1] == 'bc'",
        "data.items.all(item, item.price >= 5) && data.items.exists(i, i.price == 7.5)",
        "data.items.filter(i, i.price > 5).map(i, i.price)[0] == 7.5",
        "data.amount + 1.0 > 101.0 ? data.paid : false",
        "data.id == 'other'",
        "  data.amount\n > \t100 // a comment",
    ] {
        assert!(holds(text), "{text}");
    }
}

#[test]
fn a_condition_that_is_not_so_does_not_hold() {
    for text in
        ["false", "data.amount > 100.5", "type == 'payment'", "data.count == 4", "!data.paid", "id == 'E1'"]
    {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn an_event_that_lacks_what_a_condition_names_does_not_satisfy_it() {
    for text in [
        "courseId == 'c'",
        "courseId != 'c'",
        "!(courseId == 'c')",
        "data.coupon == 'x'",
        "data.coupon != 'x'",
        "data.items[7].price > 1",
        "data.count.deeper == 1",
        "correlationId.startsWith('c')",
        "has(nothing.x)",
    ] {
        assert!(!holds(text), "{text}");
    }
    assert!(holds("courseId == 'c' || data.paid"), "either side is enough");
    assert!(holds("data.paid || courseId == 'c'"), "either side is enough");
}

#[test]
fn anything_but_true_is_false() {
    for text in [
        "data.amount",
        "data",
        "'true'",
        "1",
        "null",
        "data.tags",
        "data.amount > 'x'",
        "1 / 0 == 1",
        "9223372036854775807 + 1 > 0",
        "data.tags[-1] == 'a'",
        "type.matches(data.tags[0] + '(')",
        "timestamp('never') == 1",
    ] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    for (text, reason) in [
        ("type.matches('(')", "unclosed group"),
        ("matches(type, '[z-a]')", "invalid character class range"),
        ("data.a == 1 || type.matches('a{2,1}')", "invalid repetition count range"),
        ("type.matches(r'\\pL{1000}')", "takes more than"),
    ] {
        let error = compile(text).unwrap_err();
        assert!(
            matches!(&error, ConditionError::Pattern { reason: said, .. } if said.contains(reason)),
            "{error}"
        );
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn patterns_match_as_written_and_as_taken_from_events() {
    assert!(holds("type.matches('^a') == type.matches(string('^a'))"));
    assert!(holds("'abc'.matches('b') && !matches('abc', '^b')"));
    assert!(holds("['a', 'b', 'c'].all(it, it.matches('^' + it + '$'))"));
}

#[test]
fn an_error_says_where_and_shows_an_example() {
    for (text, line, column) in
        [("data.amount >", 1, 14), ("data.amount = 5", 1, 13), ("a &&\n&& b", 2, 1), ("'open", 1, 1)]
    {
        let error = compile(text).unwrap_err();
        let ConditionError::Syntax { line: found_line, column: found_column, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((*found_line, *found_column), (line, column), "{text}: {error}");
        assert!(error.to_string().contains(": unexpected "), "{error}");
        assert!(error.to_string().contains("data.amount > 100"), "{error}");
        assert!(!error.to_string().contains("EOF") && error.to_string().len() < 200, "{error}");
    }
    for text in ["", " \n\t"] {
        assert_eq!(compile(text).unwrap_err(), ConditionError::Empty);
    }
}

#[test]
fn a_function_that_is_not_there_is_refused_with_what_was_probably_meant() {
    for (text, advice) in [
        ("startswith(type, 'x')", "did you mean startsWith, as in type.startsWith(…)?"),
        ("type.startswith('x')", "did you mean startsWith"),
        ("startsWith(type, 'x')", "it is called on a value, as type.startsWith(…)"),
        ("type.contain('x')", "did you mean contains"),
        ("lenght(data.tags) > 1", "there are: all, bool"),
        ("data.tags.sizes() > 1", "did you mean size"),
        ("data.amount.int() > 1", "as int(data.amount)"),
        ("data.tags.exist(t, t == 'a')", "did you mean exists"),
        ("data.tags.all(t)", "it is called on a list, with a name and an expression"),
        ("optional.off(data.amount).hasValue()", "optional.of,"),
        ("data.items.all(item, nosuch(item))", "there are:"),
        ("true ? data.paid : nosuch()", "there are:"),
    ] {
        let error = compile(text).unwrap_err();
        assert!(matches!(error, ConditionError::UnknownFunction { .. }), "{text}: {error}");
        assert!(error.to_string().contains(advice), "{text}: {error}");
    }
}

/// If CEL did not have one of these functions, the compilation would refuse the condition, or the condition would be
/// false.
#[test]
fn every_function_that_is_allowed_works() {
    for text in [
        "bool('true') && string(bytes('a')) == 'a' && double('1.5') == 1.5 && dyn(1) == 1",
        "duration('60s') == duration('1m') && int('3') == 3 && uint(3) == 3u",
        "size('abc') == 3 && 'abc'.size() == 3 && size([1]) == 1 && [1].size() == 1 && size({'a': 1}) == 1",
        "string(5) == '5' && type(5) == int && matches('abc', '^a') && 'abc'.matches('c$')",
        "'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')",
        "timestamp('2024-01-15T10:30:07.005Z').getFullYear() == 2024",
        "timestamp('2024-01-15T10:30:07.005Z').getMonth() == 0",
        "timestamp('2024-01-15T10:30:07.005Z').getDate() == 15",
        "timestamp('2024-01-15T10:30:07.005Z').getDayOfMonth() == 14",
        "timestamp('2024-01-15T10:30:07.005Z').getDayOfYear() == 14",
        "timestamp('2024-01-15T10:30:07.005Z').getDayOfWeek() == 1",
        "timestamp('2024-01-15T10:30:07.005Z').getHours('+02:00') == 12",
        "timestamp('2024-01-15T10:30:07.005Z').getMinutes() == 30",
        "timestamp('2024-01-15T10:30:07.005Z').getSeconds() == 7",
        "timestamp('2024-01-15T10:30:07.005Z').getMilliseconds() == 5",
        "optional.of(1).hasValue() && optional.of(1).value() == 1 && !optional.none().hasValue()",
        "optional.ofNonZeroValue(0).orValue(7) == 7 && optional.none().or(optional.of(2)).value() == 2",
        "data.?coupon.orValue('none') == 'none' && data[?'amount'].hasValue()",
        "[1, 2].exists_one(x, x == 1) && [1, 2].map(x, x * 2) == [2, 4] && -data.count == -3",
    ] {
        assert!(holds(text), "{text}");
    }
}

#[test]
fn long_and_deep_texts_are_refused_or_run_but_never_crash() {
    assert_eq!(compile(&" ".repeat(4097)).unwrap_err(), ConditionError::TooLong(4097));
    assert!(matches!(compile(&"x".repeat(5_000)), Err(ConditionError::TooLong(5_000))));
    let full = |piece: &str| piece.repeat(4096 / piece.len());
    for text in [
        full("("),
        full("["),
        full("{"),
        full("!"),
        full("-"),
        full("a."),
        full("a+"),
        full("a&&"),
        full("a?"),
        full("a||"),
        full("-("),
        full("!("),
        full("f("),
        full("a["),
        full("{1:"),
        full("a?b:"),
        full("a==a=="),
    ] {
        assert!(compile(&text).is_err(), "{}", &text[..8]);
        for end in ["a", "", ")", "]", "}", ":a}", "a)"] {
            for length in [4000, 2001, 402, 370, 61] {
                if let Ok(condition) = compile(&format!("{}{end}", &text[..length])) {
                    assert!(!condition.holds(&event()), "{}", &text[..8]);
                }
            }
        }
    }
    for nested in ["(".repeat(30) + "data.paid" + &")".repeat(30), "!".repeat(20) + "data.paid"] {
        assert!(holds(&nested), "{nested}");
    }
    let wide = format!("type in [{}'payment.processed']", "'x',".repeat(1_000));
    assert!(holds(&wide[..]));
    let many = vec!["data.paid"; 40].join(" && ");
    assert!(holds(&many));
    let loops = "[1].all(a, [1].all(b, [1].all(c, true)))";
    assert_eq!(compile(loops).unwrap_err(), ConditionError::TooManyLoops);
    assert!(holds("[1].all(a, [1].all(b, a == b))"));
}

#[test]
fn a_condition_may_be_shared_between_threads() {
    let condition = compile("data.amount > 100").unwrap();
    let all = std::thread::scope(|scope| {
        let ask = || (0..100).all(|_| condition.holds(&event()));
        [scope.spawn(ask), scope.spawn(ask)].map(|thread| thread.join().unwrap())
    });
    assert_eq!(all, [true, true]);
}

/// Returns texts that look like conditions.
fn texts() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "data",
        "type",
        ".",
        ".",
        "amount",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        "in",
        "1",
        "0",
        "2.5",
        "1e400",
        "9223372036854775808",
        "0x",
        "7u",
        "'a'",
        "\"",
        "'",
        "r'\\'",
        "b'x'",
        "'''",
        "\\",
        "has",
        "all",
        "exists",
        "map",
        "filter",
        "size",
        "matches",
        "true",
        "null",
        "timestamp",
        "duration",
        "int",
        "string",
        "x",
        "@",
        "`",
        "//",
        "\n",
        " ",
        "ü",
        "\u{202e}",
        "\0",
        "\u{1F600}",
    ]);
    prop_oneof![
        3 => prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat()),
        1 => any::<String>(),
    ]
}

proptest! {
    #[test]
    fn any_text_is_a_condition_or_an_error(text in texts()) {
        if let Ok(condition) = compile(&text) {
            let event = event();
            prop_assert_eq!(condition.holds(&event), condition.holds(&event));
        }
    }
}
