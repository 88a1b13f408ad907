//! Cuts the film.

use mcp_agent_sdk::{Agent, Context, McpError};

use super::{begin, check_absolute, refuse, work};
use crate::{
    actions::{ASSEMBLE, Assemble, Credited, FilmFile},
    editing,
};

pub(crate) fn agent() -> Agent {
    Agent::new("editing_agent")
        .handle(ASSEMBLE, assemble)
        .capacity(1)
}

async fn assemble(ctx: Context, order: Assemble) -> Result<Credited<FilmFile>, McpError> {
    check(&order)?;
    let Assemble {
        script,
        scenes,
        sound,
        output,
    } = order;
    let file = output.clone();
    let begun = begin(&ctx, "film");
    let film = work(&ctx, "film", move |step| {
        editing::assemble(&script, &scenes, &sound, &output, step)
    })
    .await?;
    Ok(begun.credit(FilmFile {
        file,
        duration_ms: film.duration_ms,
        bytes: film.bytes,
        sound: film.sound.to_owned(),
    }))
}

fn check(order: &Assemble) -> Result<(), McpError> {
    order.script.check().map_err(refuse)?;
    let (written, drawn) = (order.script.scenes.len(), order.scenes.len());
    if written != drawn {
        return Err(refuse(format!(
            "the script has {written} scenes, but there are {drawn} scene files"
        )));
    }
    for scene in &order.scenes {
        check_absolute("scenes", scene)?;
    }
    check_absolute("sound", &order.sound)?;
    check_output(&order.output)
}

/// Whether a film can go there.
pub(super) fn check_output(output: &std::path::Path) -> Result<(), McpError> {
    check_absolute("output", output)?;
    match output
        .extension()
        .is_some_and(|extension| extension == "mp4")
    {
        true => Ok(()),
        false => Err(refuse(format!(
            "`output` must end with `.mp4`, not `{}`",
            output.display()
        ))),
    }
}
