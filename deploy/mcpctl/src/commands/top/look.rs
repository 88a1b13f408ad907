//! One look at everything: presence from a live view, the rest asked of the server.

use std::collections::BTreeMap;

use mcp_agent_sdk::{Agents, AgentsView, Client, PresenceRecord, Priority};
use tokio::time::Instant;

use super::workflows::{Definition, Standings};
use crate::{
    failure::{Failure, chain},
    streams,
};

/// What was seen at one time.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) records: Vec<PresenceRecord>,
    /// By agent, in the order of [`Priority::ALL`].
    pub(super) lanes: BTreeMap<String, [Lane; 4]>,
    /// By agent.
    pub(super) dead: BTreeMap<String, u64>,
    /// Messages ever stored.
    pub(super) commands: u64,
    pub(super) events: u64,
    pub(super) workflows: Vec<Definition>,
}

/// What the server says of a lane. A pack counts as one message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) queued: u64,
    pub(super) in_work: u64,
    /// Of those in work, those that were delivered before.
    pub(super) again: u64,
    /// Deliveries ever made.
    pub(super) delivered: u64,
}

/// Whoever looks again and again.
#[derive(Debug)]
pub(super) struct Observer {
    client: Client,
    view: AgentsView,
    standings: Standings,
}

impl Observer {
    pub(super) async fn begin(client: &Client) -> Result<Self, Failure> {
        let view = Agents::of(client).telling().watch().await;
        Ok(Self {
            client: client.clone(),
            view: view.map_err(|error| Failure::unreachable(chain(&error)))?,
            standings: Standings::default(),
        })
    }

    pub(super) async fn look(&mut self) -> Result<Look, Failure> {
        let looked = self.try_to_look().await;
        if looked.is_err() {
            self.standings.begin_anew();
        }
        looked
    }

    async fn try_to_look(&mut self) -> Result<Look, Failure> {
        let client = &self.client;
        let namespace = client.namespace();
        let (commands, events) = (namespace.commands_stream(), namespace.events_stream());
        let (lanes, dead, commands, events, ()) = tokio::try_join!(
            lanes(client),
            dead(client),
            stored(client, &commands),
            stored(client, &events),
            self.standings.read(client),
        )?;
        Ok(Look {
            at: Instant::now(),
            records: self.view.current(),
            lanes,
            dead,
            commands,
            events,
            workflows: self.standings.counted(),
        })
    }
}

async fn lanes(client: &Client) -> Result<BTreeMap<String, [Lane; 4]>, Failure> {
    let mut lanes: BTreeMap<String, [Lane; 4]> = BTreeMap::new();
    for info in streams::consumers(client, &client.namespace().commands_stream()).await? {
        let Some((agent, lane)) = streams::lane_of(&info.name) else {
            continue;
        };
        let place = Priority::ALL.iter().position(|other| *other == lane);
        let of_agent = lanes.entry(agent.to_owned()).or_default();
        if let Some(slot) = place.and_then(|place| of_agent.get_mut(place)) {
            *slot = Lane {
                queued: info.num_pending,
                in_work: info.num_ack_pending as u64,
                again: info.num_redelivered as u64,
                delivered: info.delivered.consumer_sequence,
            };
        }
    }
    unclaimed(client, &mut lanes).await?;
    Ok(lanes)
}

/// Commands for agents that have never run: there is no consumer that would count them.
async fn unclaimed(
    client: &Client,
    lanes: &mut BTreeMap<String, [Lane; 4]>,
) -> Result<(), Failure> {
    let namespace = client.namespace();
    let stream = streams::existing(client.jetstream(), &namespace.commands_stream()).await?;
    let subjects = streams::subjects(&stream, &format!("{namespace}.cmd.>")).await?;
    let mut found: BTreeMap<String, [Lane; 4]> = BTreeMap::new();
    for (subject, count) in subjects {
        let mut tokens = subject.split('.').skip(2);
        let (Some(agent), Some(lane)) = (tokens.next(), tokens.next()) else {
            continue;
        };
        let place = Priority::ALL
            .iter()
            .position(|other| other.as_str() == lane);
        if let Some(place) = place.filter(|_| !lanes.contains_key(agent)) {
            found.entry(agent.to_owned()).or_default()[place].queued += count as u64;
        }
    }
    lanes.append(&mut found);
    Ok(())
}

async fn dead(client: &Client) -> Result<BTreeMap<String, u64>, Failure> {
    let name = client.namespace().dead_letters_stream();
    let stream = streams::existing(client.jetstream(), &name).await?;
    let subjects = streams::subjects(&stream, &format!("{}.dead.>", client.namespace())).await?;
    let mut dead: BTreeMap<String, u64> = BTreeMap::new();
    for (subject, count) in subjects {
        let agent = subject.split('.').nth(2).unwrap_or_default();
        *dead.entry(agent.to_owned()).or_default() += count as u64;
    }
    Ok(dead)
}

async fn stored(client: &Client, stream: &str) -> Result<u64, Failure> {
    let info = streams::info(client.jetstream(), stream).await?;
    Ok(info.map_or(0, |info| info.state.last_sequence))
}
