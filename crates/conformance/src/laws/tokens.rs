//! Laws of the access tokens of clients.

use std::collections::BTreeSet;

use domain::{
    ports::Clock as _,
    token::{Role, TokenRecord, hash_of},
};

use super::{append::ODD, support::keep_newest};
use crate::{Bench, Draft, Harness};

fn token(bench: &Bench, id: &str, name: &str) -> TokenRecord {
    TokenRecord {
        id: id.to_owned(),
        name: name.to_owned(),
        roles: [Role::Read].into(),
        groups: BTreeSet::new(),
        created_at: bench.clock.now(),
        created_by: "ann@desk".to_owned(),
        expires_at: None,
        secret_hash: hash_of(name),
    }
}

/// Every handle reads each member of a token exactly as it was added, by id and in the list.
pub async fn a_token_comes_back_as_it_was_added(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let mut added = Vec::new();
    for (n, odd) in ODD.iter().enumerate() {
        let full = TokenRecord {
            roles: Role::ALL.iter().copied().take(n % 8).collect(),
            groups: [odd.to_string(), "mail".to_owned()].into(),
            created_by: odd.to_string(),
            expires_at: Some(bench.clock.now()),
            ..token(&bench, &format!("id-{n:02}"), odd)
        };
        assert!(bench.store.add_token(&full).await.unwrap());
        added.push(full);
    }
    let other = bench.storage.open().await;
    for token in &added {
        assert_eq!(other.token(&token.id).await.unwrap().as_ref(), Some(token));
    }
    assert_eq!(other.list_tokens().await.unwrap(), added);
    assert_eq!(other.token("id-99").await.unwrap(), None);
    bench.verify_is_clean().await;
}

/// A refused token does not change the existing one.
pub async fn an_id_or_a_name_is_not_given_twice(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let first = token(&bench, "a", "mailer");
    assert!(bench.store.add_token(&first).await.unwrap());
    for (id, name) in [("a", "mailer"), ("a", "other"), ("b", "mailer")] {
        let second = TokenRecord { secret_hash: hash_of("another"), ..token(&bench, id, name) };
        assert!(!bench.store.add_token(&second).await.unwrap(), "{id} {name}");
    }
    assert_eq!(bench.store.list_tokens().await.unwrap(), [first]);
}

/// If several handles add a token of the same name at the same time, exactly one succeeds.
pub async fn of_eight_that_add_a_name_one_does(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let adding = bench.handles(8).await.into_iter().enumerate().map(|(n, store)| {
        let token = token(&bench, &format!("id-{n}"), "mailer");
        tokio::spawn(async move { store.add_token(&token).await.unwrap().then_some(token) })
    });
    let mut won = Vec::new();
    for task in adding.collect::<Vec<_>>() {
        won.extend(task.await.unwrap());
    }
    assert_eq!(won.len(), 1);
    assert_eq!(bench.store.list_tokens().await.unwrap(), won);
}

/// A revoked token disappears immediately, and its id and name are free again.
pub async fn a_revoked_token_is_gone_from_every_handle(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let other = bench.storage.open().await;
    let (first, second) = (token(&bench, "a", "mailer"), token(&bench, "b", "stats"));
    for token in [&first, &second] {
        assert!(bench.store.add_token(token).await.unwrap());
    }
    assert!(other.token("a").await.unwrap().is_some());
    assert!(bench.store.revoke_token("a").await.unwrap());
    assert_eq!(other.token("a").await.unwrap(), None);
    assert_eq!(other.list_tokens().await.unwrap(), [second]);
    assert!(!other.revoke_token("a").await.unwrap());
    assert!(other.add_token(&first).await.unwrap());
    bench.verify_is_clean().await;
}

/// No removal of events removes tokens.
pub async fn trimming_and_erasing_leave_tokens(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let of_user = |n: usize| Draft::new(&format!("e-{n}")).with("userId", "u1").event();
    bench.store_all(&(0..4).map(of_user).collect::<Vec<_>>()).await;
    let own = token(&bench, "u1", "u1");
    assert!(bench.store.add_token(&own).await.unwrap());
    bench.trim(&keep_newest(1)).await;
    bench.erase("user", "u1").await;
    assert_eq!(bench.store.list_tokens().await.unwrap(), [own]);
}
