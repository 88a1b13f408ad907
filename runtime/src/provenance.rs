//! Messages that the server has published on a client's behalf: a schedule to its target, an answer to the reply subject of the
//! question. The server asks nobody whether that client might publish there, so its rights say nothing about such a message.
//!
//! What the server leaves on them tells them apart. Answers of other kinds carry no mark, but no valid body either.

use async_nats::Message;

/// Names the schedule that a message comes from.
const SCHEDULER: &str = "Nats-Scheduler";

/// Names the stream that a message was read from.
const READ_FROM: &str = "Nats-Stream";

/// Why a message on this subject is not from somebody who may publish there; `None` where nothing says so. `schedules` is the
/// prefix of the only schedules whose target the subject may be.
pub(crate) fn borrowed(message: &Message, schedules: &str) -> Option<&'static str> {
    // A status of the server, such as the end of a pull.
    if message.status.is_some() {
        return Some("it is a status of the server");
    }
    let headers = message.headers.as_ref()?;
    if headers.get(READ_FROM).is_some() {
        return Some("it is a copy out of a stream, sent here by whoever read it");
    }
    let scheduler = headers.get(SCHEDULER)?;
    let own = scheduler.as_str().starts_with(schedules);
    (!own).then_some("it comes from a schedule of somebody else")
}

/// Whether the server has delivered it out of a stream, to a subject that is not the stream's business: by a pull whose reply
/// subject is somebody else's. Only a delivery asks for an acknowledgement.
pub(crate) fn redirected(message: &Message) -> bool {
    let reply = message.reply.as_ref();
    reply.is_some_and(|reply| reply.starts_with("$JS.ACK."))
}

#[cfg(test)]
mod tests {
    use async_nats::{HeaderMap, StatusCode};

    use super::*;

    fn message(headers: &[(&'static str, &str)]) -> Message {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        Message {
            subject: "mcp.cmd.a.low.x".into(),
            reply: None,
            payload: Default::default(),
            headers: Some(map),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn only_own_schedules_and_real_publishes_pass() {
        let check = |headers: &[(&'static str, &str)], passes: bool| {
            let found = borrowed(&message(headers), "mcp.delay.a.");
            assert_eq!(found.is_none(), passes, "{headers:?}: {found:?}");
        };
        check(&[], true);
        check(&[("Nats-Msg-Id", "1")], true);
        check(&[(SCHEDULER, "mcp.delay.a.1")], true);
        check(&[(SCHEDULER, "mcp.delay.ab.1")], false);
        check(&[(SCHEDULER, "mcp.timer.w.0.1")], false);
        check(&[(READ_FROM, "KV_mcp_outcomes")], false);
        let mut pulled = message(&[]);
        pulled.reply = Some("$JS.ACK.mcp_commands.a_low.1.1.1.1.0".into());
        assert!(redirected(&pulled) && !redirected(&message(&[])));
        let mut status = message(&[]);
        status.status = Some(StatusCode::TIMEOUT);
        assert!(borrowed(&status, "mcp.delay.a.").is_some());
    }
}
