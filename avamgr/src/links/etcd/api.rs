//! The questions that leases need, in etcd's words: numbers of 64 bits and bytes are strings there, and a zero is left out.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::EtcdError;
use super::client::Client;

/// gRPC's number for what is not there.
const NOT_FOUND: i64 = 5;

/// A key as etcd has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// What stands in it.
    pub(super) value: Vec<u8>,
    /// Grows with each change; never zero.
    pub(super) revision: i64,
    /// The etcd lease that it ends with; zero = with none.
    pub(super) lease: i64,
}

/// A put that belongs to a transaction: it is made only where the key is at this revision still; zero = where there is none.
pub(super) struct Put<'a> {
    pub(super) key: &'a str,
    pub(super) value: String,
    pub(super) lease: i64,
    pub(super) seen: i64,
}

/// Every key that begins with `prefix`, as a majority of the members has it at this moment.
pub(super) async fn range(client: &mut Client, prefix: &str) -> Result<BTreeMap<String, Entry>, EtcdError> {
    const PATH: &str = "/v3/kv/range";
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    let answer =
        client.post(PATH, &json!({ "key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end) })).await?;
    header(PATH, &answer)?;
    let entries = answer.get("kvs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let bytes =
        |entry: &Value, name: &str| STANDARD.decode(entry.get(name).and_then(Value::as_str).unwrap_or_default());
    let read = |entry: &Value| {
        let key = String::from_utf8(bytes(entry, "key").ok()?).ok()?;
        let value = bytes(entry, "value").ok()?;
        Some((key, Entry { value, revision: number(entry, "mod_revision"), lease: number(entry, "lease") }))
    };
    let strange = || EtcdError::Strange(PATH, answer.to_string());
    entries.iter().map(|entry| read(entry).ok_or_else(strange)).collect()
}

/// A new etcd lease of `ttl` seconds: its number, and what was granted.
pub(super) async fn grant(client: &mut Client, ttl: u64) -> Result<(i64, u64), EtcdError> {
    const PATH: &str = "/v3/lease/grant";
    let answer = client.post(PATH, &json!({ "TTL": ttl.to_string() })).await?;
    let (id, granted) = (number(&answer, "ID"), number(&answer, "TTL"));
    if id == 0 {
        return Err(EtcdError::Strange(PATH, answer.to_string()));
    }
    Ok((id, u64::try_from(granted).unwrap_or_default()))
}

/// Begins an etcd lease anew: what it lasts from now on, zero when it is over already.
pub(super) async fn keep_alive(client: &mut Client, id: i64) -> Result<u64, EtcdError> {
    const PATH: &str = "/v3/lease/keepalive";
    let answer = client.post(PATH, &json!({ "ID": id.to_string() })).await?;
    let result = answer.get("result").unwrap_or(&Value::Null);
    header(PATH, result)?;
    Ok(u64::try_from(number(result, "TTL")).unwrap_or_default())
}

/// Ends an etcd lease and every key on it. One that has ended already is as good.
pub(super) async fn revoke(client: &mut Client, id: i64) -> Result<(), EtcdError> {
    match client.post("/v3/lease/revoke", &json!({ "ID": id.to_string() })).await {
        Ok(_) | Err(EtcdError::Refused { code: NOT_FOUND, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// All the puts or none. `false` = somebody else was faster, or the etcd lease is over.
pub(super) async fn put_all(client: &mut Client, puts: &[Put<'_>]) -> Result<bool, EtcdError> {
    let compare = |put: &Put<'_>| {
        let key = STANDARD.encode(put.key);
        json!({ "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": put.seen.to_string() })
    };
    let success = |put: &Put<'_>| {
        let (key, value) = (STANDARD.encode(put.key), STANDARD.encode(&put.value));
        json!({ "request_put": { "key": key, "value": value, "lease": put.lease.to_string() } })
    };
    let compares: Vec<Value> = puts.iter().map(compare).collect();
    let successes: Vec<Value> = puts.iter().map(success).collect();
    match client.post("/v3/kv/txn", &json!({ "compare": compares, "success": successes })).await {
        Ok(answer) => Ok(answer.get("succeeded").and_then(Value::as_bool).unwrap_or_default()),
        Err(EtcdError::Refused { code: NOT_FOUND, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The version of a member, and whether it knows a leader.
pub(super) async fn status(client: &mut Client) -> Result<String, EtcdError> {
    const PATH: &str = "/v3/maintenance/status";
    let answer = client.post(PATH, &json!({})).await?;
    let version = answer.get("version").and_then(Value::as_str);
    let version = version.ok_or_else(|| EtcdError::Strange(PATH, answer.to_string()))?;
    // Members are numbered up to 64 bits without a sign; none is left out.
    if answer.get("leader").is_none() {
        return Err(EtcdError::Strange(PATH, "it has no leader".to_owned()));
    }
    Ok(format!("etcd {version}"))
}

/// An answer without a header is not etcd's.
fn header(path: &'static str, answer: &Value) -> Result<(), EtcdError> {
    answer.get("header").map(|_| ()).ok_or_else(|| EtcdError::Strange(path, answer.to_string()))
}

fn number(of: &Value, name: &str) -> i64 {
    match of.get(name) {
        Some(Value::String(text)) => text.parse().unwrap_or_default(),
        Some(value) => value.as_i64().unwrap_or_default(),
        None => 0,
    }
}
