//! Questions to etcd's JSON gateway: one connection, to one endpoint at a time, and every wait has its end.

use std::time::Duration;

use avamgr_core::config::EtcdConfig;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Endpoint, EtcdError, tls};

/// Answers are a few keys.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// A silent connection is probed after this long, and so often.
const KEEPALIVE: Duration = Duration::from_secs(1);
const PROBES: u32 = 3;

/// The connection, and where the next one goes.
pub(super) struct Client {
    config: EtcdConfig,
    endpoints: Vec<Endpoint>,
    /// The one that is asked: the last that was well, until it is not.
    at: usize,
    connection: Option<Connection>,
    /// How long a connection, and the answer to one question, may take.
    patience: Duration,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    pub(super) fn new(config: &EtcdConfig, patience: Duration) -> Self {
        Self { config: config.clone(), endpoints: Endpoint::all(config), at: 0, connection: None, patience }
    }

    /// How many there are.
    pub(super) fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    /// The name of the one that is asked.
    pub(super) fn endpoint(&self) -> &str {
        self.endpoints.get(self.at).map_or("?", |endpoint| &endpoint.name)
    }

    /// The next endpoint is asked from now on, over a new connection.
    pub(super) fn move_on(&mut self) {
        self.connection = None;
        self.at = (self.at + 1) % self.endpoints.len().max(1);
    }

    /// One question and its answer. After an error the connection is of no use any more, unless etcd itself has refused.
    pub(super) async fn post(&mut self, path: &'static str, body: &Value) -> Result<Value, EtcdError> {
        let asked = timeout(self.patience * 2, self.exchange(path, body)).await;
        let result = asked.unwrap_or(Err(EtcdError::Late(path, self.patience * 2)));
        if result.as_ref().is_err_and(|error| !matches!(error, EtcdError::Refused { .. })) {
            self.connection = None;
        }
        result
    }

    async fn exchange(&mut self, path: &'static str, body: &Value) -> Result<Value, EtcdError> {
        let connection = match self.connection.take().filter(|connection| !connection.sender.is_closed()) {
            Some(connection) => connection,
            None => {
                let opened = timeout(self.patience, self.connect()).await;
                opened.map_err(|_| EtcdError::Late("the connection", self.patience))??
            }
        };
        let connection = self.connection.insert(connection);
        let asked = timeout(self.patience, ask(&mut connection.sender, self.endpoints[self.at].address, path, body));
        asked.await.map_err(|_| EtcdError::Late(path, self.patience))?
    }

    async fn connect(&self) -> Result<Connection, EtcdError> {
        let Some(endpoint) = self.endpoints.get(self.at) else {
            return Err(EtcdError::Connect(std::io::ErrorKind::AddrNotAvailable.into()));
        };
        let stream = TcpStream::connect(endpoint.address).await.map_err(EtcdError::Connect)?;
        self.tune(&stream).map_err(EtcdError::Connect)?;
        match tls::connector(&self.config)?.filter(|_| endpoint.secure) {
            Some(connector) => {
                let name = ServerName::IpAddress(endpoint.address.ip().into());
                speak(connector.connect(name, stream).await.map_err(EtcdError::Connect)?).await
            }
            None => speak(stream).await,
        }
    }

    /// The kernel gives a connection up whose other end is silent, and sends each question at once.
    fn tune(&self, stream: &TcpStream) -> std::io::Result<()> {
        let socket = SockRef::from(stream);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(self.patience))?;
        stream.set_nodelay(true)
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Connection, EtcdError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends is told by the question that it ends under.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { sender, driver })
}

async fn ask(
    sender: &mut SendRequest<Full<Bytes>>,
    host: std::net::SocketAddr,
    path: &'static str,
    body: &Value,
) -> Result<Value, EtcdError> {
    let strange = |what: String| EtcdError::Strange(path, what);
    sender.ready().await?;
    let request = Request::post(path).header(HOST, host.to_string()).header(CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(Bytes::from(body.to_string()))).map_err(|error| strange(error.to_string()))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| strange(error.to_string()))?.to_bytes();
    let answer: Value = serde_json::from_slice(&body).map_err(|error| strange(format!("{status}: {error}")))?;
    // A stream puts its error into an object of its own.
    let error = answer.get("error").filter(|error| error.is_object()).unwrap_or(&answer);
    if status.is_success() && answer.get("error").is_none() {
        return Ok(answer);
    }
    let code = error.get("code").or_else(|| error.get("grpc_code")).and_then(Value::as_i64).unwrap_or_default();
    let words = error.get("message").or_else(|| error.get("error")).and_then(Value::as_str);
    let message = words.map_or_else(|| status.to_string(), str::to_owned);
    Err(EtcdError::Refused { path, code, message })
}
