//! `api1` of the sample project, live: an HTTP server with rows that are new in every run.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

/// A server. It ends with the process.
#[derive(Debug)]
pub struct Api {
    /// Where it is.
    pub url: String,
    /// What it serves.
    pub items: Vec<Value>,
    requests: Arc<AtomicUsize>,
}

impl Api {
    /// Serves on a free port of the loopback address.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/orders", listener.local_addr().unwrap());
        let item = |n: usize| json!({"order_id": n, "token": uuid::Uuid::new_v4().to_string(), "cents": 1_000 + 17 * n});
        let items: Vec<Value> = (1..=4).map(item).collect();
        let body = json!({"page": 1, "items": items}).to_string();
        Self::serve(listener, url, items, "200 OK", body)
    }

    /// A provider of models that takes no key, and quotes this one.
    pub fn refusing(key: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let message = format!("Incorrect API key provided: {key}");
        let body = json!({"error": {"message": message, "type": "invalid_request_error", "code": "invalid_api_key"}});
        Self::serve(listener, url, Vec::new(), "401 Unauthorized", body.to_string())
    }

    fn serve(
        listener: TcpListener,
        url: String,
        items: Vec<Value>,
        status: &'static str,
        body: String,
    ) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is its own affair.
                if answer(&stream, status, &body).is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { url, items, requests }
    }

    /// How often it was asked.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn answer(mut stream: &TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    for line in BufReader::new(stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}
