//! Erasing an entity: its events go for good, their ids are refused from then on, and the server's memory keeps no byte of
//! them.

use domain::{
    Entity, OrderingKey, StorageFailure,
    group::{Key, segment_of},
    ports::{Erased, EventStoreError, Keeps},
};
use redis::{FromRedisValue, Value, cmd};

use crate::{
    append::ERASED,
    dictionary::Posted,
    failure::shape,
    group_rows::{GroupKeys, ledger_field},
    keys::{Digest, chunk_of},
    partition::Partition,
    remove::{AT_ONCE, Going, Mode, Removal, Seen},
    rows::Entry,
    schedule::erase_scheduled,
    state::{PARTITION, PARTITIONS},
    tries::Tries,
    walk::LogWalk,
    write::{Write, Written},
};

/// Erases every event that names the entity.
pub(crate) async fn erase(store: &Partition, entity: &Entity) -> Result<Erased, EventStoreError> {
    let mut erased = Erased::default();
    // First what may yet go into the log, last what may yet be made of what is in it.
    for event in erase_scheduled(store, entity).await? {
        erased.events += 1;
        erased.bytes += event.size_bytes() as u64;
    }
    let unreadable = match store.keeps() {
        Keeps::History => erase_indexed(store, entity, &mut erased).await.map(|()| 0)?,
        Keeps::Deliveries => erase_all_over(store, entity, &mut erased).await?,
    };
    erase_letters(store, entity, &mut erased).await?;
    forget_key(store, entity).await?;
    scrub(store, &mut erased).await?;
    if unreadable > 0 {
        erased.remains.push(format!(
            "{unreadable} damaged events, which can no longer say what they are about; `event-replay verify` names them"
        ));
    }
    if erased.events > 0 {
        erased.remains.extend(copies(store).await);
    }
    Ok(erased)
}

/// Erases what the index finds. A damaged event that it finds goes too: what it was about, the index still knows.
async fn erase_indexed(
    store: &Partition,
    entity: &Entity,
    erased: &mut Erased,
) -> Result<(), EventStoreError> {
    let digest = Digest::of_entity(&entity.kind, &entity.id);
    let mut tries = Tries::new();
    // Entries that lead to no event of the entity stay, for `verify` to find.
    let mut passed = 0;
    loop {
        let seen = store.seen().await?;
        let sequences = posted(store, digest, passed).await?;
        if sequences.is_empty() {
            return Ok(());
        }
        let found = store.entries_at(&sequences).await?;
        let named = |entry: &Entry| entry.event.as_ref().map_or(true, |event| event.names(entity));
        let mut going: Vec<Going> = found.into_iter().filter(named).map(Going::from).collect();
        going.sort_unstable_by_key(|one| one.sequence);
        if going.is_empty() {
            passed += sequences.len();
            continue;
        }
        if erase_some(store, &seen, &going, erased).await? {
            tries = Tries::new();
        } else {
            tries.again().await?;
        }
    }
}

/// Erases events, which rise, up to the first of another chunk. Whether it was done: not where others were quicker.
async fn erase_some(
    store: &Partition,
    seen: &Seen,
    going: &[Going],
    erased: &mut Erased,
) -> Result<bool, StorageFailure> {
    let chunk = |one: &Going| chunk_of(one.sequence);
    let Some(page) = going.chunk_by(|one, other| chunk(one) == chunk(other)).next() else { return Ok(true) };
    let page = page.get(..AT_ONCE).unwrap_or(page);
    let also = seen.undisturbed(&store.keys().meta());
    match store.remove_events(page, Mode::Erase, &also).await? {
        Removal::Overtaken => Ok(false),
        Removal::Done { events, .. } => {
            erased.events += events;
            erased.bytes += page.iter().map(|one| one.bytes).sum::<u64>();
            Ok(true)
        }
    }
}

/// Some sequences that the index has of a term, but for the first.
async fn posted(store: &Partition, digest: Digest, but: usize) -> Result<Vec<u64>, StorageFailure> {
    let value = store.values_of(&[digest]).await?.pop().unwrap_or(Value::Nil);
    let Value::BulkString(value) = value else { return Ok(Vec::new()) };
    match Posted::read(&value) {
        Posted::Packed(sequences) => Ok(sequences.into_iter().skip(but).collect()),
        Posted::List => {
            let mut command = cmd("LRANGE");
            command.arg(store.keys().promoted(digest)).arg(but).arg(but + AT_ONCE - 1);
            FromRedisValue::from_redis_value(store.link().read(&command).await?)
                .map_err(|_| shape("the positions of an entity"))
        }
        _ => Ok(Vec::new()),
    }
}

