//! What the environment wants exported, by the variables of the OpenTelemetry specification.

use std::env;

/// What can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// What becomes of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    Otlp,
}

impl Signal {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        }
    }
}

/// An empty variable is one that is not set, says the specification.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name)
        .ok()
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

pub(super) fn is_disabled() -> bool {
    variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Whether the environment has a name for the service.
pub(super) fn names_the_service() -> bool {
    variable("OTEL_SERVICE_NAME").is_some()
        || variable("OTEL_RESOURCE_ATTRIBUTES")
            .is_some_and(|attributes| attributes.contains("service.name="))
}

/// Whether the environment leaves a signal open: it neither names a place for it nor forbids it.
pub(super) fn is_open(signal: Signal) -> bool {
    !is_disabled() && exporter(signal, variable).is_none() && !has_endpoint(signal, variable)
}

/// What the environment says of a signal; `said` gets what it says wrongly.
pub(super) fn wanted(signal: Signal, said: &mut Vec<String>) -> Wanted {
    wanted_by(signal, variable, said)
}

fn wanted_by(
    signal: Signal,
    variable: impl Fn(&str) -> Option<String>,
    said: &mut Vec<String>,
) -> Wanted {
    let disabled = variable("OTEL_SDK_DISABLED");
    if disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Wanted::Nothing;
    }
    match exporter(signal, &variable).as_deref() {
        Some("none") => Wanted::Nothing,
        Some("otlp") => Wanted::Otlp,
        Some(other) => {
            said.push(format!(
                "OTEL_{}_EXPORTER={other} is not known here, nothing is exported; known are otlp and none",
                signal.as_str()
            ));
            Wanted::Nothing
        }
        // The specification would export to localhost. Somebody who runs one agent on a laptop has no
        // collector, and should not hear about it.
        None => match has_endpoint(signal, variable) {
            true => Wanted::Otlp,
            false => Wanted::Nothing,
        },
    }
}

fn exporter(signal: Signal, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    variable(&format!("OTEL_{}_EXPORTER", signal.as_str()))
}

fn has_endpoint(signal: Signal, variable: impl Fn(&str) -> Option<String>) -> bool {
    let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.as_str());
    let endpoint = variable("OTEL_EXPORTER_OTLP_ENDPOINT").or_else(|| variable(&own));
    endpoint.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_variables_decide_what_is_exported() {
        let check = |set: &[(&str, &str)], expected: Wanted, complaints: usize| {
            let variable = |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let mut said = Vec::new();
            assert_eq!(
                wanted_by(Signal::Traces, variable, &mut said),
                expected,
                "{set:?}"
            );
            assert_eq!(said.len(), complaints, "{set:?}: {said:?}");
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        check(&[], Wanted::Nothing, 0);
        check(&[endpoint], Wanted::Otlp, 0);
        check(
            &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c")],
            Wanted::Otlp,
            0,
        );
        check(
            &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c")],
            Wanted::Nothing,
            0,
        );
        check(
            &[endpoint, ("OTEL_TRACES_EXPORTER", "none")],
            Wanted::Nothing,
            0,
        );
        check(&[("OTEL_TRACES_EXPORTER", "otlp")], Wanted::Otlp, 0);
        check(
            &[endpoint, ("OTEL_SDK_DISABLED", "true")],
            Wanted::Nothing,
            0,
        );
        check(&[endpoint, ("OTEL_SDK_DISABLED", "false")], Wanted::Otlp, 0);
        check(
            &[endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")],
            Wanted::Nothing,
            1,
        );
    }
}
