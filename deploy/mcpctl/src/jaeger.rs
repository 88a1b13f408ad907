//! The API of Jaeger, read-only: spans by trace, and traces by an attribute of a span.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer that is read: a trace of tens of thousands of spans.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Where Jaeger answers, over plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Jaeger {
    /// `host:port`.
    authority: String,
    /// What stands before `/api`, without a slash at the end.
    base: String,
}

/// One span, as far as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) service: String,
    pub(crate) instance: Option<String>,
    pub(crate) name: String,
    /// Unix microseconds.
    pub(crate) start_us: u64,
    pub(crate) took_us: u64,
    pub(crate) error: Option<String>,
}

impl Jaeger {
    /// Reads an address such as `http://localhost:16686`.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let wrong = || format!("`{url}` is no address of Jaeger, such as http://localhost:16686");
        let rest = url.trim().strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains('@') {
            return Err(wrong());
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let base = base.trim_end_matches('/');
        Ok(Self {
            authority: match has_port {
                true => authority.to_owned(),
                false => format!("{authority}:80"),
            },
            base: match base {
                "" => String::new(),
                base => format!("/{base}"),
            },
        })
    }

    /// Where a Jaeger takes spans by OTLP over HTTP, when it listens on the usual port.
    pub(crate) fn otlp(&self) -> String {
        let host = self.authority.rsplit_once(':');
        let host = host.map_or(self.authority.as_str(), |(host, _)| host);
        format!("http://{host}:4318")
    }

    /// The page of a trace, for people.
    pub(crate) fn page(&self, trace: &str) -> String {
        format!("http://{}{}/trace/{trace}", self.authority, self.base)
    }

    /// The spans of a trace; none when it is not known.
    pub(crate) async fn trace(&self, id: &str) -> Result<Vec<Span>, String> {
        match self.get(&format!("/api/traces/{id}")).await? {
            Some(answer) => spans(answer),
            None => Ok(Vec::new()),
        }
    }

    /// The services that have sent spans.
    pub(crate) async fn services(&self) -> Result<Vec<String>, String> {
        let answer = self.get("/api/services").await?.unwrap_or_default();
        let names: Option<Vec<String>> = serde_json::from_value(answer["data"].clone()).ok();
        Ok(names.unwrap_or_default())
    }

    /// The traces in which a span of a service has this value of an attribute.
    pub(crate) async fn find(
        &self,
        service: &str,
        (attribute, value): (&str, &str),
        from_ms: u64,
    ) -> Result<Vec<String>, String> {
        let tags = serde_json::json!({ attribute: value }).to_string();
        let path = format!(
            "/api/traces?service={}&tags={}&start={}&limit=20",
            encoded(service),
            encoded(&tags),
            from_ms.saturating_mul(1_000)
        );
        let answer = self.get(&path).await?.unwrap_or_default();
        let mut found: Vec<String> = spans(answer)?.into_iter().map(|span| span.trace).collect();
        found.dedup();
        Ok(found)
    }

    /// `None` where Jaeger says that there is no such thing. HTTP/1.0: the answer ends with the connection.
    async fn get(&self, path: &str) -> Result<Option<Value>, String> {
        let Self { authority, base } = self;
        let request = format!(
            "GET {base}{path} HTTP/1.0\r\nHost: {authority}\r\nAccept: application/json\r\n\r\n"
        );
        let exchange = async {
            let mut stream = TcpStream::connect(authority.as_str()).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(LARGEST).read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = match timeout(PATIENCE, exchange).await {
            Ok(answer) => answer.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        read(&answer)
    }
}

fn read(answer: &[u8]) -> Result<Option<Value>, String> {
    let no_http = || "the answer is not that of an HTTP server".to_owned();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.ok_or_else(no_http)? + 4);
    let head = String::from_utf8_lossy(head);
    let status = head.split_whitespace().nth(1).ok_or_else(no_http)?;
    match status {
        "200" => serde_json::from_slice(body).map(Some).map_err(|_| {
            "the answer is no JSON: is this the address of Jaeger's own page?".to_owned()
        }),
        "404" => Ok(None),
        status => Err(format!("the answer has the status {status}")),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(rename = "traceID")]
    trace: String,
    #[serde(rename = "spanID")]
    id: String,
    operation_name: String,
    #[serde(default)]
    references: Vec<Reference>,
    start_time: u64,
    duration: u64,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(rename = "processID")]
    process: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: String,
    #[serde(rename = "spanID")]
    span: String,
    #[serde(rename = "traceID")]
    trace: String,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

fn tag<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key == key)?.value.as_str()
}

