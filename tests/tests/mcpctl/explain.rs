//! `mcpctl explain`, which needs no server.

use mcp_runtime::CODES;
use mcp_tests::run;

#[tokio::test]
async fn every_code_of_the_runtime_is_explained() {
    let table = run("", &["explain"]).await;
    assert_eq!(table.code, 0, "{table:?}");
    assert_eq!(table.stdout.lines().count(), CODES.len() + 1, "{table:?}");
    let list = run("", &["explain", "--json"]).await.json();
    assert_eq!(list["codes"].as_array().map(Vec::len), Some(CODES.len()));

    let one = run("", &["explain", "poison"]).await;
    assert_eq!(one.code, 0, "{one:?}");
    for part in ["POISON  permanent", "  cause   ", "  remedy  "] {
        assert!(one.stdout.contains(part), "`{part}` is missing: {one:?}");
    }
    let json = run("", &["explain", "TIMEOUT", "--json"]).await.json();
    assert_eq!(json["category"], "TEMPORARY");
}

#[tokio::test]
async fn unknown_code_is_bad_usage_with_the_nearest() {
    let unknown = run("", &["explain", "OVERLAODED"]).await;
    assert_eq!(
        (unknown.code, unknown.stdout.as_str()),
        (2, ""),
        "{unknown:?}"
    );
    assert!(
        unknown.stderr.ends_with("the nearest is OVERLOADED\n"),
        "{unknown:?}"
    );
}
