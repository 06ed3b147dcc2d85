//! Tests of the laws themselves: a store with one deliberate fault must not pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod faulty;

use conformance::laws;
use faulty::{Fault, FaultyHarness};

/// Returns whether the store passes a law.
async fn passes(law: impl Future<Output = ()> + Send + 'static) -> bool {
    tokio::spawn(law).await.is_ok()
}

async fn agrees_with_the_model(fault: Fault) -> bool {
    passes(async move { laws::model::agrees_with_the_model(&FaultyHarness(fault)).await }).await
}

#[tokio::test]
async fn a_store_without_fault_agrees_with_the_model() {
    assert!(agrees_with_the_model(Fault::None).await);
}

#[tokio::test]
async fn no_fault_escapes_the_model() {
    for fault in [
        Fault::AlwaysEach,
        Fault::LosesTheLastOfAPage,
        Fault::ForgetsTheMark,
        Fault::NewestFirstSkipsTheFirst,
        Fault::CountsWithoutTheUpperEdge,
        Fault::IgnoresHolds,
        Fault::DryRunTrims,
        Fault::ForgetsOneReplay,
        Fault::LosesIndexEntries,
        Fault::AlwaysReplaces,
    ] {
        assert!(!agrees_with_the_model(fault).await, "{fault:?} was not found");
    }
}

async fn groups_agree_with_the_model(fault: Fault) -> bool {
    passes(async move { laws::groups_model::groups_agree_with_the_model(&FaultyHarness(fault)).await }).await
}

#[tokio::test]
async fn a_store_without_fault_agrees_with_the_model_of_groups() {
    assert!(groups_agree_with_the_model(Fault::None).await);
}

#[tokio::test]
async fn no_fault_of_groups_escapes_their_model() {
    for fault in [
        Fault::AcceptsFencedCommits,
        Fault::CommitsHalf,
        Fault::ForgetsTheClaim,
        Fault::LeasesTwice,
        Fault::LosesResults,
        Fault::WithdrawsWhatWasClaimed,
        Fault::RedrivesTwice,
    ] {
        // A few random rounds may miss a fault. Three runs find it.
        let mut agrees = true;
        for _ in 0..3 {
            agrees &= groups_agree_with_the_model(fault).await;
        }
        assert!(!agrees, "{fault:?} was not found");
    }
}

/// Each fault, with the law that finds it. A store without the fault passes the law.
macro_rules! faults {
    ($($test:ident: $fault:ident by $room:ident::$law:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let law = |fault| async move { laws::$room::$law(&FaultyHarness(fault)).await };
            assert!(passes(law(Fault::None)).await, "a store without fault passes");
            assert!(!passes(law(Fault::$fault)).await, "the fault was not found");
        }
    )*};
}

faults! {
    a_store_that_ignores_expectations_is_found:
        IgnoresExpectations by expecting::an_event_that_is_ruled_out_refuses_the_batch;
    a_store_that_checks_expectations_too_early_is_found:
        ChecksExpectationsTooEarly by expecting::of_eight_callers_with_one_expectation_one_succeeds;
    a_store_that_loses_decisions_is_found:
        ChecksExpectationsTooEarly by expecting::decisions_behind_what_was_read_are_one_sequence;
    a_store_that_accepts_fenced_commits_is_found:
        AcceptsFencedCommits by commits::a_commit_under_an_old_lease_is_fenced_and_changes_nothing;
    a_store_that_keeps_half_of_a_commit_is_found: CommitsHalf by commits::a_commit_is_kept_whole;
    a_store_that_forgets_the_claim_is_found:
        ForgetsTheClaim by leases::a_lease_gives_the_state_as_the_last_commit_left_it;
    a_store_that_leases_a_good_lease_is_found: LeasesTwice by leases::a_good_lease_is_not_taken;
    a_store_that_leases_a_segment_twice_at_once_is_found:
        LeasesTwice by leases::eight_consumers_at_once_never_share_a_segment;
    a_store_that_ignores_who_leaves_is_found:
        NeverLeaves by leases::leaving_frees_segments_and_changes_nothing_else;
    a_store_that_ignores_the_runner_is_found:
        IgnoresTheRunner by lanes::enqueue_under_an_old_replay_lease_adds_nothing;
    a_store_that_loses_results_is_found: LosesResults by lanes::a_batch_that_is_done_leaves_its_result;
    a_store_that_withdraws_what_was_claimed_is_found:
        WithdrawsWhatWasClaimed by lanes::withdrawing_removes_what_was_not_handed_over;
    a_store_that_trims_what_groups_need_is_found:
        IgnoresGroupHolds by holding::trim_keeps_what_a_group_has_not_passed;
    a_store_that_trims_what_replays_need_is_found:
        IgnoresReplayHolds by holding::trim_keeps_what_a_replay_needs_until_it_is_over;
    a_store_that_takes_the_lag_for_what_is_pending_is_found:
        CountsTheLag by pending::what_is_pending_is_what_a_scan_finds_unfinished;
    a_store_that_loses_sight_of_letters_is_found:
        LosesSightOfLetters by deliveries::a_delivery_names_the_dead_letter_of_its_position;
    a_store_that_loses_gaps_is_found: LosesGaps by holding::a_gap_names_what_was_removed_before_it_was_passed;
    a_store_that_skips_claimed_events_is_found:
        SkipsClaimedEvents by passed::a_reset_skips_no_event_that_a_consumer_claimed;
    a_store_that_redrives_a_letter_twice_is_found:
        RedrivesTwice by dead_letters::redrive_queues_each_open_letter_once;
    a_store_that_redrives_for_two_callers_is_found:
        RedrivesTwice by dead_letters::four_redrives_at_once_queue_once;
    a_store_that_releases_no_parked_key_is_found:
        ReleasesNothing by dead_letters::discard_closes_with_a_reason_and_releases_a_parked_key;
    a_store_that_purges_too_much_is_found:
        PurgesAllThatIsClosed by dead_letters::purging_removes_what_was_closed_before;
    a_store_that_appends_twice_is_found:
        AppendsTwice by schedule::what_is_due_is_appended_in_its_turn;
    a_store_that_appends_for_each_of_two_callers_is_found:
        AppendsTwice by schedule::four_callers_at_once_append_each_due_event_once;
    a_store_that_leaves_due_events_in_the_schedule_is_found:
        LeavesSomeInTheSchedule by schedule::append_due_is_empty_only_when_nothing_is_due;
    a_store_that_appends_early_is_found: AppendsEarly by schedule::what_is_not_due_is_not_appended;
    a_store_that_shares_replays_is_found: SharesReplays by replay_records::a_replay_has_one_runner;
    a_store_that_forgets_commands_is_found: ForgetsCommands by replay_records::a_command_turns_a_replay_that_is_not_over;
    a_store_that_loses_a_counter_is_found: LosesACounter by stats::counts_and_sums_add_up;
    a_store_that_folds_nothing_is_found: FoldsNothing by stats::folding_adds_to_minute_0_and_loses_nothing;
    a_store_that_counts_no_event_is_found: CountsNoEvent by stats::events_are_counted_as_a_scan_counts_them;
}
