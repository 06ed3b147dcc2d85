//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;

use super::{Kind, Metric};

/// Returns the metrics as text. A write to memory does not fail.
pub(super) fn write(metrics: &[Metric]) -> String {
    let mut text = String::new();
    for metric in metrics {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
        let _ = writeln!(text, "# TYPE {} {kind}", metric.name);
        for series in &metric.series {
            text.push_str(metric.name);
            for (at, (name, value)) in series.labels.iter().enumerate() {
                text.push(if at == 0 { '{' } else { ',' });
                let _ = write!(text, "{name}=\"{}\"", escaped(value));
            }
            if !series.labels.is_empty() {
                text.push('}');
            }
            let _ = writeln!(text, " {}", series.value);
        }
    }
    text
}

/// Escapes the value of a label. Publishers choose the names of types and groups, and a name must not break its line.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::metrics::Series;

    #[test]
    fn a_label_cannot_tear_its_line() {
        let labels = vec![("type", "a\"b\\c\nd".to_owned()), ("x", "y".to_owned())];
        let series = vec![Series { labels, value: 1.5 }, Series { labels: vec![], value: 1e15 }];
        let metric = Metric { name: "m_total", kind: Kind::Counter, help: "Some.", series };
        let expected = "# HELP m_total Some.\n# TYPE m_total counter\nm_total{type=\"a\\\"b\\\\c\\nd\",x=\"y\"} 1.5\n\
                        m_total 1000000000000000\n";
        assert_eq!(write(&[metric]), expected);
    }
}
