//! The dashboard in `deploy/grafana`: every query finds series in a real Prometheus that scrapes a real server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail, what did not run is named"
)]

mod common;

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::body::Body;
use common::{Service, registered};
use http::Request;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tempfile::TempDir;

fn dashboard() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/grafana/event-replay.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Returns the queries of all panels with their panel titles. Variables are replaced as in Grafana.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let of_panel = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    };
    let replaced = |expr: String| expr.replace("$__rate_interval", "1m").replace("$job", ".+");
    panels.iter().flat_map(of_panel).map(|(title, expr)| (title, replaced(expr))).collect()
}

/// A Prometheus server that scrapes one target each second.
struct Prometheus {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Returns `None` if Prometheus is not installed.
    fn start(target: &Service) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: event-replay\n    static_configs:\n      - targets: [\"{}\"]\n",
            target.address
        );
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new("prometheus")
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(Self { child, port, _folder: folder }),
            Err(_) => {
                println!("NOT RUN: the queries of the dashboard, prometheus is not installed");
                None
            }
        }
    }

    /// Returns the series that a query finds now, or an error if Prometheus refuses the query.
    async fn query(&self, service: &Service, expr: &str) -> Result<Vec<Value>, String> {
        let encoded = utf8_percent_encode(expr, NON_ALPHANUMERIC);
        let url = format!("http://127.0.0.1:{}/api/v1/query?query={encoded}", self.port);
        let request = Request::get(url).body(Body::empty()).unwrap();
        let answer = service.client.request(request).await.map_err(|error| error.to_string())?;
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        match answer["status"] == "success" {
            true => Ok(answer["data"]["result"].as_array().unwrap().clone()),
            false => Err(answer.to_string()),
        }
    }

    /// Repeats a query until it finds a series, for up to one minute.
    async fn found(&self, service: &Service, expr: &str) -> Vec<Value> {
        let mut last = Err("it was not asked".to_owned());
        for _ in 0..600 {
            last = self.query(service, expr).await;
            if last.as_ref().is_ok_and(|series| !series.is_empty()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        last.unwrap_or_else(|error| panic!("{expr}: {error}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_finds_series() {
    let service = Service::new().await;
    let Some(prometheus) = Prometheus::start(&service) else { return };
    service.post_json("/v1/groups", json!({"name": "mail"})).await.is(201);
    service
        .publish(&(0..20).map(|n| registered(&format!("e{n}"), &format!("u{n}"))).collect::<Vec<_>>())
        .await
        .is(201);
    let queries = queries(&dashboard());
    assert!(queries.len() > 20, "{queries:?}");
    // The client gives up one delivery, and the other deliveries wait.
    let fetched =
        service.post_json("/v1/groups/mail/fetch", json!({"max": 1, "wait": 10})).await.is(200).json();
    let settle =
        json!([{"receipt": fetched["deliveries"][0]["receipt"], "outcome": "giveUp", "error": "no"}]);
    service.post_json("/v1/groups/mail/settle", settle).await.is(200);
    for (title, expr) in &queries {
        let series = prometheus.found(&service, expr).await;
        assert!(!series.is_empty(), "{title}: {expr} finds nothing");
    }
    let open = queries.iter().find(|(title, _)| title == "Open dead letters").unwrap();
    let is_one = |series: &[Value]| series[0]["value"][1] == "1";
    for _ in 0..300 {
        if is_one(&prometheus.found(&service, &open.1).await) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(is_one(&prometheus.found(&service, &open.1).await), "one dead letter is open");
    // A positive control: a query of an unknown series finds nothing.
    let nothing = prometheus.query(&service, "event_replay_no_such_series").await.unwrap();
    assert!(nothing.is_empty(), "{nothing:?}");
    service.stop().await;
}

#[test]
fn panels_do_not_overlap_and_have_ids_of_their_own() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = std::collections::HashSet::new();
    let mut ids = std::collections::HashSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
        assert!(x + w <= 24, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} overlaps", panel["title"]);
        }
    }
}
