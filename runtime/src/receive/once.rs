//! Commands whose outcome is stored: reserve the key, run, write the outcome, and only then answer.
//!
//! What it decides, and when, is in [`decision`], which is pure.

mod decision;
#[cfg(test)]
mod simulation;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    failpoint::failpoint,
    message::{Command, McpError, Recovery, Reply, code, new_message_id},
    outcome::{
        Boarding, Found, OutcomeError, OutcomeKey, OutcomeRecord, OutcomeState, Reservation,
    },
};

use super::{
    Shared,
    again::again,
    bulkhead::Berth,
    execute::{Ended, Fence, cancelled_error},
    inbound::{Inbound, MAX_DEATHS},
    slots::Slot,
    verdict::Verdict,
};

use decision::{Action, Asking, Conclusion, Looks, conclude};

/// Between two looks at a key that another process has: quick at first, then every second.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Between two tries to renew a reservation while the server is away.
const RENEWAL_PAUSE: Duration = Duration::from_millis(300);

/// What a command needs to run, as far as it has it.
struct Turn<'a> {
    slot: &'a mut Slot,
    /// `None` until it is taken, and while it is given back.
    berth: Option<Berth>,
    admission: Result<Option<Duration>, McpError>,
    began: Instant,
}

impl Shared {
    /// Takes a command with an outcome through to its verdict.
    pub(super) async fn once(
        self: &Arc<Self>,
        inbound: &Inbound,
        command: &Arc<Command>,
        key: &OutcomeKey,
        admission: Result<Option<Duration>, McpError>,
        slot: &mut Slot,
    ) -> Verdict {
        let began = Instant::now();
        let _flight = loop {
            if let Some(record) = self
                .outcomes
                .cached(key)
                .filter(|record| record.parameters_sha256 == key.parameters_sha256)
            {
                return self.replay(inbound, command, &record);
            }
            match self.outcomes.board(key) {
                Boarding::Mine(flight) => break flight,
                Boarding::Wait(over) => {
                    if let Some(verdict) = self.step_aside(inbound, command, slot) {
                        return verdict;
                    }
                    if let Some(verdict) = self.wait(inbound, command, over.cancelled()).await {
                        return verdict;
                    }
                }
            }
        };
        let mut turn = Turn {
            slot,
            berth: None,
            admission,
            began,
        };
        let mut reservation = match self.reserve(inbound, command, key, &mut turn).await {
            Ok(reservation) => reservation,
            Err(verdict) => return *verdict,
        };
        failpoint("outcome.reserved");
        // The berth is held to the end.
        let Turn {
            berth: _berth,
            admission,
            ..
        } = turn;
        let admission = admission
            .and_then(|remaining| still_worth_it(remaining, began.elapsed()))
            .and_then(|remaining| survivable(inbound, &reservation.record).map(|()| remaining));
        let attempt = self.attempt_of(command, &reservation.record);
        let answerer = inbound.answerer(self, &command.id, attempt.attempt);
        let started = Instant::now();
        let ended = match admission {
            Err(refusal) => Ended::With(Err(refusal)),
            Ok(remaining) => {
                let fence = Fence {
                    revision: reservation.revision(),
                    overtaken: CancellationToken::new(),
                };
                let (overtaken, done) = (fence.overtaken.clone(), CancellationToken::new());
                let executing = async {
                    let ended = self
                        .execute(inbound, &attempt, &answerer, remaining, Some(fence))
                        .await;
                    done.cancel();
                    ended
                };
                // Joined, not raced: a renewal dropped in the middle would leave its revision unknown.
                let keeping = self.keep(&mut reservation, &done, &overtaken);
                tokio::join!(executing, keeping).0
            }
        };
        inbound.processing.once("executed");
        let outcome = match ended {
            Ended::With(outcome) => outcome,
            Ended::Abandoned => return self.abandoned(inbound, &answerer),
        };
        let mut errors = reservation.record.errors.clone();
        errors.extend(outcome.as_ref().err().cloned());
        let frame = self.frame(&answerer, outcome, started.elapsed());
        self.conclude(inbound, reservation, key, command, frame, errors)
            .await
    }

