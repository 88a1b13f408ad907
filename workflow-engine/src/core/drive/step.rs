//! The table of the machine: what is under way, what came of it, what comes next.

use std::time::Duration;

use super::{Action, Drive, End, Input, Stage, TOO_LARGE_DELAY, Takeover};
use crate::task::Verb;

impl Drive {
    /// One step; `now_ms` is the server's time.
    pub(crate) fn step(&mut self, input: Input, now_ms: u64) -> Action {
        self.now_ms = now_ms;
        let stage = std::mem::replace(&mut self.stage, Stage::Finishing);
        match (stage, input) {
            (Stage::Reading { looked_for_start }, Input::Found(found)) => {
                self.decide(found, looked_for_start)
            }
            (Stage::FindingStart, Input::Start(start)) => self.found_start(start),
            (Stage::FindingOrigin, Input::Origin(found)) => self.found_origin(found),
            (Stage::MigratingOrigin(origin), Input::Migrated(migrated)) => {
                self.migrated_origin(*origin, migrated.1)
            }
            (Stage::Appending, Input::Written(_)) => Action::End(End::Done(None)),
            (Stage::Preparing, Input::Confirmed) => self.apply(),
            (Stage::TakingOver(Takeover::Confirming), Input::Confirmed) => self.write_takeover(),
            (Stage::Running, Input::Ran(ran)) => self.advance(ran),
            (Stage::Running, Input::Progressed(progress)) => self.note(progress),
            (Stage::Noting, Input::Written(revision)) => self.noted(revision),
            (Stage::Noting, Input::Conflict) => {
                self.stage = Stage::RereadingNoting;
                Action::Read
            }
            // It is only news: the state is worth more.
            (Stage::Noting, Input::TooLarge(_)) | (Stage::Noted, Input::Confirmed) => self.run_on(),
            (Stage::RereadingNoting, Input::Found(found)) => self.compare_noting(found),
            (Stage::Rereading(ran), Input::Found(found)) => self.compare(found, ran),
            (Stage::Asking, Input::Elsewhere(elsewhere)) => self.asked(elsewhere),
            (Stage::AskingForTarget(version), Input::Elsewhere(elsewhere)) => {
                self.asked_for_target(version, elsewhere)
            }
            (
                Stage::Applying
                | Stage::Advancing(_)
                | Stage::TakingIn
                | Stage::TakingOver(Takeover::Writing)
                | Stage::Parking,
                Input::Written(revision),
            ) => self.written(revision),
            (Stage::Declining(refused), Input::Written(revision)) => {
                self.declined(revision, refused.as_ref())
            }
            (Stage::Declining(refused), Input::TooLarge(_)) => self.decline_unwritten(refused),
            (Stage::Advancing(ran), Input::Conflict) => self.reread(Some(ran)),
            (Stage::TakingIn, Input::Conflict) => self.reread(None),
            (Stage::Parking, Input::Conflict) => {
                self.answered = false;
                self.read_again()
            }
            (Stage::Running | Stage::Sleeping, Input::Yield) => self.give_away(Duration::ZERO),
            (Stage::Yielding(delay), Input::Written(_) | Input::Conflict | Input::TooLarge(_)) => {
                Action::End(End::Later(delay))
            }
            (
                Stage::Appending | Stage::Applying | Stage::TakingOver(_) | Stage::Declining(_),
                Input::Conflict,
            ) => self.read_again(),
            (Stage::Advancing(ran), Input::TooLarge(error)) => self.advance_too_large(ran, error),
            (Stage::TakingIn, Input::TooLarge(error)) => self.take_in_too_large(error),
            // Nobody would hear of the refusal, and the workflow would wait for ever.
            (Stage::Appending | Stage::Applying, Input::TooLarge(_))
                if self.task.task == Verb::Wake =>
            {
                Action::End(End::Later(TOO_LARGE_DELAY))
            }
            (Stage::Appending | Stage::Applying, Input::TooLarge(error)) => self.refuse(error),
            // Not even the smallest change fits: a person has to look at it, and an engine with more room may do it.
            (Stage::TakingOver(_) | Stage::Parking, Input::TooLarge(_)) => {
                Action::End(End::Later(TOO_LARGE_DELAY))
            }
            (Stage::Fetching(purpose), Input::Checkpoint(name, found)) => {
                let found = found.map(|found| *found);
                self.supplies.checkpoints.push((name, found));
                self.fetched(purpose)
            }
            (Stage::Fetching(purpose), Input::Migrated(migrated)) => {
                self.supplies.migrated = Some(*migrated);
                self.fetched(purpose)
            }
            (Stage::Fetching(purpose), Input::Exited) => {
                self.supplies.exited = self.record().map(|record| record.entry);
                self.fetched(purpose)
            }
            (Stage::Effecting { wait }, Input::Confirmed) => {
                if wait {
                    self.author.confirmed.extend(self.begun.iter().cloned());
                }
                self.answer_or_go_on()
            }
            (Stage::Answering, Input::Answered) | (Stage::Sleeping, Input::Slept) => self.go_on(),
            (Stage::Finishing, Input::Confirmed) => self.end(),
            (stage, input) => {
                tracing::error!(
                    ?stage,
                    ?input,
                    "the workflow core is told what it did not ask for"
                );
                // Left to redelivery, which starts from what is written.
                Action::End(End::Silent)
            }
        }
    }
}
