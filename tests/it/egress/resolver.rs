//! A name server that knows a few names, and counts what it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

/// Where every resolver asks; a system can keep it for root.
const PORT: u16 = 53;
/// Bytes before the question (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
/// An answer, to a recursive question, with or without such a name.
const FLAGS: [[u8; 2]; 2] = [[0x81, 0x80], [0x81, 0x83]];
/// Addresses of version 4, in the class of the Internet.
const A: [u8; 4] = [0, 1, 0, 1];

/// Answers until it is dropped.
pub(super) struct NameServer {
    /// Where it listens.
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl NameServer {
    /// Listens at an address that no other test has.
    ///
    /// # Errors
    /// When this user may not listen there.
    pub(super) async fn start(names: BTreeMap<String, String>) -> io::Result<Self> {
        let [.., high, low] = std::process::id().to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 53, high, low), PORT)).await?;
        let (address, asked) = (socket.local_addr()?, Arc::<Mutex<BTreeSet<String>>>::default());
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut packet = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut packet).await.expect("a question");
                let (name, question) = question(&packet[HEADER..length]);
                let answer = answer(&packet[..2], question, names.get(&name).map(String::as_str));
                noted.lock().expect("no panic").insert(name);
                socket.send_to(&answer, from).await.expect("it is sent");
            }
        });
        Ok(Self { address, asked })
    }

    /// Returns the names that it was asked for since the last time.
    pub(super) fn asked(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

/// Reads the name in a question, and cuts off what comes behind it.
fn question(bytes: &[u8]) -> (String, &[u8]) {
    let (mut labels, mut at) = (Vec::new(), 0);
    while bytes[at] != 0 {
        let end = at + 1 + usize::from(bytes[at]);
        labels.push(String::from_utf8_lossy(&bytes[at + 1..end]).to_lowercase());
        at = end;
    }
    (labels.join("."), &bytes[..at + 1 + A.len()])
}

/// Makes the answer to a question: one address, none of this kind, or no such name.
fn answer(id: &[u8], question: &[u8], address: Option<&str>) -> Vec<u8> {
    let found = address.filter(|_| question.ends_with(&A));
    let counts = [0, 1, 0, u8::from(found.is_some()), 0, 0, 0, 0];
    let mut answer = [id, &FLAGS[usize::from(address.is_none())], &counts, question].concat();
    if let Some(address) = found {
        let address: Ipv4Addr = address.parse().expect("an address");
        // The name as in the question, good for no time at all, in four bytes.
        answer.extend([&[0xc0, HEADER as u8], &A[..], &[0, 0, 0, 0, 0, 4], &address.octets()].concat());
    }
    answer
}