    /// Waits for the key, and takes it.
    async fn reserve(
        &self,
        inbound: &Inbound,
        command: &Command,
        key: &OutcomeKey,
        turn: &mut Turn<'_>,
    ) -> Result<Reservation, Box<Verdict>> {
        // Mostly there is nothing yet: the first try saves the look.
        let mut found = Found::default();
        let mut pause = FIRST_LOOK;
        let mut looks = Looks::default();
        let asking = Asking {
            sequence: inbound.info.stream_sequence,
            command_id: &command.id,
            parameters_sha256: &key.parameters_sha256,
            instance: self.instance.as_str(),
        };
        loop {
            match looks.decide(&found, &asking, Instant::now()) {
                Action::Replay => {
                    let record = found.record.as_ref().expect("only a record is replayed");
                    return Err(Box::new(self.replay(inbound, command, record)));
                }
                Action::Conflict => {
                    inbound.processing.once("conflict");
                    let error = McpError::permanent(code::IDEMPOTENCY_CONFLICT)
                        .message("the idempotency key was used before, with other parameters");
                    return Err(Box::new(self.refuse(inbound, command, error)));
                }
                Action::Wait => {
                    // Others of its action may run meanwhile.
                    turn.berth = None;
                    // Stored anew it would no longer be the message that it inherits from.
                    if looks.inherits() {
                        turn.slot.step_aside();
                    } else if let Some(verdict) = self.step_aside(inbound, command, turn.slot) {
                        return Err(Box::new(verdict));
                    }
                    if let Some(verdict) = self.wait(inbound, command, sleep(pause)).await {
                        return Err(Box::new(verdict));
                    }
                    pause = (pause * 2).min(LAST_LOOK);
                }
                Action::Take => {
                    // The place first: a reservation would pass while its command waits for one.
                    self.take_place(inbound, command, turn).await?;
                    let errors = looks.errors(&found);
                    let record = self.reserved(inbound, command, key, errors);
                    match self
                        .outcomes
                        .bucket()
                        .reserve(&key.key, found.revision, record)
                        .await
                    {
                        Ok(reservation) => return Ok(reservation),
                        Err(OutcomeError::Conflict) => {
                            // On a cluster the next look may be at a replica that lags behind.
                            sleep(FIRST_LOOK / 4).await;
                        }
                        Err(error) => {
                            return Err(Box::new(self.unavailable(inbound, command, &error)));
                        }
                    }
                }
            }
            found = match self.outcomes.bucket().read(&key.key).await {
                Ok(found) => found,
                Err(error) => return Err(Box::new(self.unavailable(inbound, command, &error))),
            };
        }
    }

    /// Takes all that a command needs to run: its action's berth, and a place.
    async fn take_place(
        &self,
        inbound: &Inbound,
        command: &Command,
        turn: &mut Turn<'_>,
    ) -> Result<(), Box<Verdict>> {
        if turn.berth.is_none() && turn.admission.is_ok() {
            match self.berth(inbound, command, turn.slot).await {
                Ok(berth) => turn.berth = Some(berth),
                // Whoever submitted it asks for its outcome: that it was cancelled is one.
                Err(verdict)
                    if verdict.is_final() && inbound.lease.is_some() && command.retry.is_some() =>
                {
                    turn.admission = Err(cancelled_error());
                }
                Err(verdict) => return Err(verdict),
            }
        }
        if let Some(verdict) = self.wait(inbound, command, turn.slot.step_back()).await {
            return Err(Box::new(verdict));
        }
        let worth = turn.admission.clone();
        match worth.and_then(|remaining| still_worth_it(remaining, turn.began.elapsed())) {
            // Not an outcome: with the same key it may be tried again.
            Err(refusal) if command.retry.is_none() => {
                Err(Box::new(self.refuse(inbound, command, refusal)))
            }
            _ => Ok(()),
        }
    }

