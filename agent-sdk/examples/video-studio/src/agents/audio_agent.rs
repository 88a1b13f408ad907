//! Plays the music of a script.

use mcp_agent_sdk::{Agent, Context, McpError};

use super::{check_absolute, refuse, work};
use crate::{
    actions::{SYNTHESIZE, SoundFile, Synthesize},
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
) -> Result<SoundFile, McpError> {
    check_absolute("workdir", &workdir)?;
    script.check().map_err(refuse)?;
    let file = workdir.join("sound.wav");
    let duration_ms = script.duration_ms();
    let path = file.clone();
    work(&ctx, "music", move |step| {
        audio::synthesize(&script, &path, step)
    })
    .await?;
    Ok(SoundFile { file, duration_ms })
}
