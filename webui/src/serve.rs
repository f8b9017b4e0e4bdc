//! Serves whoever connects, within bounds: so many at once, and nobody holds a place without taking or giving anything.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::routes::From;

/// Connections at once: some hundred pages and whoever asks besides.
pub const CONNECTIONS: usize = 768;
/// A client has so long for the head of a request; one that asks nothing more is dismissed then too.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A client that takes no byte for so long is dropped by the kernel.
const TAKE_TIME: Duration = Duration::from_secs(15);
/// Bytes that wait for a slow reader.
const BUFFER: usize = 64 * 1024;
/// Connections at once of those for whom there is no room, until they have read that; the others are just closed.
const LEAVING: usize = 64;
/// How long they may take for it.
const LEAVE_TIME: Duration = Duration::from_secs(1);
/// Pause after a failed accept (no file descriptors left): the next one would fail at once too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For whom there is no room.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 102\r\n\r\n\
    {\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"too many connections, close some and try again\"}";

/// What every listener has in common.
#[derive(Clone)]
struct House {
    tls: Option<TlsAcceptor>,
    router: Router,
    seats: Arc<Semaphore>,
    door: Arc<Semaphore>,
}

/// Serves until `stop`; encrypted where there is something that encrypts.
pub async fn serve(
    listeners: impl IntoIterator<Item = TcpListener>,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let (seats, door) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::new(Semaphore::new(LEAVING)));
    let house = House { tls, router, seats, door };
    // Dropped with this: then nobody is let in any more.
    let mut doormen = JoinSet::new();
    for listener in listeners {
        doormen.spawn(let_in(listener, house.clone()));
    }
    stop.await;
}

async fn let_in(listener: TcpListener, house: House) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => match Arc::clone(&house.seats).try_acquire_owned() {
                Ok(seat) => {
                    let client = client(stream, address.ip(), house.tls.clone(), house.router.clone());
                    tokio::spawn(async move {
                        // Every way out is an end of the connection; there is nothing to add.
                        let _ = client.await;
                        drop(seat);
                    });
                }
                Err(_) => turn_away(stream, &house.door),
            },
            Err(error) => {
                tracing::warn!("a client could not be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Who is hung up on before everything he said was read does not see the answer either.
fn turn_away(mut stream: TcpStream, door: &Arc<Semaphore>) {
    let Ok(place) = Arc::clone(door).try_acquire_owned() else { return };
    tokio::spawn(async move {
        let leave = async {
            stream.write_all(FULL).await?;
            stream.shutdown().await?;
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
        };
        // However it ends, it is over.
        let _ = timeout(LEAVE_TIME, leave).await;
        drop(place);
    });
}

async fn client(stream: TcpStream, address: IpAddr, tls: Option<TlsAcceptor>, router: Router) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_user_timeout(Some(TAKE_TIME))?;
    match tls {
        Some(tls) => answer(timeout(HEAD_TIME, tls.accept(stream)).await??, address, router).await,
        None => answer(stream, address, router).await,
    }
}

async fn answer<S>(stream: S, address: IpAddr, router: Router) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(BUFFER);
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(From(address.to_canonical()));
        service.call(request)
    });
    server.serve_connection(TokioIo::new(stream), service).await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_turned_away_gets_a_whole_answer() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["status"], 503);
    }
}
