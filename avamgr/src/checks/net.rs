//! TCP and HTTP, with nothing but a socket.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::CheckError;

/// A status line is short; more than this is not read.
const STATUS_LINE_MAX: usize = 512;

/// Where to connect to. `localhost` is both loopback addresses, tried in turn.
#[derive(Clone, Debug)]
pub(super) struct Target {
    text: String,
    addresses: Vec<SocketAddr>,
}

impl Target {
    pub(super) fn describe(&self) -> String {
        format!("connect to {}", self.text)
    }

    pub(super) async fn probe(&self) -> Result<(), CheckError> {
        self.connect().await.map(drop)
    }

    async fn connect(&self) -> Result<TcpStream, CheckError> {
        // Never seen: there is always an address.
        let mut last = Error::from(ErrorKind::InvalidInput);
        for address in &self.addresses {
            match TcpStream::connect(address).await {
                // Without a listener, a connection to a port of our own host may meet itself: the kernel happens to give us
                // the very port we call.
                Ok(stream) if stream.local_addr().ok() == stream.peer_addr().ok() => {
                    last = ErrorKind::ConnectionRefused.into()
                }
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(CheckError::Io { what: self.describe(), source: last })
    }

    fn new(text: &str, host: &str, port: u16) -> Result<Self, String> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let addresses: Vec<IpAddr> = if host.eq_ignore_ascii_case("localhost") {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        } else if let Ok(address) = host.parse() {
            vec![address]
        } else {
            return Err(format!(
                "{text}: {host} is a name, and names are not looked up (a slow name server would look like a dead service): write its address"
            ));
        };
        let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        Ok(Self { text: text.to_owned(), addresses })
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Also understands a scope: `[fe80::1%2]:80`.
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { text: text.to_owned(), addresses: vec![address] });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("{text}: write it as address:port"))?;
        let port = port.parse().map_err(|_| format!("{text}: {port} is not a port (1..65535)"))?;
        Self::new(text, host, port)
    }
}

/// An `http://` URL.
#[derive(Clone, Debug)]
pub(super) struct Url {
    text: String,
    /// As written: goes into the Host header.
    authority: String,
    path: String,
    target: Target,
}

impl Url {
    pub(super) fn describe(&self) -> String {
        format!("GET {}", self.text)
    }

    pub(super) async fn probe(&self) -> Result<(), CheckError> {
        let broken = |source| CheckError::Io { what: self.describe(), source };
        let mut stream = self.target.connect().await?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: avamgr\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            self.path, self.authority
        );
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let mut seen = Vec::with_capacity(STATUS_LINE_MAX);
        while seen.len() < STATUS_LINE_MAX && !seen.contains(&b'\n') {
            if stream.read_buf(&mut seen).await.map_err(broken)? == 0 {
                break;
            }
        }
        self.judge(&String::from_utf8_lossy(&seen))
    }

    fn judge(&self, seen: &str) -> Result<(), CheckError> {
        let line = seen.lines().next().unwrap_or_default();
        let status = line.strip_prefix("HTTP/").and_then(|rest| rest.split_once(' ')).map(|(_, status)| status.trim());
        let class =
            status.and_then(|status| status.get(..3)).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
        match (status, class.and_then(|code| code.chars().next())) {
            (Some(_), Some('2' | '3')) => Ok(()),
            (Some(status), Some(_)) => Err(CheckError::HttpStatus { what: self.describe(), status: status.to_owned() }),
            (Some(_) | None, _) => {
                Err(CheckError::NotHttp { what: self.describe(), seen: line.chars().take(60).collect() })
            }
        }
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(format!("{text:?}: a URL has no spaces or control characters"));
        }
        let rest = text
            .strip_prefix("http://")
            .ok_or_else(|| format!("{text}: only http:// can be checked; use a script for anything else"))?;
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let target = match authority.rsplit_once(':') {
            // A colon inside of brackets belongs to the address.
            Some((_, port)) if !port.contains(']') => {
                authority.parse::<Target>().map_err(|error| format!("{text}: {error}"))?
            }
            Some(_) | None => Target::new(authority, authority, 80)?,
        };
        Ok(Self { text: text.to_owned(), authority: authority.to_owned(), path, target })
    }
}
