//! `mcpctl cancel`: stopping a command that was sent.

use clap::Args;
use serde_json::json;

use crate::{cli::Global, failure::Failure, output, presence};

/// Cancels a command, running or still queued; its reply is the error CANCELLED.
///
/// Every instance of the agent that runs is told. The one that has the command stops it; the others remember its id for
/// ten minutes, should it come to them.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The agent
    agent: String,
    /// The command's id, not its idempotency key
    #[arg(value_name = "COMMAND-ID")]
    command_id: String,
}

pub(crate) async fn run(args: CancelArgs, global: &Global) -> Result<(), Failure> {
    if !is_id(&args.command_id) {
        return Err(
            Failure::usage(format!("`{}` is no command id", args.command_id))
                .remedy("`mcpctl messages list` shows those of stored commands"),
        );
    }
    let client = global.connect().await?;
    let instances = presence::records(&client).await?;
    let told = instances
        .iter()
        .filter(|record| record.agent == args.agent)
        .count();
    client.cancel(&args.agent, &args.command_id).await?;
    client.flush().await;
    let document = json!({ "agent": args.agent, "command_id": args.command_id, "instances": told });
    if told == 0 {
        // Instances remember what was cancelled; with none there is no memory.
        let sentence = format!("no instance of `{}` runs, so nobody heard it", args.agent);
        let remedy = format!(
            "take it out of the queue with `mcpctl messages delete {}`",
            args.command_id
        );
        return Err(Failure::answered(sentence)
            .remedy(remedy)
            .document(document));
    }
    if global.json {
        output::json(&document);
    } else {
        let instances = match told {
            1 => "one instance".to_owned(),
            many => format!("{many} instances"),
        };
        output::line(format!(
            "told {instances} of {} to cancel {}",
            args.agent, args.command_id
        ));
    }
    Ok(())
}

/// Whether it has the form of a message id: a UUID, hyphenated, in lower case.
fn is_id(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12]
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_keys() {
        assert!(is_id("01a1a15a-1d80-7c4e-9b1a-5f0e8c2d7a41"));
        for other in [
            "invoice-17",
            "01A1A15A-1D80-7C4E-9B1A-5F0E8C2D7A41",
            "01a1a15a1d807c4e9b1a5f0e8c2d7a41",
            "",
        ] {
            assert!(!is_id(other), "{other}");
        }
    }
}
