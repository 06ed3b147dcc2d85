//! Kept plans: created, shown, approved by another operator and run, on a file and on Redis.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Bench, ids, registered, some};
use serde_json::{Value, json};

/// Events that arrive between a plan and its run.
const LATER: usize = 10_000;

fn benches() -> Vec<Bench> {
    [Some(Bench::new()), Bench::on_redis()].into_iter().flatten().collect()
}

/// Sets a known operator and rules for approvals.
fn with_rule(bench: Bench) -> Bench {
    bench
        .env("EVENT_REPLAY_OPERATOR", "ann@desk")
        .env("EVENT_REPLAY_PLANS_APPROVAL_ABOVE", "3")
        .env("EVENT_REPLAY_PLANS_APPROVAL_TARGETS", "billing, exec:cat")
}

fn keep(bench: &Bench, args: &[&str]) -> Value {
    bench.json(&[&["replay"], args, &["--plan"]].concat())
}

fn id(plan: &Value) -> String {
    plan["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_kept_plan_sends_its_events_and_none_that_arrived_later() {
    for bench in benches() {
        bench.pipe(&["publish"], some()).ok();
        let planned = bench.json(&["replay", "--type", "user.*", "--dry-run"]);
        let kept = keep(&bench, &["--type", "user.*", "--target", "stdout"]);
        assert_eq!((&kept["totalEvents"], &kept["state"]), (&json!(3), &json!("READY")));
        assert_eq!(kept["byType"], json!({"user.registered": 3}));
        assert_eq!(kept["target"], "stdout");
        let later: Vec<String> = (0..LATER)
            .map(|n| registered(&format!("later-{n}"), &format!("user-{n}"), "2024-03-01T00:00:00Z"))
            .collect();
        bench.pipe(&["import", "-"], later.join("\n")).ok().prints("stored 10,000");
        let id = id(&kept);
        let said = bench.run(&["replay", "--apply", &id]).ok();
        assert_eq!(ids(&said.lines()), ["e1", "e2", "event-456789"]);
        // A new plan differs from the kept plan.
        let now = bench.json(&["replay", "--type", "user.*", "--dry-run"]);
        assert_eq!(now["totalEvents"], 3 + LATER);
        assert_ne!(now["planHash"], planned["planHash"]);
        // The audit has each step, and the replay names the plan.
        let actions = bench.json(&["audit", "list", "--limit", "3"]);
        let [replay, apply, create] = &actions.as_array().unwrap()[..] else { panic!("{actions}") };
        assert_eq!(
            [&create["action"], &apply["action"], &replay["action"]],
            ["plans create", "plans apply", "replay"]
        );
        assert_eq!((&replay["request"]["plan"], &create["subject"]), (&json!(id), &json!(id)));
        for action in [create, apply, replay] {
            assert_eq!(action["planHash"], kept["planHash"], "{action}");
        }
        let shown = bench.json(&["plans", "show", &id]);
        assert!(shown["applied"]["by"].is_string(), "{shown}");
        bench.run(&["verify"]).ok();
    }
}

#[test]
fn the_events_of_a_plan_are_paged_exactly() {
    for bench in benches() {
        bench.pipe(&["publish"], some()).ok();
        let kept = keep(&bench, &["--all", "--limit", "4", "--target", "stdout"]);
        bench.pipe(&["publish"], registered("late", "user-123", "2024-01-14T10:30:00Z")).ok();
        let id = id(&kept);
        let whole = bench.json(&["plans", "show", &id[..8], "--events"]);
        assert_eq!(ids(whole["events"].as_array().unwrap()), ["e1", "e2", "e3", "e4"]);
        assert!(whole["nextCursor"].is_null(), "{whole}");
        let (mut seen, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut args = vec!["plans", "show", &id, "--events", "--limit", "3"];
            args.extend(after.iter().flat_map(|after| ["--after", after.as_str()]));
            let page = bench.json(&args);
            seen.extend(ids(page["events"].as_array().unwrap()).into_iter().map(str::to_owned));
            after = page["nextCursor"].as_str().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["e1", "e2", "e3", "e4"]);
        bench.run(&["plans", "show", &id]).ok().prints("would replay 4 events").prints("payment.processed");
        bench.run(&["plans", "list"]).ok().prints("stdout").prints("ready");
        // An empty plan has no events.
        let none = keep(&bench, &["--type", "none", "--target", "stdout"]);
        assert_eq!(
            bench.json(&["plans", "show", none["id"].as_str().unwrap(), "--events"])["events"],
            json!([])
        );
        bench.run(&["plans", "delete", &id]).ok().prints("deleted plan");
        bench.run(&["plans", "show", &id]).exits(1).says("there is no plan").says("plans list");
        bench.run(&["replay", "--apply", &id, "--target", "stdout"]).exits(1).says("there is no plan");
    }
}

#[test]
fn a_plan_says_what_groups_it_reaches_and_goes_to_them_alone() {
    for bench in benches() {
        bench.pipe(&["publish"], some()).ok();
        bench.run(&["groups", "create", "mail", "--type", "user.*", "--at", "head"]).ok();
        bench.run(&["groups", "create", "billing", "--type", "payment.*", "--at", "start"]).ok();
        let kept = keep(&bench, &["--all", "--rate", "200"]);
        assert_eq!((&kept["target"], &kept["estimateMs"]), (&json!("groups"), &json!(0)));
        let reach: Vec<[Value; 4]> = kept["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| ["name", "consumers", "lag", "wouldTake"].map(|member| group[member].clone()))
            .collect();
        assert_eq!(json!(reach), json!([["billing", 0, 5, 2], ["mail", 0, 0, 3]]));
        // The replay does not reach a group that was created after the plan.
        bench.run(&["groups", "create", "later", "--at", "head"]).ok();
        let id = id(&kept);
        let started = bench.json(&["replay", "--apply", &id, "--detach"]);
        assert_eq!(started["groups"], json!(["billing", "mail"]));
        assert_eq!(started["planHash"], kept["planHash"]);
        let replay = bench.json(&["replays", "show", started["replayId"].as_str().unwrap()]);
        assert_eq!(replay["pace"], kept["pace"]);
        // The plan runs to no other target. A new group with the same name is refused too.
        bench
            .run(&["replay", "--apply", &id, "--target", "stdout"])
            .exits(1)
            .says("goes to groups, not to stdout");
        bench.run(&["groups", "delete", "mail", "--yes"]).ok();
        bench.run(&["groups", "create", "mail"]).ok();
        bench.run(&["replay", "--apply", &id, "--detach"]).exits(1).says("group mail of the plan");
    }
}

#[test]
fn what_was_erased_or_trimmed_since_is_named() {
    for bench in benches() {
        bench.pipe(&["publish"], some()).ok();
        let kept = keep(&bench, &["--all", "--target", "stdout"]);
        let positions: Vec<String> = bench.json(&["list", "--order", "asc"])["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stored| stored["position"].as_str().unwrap().to_owned())
            .collect();
        bench.run(&["erase", "user=user-456", "--yes"]).ok();
        bench.run(&["trim", "--max-events", "2", "--yes"]).ok();
        let said = bench.run(&["replay", "--apply", &id(&kept), "--target", "stdout"]).exits(3);
        assert_eq!(ids(&said.lines()), ["e3", "event-456789"]);
        let named = format!(
            "3 events were erased or trimmed since the plan was made: {}, {}, {}",
            positions[0], positions[1], positions[3]
        );
        said.says(&named);
    }
}

#[test]
fn a_replay_that_needs_an_approval_waits_for_another_operator() {
    for bench in benches().into_iter().map(with_rule) {
        bench.pipe(&["publish"], some()).ok();
        bench.run(&["groups", "create", "billing"]).ok();
        bench.run(&["groups", "create", "mail"]).ok();
        // The plans exceed the number of events, or have a named group or target.
        for (args, reason) in [
            (&["--all", "--target", "stdout"][..], "5 events are more than 3 events"),
            (&["--user-id", "user-123", "--group", "billing"], "plans.approval_targets names billing"),
            (&["--user-id", "user-123"], "plans.approval_targets names billing"),
            (&["--user-id", "user-123", "--target", "exec:cat -n"], "plans.approval_targets names exec:cat"),
        ] {
            let said = bench.run(&[&["replay"], args].concat()).exits(1).says(reason).says("--plan");
            assert_eq!(said.stdout, "");
        }
        bench.run(&["replay", "--user-id", "user-123", "--group", "mail", "--detach"]).ok();
        let kept = keep(&bench, &["--all", "--target", "stdout"]);
        let id = id(&kept);
        assert_eq!(kept["state"], "AWAITING_APPROVAL");
        let apply = ["replay", "--apply", &id, "--target", "stdout"];
        bench.run(&apply).exits(1).says("no other operator has approved the plan");
        bench.run(&["plans", "approve", &id]).exits(1).says("ann@desk made the plan");
        bench
            .run(&["plans", "approve", &id, "--operator", "bo@desk", "--hash", "other"])
            .exits(1)
            .says("hash");
        let approved = bench.json(&["plans", "approve", &id, "--operator", "bo@desk", "--reason", "checked"]);
        assert_eq!((&approved["state"], &approved["approval"]["by"]), (&json!("READY"), &json!("bo@desk")));
        bench
            .run(&["plans", "approve", &id, "--operator", "cy@desk"])
            .exits(1)
            .says("bo@desk approved the plan");
        assert_eq!(bench.run(&apply).ok().lines().len(), 5);
        // Each approval allows one run.
        bench.run(&apply).exits(1).says("no other operator has approved the plan");
        let shown = bench.json(&["plans", "show", &id]);
        assert_eq!(shown["applied"]["approval"]["by"], "bo@desk");
        // The audit has the completed and the refused steps.
        let steps: Vec<[Value; 3]> = bench
            .json(&["audit", "list", "--action", "plans"])
            .as_array()
            .unwrap()
            .iter()
            .rev()
            .map(|action| ["action", "operator", "outcome"].map(|member| action[member].clone()))
            .collect();
        let expected = json!([
            ["plans create", "ann@desk", "done"],
            ["plans apply", "ann@desk", "failed"],
            ["plans approve", "ann@desk", "failed"],
            ["plans approve", "bo@desk", "failed"],
            ["plans approve", "bo@desk", "done"],
            ["plans approve", "cy@desk", "failed"],
            ["plans apply", "ann@desk", "done"],
            ["plans apply", "ann@desk", "failed"],
        ]);
        assert_eq!(json!(steps), expected);
        // A plan that needs no approval cannot be approved.
        let small = keep(&bench, &["--user-id", "user-123", "--group", "mail"]);
        let small = small["id"].as_str().unwrap();
        bench.run(&["plans", "approve", small, "--operator", "bo@desk"]).exits(1).says("needs no approval");
    }
}

#[test]
fn changed_and_expired_plans_are_refused() {
    for bench in benches().into_iter().map(with_rule) {
        bench.pipe(&["publish"], some()).ok();
        let approve = |bench: &Bench, id: &str| bench.run(&["plans", "approve", id, "--operator", "bo@desk"]);
        let kept = keep(&bench, &["--all", "--target", "stdout"]);
        let approved = keep(&bench, &["--all", "--target", "stdout", "--batch-size", "3"]);
        approve(&bench, &id(&approved)).ok();
        bench.run(&["erase", "user=user-456", "--yes"]).ok();
        approve(&bench, &id(&kept)).exits(1).says("has changed: 2 events were erased or trimmed");
        let said = bench.run(&["replay", "--apply", &id(&approved), "--target", "stdout"]).exits(1);
        assert_eq!(said.stdout, "");
        said.says("has changed: 2 events were erased or trimmed").says("replay --plan");
        let bench = bench.env("EVENT_REPLAY_PLANS_VALID_FOR", "0s");
        let expired = keep(&bench, &["--user-id", "user-123", "--target", "stdout"]);
        assert_eq!(expired["state"], "EXPIRED");
        approve(&bench, &id(&expired)).exits(1).says("expired at");
        bench.run(&["replay", "--apply", &id(&expired), "--target", "stdout"]).exits(1).says("expired at");
    }
}

#[test]
fn a_plan_whose_record_was_altered_is_refused() {
    let bench = with_rule(Bench::new());
    bench.pipe(&["publish"], some()).ok();
    let kept = keep(&bench, &["--all", "--target", "stdout"]);
    bench.run(&["plans", "approve", &id(&kept), "--operator", "bo@desk"]).ok();
    let connection = rusqlite::Connection::open(bench.path("events.db")).unwrap();
    let change = |kind: domain::ports::engine::SpaceKind, from: &str, to: &str| {
        let sql = "UPDATE row SET value = replace(value, ?2, ?3) WHERE space = ?1";
        assert_eq!(connection.execute(sql, (kind.number(), from, to)).unwrap(), 1);
    };
    // The changed document selects other events.
    change(domain::ports::engine::SpaceKind::PlanDocument, r#""limit":null"#, r#""limit":2"#);
    let apply = ["replay", "--apply", &id(&kept), "--target", "stdout"];
    let said = bench.run(&apply).exits(1).says("the plan now has the hash");
    assert_eq!(said.stdout, "");
    bench.run(&["verify"]).ok();
}

#[test]
fn many_events_are_confirmed_by_hash_or_flag() {
    for bench in benches() {
        let bench = bench.env("EVENT_REPLAY_PLANS_CONFIRM_ABOVE", "2");
        bench.pipe(&["publish"], some()).ok();
        let replay = ["replay", "--type", "user.*", "--target", "stdout"];
        let said = bench.run(&replay).exits(2);
        assert_eq!(said.stdout, "");
        let said = said.says("this would send 3 events").says("1 type to stdout").says("--yes");
        let hash =
            bench.json(&["replay", "--type", "user.*", "--dry-run"])["planHash"].as_str().unwrap().to_owned();
        said.says(&hash);
        assert_eq!(bench.run(&[&replay[..], &["--yes"]].concat()).ok().lines().len(), 3);
        assert_eq!(bench.run(&[&replay[..], &["--hash", &hash]].concat()).ok().lines().len(), 3);
        bench.pipe(&["publish"], registered("late", "user-9", "2024-01-14T10:30:00Z")).ok();
        let said = bench.run(&[&replay[..], &["--hash", &hash]].concat()).exits(1).says("was confirmed");
        assert_eq!(said.stdout, "");
        // Two events are within the bound.
        bench.run(&["replay", "--user-id", "user-123", "--target", "stdout"]).ok();
    }
}
