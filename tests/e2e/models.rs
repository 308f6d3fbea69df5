//! Which model an agent asks, and with which key.

use std::path::Path;
use std::sync::{Arc, Mutex};

use mahavishnu_provision::model::ModelServer;
use mahavishnu_test_support::system::{Running, provision};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::site::Site;
use crate::support::{MODEL, provisioned, test};

const KEY: &str = "key-of-the-configured-model";

/// A server that is busy, and remembers who asked.
struct Busy {
    url: String,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Busy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let keys = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&keys);
        let serving = async move {
            while let Ok((client, _)) = listener.accept().await {
                let key = asked(client).await;
                heard.lock().unwrap().extend(key);
            }
        };
        tokio::spawn(serving);
        Self { url, keys }
    }

    /// The keys that it was given since it was last asked, each once.
    fn keys(&self) -> Vec<String> {
        let mut keys = std::mem::take(&mut *self.keys.lock().unwrap());
        keys.dedup();
        keys
    }
}

/// The key of a request, which is refused.
async fn asked(mut client: TcpStream) -> Option<String> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if client.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    client.write_all(busy.as_bytes()).await.ok()?;
    let text = String::from_utf8_lossy(&request).into_owned();
    let line = text.lines().find(|line| line.to_lowercase().starts_with("authorization:"));
    Some(line.unwrap_or_default().rsplit(' ').next().unwrap_or_default().to_owned())
}

/// A worker of Agno with a configured model and the key for it.
async fn worker(site: &Site, project: &Path, model: &str) -> Running {
    let arguments = ["--project", project.to_str().unwrap(), "--model", model];
    let key = [("MAHAVISHNU_MODEL_API_KEY", KEY)];
    site.start("agno", site.home(), &site.log("agno"), &arguments, &key).await
}

fn stage(id: &str, agents: &[&str], model: Option<&str>) -> Value {
    let mut task = json!({"agents": agents, "task": "Say hello."});
    if let Some(model) = model {
        task["model"] = model.into();
    }
    json!({"id": id, "type": "agno", "needs": [], "retry": {"max_attempts": 1}, "task": task})
}

#[test]
fn an_agents_own_model_comes_before_the_stages_and_the_stages_before_the_workers() {
    test(async {
        provisioned().await;
        let server = ModelServer::start(&provision().unwrap()).await.unwrap();
        let (project, busy) = (tempfile::tempdir().unwrap(), Busy::start().await);
        let own = format!("greeter: {{role: greets, model: \"ollama:{MODEL}@{}\"}}\n", server.base_url());
        std::fs::write(project.path().join("agents.yaml"), own).unwrap();
        let site = Site::new(project.path()).await;
        let _worker = worker(&site, project.path(), &format!("openai:big@{}", busy.url)).await;
        let there = format!("anthropic:{MODEL}@{}", server.base_url());
        let elsewhere = format!("other@{}", busy.url);
        let stages = [
            stage("agent", &["greeter"], None),
            stage("agent-over-stage", &["greeter"], Some(&elsewhere)),
            stage("stage", &["writer"], Some(&there)),
        ];
        let ran = site.run(json!({"stages": stages})).await.completed();
        for stage in ["agent", "agent-over-stage", "stage"] {
            let output = ran.output(stage);
            assert_eq!(output["model"], MODEL, "{stage}: {output}");
            assert!(output["tokens"]["input"].as_u64().unwrap() > 0, "{stage}: {output}");
        }
        assert!(busy.keys().is_empty(), "nobody asked the configured model");
        let failed = site.run(json!({"stages": [stage("worker", &["writer"], None)]})).await;
        assert!(failed.story().contains("ModelProviderError: InternalServerError"), "{}", failed.story());
        assert_eq!(busy.keys(), [KEY]);
    });
}

#[test]
fn the_key_of_the_configured_model_goes_to_no_other_address() {
    test(async {
        provisioned().await;
        let (project, configured, other) =
            (tempfile::tempdir().unwrap(), Busy::start().await, Busy::start().await);
        let own = format!("spy: {{role: asks elsewhere, model: \"openai:m@{}\"}}\n", other.url);
        std::fs::write(project.path().join("agents.yaml"), own).unwrap();
        let site = Site::new(project.path()).await;
        let _worker = worker(&site, project.path(), &format!("openai:big@{}", configured.url)).await;
        let elsewhere = format!("anthropic:m@{}", other.url);
        for (agent, model, to) in [
            ("writer", None, &configured),
            ("writer", Some("another-name"), &configured),
            ("writer", Some(elsewhere.as_str()), &other),
            ("spy", None, &other),
        ] {
            let failed = site.run(json!({"stages": [stage("s", &[agent], model)]})).await;
            failed.ended_once("execution_failed");
            let wanted =
                if to.url == configured.url { [[KEY].as_slice(), &[]] } else { [&[], ["none"].as_slice()] };
            assert_eq!([configured.keys(), other.keys()], wanted, "{agent} {model:?}");
        }
    });
}
