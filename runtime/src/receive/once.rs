//! Commands whose outcome is stored: reserve the key, run, write the outcome, and only then answer.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    message::{Command, McpError, Recovery, Reply, RetryPolicy, code, new_message_id},
    outcome::{
        Boarding, Found, OutcomeError, OutcomeKey, OutcomeRecord, OutcomeState, Reservation,
    },
};

use super::{
    Shared,
    execute::Ended,
    inbound::{Inbound, MAX_DEATHS},
    slots::Slot,
    verdict::Verdict,
};

/// Between two looks at a key that another process has: quick at first, then every second.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// What to do about a key, given what lies under it.
#[derive(Debug, PartialEq)]
enum Step {
    /// It has come to its end; the record says how.
    Replay,
    /// It was used with other parameters.
    Conflict,
    /// Another instance works on it.
    Wait,
    /// It may be reserved.
    Take,
}

fn step(
    found: &Found,
    key: &OutcomeKey,
    inbound: &Inbound,
    command: &Command,
    owner: &str,
) -> Step {
    let Some(record) = &found.record else {
        return Step::Take;
    };
    let same_message = record.sequence == inbound.info.stream_sequence && record.sequence != 0;
    if found.released {
        // Our own last attempt, whose acknowledgement was lost; anything else begins anew.
        return if same_message && record.command_id == command.id {
            Step::Replay
        } else {
            Step::Take
        };
    }
    if record.parameters_sha256 != key.parameters_sha256 {
        return Step::Conflict;
    }
    match record.state {
        OutcomeState::Done => Step::Replay,
        OutcomeState::Failing => Step::Take,
        // Our own, left by an execution that was abandoned: in this process nobody works on it now. Or
        // that of this very message, whose redelivery proves that its first owner has lost it.
        OutcomeState::Reserved if record.owner == owner || same_message => Step::Take,
        OutcomeState::Reserved => Step::Wait,
    }
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
                    slot.step_aside();
                    if let Some(verdict) = self.wait(inbound, command, over.cancelled()).await {
                        return verdict;
                    }
                }
            }
        };
        let mut reservation = match self.reserve(inbound, command, key, slot).await {
            Ok(reservation) => reservation,
            Err(verdict) => return *verdict,
        };
        slot.step_back().await;
        let admission = admission
            .and_then(|remaining| still_worth_it(remaining, began.elapsed()))
            .and_then(|remaining| survivable(inbound, &reservation.record).map(|()| remaining));
        let attempt = self.attempt_of(command, &reservation.record);
        let answerer = inbound.answerer(self, &command.id, attempt.attempt);
        let started = Instant::now();
        let ended = match admission {
            Err(refusal) => Ended::With(Err(refusal)),
            Ok(remaining) => {
                let fence = Some(reservation.revision());
                tokio::select! {
                    ended = self.execute(inbound, &attempt, &answerer, remaining, fence) => ended,
                    () = self.keep(&mut reservation) => Ended::Abandoned,
                }
            }
        };
        let outcome = match ended {
            Ended::With(outcome) => outcome,
            Ended::Abandoned => return self.abandoned(inbound, &answerer),
        };
        let mut errors = reservation.record.errors.clone();
        errors.extend(outcome.as_ref().err().cloned());
        let frame = self.frame(&answerer, outcome, started.elapsed());
        self.conclude(&reservation, key, command, frame, errors)
            .await
    }

    /// Waits for the key, and takes it.
    async fn reserve(
        &self,
        inbound: &Inbound,
        command: &Command,
        key: &OutcomeKey,
        slot: &mut Slot,
    ) -> Result<Reservation, Box<Verdict>> {
        // Mostly there is nothing yet: the first try saves the look.
        let mut found = Found::default();
        let mut pause = FIRST_LOOK;
        loop {
            match step(&found, key, inbound, command, self.instance.as_str()) {
                Step::Replay => {
                    let record = found.record.as_ref().expect("only a record is replayed");
                    return Err(Box::new(self.replay(inbound, command, record)));
                }
                Step::Conflict => {
                    let error = McpError::permanent(code::IDEMPOTENCY_CONFLICT)
                        .message("the idempotency key was used before, with other parameters");
                    return Err(Box::new(self.refuse(inbound, command, error)));
                }
                Step::Wait => {
                    slot.step_aside();
                    if let Some(verdict) = self.wait(inbound, command, sleep(pause)).await {
                        return Err(Box::new(verdict));
                    }
                    pause = (pause * 2).min(LAST_LOOK);
                }
                Step::Take => {
                    let errors = match found.released {
                        true => Vec::new(),
                        false => found
                            .record
                            .take()
                            .map(|record| record.errors)
                            .unwrap_or_default(),
                    };
                    let record = self.reserved(inbound, command, key, errors);
                    match self
                        .outcomes
                        .bucket()
                        .reserve(&key.key, found.revision, record)
                        .await
                    {
                        Ok(reservation) => return Ok(reservation),
                        Err(OutcomeError::Conflict) => {}
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
            () = change => None,
            () = running.token.cancelled() => {
                let error = McpError::permanent(code::CANCELLED).message("cancelled while it waited for its turn");
                Some(self.refuse(inbound, command, error))
            }
            () = lost.cancelled() => Some(Verdict::Abandon),
            () = self.abandon.cancelled() => Some(Verdict::Abandon),
        }
    }

    /// Renews a reservation for as long as it stands.
    async fn keep(&self, reservation: &mut Reservation) {
        loop {
            sleep_until(reservation.renew_at()).await;
            while let Err(error) = self.outcomes.bucket().renew(reservation).await {
                let lost = matches!(error, OutcomeError::Conflict)
                    || Instant::now() >= reservation.expires_at();
                if lost {
                    tracing::warn!(%error, "the reservation of an idempotency key is lost");
                    return;
                }
                sleep(Duration::from_millis(300)).await;
            }
        }
    }

    /// Writes the outcome; what is not written is not answered.
    async fn conclude(
        &self,
        reservation: &Reservation,
        key: &OutcomeKey,
        command: &Command,
        frame: Reply,
        errors: Vec<McpError>,
    ) -> Verdict {
        let bucket = self.outcomes.bucket();
        let failed = frame.error.as_ref().filter(|error| error.is_temporary());
        let retry = command
            .retry
            .filter(|_| failed.is_some())
            .and_then(|policy| again(&policy, &errors));
        let mut record = OutcomeRecord {
            errors: errors.clone(),
            ..reservation.record.clone()
        };
        let written = if retry.is_some() {
            record.state = OutcomeState::Failing;
            bucket.complete(reservation, &record).await
        } else {
            record.state = OutcomeState::Done;
            record.response = Some(frame.clone());
            // A key that was chosen by somebody is free again after a temporary error. An id is nobody
            // else's: its record tells whoever asks how it ended.
            match failed.is_some() && command.idempotency_key.is_some() {
                true => bucket.release(reservation, &record).await,
                false => bucket.complete(reservation, &record).await,
            }
        };
        match written {
            Ok(()) => {}
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

/// When the runtime tries again; `None` when the retries are spent. Of all the advice that the attempts
/// were given the smallest maximum holds; the latest delay is a floor.
fn again(policy: &RetryPolicy, errors: &[McpError]) -> Option<Duration> {
    let advised = errors
        .iter()
        .filter_map(|error| error.max_retries)
        .min()
        .unwrap_or(u32::MAX);
    let failures = u32::try_from(errors.len()).unwrap_or(u32::MAX);
    if failures > policy.max_retries.min(advised) {
        return None;
    }
    let exponent = failures.saturating_sub(1).min(40);
    let base = Duration::from_millis(policy.base_delay_ms.max(1));
    let ceiling = base
        .saturating_mul(2_u32.saturating_pow(exponent.min(31)))
        .min(Duration::from_millis(policy.max_delay_ms));
    let random = rand::rng().random_range(0.0..=1.0);
    let delay = ceiling.mul_f64(1.0 - policy.jitter * random);
    // Seen from outside the redelivery comes some milliseconds after the delay, never before it.
    Some(
        delay.max(
            errors
                .last()
                .and_then(|error| error.retry_delay)
                .unwrap_or_default(),
        ),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(max_retries: u32) -> RetryPolicy {
        RetryPolicy {
            max_retries,
            base_delay_ms: 100,
            max_delay_ms: 5_000,
            jitter: 0.0,
        }
    }

    #[test]
    fn the_runtime_follows_policy_and_advice() {
        let plain = McpError::temporary("E");
        let check = |max_retries, errors: &[McpError], expected: Option<u64>| {
            assert_eq!(
                again(&policy(max_retries), errors),
                expected.map(Duration::from_millis),
                "{errors:?}"
            );
        };
        check(3, std::slice::from_ref(&plain), Some(100));
        check(3, &[plain.clone(), plain.clone(), plain.clone()], Some(400));
        check(3, &vec![plain.clone(); 4], None);
        check(30, &vec![plain.clone(); 20], Some(5_000));
        check(0, std::slice::from_ref(&plain), None);
        check(9, &[plain.clone().max_retries(1), plain.clone()], None);
        check(9, &[plain.retry_after(Duration::from_secs(7))], Some(7_000));
    }

    proptest! {
        #[test]
        fn the_runtime_retries_never_too_soon_too_late_or_too_often(
            max_retries in 0_u32..8,
            base_delay_ms in prop_oneof![0_u64..2_000, any::<u64>()],
            max_delay_ms in prop_oneof![0_u64..20_000, any::<u64>()],
            jitter in 0.0..=1.0,
            advice in prop::collection::vec((prop::option::of(0_u32..8), prop::option::of(any::<u64>())), 1..12),
        ) {
            let policy = RetryPolicy { max_retries, base_delay_ms, max_delay_ms, jitter };
            let errors: Vec<McpError> = advice
                .iter()
                .map(|(max_retries, delay_ms)| {
                    let mut error = McpError::temporary("E");
                    error.max_retries = *max_retries;
                    error.retry_delay = delay_ms.map(Duration::from_millis);
                    error
                })
                .collect();
            let allowed = advice.iter().filter_map(|(max_retries, _)| *max_retries).fold(max_retries, u32::min);
            let delay = again(&policy, &errors);
            prop_assert_eq!(delay.is_some(), errors.len() <= allowed as usize);
            let Some(delay) = delay else { return Ok(()) };
            let doubled = u128::from(base_delay_ms.max(1)) << (errors.len() - 1);
            let ceiling = Duration::from_millis(u64::try_from(doubled).unwrap_or(u64::MAX).min(max_delay_ms));
            let advised = Duration::from_millis(advice[advice.len() - 1].1.unwrap_or_default());
            prop_assert!(delay >= advised);
            // Seconds and a part in a billion: what is left of a float after multiplying such lengths.
            let tolerance = ceiling.as_secs_f64() * 1e-9 + 1e-9;
            prop_assert!(delay.as_secs_f64() <= ceiling.max(advised).as_secs_f64() + tolerance);
            prop_assert!(delay.as_secs_f64() >= ceiling.as_secs_f64() * (1.0 - jitter) - tolerance);
        }
    }
}
