//! Draws scenes. Slow work for one core: capacity 1, and as many replicas as there are cores.
//!
//! Nobody tells a replica which scene is its own. All replicas take from the same queue, each when it
//! is free; when one dies over a scene, another gets that scene again.

use std::fs;

use mcp_agent_sdk::{Agent, Context, McpError};

use super::{begin, check_absolute, refuse, work};
use crate::{
    actions::{Credited, RENDER_SCENE, RenderScene, SceneFile},
    visual,
};

pub(crate) fn agent() -> Agent {
    Agent::new("visual_agent")
        .handle(RENDER_SCENE, render_scene)
        .capacity(1)
}

async fn render_scene(
    ctx: Context,
    RenderScene { scene, workdir }: RenderScene,
) -> Result<Credited<SceneFile>, McpError> {
    check_absolute("workdir", &workdir)?;
    scene.check().map_err(refuse)?;
    let note = format!("scene {}", scene.index + 1);
    let file = workdir.join(format!("{}.scene", scene.index));
    let frames = scene.frames();
    let path = file.clone();
    let begun = begin(&ctx, &note);
    work(&ctx, &note, move |step| visual::render(&scene, &path, step)).await?;
    let bytes = fs::metadata(&file)?.len();
    Ok(begun.credit(SceneFile {
        file,
        frames,
        bytes,
    }))
}
