//! `dead-letters edit` and `restore`, on a file and on Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Bench, paid, some};
use serde_json::{Value, json};

/// A handler that fails for every payment in another currency than euros, and appends each event to the file `given`.
const HANDLER: &str = "exec1:sh -c 'tee -a given | grep -q EUR'";

fn benches() -> Vec<Bench> {
    [Some(Bench::new()), Bench::on_redis()].into_iter().flatten().collect()
}

/// Returns a bench with a dead letter of a payment in dollars.
fn with_letter(bench: Bench) -> (Bench, String) {
    bench.pipe(&["publish"], paid("p1", "user-123", "10").replace("EUR", "USD")).ok();
    bench
        .run(&[
            "consume",
            "pay",
            "--at",
            "start",
            "--target",
            HANDLER,
            "--max-retries",
            "0",
            "--until-idle",
            "1s",
        ])
        .exits(3);
    let id = bench.json(&["dead-letters", "list"])["deadLetters"][0]["id"].as_str().unwrap().to_owned();
    (bench, id)
}

fn letter(bench: &Bench, id: &str) -> Value {
    bench.json(&["dead-letters", "show", id])["deadLetters"][0].clone()
}

#[test]
fn a_redrive_sends_the_edited_event_and_the_original_is_kept() {
    for bench in benches() {
        let (bench, id) = with_letter(bench);
        bench.file("fix.json", r#"[{"op":"replace","path":"/data/currency","value":"EUR"}]"#);
        let edit = ["dead-letters", "edit", &id[..12], "--patch", "fix.json", "--reason", "wrong currency"];
        let said = bench.run(&[&edit[..], &["--dry-run"]].concat()).ok();
        said.prints("-    \"currency\": \"USD\"").prints("+    \"currency\": \"EUR\"").prints("would edit");
        assert!(letter(&bench, &id)["edit"].is_null());
        let said = bench.json(&[&edit[..], &["--operator", "ann@desk"]].concat());
        assert_eq!((&said["id"], &said["dryRun"]), (&json!(id), &json!(false)));
        assert_eq!(
            (&said["before"]["data"]["currency"], &said["after"]["data"]["currency"]),
            (&json!("USD"), &json!("EUR"))
        );
        let shown = letter(&bench, &id);
        assert_eq!(shown["event"]["data"]["currency"], "USD");
        assert_eq!(shown["edit"]["event"]["data"]["currency"], "EUR");
        assert_eq!(
            (&shown["edit"]["by"], &shown["edit"]["reason"]),
            (&json!("ann@desk"), &json!("wrong currency"))
        );
        bench.run(&["dead-letters", "show", &id]).ok().prints("edited").prints("ann@desk");
        bench.run(&["verify"]).ok();
        // The redrive delivers the edited event. The log keeps the original.
        std::fs::remove_file(bench.path("given")).unwrap();
        let consumer = bench.consume(&["pay", "--target", HANDLER, "--max-retries", "0"]);
        bench.run(&["dead-letters", "redrive", &id]).ok().prints("1 succeeded");
        consumer.stop().ok();
        let given = std::fs::read_to_string(bench.path("given")).unwrap();
        assert!(given.contains("EUR") && !given.contains("USD") && given.contains("\"p1\""), "{given}");
        let stored = bench.json(&["show", "p1"])["events"][0]["event"].clone();
        assert_eq!(stored["data"]["currency"], "USD");
        assert_eq!(letter(&bench, &id)["state"], "handled");
        bench.run(&edit).exits(1).says("handled");
        let action = bench.json(&["audit", "list", "--action", "dead-letters edit"])[0].clone();
        assert_eq!((&action["subject"], &action["operator"]), (&json!(id), &json!("ann@desk")));
        bench.run(&["verify"]).ok();
    }
}

#[test]
fn an_edited_event_is_sent_also_after_the_log_was_trimmed_and_when_it_fails_again() {
    for bench in benches() {
        let (bench, id) = with_letter(bench);
        bench.file("gbp.json", r#"[{"op":"replace","path":"/data/currency","value":"GBP"}]"#);
        bench.file("eur.json", r#"[{"op":"test","path":"/data/currency","value":"GBP"},{"op":"replace","path":"/data/currency","value":"EUR"}]"#);
        bench.run(&["dead-letters", "edit", &id, "--patch", "gbp.json"]).ok();
        bench.pipe(&["publish"], some()).ok();
        bench.run(&["groups", "reset", "pay", "--at", "head"]).ok();
        bench.run(&["trim", "--max-events", "1", "--yes"]).ok();
        let consumer = bench.consume(&["pay", "--target", HANDLER, "--max-retries", "0"]);
        bench.run(&["dead-letters", "redrive", &id]).exits(3);
        // The dead letter is open again and keeps its edit. Further patches apply to the edited event.
        assert_eq!(letter(&bench, &id)["edit"]["event"]["data"]["currency"], "GBP");
        bench.run(&["dead-letters", "edit", &id, "--patch", "eur.json"]).ok();
        bench.run(&["dead-letters", "redrive", &id]).ok();
        consumer.stop().ok();
        let given = std::fs::read_to_string(bench.path("given")).unwrap();
        assert_eq!(given.matches("\"p1\"").count(), 3, "{given}");
        bench.run(&["verify"]).ok();
    }
}

#[test]
fn what_an_edit_cannot_do_is_refused() {
    for bench in benches() {
        let (bench, id) = with_letter(bench);
        let refused = |patch: &str, said: &str| {
            bench.file("p.json", patch);
            bench.run(&["dead-letters", "edit", &id, "--patch", "p.json"]).exits(2).says(said);
        };
        refused(r#"[{"op":"replace","path":"/data/amount","value":"ten"}]"#, "/data/amount");
        refused(r#"[{"op":"remove","path":"/version"}]"#, "version");
        refused(r#"[{"op":"replace","path":"/id","value":"p2"}]"#, "an edit cannot change id");
        refused(r#"[{"op":"replace","path":"/userId","value":"user-9"}]"#, "an edit cannot change an entity");
        refused(r#"[{"op":"replace","path":"/nothing","value":1}]"#, "the patch cannot be applied");
        refused(r#"{"data":{}}"#, "the patch cannot be applied");
        refused(r#"[{"op":"replace","path":"/data/currency","value":"USD"}]"#, "nothing would change");
        assert!(letter(&bench, &id)["edit"].is_null());
        bench.run(&["dead-letters", "edit", "0198ffff", "--undo"]).exits(1).says("no dead letter");
        bench.run(&["dead-letters", "edit", &id]).exits(2).says("--patch");
        // `--undo` removes an edit.
        bench.file("fix.json", r#"[{"op":"replace","path":"/data/currency","value":"EUR"}]"#);
        bench.run(&["dead-letters", "edit", &id, "--patch", "fix.json"]).ok();
        bench.run(&["dead-letters", "edit", &id, "--undo"]).ok().prints("+    \"currency\": \"USD\"");
        assert!(letter(&bench, &id)["edit"].is_null());
        bench.run(&["dead-letters", "edit", &id, "--undo"]).exits(2).says("nothing would change");
        bench.run(&["verify"]).ok();
    }
}

#[test]
fn one_patch_edits_all_dead_letters_of_a_fingerprint_and_may_be_repeated() {
    for bench in benches() {
        // The handler fails for five payments. The last of them has a note.
        let payments = (0..5).map(|n| {
            let paid = paid(&format!("p{n}"), &format!("user-{n}"), "10").replace("EUR", "USD");
            if n == 4 { paid.replace("\"data\":{", "\"data\":{\"note\":\"manual\",") } else { paid }
        });
        bench.pipe(&["publish"], payments.collect::<Vec<_>>().join("\n")).ok();
        let consumed = ["consume", "pay", "--at", "start", "--target", HANDLER, "--max-retries", "0"];
        bench.run(&[&consumed[..], &["--until-idle", "1s"]].concat()).exits(3);
        let letters = bench.json(&["dead-letters", "list"])["deadLetters"].clone();
        let fingerprint = letters[0]["fingerprint"].as_str().unwrap();
        assert_eq!(letters.as_array().unwrap().len(), 5);
        bench.file(
            "fix.json",
            r#"[{"op":"test","path":"/data/currency","value":"USD"},{"op":"replace","path":"/data/currency","value":"EUR"}]"#,
        );
        bench.file("note.json", r#"[{"op":"remove","path":"/data/note"}]"#);
        let edit = ["dead-letters", "edit", "--fingerprint", fingerprint, "--patch", "fix.json"];
        bench.run(&[&edit[..], &["--dry-run"]].concat()).ok().prints("would edit 5 dead letters");
        let edited = || -> Vec<Value> {
            let letters = bench.json(&["dead-letters", "list"])["deadLetters"].clone();
            letters
                .as_array()
                .unwrap()
                .iter()
                .map(|l| l["edit"]["event"]["data"]["currency"].clone())
                .collect()
        };
        assert_eq!(edited(), vec![Value::Null; 5]);
        // An interrupted command is repeated: what has the edit already is left as it is.
        let first = letters.as_array().unwrap().iter().find(|letter| letter["event"]["id"] == "p0").unwrap();
        let first = first["id"].as_str().unwrap();
        bench.run(&["dead-letters", "edit", first, "--patch", "fix.json"]).ok();
        bench
            .run(&[&edit[..], &["--reason", "wrong currency"]].concat())
            .ok()
            .prints("edited 4 dead letters, 1 unchanged");
        assert_eq!(edited(), vec![json!("EUR"); 5]);
        let report = bench.json(&edit);
        let counts = json!({
            "dryRun": false, "requested": 5, "edited": 0, "unchanged": 5, "notOpen": 0, "refused": 0, "unknown": 0,
            "refusals": [],
        });
        assert_eq!(report, counts);
        // Each dead letter is edited by itself: four refusals leave the fifth edited.
        let note = ["dead-letters", "edit", "--group", "pay", "--patch", "note.json"];
        let said = bench.run(&note).exits(3);
        said.prints("edited 1 dead letter, 4 refused").prints(first).prints("the patch cannot be applied");
        let named: Vec<&str> =
            letters.as_array().unwrap().iter().map(|l| l["id"].as_str().unwrap()).collect();
        let unknown = "0".repeat(36);
        let undo = [&["dead-letters", "edit", "--undo", &unknown], &named[..2]].concat();
        bench.run(&undo).exits(3).prints("edited 2 dead letters, 1 unknown");
        bench
            .run(&["dead-letters", "edit", named[0], named[1]])
            .exits(2)
            .says("an editor edits one dead letter");
        bench.file("bad.json", "{}");
        bench
            .run(&["dead-letters", "edit", "--all", "--patch", "bad.json"])
            .exits(2)
            .says("cannot be applied");
        let actions = bench.json(&["audit", "list", "--action", "dead-letters edit"]);
        let bulk = actions.as_array().unwrap().iter().find(|row| row["reason"] == "wrong currency").unwrap();
        assert_eq!((&bulk["outcome"], &bulk["result"]["edited"]), (&json!("done"), &json!(4)), "{bulk}");
        bench.run(&["verify"]).ok();
    }
}

#[test]
fn a_discarded_letter_is_restored_and_can_be_redriven() {
    for bench in benches() {
        let (bench, id) = with_letter(bench);
        bench.run(&["dead-letters", "restore", &id]).ok().prints("restored 0 dead letters, 1 not discarded");
        bench.run(&["dead-letters", "discard", &id, "--reason", "mistaken"]).ok();
        let report = bench.json(&["dead-letters", "restore", "--group", "pay"]);
        assert_eq!(report, json!({"requested": 1, "restored": 1, "unchanged": 0, "unknown": 0}));
        let shown = letter(&bench, &id);
        assert_eq!((&shown["state"], &shown["reason"]), (&json!("open"), &Value::Null));
        bench.run(&["dead-letters", "restore", &"0".repeat(36)]).exits(3).prints("1 unknown");
        bench.run(&["dead-letters", "redrive", &id, "--dry-run"]).ok().prints("would redrive 1 dead letter");
        bench.run(&["verify"]).ok();
    }
}