/// Erases from a namespace that has no index of entities. How many events could not be read.
async fn erase_all_over(
    store: &Partition,
    entity: &Entity,
    erased: &mut Erased,
) -> Result<u64, EventStoreError> {
    let (mut unreadable, until) = (0, store.state().await?.head);
    let mut walk = LogWalk::new(store, until).await?;
    while let Some(found) = walk.next(store).await? {
        unreadable += found.iter().filter(|entry| entry.event.is_err()).count() as u64;
        let named = |entry: &Entry| entry.event.as_ref().is_ok_and(|event| event.names(entity));
        let named: Vec<u64> = found.iter().filter(|entry| named(entry)).map(|entry| entry.sequence).collect();
        for page in named.chunks(AT_ONCE) {
            let mut tries = Tries::new();
            loop {
                let seen = store.seen().await?;
                let going: Vec<Going> = store.entries_at(page).await?.into_iter().map(Going::from).collect();
                if erase_some(store, &seen, &going, erased).await? {
                    break;
                }
                tries.again().await?;
            }
        }
    }
    Ok(unreadable)
}

/// Erases the copies of events that dead letters are.
async fn erase_letters(
    store: &Partition,
    entity: &Entity,
    erased: &mut Erased,
) -> Result<(), EventStoreError> {
    // Buried before they go: an erasure that is cut short begins anew with them.
    for (_, event) in store.letters_naming(entity).await? {
        // Of an event and its copies one counts.
        if bury(store, event.id()).await? {
            erased.events += 1;
            erased.bytes += event.size_bytes() as u64;
        }
    }
    store.erase_dead_letters(entity).await?;
    Ok(())
}

/// Refuses an id from now on, if the log has no event of it; whether it was not refused before.
async fn bury(store: &Partition, id: &str) -> Result<bool, StorageFailure> {
    let (digest, meta) = (Digest::of_id(id), store.keys().meta());
    let mut tries = Tries::new();
    loop {
        if store.values_of(&[digest]).await?.pop() != Some(Value::Nil) {
            return Ok(false);
        }
        let known = store.known().await?;
        let bucket = store.keys().bucket(digest.bucket(known.level, known.split));
        let mut write = Write::new();
        write.fenced().if_is(&meta, "level", known.level.to_string()).if_is(
            &meta,
            "split",
            known.split.to_string(),
        );
        write.if_absent(&bucket, digest.0);
        write.hset(&bucket, &digest.0[..], ERASED).command("HINCRBY", &meta, ("fields", 1));
        if let Written::Done(_) = write.run(store.link(), &meta).await? {
            return Ok(true);
        }
        tries.again().await?;
    }
}

/// The keys of ledgers name entities too. Where their events are gone there is nothing to wait for.
async fn forget_key(store: &Partition, entity: &Entity) -> Result<(), StorageFailure> {
    let key = Key::new(&*entity.kind, &*entity.id);
    let ordering = OrderingKey { kind: &entity.kind, id: &entity.id };
    let mut write = Write::new();
    for group in store.all_groups().await? {
        let segment = segment_of(&ordering, PARTITION, PARTITIONS, group.row.spec.segments);
        let ledger = GroupKeys::new(store.keys(), group.name()).ledger(segment);
        write.hdel(&ledger, ledger_field(&key));
    }
    if !write.is_empty() {
        write.run(store.link(), &store.keys().meta()).await?;
    }
    Ok(())
}

/// Writes the chunks anew that something was erased from: also where an erasure before this one was cut short.
async fn scrub(store: &Partition, erased: &mut Erased) -> Result<(), EventStoreError> {
    let mut command = cmd("SMEMBERS");
    command.arg(store.unscrubbed());
    let mut chunks: Vec<u64> = FromRedisValue::from_redis_value(store.link().read(&command).await?)
        .map_err(|_| shape("the chunks that are to be written anew"))?;
    chunks.sort_unstable();
    let mut left = 0;
    for chunk in chunks {
        left += u64::from(!store.rewrite_chunk(chunk).await?);
    }
    if left > 0 {
        erased.remains.push(format!(
            "the memory of the Redis server, in {left} parts of the log that others removed events from meanwhile: erase \
             again when they have finished"
        ));
    }
    Ok(())
}

/// Where copies may be that no command of ours reaches.
async fn copies(store: &Partition) -> Vec<String> {
    let mut command = cmd("INFO");
    command.arg("persistence");
    // A user who may not ask is told of all there might be.
    let info: String = store
        .link()
        .read(&command)
        .await
        .ok()
        .and_then(|answer| FromRedisValue::from_redis_value(answer).ok())
        .unwrap_or_default();
    let mut remains = Vec::new();
    if !info.contains("aof_enabled:0") {
        remains.push(
            "the append-only file of the Redis server, until it is written anew: `redis-cli BGREWRITEAOF` does that now"
                .to_owned(),
        );
    }
    remains.push(
        "the snapshot (RDB file) that the Redis server wrote last, if it did: `redis-cli BGSAVE` writes a new one in its place"
            .to_owned(),
    );
    remains.push("the files of replicas: the same two commands on each of them".to_owned());
    remains.push("backups and exports that were made before".to_owned());
    remains
}
