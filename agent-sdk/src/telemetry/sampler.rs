//! The sampler that the environment names, where it follows parents: such a decision can be made before there is a span.

use mcp_runtime::telemetry::is_chosen;
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceId},
};
use opentelemetry_sdk::trace::{Sampler, SamplingResult, ShouldSample};

use super::signals::variable;

/// Of the traces that begin here, how many the environment wants recorded; `None` when its sampler does not follow parents. `said`
/// gets what it says wrongly.
pub(super) fn ratio(said: &mut Vec<String>) -> Option<f64> {
    ratio_by(variable, said)
}

fn ratio_by(variable: impl Fn(&str) -> Option<String>, said: &mut Vec<String>) -> Option<f64> {
    match variable("OTEL_TRACES_SAMPLER").as_deref() {
        None | Some("parentbased_always_on") => Some(1.0),
        Some("parentbased_always_off") => Some(0.0),
        Some("parentbased_traceidratio") => {
            let ratio = variable("OTEL_TRACES_SAMPLER_ARG").unwrap_or_default();
            let read = ratio.parse().ok().filter(|read| (0.0..=1.0).contains(read));
            if read.is_none() {
                said.push(format!(
                    "OTEL_TRACES_SAMPLER_ARG=`{ratio}` is no number from 0 to 1: every trace is recorded"
                ));
            }
            Some(read.unwrap_or(1.0))
        }
        Some("always_on" | "always_off" | "traceidratio") => None,
        Some(other) => {
            said.push(format!(
                "OTEL_TRACES_SAMPLER={other} is not known here: every trace is recorded, unless its sender has decided otherwise"
            ));
            Some(1.0)
        }
    }
}

/// Follows parents; of roots it records what was decided, and of all others so many.
#[derive(Debug, Clone)]
pub(super) struct Decided(Sampler);

impl Decided {
    pub(super) fn of(ratio: f64) -> Self {
        let roots = Sampler::TraceIdRatioBased(ratio);
        Self(Sampler::ParentBased(Box::new(roots)))
    }
}

impl ShouldSample for Decided {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let sampler = match parent.is_some_and(is_chosen) {
            true => &Sampler::AlwaysOn,
            false => &self.0,
        };
        sampler.should_sample(parent, trace, name, kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_variables_say_how_many_traces_are_recorded() {
        let check =
            |sampler: Option<&str>, ratio: Option<&str>, expected: Option<f64>, wrong: usize| {
                let variable = |name: &str| {
                    let value = match name {
                        "OTEL_TRACES_SAMPLER" => sampler,
                        _ => ratio,
                    };
                    value.map(str::to_owned)
                };
                let mut said = Vec::new();
                let read = ratio_by(variable, &mut said);
                assert_eq!(
                    (read, said.len()),
                    (expected, wrong),
                    "{sampler:?} {ratio:?}: {said:?}"
                );
            };
        check(None, None, Some(1.0), 0);
        check(Some("parentbased_always_on"), None, Some(1.0), 0);
        check(Some("parentbased_always_off"), None, Some(0.0), 0);
        check(Some("parentbased_traceidratio"), Some("0.1"), Some(0.1), 0);
        check(Some("parentbased_traceidratio"), Some("ten"), Some(1.0), 1);
        check(Some("parentbased_traceidratio"), Some("10"), Some(1.0), 1);
        check(Some("parentbased_traceidratio"), None, Some(1.0), 1);
        check(Some("traceidratio"), Some("0.1"), None, 0);
        check(Some("always_off"), None, None, 0);
        check(Some("parentbased_jaeger_remote"), None, Some(1.0), 1);
    }
}
