//! What the pages in the root say is there: files, `make` targets, commands, variables, and the first agent.
//!
//! Whether the first agent works is the SDK's doc test; here only that it is the same one.

use std::{collections::BTreeSet, fs};

use mcp_tests::{mcpctl, workspace};
use tokio::process::Command;

const PAGES: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between `open` and `close`, wherever it does so on one line.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.lines().flat_map(move |line| {
        line.split(open)
            .skip(1)
            .filter_map(move |rest| Some(rest.split_once(close)?.0))
    })
}

fn fenced<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let open = format!("```{language}\n");
    page.split(&open)
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("```")?.0))
        .collect()
}

/// The words `prefix word` in code, in fences and in lines of their own.
fn words_after(page: &str, prefix: &str) -> BTreeSet<String> {
    let code = fenced(page, "sh")
        .into_iter()
        .chain(fenced(page, ""))
        .flat_map(str::lines);
    let word = |code: &str| {
        let first = code
            .trim_start()
            .strip_prefix(prefix)?
            .split([' ', ';', ','])
            .next()?;
        (first.starts_with(|letter: char| letter.is_ascii_lowercase())).then(|| first.to_owned())
    };
    let inline = page
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    code.chain(inline).filter_map(word).collect()
}

#[test]
fn the_examples_are_doc_tests_of_the_sdk() {
    let page = read("README.md");
    let [agent, workflow] = fenced(&page, "rust")[..] else {
        panic!("README has one agent and one workflow")
    };
    let lib = read("agent-sdk/src/lib.rs");
    let docs: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .collect();
    let docs: String = docs
        .iter()
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    for example in [agent, workflow] {
        assert!(
            docs.contains(example),
            "an example in README is another than that in agent-sdk/src/lib.rs:\n{example}"
        );
    }
    assert!(agent.lines().count() <= 10, "ten lines were promised");
}

#[test]
fn small_examples_stay_small() {
    for folder in ["workflows", "operations"] {
        let folder = workspace().join("agent-sdk/examples").join(folder);
        for file in std::fs::read_dir(folder).expect("there are examples") {
            let file = file.expect("it can be read").path();
            let text = std::fs::read_to_string(&file).expect("it can be read");
            let lines = text.lines().count();
            assert!(lines < 60, "{} has {lines} lines", file.display());
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for page in PAGES {
        for link in between(&read(page), "](", ')')
            .filter(|link| !link.contains("://") && !link.starts_with('#'))
        {
            let path = link.split('#').next().unwrap_or(link);
            assert!(
                workspace().join(path).exists(),
                "{page} links to {link}, which does not exist"
            );
        }
    }
}

#[test]
fn the_code_map_names_what_exists_and_all_modules_of_the_runtime() {
    let page = read("ARCHITECTURE.md");
    let named: BTreeSet<String> = page
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .flat_map(expand)
        .filter(|name| name.ends_with(".rs"))
        .collect();
    let roots = [
        "runtime/src",
        "agent-sdk/src",
        "workflow-engine/src",
        "deploy/mcpctl/src",
        "runtime/src/receive",
    ];
    for name in &named {
        assert!(
            roots
                .iter()
                .any(|root| workspace().join(root).join(name).exists()),
            "there is no {name}"
        );
    }
    for entry in fs::read_dir(workspace().join("runtime/src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = !name.ends_with(".rs")
            || ["lib.rs", "error.rs"].contains(&name.as_str())
            || named.contains(&name);
        assert!(known, "the code map lacks {name}");
    }
}

/// `receive/{plan,puller}.rs` is two files.
fn expand(name: &str) -> Vec<String> {
    match name
        .split_once('{')
        .and_then(|(head, rest)| Some((head, rest.split_once('}')?)))
    {
        Some((head, (parts, tail))) => parts
            .split(',')
            .map(|part| format!("{head}{part}{tail}"))
            .collect(),
        None => vec![name.to_owned()],
    }
}

#[test]
fn make_targets_exist() {
    let makefile = read("Makefile");
    for page in PAGES {
        for target in words_after(&read(page), "make ") {
            assert!(
                makefile.contains(&format!("\n{target}:")),
                "{page}: the Makefile has no `{target}`"
            );
        }
    }
}

#[test]
fn every_variable_is_in_the_table_and_no_other() {
    let page = read("README.md");
    let told: BTreeSet<&str> = between(&page, "| `MCP_", '`').collect();
    let config = read("runtime/src/config.rs");
    let list = config
        .split_once("const VARIABLES")
        .and_then(|(_, rest)| rest.split_once("];"))
        .expect("it has the list")
        .0;
    let known: BTreeSet<&str> = between(list, "\"MCP_", '"').collect();
    assert_eq!(told, known);
    assert!(!known.is_empty());
}

#[tokio::test]
async fn commands_of_mcpctl_exist() {
    let told: BTreeSet<String> = PAGES
        .iter()
        .flat_map(|page| words_after(&read(page), "mcpctl "))
        .collect();
    assert!(told.contains("send"), "{told:?}");
    for command in told {
        let help = Command::new(mcpctl())
            .args([&command, "--help"])
            .output()
            .await
            .expect("mcpctl can be run");
        assert!(help.status.success(), "there is no `mcpctl {command}`");
    }
}