fn spans(answer: Value) -> Result<Vec<Span>, String> {
    #[derive(Deserialize)]
    struct Trace {
        spans: Vec<Told>,
        processes: std::collections::HashMap<String, Process>,
    }
    #[derive(Deserialize)]
    struct Answer {
        data: Option<Vec<Trace>>,
    }
    let other = |error: serde_json::Error| format!("the answer is not that of Jaeger: {error}");
    let answer: Answer = serde_json::from_value(answer).map_err(other)?;
    let mut spans = Vec::new();
    for trace in answer.data.unwrap_or_default() {
        for told in trace.spans {
            let process = trace.processes.get(&told.process);
            let parent = told.references.iter().find(|reference| {
                reference.ref_type == "CHILD_OF" && reference.trace == told.trace
            });
            spans.push(Span {
                parent: parent.map(|parent| parent.span.clone()),
                service: process
                    .map_or("", |process| &process.service_name)
                    .to_owned(),
                instance: process
                    .and_then(|process| tag(&process.tags, "service.instance.id"))
                    .map(str::to_owned),
                error: tag(&told.tags, "error.type").map(str::to_owned),
                trace: told.trace,
                id: told.id,
                name: told.operation_name,
                start_us: told.start_time,
                took_us: told.duration,
            });
        }
    }
    Ok(spans)
}

/// As a value in a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let each = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(each).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        let page = |url: &str| Jaeger::parse(url).map(|jaeger| jaeger.page("t"));
        let check = |url: &str, expected: &str| assert_eq!(page(url).as_deref(), Ok(expected));
        check("http://localhost:16686", "http://localhost:16686/trace/t");
        check("http://tracing/jaeger/", "http://tracing:80/jaeger/trace/t");
        for url in ["localhost:16686", "https://x", "http://", "http://u:p@host"] {
            assert!(page(url).unwrap_err().contains("such as http://"), "{url}");
        }
    }

    #[test]
    fn answers_are_told_apart() {
        let ok = b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"data\": null}";
        assert_eq!(read(ok), Ok(Some(json!({ "data": null }))));
        assert_eq!(read(b"HTTP/1.1 404 Not Found\r\n\r\n{}"), Ok(None));
        assert!(
            read(b"HTTP/1.1 500 Oh\r\n\r\n")
                .unwrap_err()
                .contains("500")
        );
        assert!(
            read(b"HTTP/1.1 200 OK\r\n\r\n<html>")
                .unwrap_err()
                .contains("no JSON")
        );
        assert!(read(b"nonsense").is_err());
    }

    #[test]
    fn spans_know_their_parent_and_process() {
        let answer = json!({ "data": [{
            "processes": { "p1": { "serviceName": "writer", "tags": [{ "key": "service.instance.id", "value": "w1" }] } },
            "spans": [{
                "traceID": "t", "spanID": "b", "operationName": "process", "startTime": 5, "duration": 7, "processID": "p1",
                "references": [
                    { "refType": "FOLLOWS_FROM", "traceID": "other", "spanID": "x" },
                    { "refType": "CHILD_OF", "traceID": "t", "spanID": "a" },
                ],
                "tags": [{ "key": "error.type", "value": "GPU_BUSY" }, { "key": "n", "value": 1 }],
            }],
        }] });
        let found = spans(answer).unwrap();
        assert_eq!(
            found,
            [Span {
                trace: "t".to_owned(),
                id: "b".to_owned(),
                parent: Some("a".to_owned()),
                service: "writer".to_owned(),
                instance: Some("w1".to_owned()),
                name: "process".to_owned(),
                start_us: 5,
                took_us: 7,
                error: Some("GPU_BUSY".to_owned()),
            }]
        );
        assert_eq!(spans(json!({ "data": null })), Ok(Vec::new()));
        assert_eq!(encoded("a {\"b\"}"), "a%20%7B%22b%22%7D");
    }
}
