//! Plays the music of a script.

use mcp_agent_sdk::{Agent, Context, McpError};

use super::{begin, check_absolute, refuse, work};
use crate::{
    actions::{Credited, SYNTHESIZE, SoundFile, Synthesize},
    audio,
};

pub(crate) fn agent() -> Agent {
    Agent::new("audio_agent")
        .handle(SYNTHESIZE, synthesize)
        .capacity(2)
}

async fn synthesize(
    ctx: Context,
    Synthesize { script, workdir }: Synthesize,
) -> Result<Credited<SoundFile>, McpError> {
    check_absolute("workdir", &workdir)?;
    script.check().map_err(refuse)?;
    let file = workdir.join("sound.wav");
    let duration_ms = script.duration_ms();
    let path = file.clone();
    let begun = begin(&ctx, "music");
    work(&ctx, "music", move |step| {
        audio::synthesize(&script, &path, step)
    })
    .await?;
    Ok(begun.credit(SoundFile { file, duration_ms }))
}