    fn reserved(
        &self,
        inbound: &Inbound,
        command: &Command,
        key: &OutcomeKey,
        errors: Vec<McpError>,
    ) -> OutcomeRecord {
        OutcomeRecord {
            state: OutcomeState::Reserved,
            command_id: command.id.clone(),
            parameters_sha256: key.parameters_sha256.clone(),
            owner: self.instance.to_string(),
            errors,
            response: None,
            sequence: inbound.info.stream_sequence,
        }
    }

    /// Waits for `change`; a verdict when the command is not to wait any longer.
    pub(super) async fn wait(
        &self,
        inbound: &Inbound,
        command: &Command,
        change: impl Future<Output = ()>,
    ) -> Option<Verdict> {
        let running = self.cancellations.enter(&command.id);
        let lost = inbound
            .lease
            .as_ref()
            .map(|lease| lease.lost().clone())
            .unwrap_or_default();
        tokio::select! {
            // What need not wait is not cancelled here but where it runs, with an outcome.
            biased;
            () = change => None,
            () = running.token.cancelled() => {
                let error = McpError::permanent(code::CANCELLED).message("cancelled while it waited for its turn");
                Some(self.refuse(inbound, command, error))
            }
            () = lost.cancelled() => Some(Verdict::Abandon),
            () = self.abandon.cancelled() => Some(Verdict::Abandon),
        }
    }

    /// Renews a reservation until the work is done, or somebody else has the key.
    async fn keep(
        &self,
        reservation: &mut Reservation,
        done: &CancellationToken,
        overtaken: &CancellationToken,
    ) {
        while done
            .run_until_cancelled(sleep_until(reservation.renew_at()))
            .await
            .is_some()
        {
            match self.outcomes.bucket().renew(reservation).await {
                Ok(()) => failpoint("outcome.renewed"),
                Err(OutcomeError::Conflict) => {
                    tracing::warn!("the reservation of an idempotency key is lost");
                    return overtaken.cancel();
                }
                Err(error) => {
                    tracing::debug!(%error, "a reservation could not be renewed");
                    done.run_until_cancelled(sleep(RENEWAL_PAUSE)).await;
                }
            }
        }
    }

    /// Writes the outcome; what is not written is not answered.
    async fn conclude(
        &self,
        inbound: &Inbound,
        mut reservation: Reservation,
        key: &OutcomeKey,
        command: &Command,
        frame: Reply,
        errors: Vec<McpError>,
    ) -> Verdict {
        failpoint("outcome.before_write");
        let bucket = self.outcomes.bucket();
        let failed = frame.error.as_ref().filter(|error| error.is_temporary());
        let retry = command
            .retry
            // Only what is stored can come again.
            .filter(|_| failed.is_some() && inbound.lease.is_some())
            .and_then(|policy| again(&policy, &errors));
        let mut record = OutcomeRecord {
            errors: errors.clone(),
            ..reservation.record.clone()
        };
        let chosen_key = command.idempotency_key.is_some();
        let conclusion = conclude(failed.is_some(), retry.is_some(), chosen_key);
        if conclusion == Conclusion::Failing {
            record.state = OutcomeState::Failing;
        } else {
            record.state = OutcomeState::Done;
            record.response = Some(frame.clone());
        }
        let written = match conclusion {
            Conclusion::Released => bucket.release(&mut reservation, &record).await,
            Conclusion::Failing | Conclusion::Done => {
                bucket.complete(&mut reservation, &record).await
            }
        };
        inbound
            .processing
            .persisted("record_outcome", written.is_ok());
        match written {
            Ok(()) => failpoint("outcome.written"),
            Err(error) => {
                tracing::warn!(%error, "the outcome could not be written, the command is left to its next owner");
                return Verdict::Abandon;
            }
        }
        self.outcomes.remember(key, record);
        match retry {
            Some(after) => Verdict::Retry {
                after,
                elsewhere: failed.is_some_and(|error| error.recovery == Recovery::RetryElsewhere),
                failures: u32::try_from(errors.len()).unwrap_or(u32::MAX),
            },
            // The attempts that failed before a success are no reason for a dead letter.
            None if frame.error.is_none() => Verdict::end(frame, Vec::new()),
            None => Verdict::end(frame, errors),
        }
    }

