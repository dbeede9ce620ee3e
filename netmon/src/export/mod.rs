//! From what the sources saw to the text that Prometheus reads.

pub(crate) mod metrics;

use metrics::{Kind, Metric};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use std::collections::BTreeMap;

/// Content type of [`Samples::to_text`].
pub(crate) const TEXT_FORMAT: &str = prometheus::TEXT_FORMAT;

/// Values of metrics at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<Sample>);

#[derive(Debug, Clone)]
struct Sample {
    metric: &'static Metric,
    labels: Vec<String>,
    value: f64,
}

/// What a sample may be made of. Integers above 2^53 lose their last bits, as everywhere in
/// Prometheus.
pub(crate) trait Value {
    fn value(self) -> f64;
}

impl Value for f64 {
    fn value(self) -> f64 {
        self
    }
}

impl Value for u64 {
    fn value(self) -> f64 {
        self as f64
    }
}

impl Value for bool {
    fn value(self) -> f64 {
        f64::from(u8::from(self))
    }
}

impl Samples {
    /// `labels` in the order in which the metric names them.
    pub(crate) fn add(&mut self, metric: &'static Metric, labels: &[&str], value: impl Value) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "labels of {}", metric.name);
        let labels = labels.iter().map(ToString::to_string).collect();
        self.0.push(Sample { metric, labels, value: value.value() });
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Sorted by name and labels. A series that came twice appears once: a repeated series would
    /// make Prometheus refuse the whole scrape.
    pub(crate) fn to_text(&self) -> String {
        let mut families: BTreeMap<&str, (&Metric, BTreeMap<&[String], f64>)> = BTreeMap::new();
        for sample in &self.0 {
            let (_, series) = families
                .entry(sample.metric.name)
                .or_insert_with(|| (sample.metric, BTreeMap::new()));
            series.entry(&sample.labels).or_insert(sample.value);
        }
        let families: Vec<_> =
            families.into_values().map(|(m, series)| family(m, &series)).collect();
        prometheus::TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot write the metrics");
            String::new()
        })
    }

    /// The names that occur.
    #[cfg(test)]
    pub(crate) fn names(&self) -> std::collections::BTreeSet<&'static str> {
        self.0.iter().map(|s| s.metric.name).collect()
    }
}

fn family(metric: &Metric, series: &BTreeMap<&[String], f64>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
    });
    let one = |(labels, value): (&&[String], &f64)| {
        let pairs = metric.labels.iter().zip(*labels).map(|(name, value)| pair(name, value));
        let mut sample = proto::Metric::from_label(pairs.collect());
        match metric.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(*value);
                sample.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(*value);
                sample.set_gauge(gauge);
            }
        }
        sample
    };
    family.set_metric(series.iter().map(one).collect());
    family
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_sorted_escaped_and_without_repetition() {
        let mut samples = Samples::default();
        samples.add(&metrics::SOURCE_UP, &["routes"], true);
        samples.add(&metrics::SOURCE_UP, &["a \"b\"\n\\c"], false);
        samples.add(&metrics::SOURCE_UP, &["routes"], false);
        samples.add(&metrics::CONNTRACK_DROP, &[], 1 << 40);
        insta::assert_snapshot!(samples.to_text(), @r#"
        # HELP mainstay_conntrack_drop_total Packets dropped because the connection table was full and nothing could be evicted.
        # TYPE mainstay_conntrack_drop_total counter
        mainstay_conntrack_drop_total 1099511627776
        # HELP mainstay_netmon_source_up 1 if the source answered this scrape.
        # TYPE mainstay_netmon_source_up gauge
        mainstay_netmon_source_up{source="a \"b\"\n\\c"} 0
        mainstay_netmon_source_up{source="routes"} 1
        "#);
    }
}
