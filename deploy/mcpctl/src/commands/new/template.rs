//! The files of a new project.

use super::sdk::Sdk;

const FILES: [(&str, &str); 7] = [
    (
        "Cargo.toml",
        include_str!("../../../templates/new/Cargo.toml.template"),
    ),
    (
        "src/main.rs",
        include_str!("../../../templates/new/src/main.rs.template"),
    ),
    (
        "src/agent.rs",
        include_str!("../../../templates/new/src/agent.rs.template"),
    ),
    (
        "README.md",
        include_str!("../../../templates/new/README.md.template"),
    ),
    (
        "Dockerfile",
        include_str!("../../../../docker/agent.Dockerfile"),
    ),
    (
        ".gitignore",
        include_str!("../../../templates/new/gitignore.template"),
    ),
    (
        ".dockerignore",
        include_str!("../../../templates/new/dockerignore.template"),
    ),
];

/// Cargo looks for a workspace upward; an empty one stops it.
const OWN_WORKSPACE: &str = "
# This project is no member of the workspace around it.
[workspace]
";

/// Each file's path and text.
pub(super) fn files(name: &str, sdk: &Sdk, in_workspace: bool) -> Vec<(&'static str, String)> {
    let values = [
        ("name", name.to_owned()),
        ("sdk", sdk.dependency()),
        (
            "workspace",
            if in_workspace {
                OWN_WORKSPACE.to_owned()
            } else {
                String::new()
            },
        ),
        (
            "sdk_note",
            sdk.remark()
                .map(|remark| format!("\nBefore it builds, {remark}.\n"))
                .unwrap_or_default(),
        ),
        ("docker_build", docker_build(name, sdk)),
    ];
    FILES
        .map(|(path, template)| match path {
            "Dockerfile" => (path, dockerfile(template, name, sdk)),
            _ => (path, fill(template, &values)),
        })
        .into()
}

/// The file that deploy/docker has for any project, for this one.
fn dockerfile(template: &str, name: &str, sdk: &Sdk) -> String {
    template
        .replace("docker build -t my_agent .", &docker_build(name, sdk))
        .replace("# COPY sdk\n", &copy_sdk(sdk))
        .replace(
            "# `mcpctl new` writes this file into a project as its Dockerfile;\n\
             # in another one put the name of its program in the place of my_agent.\n#\n",
            "",
        )
        .replace("my_agent", name)
}

/// A checkout lies outside of the project, so the build gets it as a second context.
fn docker_build(name: &str, sdk: &Sdk) -> String {
    match sdk.checkout() {
        Some(root) => format!(
            "docker build --build-context 'sdk={}' -t {name} .",
            root.display()
        ),
        None => format!("docker build -t {name} ."),
    }
}

/// At the place where Cargo.toml looks for it.
fn copy_sdk(sdk: &Sdk) -> String {
    sdk.checkout()
        .map(|root| format!("COPY --from=sdk [\".\", \"{}\"]\n", root.display()))
        .unwrap_or_default()
}

fn fill(template: &str, values: &[(&str, String)]) -> String {
    let filled = values
        .iter()
        .fold(template.to_owned(), |text, (key, value)| {
            text.replace(&format!("{{{{{key}}}}}"), value)
        });
    format!("{}\n", filled.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled() {
        for sdk in [
            Sdk::Unknown,
            Sdk::Path("/checkout/agent-sdk".into()),
            Sdk::Git("https://x/y".to_owned()),
        ] {
            for (path, text) in files("greeter", &sdk, true) {
                for left in ["{{", "my_agent", "# COPY sdk", "mcpctl new` writes"] {
                    assert!(!text.contains(left), "{path}: {text}");
                }
            }
        }
    }

    #[test]
    fn workspace_is_closed_only_where_there_is_one() {
        let manifest = |in_workspace| files("greeter", &Sdk::Unknown, in_workspace).remove(0).1;
        assert!(manifest(true).ends_with("[workspace]\n"));
        assert!(!manifest(false).contains("[workspace]"));
    }
}
