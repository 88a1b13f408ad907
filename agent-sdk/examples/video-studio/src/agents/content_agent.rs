//! Writes scripts. The simplest agent: one async function, parameters in, result out.

use mcp_agent_sdk::{Agent, Context, McpError};

use super::{begin, refuse, tell};
use crate::{
    actions::{Credited, GENERATE_SCRIPT, Theme},
    script::{MAX_THEME_CHARS, Script},
};

pub(crate) fn agent() -> Agent {
    Agent::new("content_agent").handle(GENERATE_SCRIPT, generate_script)
}

async fn generate_script(
    ctx: Context,
    Theme { theme }: Theme,
) -> Result<Credited<Script>, McpError> {
    let letters = theme.trim().chars().count();
    if letters == 0 {
        return Err(refuse("the theme is empty: say what the video is about"));
    }
    if letters > MAX_THEME_CHARS {
        return Err(refuse(format!(
            "the theme has {letters} characters, more than {MAX_THEME_CHARS}"
        )));
    }
    let begun = begin(&ctx, "script");
    let script = Script::for_theme(&theme);
    tell(&ctx, 1, 1, &format!("{} scenes", script.scenes.len())).await;
    Ok(begun.credit(script))
}
