//! Compares two answers as JSON documents: `{"ok":true,"status":200,"body":{…}}`.

use std::collections::BTreeMap;

use targets::{AnswerStatus, TargetAnswer};

use crate::app::{
    differences::{Difference, IgnoredPointer, differences},
    json_tree::JsonTree,
};

/// Returns the differences of two answers.
///
/// Statuses are compared if they are of one kind. A command and an endpoint can thus have equal answers. Bodies are
/// compared as JSON if both are JSON, and otherwise as texts.
pub(super) fn differences_of(
    old: &TargetAnswer,
    new: &TargetAnswer,
    ignored: &[IgnoredPointer],
) -> Vec<Difference> {
    let statuses = match (old.status, new.status) {
        (Some(AnswerStatus::Http(old)), Some(AnswerStatus::Http(new))) => {
            Some([i64::from(old), i64::from(new)])
        }
        (Some(AnswerStatus::Exit(old)), Some(AnswerStatus::Exit(new))) => {
            Some([i64::from(old), i64::from(new)])
        }
        _ => None,
    };
    let [old_status, new_status] = statuses.map_or([None, None], |statuses| statuses.map(Some));
    let [old_body, new_body] = bodies(old, new);
    let old = document(old, old_status, old_body);
    let new = document(new, new_status, new_body);
    differences(&old, &new, ignored)
}

fn document(answer: &TargetAnswer, status: Option<i64>, body: JsonTree) -> JsonTree {
    let members = [
        ("ok", Some(JsonTree::scalar(&answer.result.is_ok()))),
        ("status", status.map(|status| JsonTree::scalar(&status))),
        ("body", Some(body)),
    ];
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    JsonTree::Object(members.collect::<BTreeMap<_, _>>())
}

fn bodies(old: &TargetAnswer, new: &TargetAnswer) -> [JsonTree; 2] {
    let texts = [old, new].map(|answer| String::from_utf8_lossy(&answer.body));
    match texts.each_ref().map(|text| JsonTree::parse(text)) {
        [Ok(old), Ok(new)] => [old, new],
        // Many commands end their output with a line feed, and most endpoints do not.
        _ => texts.map(|text| JsonTree::scalar(text.strip_suffix('\n').unwrap_or(&text))),
    }
}

#[cfg(test)]
mod tests {
    use domain::delivery::HandlerError;

    use super::*;

    fn answer(ok: bool, status: Option<AnswerStatus>, body: &str) -> TargetAnswer {
        let result = if ok { Ok(()) } else { Err(HandlerError::retry("no")) };
        TargetAnswer { result, status, body: body.as_bytes().to_vec() }
    }

    fn pointers(old: &TargetAnswer, new: &TargetAnswer, ignored: &[&str]) -> Vec<String> {
        let ignored: Vec<IgnoredPointer> = ignored.iter().map(|text| text.parse().unwrap()).collect();
        differences_of(old, new, &ignored).into_iter().map(|found| found.pointer).collect()
    }

    #[test]
    fn the_result_the_status_and_the_body_are_compared() {
        let http = |status| Some(AnswerStatus::Http(status));
        let old = answer(true, http(200), r#"{"a":1,"b":[1.0]}"#);
        let none: [&str; 0] = [];
        assert_eq!(pointers(&old, &answer(true, http(200), "{\"b\": [1], \"a\": 1}\n"), &[]), none);
        let new = answer(false, http(500), r#"{"a":2}"#);
        assert_eq!(pointers(&old, &new, &[]), ["/body/a", "/body/b", "/ok", "/status"]);
        assert_eq!(pointers(&old, &new, &["/body", "/status"]), ["/ok"]);
        let other = answer(true, http(201), "created");
        assert_eq!(pointers(&old, &other, &[]), ["/body", "/status"]);
    }

    #[test]
    fn a_command_and_an_endpoint_may_answer_alike() {
        let command = answer(true, Some(AnswerStatus::Exit(0)), "done\n");
        let endpoint = answer(true, Some(AnswerStatus::Http(200)), "done");
        assert_eq!(pointers(&command, &endpoint, &[]), [""; 0]);
        let line = answer(true, None, "done");
        assert_eq!(pointers(&line, &endpoint, &[]), [""; 0]);
        assert_eq!(pointers(&command, &answer(false, Some(AnswerStatus::Exit(3)), ""), &[]).len(), 3);
    }
}