    /// The stored answer to a command that would be refused: what is done stays done, however late its
    /// redelivery comes.
    pub(super) async fn done_already(
        &self,
        inbound: &Inbound,
        command: &Command,
        key: &OutcomeKey,
    ) -> Option<Verdict> {
        let found = self.outcomes.bucket().read(&key.key).await.ok()?;
        let record = found
            .record
            .filter(|record| record.is_done() && !found.released)?;
        let same = record.parameters_sha256 == key.parameters_sha256;
        same.then(|| self.replay(inbound, command, &record))
    }

    /// Answers with a stored outcome.
    fn replay(&self, inbound: &Inbound, command: &Command, record: &OutcomeRecord) -> Verdict {
        let Some(stored) = &record.response else {
            return Verdict::Abandon;
        };
        let mut frame = stored.clone();
        // A message of its own: a large one would otherwise claim the object of the first.
        frame.id = new_message_id();
        frame.command_id.clone_from(&command.id);
        frame.attempt = command.attempt;
        frame.replayed = true;
        frame.load = Some(self.load.load());
        let errors = match (&stored.error, record.errors.is_empty()) {
            (Some(error), true) => vec![error.clone()],
            (Some(_), false) => record.errors.clone(),
            (None, _) => Vec::new(),
        };
        inbound.processing.once("replayed");
        tracing::debug!(
            sequence = inbound.info.stream_sequence,
            "answered with a stored outcome"
        );
        Verdict::end(frame, errors)
    }

    pub(super) fn refuse(&self, inbound: &Inbound, command: &Command, error: McpError) -> Verdict {
        let answerer = inbound.answerer(self, &command.id, command.attempt);
        Verdict::end(
            self.frame(&answerer, Err(error.clone()), Duration::ZERO),
            vec![error],
        )
    }

    /// Without its record a command with a key must not run.
    fn unavailable(&self, inbound: &Inbound, command: &Command, error: &OutcomeError) -> Verdict {
        tracing::error!(%error, "an outcome record cannot be accessed, the command stays queued");
        match inbound.lease {
            Some(_) => Verdict::Abandon,
            None => {
                let error =
                    McpError::temporary(code::TRANSPORT_UNAVAILABLE).message(error.to_string());
                self.refuse(inbound, command, error)
            }
        }
    }

    /// The command as its handler sees it: attempts of the runtime count on.
    fn attempt_of(&self, command: &Arc<Command>, record: &OutcomeRecord) -> Arc<Command> {
        let failures = u32::try_from(record.errors.len()).unwrap_or(u32::MAX);
        match failures {
            0 => Arc::clone(command),
            _ => Arc::new(Command {
                attempt: command.attempt.saturating_add(failures),
                ..(**command).clone()
            }),
        }
    }
}

/// Waiting for the key may have taken what was left.
pub(super) fn still_worth_it(
    remaining: Option<Duration>,
    waited: Duration,
) -> Result<Option<Duration>, McpError> {
    match remaining.map(|remaining| remaining.checked_sub(waited)) {
        None => Ok(None),
        Some(Some(remaining)) => Ok(Some(remaining)),
        Some(None) => Err(McpError::permanent(code::DEADLINE_EXCEEDED)
            .message("its time passed while it waited for its turn")),
    }
}

/// Deliveries beyond the recorded failures have killed their workers.
fn survivable(inbound: &Inbound, record: &OutcomeRecord) -> Result<(), McpError> {
    let deaths = inbound
        .info
        .deliveries
        .saturating_sub(record.errors.len() as u64);
    match deaths > MAX_DEATHS {
        true => Err(inbound.poison()),
        false => Ok(()),
    }
}
