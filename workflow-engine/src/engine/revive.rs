//! Workflows that are parked go on when an engine comes that has their version.
//!
//! Whoever parks one leaves a note, and then looks whether such an engine is there; whoever comes shows itself, and then
//! looks for notes. So one of the two finds the other, however their steps fall.

use std::{sync::Arc, time::Duration};

use async_nats::HeaderMap;
use mcp_runtime::{
    Format, Name,
    transport::{self, StoreError},
};

use crate::{
    failpoint::failpoint,
    store::Parked,
    task::{Task, Verb},
};

use super::{
    effects::PUBLISH_TIME,
    home::{Home, PAUSE},
};

/// Presence may be lost without an end: a server that restarts has forgotten everyone, and what is parked meanwhile, by an
/// engine that was heard of first, finds nobody who comes anew. So engines look again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Of so many looks one is also for notes about versions that this engine does not bring: nobody may ever bring them again, and
/// what they are about may have been stopped or migrated.
const LOOK_AT_ALL: u64 = 20;

/// Wakes what is parked for want of the versions that this engine brings; ends with it.
pub(super) async fn parked(home: Arc<Home>) {
    let abandon = home.abandon.clone();
    let waking = async {
        for look in 0.. {
            for (name, family) in home.families() {
                for version in family.versions() {
                    until_woken(&home, name, version, look).await;
                }
                if look % LOOK_AT_ALL == 1
                    && let Err(error) = clear(&home, name).await
                {
                    tracing::warn!(%error, "old notes of parked workflows cannot be looked at");
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::select! {
        () = abandon.cancelled() => {}
        () = waking => {}
    }
}

async fn until_woken(home: &Home, definition: &Name, version: &str, look: u64) {
    loop {
        match wake_all(home, definition, version, look).await {
            Ok(true) => return,
            // Its own presence is not to be seen yet.
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "parked workflows cannot be found, trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether this engine shows, and all notes have been seen to.
async fn wake_all(
    home: &Home,
    definition: &Name,
    version: &str,
    look: u64,
) -> Result<bool, StoreError> {
    if !home.is_elsewhere(definition, version).await? {
        return Ok(false);
    }
    for parked in home.store.parked(definition, Some(version)).await? {
        match home.store.waiting(&parked).await? {
            // The note stays until the workflow is seen to have gone on: the wake may meet nobody who has the version.
            Some(record) => wake(home, &parked, record.epoch, look).await?,
            None => home.store.forget_parked(&parked).await?,
        }
    }
    Ok(true)
}

/// Removes notes that nobody will ever follow.
async fn clear(home: &Home, definition: &Name) -> Result<(), StoreError> {
    for parked in home.store.parked(definition, None).await? {
        if home.store.waiting(&parked).await?.is_none() {
            home.store.forget_parked(&parked).await?;
        }
    }
    Ok(())
}

/// The effect of parking, which `epoch` has written.
pub(super) async fn await_version(
    home: &Home,
    parked: &Parked,
    epoch: u64,
) -> Result<(), StoreError> {
    home.store.note_parked(parked, epoch).await?;
    failpoint("engine.parked");
    match home
        .is_elsewhere(&parked.definition, &parked.version)
        .await?
    {
        true => wake(home, parked, epoch, 0).await,
        false => Ok(()),
    }
}

async fn wake(home: &Home, parked: &Parked, epoch: u64, look: u64) -> Result<(), StoreError> {
    let id = parked.workflow_id.clone();
    let mut task = Task::new(Verb::Wake, parked.definition.clone(), id, home.now_ms());
    // Each engine's own, and of each look: another one may have met nobody.
    task.id = format!(
        "{}.{epoch}.{}.{look}.wake",
        parked.workflow_id, home.instance
    );
    task.entry = Some(0);
    task.version = Some(parked.version.clone());
    let body = task.encode().map_err(|error| StoreError::Refused {
        code: 0,
        description: error.to_string(),
    })?;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", task.id.as_str());
    headers.insert("Content-Type", Format::Msgpack.content_type());
    let subject = home.store.task_subject(&task);
    transport::publish(&home.client, subject, headers, body, PUBLISH_TIME)
        .await
        .map(drop)
}
